import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import read_objects
from napari_sam3.workflows.files import open_image, read_tiff

STACK = (np.arange(3 * 4 * 20 * 30) % 60000).astype(np.uint16).reshape(3, 4, 20, 30)
KINDS = {
    "imagej": {"imagej": True, "metadata": {"axes": "TZYX"}},
    "shaped": {"metadata": {"axes": "TZYX"}},
    "shaped, packed": {"metadata": {"axes": "TZYX"}, "compression": "zlib"},
    "ome, packed": {"metadata": {"axes": "TZYX"}, "compression": "zlib", "ome": True},
    "plain, packed": {"metadata": None, "compression": "zlib"},
    "plain, in strips": {"metadata": None, "rowsperstrip": 7},
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def cut(kind, tmp_path):
    """A stack that was cut off, at several places."""
    whole = tmp_path / "whole.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(whole, STACK, photometric="minisblack", **KINDS[kind])
    content = whole.read_bytes()
    paths = []
    for percent in (15, 30, 60, 85, 97):
        paths.append(tmp_path / f"cut_{percent}.tif")
        paths[-1].write_bytes(content[: len(content) * percent // 100])
    return paths


def planes_of(path):
    """Every plane that can be had, however it has to be named."""
    found = {}
    for number in range(12):
        for place in (divmod(number, 4), (number,), None):
            try:
                pixels = open_image(path, place)
            except ImageError:
                continue
            found[number if place else 0] = pixels
    return found


@pytest.mark.filterwarnings("ignore")
def test_each_plane_of_a_cut_off_stack_is_right_or_refused(cut, kind):
    counts = []
    for path in cut:
        found = planes_of(path)
        for number, pixels in found.items():
            np.testing.assert_array_equal(pixels, STACK.reshape(12, 20, 30)[number])
        counts.append(len(found))
    # where to find the others stands at the end of such a file
    assert counts[2] >= (1 if "strips" in kind else 6)


@pytest.mark.filterwarnings("ignore")
def test_a_cut_off_stack_is_never_taken_for_a_whole_one(cut):
    for path in cut:
        try:
            found = read_objects(path)
        except ImageError as error:
            assert path.name in str(error)  # noqa: PT017 - what is not refused is told of
            continue
        is_all = found.labels.size == STACK.size
        assert is_all or any("was cut off" in notice for notice in found.notices)


def test_a_plane_that_is_lost_is_called_that(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", STACK, imagej=True, metadata={"axes": "TZYX"})
    (tmp_path / "x.tif").write_bytes((tmp_path / "x.tif").read_bytes()[:9000])
    np.testing.assert_array_equal(open_image(tmp_path / "x.tif", (1, 1)), STACK[1, 1])
    # of the first of these, a part is there
    for place in ((1, 3), (2, 3)):
        with pytest.raises(ImageError, match=r"x\.tif was cut off, and this plane is not in it"):
            open_image(tmp_path / "x.tif", place)
    with pytest.raises(ImageError, match="T=3, Z=4, Y, X: choose a plane"):
        open_image(tmp_path / "x.tif")
    with pytest.raises(ImageError, match="not all of its planes are in it"):
        read_objects(tmp_path / "x.tif")
    assert read_objects(tmp_path / "x.tif", plane=(0, 2)).image_shape == (20, 30)


def test_which_of_several_images_was_read_is_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(STACK[0, 0])
        file.write(STACK[0, 1, :9, :8])
    told = []
    np.testing.assert_array_equal(open_image(tmp_path / "x.tif", None, told.append), STACK[0, 0])
    (sentence,) = told
    assert "x.tif holds 2 images (20 × 30, 9 × 8); the first one was read. To use" in sentence


def test_a_whole_file_is_told_nothing_of(tmp_path):
    told = []
    for number, options in enumerate(KINDS.values()):
        path = tmp_path / f"{number}.tif"
        plain = options | {"metadata": None}
        tifffile.imwrite(path, STACK[0, :1], photometric="minisblack", **plain)
        open_image(path, None, told.append)
    assert told == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_picture_is_turned_as_its_file_says(tmp_path, suffix, orientation, mode):
    rows, cols = np.mgrid[:16, :40]
    gray = (rows * 9 + cols * 2).astype(np.uint8)
    stored = Image.fromarray(gray if mode == "L" else np.dstack([gray, gray // 2, 255 - gray]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    stored.save(path, exif=exif)
    told = []
    opened = open_image(path, None, told.append)
    stored.getexif()[0x0112] = orientation
    tolerance = 40 if suffix == "jpg" else 0
    np.testing.assert_allclose(opened, np.array(ImageOps.exif_transpose(stored)), atol=tolerance)
    assert len(told) == (orientation != 1)
    assert all("was turned as its EXIF orientation says" in each for each in told)
    as_stored = open_image(path, upright=False)
    np.testing.assert_allclose(as_stored, np.array(stored), atol=tolerance)


@pytest.mark.parametrize(
    ("kind", "count", "value"),
    [
        ("H", 2, (6, 6)),
        ("s", 0, "abc"),
        ("s", 0, "6"),
        ("f", 1, float("nan")),
        ("f", 1, float("inf")),
        ("2I", 1, (6, 1)),
        ("H", 1, 0),
        ("H", 1, 9),
        ("I", 1, 1 << 31),
    ],
)
def test_an_orientation_that_is_none_turns_nothing(tmp_path, kind, count, value):
    path, told = tmp_path / "x.tif", []
    pixels = np.arange(16 * 40, dtype=np.uint16).reshape(16, 40)
    tifffile.imwrite(path, pixels, extratags=[(274, kind, count, value, True)])
    np.testing.assert_array_equal(open_image(path, None, told.append), pixels)
    assert told == []


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_planes_of_a_stack_are_turned_each_in_its_own_plane(tmp_path, orientation):
    path = tmp_path / "x.tif"
    stack = np.arange(3 * 4 * 7, dtype=np.uint16).reshape(3, 4, 7)
    tifffile.imwrite(
        path, stack, photometric="minisblack", extratags=[(274, "H", 1, orientation, True)]
    )
    whole = read_tiff(path, None, lambda _: None, whole=True).pixels
    for number, plane in enumerate(stack):
        image = Image.fromarray(plane.astype(np.uint8))
        image.getexif()[0x0112] = orientation
        np.testing.assert_array_equal(whole[number], np.array(ImageOps.exif_transpose(image)))
