"""The objects table's rows: a frame, seen through a filter and in an order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QItemSelectionRange, QModelIndex, QObject, Qt, Signal

from napari_sam3.core.arrays import Int64Array
from napari_sam3.widgets._columns import (
    COLUMNS,
    LABEL,
    STATE,
    Column,
    is_mark,
    is_missing,
    is_number,
)
from napari_sam3.widgets._feature_values import Rows, Values, sort_rows
from napari_sam3.widgets._plain_text import plain_tooltip
from napari_sam3.widgets._row_filter import Filtered, filter_rows
from napari_sam3.widgets._state_marks import state_icon

SEARCHED = (LABEL, "concept", "engine", STATE)
"""Where the words of a filter are looked for."""

ARROWS = ("▲", "▼")

_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_NOWHERE = QModelIndex()
_MOST_EXACT = 2.0**53


class Table:
    """A frame as it is read: its labels, and columns that each have a name of their own.

    Parameters
    ----------
    frame : pandas.DataFrame
    known : sequence of Column
        How columns are shown that are known; the others follow them.
    titles : mapping
        Name of a column to its title, where it has another one.

    Attributes
    ----------
    columns : tuple of Column
        As they are shown.
    labels : ndarray of int64, shape (n,)
        0 for a row that is no object.
    by_label : ndarray of int
        The rows that are objects, in the order of their labels.
    """

    def __init__(
        self, frame: pd.DataFrame, known: Sequence[Column], titles: Mapping[str, str]
    ) -> None:
        self.frame = _with_plain_columns(frame)
        self.columns = _columns_of(self.frame, known, titles)
        self.labels, self.by_label = _read_labels(self.frame[LABEL])
        self._values: dict[str, Values] = {}

    def values(self, name: str) -> Values:
        """Return a column's values."""
        if name not in self._values:
            self._values[name] = Values(self.frame[name])
        return self._values[name]

    def filter(self, text: str) -> Filtered:
        """Return which rows a text leaves."""
        columns = {column.name: self.values(column.name) for column in self.columns}
        names = {column.title.casefold(): column.name for column in self.columns}
        names |= {name.casefold(): name for name in columns}
        return filter_rows(text, columns, names, SEARCHED)


class FeatureModel(QAbstractTableModel):
    """A frame's rows in an order of their own.

    A proxy of Qt's would ask for every cell; here, sorting and filtering are NumPy's, and Qt
    asks for what it paints.

    Parameters
    ----------
    columns : sequence of Column
        In the order in which they are shown; what a frame has besides stands to their right.
    parent : QObject, optional

    Attributes
    ----------
    labels : ndarray of int64, shape (rows,)
        Of the rows that the filter leaves, in order.
    hints : tuple of str
        What of the filter could not be read.
    sort_name : str or None
        The column that is sorted by; None for the labels' order.
    descending : bool

    Signals
    -------
    reordering()
        Rows are about to be other objects than before; `labels` still tells which they are.
    reordered()
        They are.
    """

    reordering = Signal()
    reordered = Signal()

    def __init__(self, columns: Sequence[Column] = COLUMNS, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.labels: Int64Array = np.empty(0, np.int64)
        self.hints: tuple[str, ...] = ()
        self.sort_name: str | None = None
        self.descending = False
        self._known = tuple(columns)
        self._titles: Mapping[str, str] = {}
        self._text = ""
        self._table = Table(pd.DataFrame({LABEL: self.labels}), columns, self._titles)
        self._order: Rows = self._table.by_label
        self._readers = {
            int(Qt.ItemDataRole.DisplayRole): Column.read,
            int(Qt.ItemDataRole.TextAlignmentRole): _alignment,
            int(Qt.ItemDataRole.DecorationRole): _decoration,
            int(Qt.ItemDataRole.ToolTipRole): _tooltip,
        }

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the frame, as they are shown."""
        return self._table.columns

    @property
    def total(self) -> int:
        """How many objects the frame has, whatever the filter leaves of them."""
        return len(self._table.by_label)

    def show(self, frame: pd.DataFrame, titles: Mapping[str, str] | None = None) -> None:
        """Show another frame.

        Parameters
        ----------
        frame : pandas.DataFrame
            The column ``index`` holds the label; without it the row's number is the label, as
            napari takes it.  Rows whose label is no whole number, or 0, are no objects, and
            left out.
        titles : mapping, optional
            Name of a column to the title it has from now on.
        """
        if titles is not None:
            self._titles = dict(titles)
        table = Table(frame, self._known, self._titles)
        if table.columns == self.columns:
            self._reorder(table)
            return
        order = self._find_order(table)
        self.reordering.emit()
        self.beginResetModel()
        self._take(table, order)
        self.endResetModel()
        self.reordered.emit()

    def sort_by(self, name: str | None, *, descending: bool = False) -> None:
        """Sort by a column, now and in frames to come; None brings the labels' order back."""
        self.sort_name, self.descending = name, descending
        self._reorder(self._table)
        self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self.columns) - 1)

    def filter(self, text: str) -> None:
        """Leave only rows that a text asks for; see `napari_sam3.widgets._row_filter`."""
        if text != self._text:
            self._text = text
            self._reorder(self._table)

    def rows_of(self, labels: Iterable[int] | Int64Array) -> Rows:
        """Return which rows these labels have, in order; those without one are left out."""
        wanted = np.asarray(labels if isinstance(labels, np.ndarray) else [*labels], np.int64)
        return np.flatnonzero(np.isin(self.labels, wanted))

    def span(self, top: int, bottom: int) -> QItemSelectionRange:
        """Return whole rows as Qt selects them; they are not checked, as `index` would."""
        last = len(self.columns) - 1
        return QItemSelectionRange(self.createIndex(top, 0), self.createIndex(bottom, last))

    def to_frame(self, rows: Rows, names: Sequence[str]) -> pd.DataFrame:
        """Return rows and columns as they are shown, with whole values under titles."""
        part = self._table.frame.iloc[self._order[rows]][list(names)]
        titles = {column.name: column.title for column in self.columns}
        return part.set_axis([titles[name] for name in names], axis=1)

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return how many rows the filter leaves."""
        return 0 if parent.isValid() else len(self.labels)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return how many columns there are, hidden ones included."""
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what Qt wants to know of a cell."""
        read = self._readers.get(role)
        if read is None or not index.isValid():
            return None
        column = self.columns[index.column()]
        cells = self._table.values(column.name).cells
        return read(column, cells[self._order[index.row()]])

    def widest(self, column: Column) -> tuple[str, str]:
        """Return what of a column is likely to need most room: the title, and a cell."""
        cells = [column.read(value) for value in self._table.values(column.name).extremes]
        return self._title(column), max([column.sample, *cells], key=len)

    def headerData(  # noqa: N802 - Qt's name
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return what Qt wants to know of a column's title."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(self.columns):
            return None
        column = self.columns[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return self._title(column)
        if role == Qt.ItemDataRole.ToolTipRole:
            words = f"{column.title} ({column.name}): click to sort, right-click to hide"
            return plain_tooltip(words)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            values = self._table.values(column.name)
            return _RIGHT if values.numbers is not None and not values.is_logical else _LEFT
        return None

    def _title(self, column: Column) -> str:
        if column.name != self.sort_name:
            return column.title
        # in words, as Qt would draw its own arrow over a narrow column's title
        return f"{column.title} {ARROWS[self.descending]}"

    def _reorder(self, table: Table) -> None:
        order = self._find_order(table)
        if np.array_equal(table.labels[order], self.labels):
            # the same objects at the same places: nothing to select or to scroll anew
            self._take(table, order)
            self._tell_changed()
            return
        self.reordering.emit()
        self._replace_rows(table, order)
        self.reordered.emit()

    def _replace_rows(self, table: Table, order: Rows) -> None:
        # other rows are told of as changed cells, and their number as a change at the end:
        # a reset would cost the view its scroll, and a move of rows one call for each
        before, after = len(self.labels), len(order)
        if after < before:
            self.beginRemoveRows(_NOWHERE, after, before - 1)
        elif after > before:
            self.beginInsertRows(_NOWHERE, before, after - 1)
        self._take(table, order)
        if after < before:
            self.endRemoveRows()
        elif after > before:
            self.endInsertRows()
        self._tell_changed()

    def _take(self, table: Table, order: Rows) -> None:
        self._table, self._order, self.labels = table, order, table.labels[order]

    def _tell_changed(self) -> None:
        if len(self.labels):
            last = self.index(len(self.labels) - 1, len(self.columns) - 1)
            self.dataChanged.emit(self.index(0, 0), last)

    def _find_order(self, table: Table) -> Rows:
        rows = table.by_label
        self.hints = ()
        if self._text.strip():
            left, self.hints = table.filter(self._text)
            rows = rows[left[rows]]
        if self.sort_name is not None and self.sort_name in table.frame:
            rows = sort_rows(rows, table.values(self.sort_name), descending=self.descending)
        return rows


def _with_plain_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of its own whose columns have different names, with one for the label."""
    names = [str(name) for name in frame.columns]
    # it shares its cells with the given one, but not the number of its rows
    frame = frame.set_axis(names, axis=1)
    if len(set(names)) < len(names):
        frame = frame.loc[:, ~frame.columns.duplicated()]
    if LABEL not in names:
        frame = frame.assign(**{LABEL: np.arange(len(frame))})
    return frame


def _columns_of(
    frame: pd.DataFrame, known: Sequence[Column], titles: Mapping[str, str]
) -> tuple[Column, ...]:
    found = [column for column in known if column.name in frame]
    names = {column.name for column in found}
    others = [Column(name, name) for name in frame.columns if name not in names]
    return tuple(
        replace(column, title=titles.get(column.name, column.title)) for column in (*found, *others)
    )


def _read_labels(column: pd.Series) -> tuple[Int64Array, Rows]:
    numbers = Values(column).numbers
    if numbers is None:
        numbers = np.asarray(pd.to_numeric(column.astype(object), errors="coerce"), np.float64)
    if numbers.dtype.kind == "f":
        is_whole = (numbers == np.trunc(numbers)) & (np.abs(numbers) < _MOST_EXACT)
        numbers = np.where(is_whole, numbers, 0)
    labels = numbers.astype(np.int64)
    # 0 is the background
    rows = np.flatnonzero(labels)
    own = labels[rows]
    if np.all(own[1:] >= own[:-1]):
        return labels, rows
    return labels, rows[np.argsort(own, kind="stable")]


def _alignment(_column: Column, value: object) -> Qt.AlignmentFlag:
    if is_mark(value):
        return Qt.AlignmentFlag.AlignCenter
    return _RIGHT if is_number(value) else _LEFT


def _decoration(column: Column, value: object) -> Any:
    return state_icon(value) if column.name == STATE and isinstance(value, str) else None


def _tooltip(_column: Column, value: object) -> str | None:
    """Return the whole value, which is not to be taken for markup."""
    if is_missing(value) or is_mark(value):
        return None
    return plain_tooltip(str(value))
