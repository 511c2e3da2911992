"""How fast the objects table is with 100,000 rows, beside floors measured in the same run.

Needs a display, real or virtual::

    xvfb-run -a python benchmarks/table_speed.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtWidgets import QAbstractItemView, QApplication, QTableView, QWidget

from napari_sam3.core.objects import REVIEW_STATES
from napari_sam3.widgets._object_table import ObjectTable

ROWS, ROUNDS = 100_000, 5
SIZE = (400, 700)
NOWHERE = QModelIndex()


class BareModel(QAbstractTableModel):
    """As many cells, which all say the same: what Qt itself needs."""

    def rowCount(self, parent: QModelIndex = NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return the number of rows."""
        return 0 if parent.isValid() else ROWS

    def columnCount(self, parent: QModelIndex = NOWHERE) -> int:  # noqa: N802 - Qt's name
        """Return the number of columns."""
        return 0 if parent.isValid() else 9

    def data(self, _index: QModelIndex, role: int = 0) -> Any:
        """Return what each cell says."""
        return "12345" if role == Qt.ItemDataRole.DisplayRole else None


def objects(seed: int = 0) -> pd.DataFrame:
    """Return a frame as a Labels layer has it, with a prompt that is never the same."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "index": np.arange(1, ROWS + 1),
            "score": random.random(ROWS),
            "area": random.integers(10, 5000, ROWS),
            "concept": random.choice(["nucleus", "cell", "cell body", "mitochondrion"], ROWS),
            "engine": random.choice(["Built-in", "SAM3"], ROWS),
            "prompt": [f"{number} points" for number in random.permutation(ROWS)],
            "state": random.choice(REVIEW_STATES, ROWS),
            "overlaps": random.random(ROWS) < 0.1,
            "perimeter": random.random(ROWS) * 1000,
        }
    )


def timed(*actions: Callable[[], object]) -> float:
    """Return the median time of actions, each of which is a round, in milliseconds."""
    taken = []
    for action in actions:
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return 1000 * statistics.median(taken)


def report(work: str, found_ms: float, target_ms: float, floor: str, floor_ms: float) -> None:
    """Print one line of the table."""
    verdict = "ok" if found_ms <= target_ms else "MISSED"
    ratio = found_ms / floor_ms
    print(
        f"{work:<46} {found_ms:7.1f} ms  target {target_ms:5.0f} ms  {verdict:<6} "
        f"{ratio:7.1f} × {floor_ms:7.2f} ms ({floor})"
    )


def paint(widget: QWidget) -> None:
    """Do all that is due and draw what is in sight, now."""
    QApplication.processEvents()
    widget.repaint()


def open_bare() -> QTableView:
    """Open a table of Qt's with nothing in it that takes time."""
    view = QTableView()
    view.setModel(BareModel(view))
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


def measure() -> None:
    """Print the table."""
    frame, other = objects(), objects(1)
    bare = [open_bare() for _ in range(2)][-1]
    bare_ms = timed(*[open_bare] * ROUNDS)
    report("open", timed(*[lambda: open_table(frame)] * ROUNDS), 1000, "a bare table", bare_ms)
    table = open_table(frame)
    viewport = table.view.viewport()
    bare_paint_ms = timed(*[bare.viewport().repaint] * ROUNDS)
    report("paint", timed(*[viewport.repaint] * ROUNDS), 16, "a bare table's", bare_paint_ms)

    def step(changed: pd.DataFrame) -> Callable[[], None]:
        return then_paint(table, lambda: table.show(changed))

    copy_ms = timed(*[lambda: frame.copy(deep=True)] * ROUNDS)
    one = frame.copy()
    one.loc[ROWS // 2, "state"] = "accepted"
    fewer = frame.drop(index=[5, ROWS // 2])
    report("one cell changed", timed(*map(step, [one, frame] * 3)), 100, "a copy", copy_ms)
    report("two rows less or more", timed(*map(step, [fewer, frame] * 3)), 100, "a copy", copy_ms)
    report("all cells changed", timed(*map(step, [other, frame] * 3)), 100, "a copy", copy_ms)
    table.set_filter("cell area>500")
    table.model.sort_by("state")
    note = "the same, sorted by state and filtered"
    report(note, timed(*map(step, [fewer, frame] * 3)), 100, "a copy", copy_ms)
    table.set_filter("")
    measure_orders(table, frame)
    measure_selections(table, bare, frame)
    table.close()


def measure_orders(table: ObjectTable, frame: pd.DataFrame) -> None:
    """Time sorting and filtering: of a frame seen for the first time, drawing included."""

    def fresh(action: Callable[[], object]) -> float:
        taken = []
        for _ in range(ROUNDS):
            table.set_filter("")
            table.model.sort_by(None)
            table.show(frame)
            taken.append(timed(then_paint(table, action)))
        return statistics.median(taken)

    for name in ("score", "area", "concept", "prompt"):
        cells = frame[name].to_numpy()
        floor_ms = timed(*[partial(np.argsort, cells, kind="stable")] * ROUNDS)
        found = fresh(partial(table.model.sort_by, name, descending=True))
        report(f"sort by {name}", found, 200, "NumPy's argsort", floor_ms)
    words, areas = frame["concept"], frame["area"].to_numpy()
    word_ms = timed(*[lambda: words.str.contains("NUCLEUS", case=False)] * ROUNDS)
    area_ms = timed(*[lambda: np.flatnonzero(areas > 500)] * ROUNDS)
    for text, floor, floor_ms in (
        ("nucleus", "pandas' contains", word_ms),
        ("area>500", "NumPy's >", area_ms),
        ("123", "pandas' contains", word_ms),
        ("nuc area>500 score<=0.7 state=edited", "pandas' contains", word_ms),
    ):
        found = fresh(partial(table.set_filter, text))
        report(f"filter {text}", found, 200, floor, floor_ms)


def measure_selections(table: ObjectTable, bare: QTableView, frame: pd.DataFrame) -> None:
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
    floor_ms = timed(choose_bare)
    report("select all, and tell of it", timed(choose), 100, "a bare table", floor_ms)
    assert [len(labels) for labels in heard] == [ROWS]
    half = range(1, ROWS, 20)
    found = timed(*[then_paint(table, partial(table.select, half))] * ROUNDS)
    read_ms = timed(*[lambda: np.isin(table.model.labels, list(half))] * ROUNDS)
    report("select every twentieth", found, 200, "np.isin", read_ms)
    found = timed(choose)
    report("select all after that", found, 200, "a bare table", floor_ms)
    assert [len(labels) for labels in heard] == [ROWS, ROWS]
    move = timed(*[then_paint(table, partial(table.move, 1))] * 3 * ROUNDS)
    report("move by one", move, 16, "paint", timed(*[bare.viewport().repaint] * ROUNDS))
    table.view.selectAll()
    copied = timed(table.copy)
    csv_ms = timed(lambda: frame.to_csv(sep="\t", index=False))
    report("copy all", copied, 2000, "pandas' to_csv", csv_ms)


if __name__ == "__main__":
    app = QApplication.instance() or QApplication([])
    measure()
