from __future__ import annotations

import threading

import pytest
from qtpy.QtCore import QCoreApplication, QEvent

from napari_sam3.core.progress import Progress
from napari_sam3.errors import CancelledError, EngineError
from napari_sam3.widgets._worker import Job, Runner

LIMIT_MS = 20_000


class Gate:
    """A workflow that waits to be let go, and counts itself."""

    running = 0
    most_at_once = 0

    def __init__(self, answer, error=None, heeds_stop=True):
        self.answer, self.error, self.heeds_stop = answer, error, heeds_stop
        self.entered, self.leave = threading.Event(), threading.Event()
        self.thread = None

    def __call__(self, stop):
        self.thread = threading.get_ident()
        Gate.running += 1
        Gate.most_at_once = max(Gate.most_at_once, Gate.running)
        try:
            yield Progress(0, 1, "waiting")
            self.entered.set()
            while not self.leave.wait(0.01):
                if self.heeds_stop and stop.is_set():
                    raise CancelledError("Cancelled.")
            if self.error is not None:
                raise self.error
            return self.answer
        finally:
            Gate.running -= 1


class Heard:
    """All that a runner tells, in order."""

    def __init__(self, runner):
        self.all, self.threads = [], set()
        for name in ("started", "progressed", "returned", "failed", "cancelled", "idle"):
            getattr(runner, name).connect(lambda *args, name=name: self.note(name, *args))

    def note(self, name, *args):
        self.threads.add(threading.get_ident())
        self.all.append((name, *args))

    def of(self, name):
        return [event[1:] for event in self.all if event[0] == name]

    @property
    def answers(self):
        return [answer for _job, answer in self.of("returned")]


@pytest.fixture(autouse=True)
def gates():
    Gate.running = Gate.most_at_once = 0
    made = []
    yield lambda *args, **kwargs: made.append(Gate(*args, **kwargs)) or made[-1]
    for gate in made:
        gate.leave.set()


@pytest.fixture
def runner(qtbot):
    return Runner()


@pytest.fixture
def heard(runner):
    return Heard(runner)


def entered(qtbot, gate):
    qtbot.waitUntil(gate.entered.is_set, timeout=LIMIT_MS)


def idle(qtbot, runner):
    qtbot.waitUntil(lambda: not runner.is_busy, timeout=LIMIT_MS)


def test_an_answer_comes_back_with_its_job_in_the_windows_thread(qtbot, runner, heard, gates):
    gate = gates("answer")
    job = Job(gate, context="mine")
    assert runner.start(job)
    entered(qtbot, gate)
    gate.leave.set()
    idle(qtbot, runner)
    assert [event[0] for event in heard.all] == ["started", "progressed", "returned", "idle"]
    assert heard.of("returned") == [(job, "answer")]
    assert heard.threads == {threading.get_ident()}
    assert gate.thread != threading.get_ident()


def test_a_newer_job_of_a_lane_takes_the_place_of_the_older(qtbot, runner, heard, gates):
    old, new = gates("old", heeds_stop=False), gates("new")
    runner.start(Job(old, lane="a"))
    entered(qtbot, old)
    runner.start(Job(new, lane="a"))
    old.leave.set()
    new.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["new"]
    assert heard.of("cancelled") == []


def test_the_older_job_of_a_lane_is_told_to_stop(qtbot, runner, heard, gates):
    old, new = gates("old"), gates("new")
    runner.start(Job(old, lane="a"))
    entered(qtbot, old)
    runner.start(Job(new, lane="a"))
    new.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["new"]


def test_of_many_jobs_in_a_row_the_newest_is_always_answered_last(qtbot, runner, heard, gates):
    first = gates(0)
    runner.start(Job(first, lane="a"))
    entered(qtbot, first)
    for number in range(1, 20):
        gate = gates(number)
        gate.leave.set()
        runner.start(Job(gate, lane="a"))
    idle(qtbot, runner)
    assert heard.answers == [19]
    assert Gate.most_at_once == 1


def test_lanes_do_not_drop_each_others_jobs(qtbot, runner, heard, gates):
    both = [gates("a"), gates("b")]
    for gate in both:
        runner.start(Job(gate, lane=gate.answer))
        gate.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["a", "b"]
    assert Gate.most_at_once == 1


def test_a_question_that_is_being_answered_is_not_asked_again(qtbot, runner, heard, gates):
    gate, again = gates("answer"), gates("again")
    runner.start(Job(gate, lane="a", question="q"))
    entered(qtbot, gate)
    assert runner.start(Job(again, lane="a", question="q"))
    gate.leave.set()
    again.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["answer"]


def test_a_question_whose_answer_is_dropped_is_asked_again(qtbot, runner, heard, gates):
    jobs = [gates("first", heeds_stop=False), gates("other"), gates("again")]
    for gate, question in zip(jobs, ("q", "r", "q"), strict=True):
        runner.start(Job(gate, lane="a", question=question))
        if gate is jobs[0]:
            entered(qtbot, gate)
    for gate in jobs:
        gate.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["again"]


def test_a_second_billed_job_is_refused_and_the_first_is_delivered(qtbot, runner, heard, gates):
    paid = gates("paid")
    assert runner.start(Job(paid, lane="a", billed=True))
    entered(qtbot, paid)
    assert not runner.start(Job(gates("second"), lane="a", billed=True))
    paid.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["paid"]


def test_a_billed_job_waits_for_a_free_one(qtbot, runner, heard, gates):
    free, paid = gates("free"), gates("paid")
    runner.start(Job(free, lane="a"))
    entered(qtbot, free)
    job = Job(paid, lane="b", billed=True)
    assert runner.start(job)
    assert runner.is_waiting(job)
    assert not runner.start(Job(gates("second"), lane="b", billed=True))
    free.leave.set()
    paid.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["free", "paid"]


def test_a_free_job_waits_for_a_billed_one_and_never_drops_it(qtbot, runner, heard, gates):
    paid, free = gates("paid"), gates("free")
    runner.start(Job(paid, lane="a", billed=True))
    entered(qtbot, paid)
    assert runner.start(Job(free, lane="a"))
    paid.leave.set()
    free.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["paid", "free"]


def test_a_free_job_does_not_push_a_billed_one_out_of_the_queue(qtbot, runner, heard, gates):
    first, paid, free = gates("first"), gates("paid"), gates("free")
    runner.start(Job(first, lane="x"))
    entered(qtbot, first)
    runner.start(Job(paid, lane="a", billed=True))
    runner.start(Job(free, lane="a"))
    for gate in (first, paid, free):
        gate.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["first", "paid", "free"]


def test_a_billed_answer_after_cancel_is_still_delivered(qtbot, runner, heard, gates):
    paid = gates("paid", heeds_stop=False)
    runner.start(Job(paid, billed=True))
    entered(qtbot, paid)
    runner.cancel()
    assert heard.of("cancelled") == []
    assert runner.is_paid
    paid.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["paid"]


def test_a_billed_job_that_heeds_the_stop_is_cancelled_once(qtbot, runner, heard, gates):
    paid = gates("paid")
    runner.start(Job(paid, billed=True))
    entered(qtbot, paid)
    runner.cancel()
    runner.cancel()
    idle(qtbot, runner)
    assert len(heard.of("cancelled")) == 1
    assert heard.answers == []


def test_cancel_ends_a_free_job_at_once_and_once(qtbot, runner, heard, gates):
    stubborn = gates("late", heeds_stop=False)
    runner.start(Job(stubborn))
    entered(qtbot, stubborn)
    runner.cancel()
    runner.cancel()
    assert len(heard.of("cancelled")) == 1
    stubborn.leave.set()
    idle(qtbot, runner)
    assert heard.answers == []
    assert len(heard.of("cancelled")) == 1


def test_cancel_then_run_never_runs_two_at_once(qtbot, runner, heard, gates):
    stubborn, new = gates("late", heeds_stop=False), gates("new")
    runner.start(Job(stubborn))
    entered(qtbot, stubborn)
    runner.cancel()
    job = Job(new)
    runner.start(job)
    assert runner.is_waiting(job)
    stubborn.leave.set()
    entered(qtbot, new)
    new.leave.set()
    idle(qtbot, runner)
    assert Gate.most_at_once == 1
    assert heard.answers == ["new"]


def test_cancel_forgets_what_waits(qtbot, runner, heard, gates):
    first, second = gates("first"), gates("second")
    runner.start(Job(first, lane="a"))
    entered(qtbot, first)
    runner.start(Job(second, lane="b"))
    runner.cancel()
    idle(qtbot, runner)
    assert not second.entered.is_set()
    assert len(heard.of("cancelled")) == 2


def test_a_dropped_lane_is_never_heard_of(qtbot, runner, heard, gates):
    running, waiting, other = gates("r", heeds_stop=False), gates("w"), gates("other")
    runner.start(Job(running, lane="a"))
    entered(qtbot, running)
    runner.start(Job(other, lane="b"))
    runner.drop("a")
    for gate in (running, waiting, other):
        gate.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["other"]
    assert heard.of("cancelled") == []


def test_a_billed_job_cannot_be_dropped(qtbot, runner, heard, gates):
    paid = gates("paid")
    runner.start(Job(paid, lane="a", billed=True))
    entered(qtbot, paid)
    runner.drop("a")
    paid.leave.set()
    idle(qtbot, runner)
    assert heard.answers == ["paid"]


@pytest.mark.parametrize("error", [EngineError("No."), RuntimeError("bug"), SystemExit(1)])
def test_every_error_comes_back_and_the_next_job_runs(qtbot, runner, heard, gates, error):
    bad, good = gates(None, error=error), gates("good")
    runner.start(Job(bad, lane="a"))
    runner.start(Job(good, lane="b"))
    bad.leave.set()
    good.leave.set()
    idle(qtbot, runner)
    assert [e for _job, e in heard.of("failed")] == [error]
    assert heard.answers == ["good"]


def test_an_error_of_a_stale_job_is_not_shown(qtbot, runner, heard, gates):
    bad, good = gates(None, error=EngineError("No."), heeds_stop=False), gates("good")
    runner.start(Job(bad, lane="a"))
    entered(qtbot, bad)
    runner.start(Job(good, lane="a"))
    bad.leave.set()
    good.leave.set()
    idle(qtbot, runner)
    assert heard.of("failed") == []
    assert heard.answers == ["good"]


def test_a_workflow_that_cannot_even_start_fails_its_job(qtbot, runner, heard):
    def broken(stop):
        raise EngineError("No.")

    runner.start(Job(broken))
    idle(qtbot, runner)
    assert [str(error) for _job, error in heard.of("failed")] == ["No."]


def test_an_answer_reaches_whoever_asked_and_a_stale_one_nobody(qtbot, runner, gates):
    old, new, paid = gates("old", heeds_stop=False), gates("new"), gates("paid")
    got = []
    runner.start(Job(old, lane="a", done=got.append))
    entered(qtbot, old)
    runner.start(Job(new, lane="a", done=lambda answer: got.append((answer, "for new"))))
    runner.start(Job(paid, lane="b", billed=True, done=got.append))
    runner.drop("b")
    for gate in (old, new, paid):
        gate.leave.set()
    idle(qtbot, runner)
    assert got == [("new", "for new"), "paid"]


@pytest.mark.parametrize("error", [EngineError("No disk."), RuntimeError("bug")])
def test_a_failure_is_said_and_a_fault_of_ours_reported_too(qtbot, gates, error):
    said, got = [], []
    runner, gate = Runner(say=said.append), gates(None, error=error)
    with qtbot.captureExceptions() as raised:
        runner.start(Job(gate, done=got.append))
        gate.leave.set()
        idle(qtbot, runner)
    assert (said, got) == ([str(error)], [])
    assert [one[1] for one in raised] == ([error] if isinstance(error, RuntimeError) else [])


def test_idle_is_told_once_all_are_done(qtbot, runner, heard, gates):
    jobs = [gates("a"), gates("b")]
    for gate in jobs:
        runner.start(Job(gate, lane=gate.answer))
        gate.leave.set()
    idle(qtbot, runner)
    assert len(heard.of("idle")) == 1
    assert heard.all[-1] == ("idle",)


def test_a_runner_that_is_gone_is_not_told(qtbot, gates):
    gate = gates("late", heeds_stop=False)
    runner = Runner()
    job = Job(gate)
    runner.start(job)
    entered(qtbot, gate)
    runner.deleteLater()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gate.leave.set()
    qtbot.waitUntil(lambda: Gate.running == 0, timeout=LIMIT_MS)
    qtbot.waitUntil(job.stop.is_set, timeout=LIMIT_MS)
