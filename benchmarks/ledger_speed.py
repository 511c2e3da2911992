"""How fast the ledger is, each figure beside a floor measured in the same run.

    python benchmarks/ledger_speed.py

The ratio to the floor is what counts; seconds depend on the disk and what else it does.
Writes are the median of many, in which the ledger and its floor take turns; listings are the
best of several rounds.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from napari_sam3.jobs.costs import LINE
from napari_sam3.jobs.ledger import Caps, Ledger, Origin

MANY, RUNS, WRITES, ROUNDS = 100_000, 200, 200, 5
# a thousand questions a day
SPACING_S = 86.4
KEY = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
ORIGIN = Origin("run-1a2b3c4d", "session-1a2b3c4d", "cells in mitosis")
CAPS = Caps(per_run=1e9, per_day=1e9)


def main() -> None:
    """Print one line per piece of work."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        print(f"{'work':58} {'floor':>9} {'ours':>9} {'ratio':>6}  target")
        _writes(ledger, "an empty ledger")
        _fill(ledger)
        _writes(ledger, f"{MANY:,} entries")
        _lists(ledger)
        _opens(ledger)
        ledger.close()


def _writes(ledger: Ledger, size: str) -> None:
    bare = _bare(ledger.path.with_name("bare.sqlite"))
    floors: list[float] = []
    times: dict[str, list[float]] = {"plan": [], "submit": [], "accept": [], "answer": []}
    for number in range(WRITES):
        floors.append(_timed(lambda: _write_bare(bare)))
        key = f"{KEY}{size}{number}"
        entry_ids: list[int] = []
        times["plan"].append(
            _timed(lambda: entry_ids.extend(_plan(ledger, key)))  # noqa: B023  (called at once)
        )
        entry_id = entry_ids[0]
        steps: dict[str, Callable[[], object]] = {
            "submit": lambda: ledger.submit(entry_id, CAPS),  # noqa: B023
            "accept": lambda: ledger.accept(entry_id, KEY, b"ticket"),  # noqa: B023
            "answer": lambda: ledger.answer(entry_id, 0.04, 3.0),  # noqa: B023
        }
        for name, step in steps.items():
            times[name].append(_timed(step))
    bare.close()
    for name, taken in times.items():
        _report(
            f"{name}, {size} (floor: a bare insert)",
            statistics.median(floors),
            statistics.median(taken),
            "0.005 s",
        )


def _plan(ledger: Ledger, key: str) -> list[int]:
    return ledger.plan(ORIGIN, "segmind", "sam3-image", [(key, "nucleus")], 0.05)


def _bare(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, key TEXT, at REAL)")
    return db


def _write_bare(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO entries (key, at) VALUES (?, ?)", (KEY, 1.8e9))
    db.execute("COMMIT")


def _fill(ledger: Ledger) -> None:
    for run in range(RUNS):
        asked = [(f"{KEY}{run}-{number}", "nucleus") for number in range(MANY // RUNS)]
        origin = Origin(f"run-{run}", f"session-{run // 4}", ORIGIN.project)
        ledger.plan(origin, "segmind", "sam3-image", asked, 0.05)
    # one by one, answering them would take minutes
    db = sqlite3.connect(ledger.path)
    with db:
        db.execute(
            "UPDATE entries SET state = 'answered', cost = 0.04, seconds = 3.1, "
            f"request_id = 'request-' || id, submitted_at = planned_at - id * {SPACING_S}, "
            f"ended_at = planned_at + 3 - id * {SPACING_S} WHERE state = 'planned'"
        )
    db.close()


def _lists(ledger: Ledger) -> None:
    db = sqlite3.connect(ledger.path)

    def fetch(query: str) -> Callable[[], object]:
        return lambda: db.execute(query).fetchall()

    everything = fetch(f"SELECT {', '.join(LINE)} FROM entries ORDER BY id DESC")
    _report(f"{MANY:,} entries listed (floor: fetchall)", *_best(everything, ledger.lines), "0.2 s")
    page = fetch("SELECT * FROM entries ORDER BY id DESC LIMIT 200")
    _report(
        "the newest 200 listed (floor: fetchall)",
        *_best(page, lambda: ledger.entries(200)),
        "–",
    )
    summed = fetch("SELECT total(cost) FROM entries")
    _report("today's costs (floor: a bare sum)", *_best(summed, ledger.today), "–")
    _report("costs by day (floor: a bare sum)", *_best(summed, lambda: ledger.costs("day")), "–")
    db.close()


def _opens(ledger: Ledger) -> None:
    def reopen() -> None:
        ledger.close()
        ledger.today()

    def connect() -> None:
        db = sqlite3.connect(ledger.path)
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        db.close()

    _report(f"opened and checked, {MANY:,} entries (floor: bare)", *_best(connect, reopen), "–")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _best(floor: Callable[[], object], work: Callable[[], object]) -> tuple[float, float]:
    rounds = [(_timed(floor), _timed(work)) for _ in range(ROUNDS)]
    return min(first for first, _ in rounds), min(second for _, second in rounds)


def _report(work: str, floor: float, ours: float, target: str) -> None:
    print(f"{work:58} {floor:8.5f}s {ours:8.5f}s {ours / floor:6.2f}  ≤ {target}")


if __name__ == "__main__":
    main()
