"""A run that says what it costs, asks once, and loses nothing that was paid for."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

import napari_sam3
from napari_sam3.core.pictures import Picture
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import ConceptPrompt, ObjectPrompt, Point
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.engines.segmind import key as key_module
from napari_sam3.engines.segmind.engine import SegmindEngine
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.errors import (
    CancelledError,
    CapReachedError,
    ConsentError,
    EngineError,
    LedgerError,
    OutcomeUnknownError,
    UnsupportedPromptError,
)
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.ledger import Caps
from napari_sam3.jobs.records import Records
from napari_sam3.testing import Behaviour, SegmindServer
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.paying import estimate_run
from napari_sam3.workflows.run import SegmentRun

from ..jobs.paid import COST, IMAGE, key_for, limited, states, without_cache

TIMEOUT_S = 30


class Confirm:
    """Remembers what it was asked."""

    def __init__(self, answer=True):
        self.answer, self.asked = answer, []

    def __call__(self, expected):
        self.asked.append(expected)
        return self.answer


def run_of(*texts, **options):
    prompts = tuple(ConceptPrompt(text) for text in texts)
    return SegmentRun(Picture.from_array(IMAGE), prompts, **options)


def accounted(engine, records, *texts, confirm=None, stop=None, newer_than=0.0, **options):
    confirm = confirm or Confirm()
    stop = stop or threading.Event()
    run = run_of(*texts, **options)
    return drain(iter_accounted(engine, run, records, confirm, stop, newer_than=newer_than))


def capped(records, **caps):
    return limited(records, 0.0, Caps(**caps))


def ids(answer):
    return [result.usage.request_id for result in answer.results]


@pytest.fixture(params=[1, 3])
def in_flight(request):
    return request.param


class TestConsent:
    def test_it_is_asked_for_once_and_before_anything_is_sent(self, engine, records, service):
        sent_when_asked = []

        def confirm(expected):
            sent_when_asked.append(list(service.sent))
            return len(expected.calls) == 3

        accounted(engine, records, "a", "b", "c", confirm=confirm)
        assert sent_when_asked == [[]]
        assert sorted(service.sent) == ["a", "b", "c"]

    def test_nobody_is_asked_about_what_costs_nothing(self, engine, records, service):
        accounted(engine, records, "a", "b")
        service.collect_mishaps.append("stopped")
        with pytest.raises(CancelledError):
            accounted(engine, records, "c")
        nobody = Confirm(False)
        answer = accounted(engine, records, "a", "b", "c", confirm=nobody)
        assert (nobody.asked, ids(answer)) == ([], ["request-1", "request-2", "request-3"])
        assert service.sent == ["a", "b", "c"]

    def test_that_there_is_nothing_to_see_is_said_before_and_after_and_needs_no_consent(
        self, engine, records
    ):
        picture = Picture.from_array(np.full((30, 50), 7, np.uint16))
        run, confirm = SegmentRun(picture, (ConceptPrompt("a"),)), Confirm()
        answer = drain(iter_accounted(engine, run, records, confirm))
        said = "Nearly all of the picture is one grey level: nearly all values are 7."
        assert confirm.asked[0].warnings == (said,)
        assert answer.notices == (said,)
        plain = replace(confirm.asked[0], remarks=())
        assert confirm.asked[0].needs_consent == plain.needs_consent
        clear = SegmentRun(Picture.from_array(IMAGE), (ConceptPrompt("a"),))
        assert drain(iter_accounted(engine, clear, records, confirm)).flatness is None
        assert napari_sam3.estimate(np.zeros((30, 50)), ConceptPrompt("a"), engine).remarks

    def test_a_free_run_opens_no_accounts_and_asks_nobody(self, records):
        closed = Records(records.cache, lambda: pytest.fail("the accounts were opened"))
        run = SegmentRun(Picture.from_array(IMAGE), (ObjectPrompt((Point(4, 6),)),))
        asked = iter_accounted(BuiltinEngine(), run, closed, lambda _: pytest.fail("was asked"))
        assert drain(asked).unanswered == 0

    def test_a_refusal_sends_nothing_and_leaves_nothing_planned(self, engine, records, service):
        with pytest.raises(CancelledError, match="Nothing was sent"):
            accounted(engine, records, "a", "b", confirm=Confirm(False))
        assert (service.sent, records.ledger.entries()) == ([], [])

    def test_an_estimate_alone_sends_and_plans_nothing(self, engine, records, service):
        expected = estimate_run(engine, run_of("a", "b"), records)
        confirm = Confirm()
        accounted(engine, records, "a", "b", confirm=confirm)
        assert confirm.asked == [expected]
        assert len(records.ledger.entries()) == 2

    def test_what_changes_after_the_consent_is_not_paid_for(self, engine, records, service):
        def confirm(_expected):
            engine.parameters = {"tone": 99}
            return True

        run = SegmentRun(Picture.from_array(IMAGE), (ConceptPrompt("a"),))
        with pytest.raises(ConsentError):
            drain(iter_accounted(engine, run, records, confirm))
        assert (service.sent, states(records)) == ([], ["cancelled"])

    def test_a_lost_answer_is_named_and_sent_again_only_with_a_word(self, engine, records, service):
        service.submit_mishaps.append("lost after")
        with pytest.raises(OutcomeUnknownError):
            accounted(engine, records, "a")
        refuse = Confirm(False)
        with pytest.raises(CancelledError):
            accounted(engine, records, "a", "b", confirm=refuse)
        assert len(refuse.asked[0].unknown) == 1
        assert service.sent == ["a"]
        accounted(engine, records, "a", "b")
        assert service.sent == ["a", "a", "b"]

    def test_a_prompt_that_the_engine_cannot_answer_is_refused_before_the_question(
        self, engine, records
    ):
        confirm = Confirm()
        run = SegmentRun(Picture.from_array(IMAGE), (ObjectPrompt((Point(1, 2),)),))
        with pytest.raises(UnsupportedPromptError):
            drain(iter_accounted(engine, run, records, confirm))
        assert confirm.asked == []

    def test_cancelled_while_the_image_was_read_nobody_is_asked(self, engine, records):
        stop, confirm = threading.Event(), Confirm()
        stop.set()
        with pytest.raises(CancelledError):
            accounted(engine, records, "a", confirm=confirm, stop=stop)
        assert confirm.asked == []


class TestCaps:
    @pytest.mark.parametrize("period", ["per_run", "per_day"])
    def test_a_cap_stops_the_run_and_keeps_what_was_answered(
        self, engine, records, service, period
    ):
        strict = capped(records, **{period: 2 * COST})
        confirm = Confirm()
        answer = accounted(engine, strict, "a", "b", "c", "d", confirm=confirm)
        assert "stops it before its end" in confirm.asked[0].over_cap
        assert service.sent == ["a", "b"]
        assert len(answer.instances) == 2
        assert any("2 of 4 requests were answered" in notice for notice in answer.notices)
        assert states(records) == ["answered", "answered", "cancelled", "cancelled"]
        # tomorrow, or with another cap, only the rest is paid for
        accounted(engine, records, "a", "b", "c", "d")
        assert service.sent == ["a", "b", "c", "d"]

    def test_a_cap_holds_for_several_in_flight(self, engine, records, service):
        accounted(engine, capped(records, per_run=2 * COST), *"abcdefgh", in_flight=4)
        assert service.billed.total() == 2
        assert records.ledger.spent() == 2 * COST
        assert "planned" not in states(records)

    def test_a_cap_that_lets_nothing_out_is_an_error(self, engine, records, service):
        with pytest.raises(CapReachedError, match="napari-sam3 limits"):
            accounted(engine, capped(records, per_day=0.0), "a")
        assert (service.sent, states(records)) == ([], ["cancelled"])

    def test_yesterdays_run_does_not_count_for_this_run(self, engine, records, service):
        strict = capped(records, per_run=COST)
        accounted(engine, strict, "a")
        accounted(engine, strict, "b")
        assert service.billed.total() == 2


class TestStoredAnswers:
    def test_a_stored_run_is_the_same_again_and_free(self, engine, records, service, in_flight):
        first = accounted(engine, records, "a", "b", "c", in_flight=in_flight)
        again = accounted(engine, records, "a", "b", "c", in_flight=in_flight)
        assert digest(again.instances) == digest(first.instances)
        assert (again.usage.cached, again.usage.credits) == (True, 0.0)
        assert first.usage.credits == 3 * COST
        assert [r.record for r in again.results] == [r.record for r in first.results]
        assert service.billed.total() == 3

    def test_asked_twice_in_a_run_it_is_billed_once(self, engine, records, service, in_flight):
        answer = accounted(engine, records, "a", "b", "a", "a", "b", in_flight=in_flight)
        assert [len(result.instances) for result in answer.results] == [1] * 5
        assert answer.notices == ()
        assert sorted(service.sent) == ["a", "b"]
        assert answer.usage.credits == 2 * COST

    def test_asked_twice_without_a_cache_it_is_billed_once(
        self, engine, records, service, in_flight
    ):
        texts = ["a"] * 6
        answer = accounted(engine, without_cache(records), *texts, in_flight=in_flight)
        assert (service.sent, answer.notices) == (["a"], ())
        assert ids(answer) == ["request-1"] * 6

    def test_asked_afresh_all_is_asked_and_stored_anew(self, engine, records, service, in_flight):
        accounted(engine, records, "a", "b")
        afresh = accounted(
            engine, records, "a", "b", "a", newer_than=time.time(), in_flight=in_flight
        )
        assert sorted({*ids(afresh)}) == ["request-3", "request-4"]
        assert service.billed.total() == 4
        assert sorted(ids(accounted(engine, records, "a", "b"))) == ["request-3", "request-4"]

    def test_a_stored_run_works_offline_and_without_a_key(self, records, monkeypatch):
        texts = ("nucleus", "cell")
        with SegmindServer(Behaviour()) as server:
            monkeypatch.setenv("SEGMIND_API_KEY", server.key)
            # v1: no poll waits a second
            online = SegmindEngine(SegmindOptions(url=server.url, api="v1"))
            first = accounted(online, records, *texts)
            assert server.ledger.billed == 2
        monkeypatch.delenv("SEGMIND_API_KEY")
        monkeypatch.setattr(key_module, "_session", [])
        offline = SegmindEngine(SegmindOptions(url=server.url, api="v1"))
        again = accounted(offline, records, *texts, confirm=Confirm(False))
        assert digest(again.instances) == digest(first.instances)
        assert again.usage.cached

    def test_a_stored_run_needs_no_ledger(self, engine, records, tmp_path):
        accounted(engine, records, "a")
        records.ledger.close()
        for part in (tmp_path / "data").iterdir():
            part.unlink()
        (tmp_path / "data").rmdir()
        (tmp_path / "data").write_text("a file where the folder should be")
        assert accounted(engine, records, "a", confirm=Confirm(False)).usage.cached

    def test_without_a_cache_each_run_pays(self, engine, records, service):
        for _ in range(2):
            accounted(engine, without_cache(records), "a")
        assert service.billed.total() == 2


class TestMishaps:
    def test_several_in_flight_all_are_answered_in_order(self, engine, records, service):
        answer = accounted(engine, records, *"abcdefg", in_flight=3)
        assert [item.concept for item in answer.instances] == [*"abcdefg"]
        assert set(states(records)) == {"answered"}

    def test_what_failed_is_told_and_what_was_answered_is_kept(self, engine, records, service):
        service.submit_mishaps.extend(["", "refused"])
        answer = accounted(engine, records, "a", "b", "c")
        assert any("1 of 3 requests" in notice for notice in answer.notices)
        assert states(records) == ["answered", "failed", "cancelled"]
        accounted(engine, records, "a", "b", "c")
        assert service.billed == {"a": 1, "b": 1, "c": 1}

    @pytest.mark.parametrize("mishap", ["lost", "unreachable", "stopped"])
    def test_a_wait_that_ended_early_is_resumed_by_the_next_run(
        self, engine, records, service, mishap
    ):
        service.collect_mishaps.append(mishap)
        with pytest.raises((EngineError, CancelledError)):
            accounted(engine, records, "a", "b")
        confirm = Confirm()
        answer = accounted(engine, records, "a", "b", confirm=confirm)
        assert (confirm.asked[0].paid, ids(answer)) == (1, ["request-1", "request-2"])
        assert service.sent == ["a", "b"]
        assert "planned" not in states(records)

    def test_a_run_that_nobody_reads_on_sends_no_more_than_what_is_under_way(
        self, engine, records, service, in_flight
    ):
        workflow = iter_accounted(
            engine, run_of(*"abcdefghijkl", in_flight=in_flight), records, Confirm()
        )
        while not service.sent:
            next(workflow)
        service.is_done.clear()
        timer = threading.Timer(0.05, service.is_done.set)
        timer.start()
        workflow.close()
        timer.join()
        assert len(service.sent) < 12
        assert not {"planned", "submitted"} & {*states(records)}

    def test_cancelled_in_the_middle_everything_can_be_had_later(
        self, engine, records, service, in_flight
    ):
        service.is_done.clear()
        stop = threading.Event()

        def cancel():
            service.arrived.wait(TIMEOUT_S)
            stop.set()

        watcher = threading.Thread(target=cancel)
        watcher.start()
        with pytest.raises(CancelledError):
            accounted(engine, records, *"abcdef", stop=stop, in_flight=in_flight)
        watcher.join()
        assert "planned" not in states(records)
        service.is_done.set()
        answer = accounted(engine, records, *"abcdef")
        assert len(answer.instances) == 6
        assert set(service.billed.values()) == {1}

    def test_a_cache_folder_that_is_broken_keeps_no_answer_back(
        self, engine, records, service, tmp_path
    ):
        (tmp_path / "cache").write_text("a file where the folder should be")
        answer = accounted(engine, records, "a", "b")
        assert len(answer.instances) == 2
        [notice] = [n for n in answer.notices if "could not be stored" in n]
        assert "The result itself is complete" in notice

    def test_without_a_ledger_nothing_is_sent_and_free_engines_go_on(
        self, engine, records, service, tmp_path
    ):
        (tmp_path / "data").write_text("a file where the folder should be")
        with pytest.raises(LedgerError):
            accounted(engine, records, "a")
        assert service.sent == []
        run = SegmentRun(Picture.from_array(IMAGE), (ObjectPrompt((Point(4, 6),)),))
        confirm = Confirm(False)
        answer = drain(iter_accounted(BuiltinEngine(), run, records, confirm))
        assert (confirm.asked, answer.notices) == ([], ())

    @pytest.mark.parametrize("step", ["plan", "submit"])
    def test_a_ledger_that_breaks_before_the_submit_sends_nothing(
        self, engine, records, service, monkeypatch, step
    ):
        def broken(*_args):
            raise LedgerError("The disk is full, so nothing was sent.")

        monkeypatch.setattr(records.ledger, step, broken)
        with pytest.raises(LedgerError):
            accounted(engine, records, "a")
        assert service.sent == []

    def test_a_ledger_that_breaks_after_the_submit_keeps_no_answer_back(
        self, engine, records, service, monkeypatch
    ):
        def broken(*_args):
            raise LedgerError("The disk is full.")

        with monkeypatch.context() as patch:
            for step in ("accept", "answer", "cancel_run"):
                patch.setattr(records.ledger, step, broken)
            answer = accounted(engine, records, "a", "b")
        assert len(answer.instances) == 2
        assert "The disk is full." in answer.notices
        assert accounted(engine, records, "a", "b", confirm=Confirm(False)).usage.cached
        assert service.billed.total() == 2

    def test_a_damaged_stored_answer_is_no_second_bill(self, engine, records, service, tmp_path):
        accounted(engine, records, "a")
        (stored,) = (tmp_path / "cache").rglob("*.answer")
        stored.write_bytes(stored.read_bytes()[:-30])
        # nobody was asked, for it looked as if it were stored
        with pytest.raises(ConsentError):
            accounted(engine, records, "a", confirm=Confirm(False))
        assert service.billed.total() == 1
        # now it is known to be gone
        confirm = Confirm()
        accounted(engine, records, "a", confirm=confirm)
        assert len(confirm.asked) == 1
        assert service.billed.total() == 2


class TestWhatIsWrittenDown:
    def test_a_run_is_one_run_of_one_project(self, engine, records):
        accounted(engine, records, "a", "b")
        accounted(engine, records, "c")
        rows = records.ledger.costs("run")
        assert [(row.questions, row.cost) for row in rows] == [(1, COST), (2, 2 * COST)]
        assert [row.name for row in records.ledger.costs("project")] == ["kidney"]

    def test_every_result_carries_what_identifies_it(self, engine, records):
        answer = accounted(engine, records, "a", "b", "a")
        keys = [result.record.key for result in answer.results]
        assert keys[0] == keys[2] != keys[1]
        assert {result.record.model for result in answer.results} == {"paid 1"}
        for result in answer.results:
            assert result.record.answer_sha256 == digest(result.instances)

    def test_the_picture_is_read_once(self, engine, records):
        cuts = []

        class Lazy:
            def __getitem__(self, index):
                cuts.append(index)
                return IMAGE[index]

        picture = Picture.from_array(IMAGE)
        lazy = Picture(picture.shape, (replace(picture.channels[0], data=Lazy()),))
        run = SegmentRun(lazy, (ConceptPrompt("a"), ConceptPrompt("b")))
        answer = drain(iter_accounted(engine, run, records, Confirm()))
        assert len(cuts) == 1
        assert answer.picture == picture.describe()


def test_a_script_learns_the_price_as_segment_would_ask(engine, records):
    image = np.arange(30 * 50, dtype=np.uint16).reshape(30, 50)
    prompt = ConceptPrompt("nucleus")
    before = napari_sam3.estimate(image, prompt, engine, records=records)
    assert (len(before.calls), before.cached) == (1, 0)
    napari_sam3.segment(image, prompt, engine, records=records)
    after = napari_sam3.estimate(image, [prompt, ConceptPrompt("cell")], engine, records=records)
    assert (len(after.calls), after.cached) == (1, 1)
    assert after.today > 0


def test_a_price_that_nobody_knew_cannot_run_away_with_the_cap(
    engine, records, service, monkeypatch
):
    # the vendor says 6 cents, and bills 50
    collect = engine.collect
    monkeypatch.setattr(
        engine,
        "collect",
        lambda *args: replace(found := collect(*args), usage=replace(found.usage, credits=0.5)),
    )
    strict = capped(records, per_run=0.6)
    answer = accounted(engine, strict, *"abcdefgh", in_flight=8)
    assert service.sent == ["a"] or len(service.sent) == 1
    assert answer.unanswered == 7
    assert records.ledger.spent() == 0.5


def test_only_what_was_shown_as_lost_is_sent_again(engine, records, service):
    def lose(text):
        asked = [(key_for(engine, text), text)]
        (entry,) = records.ledger.plan(
            records.accounts().origin(), engine.name, engine.model, asked, COST
        )
        records.ledger.submit(entry)
        records.ledger.lose(entry, "gone")

    def agree(expected):
        assert [entry.question for entry in expected.unknown] == ["a"]
        # another process loses it while somebody thinks it over
        lose("b")
        return True

    lose("a")
    answer = accounted(engine, records, "a", "b", confirm=agree)
    assert service.sent == ["a"]
    assert answer.unanswered == 1


def test_whoever_is_asked_may_refuse_however_cheap_it_is(engine, records, service):
    # below the limit nobody needs to be shown a price, but the upload itself is agreed to there
    cheap = limited(records, confirm_above=9.0)
    asked = []
    with pytest.raises(CancelledError):
        accounted(engine, cheap, "a", confirm=lambda expected: bool(asked.append(expected)))
    assert len(asked) == 1
    assert not asked[0].needs_consent
    assert service.sent == []
