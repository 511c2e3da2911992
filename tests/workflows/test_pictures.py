"""Files that are segmented as image viewers show them."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sam3.core.pictures import Picture
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import Everything
from napari_sam3.engines.creating import create_engine
from napari_sam3.jobs.records import open_records
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.files import open_image
from napari_sam3.workflows.pictures import open_picture
from napari_sam3.workflows.provenance import record_of_file
from napari_sam3.workflows.reasking import picture_of
from napari_sam3.workflows.run import SegmentRun

INDICES = (np.arange(20 * 30) % 199).astype(np.uint8).reshape(20, 30)
PALETTE = np.random.default_rng(5).integers(0, 256, (256, 3)).astype(np.uint8)


def as_a_viewer_shows(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def save_palette_tiff(path, indices=INDICES, *, scale=257):
    colormap = PALETTE.T.astype(np.uint16) * scale
    tifffile.imwrite(path, indices, photometric="palette", colormap=colormap)
    return path


def test_low_values_are_bright_where_the_file_says_so(tmp_path):
    path = tmp_path / "film.tif"
    tifffile.imwrite(path, INDICES, photometric="miniswhite")
    np.testing.assert_array_equal(open_picture(path).read().rgb, as_a_viewer_shows(path))
    assert open_picture(path).describe()["inverted"]
    np.testing.assert_array_equal(open_image(path), INDICES)


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.float32])
def test_other_types_too(tmp_path, dtype):
    values = INDICES > 90 if dtype is bool else (INDICES * 7).astype(dtype)
    tifffile.imwrite(tmp_path / "film.tif", values, photometric="miniswhite")
    shown = open_picture(tmp_path / "film.tif").read().rgb[..., 0]
    assert shown[values == values.max()].max() == 0
    assert shown[values == values.min()].min() == 255


@pytest.mark.parametrize("scale", [257, 256, 1], ids=["16 bits", "high bytes", "8 bits"])
def test_a_palette_in_a_tiff_gives_the_colours(tmp_path, scale):
    path = save_palette_tiff(tmp_path / "lut.tif", scale=scale)
    np.testing.assert_array_equal(open_picture(path).read().rgb, PALETTE[INDICES])


def test_a_palette_of_a_stack_is_used_on_the_plane(tmp_path):
    stack = np.stack([INDICES, INDICES[::-1], INDICES + 1])
    path = save_palette_tiff(tmp_path / "stack.tif", stack)
    np.testing.assert_array_equal(open_picture(path, (1,)).read().rgb, PALETTE[INDICES[::-1]])


def test_each_page_has_its_own_palette(tmp_path):
    path = tmp_path / "pages.tif"
    pages = [Image.fromarray(INDICES), Image.fromarray(INDICES[::-1])]
    for page, palette in zip(pages, (PALETTE, PALETTE[::-1]), strict=True):
        page.putpalette(palette.ravel().tolist())
    pages[0].save(path, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(open_picture(path, (0,)).read().rgb, PALETTE[INDICES])
    np.testing.assert_array_equal(open_picture(path, (1,)).read().rgb, PALETTE[::-1][INDICES[::-1]])


def test_a_palette_in_a_png_gives_the_colours(tmp_path):
    image = Image.fromarray(INDICES)
    image.putpalette(PALETTE.ravel().tolist())
    image.save(tmp_path / "lut.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "lut.png").read().rgb, PALETTE[INDICES])


def test_inks_become_the_colours_that_they_print(tmp_path):
    inks = np.dstack([INDICES, INDICES[::-1], INDICES[:, ::-1], INDICES // 3])
    Image.frombytes("CMYK", (30, 20), inks.tobytes()).save(tmp_path / "print.tif")
    shown = open_picture(tmp_path / "print.tif").read().rgb.astype(int)
    assert np.abs(shown - as_a_viewer_shows(tmp_path / "print.tif")).max() <= 1


def test_that_napari_shows_it_otherwise_is_told(tmp_path):
    told = []
    tifffile.imwrite(tmp_path / "plain.tif", INDICES)
    open_picture(tmp_path / "plain.tif", tell=told.append)
    assert told == []
    path = save_palette_tiff(tmp_path / "lut.tif")
    open_picture(path, tell=told.append)
    assert told == [
        (
            f"{path} has a palette; it is segmented as image viewers show it, while napari shows "
            "the stored values."
        )
    ]


def test_limits_count_for_gray_and_for_colours(tmp_path):
    np.save(tmp_path / "gray.npy", INDICES.astype(np.uint16))
    assert open_picture(tmp_path / "gray.npy", None, (9, 11)).read().rgb[0, 10, 0] == 128
    path = save_palette_tiff(tmp_path / "lut.tif")
    assert set(np.unique(open_picture(path, None, (100, 101)).read().rgb)) == {0, 255}


@pytest.mark.parametrize("photometric", ["miniswhite", "palette"])
def test_its_record_leads_back_to_the_same_picture(tmp_path, photometric):
    path = tmp_path / "x.tif"
    if photometric == "palette":
        save_palette_tiff(path)
    else:
        tifffile.imwrite(path, INDICES, photometric=photometric)
    run = SegmentRun(open_picture(path), (Everything(),), 0.5)
    engine = create_engine()
    answer = drain(iter_accounted(engine, run, open_records(), lambda _: True))
    record = record_of_file(path.name, run, answer, engine=engine.name)
    again = picture_of(record, record["runs"][0], path)
    np.testing.assert_array_equal(again.read().rgb, run.picture.read().rgb)


def test_what_napari_shows_of_a_palette_is_found_again_in_the_file(tmp_path):
    path = save_palette_tiff(tmp_path / "x.tif")
    run = SegmentRun(Picture.from_array(INDICES), (Everything(),), 0.5)
    engine = create_engine()
    answer = drain(iter_accounted(engine, run, open_records(), lambda _: True))
    record = record_of_file(path.name, run, answer, engine=engine.name)
    again = picture_of(record, record["runs"][0], path)
    np.testing.assert_array_equal(again.read().rgb, run.picture.read().rgb)
