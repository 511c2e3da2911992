"""Answers that were paid for and never arrived."""

from __future__ import annotations

import threading
import time

import pytest

from napari_sam3.engines.base import NEVER
from napari_sam3.errors import CancelledError, EngineError, LedgerError, OutcomeUnknownError
from napari_sam3.jobs import owners
from napari_sam3.jobs.accounts import UnderWay
from napari_sam3.jobs.collecting import iter_collect
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.paid import PaidEngine

from .paid import COST, Ticket, key_for, later, request_for, states, without_cache

ANYTHING = Consent(None, frozenset())


def left(engine, records, service, *texts, mishap="stopped"):
    """Ask, and stop waiting for the answers."""
    for text in texts:
        service.collect_mishaps.append(mishap)
        with pytest.raises((CancelledError, EngineError)):
            PaidEngine(engine, records, ANYTHING).segment(request_for(text))


def collect(records, stop=NEVER, **how):
    """Collect all, and check that each was announced."""

    def follow():
        done.extend((yield from iter_collect(records, stop, **how)))

    done = []
    announced = list(follow())
    assert [one.entry for one in done] == announced[: len(done)]
    return tuple(done)


def planned_by_nobody(engine, records, monkeypatch, text="a", *, is_sent=True):
    with monkeypatch.context() as patch:
        patch.setattr(owners, "here", lambda: "nobody")
        asked = [(key_for(engine, text), text)]
        (entry_id,) = records.ledger.plan(
            records.accounts().origin(), engine.name, engine.model, asked, 0.05
        )
        if is_sent:
            records.ledger.submit(entry_id)
    return entry_id


def test_all_are_collected_oldest_first_and_stored(engine, records, service):
    left(engine, records, service, "a", "b")
    found = collect(records)
    assert [one.question.words for one in found] == ["a", "b"]
    assert [one.result.usage.credits for one in found] == [COST, COST]
    assert [one.result.record.key for one in found] == [key_for(engine, t) for t in "ab"]
    assert (states(records), records.accounts().unfinished()) == (["answered"] * 2, [])
    again = PaidEngine(engine, records).segment(request_for("b"))
    assert (again.usage.cached, again.record) == (True, found[1].result.record)
    assert service.sent == ["a", "b"]


def test_what_is_waited_for_right_now_is_left_alone(engine, records, service):
    left(engine, records, service, "a")
    (entry,) = records.accounts().unfinished()
    with UnderWay(records.ledger, entry.id):
        assert collect(records) == ()
    assert len(collect(records)) == 1


def test_nothing_unfinished_is_nothing_to_do(records):
    assert collect(records) == ()


def test_without_a_cache_the_answer_is_handed_over_all_the_same(engine, records, service):
    records = without_cache(records)
    left(engine, records, service, "a")
    (found,) = collect(records)
    assert len(found.result.instances) == 1
    # nobody kept it, so it stays to be collected
    assert any("stays to be collected" in notice for notice in found.result.notices)
    assert states(records) == ["submitted"]


def test_an_answer_that_is_kept_elsewhere_is_done_with(engine, records, service):
    records = without_cache(records)
    left(engine, records, service, "a")
    kept = []
    collect(records, keep=lambda one: kept.append(one) or True)
    assert [one.entry.question for one in kept] == ["a"]
    assert states(records) == ["answered"]


def test_an_older_answer_does_not_take_the_place_of_a_newer_one(engine, records, service):
    left(engine, records, service, "a")
    (entry,) = records.ledger.entries()
    records.ledger.lose(entry.id, "as if it could not be read")
    consent = Consent(frozenset({entry.key}), frozenset({entry.key}))
    service.collect_mishaps.append("unreadable")
    newer = PaidEngine(engine, records, consent, newer_than=time.time()).segment(request_for("a"))
    collect(records)
    stored = records.cache.get(entry.key).result
    assert stored.usage.request_id == newer.usage.request_id == "request-2"


@pytest.mark.parametrize("mishap", ["lost", "unreachable", "stopped"])
def test_what_cannot_be_fetched_now_is_offered_again(engine, records, service, mishap):
    left(engine, records, service, "a", "b")
    service.collect_mishaps.append(mishap)
    first, second = collect(records)
    assert (first.result, bool(first.error)) == (None, True)
    assert second.result is not None
    (again,) = collect(records)
    assert again.result.usage.request_id == "request-1"


def test_one_that_cannot_be_read_stays_unknown_and_keeps_its_ticket(engine, records, service):
    left(engine, records, service, "a")
    service.collect_mishaps.append("unreadable")
    (found,) = collect(records)
    assert "cannot be read" in found.error
    (entry,) = records.accounts().unfinished()
    assert (entry.state, records.ledger.packed(entry.id) is None) == ("unknown", False)


def test_what_the_service_forgot_is_not_offered_again(engine, records, service):
    left(engine, records, service, "a")
    service.jobs.clear()
    (found,) = collect(records)
    assert found.result is None
    # so early it may be a service that lags
    assert states(records) == ["submitted"]
    later(records, engine.kept_s + 1)
    collect(records)
    assert (states(records), records.accounts().unfinished()) == (["unknown"], [])
    assert records.ledger.spent() >= service.bill


def test_a_job_that_failed_meanwhile_was_not_billed(engine, records, service):
    service.jobs_fail = True
    left(engine, records, service, "a")
    (found,) = collect(records)
    assert "could not do this job" in found.error
    assert (states(records), records.ledger.spent()) == (["failed"], 0)


def test_one_that_was_being_sent_when_the_program_ended_is_told_of_once(
    engine, records, service, monkeypatch
):
    planned_by_nobody(engine, records, monkeypatch)
    (found,) = collect(records)
    assert "may have been billed" in found.error
    assert (states(records), collect(records)) == (["unknown"], ())


def test_an_answer_that_was_stored_and_not_written_down_is_not_fetched(
    engine, records, service, monkeypatch
):
    def broken(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records.ledger, "answer", broken)
        with pytest.raises(KeyboardInterrupt):
            PaidEngine(engine, records, ANYTHING).segment(request_for("a"))
    fetched = service.collected
    (found,) = collect(records)
    assert found.result.usage.request_id == "request-1"
    assert (service.collected, states(records)) == (fetched, ["answered"])
    assert records.ledger.spent() == COST


def test_an_older_stored_answer_is_not_taken_for_the_lost_one(
    engine, records, service, monkeypatch
):
    PaidEngine(engine, records, ANYTHING).segment(request_for("a"))
    # asked afresh, and killed before the service could answer
    lost = planned_by_nobody(engine, records, monkeypatch)
    (found,) = collect(records)
    assert found.result is None
    assert (states(records), found.entry.id) == (["answered", "unknown"], lost)


def test_one_ticket_that_is_damaged_keeps_no_other_answer_back(engine, records, service):
    left(engine, records, service, "a", "b", "c")
    first, second, _ = records.accounts().unfinished()
    records.ledger.accept(first.id, "request-1", b"damaged")
    head = records.ledger.packed(second.id).partition(b"\n")[0]
    records.ledger.accept(second.id, "request-2", head + b"\n{}")
    results = [one.result is None for one in collect(records)]
    assert results == [True, True, False]


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_ledger_that_cannot_be_written_keeps_no_answer_back(
    engine, records, service, monkeypatch, is_stored
):
    left(engine, records, service, "a", "b")
    if is_stored:
        answers = [engine.collect(Ticket(f"request-{n}")) for n in (1, 2)]
        monkeypatch.setattr(
            "napari_sam3.jobs.collecting._stored", lambda *_: answers.pop(0) if answers else None
        )

    def broken(*_args):
        raise LedgerError("The disk is full.")

    monkeypatch.setattr(records.ledger, "answer", broken)
    found = collect(records)
    assert [len(one.result.instances) for one in found] == [1, 1]
    assert all("The disk is full." in one.result.notices for one in found)


def test_a_cache_that_cannot_be_written_keeps_no_answer_back(engine, records, service, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    left(engine, records, service, "a")
    (found,) = collect(records)
    assert any("could not be stored" in notice for notice in found.result.notices)
    assert states(records) == ["submitted"]


def test_cancelled_what_was_collected_before_is_kept(engine, records, service):
    left(engine, records, service, "a", "b", "c")
    stop, steps = threading.Event(), iter_collect(records, threading.Event())
    steps.close()
    steps = iter_collect(records, stop)
    next(steps)
    next(steps)
    stop.set()
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert [one.result is not None for one in end.value.value] == [True, False]
    assert states(records) == ["answered", "submitted", "submitted"]


def test_an_engine_that_this_version_lacks_is_told_of(engine, records, service, monkeypatch):
    left(engine, records, service, "a")
    monkeypatch.setattr("napari_sam3.engines.ENGINES", ())
    (found,) = collect(records)
    assert "no engine called 'paid'" in found.error
    assert states(records) == ["submitted"]


def test_two_that_collect_at_once_both_have_the_answer(engine, records, service):
    left(engine, records, service, "a")
    steps = iter_collect(records)
    next(steps)
    assert collect(records)[0].result is not None
    with pytest.raises(StopIteration) as end:
        next(steps)
    (other,) = end.value.value
    assert other.result.usage.request_id == "request-1"
    assert service.sent == ["a"]


def test_a_lost_answer_without_a_ticket_is_not_offered(engine, records, service):
    service.submit_mishaps.append("lost after")
    with pytest.raises(OutcomeUnknownError):
        PaidEngine(engine, records, ANYTHING).segment(request_for("a"))
    assert collect(records) == ()


def test_a_lost_fresh_answer_is_fetched_although_an_older_one_is_stored(engine, records, service):
    PaidEngine(engine, records, ANYTHING).segment(request_for("a"))
    service.collect_mishaps.append("stopped")
    with pytest.raises(CancelledError):
        PaidEngine(engine, records, ANYTHING, newer_than=time.time()).segment(request_for("a"))
    (found,) = collect(records)
    assert found.result.usage.request_id == "request-2"
    assert service.billed["a"] == 2
