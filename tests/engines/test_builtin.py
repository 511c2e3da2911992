"""What the built-in engine promises beyond the contract of all engines."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.draw import disk, ellipse

from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, Everything, Exemplar, ObjectPrompt, Point
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.engines.builtin.everything import fill_holes, instances_of, regions_of
from napari_sam3.engines.builtin.exemplars import other_kind
from napari_sam3.engines.builtin.marks import Marks
from napari_sam3.engines.builtin.outline import closed_path
from napari_sam3.engines.builtin.scene import LastOnes, Scene, is_gray, separating_axis
from napari_sam3.engines.builtin.split import split_by_distance
from napari_sam3.errors import CancelledError, PromptError
from tests.tiers import examples

SHAPE = (96, 140)


def as_rgb(gray):
    return np.repeat(np.asarray(gray, np.uint8)[:, :, None], 3, axis=2)


def ask(image, prompt, engine=None, **limits):
    image = image if image.ndim == 3 else as_rgb(image)
    request = SegmentationRequest(Pixels(image), prompt, **limits)
    return (engine or BuiltinEngine()).segment(request).instances


def click(image, *points, box=None, **limits):
    marks = tuple(Point(*p) for p in points)
    return ask(image, ObjectPrompt(points=marks, box=box), **limits)


def mask_of(instances):
    mask = np.zeros(instances.image_shape, bool)
    for item in instances:
        mask[item.box.slices] |= item.mask
    return mask


def iou(one, two):
    return np.count_nonzero(one & two) / max(np.count_nonzero(one | two), 1)


def with_noise(gray, seed=0, blur=1.2, noise=6):
    rng = np.random.default_rng(seed)
    soft = ndimage.gaussian_filter(gray.astype(float), blur) + rng.normal(0, noise, gray.shape)
    return np.clip(soft, 0, 255).astype(np.uint8)


@pytest.fixture
def disc():
    mask = np.zeros(SHAPE, bool)
    mask[disk((40, 90), 14)] = True
    return mask


@pytest.fixture
def touching():
    """Two discs that touch, and their masks."""
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[disk((50, 50), 13)] = True
    right[disk((50, 74), 13)] = True
    return left, right


@pytest.mark.parametrize(("background", "object_"), [(10, 200), (220, 60)])
def test_a_clean_shape_is_found_exactly_by_click_box_and_everything(disc, background, object_):
    image = np.where(disc, object_, background)
    for prompt in (
        ObjectPrompt(points=(Point(40, 90),)),
        ObjectPrompt(box=Box(24, 74, 57, 106)),
        Everything(),
        ConceptPrompt(exemplars=(Exemplar(Box(25, 75, 56, 105)),)),
    ):
        found = ask(image, prompt)
        assert len(found) == 1
        assert iou(mask_of(found), disc) == 1


def test_a_clean_rectangle_keeps_its_corners():
    image = np.zeros((40, 60))
    image[10:20, 30:45] = 200
    for prompt in (ObjectPrompt(points=(Point(15, 37),)), Everything()):
        assert np.array_equal(mask_of(ask(image, prompt)), image > 0)


def test_everything_finds_each_of_several_clean_shapes_and_nothing_else():
    truth = np.zeros(SHAPE, np.uint8)
    truth[disk((20, 20), 9)] = 1
    truth[60:80, 10:40] = 2
    truth[ellipse(40, 100, 8, 25)] = 3
    found = ask(np.array([15, 200, 160, 230])[truth], Everything())
    assert len(found) == 3
    for value in (1, 2, 3):
        assert max(iou(mask_of(found) & (truth == value), truth == value) for _ in found) == 1
    assert all(item.score > 0.5 for item in found)


@pytest.mark.parametrize("dark", [False, True])
def test_a_blurred_and_noisy_disc_is_found_well(disc, dark):
    image = with_noise(np.where(disc, 150, 40))
    image = 255 - image if dark else image
    for prompt in (
        ObjectPrompt(points=(Point(42, 88),)),
        ObjectPrompt(box=Box(25, 74, 56, 107)),
        Everything(),
    ):
        found = ask(image, prompt, min_score=0.5)
        assert iou(mask_of(found), disc) > 0.85


def test_a_colour_that_no_single_gray_shows_is_seen_by_click_and_box():
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[:] = (150, 90, 120)
    image[disk((30, 40), 12)] = (90, 150, 120)
    truth = image[:, :, 0] == 90
    noisy = np.clip(image + np.random.default_rng(1).normal(0, 4, image.shape), 0, 255)
    for picture in (image, noisy.astype(np.uint8)):
        for prompt in (
            ObjectPrompt(points=(Point(30, 40),)),
            ObjectPrompt(box=Box(17, 27, 44, 54)),
            Everything(),
        ):
            assert iou(mask_of(ask(picture, prompt)), truth) > 0.9


def test_a_click_on_one_of_two_touching_objects_gives_that_one(touching):
    left, right = touching
    image = with_noise(np.where(left | right, 160, 20), noise=3)
    found = mask_of(click(image, (50, 46)))
    assert iou(found, left) > 0.8
    assert not found[50, 80]


def test_everything_cuts_touching_objects_apart(touching):
    left, right = touching
    found = ask(with_noise(np.where(left | right, 160, 20), noise=3), Everything(), min_score=0.5)
    assert len(found) == 2


def test_a_negative_click_is_never_inside_the_mask(touching):
    image = with_noise(np.where(touching[0] | touching[1], 160, 20), noise=3)
    for prompt in (
        ((50, 50), (50, 60, False)),
        ((50, 50), (50, 53, False)),
        ((50, 50), (50, 48, False), (45, 52, False)),
    ):
        found = mask_of(click(image, *prompt))
        assert found[50, 50]
        assert not any(found[p[:2]] for p in prompt[1:])


def test_a_negative_click_on_the_neighbour_removes_the_neighbour(touching):
    left, right = touching
    image = np.where(left | right, 160, 20)
    # a broad bridge, so that without the correction both are one
    image[44:57, 50:74] = 160
    before = mask_of(click(image, (50, 50), (50, 74)))
    after = mask_of(click(image, (50, 50), (50, 74, False)))
    assert before[50, 74]
    assert not after[50, 74]
    assert iou(after, left) > max(iou(before, left), 0.6)


def test_all_positive_clicks_are_in_the_mask_even_of_separate_objects():
    image = np.full(SHAPE, 20)
    image[10:30, 10:30] = 200
    image[60:80, 90:120] = 90
    found = mask_of(click(image, (20, 20), (70, 100)))
    assert found[20, 20]
    assert found[70, 100]
    assert iou(found, image > 20) > 0.9


def test_positive_clicks_on_a_bright_and_a_dark_object_join_them():
    image = np.full(SHAPE, 120)
    image[10:30, 10:30] = 240
    image[60:80, 90:120] = 5
    found = mask_of(click(image, (20, 20), (70, 100)))
    assert iou(found, image != 120) > 0.9


def test_a_click_beside_the_object_adds_to_it_and_keeps_it(disc):
    image = with_noise(np.where(disc, 160, 20), noise=3)
    before = mask_of(click(image, (40, 90)))
    after = mask_of(click(image, (40, 90), (40, 108)))
    assert after[40, 108]
    assert iou(after, before) > 0.5


def test_a_click_on_the_background_is_no_giant_object(disc):
    for image in (np.where(disc, 200, 10), with_noise(np.where(disc, 200, 30))):
        found = click(image, (90, 10))
        assert mask_of(found).mean() < 0.05


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_constant_image_holds_no_object(value):
    image = np.full(SHAPE, value)
    assert len(ask(image, Everything())) == 0
    assert len(click(image, (40, 60))) == 0


def test_a_box_on_a_constant_image_gives_a_doubtful_object_inside_it():
    found = click(np.full(SHAPE, 50), box=Box(20, 30, 50, 80))
    assert all(item.score < 0.5 for item in found)
    assert not mask_of(found)[:15].any()


def test_a_box_answer_stays_near_the_box(disc):
    image = np.full(SHAPE, 20)
    image[20:60, 5:135] = 180
    found = mask_of(click(image, box=Box(25, 40, 50, 70)))
    assert found.any()
    outside = found.copy()
    outside[22:53, 37:73] = False
    assert not outside.any()


def test_elongated_and_bent_objects_are_found_in_a_box():
    bent = np.zeros(SHAPE, bool)
    bent[20:70, 30:40] = True
    bent[60:70, 30:90] = True
    rod = np.zeros(SHAPE, bool)
    rod[45:51, 20:120] = True
    for truth, box in ((bent, Box(18, 28, 72, 92)), (rod, Box(43, 17, 54, 122))):
        found = mask_of(click(with_noise(np.where(truth, 180, 30), noise=4), box=box))
        assert iou(found, truth) > 0.7


def test_points_correct_a_box(touching):
    left, right = touching
    image = with_noise(np.where(left | right, 160, 20), noise=3)
    both = Box(36, 36, 64, 88)
    found = mask_of(click(image, (50, 48), (50, 78, False), box=both))
    assert found[50, 48]
    assert not found[50, 78]
    only_negative = mask_of(click(image, (50, 78, False), box=both))
    assert only_negative.any()
    assert not only_negative[50, 78]


def test_a_positive_click_outside_of_the_box_still_counts(disc):
    image = with_noise(np.where(disc, 160, 20), noise=3)
    found = mask_of(click(image, (40, 125), box=Box(25, 75, 56, 105)))
    assert found[40, 125]


def test_a_one_pixel_box_and_a_three_pixel_object_are_answered():
    image = np.full(SHAPE, 10)
    image[30, 40:43] = 250
    assert mask_of(click(image, box=Box(30, 41, 31, 42))).any()
    assert np.array_equal(mask_of(click(image, (30, 41))), image > 10)
    assert mask_of(click(image, box=Box(29, 39, 32, 44)))[30, 41]


def test_a_box_around_the_whole_image_is_answered(disc):
    found = mask_of(click(np.where(disc, 200, 20), box=Box.of_shape(SHAPE)))
    assert iou(found, disc) > 0.9


def test_a_large_object_is_found_by_a_click_beyond_the_first_window():
    image = np.full((500, 700), 30)
    image[disk((250, 330), 200)] = 180
    # where there is noise the nets answer, with 64 cells across their window
    for picture, least in ((image, 0.97), (with_noise(image), 0.94)):
        assert iou(mask_of(click(picture, (250, 330))), image > 100) > least


def test_a_saturated_object_is_found(disc):
    image = np.clip(with_noise(np.where(disc, 200, 60)).astype(int) * 2, 0, 255)
    assert iou(mask_of(click(image, (40, 90))), disc) > 0.8


def test_a_box_is_clipped_to_the_image(disc):
    image = np.where(disc, 200, 20)
    assert iou(mask_of(click(image, box=Box(-50, 60, 80, 400))), disc) > 0.8


@pytest.mark.parametrize(
    "prompt",
    [
        ObjectPrompt(box=Box(200, 200, 220, 230)),
        ObjectPrompt(points=(Point(5, 500),)),
        ObjectPrompt(points=(Point(-3, 5),)),
        ConceptPrompt(exemplars=(Exemplar(Box(-30, 5, -2, 9)),)),
    ],
)
def test_a_prompt_outside_of_the_image_is_refused_with_the_image_size(prompt):
    with pytest.raises(PromptError, match="outside of the image, which has 96 rows and 140"):
        ask(np.zeros(SHAPE), prompt)


def test_a_negative_click_outside_of_the_image_changes_nothing(disc):
    image = np.where(disc, 200, 20)
    plain, extra = click(image, (40, 90)), click(image, (40, 90), (-4, 900, False))
    assert np.array_equal(mask_of(plain), mask_of(extra))


def two_classes(seed=0):
    """Round small bright and long large objects, with noise; truth is 1 and 2."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((200, 260), np.uint8)
    for row in range(25, 200, 50):
        for col in range(25, 200, 70):
            truth[disk((row, col), 7 + rng.uniform(-0.7, 0.7), shape=truth.shape)] = 1
            truth[ellipse(row, col + 33, 7, 19, shape=truth.shape)] = 2
    return with_noise(np.array([25, 170, 150])[truth], seed), truth


@pytest.mark.parametrize("wanted", [1, 2])
def test_exemplars_find_their_kind_and_reject_the_other(wanted):
    image, truth = two_classes()
    boxes = {1: Box(16, 16, 34, 34), 2: Box(17, 38, 34, 79)}
    exemplars = tuple(Exemplar(box, positive=kind == wanted) for kind, box in boxes.items())
    found = mask_of(ask(image, ConceptPrompt(exemplars=exemplars), min_score=0.5))
    assert np.mean(found[truth == wanted]) > 0.8
    assert np.mean(found[truth == 3 - wanted]) < 0.02


def test_three_examples_of_one_kind_tell_it_from_another_without_a_counter_example():
    image, truth = two_classes()
    boxes = [Box(16, col, 34, col + 18) for col in (16, 86, 156)]
    prompt = ConceptPrompt(exemplars=tuple(Exemplar(box) for box in boxes))
    found = mask_of(ask(image, prompt, min_score=0.5))
    everything = mask_of(ask(image, Everything(), min_score=0.5))
    assert np.mean(everything[truth == 2]) > 0.8
    assert np.mean(found[truth == 1]) > 0.8
    assert np.mean(found[truth == 2]) < 0.05


def table(*groups, seed=0):
    """Return looks of objects, `count` around each `middle`."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [np.asarray(middle, float) + rng.normal(0, 0.3, (count, 7)) for middle, count in groups]
    )


NEAR, FAR = [0.0] * 7, [2.5, 1, 0, 0, 0, 0, 0]


def test_a_second_kind_is_seen_where_there_is_one():
    (other,) = other_kind(table((NEAR, 30), (FAR, 20)), table((NEAR, 3), seed=1))
    assert np.linalg.norm(other - FAR) < 0.5


@pytest.mark.parametrize(
    ("looks", "wanted"),
    [
        (table((NEAR, 50)), table((NEAR, 3), seed=1)),
        (table((NEAR, 30), (FAR, 20)), table((NEAR, 2), (FAR, 1), seed=1)),
        (table((NEAR, 40), (FAR, 2)), table((NEAR, 3), seed=1)),
        (table((NEAR, 3)), table((NEAR, 3), seed=1)),
        (np.zeros((0, 7)), table((NEAR, 3), seed=1)),
        (np.ones((12, 7)), np.ones((3, 7))),
    ],
    ids=["one kind", "examples of both", "two strangers", "few", "none", "all equal"],
)
def test_where_there_is_no_second_kind_none_is_made_up(looks, wanted):
    assert len(other_kind(looks, wanted)) == 0


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_exact_copies_of_two_kinds_are_told_apart(count):
    gray = np.full((100, 40 * count + 20), 30)
    for index in range(4):
        gray[10:30, 10 + 40 * index : 30 + 40 * index] = 120
    for index in range(count):
        gray[70:80, 10 + 20 * index : 20 + 20 * index] = 200
    exemplars = (Exemplar(Box(9, 9, 31, 31)), Exemplar(Box(9, 49, 31, 71)))
    found = mask_of(ask(gray, ConceptPrompt(exemplars=exemplars), min_score=0.5))
    assert found[20, 20]
    assert found[20, 100]


def test_a_kind_of_another_colour_is_rejected():
    image = np.full((*SHAPE, 3), 240, np.uint8)
    for col in range(15, 130, 40):
        image[disk((25, col), 9)] = (90, 40, 140)
        image[disk((70, col), 9)] = (200, 60, 60)
    exemplars = (
        Exemplar(Box(15, 5, 36, 26)),
        Exemplar(Box(60, 5, 81, 26), positive=False),
    )
    found = mask_of(ask(image, ConceptPrompt(exemplars=exemplars), min_score=0.5))
    assert found[25, 55]
    assert not found[60:].any()


def test_the_objects_of_the_positive_exemplars_are_always_found():
    image, _ = two_classes()
    boxes = (Box(16, 16, 34, 34), Box(17, 38, 34, 79), Box(15, 15, 35, 35))
    prompt = ConceptPrompt(exemplars=tuple(Exemplar(box) for box in boxes))
    found = ask(image, prompt, min_score=1.0)
    assert len(found) == 2
    assert mask_of(found)[25, 25]
    assert mask_of(found)[25, 58]


def test_a_bright_and_a_dark_exemplar_together_are_answered():
    image = np.full(SHAPE, 120)
    image[10:30, 10:30] = 240
    image[60:80, 90:120] = 5
    exemplars = (Exemplar(Box(8, 8, 32, 32)), Exemplar(Box(58, 88, 82, 122)))
    found = mask_of(ask(image, ConceptPrompt(exemplars=exemplars)))
    assert iou(found, image != 120) > 0.9


def test_a_large_image_is_searched_coarsely_and_answered_in_its_own_pixels(disc):
    image = np.full((2000, 2600), 20, np.uint8)
    truth = np.zeros(image.shape, bool)
    truth[disk((1500, 2300), 60)] = True
    image[truth] = 200
    found = ask(image, Everything())
    assert len(found) == 1
    assert iou(mask_of(found), truth) > 0.95


def test_cancelling_in_between_stops_a_search(monkeypatch, disc):
    stop = threading.Event()
    picture = Scene(as_rgb(with_noise(np.where(disc, 200, 20))))
    stop.set()
    with pytest.raises(CancelledError):
        regions_of(picture, stop=stop)


def test_moving_the_picture_moves_the_answer(disc):
    image = with_noise(np.where(disc, 160, 30))
    moved = np.roll(image, (7, -12), axis=(0, 1))
    before = mask_of(click(image, (40, 90)))
    after = mask_of(click(moved, (47, 78)))
    assert iou(np.roll(before, (7, -12), axis=(0, 1)), after) > 0.9


def test_transposing_the_picture_transposes_the_answer(disc):
    image = with_noise(np.where(disc, 160, 30))
    assert iou(mask_of(click(image, (40, 90))).T, mask_of(click(image.T, (90, 40)))) > 0.95
    tall = mask_of(click(image.T, box=Box(74, 25, 107, 56))).T
    assert iou(mask_of(click(image, box=Box(25, 74, 56, 107))), tall) > 0.95


def test_an_image_that_changes_in_place_is_looked_at_again(disc):
    engine, image = BuiltinEngine(), as_rgb(np.where(disc, 200, 20))
    assert len(ask(image, Everything(), engine)) == 1
    image[:] = 20
    assert len(ask(image, Everything(), engine)) == 0


def test_what_was_not_wanted_for_longest_is_forgotten():
    kept = LastOnes(2)
    first = kept.made("a", object)
    kept.made("b", object)
    assert kept.made("a", object) is first
    kept.made("c", object)
    assert list(kept) == ["a", "c"]
    assert kept.made("a", object) is first


def test_an_equal_picture_is_known_again(disc):
    engine, image = BuiltinEngine(), as_rgb(np.where(disc, 200, 20))
    assert engine._scene(Pixels(image.copy())) is engine._scene(Pixels(image))
    assert engine._scene(Pixels(image)) is not engine._scene(Pixels(image + 1))


def test_a_broadcast_plane_and_its_copy_are_both_gray():
    plane = np.arange(20, dtype=np.uint8).reshape(4, 5)
    broadcast = np.broadcast_to(plane[:, :, None], (4, 5, 3))
    assert is_gray(broadcast)
    assert is_gray(broadcast.copy())
    colour = broadcast.copy()
    colour[3, 3, 1] += 1
    assert not is_gray(colour)


def test_the_channel_that_separates_is_chosen():
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 5, (500, 3)).astype(np.float32)
    pixels[:150, 1] += 80
    assert abs(separating_axis(pixels)[1]) > 0.9
    assert np.isfinite(separating_axis(np.full((1, 3), 7, np.float32))).all()


def test_the_two_lobes_of_a_peanut_are_split_and_a_rough_disc_is_not(touching):
    left, right = touching
    assert split_by_distance(left | right)[1] == 2
    rough = left.copy()
    rough[50, 36:38] = False
    rough[62:64, 50] = False
    assert split_by_distance(rough)[1] == 1


def test_only_background_that_is_enclosed_is_a_hole():
    ring = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0]], bool)
    assert fill_holes(ring).tolist() == [[True] * 3 + [False]] * 3


def test_the_cheapest_path_closes_where_it_starts():
    costs = np.ones((12, 9))
    costs[np.arange(12), [4, 4, 5, 5, 6, 6, 6, 5, 5, 4, 4, 4]] = -1
    assert closed_path(costs).tolist() == [4, 4, 5, 5, 6, 6, 6, 5, 5, 4, 4, 4]


def test_a_pixel_clicked_on_both_ways_is_positive():
    marks = Marks.from_points((Point(3, 4), Point(3, 4, positive=False)), Box(0, 0, 9, 9))
    assert marks == Marks(((3, 4),), ())


def test_regions_of_one_picture_do_not_overlap():
    image, _ = two_classes()
    picture = Scene(as_rgb(image))
    count = np.zeros(image.shape, int)
    for item in instances_of(regions_of(picture)):
        count[item.box.slices] += item.mask
    assert count.max() == 1


random_points = st.lists(
    st.tuples(st.integers(0, 29), st.integers(0, 39), st.booleans()), min_size=1, max_size=5
)


@examples(40)
@given(seed=st.integers(0, 1000), points=random_points, boxed=st.booleans())
def test_whatever_is_clicked_on_whatever_image_the_marks_hold(seed, points, boxed):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((30, 40)), rng.uniform(0, 4))
    image = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    points = [*points, (15, 20, True)]
    box = Box(8, 9, 25, 31) if boxed else None
    found = click(image, *points, box=box)
    mask = mask_of(found)
    positive = {p[:2] for p in points if p[2]}
    for item in found:
        assert 0 <= item.score <= 1
        assert all(mask[p] for p in positive)
        assert not any(mask[p[:2]] for p in points if not p[2] and p[:2] not in positive)
