"""Any engine, remembered: free, at once, and stored behind the back of whoever asked."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, ObjectPrompt, Point
from napari_sam3.engines.base import (
    NEVER,
    NO_PARAMETERS,
    Capabilities,
    SegmentationRequest,
    SegmentationResult,
)
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.errors import PromptError, UnsupportedPromptError
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.cached import CachedEngine
from napari_sam3.jobs.storing import STORING

from .paid import IMAGE, request_for

CLICK = SegmentationRequest(Pixels(IMAGE), ObjectPrompt((Point(4, 6),)))


@pytest.fixture
def cache(tmp_path):
    return AnswerCache(tmp_path / "cache", 1 << 30)


class Counting:
    """Finds nothing, and counts how often it was asked."""

    name, model, parameters = "builtin", "counting", NO_PARAMETERS
    capabilities = Capabilities(text=True)

    def __init__(self):
        self.asked = []

    def segment(self, request, stop=NEVER):
        self.asked.append(request.prompt.text)
        return SegmentationResult(Instances(request.shape))


def test_asked_again_it_is_the_same_answer_and_has_no_price(cache):
    first, second = (CachedEngine(BuiltinEngine(), cache).segment(CLICK) for _ in range(2))
    assert (first.usage.cached, second.usage.cached) == (False, True)
    assert second.usage.credits is None
    assert digest(first.instances) == digest(second.instances) == second.record.answer_sha256


def test_without_a_cache_one_engine_asks_the_same_question_once(tmp_path):
    engine = Counting()
    remembered = CachedEngine(engine, None)
    first, second = (remembered.segment(request_for("a")) for _ in range(2))
    assert (first.usage.cached, second.usage.cached) == (False, True)
    CachedEngine(engine, None).segment(request_for("a"))
    assert engine.asked == ["a", "a"]
    assert [*tmp_path.iterdir()] == []


def test_only_answers_that_are_new_enough_are_taken(cache):
    engine = Counting()
    CachedEngine(engine, cache).segment(request_for("a"))
    since = time.time()
    afresh = CachedEngine(engine, cache, newer_than=since).segment(request_for("a"))
    assert not afresh.usage.cached
    # and another one who asked at that time takes what has come since
    assert CachedEngine(engine, cache, newer_than=since).segment(request_for("a")).usage.cached
    assert engine.asked == ["a", "a"]


class TestStoredLater:
    @pytest.fixture
    def disk(self, cache, monkeypatch):
        """Lets nothing be stored before it is set."""
        may_write = threading.Event()
        put = cache.put

        def slow(*args, **kwargs):
            assert may_write.wait(30)
            put(*args, **kwargs)

        monkeypatch.setattr(cache, "put", slow)
        yield may_write
        may_write.set()

    def test_the_answer_is_there_before_it_is_stored(self, cache, disk):
        assert not CachedEngine(BuiltinEngine(), cache).segment(CLICK).usage.cached
        assert [*cache.folder.rglob("*.answer")] == []
        disk.set()
        assert STORING.finish() == ()
        assert len([*cache.folder.rglob("*.answer")]) == 1

    def test_whoever_looks_for_it_waits_until_it_is_there(self, cache, disk):
        engine = Counting()
        result = CachedEngine(engine, cache).segment(request_for("a"))
        threading.Timer(0.05, disk.set).start()
        assert cache.has(result.record.key)
        assert CachedEngine(engine, cache).segment(request_for("a")).usage.cached
        assert cache.info().answers == 1
        assert cache.clear() == 1

    def test_another_question_waits_for_nothing(self, cache, disk):
        engine = Counting()
        CachedEngine(engine, cache).segment(request_for("a"))
        assert not CachedEngine(engine, cache).segment(request_for("b")).usage.cached
        assert not disk.is_set()

    def test_they_are_stored_in_the_order_in_which_they_came(self, cache, monkeypatch):
        stored = []
        monkeypatch.setattr(cache, "put", lambda key, *_: stored.append(key))
        engine = CachedEngine(Counting(), cache)
        keys = [engine.segment(request_for(f"{n}")).record.key for n in range(9)]
        STORING.finish()
        assert stored == keys

    def test_a_full_disk_is_told_of_with_the_next_answer_and_takes_none_away(self, cache):
        cache.folder.write_text("a file where the folder should be")
        engine = Counting()
        first = CachedEngine(engine, cache).segment(request_for("a"))
        (problem,) = STORING.finish()
        assert "could not be stored" in problem
        assert first.notices == ()
        CachedEngine(engine, cache).segment(request_for("b"))
        with STORING._changed:
            STORING._wait_while(lambda: bool(STORING._waiting))
        third = CachedEngine(engine, cache).segment(request_for("c"))
        assert [notice for notice in third.notices if "could not be stored" in notice]
        assert engine.asked == ["a", "b", "c"]

    def test_a_bug_in_one_keeps_no_other_waiting(self, cache, monkeypatch, caplog):
        put, failing = cache.put, ["once"]

        def buggy(*args):
            if failing:
                raise ZeroDivisionError(failing.pop())
            put(*args)

        monkeypatch.setattr(cache, "put", buggy)
        engine = CachedEngine(Counting(), cache)
        keys = [engine.segment(request_for(text)).record.key for text in "ab"]
        STORING.finish()
        assert [cache.has(key) for key in keys] == [False, True]
        assert "ZeroDivisionError" in caplog.text

    def test_so_many_may_wait_and_no_more(self, cache, disk):
        from napari_sam3.jobs import storing

        engine = CachedEngine(Counting(), cache)
        brought = []

        def bring():
            for number in range(storing.MOST + 3):
                engine.segment(request_for(f"{number}"))
                brought.append(number)

        bringing = threading.Thread(target=bring)
        bringing.start()
        bringing.join(0.5)
        assert bringing.is_alive()
        assert len(brought) == storing.MOST
        disk.set()
        bringing.join(30)
        assert len(brought) == storing.MOST + 3

    def test_what_waits_when_the_process_ends_is_stored(self, tmp_path):
        program = (
            "import numpy as np, napari_sam3 as sam3\n"
            "image = np.zeros((40, 60), np.uint8); image[10:20, 30:45] = 200\n"
            "sam3.segment(image, sam3.ObjectPrompt(points=[(15, 37)]))\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
        from napari_sam3.jobs.records import open_cache

        assert open_cache().info().answers == 1


class TestTogether:
    """Several questions about one picture, to an engine that answers them together."""

    def requests(self):
        image = np.full((40, 70, 3), 20, np.uint8)
        image[5:15, 50:62] = 200
        image[20:34, 8:20] = 170
        boxes = [Box(4, 49, 16, 63), Box(19, 7, 35, 21)]
        return [SegmentationRequest(Pixels(image), ObjectPrompt(box=box)) for box in boxes]

    def test_each_answer_is_stored_by_itself(self, cache):
        requests = self.requests()
        together = CachedEngine(BuiltinEngine(), cache).segment_many(requests)
        alone = [CachedEngine(BuiltinEngine(), cache).segment(one) for one in requests]
        assert [result.usage.cached for result in together] == [False, False]
        assert [result.usage.cached for result in alone] == [True, True]
        assert [digest(one.instances) for one in together] == [
            digest(one.instances) for one in alone
        ]

    def test_what_is_stored_is_not_asked_again(self, cache, monkeypatch):
        first, second = self.requests()
        CachedEngine(BuiltinEngine(), cache).segment(first)
        asked = []
        usual = BuiltinEngine.segment_many
        monkeypatch.setattr(
            BuiltinEngine,
            "segment_many",
            lambda self, requests, stop=NEVER: (
                asked.extend(requests) or usual(self, requests, stop)
            ),
        )
        results = CachedEngine(BuiltinEngine(), cache).segment_many([first, second])
        assert asked == [second]
        assert [result.usage.cached for result in results] == [True, False]

    def test_one_wrong_box_does_not_lose_those_before_it(self, cache):
        good, other = self.requests()
        wrong = replace(good, prompt=ObjectPrompt(box=Box(900, 900, 910, 910)))
        with pytest.raises(PromptError, match="outside of the image"):
            CachedEngine(BuiltinEngine(), cache).segment_many([good, wrong, other])
        assert CachedEngine(BuiltinEngine(), cache).segment(good).usage.cached

    def test_one_that_cannot_be_answered_is_refused_before_any_is(self, cache, monkeypatch):
        monkeypatch.setattr(BuiltinEngine, "segment_many", lambda *_: pytest.fail("was asked"))
        image = np.zeros((4, 5, 3), np.uint8)
        bad = SegmentationRequest(Pixels(image), ConceptPrompt("mitochondria"))
        with pytest.raises(UnsupportedPromptError):
            CachedEngine(BuiltinEngine(), cache).segment_many([*self.requests(), bad])
