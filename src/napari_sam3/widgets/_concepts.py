"""The text field of “Find all”: one concept a line, and Enter runs."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QSizePolicy, QTextEdit, QWidget

MOST_LINES = 4
"""Shown at once; what is more scrolls."""

ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
MARGIN = 2
"""Pixels around the text."""


class LinesEdit(QTextEdit):
    """A field for plain text that grows with its lines, from one to `MOST_LINES`.

    Signals
    -------
    returnPressed()
        Enter was pressed; with Shift it begins another line instead.
    """

    returnPressed = Signal()  # noqa: N815 - as a QLineEdit calls it

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAcceptRichText(False)
        self.setTabChangesFocus(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.document().setDocumentMargin(MARGIN)
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self._fit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Run at Enter, begin another line at Shift+Enter."""
        if event is None or event.key() not in ENTER:
            super().keyPressEvent(event)
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.textCursor().insertText("\n")
            self.ensureCursorVisible()
        else:
            self.returnPressed.emit()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Take the height that the theme's font and frame make of the lines."""
        super().showEvent(event)
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        """Follow lines that are wrapped anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        around = self.height() - self.viewport().height()
        whole = round(self.document().size().height())
        most = round(self._line_height() * MOST_LINES) + 2 * MARGIN
        bar = Qt.ScrollBarPolicy
        self.setVerticalScrollBarPolicy(
            bar.ScrollBarAsNeeded if whole > most else bar.ScrollBarAlwaysOff
        )
        self.setFixedHeight(min(whole, most) + around)

    def _line_height(self) -> float:
        # the theme's font makes other lines than the font's own metrics say
        first = self.document().firstBlock()
        whole: float = self.document().documentLayout().blockBoundingRect(first).height()
        lines: int = first.layout().lineCount()
        return whole / max(1, lines)


class ConceptField:
    """The text field as a control, with a value as magicgui's controls have.

    Parameters
    ----------
    placeholder : str
        Shown as long as nothing is typed.
    tooltip : str
    """

    def __init__(self, placeholder: str, tooltip: str) -> None:
        self.native = LinesEdit()
        self.native.setPlaceholderText(placeholder)
        self.tooltip = tooltip

    @property
    def value(self) -> str:
        """What is typed, line breaks and all."""
        return str(self.native.toPlainText())

    @value.setter
    def value(self, text: str) -> None:
        self.native.setPlainText(text)

    @property
    def tooltip(self) -> str | None:
        """What is shown while the mouse rests on it."""
        return str(self.native.toolTip())

    @tooltip.setter
    def tooltip(self, words: str | None) -> None:
        self.native.setToolTip(words or "")

    @property
    def enabled(self) -> bool:
        """Whether something can be typed."""
        return bool(self.native.isEnabled())

    @enabled.setter
    def enabled(self, is_enabled: bool) -> None:
        self.native.setEnabled(is_enabled)
