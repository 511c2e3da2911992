"""What a run would cost, said before anything is sent."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.errors import CancelledError, LedgerError, OutcomeUnknownError, ResponseError
from napari_sam3.jobs import owners
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.estimate import Estimate, estimate
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.jobs.ledger import Caps
from napari_sam3.jobs.paid import PaidEngine

from .paid import COST, BillingEngine, key_for, limited, request_for, without_cache

ANYTHING = Consent(None, frozenset())


def questions(engine, *texts):
    return [Fingerprint.of(engine, request_for(text)) for text in texts]


def estimated(engine, records, *texts, **options):
    return estimate(engine, questions(engine, *texts), records, **options)


def ask(engine, records, text, **options):
    return PaidEngine(engine, records, ANYTHING, **options).segment(request_for(text))


def test_each_question_is_a_call_at_the_vendors_price(engine, records, service):
    found = estimated(engine, records, "a", "b", "c")
    assert [call.words for call in found.calls] == ["a", "b", "c"]
    assert (found.low, found.high) == (pytest.approx(0.15), 3 * COST)
    assert (found.questions, found.cached, found.paid, found.unknown) == (3, 0, 0, ())
    assert service.sent == []


def test_what_is_stored_or_asked_twice_costs_nothing(engine, records):
    ask(engine, records, "a")
    found = estimated(engine, records, "a", "b", "b", "c")
    assert ([call.words for call in found.calls], found.cached) == (["b", "c"], 2)
    assert found.words.startswith("4 requests, 2 from cache, 2 calls, about $")


def test_asked_afresh_what_is_stored_costs_again(engine, records):
    ask(engine, records, "a")
    assert len(estimated(engine, records, "a", newer_than=time.time()).calls) == 1
    assert len(estimated(engine, without_cache(records), "a").calls) == 1


def test_a_run_that_costs_nothing_needs_neither_consent_nor_the_ledger(engine, records, tmp_path):
    ask(engine, records, "a")
    records.ledger.close()
    (tmp_path / "data" / "ledger.sqlite").unlink()
    found = estimated(engine, records, "a", "a")
    assert not found.needs_consent
    assert found.words == "2 requests, 2 from cache, 0 calls"
    assert not (tmp_path / "data" / "ledger.sqlite").exists()


def test_a_free_engine_costs_nothing_and_needs_no_ledger(records):
    asked = [Fingerprint.of(BuiltinEngine(), request_for("a"))]
    found = estimate(BuiltinEngine(), asked, records)
    assert found == Estimate(1)
    assert found.words == "1 request"
    assert not records.ledger.path.exists()


def test_without_a_ledger_nothing_is_promised(engine, records, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(LedgerError):
        estimated(engine, records, "a")


def test_what_was_paid_and_not_fetched_is_no_call(engine, records, service):
    service.collect_mishaps.append("stopped")
    with pytest.raises(CancelledError):
        ask(engine, records, "a")
    found = estimated(engine, records, "a", "b")
    assert (found.paid, [call.words for call in found.calls]) == (1, ["b"])
    assert "1 paid for already" in found.words


def test_what_may_have_been_billed_before_always_needs_a_word(engine, records, service):
    service.submit_mishaps.append("lost after")
    with pytest.raises(OutcomeUnknownError):
        ask(engine, records, "a")
    found = estimated(engine, limited(records, confirm_above=100.0), "a", "b")
    assert [entry.key for entry in found.unknown] == [key_for(engine, "a")]
    assert found.needs_consent
    assert any("billed already" in warning for warning in found.warnings)


def test_what_a_dead_process_was_sending_is_listed_as_unknown(
    engine, records, service, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(owners, "here", lambda: "nobody")
        (entry_id,) = records.ledger.plan(
            records.accounts().origin(),
            engine.name,
            engine.model,
            [(key_for(engine, "a"), "a")],
            0.05,
        )
        records.ledger.submit(entry_id)
    found = estimated(engine, records, "a")
    assert [entry.id for entry in found.unknown] == [entry_id]
    # that word is enough: nobody has to ask twice
    agreed = frozenset(call.key for call in found.calls)
    engine = PaidEngine(engine, records, Consent(agreed, agreed))
    assert engine.segment(request_for("a")).usage.request_id == "request-1"


def test_an_answer_that_cannot_be_read_counts_as_one_that_may_be_billed_again(records, service):
    engine = BillingEngine(service, at_once=True)
    service.collect_mishaps.append("unreadable")
    with pytest.raises(ResponseError):
        ask(engine, records, "a")
    found = estimated(engine, records, "a")
    assert (found.paid, len(found.calls), len(found.unknown)) == (0, 1, 1)


def test_the_rate_is_that_of_the_last_answers(engine, records):
    for text in ("a", "b", "c"):
        ask(engine, records, text)
    found = estimated(engine, records, "d", "e", "f", "g", "h", in_flight=2)
    assert (found.low, found.high) == (5 * COST, 5 * COST)
    # two at a time: three rounds of the usual 1.5 seconds
    assert found.seconds == 4.5
    assert "5 calls, about $0.31, about 4 s" in found.words


@pytest.mark.parametrize(("above", "is_needed"), [(COST, False), (COST / 2, True), (0.0, True)])
def test_consent_is_needed_above_the_limit_only(engine, records, above, is_needed):
    found = estimated(engine, limited(records, confirm_above=above), "a")
    assert found.needs_consent is is_needed


@pytest.mark.parametrize(
    ("caps", "says"),
    [
        (Caps(), ""),
        (Caps(per_run=2 * COST), ""),
        (Caps(per_run=2 * COST - 0.01), "for a run"),
        (Caps(per_day=3 * COST), ""),
        (Caps(per_day=3 * COST - 0.01), "for a day"),
    ],
)
def test_a_cap_that_may_stop_the_run_is_told(engine, records, caps, says):
    ask(engine, records, "spent before")
    found = estimated(engine, limited(records, confirm_above=0.0, caps=caps), "a", "b")
    assert (says in found.over_cap) if says else not found.over_cap


def test_a_cap_that_is_just_enough_warns_of_nothing(engine, records):
    # 0.1 + 0.1 + 0.1 is more than 0.3 to a computer
    engine.price = replace(engine.price, low=0.1, high=0.1)
    strict = limited(records, caps=Caps(0.3, 0.3))
    assert estimated(engine, strict, "a", "b", "c").over_cap == ""


def test_a_cap_that_is_used_up_is_no_warning_where_nothing_is_sent(engine, records, service):
    service.collect_mishaps.append("stopped")
    with pytest.raises(CancelledError):
        ask(engine, records, "a")
    found = estimated(engine, limited(records, caps=Caps(per_day=0.0)), "a")
    assert (found.paid, found.over_cap, found.needs_consent) == (1, "", False)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (120, "2 min"), (9000, "2.5 h")]
)
def test_the_time_is_told_in_units_that_are_read_at_once(seconds, words):
    call = Fingerprint("0" * 64, "a", {})
    found = Estimate(1, calls=(call,), low=0.006, high=0.006, seconds=seconds)
    assert found.words == f"1 request, 1 call, about $0.006, about {words}"


def test_cheap_answers_do_not_make_the_next_ones_look_free(engine, records, service):
    origin = records.accounts().origin()
    ids = records.ledger.plan(origin, engine.name, engine.model, [("0" * 64, "x")] * 3, 0.0)
    for entry_id in ids:
        records.ledger.submit(entry_id)
        records.ledger.answer(entry_id, 0.0, 1.0)
    found = estimate(engine, [Fingerprint.of(engine, request_for("a"))], records)
    # the caps go by the vendor's price, so the estimate does, too
    assert found.high == engine.price.high


def test_a_ledger_that_began_anew_needs_a_word(engine, records, service):
    asked = [Fingerprint.of(engine, request_for("a"))]
    generous = limited(records, confirm_above=9.0)
    assert not estimate(engine, asked, generous).needs_consent
    records.ledger.close()
    records.ledger.path.write_bytes(b"no database" * 400)
    found = estimate(engine, asked, generous)
    assert found.needs_consent
    assert found.warnings == records.ledger.notices != ()


def test_what_a_stand_in_costs_is_no_guide_to_the_service(engine, records):
    for text in ("a", "b", "c"):
        ask(engine, records, text)
    engine.billed_as = "model at another service"
    found = estimated(engine, records, "d")
    assert (found.low, found.high) == (0.05, COST)
    assert found.seconds == engine.price.seconds
