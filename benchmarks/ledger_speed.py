"""How fast the ledger is, each figure beside a floor measured in the same run.

    python -m benchmarks.ledger_speed

Writes are the median of many, in which the ledger and its floor take turns; listings are the
best of several rounds.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import best, heading, report, seconds, sizes_asked_for
from napari_sam3.jobs.costs import LINE
from napari_sam3.jobs.ledger import Caps, Ledger, Origin

# a thousand questions a day
SPACING_S = 86.4
KEY = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
ORIGIN = Origin("run-1a2b3c4d", "session-1a2b3c4d", "cells in mitosis")
CAPS = Caps(per_run=1e9, per_day=1e9)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    entries: int = 100_000
    runs: int = 200
    writes: int = 200
    rounds: int = 5


SMALL = Sizes(entries=60, runs=3, writes=2, rounds=1)


def main() -> None:
    """Print one line per piece of work."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        heading()
        _writes(ledger, "an empty ledger", sizes)
        _fill(ledger, sizes)
        _writes(ledger, f"{sizes.entries:,} entries", sizes)
        _lists(ledger, sizes)
        _opens(ledger, sizes)
        ledger.close()


def _writes(ledger: Ledger, size: str, sizes: Sizes) -> None:
    bare = _bare(ledger.path.with_name("bare.sqlite"))
    floors: list[float] = []
    times: dict[str, list[float]] = {"plan": [], "submit": [], "accept": [], "answer": []}
    for number in range(sizes.writes):
        floors.append(seconds(lambda: _write_bare(bare)))
        key = f"{KEY}{size}{number}"
        entry_ids: list[int] = []
        times["plan"].append(
            seconds(lambda: entry_ids.extend(_plan(ledger, key)))  # noqa: B023  (called at once)
        )
        entry_id = entry_ids[0]
        steps: dict[str, Callable[[], object]] = {
            "submit": lambda: ledger.submit(entry_id, CAPS),  # noqa: B023
            "accept": lambda: ledger.accept(entry_id, KEY, b"ticket"),  # noqa: B023
            "answer": lambda: ledger.answer(entry_id, 0.04, 3.0),  # noqa: B023
        }
        for name, step in steps.items():
            times[name].append(seconds(step))
    bare.close()
    for name, taken in times.items():
        report(
            f"{name}, {size} (a bare insert)",
            statistics.median(floors),
            statistics.median(taken),
            within_s=0.005,
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


def _fill(ledger: Ledger, sizes: Sizes) -> None:
    for run in range(sizes.runs):
        asked = [
            (f"{KEY}{run}-{number}", "nucleus") for number in range(sizes.entries // sizes.runs)
        ]
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


def _lists(ledger: Ledger, sizes: Sizes) -> None:
    many, rounds = f"{sizes.entries:,} entries", sizes.rounds
    db = sqlite3.connect(ledger.path)

    def fetch(query: str) -> Callable[[], object]:
        return lambda: db.execute(query).fetchall()

    everything = fetch(f"SELECT {', '.join(LINE)} FROM entries ORDER BY id DESC")
    listed = best(rounds, everything, ledger.lines)
    report(f"{many} listed (fetchall)", *listed, within_s=0.2)
    page = fetch("SELECT * FROM entries ORDER BY id DESC LIMIT 200")
    newest = best(rounds, page, lambda: ledger.entries(200))
    report("the newest 200 listed (fetchall)", *newest)
    summed = fetch("SELECT total(cost) FROM entries")
    report("today's costs (a bare sum)", *best(rounds, summed, ledger.today))
    report("costs by day (a bare sum)", *best(rounds, summed, lambda: ledger.costs("day")))
    db.close()


def _opens(ledger: Ledger, sizes: Sizes) -> None:
    def reopen() -> None:
        ledger.close()
        ledger.today()

    def connect() -> None:
        db = sqlite3.connect(ledger.path)
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        db.close()

    opened = best(sizes.rounds, connect, reopen)
    report(f"opened and checked, {sizes.entries:,} entries (bare)", *opened)


if __name__ == "__main__":
    main()
