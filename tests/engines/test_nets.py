"""What the built-in engine's nets promise, whatever they have learned."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import numpy as np
import pytest
from scipy import ndimage
from scipy.signal import correlate
from skimage.draw import ellipse

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Point
from napari_sam3.engines.builtin.engine import MODEL
from napari_sam3.engines.builtin.nets import dense_net
from napari_sam3.engines.builtin.nets.cells import connected, overlap
from napari_sam3.engines.builtin.nets.dense_net import Maps, dense_maps, find_diameter
from napari_sam3.engines.builtin.nets.everything import (
    cut,
    enlarged_labels,
    object_at,
    segment_everything,
)
from napari_sam3.engines.builtin.nets.layers import (
    add_doubled,
    conv,
    folded,
    sigmoid,
    unfolded,
)
from napari_sam3.engines.builtin.nets.objects import (
    distinct,
    segment_boxes,
    segment_clicks,
)
from napari_sam3.engines.builtin.nets.planes import prompt_planes
from napari_sam3.engines.builtin.nets.sampling import Window, enlarged, resampled

SHAPE = (120, 170)
DISCS = [(30, 40, 12, 10), (80, 60, 11, 11), (50, 120, 14, 10), (95, 140, 10, 12)]


@pytest.fixture(scope="module")
def truth():
    labels = np.zeros(SHAPE, np.int32)
    for number, disc in enumerate(DISCS, start=1):
        labels[ellipse(*disc)] = number
    return labels


@pytest.fixture(scope="module")
def picture(truth):
    rng = np.random.default_rng(0)
    gray = 20 + 150 * ndimage.gaussian_filter((truth > 0).astype(float), 1)
    gray += rng.normal(0, 4, SHAPE)
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def full(item):
    mask = np.zeros(SHAPE, bool)
    if item is not None:
        mask[item.box.slices] = item.mask
    return mask


def iou(one, two):
    return np.count_nonzero(one & two) / max(np.count_nonzero(one | two), 1)


# --- layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_a_correlation_with_zeros_around(stride):
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(3, 2, 8, 12)).astype(np.float32)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    found = conv(planes, weight, bias, stride, relu=False)
    for image in range(2):
        padded = np.pad(planes[:, image], ((0, 0), (1, 1), (1, 1)))
        for output in range(4):
            expected = correlate(padded, weight[output], "valid")[0] + bias[output]
            assert np.allclose(found[output, image], expected[::stride, ::stride], atol=1e-4)


def test_a_convolution_in_blocks_is_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    planes = rng.normal(size=(3, 3, 16, 12)).astype(np.float32)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    whole = conv(planes, weight, np.zeros(4, np.float32))
    monkeypatch.setattr("napari_sam3.engines.builtin.nets.layers._CELLS", 2000)
    assert np.allclose(conv(planes, weight, np.zeros(4, np.float32)), whole, atol=1e-5)


def test_folding_is_undone():
    planes = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    assert folded(planes).shape == (8, 3, 2, 3)
    assert np.array_equal(unfolded(folded(planes)), planes)


def test_doubling_repeats_each_pixel_four_times():
    fine = np.zeros((1, 1, 4, 4), np.float32)
    coarse = np.array([[[[1, 2], [3, 4]]]], np.float32)
    assert add_doubled(fine, coarse)[0, 0].tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


def test_the_sigmoid_does_not_overflow():
    assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == [0, 0.5, 1]


# --- windows ----------------------------------------------------------------------------


def test_a_window_of_whole_pixels_is_a_crop(picture):
    found = resampled(picture, Window(10, 20, 64, 64), (64, 64))
    assert np.array_equal(found, picture[10:74, 20:84])


def test_a_window_beyond_the_picture_repeats_its_border(picture):
    found = resampled(picture, Window(-10, -20, 64, 64), (64, 64))
    assert np.array_equal(found[10:, 20:], picture[:54, :44])
    assert np.array_equal(found[0], found[10])


@pytest.mark.parametrize("side", [20, 90, 150, 1000])
def test_a_ramp_stays_a_ramp_at_any_scale(side):
    ramp = np.arange(1200) / 5
    rgb = np.repeat(np.tile(ramp, (1200, 1))[..., None], 3, axis=2).astype(np.uint8)
    found = resampled(rgb, Window(100, 100, side, side), (64, 64))[..., 0]
    expected = (100 + (np.arange(64) + 0.5) * side / 64 - 0.5) / 5
    assert np.abs(found - expected).max() < 1.1


def test_a_disc_comes_back_where_it_was(truth):
    mask = (truth == 1).astype(np.uint8)
    window = Window(10, 15, 44, 44)
    cells = resampled(np.repeat(mask[..., None], 3, axis=2), window, (64, 64))[..., 0]
    back = enlarged(cells, window, (0, 0, *SHAPE)) > 0.5
    assert iou(back, truth == 1) > 0.97


# --- planes -----------------------------------------------------------------------------


def test_the_prompted_colour_is_one_and_the_background_zero():
    rgb = np.full((1, 64, 64, 3), (200, 150, 200), np.float32)
    rgb[:, 20:44, 20:44] = (120, 40, 160)
    rgb += np.random.default_rng(0).normal(0, 3, rgb.shape).astype(np.float32)
    none = np.full((1, 4), np.nan, np.float32)
    plane = prompt_planes(rgb, [np.array([[32, 32, 1]])], none)[0, 1]
    # what is far from the click holds some of the object
    assert plane[24:40, 24:40].mean() == pytest.approx(1, abs=0.1)
    assert abs(plane[:10].mean()) < 0.35


def test_colour_and_polarity_do_not_matter(picture, truth):
    none = np.full((1, 4), np.nan, np.float32)
    clicks = [np.array([[32, 32, 1]])]
    crop = resampled(picture, Window.around(30, 40, 64), (64, 64))[None]
    bright = prompt_planes(crop, clicks, none)[0, 1]
    dark = prompt_planes(255 - crop, clicks, none)[0, 1]
    assert np.allclose(bright, dark, atol=0.05)


# --- one object -------------------------------------------------------------------------


def test_a_box_gives_the_object_in_it(picture, truth):
    found = segment_boxes(picture, [Box(17, 29, 44, 52)])[0]
    assert iou(full(found), truth == 1) > 0.8
    assert 0 <= found.score <= 1


def test_many_boxes_give_what_each_gives_alone(picture):
    boxes = [Box(17, 29, 44, 52), Box(68, 48, 93, 73), Box(35, 108, 66, 132)]
    for box, found in zip(boxes, segment_boxes(picture, boxes), strict=True):
        assert np.array_equal(full(segment_boxes(picture, [box])[0]), full(found))


def test_no_boxes_give_no_objects(picture):
    assert segment_boxes(picture, []) == []


@pytest.mark.parametrize("box", [Box(30, 40, 31, 41), Box(0, 0, *SHAPE), Box(-30, -20, 20, 20)])
def test_any_box_is_answered_inside_the_picture(picture, box):
    found = segment_boxes(picture, [box])[0]
    if found is not None:
        assert found.box.intersection(Box.of_shape(SHAPE)) == found.box
        assert found.mask.any()


def test_a_click_gives_the_object_clicked_on(picture, truth):
    proposals = segment_clicks(picture, [Point(80, 60)])
    assert 1 <= len(proposals) <= 3
    assert max(iou(full(item), truth == 2) for item in proposals) > 0.7


def test_proposals_differ_and_the_likeliest_comes_first(picture):
    proposals = segment_clicks(picture, [Point(52, 118)])
    scores = [item.score for item in proposals]
    assert scores == sorted(scores, reverse=True)
    for index, item in enumerate(proposals):
        assert all(overlap(item, other) < 0.76 for other in proposals[index + 1 :])


def test_box_and_clicks_together_are_one_question(picture, truth):
    points = [Point(30, 40), Point(10, 10, positive=False)]
    (found,) = segment_clicks(picture, points, Box(17, 29, 44, 52))
    assert iou(full(found), truth == 1) > 0.7


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_blank_picture_is_no_error(value):
    blank = np.full((40, 60, 3), value, np.uint8)
    assert len(segment_clicks(blank, [Point(20, 30)])) <= 3
    segment_boxes(blank, [Box(5, 5, 20, 30)])
    segment_everything(blank, diameter=20)


def test_the_same_answer_from_many_threads(picture):
    def ask(_):
        return full(segment_clicks(picture, [Point(80, 60)])[0])

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(ask, range(6))
    assert all(np.array_equal(first, other) for other in others)


def test_only_the_part_that_was_clicked_on_counts():
    mask = np.zeros((6, 9), bool)
    mask[1:3, 1:3] = mask[1:5, 5:8] = True
    assert connected(mask, [(1, 1)]).sum() == 4
    assert connected(mask, []).sum() == 12


def test_of_two_alike_the_better_stays(picture):
    found = segment_boxes(picture, [Box(17, 29, 44, 52)])[0]
    assert distinct([found, found]) == [found]


# --- everything -------------------------------------------------------------------------


def test_everything_finds_the_discs(picture, truth):
    found = segment_everything(picture, diameter=22)
    for number in range(1, len(DISCS) + 1):
        assert max(iou(full(item), truth == number) for item in found) > 0.6


def test_the_object_at_a_point_is_the_one_that_everything_finds(picture, truth):
    found = object_at(picture, Point(80, 60), diameter=22)
    assert iou(full(found), truth == 2) > 0.6
    assert object_at(picture, Point(10, 90), diameter=22) is None


def test_tiles_give_what_the_whole_picture_gives(picture, monkeypatch):
    whole = dense_maps(picture, 20)
    monkeypatch.setattr(dense_net, "_TILE", 64)
    tiled = dense_maps(picture, 20)
    # gray relative to a neighbourhood reaches a little farther than the halo
    assert np.abs(whole.foreground - tiled.foreground).max() < 0.1


def test_the_diameter_of_equal_discs_is_found(picture):
    assert find_diameter(picture) == pytest.approx(22, rel=0.4)


def test_touching_objects_are_cut_between_their_middles():
    distance = np.zeros((20, 40), np.float32)
    rows, cols = np.mgrid[:20, :40]
    for middle in (11, 28):
        distance = np.maximum(distance, 1 - np.hypot(rows - 10, cols - middle) / 9)
    maps = Maps((distance > 0.02).astype(np.float32), distance, np.zeros_like(distance))
    labels, count = cut(maps)
    assert count == 2
    assert labels[10, 11] != labels[10, 28]


def test_enlarged_labels_keep_their_place_and_number():
    labels = np.zeros((10, 14), np.int32)
    labels[2:6, 3:8] = 1
    foreground = (labels > 0).astype(np.float32)
    maps = Maps(foreground, foreground, foreground)
    found = enlarged_labels(labels, maps, (30, 42))
    expected = np.zeros((30, 42), bool)
    expected[6:18, 9:24] = True
    assert iou(found == 1, expected) > 0.95


def test_the_weights_fit_into_one_megabyte():
    file = resources.files("napari_sam3.engines.builtin.nets") / "weights.npz"
    assert len(file.read_bytes()) <= 1_000_000


# --- what is shipped --------------------------------------------------------------------


def test_other_weights_are_another_model():
    """Else stored answers of the old weights are taken for answers of the new ones."""
    folder = resources.files("napari_sam3.engines.builtin.nets")
    digest = hashlib.sha256(folder.joinpath("weights.npz").read_bytes()).hexdigest()
    assert (MODEL, digest[:16]) == ("nets-3", "602e28a748bb1d82")
