"""A table view whose rows are chosen as arrays, and that leaves review keys to others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from qtpy.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_sam3.widgets._feature_model import FeatureModel
from napari_sam3.widgets._feature_values import Rows

MARK_SIDE = 12
_ROW_MARGIN = 4
_MANY_RANGES = 100
_FLAG = QItemSelectionModel.SelectionFlag
_LEFT_TO_OTHERS = (QKeySequence.StandardKey.Undo, QKeySequence.StandardKey.Redo)
_COMMAND_KEYS = (
    Qt.KeyboardModifier.ControlModifier
    | Qt.KeyboardModifier.AltModifier
    | Qt.KeyboardModifier.MetaModifier
)


class RowView(QTableView):
    """Shows a model of tens of thousands of rows.

    Parameters
    ----------
    model : FeatureModel
    parent : QWidget, optional

    Signals
    -------
    chosen()
        The user has selected other rows.
    went()
        The user has gone to another row.
    opened(int)
        A row was double-clicked, or Enter was pressed on it.
    copied()
        The keys for copying were pressed.
    restyled()
        There is another font, as a theme brings one.
    """

    chosen = Signal()
    went = Signal()
    opened = Signal(int)
    copied = Signal()
    restyled = Signal()

    def __init__(self, model: FeatureModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._is_quiet = False
        self._model = model
        self.setModel(model)
        self.setSelectionModel(_Selection(model, self))
        for header in (self.horizontalHeader(), self.verticalHeader()):
            # one that stays empty: a header asks of each title whether all rows are selected,
            # which Qt finds out row by row
            header.setSelectionModel(QItemSelectionModel(model, header))
        self._set_up()
        self.selectionModel().selectionChanged.connect(self._on_selection)
        self.selectionModel().currentChanged.connect(self._on_current)
        self.doubleClicked.connect(lambda index: self.opened.emit(index.row()))

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Emit nothing meanwhile: it is not the user's doing."""
        before, self._is_quiet = self._is_quiet, True
        try:
            yield
        finally:
            self._is_quiet = before

    def selected_rows(self) -> Rows:
        """Return which rows are selected, in order."""
        # by ranges, as all rows may be selected, and each is an object of Qt's otherwise
        edges = [(span.top(), span.bottom()) for span in self.selectionModel().selection()]
        steps = np.zeros(self.model().rowCount() + 1, np.intp)
        if edges:
            tops, bottoms = np.array(edges, np.intp).T
            np.add.at(steps, tops, 1)
            np.add.at(steps, bottoms + 1, -1)
        return np.flatnonzero(np.cumsum(steps[:-1]))

    def choose(self, rows: Rows, current: int, column: int) -> None:
        """Select these rows and no others; quietly, and without scrolling.

        Parameters
        ----------
        rows : ndarray of int
            In order.
        current : int
            The row that keys start from, selected or not; below 0 it stays.
        column : int
            In which they do, and which must not be hidden.
        """
        self.setAutoScroll(False)
        with self.quietly():
            if current >= 0:
                # the view's own method, for it also moves the end that Shift holds on to
                self.setCurrentIndex(self._model.index(current, column))
            self.selectionModel().clearSelection()
            self.selectionModel().select(self._spans(rows), _FLAG.Select)
        self.setAutoScroll(True)

    def reveal(self, row: int) -> None:
        """Scroll up or down to a row, if it is out of sight, and never sideways."""
        sideways = self.horizontalScrollBar().value()
        self.scrollTo(self.model().index(row, 0))
        self.horizontalScrollBar().setValue(sideways)

    def top_row(self) -> int:
        """Return the first row in sight."""
        return int(self.verticalScrollBar().value())

    def scroll_back(self, row: int, sideways: int) -> None:
        """Make a row the first in sight, as far as there are rows below it.

        Parameters
        ----------
        row : int
        sideways : int
            Pixels that the columns are scrolled to the right.
        """
        # or a change of the number of rows would not have come to the scroll bars yet
        self.doItemsLayout()
        self.verticalScrollBar().setValue(row)
        self.horizontalScrollBar().setValue(sideways)

    def fit_rows(self) -> None:
        """Make the rows as high as the font asks for."""
        height = self.fontMetrics().height() + _ROW_MARGIN
        rows = self.verticalHeader()
        rows.setMinimumSectionSize(height)
        rows.setDefaultSectionSize(height)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        """Tell of another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self.restyled.emit()

    def selectionCommand(  # noqa: N802 - Qt's name
        self, index: QModelIndex, event: QEvent | None = None
    ) -> QItemSelectionModel.SelectionFlag:
        """Return what going to a cell does to the selection: nothing if a program goes."""
        # or Qt would heed a Shift key that is held down for something else
        return _FLAG.NoUpdate if self._is_quiet else super().selectionCommand(index, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Copy and open; leave letters and undo to whoever holds the table."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copied.emit()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.opened.emit(self.currentIndex().row())
        elif _is_typed(event) or any(event.matches(keys) for keys in _LEFT_TO_OTHERS):
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _spans(self, rows: Rows) -> QItemSelection:
        spans = QItemSelection()
        if len(rows):
            breaks = np.flatnonzero(np.diff(rows) > 1)
            tops = rows[np.concatenate([[0], breaks + 1])].tolist()
            bottoms = rows[np.concatenate([breaks, [-1]])].tolist()
            for top, bottom in zip(tops, bottoms, strict=True):
                spans.append(self._model.span(top, bottom))
        return spans

    def _on_selection(self) -> None:
        if not self._is_quiet:
            self.chosen.emit()

    def _on_current(self) -> None:
        if not self._is_quiet:
            self.went.emit()

    def _set_up(self) -> None:
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerItem)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setIconSize(QSize(MARK_SIDE, MARK_SIDE))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setAccessibleName("Objects")
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setCornerButtonEnabled(False)
        # Tab leads out of the table, and not through its cells
        self.setTabKeyNavigation(False)
        rows = self.verticalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsClickable(True)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)


class _Selection(QItemSelectionModel):
    """One that is emptied first: Qt compares each range of the old with each of the new."""

    def select(self, chosen: object, command: QItemSelectionModel.SelectionFlag) -> None:
        if command & _FLAG.Clear and len(self.selection()) > _MANY_RANGES:
            with self.parent().quietly():
                super().select(QItemSelection(), _FLAG.Clear)
        super().select(chosen, command)


def _is_typed(event: QKeyEvent) -> bool:
    if event.modifiers() & _COMMAND_KEYS or event.key() == Qt.Key.Key_Space:
        return False
    return bool(event.text()) and event.text().isprintable()
