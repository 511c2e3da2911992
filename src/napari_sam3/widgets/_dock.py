"""What both dock widgets are: a scrolled column that listens to the viewer while it is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import napari.viewer
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QFrame,
    QMainWindow,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)


class Dock(QWidget):
    """A panel that lets go of the viewer when it is closed, and comes back when it is shown.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    parent : QWidget, optional
    """

    _acts_unseen = True
    """Whether keys count while the panel is behind another tab."""

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._is_open = False
        self._was_shown = False
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
                self._viewer.bind_key(key, lambda _viewer, action=action: self._act(action))
            except ValueError:
                continue
            self._bound.append(key)

    @property
    def is_seen(self) -> bool:
        """Whether a part of the panel shows, as far as its window does."""
        # behind another tab Qt moves a dock out of sight, and still calls it visible
        return not self.visibleRegion().isEmpty() or not self.window().isVisible()

    def _act(self, action: Callable[[], object]) -> None:
        if self._acts_unseen or self.is_seen:
            action()
            return
        # nobody would see what the key decides
        dock = self._dock_widget()
        if dock is not None and dock.isVisible():
            dock.raise_()

    def _dock_widget(self) -> QDockWidget | None:
        above = self.parent()
        while above is not None and not isinstance(above, QDockWidget):
            above = above.parent()
        return above

    def _join_tabs(self) -> None:
        """Share the room of another panel of ours: side by side, neither has enough."""
        own = self._dock_widget()
        window = None if own is None else own.parent()
        if own is None or not isinstance(window, QMainWindow) or own.isFloating():
            return
        others = (panel._dock_widget() for panel in window.findChildren(Dock) if panel is not self)
        for other in others:
            is_beside = other is not None and other not in window.tabifiedDockWidgets(own)
            if other is not None and is_beside and not other.isFloating():
                window.tabifyDockWidget(other, own)
                own.raise_()
                return

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
        if not self._was_shown:
            self._was_shown = True
            # napari docks it only after this
            QTimer.singleShot(0, self._join_tabs)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802 - Qt's name
        """Let go when napari takes the panel out of its dock, which closes nothing."""
        taken_out = event is not None and event.type() == QEvent.Type.ParentChange
        if taken_out and self.parent() is None:
            self.close_down()
        super().changeEvent(event)


PanelT = TypeVar("PanelT", bound=Dock)


def docked(viewer: napari.viewer.Viewer, kind: type[PanelT]) -> PanelT | None:
    """Return the panel of a kind that a viewer has, if it has one."""
    widgets = viewer.window.dock_widgets.values()
    return next((widget for widget in widgets if isinstance(widget, kind)), None)


def find_dock(viewer: napari.viewer.Viewer, kind: type[PanelT], title: str) -> PanelT:
    """Bring a panel to the front, opening it if it is not there.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    kind : type
    title : str
        As in the manifest: under the name that napari's menu gives it, the menu finds it too.
    """
    panel = docked(viewer, kind)
    if panel is None:
        panel = kind(viewer)
        viewer.window.add_dock_widget(panel, name=f"{title} (SAM3)", area="right")
    dock = panel._dock_widget()
    if dock is not None:
        dock.show()
        dock.raise_()
    return panel


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
