"""What every engine promises, whoever it is."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines import ENGINES, creating, engine_info
from napari_sam3.engines.base import Capabilities, SegmentationRequest, needs
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import CancelledError, UnsupportedPromptError
from napari_sam3.testing import TEST_KEY

RIGHT = Box(6, 70, 16, 84)
LEFT = Box(30, 10, 42, 18)

PROMPTS = {
    "text": ConceptPrompt("square"),
    "exemplar": ConceptPrompt(exemplars=(Exemplar(RIGHT),)),
    "exemplars ±": ConceptPrompt(exemplars=(Exemplar(RIGHT), Exemplar(LEFT, positive=False))),
    "text and exemplar": ConceptPrompt("square", (Exemplar(RIGHT),)),
    "click": ObjectPrompt(points=(Point(10, 76),)),
    "clicks ±": ObjectPrompt(points=(Point(10, 76), Point(35, 14, positive=False))),
    "box": ObjectPrompt(box=Box(5, 68, 18, 86)),
    "box and click": ObjectPrompt(points=(Point(10, 76),), box=Box(5, 68, 18, 86)),
    "text of common words": ConceptPrompt("bright objects"),
    "text of known words": ConceptPrompt("large, bright cells"),
    "outline": ObjectPrompt(outline=((5, 69), (5, 85), (17, 85), (17, 69))),
    "outline and clicks ±": ObjectPrompt(
        points=(Point(10, 76), Point(35, 14, positive=False)),
        outline=((5, 69), (5, 85), (17, 85), (17, 69)),
    ),
    "small of a click": ObjectPrompt(points=(Point(10, 76),), proposal="small"),
    "everything": Everything(),
    "everything of a size": Everything(diameter=12.5),
    "text, exemplar and click": CombinedPrompt("square", (Exemplar(RIGHT),), (Point(10, 76),)),
}


@pytest.fixture(params=sorted(PROMPTS))
def prompt(request):
    return PROMPTS[request.param]


def answer(engine, image, prompt, **limits):
    """Return the instances, or None where the engine refuses, as it then must."""
    request = SegmentationRequest(Pixels(image), prompt, **limits)
    missing = engine.capabilities.missing_for(prompt)
    if missing is None:
        return engine.segment(request).instances
    with pytest.raises(UnsupportedPromptError):
        engine.segment(request)
    return None


def as_plain(instances):
    return [(i.box, i.mask.tobytes(), i.score) for i in instances]


def test_its_name_and_capabilities_are_those_on_the_list(engine):
    assert engine_info(engine.name).capabilities == engine.capabilities
    assert isinstance(engine.capabilities, Capabilities)


def test_it_says_which_model_answers_and_what_else_changes_the_answer(engine):
    assert isinstance(engine.model, str)
    assert engine.model.strip()
    parameters = dict(engine.parameters)
    assert json.loads(json.dumps(parameters, allow_nan=False)) == parameters
    assert all(isinstance(name, str) for name in parameters)
    assert dict(engine.parameters) == parameters


def test_what_a_billed_engine_notes_of_a_question_holds_no_key_and_no_picture(engine, wide_image):
    if not engine.capabilities.billed:
        return
    assert 0 <= engine.price.low <= engine.price.high
    assert engine.price.seconds > 0
    assert engine.kept_s > 0
    ticket = engine.submit(SegmentationRequest(Pixels(wide_image), PROMPTS["exemplar"]))
    packed = engine.pack(ticket)
    assert isinstance(packed, bytes)
    sent = engine.payload(SegmentationRequest(Pixels(wide_image), PROMPTS["exemplar"]))
    for secret in (TEST_KEY.encode(), sent.picture, base64.b64encode(sent.picture)):
        assert secret not in packed
    # and yet it is enough, even where the key is found by itself
    resumed, again = creating.resume(engine.name, packed, engine.options.url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGMIND_API_KEY", TEST_KEY)
        there, here = resumed.collect(again), engine.collect(ticket)
    assert as_plain(there.instances) == as_plain(here.instances)
    assert len(here.instances) > 0


@pytest.mark.parametrize(
    "options",
    [{"answer": "separate masks"}, {"image_format": "jpeg"}, {"max_side": 640},
     {"url": "https://other.example"}],
    ids=lambda options: f"{next(iter(options))}",
)  # fmt: skip
def test_an_engine_that_answers_otherwise_has_other_parameters(options):
    usual, other = create_engine("segmind"), create_engine("segmind", **options)
    assert dict(usual.parameters) != dict(other.parameters)
    assert usual.model == other.model


@pytest.mark.parametrize("options", [{"api": "v1"}, {"deadline_s": 5.0}, {"read_timeout_s": 5.0}])
def test_how_an_answer_is_fetched_is_no_parameter_of_it(options):
    usual, other = create_engine("segmind"), create_engine("segmind", **options)
    assert dict(usual.parameters) == dict(other.parameters)


def test_masks_are_bool_not_empty_and_inside_the_image(engine, wide_image, prompt):
    for instance in answer(engine, wide_image, prompt) or ():
        assert instance.mask.dtype == np.bool_
        assert instance.mask.any()
        assert instance.box.intersection(Box.of_shape((48, 90))) == instance.box


def test_scores_are_none_or_between_0_and_1(engine, wide_image, prompt):
    for instance in answer(engine, wide_image, prompt) or ():
        assert instance.score is None or 0 <= instance.score <= 1
        assert not engine.capabilities.scores or instance.score is not None


def test_the_same_question_gets_the_same_answer(engine, wide_image, prompt):
    first, second = (answer(engine, wide_image, prompt) or () for _ in range(2))
    assert as_plain(first) == as_plain(second)


def test_the_image_is_only_read(engine, wide_image, prompt):
    before = wide_image.copy()
    wide_image.flags.writeable = False
    answer(engine, wide_image, prompt)
    np.testing.assert_array_equal(wide_image, before)


def test_a_broadcast_gray_plane_is_an_image_like_any_other(engine, wide_image, prompt):
    broadcast = np.broadcast_to(wide_image[:, :, :1], wide_image.shape)
    first, second = (answer(engine, image, prompt) or () for image in (wide_image, broadcast))
    assert as_plain(first) == as_plain(second)


@pytest.mark.parametrize("kind", ["click", "box", "exemplar"])
def test_an_object_near_the_right_edge_of_a_wide_image_is_found_there(engine, wide_image, kind):
    found = answer(engine, wide_image, PROMPTS[kind])
    if found is not None:
        assert any(_iou(item.box, RIGHT) > 0.6 for item in found)


def test_everything_finds_objects_where_they_are_not_where_a_swapped_axis_has_them(
    engine, wide_image
):
    found = answer(engine, wide_image, Everything())
    if found is not None:
        for box in (RIGHT, LEFT):
            assert any(_iou(item.box, box) > 0.6 for item in found)


def test_what_it_cannot_answer_is_refused_with_the_title_of_an_engine_that_can(
    engine, wide_image, prompt
):
    missing = engine.capabilities.missing_for(prompt)
    if missing is None:
        assert all(getattr(engine.capabilities, need) for need in needs(prompt))
        return
    able = [info.title for info in ENGINES if getattr(info.capabilities, missing)]
    with pytest.raises(UnsupportedPromptError) as refused:
        engine.segment(SegmentationRequest(Pixels(wide_image), prompt))
    assert not able or any(title in str(refused.value) for title in able)


def test_no_object_scores_less_than_asked_for(engine, wide_image, prompt):
    every = answer(engine, wide_image, prompt) or ()
    scores = sorted(i.score for i in every if i.score is not None)
    for limit in (scores[len(scores) // 2] if scores else 0.5, 1.0):
        found = answer(engine, wide_image, prompt, min_score=limit) or ()
        assert all(i.score is None or i.score >= limit for i in found)


def test_no_more_objects_than_asked_for_and_the_best(engine, wide_image, prompt):
    every = answer(engine, wide_image, prompt) or ()
    found = answer(engine, wide_image, prompt, max_masks=1) or ()
    assert len(found) == min(len(every), 1)
    if found and found[0].score is not None:
        assert found[0].score == max(i.score for i in every)


def test_nothing_is_answered_once_it_was_cancelled(engine, wide_image, prompt):
    if engine.capabilities.missing_for(prompt) is None:
        stop = threading.Event()
        stop.set()
        with pytest.raises(CancelledError):
            engine.segment(SegmentationRequest(Pixels(wide_image), prompt), stop)


def test_two_threads_with_two_images_get_their_own_answers(engine, wide_image, prompt):
    images = [wide_image, np.ascontiguousarray(wide_image[::-1, ::-1])] * 2
    alone = [as_plain(answer(engine, image, prompt) or ()) for image in images]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda image: answer(engine, image, prompt) or (), images))
    assert [as_plain(found) for found in together] == alone


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (1, 40)])
def test_the_smallest_images_are_answered(engine, shape):
    image = np.full((*shape, 3), 7, np.uint8)
    for prompt in (
        Everything(),
        ObjectPrompt(points=(Point(0, 0),)),
        ObjectPrompt(box=Box.of_shape(shape)),
        ConceptPrompt(exemplars=(Exemplar(Box(0, 0, 1, 1)),)),
    ):
        found = answer(engine, image, prompt)
        assert found is None or found.image_shape == shape


def test_an_empty_answer_is_empty_instances(engine):
    found = answer(engine, np.zeros((20, 30, 3), np.uint8), Everything())
    if found is not None:
        assert len(found) == 0
        assert found.image_shape == (20, 30)


def _iou(one, two):
    common = one.intersection(two)
    return common.area / (one.area + two.area - common.area) if common else 0.0


def test_several_questions_together_are_answered_as_one_by_one(engine, wide_image):
    together = getattr(engine, "segment_many", None)
    if together is None:
        pytest.skip("it is asked one by one")
    prompts = [
        ObjectPrompt(box=Box(5, 68, 18, 86)),
        ObjectPrompt(points=(Point(35, 14),)),
        ObjectPrompt(box=Box(22, 36, 33, 60)),
        Everything(),
    ]
    requests = [SegmentationRequest(Pixels(wide_image), prompt) for prompt in prompts]
    alone = [as_plain(engine.segment(request).instances) for request in requests]
    assert [as_plain(result.instances) for result in together(requests)] == alone
    assert together([]) == []
