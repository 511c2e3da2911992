"""What the ledger promises about questions, money and time."""

import sqlite3
import threading
import time
from contextlib import closing

import psutil
import pytest

from napari_sam3.errors import CapReachedError, LedgerError, PromptError
from napari_sam3.jobs.ledger import Caps, CostRow, InFlightError, Ledger, Origin, Rate

NOON = 1_700_000_000.0
HERE = Origin("run-1", "session-1", "kidney")


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    ledger = Ledger(tmp_path / "data" / "ledger.sqlite", clock)
    yield ledger
    ledger.close()


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/St_Johns"])
def zone(request, monkeypatch):
    if not hasattr(time, "tzset"):
        pytest.skip("the local time zone cannot be changed here")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def plan(ledger, key="k", expected=0.05, origin=HERE, words="nucleus"):
    return ledger.plan(origin, "segmind", "sam3-image", [(key, words)], expected)[0]


def submitted(ledger, key="k", expected=0.05, origin=HERE):
    entry_id = plan(ledger, key, expected, origin)
    ledger.submit(entry_id)
    return entry_id


def answered(ledger, cost, key="k", seconds=3.0, origin=HERE):
    entry_id = submitted(ledger, key, origin=origin)
    ledger.answer(entry_id, cost, seconds)
    return entry_id


def state(ledger, entry_id):
    return next(entry.state for entry in ledger.entries() if entry.id == entry_id)


class TestLifeOfAQuestion:
    def test_nothing_is_written_before_the_first_use(self, ledger):
        assert not ledger.path.parent.exists()
        assert ledger.notices == ()

    def test_what_is_planned_is_listed_with_all_that_was_said(self, ledger, clock):
        first, second = ledger.plan(
            HERE, "segmind", "sam3-image", [("k1", "nucleus"), ("k2", "2 clicks")], 0.05
        )
        newer, older = ledger.entries()
        assert (older.id, newer.id) == (first, second)
        assert older._replace(owner="", id=0) == (
            *(0, "k1", "planned", "segmind", "sam3-image", "nucleus"),
            *("run-1", "session-1", "kidney", NOON, None, None, None, 0.05, None, None, "", ""),
        )

    def test_planning_nothing_is_no_error(self, ledger):
        assert ledger.plan(HERE, "segmind", "sam3-image", [], 0.05) == []

    def test_planning_is_all_or_nothing(self, ledger):
        with pytest.raises(LedgerError):
            ledger.plan(HERE, "segmind", "sam3-image", [("k1", "a"), ("k2", None)], 0.05)
        assert ledger.entries() == []

    @pytest.mark.parametrize("expected", [-0.01, float("nan"), float("inf")])
    def test_an_impossible_price_is_refused(self, ledger, expected):
        with pytest.raises(ValueError, match="cannot cost"):
            plan(ledger, expected=expected)

    def test_a_submitted_question_is_on_disk_before_anything_is_sent(self, ledger, clock):
        entry_id = plan(ledger)
        clock.now += 2
        ledger.submit(entry_id)
        # another program's eyes, while the ledger is still open
        other = sqlite3.connect(ledger.path)
        seen = other.execute("SELECT state, submitted_at, expected FROM entries").fetchall()
        other.close()
        assert seen == [("submitted", NOON + 2, 0.05)]

    def test_an_answer_has_its_cost_and_needs_no_ticket_any_more(self, ledger, clock):
        entry_id = submitted(ledger)
        ledger.accept(entry_id, "request-7", b"\0ticket" * 1000)
        assert ledger.packed(entry_id) == b"\0ticket" * 1000
        clock.now += 5
        ledger.answer(entry_id, 0.04, 3.5)
        (entry,) = ledger.entries()
        assert (entry.state, entry.request_id, entry.cost) == ("answered", "request-7", 0.04)
        assert (entry.seconds, entry.ended_at) == (3.5, NOON + 5)
        assert ledger.packed(entry_id) is None

    def test_a_later_ticket_replaces_the_first(self, ledger):
        entry_id = submitted(ledger)
        ledger.accept(entry_id, None, b"first")
        ledger.accept(entry_id, "request-7", b"second")
        assert ledger.packed(entry_id) == b"second"

    def test_a_lost_question_keeps_its_ticket_and_can_still_be_answered(self, ledger):
        entry_id = submitted(ledger)
        ledger.accept(entry_id, "request-7", b"ticket")
        ledger.lose(entry_id, "the wait was cut off")
        assert ledger.packed(entry_id) == b"ticket"
        assert ledger.entries()[0].message == "the wait was cut off"
        ledger.answer(entry_id, 0.04, None)
        assert (state(ledger, entry_id), ledger.entries()[0].message) == ("answered", "")

    def test_a_lost_question_that_the_engine_forgot_is_not_offered_again(self, ledger):
        entry_id = submitted(ledger)
        ledger.accept(entry_id, "request-7", b"ticket")
        ledger.lose(entry_id, "no such request", keep_ticket=False)
        assert (ledger.packed(entry_id), ledger.unfinished()) == (None, [])

    def test_an_acceptance_that_comes_late_is_kept(self, ledger):
        entry_id = submitted(ledger)
        ledger.lose(entry_id, "given up too early")
        ledger.accept(entry_id, "request-7", b"ticket")
        assert [entry.id for entry in ledger.unfinished()] == [entry_id]

    def test_a_failed_question_keeps_the_reason_and_no_ticket(self, ledger):
        entry_id = submitted(ledger)
        ledger.accept(entry_id, "request-7", b"ticket")
        ledger.fail(entry_id, "The image is too large.")
        assert ledger.entries()[0].message == "The image is too large."
        assert ledger.packed(entry_id) is None

    def test_a_cancelled_question_can_never_be_sent(self, ledger):
        entry_id = plan(ledger)
        ledger.cancel(entry_id)
        with pytest.raises(LedgerError, match="is cancelled and cannot become submitted"):
            ledger.submit(entry_id)

    @pytest.mark.parametrize("price", [float("nan"), float("inf"), -1.0])
    def test_an_answer_with_an_impossible_price_counts_as_expected(self, ledger, price):
        answered(ledger, price, seconds=float("nan"))
        assert (ledger.entries()[0].cost, ledger.entries()[0].seconds) == (None, None)
        assert ledger.spent() == 0.05


TO = {
    "submitted": lambda ledger, i: ledger.submit(i),
    "accepted": lambda ledger, i: ledger.accept(i, "r", b""),
    "answered": lambda ledger, i: ledger.answer(i, 0.04, 3.0),
    "failed": lambda ledger, i: ledger.fail(i, "no"),
    "unknown": lambda ledger, i: ledger.lose(i, "lost"),
    "cancelled": lambda ledger, i: ledger.cancel(i),
}
ALLOWED = {
    "planned": {"submitted", "cancelled"},
    "submitted": {"accepted", "answered", "failed", "unknown"},
    "unknown": {"accepted", "answered", "failed", "unknown"},
    "answered": set(),
    "failed": set(),
    "cancelled": set(),
}


class TestImpossibleChanges:
    @pytest.mark.parametrize("before", ALLOWED)
    @pytest.mark.parametrize("after", TO)
    def test_a_change_is_made_exactly_when_it_makes_sense(self, ledger, before, after):
        entry_id = plan(ledger)
        if before in {"answered", "failed", "unknown"}:
            ledger.submit(entry_id)
        if before != "planned":
            TO[before](ledger, entry_id)
        was = ledger.entries()
        if after in ALLOWED[before]:
            TO[after](ledger, entry_id)
            return
        with pytest.raises(LedgerError, match=f"is {before} and cannot become {after}"):
            TO[after](ledger, entry_id)
        assert ledger.entries() == was

    @pytest.mark.parametrize("after", TO)
    def test_a_question_that_does_not_exist_cannot_change(self, ledger, after):
        with pytest.raises(LedgerError, match="no request 12345"):
            TO[after](ledger, 12345)


class TestUnderWay:
    def test_the_same_question_is_not_sent_while_it_is_under_way(self, ledger):
        first, second = submitted(ledger), plan(ledger)
        with pytest.raises(InFlightError, match="under way already") as refused:
            ledger.submit(second)
        assert refused.value.entry.id == first
        assert state(ledger, second) == "planned"
        ledger.answer(first, 0.04, 3.0)
        ledger.submit(second)

    def test_nothing_is_open_that_was_never_sent(self, ledger):
        plan(ledger)
        assert ledger.open_entry("k") is None
        assert ledger.open_entry("another") is None

    def test_a_question_under_way_goes_before_a_lost_one(self, ledger):
        first, second = plan(ledger), plan(ledger)
        ledger.submit(second)
        ledger.lose(second, "lost")
        assert ledger.open_entry("k").id == second
        ledger.submit(first)
        assert ledger.open_entry("k").id == first

    def test_of_two_lost_ones_the_newer_is_open(self, ledger):
        for _ in range(2):
            newest = submitted(ledger)
            ledger.lose(newest, "lost")
        assert ledger.open_entry("k").id == newest

    def test_a_lost_question_is_settled_by_a_later_answer_only(self, ledger):
        answered(ledger, 0.04)
        lost = submitted(ledger)
        ledger.lose(lost, "lost")
        assert ledger.open_entry("k").id == lost
        answered(ledger, 0.04)
        assert ledger.open_entry("k") is None

    def test_this_process_owns_what_it_submitted(self, ledger):
        submitted(ledger)
        assert ledger.is_owned(ledger.entries()[0])
        assert ledger.unfinished() == []

    @pytest.mark.parametrize("owner", ["", "nonsense", "a b c", "host 1 x"])
    def test_an_owner_that_makes_no_sense_is_dead(self, ledger, owner):
        submitted(ledger)
        assert not ledger.is_owned(ledger.entries()[0]._replace(owner=owner))

    def test_a_process_id_that_is_used_again_is_not_the_owner(self, ledger):
        submitted(ledger)
        (entry,) = ledger.entries()
        host, pid, _ = entry.owner.rsplit(" ", 2)
        began = psutil.Process().create_time()
        assert ledger.is_owned(entry._replace(owner=f"{host} {pid} {began}"))
        assert not ledger.is_owned(entry._replace(owner=f"{host} {pid} {began - 100}"))

    def test_another_computer_is_trusted_for_as_long_as_an_answer_may_take(self, ledger, clock):
        submitted(ledger)
        entry = ledger.entries()[0]._replace(owner="elsewhere 1 1.0")
        assert ledger.is_owned(entry)
        clock.now += 3600
        assert not ledger.is_owned(entry)

    def test_another_computer_is_not_trusted_for_ever_after_a_clock_was_set_back(
        self, ledger, clock
    ):
        submitted(ledger)
        entry = ledger.entries()[0]._replace(owner="elsewhere 1 1.0")
        clock.now -= 3600
        assert not ledger.is_owned(entry)

    def test_what_this_process_plans_is_not_forgotten(self, ledger):
        plan(ledger)
        assert ledger.forget_planned() == 0
        assert ledger.entries()[0].state == "planned"


class TestCaps:
    def test_the_cap_of_a_run_counts_only_that_run(self, ledger):
        answered(ledger, 0.08, "a")
        other = plan(ledger, "b", origin=Origin("run-2", "session-1"))
        ledger.submit(other, Caps(per_run=0.10))
        with pytest.raises(CapReachedError, match="not sent"):
            ledger.submit(plan(ledger, "c"), Caps(per_run=0.10))

    def test_a_refusal_names_amount_and_cap_and_how_to_raise_it(self, ledger):
        answered(ledger, 0.08, "a")
        with pytest.raises(CapReachedError) as refused:
            ledger.submit(plan(ledger, "b", 0.0325), Caps(per_run=0.10))
        for part in ("$0.08", "$0.0325", "$0.10 per run", "napari-sam3 limits"):
            assert part in str(refused.value)

    def test_a_refused_question_stays_planned_and_costs_nothing(self, ledger):
        entry_id = plan(ledger)
        with pytest.raises(CapReachedError):
            ledger.submit(entry_id, Caps(per_day=0.04))
        assert (state(ledger, entry_id), ledger.spent()) == ("planned", 0)
        ledger.submit(entry_id, Caps(per_day=0.05))

    def test_a_cap_can_be_used_up_to_the_cent(self, ledger):
        # 0.1 + 0.1 + 0.1 is more than 0.3 to a computer
        for number in range(3):
            ledger.submit(plan(ledger, f"k{number}", 0.1), Caps(per_run=0.3, per_day=0.3))
        with pytest.raises(CapReachedError):
            ledger.submit(plan(ledger, "one more", 0.01), Caps(per_run=0.3))

    def test_a_cap_of_zero_lets_nothing_out_that_costs(self, ledger):
        with pytest.raises(CapReachedError):
            ledger.submit(plan(ledger), Caps(per_day=0))
        ledger.submit(plan(ledger, "free", 0.0), Caps(per_day=0))

    def test_what_may_have_been_billed_counts_and_what_was_not_does_not(self, ledger):
        ledger.lose(submitted(ledger, "lost"), "lost")
        submitted(ledger, "under way")
        ledger.fail(submitted(ledger, "failed"), "no")
        ledger.cancel(plan(ledger, "cancelled"))
        plan(ledger, "planned")
        answered(ledger, 0.02, "answered")
        assert ledger.spent() == pytest.approx(0.05 + 0.05 + 0.02)

    @pytest.mark.parametrize("cap", [-1.0, float("nan"), float("inf")])
    def test_a_cap_that_stops_nothing_cannot_be_made(self, cap):
        for name in ("per_run", "per_day"):
            with pytest.raises(PromptError, match=f"amount of money.* but it is {cap}"):
                Caps(**{name: cap})


class TestDays:
    def test_yesterday_is_over_at_local_midnight(self, ledger, clock, zone):
        midnight = time.mktime((2026, 6, 10, 0, 0, 0, 0, 0, -1))
        clock.now = midnight - 1
        answered(ledger, 0.50, "yesterday")
        clock.now = midnight + 1
        answered(ledger, 0.25, "today")
        assert ledger.today() == 0.25
        assert [row.name for row in ledger.costs("day")] == ["2026-06-10", "2026-06-09"]
        with pytest.raises(CapReachedError, match="Today"):
            ledger.submit(plan(ledger, "c"), Caps(per_day=0.29))
        ledger.submit(plan(ledger, "d"), Caps(per_day=0.30))

    def test_what_a_clock_that_jumped_back_dates_in_the_future_counts_today(self, ledger, clock):
        answered(ledger, 0.50, "tomorrow")
        clock.now -= 10 * 86400
        assert ledger.today() == 0.50
        with pytest.raises(CapReachedError):
            ledger.submit(plan(ledger), Caps(per_day=0.50))

    def test_a_clock_that_jumps_back_does_not_change_the_order(self, ledger, clock):
        lost = submitted(ledger)
        ledger.lose(lost, "lost")
        clock.now -= 86400
        later = answered(ledger, 0.04)
        assert [entry.id for entry in ledger.entries()] == [later, lost]
        assert ledger.open_entry("k") is None


class TestSums:
    def test_entries_can_be_chosen_by_session_and_number(self, ledger):
        mine = [plan(ledger, f"k{n}") for n in range(3)]
        other = plan(ledger, "o", origin=Origin("run-2", "session-1"))
        third = plan(ledger, "t", origin=Origin("run-3", "session-2"))
        assert [e.id for e in ledger.entries()] == [third, other, *reversed(mine)]
        assert [e.id for e in ledger.entries(2)] == [third, other]
        assert [e.id for e in ledger.entries(session="session-1")] == [other, *reversed(mine)]
        assert [e.id for e in ledger.entries(1, session="session-2")] == [third]
        assert ledger.entries(0) == ledger.entries(-1) == ledger.entries(session="none") == []

    @pytest.mark.parametrize("cost", [-5.0, 1e300, float("inf"), "abc", b"x"])
    def test_what_no_answer_can_cost_is_not_believed_in_the_file_either(self, ledger, cost):
        for key in "abc":
            answered(ledger, 0.01, key)
        with closing(sqlite3.connect(ledger.path)) as db, db:
            db.execute("UPDATE entries SET cost = ?, seconds = ?", (cost, cost))
        assert ledger.spent() == pytest.approx(3 * 0.05)
        assert ledger.rate("segmind", "sam3-image") is None
        assert [row.cost for row in ledger.costs("session")] == [pytest.approx(3 * 0.05)]

    def test_spending_can_be_asked_by_time_run_and_session(self, ledger, clock):
        answered(ledger, 1.0, "a")
        clock.now += 10
        answered(ledger, 2.0, "b", origin=Origin("run-2", "session-1"))
        answered(ledger, 4.0, "c", origin=Origin("run-3", "session-2"))
        assert ledger.spent() == 7
        assert ledger.spent(since=NOON + 10) == 6
        assert ledger.spent(run="run-1") == 1
        assert ledger.spent(session="session-1") == 3
        assert ledger.spent(since=NOON + 10, session="session-1") == 2

    def test_a_rate_needs_three_answers_with_a_cost(self, ledger):
        for cost in (0.03, 0.05, None):
            answered(ledger, cost)
        assert ledger.rate("segmind", "sam3-image") is None
        answered(ledger, 0.04, seconds=None)
        assert ledger.rate("segmind", "sam3-image") == Rate(
            pytest.approx(0.032), pytest.approx(0.048), 3.0, 3
        )
        assert ledger.rate("segmind", "another") is None

    def test_a_rate_is_drawn_from_the_last_fifty_answers(self, ledger):
        for number in range(53):
            answered(ledger, 9.0 if number < 3 else number / 100, seconds=float(number))
        found = ledger.rate("segmind", "sam3-image")
        assert found == Rate(pytest.approx(0.079), pytest.approx(0.471), 27.5, 50)

    @pytest.mark.parametrize(
        ("by", "name"), [("run", "run-1"), ("session", "session-1"), ("project", "kidney")]
    )
    def test_costs_say_what_became_of_the_questions(self, ledger, clock, by, name):
        answered(ledger, 0.02, "a")
        clock.now += 60
        ledger.fail(submitted(ledger, "f"), "no")
        ledger.lose(submitted(ledger, "u"), "lost")
        submitted(ledger, "s")
        ledger.cancel(plan(ledger, "never sent"))
        row = CostRow(name, NOON, 4, 1, 1, 1, pytest.approx(0.12))
        assert ledger.costs(by) == [row]

    def test_costs_are_listed_newest_first(self, ledger):
        for run in ("b", "a", "c", "a"):
            answered(ledger, 0.5, origin=Origin(run, "s"))
        assert [(row.name, row.cost) for row in ledger.costs("run")] == [
            ("a", 1.0),
            ("c", 0.5),
            ("b", 0.5),
        ]
        assert ledger.costs("project")[0].name == ""

    def test_an_empty_ledger_has_cost_nothing(self, ledger):
        assert (ledger.spent(), ledger.today(), ledger.costs("day")) == (0, 0, [])


class TestThreads:
    def test_threads_that_share_a_ledger_never_exceed_a_cap(self, ledger):
        sent, refused = [], []

        def ask(thread):
            for number in range(5):
                entry_id = plan(ledger, f"{thread}-{number}")
                try:
                    ledger.submit(entry_id, Caps(per_day=0.5))
                    sent.append(entry_id)
                except CapReachedError:
                    refused.append(entry_id)

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(sent), len(refused)) == (10, 10)
        assert ledger.spent() == pytest.approx(0.5)

    def test_a_closed_ledger_opens_again(self, ledger):
        entry_id = submitted(ledger)
        ledger.close()
        ledger.close()
        assert state(ledger, entry_id) == "submitted"
