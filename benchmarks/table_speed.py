"""How fast the objects table is with 100,000 rows, beside floors measured in the same run.

Needs a display, real or virtual::

    xvfb-run -a python -m benchmarks.table_speed
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtWidgets import QAbstractItemView, QApplication, QTableView, QWidget

from benchmarks.timing import heading, report, seconds, sizes_asked_for
from napari_sam3.core.objects import REVIEW_STATES
from napari_sam3.widgets._object_table import ObjectTable

SIZE = (400, 700)
NOWHERE = QModelIndex()


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rows: int = 100_000
    rounds: int = 5


SMALL = Sizes(rows=60, rounds=2)


class BareModel(QAbstractTableModel):
    """As many cells, which all say the same: what Qt itself needs."""

    def __init__(self, rows: int, parent: QTableView) -> None:
        super().__init__(parent)
        self.rows = rows

    def rowCount(self, parent: QModelIndex = NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else self.rows

    def columnCount(self, parent: QModelIndex = NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return the number of columns."""
        return 0 if parent.isValid() else 9

    def data(self, _index: QModelIndex, role: int = 0) -> Any:
        """Return what each cell says."""
        return "12345" if role == Qt.ItemDataRole.DisplayRole else None


def objects(rows: int, seed: int = 0) -> pd.DataFrame:
    """Return a frame as a Labels layer has it, with a prompt that is never the same."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "index": np.arange(1, rows + 1),
            "score": random.random(rows),
            "area": random.integers(10, 5000, rows),
            "concept": random.choice(["nucleus", "cell", "cell body", "mitochondrion"], rows),
            "engine": random.choice(["Built-in", "SAM3"], rows),
            "prompt": [f"{number} points" for number in random.permutation(rows)],
            "state": random.choice(REVIEW_STATES, rows),
            "overlaps": random.random(rows) < 0.1,
            "perimeter": random.random(rows) * 1000,
        }
    )


def timed(*actions: Callable[[], object]) -> float:
    """Return the median time of actions, each of which is a round, in seconds."""
    return statistics.median(map(seconds, actions))


def paint(widget: QWidget) -> None:
    """Do all that is due and draw what is in sight, now."""
    QApplication.processEvents()
    widget.repaint()


def open_bare(rows: int) -> QTableView:
    """Open a table of Qt's with nothing in it that takes time."""
    view = QTableView()
    view.setModel(BareModel(rows, view))
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    return opened(view)


def open_table(frame: pd.DataFrame) -> ObjectTable:
    """Open the objects table."""
    table = ObjectTable()
    table.show(frame)
    opened(table)
    paint(table.view.viewport())
    return table


def opened(widget: Any) -> Any:
    """Show a widget and draw it for the first time."""
    widget.resize(*SIZE)
    widget.show()
    paint(widget)
    return widget


def then_paint(table: ObjectTable, action: Callable[[], object]) -> Callable[[], None]:
    """Return an action that ends when its outcome is seen."""

    def both() -> None:
        action()
        paint(table.view.viewport())

    return both


def measure(sizes: Sizes) -> None:
    """Print the table."""
    rows, rounds = sizes.rows, sizes.rounds
    frame, other = objects(rows), objects(rows, 1)
    bare = [open_bare(rows) for _ in range(2)][-1]
    bare_s = timed(*[partial(open_bare, rows)] * rounds)
    opened_s = timed(*[lambda: open_table(frame)] * rounds)
    report("open (a bare table)", bare_s, opened_s, within_s=1)
    table = open_table(frame)
    viewport = table.view.viewport()
    bare_s = timed(*[bare.viewport().repaint] * rounds)
    report("paint (a bare table)", bare_s, timed(*[viewport.repaint] * rounds), within_s=0.016)

    def step(changed: pd.DataFrame) -> Callable[[], None]:
        return then_paint(table, lambda: table.show(changed))

    copy_s = timed(*[lambda: frame.copy(deep=True)] * rounds)
    one = frame.copy()
    one.loc[rows // 2, "state"] = "accepted"
    fewer = frame.drop(index=[5, rows // 2])
    for words, frames in {
        "one cell changed": [one, frame],
        "two rows less or more": [fewer, frame],
        "all cells changed": [other, frame],
    }.items():
        report(f"{words} (a copy)", copy_s, timed(*map(step, frames * 3)), within_s=0.1)
    table.set_filter("cell area>500")
    table.model.sort_by("state")
    words = "the same two rows, sorted by state and filtered (a copy)"
    report(words, copy_s, timed(*map(step, [fewer, frame] * 3)), within_s=0.1)
    table.set_filter("")
    measure_orders(table, frame, rounds)
    measure_selections(table, bare, frame, rounds)
    table.close()


def measure_orders(table: ObjectTable, frame: pd.DataFrame, rounds: int) -> None:
    """Time sorting and filtering: of a frame seen for the first time, drawing included."""

    def fresh(action: Callable[[], object]) -> float:
        taken = []
        for _ in range(rounds):
            table.set_filter("")
            table.model.sort_by(None)
            table.show(frame)
            taken.append(timed(then_paint(table, action)))
        return statistics.median(taken)

    for name in ("score", "area", "concept", "prompt"):
        cells = frame[name].to_numpy()
        floor_s = timed(*[partial(np.argsort, cells, kind="stable")] * rounds)
        found = fresh(partial(table.model.sort_by, name, descending=True))
        report(f"sort by {name} (NumPy's argsort)", floor_s, found, within_s=0.2)
    words, areas = frame["concept"], frame["area"].to_numpy()
    word_s = timed(*[lambda: words.str.contains("NUCLEUS", case=False)] * rounds)
    area_s = timed(*[lambda: np.flatnonzero(areas > 500)] * rounds)
    for text, floor, floor_s in (
        ("nucleus", "pandas' contains", word_s),
        ("area>500", "NumPy's >", area_s),
        ("123", "pandas' contains", word_s),
        ("nuc area>500 score<=0.7 state=edited", "pandas' contains", word_s),
    ):
        found = fresh(partial(table.set_filter, text))
        report(f"filter {text} ({floor})", floor_s, found, within_s=0.2)


def measure_selections(
    table: ObjectTable, bare: QTableView, frame: pd.DataFrame, rounds: int
) -> None:
    """Time selecting everything, and every twentieth; going on by one, and copying."""
    table.set_filter("")
    table.model.sort_by(None)
    heard: list[tuple[int, ...]] = []
    table.selected.connect(heard.append)

    choose = then_paint(table, table.view.selectAll)

    def choose_bare() -> None:
        bare.selectAll()
        paint(bare.viewport())

    bare.clearSelection()
    bare_s = timed(choose_bare)
    report("select all, and tell of it (a bare table)", bare_s, timed(choose), within_s=0.1)
    assert [len(labels) for labels in heard] == [len(frame)]
    half = range(1, len(frame), 20)
    found = timed(*[then_paint(table, partial(table.select, half))] * rounds)
    read_s = timed(*[lambda: np.isin(table.model.labels, list(half))] * rounds)
    report("select every twentieth (np.isin)", read_s, found, within_s=0.2)
    report("select all after that (a bare table)", bare_s, timed(choose), within_s=0.1)
    assert [len(labels) for labels in heard] == [len(frame)] * 2
    move = timed(*[then_paint(table, partial(table.move, 1))] * 3 * rounds)
    bare_s = timed(*[bare.viewport().repaint] * rounds)
    report("move by one (paint)", bare_s, move, within_s=0.016)
    table.view.selectAll()
    csv_s = timed(lambda: frame.to_csv(sep="\t", index=False))
    report("copy all (pandas' to_csv)", csv_s, timed(table.copy), within_s=2)


if __name__ == "__main__":
    asked_for = sizes_asked_for(__doc__, Sizes(), SMALL)
    app = QApplication.instance() or QApplication([])
    heading()
    measure(asked_for)
