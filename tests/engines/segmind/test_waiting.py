"""Cancelling, deadlines, and coming back for an answer: never paid twice, never lost."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import CombinedPrompt, ConceptPrompt, ObjectPrompt, Point
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.segmind import failures
from napari_sam3.engines.segmind.engine import SegmindEngine, SegmindTicket
from napari_sam3.engines.segmind.json_values import json_object
from napari_sam3.errors import (
    AuthenticationError,
    CancelledError,
    EngineError,
    OutcomeUnknownError,
    RequestRejectedError,
)
from napari_sam3.testing import Behaviour, Fault

FOR_EVER = 10**9


@contextmanager
def stopped_once(server, condition):
    """Set `stop` as soon as the ledger fulfils the condition."""
    stop = threading.Event()

    def watch():
        server.wait_until(condition)
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield stop
    watcher.join()


def arrived(step, count=1):
    return lambda ledger: len(ledger.of(step)) >= count


def test_cancelled_before_it_was_sent_nothing_is_sent(start, engine_for, kit):
    server, stop = start(), threading.Event()
    stop.set()
    with pytest.raises(CancelledError):
        engine_for(server).segment(kit.question(), stop)
    assert server.ledger.requests == ()


@pytest.mark.parametrize(
    ("api", "step", "behaviour"),
    [
        ("v1", "v1", Behaviour(latency_s=math.inf)),
        ("v2", "submit", Behaviour(delays_s={"submit": math.inf})),
    ],
)
def test_cancelled_while_the_submit_is_out_it_returns_and_says_that_it_may_cost(
    start, engine_for, kit, api, step, behaviour
):
    server = start(behaviour)
    engine = engine_for(server, api=api, deadline_s=600.0)
    with (
        stopped_once(server, arrived(step)) as stop,
        pytest.raises(CancelledError, match="may still be billed"),
    ):
        engine.segment(kit.question(), stop)
    assert server.ledger.posts == 1
    assert server.leaked_keys == 0


@pytest.mark.parametrize(
    ("step", "behaviour"),
    [
        ("status", Behaviour(queued_polls=FOR_EVER)),
        ("status", Behaviour(delays_s={"status": math.inf})),
        ("result", Behaviour(delays_s={"result": math.inf})),
        ("download", Behaviour(delays_s={"download": math.inf})),
        ("status", Behaviour(faults={"status": Fault(429, reset="iso", reset_in_s=100.0)})),
    ],
    ids=["queued", "asking", "fetching", "downloading", "limited"],
)
def test_cancelled_while_it_waits_the_answer_can_still_be_collected_for_nothing(
    start, engine_for, kit, step, behaviour
):
    server = start(behaviour)
    engine = engine_for(server, deadline_s=600.0)
    ticket = engine.submit(kit.question())
    with stopped_once(server, arrived(step)) as stop, pytest.raises(CancelledError) as caught:
        engine.collect(ticket, stop)
    assert ticket.request_id in str(caught.value)
    assert "can be collected for an hour" in str(caught.value)
    server.behaviour = Behaviour()
    assert len(engine.collect(ticket).instances) == 1
    assert (server.ledger.posts, server.ledger.billed) == (1, 1)


def test_cancelled_while_it_waits_for_the_limit_nothing_was_accepted(
    start, engine_for, kit, monkeypatch
):
    monkeypatch.setattr(failures, "RATE_LIMIT_WAIT_S", 100.0)
    server = start(Behaviour(faults={"submit": Fault(429)}))
    with stopped_once(server, arrived("submit")) as stop, pytest.raises(CancelledError):
        engine_for(server, deadline_s=600.0).segment(kit.question(), stop)
    assert (server.ledger.posts, server.ledger.billed) == (1, 0)


def test_a_cancel_between_v2_and_v1_sends_no_second_request(start, engine_for, kit, monkeypatch):
    server, stop = start(Behaviour(v2_missing=404)), threading.Event()
    monkeypatch.setattr(
        "napari_sam3.engines.segmind.http.from_status", _setting(stop, "from_status")
    )
    with pytest.raises(CancelledError):
        engine_for(server).segment(kit.question(), stop)
    assert server.ledger.posts == 1


def _setting(stop, name):
    def wrapped(*args, **kwargs):
        stop.set()
        return getattr(failures, name)(*args, **kwargs)

    return wrapped


def test_collected_after_a_timeout_the_answer_is_not_paid_again(start, engine_for, kit):
    server = start(Behaviour(queued_polls=FOR_EVER))
    engine = engine_for(server, deadline_s=1.0)
    ticket = engine.submit(kit.question())
    with pytest.raises(OutcomeUnknownError) as caught:
        engine.collect(ticket)
    assert caught.value.request_id == ticket.request_id
    server.behaviour = Behaviour()
    again = SegmindTicket(ticket.sent, caught.value.request_id)
    assert len(engine_for(server).collect(again).instances) == 1
    assert (server.ledger.posts, server.ledger.billed) == (1, 1)


def test_a_ticket_of_v1_whose_output_was_lost_is_collected_without_another_post(
    start, engine_for, kit
):
    server = start(Behaviour(answer="json url", faults={"download": Fault(500)}))
    engine = engine_for(server, api="v1")
    ticket = engine.submit(kit.question())
    with pytest.raises(EngineError, match="may have been billed"):
        engine.collect(ticket)
    server.behaviour = Behaviour()
    assert len(engine.collect(ticket).instances) == 1
    assert (server.ledger.posts, server.ledger.billed) == (1, 1)


def test_after_an_hour_the_record_is_gone_and_the_sentence_says_so(start, engine_for, kit):
    server = start()
    engine = engine_for(server)
    ticket = engine.submit(kit.question())
    server.advance(3601.0)
    with pytest.raises(RequestRejectedError, match=r"1 hour.*may have been billed") as caught:
        engine.collect(ticket)
    assert caught.value.request_id == ticket.request_id
    assert caught.value.status == 404
    assert server.ledger.posts == 1


def test_that_v2_is_missing_is_asked_once_and_remembered(start, engine_for, kit):
    server = start(Behaviour(v2_missing=404))
    engine = engine_for(server)
    for _ in range(3):
        assert len(engine.segment(kit.question()).instances) == 1
    assert (len(server.ledger.of("submit")), len(server.ledger.of("v1"))) == (1, 3)
    assert server.ledger.billed == 3


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_two_threads_at_once_get_their_own_answers(start, engine_for, api):
    def bright(image, fields):
        return [image[..., 0] > 100]

    server = start(model=bright)
    engine = engine_for(server, api=api)
    images = []
    for place in range(4):
        image = np.zeros((20, 33, 3), np.uint8)
        image[3 : 5 + place, 4 * place : 4 * place + 3] = 200
        images.append(image)

    def ask(image):
        (item,) = engine.segment(
            SegmentationRequest(Pixels(image), ConceptPrompt("spot"))
        ).instances
        return item.box.slices

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(ask, images))
    for place, slices in enumerate(found):
        assert slices == (slice(3, 5 + place), slice(4 * place, 4 * place + 3))
    assert server.ledger.posts == server.ledger.billed == 4


def test_what_it_waits_for_can_be_shown(start, engine_for, kit):
    server = start()
    engine = engine_for(server)
    seen = []
    ask = SegmindEngine._is_done

    class Watched(SegmindEngine):
        def _is_done(self, *args):
            done = ask(self, *args)
            seen.append(self.state)
            return done

    engine.__class__ = Watched
    engine.segment(kit.question())
    assert seen == ["queued", "running", "running"]
    assert engine.state == ""


@pytest.mark.parametrize(("api", "seconds"), [("v1", 7.5), ("v2", 7.5)])
def test_what_it_took_is_told_with_the_answer(start, engine_for, kit, api, seconds):
    server = start(Behaviour(generation_s=seconds), credits=1.0)
    engine = engine_for(server, api=api)
    usage = engine.segment(kit.question()).usage
    assert usage.credits == pytest.approx(0.006)
    assert usage.seconds == seconds
    assert usage.request_id
    assert engine.credits_left == pytest.approx(0.994)


@pytest.mark.parametrize("answer", ["mask", "separate masks", "overlay"])
def test_each_kind_of_answer_is_read_as_what_it_is(start, engine_for, kit, answer):
    def two(image, fields):
        masks = np.zeros((2, *image.shape[:2]), bool)
        masks[0, 3:9, 4:9] = masks[1, 3:9, 9:14] = True
        return list(masks)

    server = start(model=two)
    result = engine_for(server, answer=answer).segment(kit.question())
    assert len(result.instances) == {"mask": 1, "separate masks": 2, "overlay": 0}[answer]
    assert len(result.pictures) == (answer == "overlay")
    assert any("Split from one mask" in n for n in result.notices) == (answer == "mask")


def test_what_was_sent_together_is_said_to_be_uncertain(start, engine_for):
    image = np.zeros((30, 44, 3), np.uint8)
    prompt = CombinedPrompt("cell", (), (Point(3, 4),))
    result = engine_for(start()).segment(SegmentationRequest(Pixels(image), prompt))
    assert any("left one kind out" in notice for notice in result.notices)
    (item,) = result.instances
    assert (item.concept, item.score) == ("cell", None)


def test_one_object_in_several_parts_stays_one(start, engine_for):
    def parts(image, fields):
        mask = np.zeros(image.shape[:2], bool)
        mask[2:4, 3:5] = mask[20:25, 40:43] = True
        return [mask]

    image = np.zeros((30, 44, 3), np.uint8)
    request = SegmentationRequest(Pixels(image), ObjectPrompt((Point(3, 4),)))
    result = engine_for(start(model=parts)).segment(request)
    assert [item.area for item in result.instances] == [19]
    assert result.notices == ()


def test_an_answer_too_long_for_a_receipt_is_read_as_an_answer():
    assert json_object(b'{"request_id": "r"' + b" " * 2**20 + b"}") == {}
    assert json_object(b'["r"]') == {}


# ---------------------------------------------------------------------- the balance


def test_the_balance_is_the_sum_of_both_kinds_of_credits(start, engine_for):
    server = start(credits=1.0, free_credits=0.25)
    engine = engine_for(server)
    assert engine.credits() == pytest.approx(1.25)
    assert engine.credits_left == pytest.approx(1.25)
    assert server.ledger.posts == 0


@pytest.mark.parametrize(
    ("behaviour", "kind", "says"),
    [
        (Behaviour(faults={"credits": Fault(401)}), AuthenticationError, "API key"),
        (Behaviour(faults={"credits": Fault(403)}), AuthenticationError, "may not use"),
        (Behaviour(faults={"credits": Fault(500)}), EngineError, "error of its own"),
        (Behaviour(faults={"credits": Fault(400)}), RequestRejectedError, "does not take"),
        (Behaviour(traps={"credits": "redirect 302"}), EngineError, "redirects"),
        (Behaviour(traps={"credits": "reset before"}), EngineError, "broke off"),
        (Behaviour(traps={"credits": "truncate"}), EngineError, "broke off"),
    ],
)
def test_if_the_balance_cannot_be_asked_it_says_why(start, engine_for, kit, behaviour, kind, says):
    server = start(behaviour)
    with pytest.raises(kind, match=says) as caught:
        engine_for(server).credits()
    assert "Nothing was billed." in str(caught.value)
    assert server.leaked_keys == 0
    assert server.key not in kit.told(caught.value)


@pytest.mark.parametrize(
    "fault", [Fault(404), Fault(405), Fault(200, "html"), Fault(200, "empty"), Fault(200, "oauth")]
)
def test_a_balance_that_is_not_told_is_none(start, engine_for, fault):
    server = start(Behaviour(faults={"credits": fault}))
    assert engine_for(server).credits() is None


def test_a_lost_question_for_the_balance_is_asked_again(start, engine_for):
    server = start(credits=2.0)
    server.script(
        [replace(server.behaviour, traps={"credits": t}) for t in ("truncate", "reset before")],
        "credits",
    )
    assert engine_for(server).credits() == 2.0


def test_without_a_key_it_says_how_to_give_one(kit):
    with pytest.raises(AuthenticationError, match="SEGMIND_API_KEY"):
        SegmindEngine().segment(kit.question())


def test_a_wrong_key_is_told_and_not_shown(start, engine_for, kit):
    server = start(key="SG_0123456789abcdef")
    engine = engine_for(server)
    engine._key = type(engine._key)("SG_notTheRightOne")
    with pytest.raises(AuthenticationError) as caught:
        engine.segment(kit.question())
    assert "notTheRightOne" not in kit.told(caught.value)
    assert server.ledger.billed == 0
