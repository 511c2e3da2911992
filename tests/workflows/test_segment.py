import threading
from dataclasses import replace

import numpy as np
import pytest

import napari_sam3
from napari_sam3 import (
    Box,
    CancelledError,
    ConceptPrompt,
    EngineError,
    Everything,
    Exemplar,
    Instance,
    Instances,
    ObjectPrompt,
    Point,
    PromptError,
    SegmentationResult,
    Usage,
    segment,
)
from napari_sam3.core.pictures import Picture
from napari_sam3.core.plane_index import PlaneIndex, Region
from napari_sam3.core.progress import Progress, drain
from napari_sam3.engines.base import NEVER, NO_PARAMETERS, Capabilities, question_of
from napari_sam3.errors import ImageError
from napari_sam3.workflows.asking import object_prompts, require_inside
from napari_sam3.workflows.run import Found, SegmentRun, iter_run

IMAGE = (np.arange(20 * 30) % 256).astype(np.uint8).reshape(20, 30)


class FakeEngine:
    """Answers each prompt with its box, or everything with nothing."""

    name, model, parameters = "builtin", "fake 1", NO_PARAMETERS
    capabilities = Capabilities(points=True, object_box=True, exemplars=True, everything=True)

    def __init__(self, usages=(), notices=()):
        self.requests = []
        self.usages = list(usages)
        self.notices = notices

    def segment(self, request, stop=NEVER):
        self.requests.append(request)
        box = getattr(request.prompt, "box", None)
        items = [Instance(np.ones(box.shape, bool), box)] if box else []
        usage = self.usages.pop(0) if self.usages else Usage()
        return SegmentationResult(Instances(request.shape, items), usage, self.notices)


def boxed(*corners):
    return ObjectPrompt(box=Box(*corners))


def run_of(*prompts, **options):
    return SegmentRun(Picture.from_array(IMAGE, (0, 255)), prompts, **options)


class TestIterSegment:
    def test_asks_in_order_and_tells_before_and_after_each_question(self):
        engine = FakeEngine()
        prompts = boxed(0, 0, 5, 5), boxed(3, 4, 9, 12), boxed(10, 20, 15, 30)
        workflow = iter_run(engine, run_of(*prompts))
        assert next(workflow) == Progress(0, 3, "reading the image")
        for done in range(3):
            assert next(workflow) == Progress(done, 3, "segmenting")
            assert len(engine.requests) == done
            found = next(workflow)
            assert (found.question, found.instances[0].box) == (done, prompts[done].box)
            assert len(engine.requests) == done + 1
        with pytest.raises(StopIteration) as end:
            next(workflow)
        answer = end.value.value
        assert [request.prompt for request in engine.requests] == list(prompts)
        assert [item.box for item in answer.instances] == [prompt.box for prompt in prompts]
        assert answer.image_shape == (20, 30)
        assert answer.overlapping == 2

    def test_every_request_carries_the_picture_and_the_numbers(self):
        engine = FakeEngine()
        drain(iter_run(engine, run_of(Everything(), min_score=0.3, max_masks=7)))
        [request] = engine.requests
        assert (request.min_score, request.max_masks) == (0.3, 7)
        np.testing.assert_array_equal(request.image, np.dstack([IMAGE] * 3))

    def test_the_picture_is_read_once_and_only_when_the_workflow_runs(self):
        reads = []

        class Lazy:
            def __getitem__(self, index):
                reads.append(1)
                return IMAGE[index]

        shown = Picture.from_array(IMAGE).channels[0]
        picture = Picture(IMAGE.shape, (replace(shown, data=Lazy()),))
        run = SegmentRun(picture, (boxed(0, 0, 5, 5), boxed(3, 4, 9, 12)))
        workflow = iter_run(FakeEngine(), run)
        next(workflow)
        assert reads == []
        drain(workflow)
        assert reads == [1]

    def test_notices_are_told_once_each(self):
        engine = FakeEngine(notices=("Clipped.", "Slow."))
        answer = drain(iter_run(engine, run_of(boxed(0, 0, 5, 5), boxed(3, 4, 9, 12))))
        assert answer.notices == ("Clipped.", "Slow.")

    def test_nothing_found_is_an_answer(self):
        answer = drain(iter_run(FakeEngine(), run_of(Everything())))
        assert len(answer.instances) == answer.overlapping == 0
        assert answer.instances.to_labels().shape == (20, 30)

    def test_a_stop_before_the_first_question_asks_nothing(self):
        engine, stop = FakeEngine(), threading.Event()
        workflow = iter_run(engine, run_of(boxed(0, 0, 5, 5)), stop)
        next(workflow)
        stop.set()
        with pytest.raises(CancelledError):
            drain(workflow)
        assert engine.requests == []

    def test_a_stop_between_questions_asks_no_more(self):
        engine, stop = FakeEngine(), threading.Event()
        workflow = iter_run(engine, run_of(boxed(0, 0, 5, 5), boxed(3, 4, 9, 12)), stop)
        for _ in range(3):
            next(workflow)
        stop.set()
        with pytest.raises(CancelledError):
            drain(workflow)
        assert len(engine.requests) == 1

    def test_a_closed_workflow_asks_no_more(self):
        engine = FakeEngine()
        workflow = iter_run(engine, run_of(boxed(0, 0, 5, 5), boxed(3, 4, 9, 12)))
        for _ in range(3):
            next(workflow)
        workflow.close()
        assert len(engine.requests) == 1
        with pytest.raises(StopIteration):
            next(workflow)

    def test_a_stop_during_the_last_answer_of_a_free_engine_drops_it(self):
        stop = threading.Event()

        class Slow(FakeEngine):
            def segment(self, request, stop=NEVER):
                stop.set()
                return super().segment(request, stop)

        with pytest.raises(CancelledError):
            drain(iter_run(Slow(), run_of(Everything()), stop))

    def test_an_engines_error_reaches_the_caller_as_it_is(self):
        class Broken(FakeEngine):
            def segment(self, request, stop=NEVER):
                raise EngineError("It broke.", request_id="r1")

        with pytest.raises(EngineError, match="It broke") as caught:
            drain(iter_run(Broken(), run_of(Everything())))
        assert caught.value.request_id == "r1"


class TestBilledEngine:
    class Engine(FakeEngine):
        capabilities = Capabilities(object_box=True, billed=True)

        def segment(self, request, stop=NEVER):
            if len(self.requests) == 1:
                raise EngineError("No credits are left.")
            return super().segment(request, stop)

    prompts = boxed(0, 0, 5, 5), boxed(3, 4, 9, 12)

    def test_what_was_paid_is_returned_though_a_later_question_fails(self):
        answer = drain(iter_run(self.Engine(notices=("Slow.",)), run_of(*self.prompts)))
        assert len(answer.instances) == 1
        assert answer.notices == (
            "Slow.",
            "Only 1 of 2 requests were answered. No credits are left.",
        )

    def test_what_was_paid_is_returned_though_the_user_stops(self):
        stop = threading.Event()
        workflow = iter_run(self.Engine(), run_of(*self.prompts), stop)
        for _ in range(3):
            next(workflow)
        stop.set()
        answer = drain(workflow)
        assert len(answer.instances) == 1
        assert answer.notices == ("Only 1 of 2 requests were answered. Cancelled.",)

    def test_a_stop_before_anything_was_paid_is_a_stop(self):
        stop = threading.Event()
        stop.set()
        with pytest.raises(CancelledError):
            drain(iter_run(self.Engine(), run_of(*self.prompts), stop))


class TestUsage:
    def usage_of(self, *usages):
        prompts = [boxed(0, 0, 5, 5)] * len(usages)
        return drain(iter_run(FakeEngine(usages), run_of(*prompts))).usage

    def test_prices_and_times_are_summed(self):
        usage = self.usage_of(Usage(0.25, 1.0), Usage(0.5, 2.0), Usage(None, 4.0))
        assert (usage.credits, usage.seconds) == (0.75, 7.0)

    def test_what_nobody_knows_stays_unknown(self):
        usage = self.usage_of(Usage(), Usage())
        assert (usage.credits, usage.seconds, usage.request_id) == (None, None, None)

    def test_a_single_request_keeps_its_id(self):
        assert self.usage_of(Usage(request_id="a"), Usage()).request_id == "a"
        assert self.usage_of(Usage(request_id="a"), Usage(request_id="b")).request_id is None

    def test_it_is_cached_only_if_all_of_it_was(self):
        assert self.usage_of(Usage(cached=True), Usage(cached=True)).cached
        assert not self.usage_of(Usage(cached=True), Usage()).cached
        assert not self.usage_of().cached


class TestSegment:
    def test_takes_an_engine_and_any_image(self):
        engine = FakeEngine()
        result = segment(IMAGE.astype(float), boxed(2, 3, 6, 9), engine)
        assert result.instances.to_labels().sum() == 24
        assert engine.requests[0].image.dtype == np.uint8

    @pytest.mark.parametrize(
        ("prompt", "min_score"),
        [
            (ConceptPrompt(exemplars=(Exemplar(Box(0, 0, 2, 3)),)), 0.5),
            (boxed(2, 3, 6, 9), 0.0),
            (Everything(), 0.5),
        ],
        ids=question_of,
    )
    def test_all_but_one_object_have_a_threshold_by_themselves(self, prompt, min_score):
        engine = FakeEngine()
        segment(IMAGE, prompt, engine)
        segment(IMAGE, prompt, engine, 0.25)
        assert [request.min_score for request in engine.requests] == [min_score, 0.25]

    def test_contrast_limits_decide_what_the_engine_sees(self):
        engine = FakeEngine()
        segment(IMAGE, Everything(), engine, contrast_limits=(0, 10))
        assert np.count_nonzero(engine.requests[0].image == 255) > 3 * 400

    def test_a_script_is_told_why_there_is_nothing_to_see_and_what_to_try(self):
        dim = np.tile(IMAGE, (3, 4)).astype(np.uint16) + 300
        dim[3, 4] = 65535
        result = segment(
            dim, Everything(), FakeEngine(notices=("Slow.",)), contrast_limits=(0, 65535)
        )
        assert result.notices == (
            (
                "Nearly all of the picture is one grey level: the contrast limits are 0 and 65535, "
                "but nearly all values lie between 300 and 555. Try contrast_limits=(300, 555)."
            ),
            "Slow.",
        )
        several = segment(dim, [Everything()], FakeEngine(), contrast_limits=(0, 65535))
        assert several.notices == result.notices
        assert segment(dim, Everything(), FakeEngine()).notices == ()

    def test_an_engine_may_be_named(self):
        result = segment(IMAGE, Everything(), "builtin")
        assert result.instances.image_shape == (20, 30)

    def test_numbers_out_of_range_are_refused(self):
        with pytest.raises(PromptError, match="min_score"):
            segment(IMAGE, Everything(), FakeEngine(), 1.5)
        with pytest.raises(PromptError, match="max_masks"):
            segment(IMAGE, Everything(), FakeEngine(), max_masks=101)

    def test_it_is_public(self):
        assert napari_sam3.segment is segment


class TestObjectPrompts:
    def test_each_click_alone_is_an_object(self):
        first, second = Point(1, 2), Point(8, 9)
        assert object_prompts([first, second], []) == (
            ObjectPrompt((first,)),
            ObjectPrompt((second,)),
        )

    def test_each_box_alone_is_an_object(self):
        boxes = [Box(0, 0, 4, 5), Box(3, 3, 9, 9)]
        assert object_prompts([], boxes) == tuple(ObjectPrompt((), box) for box in boxes)

    def test_with_one_box_all_clicks_mean_its_object(self):
        box, inside, outside = Box(0, 0, 4, 5), Point(1, 1), Point(9, 9)
        assert object_prompts([inside, outside], [box]) == (ObjectPrompt((inside, outside), box),)

    def test_of_several_boxes_a_click_joins_the_smallest_around_it(self):
        large, small = Box(0, 0, 20, 20), Box(2, 2, 6, 6)
        inner, outer, away = Point(3, 3), Point(10, 10), Point(30, 30)
        assert object_prompts([inner, outer, away], [large, small]) == (
            ObjectPrompt((outer,), large),
            ObjectPrompt((inner,), small),
            ObjectPrompt((away,)),
        )

    def test_negative_clicks_count_for_every_object(self):
        click, beside = Point(1, 2), Point(5, 5, positive=False)
        boxes = [Box(10, 10, 20, 20), Box(30, 30, 40, 40)]
        prompts = object_prompts([beside, click], boxes)
        assert [prompt.points for prompt in prompts] == [(beside,), (beside,), (click, beside)]

    def test_negative_clicks_alone_mark_no_object(self):
        with pytest.raises(PromptError):
            object_prompts([Point(1, 2, positive=False)], [])

    def test_nothing_gives_nothing(self):
        assert object_prompts([], []) == ()


class TestRequireInside:
    @pytest.mark.parametrize(
        "prompt",
        [
            Everything(),
            ObjectPrompt((Point(-0.4, 29.4),), Box(0, 0, 20, 30)),
            ConceptPrompt("nucleus", (Exemplar(Box(19, 29, 20, 30)),)),
        ],
    )
    def test_the_border_is_inside(self, prompt):
        require_inside([prompt], (20, 30))

    @pytest.mark.parametrize(
        "prompt",
        [
            ObjectPrompt((Point(25, 5),)),
            ObjectPrompt((Point(5, 5), Point(5, 29.6, positive=False))),
            boxed(0, 0, 21, 30),
            ConceptPrompt(exemplars=(Exemplar(Box(-1, 0, 5, 5)),)),
        ],
    )
    def test_what_is_outside_is_named_with_the_size_of_the_image(self, prompt):
        with pytest.raises(PromptError, match="20 rows and 30 columns"):
            require_inside([prompt], (20, 30))


class TestInFlight:
    """Several questions at the same time, each let go by the test."""

    prompts = tuple(boxed(0, 0, 2 + i, 3 + i) for i in range(4))

    class Engine(FakeEngine):
        def __init__(self, *, billed=True, broken=()):
            super().__init__()
            self.capabilities = Capabilities(object_box=True, billed=billed)
            self.broken = broken
            self.under_way = threading.Barrier(2, timeout=20)
            self.at_once = []
            self._lock = threading.Lock()
            self._now = 0

        def segment(self, request, stop=NEVER):
            with self._lock:
                self._now += 1
                self.at_once.append(self._now)
            self.under_way.wait()
            with self._lock:
                self._now -= 1
            if request.prompt in self.broken:
                raise EngineError("It broke.")
            return super().segment(request, stop)

    def test_as_many_are_under_way_as_was_said_and_no_more(self):
        engine = self.Engine()
        drain(iter_run(engine, run_of(*self.prompts, in_flight=2)))
        assert max(engine.at_once) == 2

    def test_the_answers_keep_the_order_of_the_questions(self):
        answer = drain(iter_run(self.Engine(), run_of(*self.prompts, in_flight=2)))
        assert [item.box for item in answer.instances] == [p.box for p in self.prompts]

    def test_what_was_paid_is_kept_in_its_place_though_another_fails(self):
        engine = self.Engine(broken=self.prompts[:1])
        answer = drain(iter_run(engine, run_of(*self.prompts[:2], in_flight=2)))
        assert [len(result.instances) for result in answer.results] == [0, 1]
        assert answer.notices == ("Only 1 of 2 requests were answered. It broke.",)

    def test_no_more_begin_after_a_failure(self):
        engine = self.Engine(broken=self.prompts[:2])
        with pytest.raises(EngineError, match="It broke"):
            drain(iter_run(engine, run_of(*self.prompts, in_flight=2)))
        assert len(engine.at_once) == 2

    def test_a_failure_of_a_free_engine_is_raised(self):
        engine = self.Engine(billed=False, broken=self.prompts[:1])
        with pytest.raises(EngineError, match="It broke"):
            drain(iter_run(engine, run_of(*self.prompts[:2], in_flight=2)))

    def test_progress_counts_what_is_done_and_each_answer_is_told(self):
        events = list(iter_run(self.Engine(), run_of(*self.prompts, in_flight=2)))
        steps = [event for event in events if isinstance(event, Progress)]
        found = [event for event in events if isinstance(event, Found)]
        assert sorted(one.question for one in found) == [0, 1, 2, 3]
        assert [step.done for step in steps] == [0, 1, 2, 3, 4]
        assert {step.total for step in steps} == {4}


class TestFound:
    """What a question found is told when it is answered, and not with the last one."""

    prompts = tuple(ConceptPrompt(text) for text in ("nucleus", "cell", "golgi"))

    @staticmethod
    def engine():
        return NamingEngine({"nucleus": (2, ""), "cell": (1, "a cell"), "golgi": (0, "")})

    def test_all_that_is_found_on_the_way_is_the_answer(self):
        found = []
        answer = drain(iter_run(self.engine(), run_of(*self.prompts)), found.append)
        found = [event for event in found if isinstance(event, Found)]
        assert [one.result for one in found] == list(answer.results)
        together = [item for one in found for item in one.instances]
        assert [(i.box, i.concept) for i in together] == [
            (i.box, i.concept) for i in answer.instances
        ]

    def test_it_says_where_the_picture_lies(self):
        crop = Region(PlaneIndex((1, 2), (7,)), Box(4, 6, 24, 36))
        for region in (crop, None):
            events = [*iter_run(self.engine(), run_of(*self.prompts, region=region))]
            found = [event for event in events if isinstance(event, Found)]
            whole = Region(PlaneIndex(), Box(0, 0, 20, 30))
            assert [one.region for one in found] == [region or whole] * 3

    def test_what_was_found_before_a_failure_was_told(self):
        class Failing(NamingEngine):
            def segment(self, request, stop=NEVER):
                if request.prompt.text == "golgi":
                    raise EngineError("It broke.")
                return super().segment(request, stop)

        found = []
        with pytest.raises(EngineError):
            drain(
                iter_run(Failing(self.engine().found), run_of(*self.prompts)),
                lambda event: found.append(event) if isinstance(event, Found) else None,
            )
        assert [one.concept for one in found] == ["nucleus", "cell"]


class TestDescribedPictures:
    def test_an_answer_says_how_its_picture_was_made(self):
        answer = drain(iter_run(FakeEngine(), run_of(Everything())))
        assert answer.picture == Picture.from_array(IMAGE).describe()


class NamingEngine(FakeEngine):
    """Finds what a table says; tells the concept itself where the table gives one."""

    capabilities = Capabilities(text=True, exemplars=True, combined=True)

    def __init__(self, found):
        super().__init__()
        self.found = found

    def segment(self, request, stop=NEVER):
        self.requests.append(request)
        count, concept = self.found[request.prompt.text]
        box = Box(1, 2, 4, 9)
        items = (Instance(np.ones(box.shape, bool), box, None, concept),) * count
        return SegmentationResult(Instances(request.shape, items))


class TestConcepts:
    def test_each_object_carries_what_it_was_asked_for_as(self):
        engine = NamingEngine({"nucleus": (2, ""), "cell": (1, "a cell"), "golgi": (0, "")})
        prompts = [ConceptPrompt(text) for text in engine.found]
        answer = drain(iter_run(engine, run_of(*prompts)))
        assert [item.concept for item in answer.instances] == ["nucleus", "nucleus", "a cell"]
        assert answer.concepts == ("nucleus", "cell", "golgi")
        assert answer.found_words == "2 nucleus, 1 cell, 0 golgi"
        # as it came: its record is of that
        assert [item.concept for item in answer.results[0].instances] == ["", ""]

    def test_what_was_not_asked_for_by_name_carries_none(self):
        answer = drain(iter_run(FakeEngine(), run_of(boxed(0, 0, 5, 5), boxed(1, 2, 4, 9))))
        assert [item.concept for item in answer.instances] == ["", ""]
        assert answer.found_words == "2 objects"

    def test_one_concept_is_counted_as_objects(self):
        engine = NamingEngine({"cell": (1, "")})
        answer = drain(iter_run(engine, run_of(ConceptPrompt("cell"))))
        assert answer.found_words == "1 object"
        assert answer.instances[0].concept == "cell"


@pytest.mark.parametrize(
    ("image", "options", "error", "words"),
    [
        ([[1], [1, 2]], {}, ImageError, "rows differ in length"),
        (IMAGE, {"contrast_limits": "ab"}, ImageError, "two rising numbers"),
        (IMAGE, {"contrast_limits": (1, 2, 3)}, ImageError, "two rising numbers"),
        (IMAGE, {"contrast_limits": (5, 5)}, ImageError, "two rising numbers"),
        (IMAGE, {"contrast_limits": (0, 10**400)}, ImageError, "two rising numbers"),
        (IMAGE, {"engine": 4}, EngineError, "An engine is a name"),
    ],
)
def test_what_a_script_gets_wrong_is_a_sentence(image, options, error, words):
    with pytest.raises(error, match=words):
        segment(image, ObjectPrompt(points=[(5, 7)]), **options)
