"""The ledger against a model of it in plain Python, over any sequence of steps.

Money is counted in whole cents in the model, so it also shows that no cap is off by a rounding.
"""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_sam3.errors import CapReachedError, LedgerError
from napari_sam3.jobs.ledger import Caps, InFlightError, Ledger, Origin
from tests.tiers import examples

DAY = 86400.0
KEYS, RUNS = ["a", "b", "c"], ["run-1", "run-2"]
CENTS = st.integers(0, 30)


@dataclass
class Row:
    key: str
    run: str
    expected: int
    state: str = "planned"
    submitted_at: float = 0.0
    cost: int | None = None
    ticket: bytes | None = None

    @property
    def amount(self):
        if self.state not in {"submitted", "answered", "unknown"}:
            return 0
        return self.expected if self.cost is None else self.cost


def midnight(now):
    return time.mktime((*time.localtime(now)[:3], 0, 0, 0, 0, 0, -1))


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="napari-sam3-ledger-"))
        self.now = 1_700_000_000.0
        self.rows = {}
        self.ledger = self.opened()

    def opened(self):
        return Ledger(self.folder / "ledger.sqlite", lambda: self.now)

    def teardown(self):
        self.ledger.close()
        shutil.rmtree(self.folder)

    def pick(self, data):
        return data.draw(st.sampled_from(sorted(self.rows)), label="entry")

    def change(self, entry_id, allowed, write):
        """Write, and expect an error exactly where the change makes no sense."""
        if self.rows[entry_id].state in allowed:
            write()
            return True
        with pytest.raises(LedgerError):
            write()
        return False

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3), cents=CENTS)
    def plan(self, keys, cents):
        self.now += 1
        run = RUNS[len(self.rows) % 2]
        asked = [(key, "words") for key in keys]
        ids = self.ledger.plan(Origin(run, "session"), "e", "m", asked, cents / 100)
        first = max(self.rows, default=ids[0] - 1) + 1
        assert ids == list(range(first, first + len(keys)))
        self.rows |= {i: Row(key, run, cents) for i, key in zip(ids, keys, strict=True)}

    @precondition(lambda self: self.rows)
    @rule(
        data=st.data(),
        per_run=st.none() | st.integers(0, 90),
        per_day=st.none() | st.integers(0, 120),
    )
    def submit(self, data, per_run, per_day):
        planned = [i for i, row in self.rows.items() if row.state == "planned"]
        entry_id = data.draw(st.sampled_from(planned or sorted(self.rows)), label="entry")
        row = self.rows[entry_id]
        expected = self.expected_refusal(row, per_run, per_day)
        caps = Caps(*(None if cap is None else cap / 100 for cap in (per_run, per_day)))
        if expected is None:
            self.ledger.submit(entry_id, caps)
            row.state, row.submitted_at = "submitted", self.now
            return
        with pytest.raises(expected) as refused:
            self.ledger.submit(entry_id, caps)
        assert refused.type is expected

    def expected_refusal(self, row, per_run, per_day):
        if row.state != "planned":
            return LedgerError
        if any(r.key == row.key and r.state == "submitted" for r in self.rows.values()):
            return InFlightError
        if per_run is not None and self.spent(run=row.run) + row.expected > per_run:
            return CapReachedError
        if per_day is not None and self.today() + row.expected > per_day:
            return CapReachedError
        return None

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), packed=st.binary(max_size=5))
    def accept(self, data, packed):
        entry_id = self.pick(data)
        write = lambda: self.ledger.accept(entry_id, f"request-{entry_id}", packed)  # noqa: E731
        if self.change(entry_id, {"submitted", "unknown"}, write):
            self.rows[entry_id].ticket = packed

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), cents=st.none() | CENTS)
    def answer(self, data, cents):
        entry_id = self.pick(data)
        cost = None if cents is None else cents / 100
        if self.change(
            entry_id, {"submitted", "unknown"}, lambda: self.ledger.answer(entry_id, cost, 1.0)
        ):
            row = self.rows[entry_id]
            row.state, row.cost, row.ticket = "answered", cents, None

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), end=st.sampled_from(["failed", "unknown"]))
    def end_badly(self, data, end):
        entry_id = self.pick(data)
        write = self.ledger.fail if end == "failed" else self.ledger.lose
        if self.change(entry_id, {"submitted", "unknown"}, lambda: write(entry_id, "why")):
            row = self.rows[entry_id]
            row.state, row.ticket = end, None if end == "failed" else row.ticket

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def cancel(self, data):
        entry_id = self.pick(data)
        if self.change(entry_id, {"planned"}, lambda: self.ledger.cancel(entry_id)):
            self.rows[entry_id].state = "cancelled"

    @rule(seconds=st.sampled_from([-2 * DAY, -3600.0, 60.0, DAY]))
    def clock_jumps(self, seconds):
        self.now += seconds

    @rule()
    def reopen(self):
        self.ledger.close()
        self.ledger = self.opened()

    def spent(self, since=float("-inf"), run=None):
        return sum(
            row.amount
            for row in self.rows.values()
            if row.submitted_at >= since and run in {None, row.run}
        )

    def today(self):
        return self.spent(since=midnight(self.now))

    def open_entry(self, key):
        mine = {i: row for i, row in self.rows.items() if row.key == key}
        newest = {row.state: i for i, row in mine.items()}
        if "submitted" in newest or "unknown" not in newest:
            return newest.get("submitted")
        return newest["unknown"] if newest.get("answered", 0) < newest["unknown"] else None

    @invariant()
    def states_agree(self):
        listed = {entry.id: entry.state for entry in self.ledger.entries()}
        assert list(listed) == sorted(self.rows, reverse=True)
        assert listed == {i: row.state for i, row in self.rows.items()}

    @invariant()
    def sums_agree(self):
        assert self.ledger.spent() == pytest.approx(self.spent() / 100)
        assert self.ledger.today() == pytest.approx(self.today() / 100)
        for by in ("run", "day"):
            rows = self.ledger.costs(by)
            assert sum(row.cost for row in rows) == pytest.approx(self.spent() / 100)
            sent = [r for r in self.rows.values() if r.state not in {"planned", "cancelled"}]
            assert sum(row.questions for row in rows) == len(sent)

    @invariant()
    def what_is_open_agrees(self):
        for key in KEYS:
            found = self.ledger.open_entry(key)
            assert (found and found.id) == self.open_entry(key)

    @invariant()
    def tickets_agree(self):
        assert {i: self.ledger.packed(i) for i in self.rows} == {
            i: row.ticket for i, row in self.rows.items()
        }
        lost = [i for i, r in self.rows.items() if r.state == "unknown" and r.ticket is not None]
        assert [entry.id for entry in self.ledger.unfinished()] == lost


LedgerMachine.TestCase.settings = examples(20, fewest=10, stateful_step_count=20)
TestAnySequence = LedgerMachine.TestCase
