"""What a click may mean, scribbles, outlines drawn by hand, and what is said beside answers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data
from skimage.draw import disk, ellipse

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import Everything, ObjectPrompt, Point
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.engines.builtin.nets.objects import preferred
from napari_sam3.engines.builtin.scene import LastOnes
from napari_sam3.engines.builtin.sketch import filled
from napari_sam3.errors import CancelledError, PromptError
from tests.tiers import examples

SHAPE = (150, 220)


def photographed(gray, seed=0, blur=1.0, noise=3.0):
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(np.asarray(gray, float), blur) + rng.normal(0, noise, SHAPE)
    return np.repeat(np.clip(soft, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def iou(one, two):
    return np.count_nonzero(one & two) / max(np.count_nonzero(one | two), 1)


def ask(image, engine=None, **prompt):
    request = SegmentationRequest(Pixels(image), ObjectPrompt(**prompt))
    return (engine or BuiltinEngine()).segment(request)


def mask_of(result):
    return np.asarray(result.instances.to_labels() > 0)


@pytest.fixture(scope="module")
def nested():
    """A bright nucleus in a dimmer cell: a click on it may mean either."""
    gray = np.full(SHAPE, 20.0)
    gray[ellipse(75, 110, 45, 60)] = 90
    gray[disk((75, 110), 16)] = 220
    return photographed(gray)


@pytest.fixture(scope="module")
def body():
    truth = np.zeros(SHAPE, bool)
    truth[ellipse(70, 120, 26, 40)] = True
    return truth, photographed(20 + 130.0 * truth)


def test_small_medium_and_large_are_in_order_and_differ(nested):
    engine = BuiltinEngine()
    sizes = [
        ask(nested, engine, points=(Point(75, 110),), proposal=one).instances.items[0].area
        for one in ("small", "medium", "large")
    ]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]


def test_the_small_and_the_large_one_are_the_nucleus_and_the_cell(nested):
    nucleus, cell = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    nucleus[disk((75, 110), 16)] = True
    cell[ellipse(75, 110, 45, 60)] = True
    engine = BuiltinEngine()
    found = {
        one: mask_of(ask(nested, engine, points=(Point(75, 110),), proposal=one))
        for one in ("small", "large")
    }
    assert iou(found["small"], nucleus) > 0.6
    assert iou(found["large"], cell) > 0.6


def test_whichever_is_wanted_the_click_holds(nested):
    for one in ("", "small", "medium", "large"):
        assert mask_of(ask(nested, points=(Point(75, 110),), proposal=one))[75, 110]


def test_where_there_is_one_meaning_only_this_is_said():
    gray = np.full(SHAPE, 20)
    gray[40:60, 50:90] = 200
    image = np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    answer = ask(image, points=(Point(50, 70),), proposal="large")
    assert "one meaning only" in answer.notices[0]
    assert iou(mask_of(answer), gray == 200) == 1.0


@pytest.mark.parametrize(
    ("wanted", "areas"),
    [("", [9, 25, 1]), ("small", [1, 9, 25]), ("medium", [9, 25, 1]), ("large", [25, 9, 1])],
)
def test_the_wanted_proposal_comes_first_and_none_is_lost(wanted, areas):
    made = {
        side**2: Instance(np.ones((side, side), bool), Box(0, 0, side, side)) for side in (3, 5, 1)
    }
    found = [item.area for item in preferred(list(made.values()), wanted)]
    assert found[0] == areas[0]
    assert sorted(found) == [1, 9, 25]


def test_a_speck_that_nobody_takes_for_an_object_is_no_small_one():
    made = [
        Instance(np.ones((side, side), bool), Box(0, 0, side, side), score)
        for side, score in ((9, 0.9), (2, 0.2), (20, 0.6))
    ]
    assert [item.area for item in preferred(made, "small")] == [81, 400]
    assert len(preferred(made, "")) == 3


def test_of_nothing_nothing_is_preferred():
    assert preferred([], "small") == []


def test_a_scribble_along_an_object_finds_it_as_well_as_a_click_does(body):
    truth, image = body
    stroke = tuple(Point(70 + 3 * np.sin(col), col) for col in range(92, 150, 6))
    assert iou(mask_of(ask(image, points=stroke)), truth) > 0.85


def test_it_does_not_matter_whether_the_negative_click_came_first(body):
    _, image = body
    clicks = (Point(70, 120), Point(20, 30, positive=False))
    forth, back = (mask_of(ask(image, points=points)) for points in (clicks, clicks[::-1]))
    assert np.array_equal(forth, back)
    assert forth[70, 120]


# --- outlines ---------------------------------------------------------------------------


def around(truth, factor, corners=9, seed=0):
    """Return a polygon around a mask as a hurried hand draws it."""
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(truth)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = factor * rng.uniform(0.94, 1.06, corners)
    down, right = np.ptp(rows) / 2 * reach, np.ptp(cols) / 2 * reach
    middle = rows.mean(), cols.mean()
    return tuple(
        zip(middle[0] + down * np.sin(angles), middle[1] + right * np.cos(angles), strict=True)
    )


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_an_outline_in_haste_becomes_the_objects(body, factor):
    truth, image = body
    outline = around(truth, factor)
    drawn = filled(outline, Box.of_shape(SHAPE))
    by_hand = np.zeros(SHAPE, bool)
    by_hand[drawn.box.slices] = drawn.mask
    found = mask_of(ask(image, outline=outline))
    assert iou(found, truth) > 0.8
    assert iou(found, truth) > iou(by_hand, truth) + 0.05


def test_where_the_image_shows_nothing_the_outline_itself_is_the_answer():
    image = photographed(np.full(SHAPE, 60.0))
    outline = ((20, 30), (20, 90), (70, 60))
    found = mask_of(ask(image, outline=outline))
    assert found.any()
    assert iou(found, _painted(outline)) > 0.5


def _painted(outline):
    drawn = filled(outline, Box.of_shape(SHAPE))
    mask = np.zeros(SHAPE, bool)
    mask[drawn.box.slices] = drawn.mask
    return mask


def test_clicks_hold_in_an_outline_too(body):
    truth, image = body
    outline = around(truth, 1.1)
    found = mask_of(
        ask(image, outline=outline, points=(Point(70, 120), Point(90, 120, positive=False)))
    )
    assert found[70, 120]
    assert not found[90, 120]


@given(
    st.lists(st.tuples(st.integers(-30, 200), st.integers(-40, 260)), min_size=3, max_size=7),
)
@examples(60)
def test_an_outline_is_filled_inside_of_the_image_and_nowhere_else(corners):
    try:
        outline = ObjectPrompt(outline=tuple(corners)).outline
    except PromptError:
        return
    drawn = filled(outline, Box.of_shape(SHAPE))
    if drawn is None:
        return
    assert drawn.box.intersection(Box.of_shape(SHAPE)) == drawn.box
    assert drawn.mask.any(axis=0).all() or drawn.mask.any()
    reach = ObjectPrompt(outline=outline).outline_box
    assert reach.intersection(drawn.box) == drawn.box


def test_an_outline_outside_of_the_image_is_refused():
    with pytest.raises(PromptError, match=r"The outline .* outside of the image"):
        ask(photographed(np.zeros(SHAPE)), outline=((-30, -30), (-30, -9), (-5, -20)))


# --- what is said -----------------------------------------------------------------------


def everything(image, engine=None, **options):
    return (engine or BuiltinEngine()).segment(
        SegmentationRequest(Pixels(image), Everything(**options))
    )


@pytest.fixture(scope="module")
def nuclei():
    gray = np.full(SHAPE, 20.0)
    for row in range(20, 140, 36):
        for col in range(22, 210, 36):
            gray[ellipse(row, col, 9, 11, shape=SHAPE)] = 150
    return photographed(gray)


def test_the_width_that_was_found_is_said_and_the_one_that_was_given_is_not(nuclei):
    (said,) = everything(nuclei).notices
    width = float(said.split("about ")[1].split()[0])
    assert 14 < width < 28
    assert everything(nuclei, diameter=20).notices == ()


def test_a_width_that_is_given_is_used():
    """Large bodies made of small grains: the width says which of them are the objects."""
    gray = np.full(SHAPE, 20.0)
    rng = np.random.default_rng(3)
    for _ in range(260):
        row, col = rng.uniform(5, SHAPE[0] - 5), rng.uniform(5, SHAPE[1] - 5)
        gray[disk((row, col), 3, shape=SHAPE)] = 190
    image = photographed(gray, blur=0.7)
    engine = BuiltinEngine()
    fine = everything(image, engine, diameter=6).instances
    coarse = everything(image, engine, diameter=45).instances
    assert len(fine) > 3 * max(len(coarse), 1)


@pytest.mark.parametrize("subject", ["phase contrast", "clouds"])
def test_an_image_unlike_all_that_was_learned_from_is_said_to_be_so(subject):
    if subject == "phase contrast":
        gray = data.cell()[200:400, 150:400]
    else:
        clouds = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=SHAPE), 4)
        gray = 128 + 60 * clouds / clouds.std()
    image = np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    assert any("unlike what" in notice and "SAM3" in notice for notice in everything(image).notices)


def test_well_known_images_get_no_such_hint(nuclei):
    assert not any("unlike" in notice for notice in everything(nuclei).notices)


def test_while_it_looks_at_a_new_image_it_says_so(nuclei, monkeypatch):
    engine = BuiltinEngine()
    seen = []

    def spied(*args):
        seen.append(engine.state)
        return [], ()

    monkeypatch.setattr("napari_sam3.engines.builtin.engine._answer", spied)
    assert engine.state == ""
    everything(nuclei, engine)
    assert seen == ["looking at this image for the first time"]
    assert engine.state == ""


# --- several questions, and further clicks ----------------------------------------------


def test_boxes_asked_together_are_answered_as_alone(nuclei):
    boxes = [Box(8, 8, 34, 36), Box(45, 80, 68, 107), Box(0, 0, 1, 1), Box(80, 190, 140, 220)]
    requests = [SegmentationRequest(Pixels(nuclei), ObjectPrompt(box=box)) for box in boxes]
    alone = [BuiltinEngine().segment(request) for request in requests]
    together = BuiltinEngine().segment_many(requests)
    for one, other in zip(alone, together, strict=True):
        assert len(one.instances) == len(other.instances)
        for item, same in zip(one.instances, other.instances, strict=True):
            assert item.box == same.box
            assert np.array_equal(item.mask, same.mask)
            assert item.score == pytest.approx(same.score, abs=1e-5)


def test_a_box_outside_is_refused_among_others_too(nuclei):
    boxes = [Box(8, 8, 34, 36), Box(400, 400, 410, 410)]
    requests = [SegmentationRequest(Pixels(nuclei), ObjectPrompt(box=box)) for box in boxes]
    with pytest.raises(PromptError, match="outside of the image"):
        BuiltinEngine().segment_many(requests)


def test_boxes_together_can_be_cancelled(nuclei):
    stop = threading.Event()
    stop.set()
    requests = [SegmentationRequest(Pixels(nuclei), ObjectPrompt(box=Box(8, 8, 34, 36)))] * 3
    with pytest.raises(CancelledError):
        BuiltinEngine().segment_many(requests, stop)


def test_a_further_click_is_answered_as_if_all_had_come_at_once(nested):
    clicks = (Point(75, 110), Point(75, 160), Point(50, 90), Point(10, 10, positive=False))
    patient, fresh = BuiltinEngine(), BuiltinEngine()
    for count in range(1, len(clicks) + 1):
        step = ask(nested, patient, points=clicks[:count])
    whole = ask(nested, fresh, points=clicks)
    assert np.array_equal(mask_of(step), mask_of(whole))


def test_a_further_click_asks_the_net_for_one_step_only(nested, monkeypatch):
    from napari_sam3.engines.builtin.nets import objects

    steps = []
    usual = objects.corrected
    monkeypatch.setattr(
        objects, "corrected", lambda rgb, points, *rest: steps.append(len(points)) or usual(
            rgb, points, *rest
        )
    )  # fmt: skip
    engine = BuiltinEngine()
    clicks = (Point(75, 110), Point(75, 215), Point(5, 5), Point(145, 3))
    for count in range(1, len(clicks) + 1):
        ask(nested, engine, points=clicks[:count])
    assert steps == sorted(set(steps))


def test_answers_to_clicks_do_not_pile_up():
    kept = LastOnes(3)
    for number in range(10):
        kept[number] = number
    assert list(kept) == [7, 8, 9]


def test_a_width_that_nothing_has_says_nothing_about_the_image(nuclei):
    engine = BuiltinEngine()
    before = everything(nuclei, engine).notices
    (said,) = everything(nuclei, engine, diameter=90_000).notices
    assert said.startswith("Hardly anything here is about 90000 pixels wide")
    assert everything(nuclei, engine).notices == before


def test_what_is_kept_may_be_written_by_several_threads():
    kept = LastOnes(5)

    def fill(start):
        for number in range(start, start + 3000):
            kept[number] = number

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(fill, range(0, 12000, 3000)))
    assert len(kept) == 5


def test_a_long_scribble_is_remembered_to_its_last_click(nested, monkeypatch):
    from napari_sam3.engines.builtin.nets import objects

    engine = BuiltinEngine()
    clicks = [Point(75, 110), *(Point(75 + row, 100) for row in range(-10, 10))]
    clicks += [Point(60 + n / 10, 110) for n in range(60)]
    for count in range(1, len(clicks) + 1):
        ask(nested, engine, points=tuple(clicks[:count]))
    monkeypatch.setattr(objects, "first_proposals", lambda *_: pytest.fail("began anew"))
    ask(nested, engine, points=(*clicks, Point(76, 111)))
