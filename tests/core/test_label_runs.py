import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core import label_runs
from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.instances import Instances, split_labels
from napari_sam3.core.label_runs import find_boxes

SHAPE = (7, 11)
images = st.sampled_from(["int8", "uint8", "uint16", "int32", "uint32", "int64", "uint64"]).flatmap(
    lambda dtype: hnp.arrays(
        dtype, SHAPE, elements=st.sampled_from([0, 1, 2, 100, np.iinfo(dtype).max])
    )
) | hnp.arrays(np.int16, SHAPE, elements=st.sampled_from([-3, 0, 1, 2, 500]))


def naive(labels, values=None):
    found = np.unique(labels[labels > 0]).tolist() if values is None else values
    boxes = {int(n): bounding_box(labels == n) for n in found}
    return {n: box for n, box in boxes.items() if box is not None}


@given(images, st.sampled_from([1, 11, 30, 1 << 20]))
def test_boxes_are_those_of_a_plain_search_in_bands_of_any_height(labels, pixels):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_runs, "_PIXELS_AT_ONCE", pixels)
        found = find_boxes(labels)
    assert found == naive(labels)
    assert list(found) == sorted(found)
    assert all(type(label) is int for label in found)


@given(images)
def test_boxes_do_not_depend_on_how_the_image_lies_in_memory(labels):
    for view in (labels.T, labels[::-1], labels[::2, ::3], np.asfortranarray(labels)):
        assert find_boxes(view) == naive(view)


@given(images, st.sets(st.sampled_from([1, 2, 7, 100])))
def test_only_what_is_wanted_is_found(labels, wanted):
    assert find_boxes(labels, sorted(wanted)) == naive(labels, sorted(wanted))


@given(images)
def test_painted_again_the_parts_are_the_image(labels):
    again = np.zeros(SHAPE, labels.dtype)
    for label, item in split_labels(labels).items():
        again[item.box.slices] += item.mask * np.array(label, labels.dtype)
    np.testing.assert_array_equal(again, np.maximum(labels, 0))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (3, 4)])
def test_an_image_without_labels_has_no_boxes(shape):
    assert find_boxes(np.zeros(shape, np.uint16)) == {}


def test_taking_apart_an_image_takes_little_more_memory_than_the_masks():
    labels = np.zeros((1500, 2100), np.int64)
    labels[:1000, :2000] = np.kron(np.arange(5000).reshape(50, 100), np.ones((20, 20), int))
    tracemalloc.start()
    try:
        found = Instances.from_labels(labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 4999
    assert peak < 0.6 * labels.nbytes


def test_noise_takes_no_more_memory_than_objects():
    labels = np.random.default_rng(3).integers(0, 40, (3000, 2100)).astype(np.uint8)
    tracemalloc.start()
    try:
        boxes = find_boxes(labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert set(boxes.values()) == {Box(0, 0, 3000, 2100)}
    assert peak < 150 * label_runs._PIXELS_AT_ONCE
