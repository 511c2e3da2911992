import warnings

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import read_objects
from napari_sam3.workflows.label_files import as_labels, open_label_plane, open_labels

LABELS = np.zeros((6, 9), np.int32)
LABELS[1:3, 2:8], LABELS[4:, :3] = 3, 250


def save(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    return path


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_whole_numbers_are_labels_whatever_their_type(tmp_path, suffix, dtype):
    path = save(tmp_path / f"x{suffix}", LABELS.astype(dtype))
    labels = open_labels(path)
    assert labels.dtype.kind == "i"
    np.testing.assert_array_equal(labels, LABELS)
    assert [one.label for one in read_objects(path).objects] == [3, 250]


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
def test_minus_one_is_background_and_that_is_told(tmp_path, suffix, dtype):
    values = np.minimum(LABELS, 9) - (LABELS == 0)
    path = save(tmp_path / f"x{suffix}", values.astype(dtype))
    told = []
    np.testing.assert_array_equal(open_labels(path, told.append), np.minimum(LABELS, 9))
    assert told == [f"{path}: −1 was read as background."]
    assert told[0] in read_objects(path).notices[0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0.5, r"it has values such as 0\.5, and labels are whole numbers"),
        (np.nan, "some of its values are NaN or infinite"),
        (-np.inf, "some of its values are NaN or infinite"),
        (-2, "it goes down to -2, and only −1"),
        (2.0**24, "float32 cannot tell apart"),
    ],
)
def test_other_numbers_are_refused_with_the_true_reason(tmp_path, value, reason):
    values = LABELS.astype(np.float32)
    values[5, 7] = value
    with pytest.raises(ImageError, match=reason):
        open_labels(save(tmp_path / "x.tif", values))


@given(arrays(np.float64, (3, 4), elements=st.floats(-3, 9) | st.integers(-2, 9).map(float)))
def test_no_number_is_changed_but_minus_one(values):
    told = []
    try:
        labels = as_labels(values, "x", told.append)
    except ImageError:
        assert (values != np.rint(values)).any() or values.min() < -1
        return
    np.testing.assert_array_equal(labels, np.where(values == -1, 0, values))
    assert bool(told) == bool((values == -1).any())


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_of_a_palette_the_numbers_are_the_labels_and_not_the_colours(tmp_path, suffix):
    picture = Image.fromarray(LABELS.astype(np.uint8), "P")
    picture.putpalette([(7 * number) % 256 for number in range(768)])
    picture.save(tmp_path / f"x.{suffix}")
    np.testing.assert_array_equal(open_labels(tmp_path / f"x.{suffix}"), LABELS)


def test_white_is_zero_changes_no_label(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", LABELS.astype(np.uint8), photometric="miniswhite")
    np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), LABELS)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_a_colour_picture_is_called_one(tmp_path, name):
    Image.fromarray(np.dstack([LABELS.astype(np.uint8)] * 3)).save(tmp_path / name)
    with pytest.raises(ImageError, match="is a colour picture, not labels"):
        open_labels(tmp_path / name)


def test_a_plane_of_a_stack_is_read_by_itself(tmp_path):
    stack = np.stack([LABELS * 0, LABELS, LABELS * 0 - 1])[None]
    tifffile.imwrite(tmp_path / "x.tif", stack, photometric="minisblack", metadata={"axes": "TZYX"})
    labels, place = open_label_plane(tmp_path / "x.tif", (1,))
    assert place == (0, 1)
    np.testing.assert_array_equal(labels, LABELS)
    assert read_objects(tmp_path / "x.tif", plane=(1,)).plane == (0, 1)


@pytest.mark.filterwarnings("ignore:.*stored as RGB")
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_stack_of_three_planes_that_was_saved_as_colours_is_one_of_labels(tmp_path, count):
    stack = np.stack([LABELS * number for number in range(count)])
    tifffile.imwrite(tmp_path / "x.tif", stack)
    np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), stack)
    labels, place = open_label_plane(tmp_path / "x.tif", (1,))
    assert place == (1,)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(read_objects(tmp_path / "x.tif").labels, stack)


def test_labels_that_no_label_image_holds_are_refused(tmp_path):
    stack = np.zeros((3, *LABELS.shape), np.uint64)
    stack[1, 2] = 1 << 40
    with pytest.raises(ImageError, match="The largest label, 1099511627776, is too large"):
        read_objects(save(tmp_path / "x.npy", stack))


def test_which_of_several_images_was_read_is_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(LABELS)
        file.write(LABELS[:4, :5])
    found = read_objects(tmp_path / "x.tif")
    assert found.image_shape == LABELS.shape
    assert "holds 2 images (6 × 9, 4 × 5); the first one was read" in found.notices[0]


def test_a_turned_label_image_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "x.png", exif=exif)
    told = []
    turned = open_labels(tmp_path / "x.png", told.append)
    np.testing.assert_array_equal(turned, np.rot90(LABELS, -1))
    assert "was turned as its EXIF orientation says" in told[0]
