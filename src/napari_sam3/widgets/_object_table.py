"""The objects table: one row per object, to be read, sorted, filtered and chosen from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from qtpy.QtCore import QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QAction, QGuiApplication, QKeySequence
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QStyle, QVBoxLayout, QWidget

from napari_sam3.core.arrays import Int64Array
from napari_sam3.widgets._columns import COLUMNS, LABEL, STATE, Column
from napari_sam3.widgets._feature_model import FeatureModel
from napari_sam3.widgets._feature_values import Rows
from napari_sam3.widgets._plain_text import plain_label, plain_tooltip
from napari_sam3.widgets._row_filter import EXAMPLES
from napari_sam3.widgets._row_view import MARK_SIDE, RowView

FILTER_DELAY_MS = 150
FILTER_HELP = (
    "Words that the label, concept, engine or state must contain, and comparisons of any "
    f"column: {EXAMPLES}\nAll of them must hold. “=” heeds as many decimals as you type; "
    'quotes keep words together: concept="cell body"'
)

_NO_ROWS: Rows = np.empty(0, np.intp)
_WIDTH = 340
_MARGIN = 12
_MOST_WIDTH = 160


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What is chosen and in sight, by labels: so it can be found again among other rows.

    Parameters
    ----------
    selected : ndarray of int64
    current : int
        0 for none.
    place : int
        The row that was current last.
    top : int
        The label of the first row in sight; 0 for none.
    top_row, sideways : int
        How far it is scrolled: rows down, pixels to the right.
    """

    selected: Int64Array
    current: int = 0
    place: int = 0
    top: int = 0
    top_row: int = 0
    sideways: int = 0


class ObjectTable(QWidget):
    """A filter, and below it a table of objects.

    It knows nothing of layers: it is given a frame, and tells what is chosen in it.

    Parameters
    ----------
    columns : sequence of Column
        In the order in which they are shown; what a frame has besides stands to their right.
    parent : QWidget, optional

    Signals
    -------
    selected(tuple of int)
        The user has chosen these labels: by mouse, by key, or by a filter that hides others.
    opened(int)
        The user wants to see this one: by double-click or Enter.
    """

    selected = Signal(object)
    opened = Signal(object)

    def __init__(self, columns: Sequence[Column] = COLUMNS, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = FeatureModel(columns, self)
        self.view = RowView(self.model, self)
        self.filter = QLineEdit()
        self.count = plain_label()
        self._hidden = {column.name for column in columns if column.is_hidden}
        self._widths: dict[str, int] = {}
        self._is_sizing = False
        self._place = 0
        self._outlook = self._look()
        self._delay = QTimer(self, singleShot=True, interval=FILTER_DELAY_MS)
        self._lay_out()
        self._connect()
        self._fit()
        self._tell()

    def show(  # type: ignore[override,unused-ignore]
        self, frame: pd.DataFrame | None = None, titles: Mapping[str, str] | None = None
    ) -> None:
        """Show a frame; selection, current row, order, filter and scroll stay where possible.

        Parameters
        ----------
        frame : pandas.DataFrame, optional
            One row per object.  The column ``index`` holds the label; without it the row's
            number is the label, as napari takes it.  Rows whose label is no whole number, or
            0, are left out.  Without a frame the widget itself is shown, as in Qt.
        titles : mapping, optional
            Name of a column to the title that it has from now on.
        """
        if frame is None:
            super().show()
            return
        self.model.show(frame, titles)
        self._tell()

    def select(self, labels: Iterable[int], *, scroll: bool = True) -> None:
        """Select these labels, as far as the filter leaves them, and no others; emit nothing.

        Parameters
        ----------
        labels : iterable of int
        scroll : bool
            Whether the first of them is brought into view.
        """
        rows = self.model.rows_of(labels)
        self._choose(rows, int(rows[0]) if len(rows) else -1)
        if len(rows) and scroll:
            self.view.reveal(self._place)

    def selected_labels(self) -> tuple[int, ...]:
        """Return the labels that are selected, in the order of the rows, each once."""
        return tuple(dict.fromkeys(self.model.labels[self.view.selected_rows()].tolist()))

    def visible_labels(self) -> tuple[int, ...]:
        """Return the labels that the filter leaves, in the order of the rows."""
        return tuple(self.model.labels.tolist())

    def move(self, step: int) -> int | None:  # type: ignore[override,unused-ignore]
        """Select the row that lies so many rows below the current one; emit nothing.

        Parameters
        ----------
        step : int
            Below 0 it is so many above.  The first and the last row are never left.

        Returns
        -------
        int or None
            The label that is now selected; None if the table is empty.

        Notes
        -----
        Where the selected row has gone, as one that is accepted does under the filter
        ``state=unreviewed``, a step down leads to the row that took its place.
        """
        count = self.model.rowCount()
        if not count:
            return None
        is_between = not self.view.selectionModel().hasSelection()
        row = self._place + step - int(is_between and step > 0)
        row = min(max(row, 0), count - 1)
        self._choose(np.array([row], np.intp), row)
        self.view.reveal(row)
        return int(self.model.labels[row])

    def set_filter(self, text: str) -> None:
        """Filter by a text, at once; emit nothing."""
        self.filter.setText(text)
        self._apply_filter()

    def hidden_columns(self) -> tuple[str, ...]:
        """Return the names of the columns that are left out, also of frames to come."""
        return tuple(sorted(self._hidden))

    def hide_columns(self, names: Iterable[str]) -> None:
        """Leave out these columns, and no others; the label always stays."""
        self._hidden = {*names} - {LABEL}
        self._show_columns()

    def column_menu(self) -> QMenu:
        """Return a menu with one check mark per column."""
        menu = QMenu(self)
        for column in self.model.columns:
            if column.name != LABEL:
                menu.addAction(self._column_action(column, menu))
        return menu

    def row_menu(self) -> QMenu:
        """Return a menu of what can be done with the selected rows."""
        menu = QMenu(self)
        copy = menu.addAction("Copy selected rows", self.copy)
        copy.setShortcut(QKeySequence(QKeySequence.StandardKey.Copy))
        copy.setEnabled(self.view.selectionModel().hasSelection())
        everything = menu.addAction("Select all rows", self.view.selectAll)
        everything.setShortcut(QKeySequence(QKeySequence.StandardKey.SelectAll))
        return menu

    def copy(self) -> None:
        """Copy the selected rows as a spreadsheet takes them: tabs between, titles on top."""
        rows = self.view.selected_rows()
        if not len(rows):
            return
        names = [column.name for column in self.model.columns if column.name not in self._hidden]
        text = self.model.to_frame(rows, names).to_csv(sep="\t", index=False, lineterminator="\n")
        QGuiApplication.clipboard().setText(text)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a size at which the first five columns are seen."""
        return QSize(_WIDTH, 300)

    def _column_action(self, column: Column, menu: QMenu) -> QAction:
        # one “&” would underline what follows
        action = QAction(column.title.replace("&", "&&"), menu)
        action.setCheckable(True)
        action.setChecked(column.name not in self._hidden)
        action.toggled.connect(
            lambda is_shown, name=column.name: self.hide_columns(
                self._hidden - {name} if is_shown else self._hidden | {name}
            )
        )
        return action

    def _choose(self, rows: Rows, current: int) -> None:
        # the label's cell is never hidden
        label = [column.name for column in self.model.columns].index(LABEL)
        self.view.choose(rows, current, label)
        if current >= 0:
            self._place = current

    def _look(self) -> Outlook:
        view, labels = self.view, self.model.labels
        if not len(labels):
            return Outlook(labels, place=self._place)
        current, top = view.currentIndex().row(), min(view.top_row(), len(labels) - 1)
        return Outlook(
            labels[view.selected_rows()],
            int(labels[current]) if current >= 0 else 0,
            self._place,
            int(labels[top]),
            top,
            view.horizontalScrollBar().value(),
        )

    def _on_reordering(self) -> None:
        self._outlook = self._look()
        # Qt would follow each of the selected rows by itself
        self._choose(_NO_ROWS, -1)

    def _on_reordered(self) -> None:
        before, count = self._outlook, self.model.rowCount()
        self._show_columns()
        found = self.model.rows_of([before.current])
        place = int(found[0]) if len(found) else min(before.place, count)
        self._choose(self.model.rows_of(before.selected), min(place, count - 1))
        self._place = place
        top = self.model.rows_of([before.top])
        # who looks at the first rows wants to go on looking at the first rows
        row = int(top[0]) if len(top) and before.top_row else before.top_row
        self.view.scroll_back(row, before.sideways)

    def _on_chosen(self) -> None:
        self._on_went()
        self.selected.emit(self.selected_labels())

    def _on_went(self) -> None:
        self._place = max(self.view.currentIndex().row(), 0)

    def _on_opened(self, row: int) -> None:
        if 0 <= row < len(self.model.labels):
            self.opened.emit(int(self.model.labels[row]))

    def _on_typed(self) -> None:
        before = self.selected_labels()
        self._apply_filter()
        after = self.selected_labels()
        if before != after:
            self.selected.emit(after)

    def _apply_filter(self) -> None:
        self._delay.stop()
        self.model.filter(self.filter.text())
        self._show_selected()
        self._tell()

    def _on_header(self, section: int) -> None:
        """Sort by a column: up, down, and back to the order of the labels."""
        model, name = self.model, self.model.columns[section].name
        if model.sort_name != name:
            model.sort_by(name)
        elif not model.descending:
            model.sort_by(name, descending=True)
        else:
            model.sort_by(None)
        self._show_columns()
        self._show_selected()

    def _show_selected(self) -> None:
        if self.view.selectionModel().hasSelection():
            self.view.reveal(self._place)
        elif self.model.rowCount():
            # who has not chosen yet chooses from the top
            self._choose(_NO_ROWS, 0)
            self.view.reveal(0)

    def _tell(self) -> None:
        left, total = self.model.rowCount(), self.model.total
        self.count.setText(f"{left:,}" if left == total else f"{left:,} of {total:,}")
        hints = "\n".join(self.model.hints)
        self._warning.setVisible(bool(hints))
        self._warning.setToolTip(plain_tooltip(hints))
        told = f"{hints}\n\n{FILTER_HELP}" if hints else FILTER_HELP
        self.filter.setToolTip(plain_tooltip(told))

    def _show_columns(self) -> None:
        self._is_sizing = True
        for section, column in enumerate(self.model.columns):
            self.view.setColumnHidden(section, column.name in self._hidden)
            self.view.setColumnWidth(section, self._width(column))
        self._is_sizing = False

    def _width(self, column: Column) -> int:
        if column.name in self._widths:
            return self._widths[column.name]
        title, cell = self.model.widest(column)
        header = self.view.horizontalHeader().fontMetrics().horizontalAdvance(title)
        mark = MARK_SIDE if column.name == STATE else 0
        body = self.view.fontMetrics().horizontalAdvance(cell) + mark
        return int(max(header, min(body, _MOST_WIDTH)) + _MARGIN)

    def _on_resized(self, section: int, _old: int, width: int) -> None:
        if not self._is_sizing and width:
            self._widths[self.model.columns[section].name] = width

    def _fit(self) -> None:
        self.view.horizontalHeader().ensurePolished()
        self.view.fit_rows()
        self._show_columns()

    def _open_column_menu(self, at: QPoint) -> None:
        self._open_menu(self.column_menu(), self.view.horizontalHeader().mapToGlobal(at))

    def _open_row_menu(self, at: QPoint) -> None:
        self._open_menu(self.row_menu(), self.view.viewport().mapToGlobal(at))

    def _open_menu(self, menu: QMenu, at: QPoint) -> None:
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(at)

    def _connect(self) -> None:
        view, header = self.view, self.view.horizontalHeader()
        self.model.reordering.connect(self._on_reordering)
        self.model.reordered.connect(self._on_reordered)
        view.chosen.connect(self._on_chosen)
        view.went.connect(self._on_went)
        view.opened.connect(self._on_opened)
        view.copied.connect(self.copy)
        view.restyled.connect(self._fit)
        view.customContextMenuRequested.connect(self._open_row_menu)
        header.customContextMenuRequested.connect(self._open_column_menu)
        header.sectionClicked.connect(self._on_header)
        header.sectionResized.connect(self._on_resized)
        self.filter.textChanged.connect(lambda _text: self._delay.start())
        self.filter.returnPressed.connect(self._on_typed)
        self._delay.timeout.connect(self._on_typed)

    def _lay_out(self) -> None:
        self.filter.setPlaceholderText(f"Filter, e.g. {EXAMPLES}")
        self.filter.setAccessibleName("Filter")
        self.filter.setClearButtonEnabled(True)
        icon = self.style().standardIcon(QStyle.StandardPixmap.SP_MessageBoxWarning)
        self._warning = self.filter.addAction(icon, QLineEdit.ActionPosition.TrailingPosition)
        top = QHBoxLayout()
        top.addWidget(self.filter, 1)
        top.addWidget(self.count)
        top.setContentsMargins(0, 0, 4, 0)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(top)
        column.addWidget(self.view, 1)
