from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import mask as coco

from napari_sam3.core import rle
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.rle import (
    counts_of,
    decode_rle,
    encode_rles,
    instance_of_counts,
    whole_image_rle,
)

masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


def theirs(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@given(masks)
def test_a_mask_is_encoded_as_pycocotools_does(mask):
    assert encode_rles([mask])[0] == theirs(mask)


@given(st.lists(masks, max_size=6), st.integers(0, 60))
def test_many_masks_at_once_are_encoded_as_one_by_one(several, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rle, "_AT_ONCE", at_once)
        assert encode_rles(several) == [theirs(mask) for mask in several]


@given(masks)
def test_what_pycocotools_encodes_is_decoded(mask):
    decoded = decode_rle(theirs(mask), mask.shape)
    assert decoded.dtype == bool
    np.testing.assert_array_equal(decoded, mask)


@given(masks, st.integers(0, 7), st.integers(0, 6), st.integers(0, 8), st.integers(0, 9))
def test_a_crop_is_encoded_as_the_whole_image(mask, above, left, below, right):
    whole = np.pad(mask, ((above, below), (left, right)))
    rows, cols = mask.shape
    instance = Instance(mask, Box(above, left, above + rows, left + cols))
    assert whole_image_rle(instance, whole.shape) == theirs(whole)


@given(masks)
def test_the_crop_comes_back_with_its_box(mask):
    back = instance_of_counts(counts_of(theirs(mask)), mask.shape)
    made = Instance.from_mask(mask)
    if made is None:
        assert back is None
        return
    assert back.box == made.box
    np.testing.assert_array_equal(back.mask, made.mask)


@pytest.mark.parametrize("shape", [(3000, 2000), (1, 700), (700, 1)])
@pytest.mark.parametrize("is_full", [True, False])
def test_runs_of_any_length_are_kept(shape, is_full):
    mask = np.full(shape, is_full)
    assert encode_rles([mask])[0] == theirs(mask)
    np.testing.assert_array_equal(decode_rle(encode_rles([mask])[0], shape), mask)


def test_an_object_outside_of_the_image_is_refused():
    instance = Instance(np.ones((2, 3), bool), Box(9, 0, 11, 3))
    with pytest.raises(ValueError, match="outside"):
        whole_image_rle(instance, (10, 10))


@given(st.text(max_size=12), st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_any_text_is_decoded_or_refused(text, shape):
    with contextlib.suppress(ValueError):
        assert decode_rle(text, shape).shape == shape


@given(st.text("".join(map(chr, range(48, 112))), min_size=1, max_size=40))
def test_any_characters_that_may_occur_are_decoded_or_refused(text):
    with contextlib.suppress(ValueError):
        decode_rle(text, (20, 30))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no compressed"),
        ("é1", "ASCII"),
        (" ", "no compressed"),
        ("o", "no compressed"),  # says that more follows
        ("oooooooooo0", "longer than any image"),
        ("4", "not of a mask"),  # 4 of 6 pixels
        ("24N2", "not of a mask"),  # a negative run
    ],
)
def test_what_stands_for_no_such_mask_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        decode_rle(text, (2, 3))


def test_a_huge_mask_is_refused_before_it_is_made():
    with pytest.raises(ValueError, match="not of a mask"):
        decode_rle(encode_rles([np.zeros((9, 9), bool)])[0], (1 << 19, 1 << 19))
    with pytest.raises(ValueError, match="no mask of shape"):
        decode_rle("0", (1 << 40, 1 << 40))
    with pytest.raises(ValueError, match="too large"):
        instance_of_counts([0, 1 << 36], (1 << 18, 1 << 18), max_area=1 << 20)


@pytest.mark.parametrize("counts", [[], [6.0], [[6]], [1, -1, 6], [1 << 70], ["6"]])
def test_lists_that_are_no_lengths_are_refused(counts):
    with pytest.raises(ValueError, match="run lengths"):
        instance_of_counts(counts, (2, 3))


def test_an_uncompressed_list_with_empty_runs_is_read():
    back = instance_of_counts([2, 1, 0, 1, 2, 0], (2, 3))
    assert back.box == Box(0, 1, 2, 2)
    assert back.mask.all()
