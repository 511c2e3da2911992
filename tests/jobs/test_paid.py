"""An engine that remembers: paid once, written down first, never sent again by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import psutil
import pytest

from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ObjectPrompt, Point
from napari_sam3.engines.base import NEVER, SegmentationRequest
from napari_sam3.errors import (
    CancelledError,
    CapReachedError,
    ConsentError,
    EngineError,
    LedgerError,
    OutcomeUnknownError,
    RequestRejectedError,
    ResponseError,
    UnsupportedPromptError,
)
from napari_sam3.jobs import owners
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.collecting import iter_collect
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.ledger import Caps, Origin
from napari_sam3.jobs.paid import PaidEngine
from napari_sam3.workflows.segment import segment

from .paid import (
    IMAGE,
    SUBMIT_MISHAPS,
    BillingEngine,
    key_for,
    later,
    limited,
    records_in,
    request_for,
    states,
    without_cache,
)

ANYTHING = Consent(None, frozenset())
ONCE_MORE = Consent(None, None)
TIMEOUT_S = 30


def asked(engine, records, consent=ANYTHING, text="nucleus", stop=NEVER, **options):
    return PaidEngine(engine, records, consent, **options).segment(request_for(text), stop)


def as_run(records, origin):
    return records.counted(lambda accounts: replace(accounts, shared=origin))


def wait_for(is_so):
    """Whether something is so in good time."""
    until = time.monotonic() + TIMEOUT_S
    while not is_so() and time.monotonic() < until:
        time.sleep(0.002)
    return is_so()


@pytest.fixture
def stop():
    """Ends a wait that would last for ever."""
    stop = threading.Event()
    timer = threading.Timer(TIMEOUT_S, stop.set)
    timer.start()
    yield stop
    timer.cancel()


@pytest.fixture
def other_process():
    """The name, as an owner of entries, of a process that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        host = owners.here().rsplit(" ", 2)[0]
        yield f"{host} {process.pid} {psutil.Process(process.pid).create_time()!r}"
        process.communicate(b"\n", timeout=TIMEOUT_S)


class TestConsent:
    def test_by_default_nothing_is_billed(self, engine, records, service):
        with pytest.raises(ConsentError, match="not agreed to"):
            asked(engine, records, None)
        assert service.sent == []
        assert records.ledger.entries() == []

    def test_one_consent_is_one_submission(self, engine, records, service):
        engine = PaidEngine(
            engine, without_cache(records), Consent(frozenset({key_for(engine, "a")}))
        )
        service.submit_mishaps.append("lost after")
        with pytest.raises(OutcomeUnknownError):
            engine.segment(request_for("a"))
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError, match="was not sent again"):
                engine.segment(request_for("a"))
        with pytest.raises(ConsentError):
            engine.segment(request_for("b"))
        assert service.sent == ["a"]

    @pytest.mark.parametrize("mishap", ["refused", "stopped before"])
    def test_what_was_not_billed_leaves_the_consent(self, engine, records, service, mishap):
        engine = PaidEngine(engine, records, Consent(frozenset({key_for(engine, "a")})))
        service.submit_mishaps.append(mishap)
        with pytest.raises((EngineError, CancelledError)):
            engine.segment(request_for("a"))
        assert engine.segment(request_for("a")).usage.request_id == "request-1"
        assert states(records) == ["failed", "answered"]

    def test_a_question_that_the_engine_cannot_answer_is_refused_at_once(self, engine, records):
        request = SegmentationRequest(Pixels(IMAGE), ObjectPrompt((Point(1, 2),)))
        with pytest.raises(UnsupportedPromptError):
            PaidEngine(engine, records, ANYTHING).segment(request)
        assert not records.ledger.path.exists()


class TestStoredAnswers:
    def test_asked_again_it_is_the_same_answer_for_free(self, engine, records, service):
        first = asked(engine, records)
        again = asked(engine, records, None)
        assert (again.usage.cached, again.usage.credits) == (True, 0.0)
        assert again.usage.request_id == first.usage.request_id == "request-1"
        assert digest(again.instances) == digest(first.instances) == again.record.answer_sha256
        assert again.record == first.record
        assert again.record.key == key_for(engine, "nucleus")
        assert again.raw[0].body == first.raw[0].body == b"answer of request-1"
        assert service.billed.total() == 1

    def test_other_parameters_are_another_question(self, engine, records, service):
        asked(engine, records)
        asked(BillingEngine(service, parameters={"tone": 4}), records)
        assert service.billed.total() == 2

    def test_a_stored_answer_needs_no_ledger(self, engine, records, tmp_path, service):
        asked(engine, records)
        records.ledger.close()
        (tmp_path / "data" / "ledger.sqlite").unlink()
        assert asked(engine, records, None).usage.cached
        assert not (tmp_path / "data" / "ledger.sqlite").exists()

    def test_asked_afresh_the_new_answer_takes_the_place_of_the_old(self, engine, records):
        asked(engine, records)
        assert asked(engine, records, newer_than=time.time()).usage.request_id == "request-2"
        assert asked(engine, records).usage.request_id == "request-2"

    def test_a_fresh_run_asks_the_same_question_once(self, engine, records, service):
        engine = PaidEngine(engine, without_cache(records), ANYTHING, newer_than=time.time())
        first, second = (engine.segment(request_for("a")) for _ in range(2))
        assert (first.usage.cached, second.usage.cached) == (False, True)
        assert service.billed.total() == 1

    def test_an_array_that_was_changed_between_two_calls_is_another_picture(self, engine, records):
        image = IMAGE.copy()
        one, other = (
            segment(image + number, request_for("a").prompt, engine, records=records)
            for number in (np.uint8(0), np.uint8(1))
        )
        assert one.record.image_sha256 != other.record.image_sha256


class TestLostAnswers:
    @pytest.mark.parametrize("mishap", ["lost before", "lost after", "stopped after"])
    def test_it_is_never_sent_again_by_itself_and_once_if_told_to(
        self, engine, records, service, mishap
    ):
        service.submit_mishaps.append(mishap)
        with pytest.raises((OutcomeUnknownError, CancelledError)):
            asked(engine, records)
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError, match=r"was sent on .* may have been billed"):
                asked(engine, records)
        key = key_for(engine, "nucleus")
        with pytest.raises(OutcomeUnknownError):
            asked(engine, records, Consent(frozenset({key}), frozenset({"another"})))
        sent_so_far = len(service.sent)
        agreed = Consent(frozenset({key}), frozenset({key}))
        assert not asked(engine, records, agreed).usage.cached
        assert asked(engine, records).usage.cached
        assert len(service.sent) == sent_so_far + 1
        assert states(records) == ["unknown", "answered"]

    def test_lost_a_second_time_the_consent_is_used_up(self, engine, records, service):
        service.submit_mishaps.extend(["lost after"] * 2)
        with pytest.raises(OutcomeUnknownError):
            asked(engine, records)
        key = key_for(engine, "nucleus")
        once_more = PaidEngine(engine, records, Consent(frozenset({key}), frozenset({key})))
        for _ in range(3):
            with pytest.raises(OutcomeUnknownError):
                once_more.segment(request_for("nucleus"))
        assert len(service.sent) == 2

    def test_the_public_function_sends_it_again_on_demand_only(self, engine, records, service):
        service.submit_mishaps.append("lost after")
        ask = {"engine": engine, "records": records, "prompt": request_for("nucleus").prompt}
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError):
                segment(IMAGE, **ask)
        assert len(segment(IMAGE, **ask, ask_again=True).instances) == 1
        assert len(service.sent) == 2

    def test_on_demand_it_is_collected_rather_than_sent_again(self, records, service):
        engine = BillingEngine(service, at_once=True)
        service.collect_mishaps.append("unreadable")
        ask = {"engine": engine, "records": records, "prompt": request_for("nucleus").prompt}
        with pytest.raises(ResponseError):
            segment(IMAGE, **ask)
        assert len(segment(IMAGE, **ask, ask_again=True).instances) == 1
        assert service.sent == ["nucleus"]

    def test_what_cannot_be_read_is_sent_again_only_if_that_is_agreed_to(self, records, service):
        engine = BillingEngine(service, at_once=True)
        service.collect_mishaps.extend(["unreadable"] * 3)
        for _ in range(2):
            with pytest.raises(ResponseError):
                asked(engine, records)
        assert asked(engine, records, ONCE_MORE).usage.request_id is not None
        assert service.sent == ["nucleus"] * 2

    @pytest.mark.parametrize("mishap", ["stopped", "lost", "unreachable"])
    def test_whoever_stopped_waiting_collects_it_the_next_time(
        self, engine, records, service, mishap
    ):
        service.collect_mishaps.append(mishap)
        with pytest.raises((CancelledError, EngineError)):
            asked(engine, records)
        assert states(records) == ["submitted"]
        result = asked(engine, records, None)
        assert result.usage.request_id == "request-1"
        assert (len(service.sent), states(records)) == (1, ["answered"])

    def test_cancelled_while_waiting_it_is_collected_not_sent_again(self, engine, records, service):
        service.is_done.clear()
        stop = threading.Event()
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(asked, engine, records, stop=stop)
            assert service.arrived.wait(TIMEOUT_S)
            stop.set()
            with pytest.raises(CancelledError):
                waiting.result(TIMEOUT_S)
        service.is_done.set()
        assert asked(engine, records, None).usage.request_id == "request-1"
        assert service.sent == ["nucleus"]

    def test_an_answer_that_came_at_once_and_cannot_be_read_is_kept(self, records, service):
        engine = BillingEngine(service, at_once=True)
        service.collect_mishaps.append("unreadable")
        with pytest.raises(ResponseError):
            asked(engine, records)
        (entry,) = records.ledger.entries()
        assert entry.state == "unknown"
        assert b"request-1" in records.ledger.packed(entry.id)
        # a version that can read it needs not pay for it again
        assert asked(engine, records, None).raw[0].body == b"answer of request-1"
        assert (service.sent, states(records)) == (["nucleus"], ["answered"])

    def test_what_the_service_forgot_is_unknown_and_has_no_ticket(self, engine, records, service):
        service.collect_mishaps.append("lost")
        with pytest.raises(OutcomeUnknownError):
            asked(engine, records)
        service.jobs.clear()
        with pytest.raises(RequestRejectedError):
            asked(engine, records)
        # so early it may be a service that lags: the ticket stays
        assert states(records) == ["submitted"]
        later(records, engine.kept_s + 1)
        with pytest.raises(RequestRejectedError):
            asked(engine, records)
        (entry,) = records.ledger.entries()
        assert (entry.state, records.ledger.packed(entry.id)) == ("unknown", None)
        with pytest.raises(OutcomeUnknownError, match="request-1"):
            asked(engine, records)
        assert asked(engine, records, ONCE_MORE).usage.request_id == "request-2"

    @pytest.mark.parametrize("at_once", [False, True])
    def test_a_failed_job_was_not_billed_and_may_be_asked_again(self, records, service, at_once):
        engine = BillingEngine(service, at_once=at_once)
        key = key_for(engine, "nucleus")
        recorded = PaidEngine(engine, records, Consent(frozenset({key})))
        service.jobs_fail = True
        with pytest.raises(RequestRejectedError):
            recorded.segment(request_for("nucleus"))
        assert records.ledger.spent() == 0
        service.jobs_fail = False
        recorded.segment(request_for("nucleus"))
        assert states(records) == ["failed", "answered"]

    @pytest.mark.parametrize("mishap", SUBMIT_MISHAPS)
    def test_the_ledger_never_counts_less_than_was_billed(self, engine, records, service, mishap):
        service.submit_mishaps.append(mishap)
        with pytest.raises((EngineError, CancelledError)):
            asked(engine, records)
        assert records.ledger.spent() >= service.bill

    def test_a_ticket_that_cannot_be_read_blocks_nothing_for_ever(self, engine, records, service):
        service.collect_mishaps.append("stopped")
        with pytest.raises(CancelledError):
            asked(engine, records)
        (entry,) = records.ledger.entries()
        records.ledger.accept(entry.id, "request-1", b"{}\ndamaged")
        with pytest.raises(EngineError):
            asked(engine, records)
        assert states(records) == ["unknown"]
        assert asked(engine, records, ONCE_MORE).usage.request_id == "request-2"

    def test_a_process_that_was_killed_while_it_sent_leaves_an_unknown_outcome(
        self, engine, records, service, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owners, "here", lambda: "nobody")
            (entry_id,) = records.ledger.plan(
                Origin("r", "s"), engine.name, engine.model, [(key_for(engine, "a"), "a")], 0.05
            )
            records.ledger.submit(entry_id)
        with pytest.raises(OutcomeUnknownError, match="may have been billed"):
            asked(engine, records, text="a")
        assert states(records) == ["unknown"]
        asked(engine, records, ONCE_MORE, text="a")
        assert service.sent == ["a"]


class TestTheSameQuestionAtTheSameTime:
    @pytest.mark.parametrize("use_cache", [True, False])
    def test_two_threads_of_one_run_pay_once(self, engine, records, service, stop, use_cache):
        records = records if use_cache else without_cache(records)
        service.is_done.clear()
        consent = Consent(frozenset({key_for(engine, "nucleus")}))
        recorded = PaidEngine(engine, records, consent)
        with ThreadPoolExecutor() as threads:
            answers = [
                threads.submit(recorded.segment, request_for("nucleus"), stop) for _ in range(4)
            ]
            assert service.arrived.wait(TIMEOUT_S)
            service.is_done.set()
            ids = {answer.result(TIMEOUT_S).usage.request_id for answer in answers}
        assert (ids, service.sent) == ({"request-1"}, ["nucleus"])
        assert states(records) == ["answered"]

    def test_two_runs_pay_once_and_nothing_stays_planned(self, engine, records, service, stop):
        service.is_done.clear()
        with ThreadPoolExecutor() as threads:
            answers = [threads.submit(asked, engine, records, stop=stop) for _ in range(3)]
            assert service.arrived.wait(TIMEOUT_S)
            service.is_done.set()
            results = [answer.result(TIMEOUT_S) for answer in answers]
        assert {result.usage.request_id for result in results} == {"request-1"}
        assert service.sent == ["nucleus"]
        assert set(states(records)) <= {"answered", "cancelled", "failed"}

    def test_one_that_was_answered_while_it_was_looked_for_is_not_sent(
        self, engine, records, service, monkeypatch
    ):
        # another process answers between the look at the stored answers and the submit
        seen = records.ledger.open_entry

        def open_entry(key):
            found = seen(key)
            monkeypatch.setattr(records.ledger, "open_entry", seen)
            asked(engine, records)
            return found

        monkeypatch.setattr(records.ledger, "open_entry", open_entry)
        result = asked(engine, records)
        assert result.usage.cached
        assert (service.sent, records.ledger.spent()) == (["nucleus"], service.bill)
        assert "planned" not in states(records)

    def test_one_that_another_living_process_waits_for_is_waited_for(
        self, engine, records, service, stop, other_process, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owners, "here", lambda: other_process)
            (entry_id,) = records.ledger.plan(
                records.accounts().origin(), "paid", "paid 1", [(key_for(engine, "a"), "a")], 0.05
            )
            records.ledger.submit(entry_id)
        with ThreadPoolExecutor() as threads:
            waiting = threads.submit(asked, engine, records, text="a", stop=stop)
            looked = threading.Event()
            seen, times = records.ledger.open_entry, []

            def open_entry(key):
                times.append(key)
                if len(times) > 3:
                    looked.set()
                return seen(key)

            monkeypatch.setattr(records.ledger, "open_entry", open_entry)
            assert looked.wait(TIMEOUT_S)
            assert states(records) == ["submitted"]
            assert records.accounts().unfinished() == []
            records.ledger.fail(entry_id, "It could not do it.")
            assert waiting.result(TIMEOUT_S).usage.request_id == "request-1"

    def test_one_that_a_living_process_gave_up_waiting_for_is_collected(
        self, engine, records, service, stop, other_process, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owners, "here", lambda: other_process)
            service.collect_mishaps.append("stopped")
            with pytest.raises(CancelledError):
                asked(engine, as_run(records, Origin("run", "another session")))
        result = asked(engine, records, None, stop=stop)
        assert (result.usage.request_id, service.sent) == ("request-1", ["nucleus"])

    def test_one_that_is_collected_after_all_is_collected_by_nobody_else(
        self, engine, records, service, other_process, monkeypatch
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owners, "here", lambda: other_process)
            service.collect_mishaps.append("stopped")
            with pytest.raises(CancelledError):
                asked(engine, as_run(records, Origin("run", "another session")))
        collect, seen = engine.collect, []

        def collected(*args):
            # as a third process sees it
            seen.append([entry.owner for entry in records.ledger.under_way()])
            return collect(*args)

        engine.collect = collected
        asked(engine, records, None)
        assert seen == [[owners.here()]]

    def test_two_that_ask_afresh_at_once_pay_once_and_have_one_answer(
        self, engine, records, service, stop
    ):
        asked(engine, records)
        service.is_done.clear()
        since = time.time()
        # the second was told that the answer is on its way: nobody agreed to pay for it
        nobody = Consent()
        with ThreadPoolExecutor() as threads:
            first = threads.submit(asked, engine, records, newer_than=since, stop=stop)
            assert wait_for(lambda: len(service.sent) == 2)
            second = threads.submit(asked, engine, records, nobody, newer_than=since, stop=stop)
            service.is_done.set()
            ids = [one.result(TIMEOUT_S).usage.request_id for one in (first, second)]
        assert ids == ["request-2"] * 2
        # and so has one who was told so and comes when it has come
        late = asked(engine, records, nobody, newer_than=since)
        assert (late.usage.request_id, late.usage.cached) == ("request-2", True)
        assert len(service.sent) == 2

    def test_two_processes_pay_once(self, tmp_path, stop):
        # the service is a folder: each submission makes a file
        program = tmp_path / "ask.py"
        program.write_text(_ASK, encoding="utf-8")
        command = [sys.executable, str(program), str(tmp_path)]
        asking = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for process in asking:
            assert process.stdout.readline() == "ready\n"
        for process in asking:
            process.stdin.write("go\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=TIMEOUT_S)[0] for process in asking]
        assert outputs == ["answered\n"] * 3
        assert len([*tmp_path.glob("sent-*")]) == 1


_ASK = """
import sys, uuid
from pathlib import Path
import numpy as np
from napari_sam3.core.instances import Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.engines.base import Capabilities, Price, SegmentationRequest, SegmentationResult
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.ledger import Ledger
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.cached import CachedEngine
from napari_sam3.jobs.paid import PaidEngine
from napari_sam3.jobs.records import Records
from napari_sam3.jobs.accounts import Accounts

folder = Path(sys.argv[1])

class Ticket:
    request_id = "request"

class Engine:
    name, model, parameters = "segmind", "sam3-image", {}
    billed_as = model
    capabilities, price, kept_s = Capabilities(text=True, billed=True), Price(1, 1, 1), 3600.0
    def submit(self, request, stop):
        (folder / f"sent-{uuid.uuid4()}").touch()
        return Ticket()
    def collect(self, ticket, stop):
        stop.wait(0.05)
        return SegmentationResult(Instances((4, 7)))
    def pack(self, ticket):
        return b"{}"

request = SegmentationRequest(Pixels(np.zeros((4, 7, 3), np.uint8)), ConceptPrompt("cell"))
accounts = Accounts(Ledger(folder / "ledger.sqlite"))
records = Records(AnswerCache(folder / "cache", 2**30), lambda: accounts)
engine = PaidEngine(Engine(), records, Consent(None, frozenset()))
print("ready", flush=True)
sys.stdin.readline()
engine.segment(request)
print("answered", flush=True)
"""


class TestCaps:
    def test_what_a_cap_refused_does_not_stay_planned(self, engine, records, service):
        strict = limited(records, 0.0, Caps(per_day=0.01))
        with pytest.raises(CapReachedError):
            segment(IMAGE, request_for("a").prompt, engine, records=strict)
        assert service.sent == []
        assert set(states(records)) <= {"cancelled"}


class TestBrokenRecords:
    def test_without_a_ledger_nothing_is_sent(self, engine, records, service, tmp_path):
        (tmp_path / "data").write_text("a file where the folder should be")
        with pytest.raises(LedgerError, match="nothing was sent"):
            asked(engine, records)
        assert service.sent == []

    def test_an_answer_that_cannot_be_stored_is_delivered_with_a_notice(
        self, engine, records, service, tmp_path
    ):
        (tmp_path / "cache").write_text("a file where the folder should be")
        result = asked(engine, records)
        assert len(result.instances) == 1
        assert any("could not be stored" in notice for notice in result.notices)
        assert states(records) == ["answered"]

    @pytest.mark.parametrize("step", ["accept", "answer"])
    def test_a_ledger_that_breaks_after_the_submit_keeps_no_answer_back(
        self, engine, records, service, monkeypatch, step
    ):
        def broken(*_args):
            raise LedgerError("The disk is full.")

        with monkeypatch.context() as patch:
            patch.setattr(records.ledger, step, broken)
            result = asked(engine, records)
        assert len(result.instances) == 1
        assert "The disk is full." in result.notices
        assert asked(engine, records, None).usage.cached
        assert service.sent == ["nucleus"]

    def test_an_answer_that_was_delivered_is_not_offered_again(
        self, engine, records, service, monkeypatch
    ):
        def broken(*_args):
            raise LedgerError("The disk is full.")

        records = without_cache(records)
        with monkeypatch.context() as patch:
            patch.setattr(records.ledger, "accept", broken)
            patch.setattr(records.ledger, "answer", broken)
            asked(engine, records)
        # nothing on disk can tell that it was answered, so it is asked about, and never paid
        with pytest.raises(OutcomeUnknownError):
            asked(engine, records)
        assert service.sent == ["nucleus"]

    @pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be damaged there")
    def test_a_damaged_stored_answer_is_no_second_bill(self, engine, records, service, tmp_path):
        asked(engine, records)
        (stored,) = (tmp_path / "cache").rglob("*.answer")
        stored.write_bytes(stored.read_bytes()[:-30])
        with pytest.raises(ConsentError):
            asked(engine, records, Consent())
        assert service.sent == ["nucleus"]
        assert [*(tmp_path / "cache").rglob("*.damaged")]

    def test_a_damaged_stored_answer_is_told_of_where_it_is_paid_for_anew(
        self, engine, records, tmp_path
    ):
        asked(engine, records)
        (stored,) = (tmp_path / "cache").rglob("*.answer")
        stored.write_bytes(b"")
        result = asked(engine, records)
        assert result.usage.request_id == "request-2"
        assert any("damaged" in notice for notice in result.notices)


def test_records_opened_anew_know_what_was_paid(engine, service, tmp_path):
    first = records_in(tmp_path)
    asked(engine, first)
    first.ledger.close()
    second = records_in(tmp_path)
    assert asked(engine, second, None).usage.cached
    assert second.ledger.spent() == service.bill
    second.ledger.close()


def test_a_fork_does_not_take_its_parents_questions_for_its_own(
    engine, records, service, other_process, monkeypatch
):
    # a forked process has the same session, and the parent waits for the answer
    with monkeypatch.context() as patch:
        patch.setattr(owners, "here", lambda: other_process)
        asked_by_parent = [(key_for(engine, "a"), "a")]
        (entry_id,) = records.ledger.plan(
            records.accounts().origin(), "paid", "paid 1", asked_by_parent, 0.05
        )
        records.ledger.submit(entry_id)
    assert records.accounts().unfinished() == []
    assert [*iter_collect(records)] == []
    assert states(records) == ["submitted"]


def test_what_costs_money_is_asked_one_by_one(engine, records, service):
    requests = [request_for("a"), request_for("b")]
    results = PaidEngine(engine, records, ANYTHING).segment_many(requests)
    assert len(service.sent) == len(results) == 2
