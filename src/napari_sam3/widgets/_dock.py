"""What both dock widgets are: a scrolled column that listens to the viewer while it is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import napari.viewer
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QCloseEvent, QHideEvent, QShowEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget


class Dock(QWidget):
    """A panel that lets go of the viewer when it is closed, and comes back when it is shown.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget, optional
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._is_open = False
        self._bound: list[str] = []
        # napari would fill the dock's lower half with nothing
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)

    def open(self) -> None:
        """Listen to the viewer; safe to call twice."""
        if not self._is_open:
            self._is_open = True
            self._listen()

    def close_down(self) -> None:
        """Stop what runs and let go of the viewer; safe to call twice."""
        if not self._is_open:
            return
        self._is_open = False
        self._let_go()
        for key in self._bound:
            self._viewer.bind_key(key, None)
        self._bound = []

    def _listen(self) -> None:
        raise NotImplementedError

    def _let_go(self) -> None:
        raise NotImplementedError

    def _finish_writing(self) -> None:
        """Write what is to be written before the panel is hidden."""

    def _fill(self, form: QWidget) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(form)

    def _bind(self, actions: Mapping[str, Callable[[], object]]) -> None:
        """Take those keys that are free; another plugin's stay theirs."""
        for key, action in actions.items():
            if key in self._bound:
                continue
            try:
                self._viewer.bind_key(key, lambda _viewer, action=action: action())
            except ValueError:
                continue
            self._bound.append(key)

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802 - Qt's name
        """Let go of the viewer."""
        self.close_down()
        super().closeEvent(event)

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802 - Qt's name
        """Finish writing; and if it is the whole window that goes, let go of the viewer."""
        self._finish_writing()
        if not self.window().isVisible():
            self.close_down()
        super().hideEvent(event)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Come back after having been closed."""
        self.open()
        super().showEvent(event)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 - Qt's name
        """Let go when napari takes the panel out of its dock, which closes nothing."""
        taken_out = event is not None and event.type() == QEvent.Type.ParentChange
        if taken_out and self.parent() is None:
            self.close_down()
        super().changeEvent(event)


def scroll(form: QWidget, inside: QWidget, width: int) -> None:
    """Let a form show its controls in a column that scrolls, at least so many pixels wide."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inside)
    outer = QVBoxLayout(form)
    outer.setContentsMargins(0, 0, 4, 0)
    outer.addWidget(area)
    form.setMinimumWidth(width)


def line() -> QFrame:
    """Return a line between two parts of a form."""
    made = QFrame()
    made.setFrameShape(QFrame.Shape.HLine)
    return made
