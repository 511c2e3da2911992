"""Answers that were paid for, came, and could not be stored: they stay to be collected."""

from __future__ import annotations

import logging

import pytest

from napari_sam3.errors import CancelledError, ConsentError, CreditsError, LedgerError
from napari_sam3.jobs import owners
from napari_sam3.jobs.collecting import iter_collect
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.estimate import estimate
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.jobs.paid import COLLECTABLE, PaidEngine

from .paid import (
    COST,
    KEPT_S,
    BillingEngine,
    later,
    request_for,
    states,
    without_cache,
)

ANYTHING = Consent(None, frozenset())


def asked(engine, records, consent=ANYTHING, text="nucleus", **options):
    return PaidEngine(engine, records, consent, **options).segment(request_for(text))


def in_another_process(monkeypatch):
    """From now on this is another process, and the one before has ended."""
    monkeypatch.setattr(owners, "here", lambda: "another")
    monkeypatch.setattr(owners, "lives", lambda owner: owner == "another")


@pytest.fixture
def full(tmp_path):
    """Make that no answer can be stored; return what makes room."""
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the folder should be")
    return blocked.unlink


@pytest.mark.parametrize("at_once", [False, True], ids=["v2", "v1"])
class TestNothingStoredIt:
    def test_it_stays_to_be_collected_and_says_so(self, records, service, full, at_once):
        result = asked(BillingEngine(service, at_once=at_once), records)
        (notice,) = result.notices
        assert "could not be stored" in notice
        assert notice.endswith(COLLECTABLE)
        assert states(records) == ["answered"]
        assert records.ledger.spent() == COST
        assert [entry.question for entry in records.accounts().unfinished()] == ["nucleus"]

    def test_once_there_is_room_it_is_collected_and_stored(self, records, service, full, at_once):
        engine = BillingEngine(service, at_once=at_once)
        first = asked(engine, records)
        full()
        assert [*iter_collect(records)] != []
        assert records.accounts().unfinished() == []
        again = asked(engine, records, Consent())
        assert again.usage.cached
        assert again.record.answer_sha256 == first.record.answer_sha256
        assert service.sent == ["nucleus"]

    def test_the_next_run_fetches_it_and_pays_nothing(self, records, service, full, at_once):
        engine = BillingEngine(service, at_once=at_once)
        asked(engine, records)
        question = Fingerprint.of(engine, request_for("nucleus"))
        expected = estimate(engine, [question], records)
        assert (expected.paid, expected.calls) == (1, ())
        again = asked(engine, records, Consent())
        assert again.usage.credits == 0.0
        assert len(again.instances) == 1
        full()
        assert len(asked(engine, records, Consent()).instances) == 1
        assert asked(engine, records, Consent()).usage.cached
        assert (service.sent, records.ledger.spent()) == (["nucleus"], COST)


def test_what_is_saved_is_offered_no_more(engine, records, full):
    result = asked(engine, records)
    records.ledger.settle([(result.record.key, result.usage.request_id)])
    assert records.accounts().unfinished() == []
    with pytest.raises(ConsentError):
        asked(engine, records, Consent())


def test_saving_an_answer_settles_no_other_one_of_the_same_question(engine, records, full):
    result = asked(engine, records)
    records.ledger.settle([(result.record.key, "request-of-before")])
    assert len(records.accounts().unfinished()) == 1


def test_an_answer_that_the_service_forgot_has_a_price_again(engine, records, service, full):
    asked(engine, records)
    service.jobs.clear()
    later(records, KEPT_S + 1)
    question = Fingerprint.of(engine, request_for("nucleus"))
    expected = estimate(engine, [question], records)
    assert (expected.paid, expected.calls, expected.unknown) == (0, (question,), ())
    with pytest.raises(ConsentError):
        asked(engine, records, Consent())
    asked(engine, records)
    assert states(records) == ["answered", "answered"]


def test_one_that_cannot_be_fetched_again_now_keeps_its_ticket(engine, records, service, full):
    asked(engine, records)
    service.collect_mishaps.append("stopped")
    with pytest.raises(CancelledError):
        asked(engine, records)
    assert states(records) == ["answered"]
    assert len(asked(engine, records).instances) == 1
    assert service.sent == ["nucleus"]


class TestWithoutACache:
    def test_whoever_has_the_answer_and_lives_may_ask_anew(self, engine, records, service):
        records = without_cache(records)
        for _ in range(2):
            assert asked(engine, records).notices == ()
        assert service.sent == ["nucleus"] * 2
        assert records.accounts().unfinished() == []

    def test_one_that_ended_before_it_saved_the_answer_loses_nothing(
        self, engine, records, service, monkeypatch
    ):
        records = without_cache(records)
        asked(engine, records)
        in_another_process(monkeypatch)
        assert [entry.state for entry in records.accounts().unfinished()] == ["answered"]
        assert len(asked(engine, records, Consent()).instances) == 1
        assert service.sent == ["nucleus"]

    def test_two_that_ask_at_once_find_the_answer_of_one_that_ended(
        self, engine, records, service, monkeypatch, tmp_path
    ):
        records = without_cache(records)
        asked(engine, records)
        in_another_process(monkeypatch)
        asking = PaidEngine(engine, records, ANYTHING)
        # as it was planned before the other one ended
        with asking.planned([Fingerprint.of(engine, request_for("nucleus"))]):
            again = asking.segment(request_for("nucleus"))
        assert again.usage.credits == 0.0
        assert "planned" not in states(records)
        assert service.sent == ["nucleus"]


class TestALedgerThatFillsUpAfterTheRequestIsSent:
    @pytest.fixture
    def unwritable(self, records, monkeypatch):
        def broken(*_args):
            raise LedgerError("The disk is full.")

        monkeypatch.setattr(records.ledger, "accept", broken)

    def test_the_request_id_is_said_at_once(self, engine, records, service, unwritable, caplog):
        heard = []
        collect = engine.collect
        engine.collect = lambda *args: heard.append(caplog.text) or collect(*args)
        with caplog.at_level(logging.WARNING, "napari_sam3"):
            result = asked(engine, records)
        assert "request id is request-1" in heard[0]
        assert any("request id is request-1" in notice for notice in result.notices)

    def test_it_is_said_where_the_answer_does_not_come(self, engine, records, service, unwritable):
        service.collect_mishaps.append("stopped")
        with pytest.raises(CancelledError, match="request id is request-1"):
            asked(engine, records)

    def test_an_answer_that_nothing_holds_is_not_paid_again_unasked(
        self, engine, records, service, unwritable, full
    ):
        result = asked(engine, records)
        assert not any(COLLECTABLE in notice for notice in result.notices)
        assert states(records) == ["unknown"]
        expected = estimate(engine, [Fingerprint.of(engine, request_for("nucleus"))], records)
        assert len(expected.unknown) == 1
        # but the one that was saved is done with
        records.ledger.settle([(result.record.key, result.usage.request_id)])
        assert states(records) == ["answered"]


class TestCredits:
    def refuse(self, engine):
        def refused(*_args):
            raise CreditsError("The account has not enough credits.", status=406)

        engine.submit = refused

    def test_one_alone_is_refused_for_its_credits(self, engine, records):
        self.refuse(engine)
        with pytest.raises(CreditsError, match=r"credits\.$"):
            asked(engine, records)

    def test_calls_under_way_may_have_reserved_them(self, engine, records, service, tmp_path):
        (other,) = records.ledger.plan(
            records.accounts().origin(), "paid", "paid 1", [("k", "cell")], 0.1
        )
        records.ledger.submit(other)
        self.refuse(engine)
        with pytest.raises(CreditsError, match=r"another request is under way.*reserve credits"):
            asked(engine, records)

    def test_those_of_a_process_that_ended_reserve_nothing(self, engine, records, monkeypatch):
        (other,) = records.ledger.plan(
            records.accounts().origin(), "paid", "paid 1", [("k", "cell")], 0.1
        )
        records.ledger.submit(other)
        in_another_process(monkeypatch)
        self.refuse(engine)
        with pytest.raises(CreditsError, match=r"credits\.$"):
            asked(engine, records)
