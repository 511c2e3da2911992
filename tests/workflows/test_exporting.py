"""What is written, read by the programs that it is written for."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import roifile
import tifffile
from pycocotools.coco import COCO
from shapely.geometry import shape as to_shape

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.outlines import instance_of_rings, trace_outlines
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import (
    FORMATS,
    Exported,
    export,
    format_of,
    iter_export,
    read_objects,
)
from napari_sam3.workflows.exporting.bundle import label_image

from .exported import (
    ABOUT,
    SHAPE,
    assert_same_objects,
    exported,
    labelled,
    masks,
    objects,
)

SUFFIXES = [each.suffixes[0] for each in FORMATS]
READABLE = [each.suffixes[0] for each in FORMATS if each.can_be_read]


def painted():
    labels = np.zeros(SHAPE, np.uint16)
    for label, mask in masks().items():
        labels[mask] = label
    return labels


# each format, by the library of those who use it


# pycocotools was built for an older NumPy
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_loads_the_json_and_finds_every_mask(tmp_path, capsys):
    (path,) = export(tmp_path / "cells.json", exported())
    coco = COCO(str(path))
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["file_name"], image["height"], image["width"]) == ("cells in März.tif", *SHAPE)
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [one["label"] for one in annotations] == [1, 2, 5, 7, 300]
    for one in annotations:
        mask = masks()[one["label"]]
        score, concept, engine, state = ABOUT[one["label"]]
        np.testing.assert_array_equal(coco.annToMask(one), mask)
        rows, cols = np.nonzero(mask)
        box = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
        assert one["bbox"] == box
        assert (one["area"], one["iscrowd"]) == (mask.sum(), 0)
        assert coco.cats[one["category_id"]]["name"] == (concept or "object")
        assert (one["engine"], one["state"], one.get("score")) == (engine, state, score)
    assert "score" not in annotations[1]


def test_pycocotools_takes_the_annotations_for_results_too(tmp_path, capsys):
    (path,) = export(tmp_path / "cells.json", exported())
    coco = COCO(str(path))
    found = coco.loadRes([one for one in coco.dataset["annotations"] if "score" in one])
    assert len(found.getAnnIds()) == 4


def test_geojson_holds_valid_polygons_of_exactly_the_pixels(tmp_path):
    (path,) = export(tmp_path / "cells.geojson", exported())
    said = json.loads(path.read_text("utf-8"))
    assert said["type"] == "FeatureCollection"
    kinds = {}
    for feature in said["features"]:
        properties = feature["properties"]
        label = int(properties["name"])
        polygon = to_shape(feature["geometry"])
        kinds[label] = polygon.geom_type
        mask = masks()[label]
        rows, cols = np.nonzero(mask)
        assert polygon.is_valid
        assert polygon.area == mask.sum() == properties["measurements"]["Area px^2"]
        # x and y of the edges of pixels
        assert polygon.bounds == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        assert properties["objectType"] == "detection"
        assert properties["measurements"]["Area micrometer^2"] == mask.sum() / 8
        assert properties["measurements"].get("Score") == ABOUT[label][0]
        assert properties["classification"]["name"] == (ABOUT[label][1] or "object")
        assert all(0 <= part <= 255 for part in properties["classification"]["color"])
    assert kinds == dict.fromkeys(kinds, "Polygon") | {5: "MultiPolygon", 7: "MultiPolygon"}


def test_the_same_object_has_the_same_id_and_no_two_have_one(tmp_path):
    said = [
        json.loads(export(tmp_path / name, exported())[0].read_text("utf-8"))
        for name in ("one.geojson", "two.geojson")
    ]
    one, two = ([feature["id"] for feature in each["features"]] for each in said)
    assert one == two
    assert len(set(one)) == 5


def test_the_same_label_twice_has_two_ids(tmp_path):
    twice = Exported((labelled(3, masks()[1]), labelled(3, masks()[1])), SHAPE)
    (path,) = export(tmp_path / "cells.geojson", twice)
    ids = [feature["id"] for feature in json.loads(path.read_text("utf-8"))["features"]]
    assert len(set(ids)) == 2


def test_imagej_regions_give_every_mask_back(tmp_path):
    (path,) = export(tmp_path / "cells.zip", exported())
    regions = roifile.roiread(path)
    assert [roi.name for roi in regions] == [
        "0001 nucleus",
        "0002 nucleus",
        "0005 mitotic, späte Phase",
        "0007",
        "0300 a b c",
    ]
    for roi, mask in zip(regions, masks().values(), strict=True):
        rings = [ring[:, ::-1].astype(float) for ring in roi.coordinates(multi=True)]
        whole = np.zeros(SHAPE, bool)
        item = instance_of_rings(rings, SHAPE)
        whole[item.box.slices] = item.mask
        np.testing.assert_array_equal(whole, mask)
        rows, cols = np.nonzero(mask)
        corners = (roi.top, roi.left, roi.bottom, roi.right)
        assert corners == (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
    composite = [roi.composite for roi in regions]
    assert composite == [True, False, True, True, False]


def test_regions_are_named_as_their_entries_and_no_two_alike(tmp_path):
    twice = tuple(labelled(3, mask, concept="Cell") for mask in masks().values())
    (path,) = export(tmp_path / "cells.zip", Exported(twice, SHAPE))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert names[:3] == ["0003 Cell.roi", "0003 Cell 2.roi", "0003 Cell 3.roi"]
    assert [f"{roi.name}.roi" for roi in roifile.roiread(path)] == names
    assert len(set(names)) == len(names)


def test_the_same_objects_are_the_same_bytes(tmp_path):
    for suffix in (".json", ".geojson", ".zip", ".csv", ".tif"):
        one, two = (export(tmp_path / f"{n}{suffix}", exported())[0] for n in "ab")
        # a TIFF has its date in it
        assert suffix == ".tif" or one.read_bytes() == two.read_bytes()


def test_a_label_image_is_one_that_imagej_takes_for_its_own(tmp_path):
    (path,) = export(tmp_path / "cells.tif", exported())
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_imagej
        assert tiff.imagej_metadata["unit"] == "micron"
        assert tiff.series[0].axes == "YX"
        page = tiff.pages.first
        resolution = [page.tags[name].value for name in ("XResolution", "YResolution")]
        assert [above / below for above, below in resolution] == [4, 2]
        labels = tiff.asarray()
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, painted())


def test_labels_beyond_65535_are_kept_with_their_calibration(tmp_path):
    large = Exported((labelled(70_000, masks()[5]),), SHAPE, PixelSize(0.5, 0.25, "micrometer"))
    (path,) = export(tmp_path / "cells.tif", large)
    with tifffile.TiffFile(path) as tiff:
        assert not tiff.is_imagej
        page = tiff.pages.first
        assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        above, below = page.tags["XResolution"].value
        assert above / below == 40_000
        assert tiff.shaped_metadata[0]["unit"] == "micron"
        labels = tiff.asarray()
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels, np.where(masks()[5], 70_000, 0))
    assert read_objects(path).pixel_size == PixelSize(0.5, 0.25, "micrometer")


@pytest.mark.parametrize(
    ("axes", "shape", "stored"),
    [("ZYX", (3,), "ZYX"), ("TZYX", (2, 3), "TZYX"), ("CTYX", (2, 3), "TCYX"), (None, (4,), "ZYX")],
)
def test_a_stack_of_labels_is_written_whole_with_its_steps(tmp_path, axes, shape, stored):
    labels = np.zeros((*shape, *SHAPE), np.int32)
    labels[(-1,) * len(shape)][masks()[2]] = 9
    scale = (*range(2, 2 + len(shape)), 0.5, 0.25)
    stack = exported(labels=labels, scale=scale, axes=axes)
    (path,) = export(tmp_path / "cells.tif", stack)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == stored
        back = tiff.asarray()
        if "Z" in stored:
            assert tiff.imagej_metadata["spacing"] == scale[-3]
    order = [(axes or "ZYX").index(name) for name in stored]
    np.testing.assert_array_equal(back, labels.transpose(order))


def test_the_label_image_that_is_shown_is_the_one_that_is_written(tmp_path):
    shown = painted()[::-1].copy()
    (path,) = export(tmp_path / "cells.tif", exported(labels=shown))
    np.testing.assert_array_equal(tifffile.imread(path), shown)


def test_of_two_that_share_a_pixel_the_one_of_smaller_depth_is_painted():
    one, two = masks()[1], masks()[2]
    assert (one & two).any()
    for depths in ((0, 1), (1, 0)):
        pair = (labelled(1, one, depth=depths[0]), labelled(2, two, depth=depths[1]))
        labels = label_image(Exported(pair, SHAPE)).pixels
        assert set(labels[one & two]) == {1 + depths[0]}


# what holds for all formats


@pytest.mark.parametrize("suffix", READABLE)
def test_what_is_written_is_read_again(tmp_path, suffix):
    (path,) = export(tmp_path / f"cells{suffix}", exported())
    found = read_objects(path, SHAPE)
    keeps = format_of(path).keeps_overlaps
    assert_same_objects(found.objects, described=suffix != ".tif", whole_ones=keeps)
    assert found.image_shape == SHAPE
    assert found.notices == ()
    # ImageJ's regions say nothing of the image
    assert suffix == ".zip" or found.pixel_size == PixelSize(0.5, 0.25, "micrometer")
    if not keeps:
        np.testing.assert_array_equal(found.labels, painted())


@pytest.mark.parametrize("suffix", READABLE)
def test_without_a_unit_none_is_made_up(tmp_path, suffix):
    (path,) = export(tmp_path / f"cells{suffix}", exported(pixel_size=PixelSize()))
    assert read_objects(path).pixel_size == PixelSize()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_object_at_all_is_a_file_too(tmp_path, suffix):
    (path,) = export(tmp_path / f"cells{suffix}", Exported((), SHAPE))
    if suffix == ".zip":
        # an archive without entries says nothing
        assert zipfile.ZipFile(path).namelist() == []
    elif suffix != ".csv":
        assert read_objects(path, SHAPE).objects == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rejected_objects_are_written_nowhere(tmp_path, suffix):
    rejected = Exported((labelled(4, masks()[1], 0.5, "debris", state="rejected"),), SHAPE)
    (path,) = export(tmp_path / f"cells{suffix}", rejected)
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    assert not any(b"debris" in file.read_bytes() for file in files)
    if suffix in (".tif", ".ome.zarr"):
        assert read_objects(path).objects == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_progress_comes_to_an_end(tmp_path, suffix):
    steps = list(iter_export(tmp_path / f"cells{suffix}", exported()))
    assert steps[0].done == 0
    assert steps[-1].done == steps[-1].total > 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_exists_is_replaced_only_if_asked(tmp_path, suffix):
    path = tmp_path / f"cells{suffix}"
    export(path, Exported((), SHAPE))
    with pytest.raises(ImageError, match="exists already"):
        export(path, exported())
    export(path, exported(), overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    if suffix != ".csv":
        assert len(read_objects(path).objects) == 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_leaves_the_former_file_and_nothing_else(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"cells{suffix}"
    export(path, exported())
    before = sorted(each.stat().st_size for each in (path, *path.rglob("*")))

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    target = "os.open" if path.is_file() else "zarr.open_group"
    monkeypatch.setattr(target, fail)
    with pytest.raises(ImageError, match="No space left"):
        export(path, exported(image_name="another"), overwrite=True)
    monkeypatch.undo()
    assert sorted(each.stat().st_size for each in (path, *path.rglob("*"))) == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_record_of_how_labels_were_made_is_never_replaced(tmp_path, monkeypatch):
    path = tmp_path / "cells.json"
    path.write_text("{}")
    export(path, exported(), overwrite=True)
    monkeypatch.setattr("napari_sam3.workflows.sidecars.read_sidecar", lambda path: {})
    with pytest.raises(ImageError, match="record of how labels were made"):
        export(path, exported(), overwrite=True)


def test_a_folder_of_something_else_is_never_replaced(tmp_path):
    path = tmp_path / "cells.zarr"
    path.mkdir()
    (path / "thesis.txt").write_text("all of it")
    with pytest.raises(ImageError, match="something else"):
        export(path, exported(), overwrite=True)
    (tmp_path / "cells.json").mkdir()
    with pytest.raises(ImageError, match="is a folder"):
        export(tmp_path / "cells.json", exported(), overwrite=True)


@pytest.mark.parametrize("name", ["cells.doc", "cells", ".json"])
def test_a_name_that_stands_for_no_format_is_refused_with_the_list(tmp_path, name):
    with pytest.raises(ImageError, match=r"\.tif, .*\.csv"):
        format_of(tmp_path / name)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ImageError, match="no folder"):
        export(tmp_path / "nowhere" / "cells.csv", exported())


@pytest.mark.parametrize("suffix", [".json", ".geojson", ".zip", ".csv"])
def test_a_stack_without_objects_is_refused_where_objects_are_asked_for(tmp_path, suffix):
    stack = Exported((), SHAPE, labels=np.ones((3, *SHAPE), np.uint16))
    with pytest.raises(ImageError, match="choose a plane"):
        export(tmp_path / f"cells{suffix}", stack)
    assert list(tmp_path.iterdir()) == []


def test_labels_that_no_file_holds_are_refused(tmp_path):
    for value in (-1, 1 << 33):
        with pytest.raises(ImageError, match="labels go down to"):
            export(tmp_path / "cells.tif", exported(labels=np.full(SHAPE, value)))
    with pytest.raises(ImageError, match="6 axes"):
        export(tmp_path / "cells.tif", exported(labels=np.zeros((1, 1, 1, 1, *SHAPE), int)))


def test_an_image_too_large_for_imagejs_regions_is_refused(tmp_path):
    with pytest.raises(ImageError, match="60535"):
        export(tmp_path / "cells.zip", Exported((), (60_536, 10)))


def test_regions_far_out_come_back_from_where_they_were(tmp_path):
    shape = (60_535, 60_535)
    corner = masks()[2][8:17, 18:27]
    ring = masks()[1][3:23, 3:24]
    far = [
        PlaneObject(number, Instance(mask, box))
        for number, (mask, box) in enumerate(
            (
                (corner, Box(40_000, 60_526, 40_009, 60_535)),
                (ring, Box(60_515, 50_000, 60_535, 50_021)),
                (np.ones((2, 50_000), bool), Box(3, 10_000, 5, 60_000)),
            ),
            start=1,
        )
    ]
    (path,) = export(tmp_path / "cells.zip", Exported(tuple(far), shape))
    assert roifile.roiread(path)[0].coordinates().max(axis=0).tolist() == [60_535, 40_009]
    for one, back in zip(far, read_objects(path, shape).objects, strict=True):
        inner = Instance.from_mask(one.instance.mask)
        box = inner.box.shifted(one.instance.box.top, one.instance.box.left)
        assert back.instance.box == box
        np.testing.assert_array_equal(back.instance.mask, inner.mask)


def test_an_object_with_more_corners_than_a_polygon_of_imagej_has_is_kept(tmp_path):
    comb = np.zeros((3, 40_001), bool)
    comb[1], comb[0, ::2] = True, True
    comb = comb[:, :32_767]
    big = Exported((labelled(1, np.vstack([comb, comb[::-1]])),), (6, 32_767))
    assert len(trace_outlines(big.objects[0].instance.mask)[0].outer) > 65_535
    (path,) = export(tmp_path / "comb.zip", big)
    (back,) = read_objects(path, (6, 32_767)).objects
    np.testing.assert_array_equal(back.instance.mask, big.objects[0].instance.mask)


def test_things_that_do_not_fit_together_are_no_bundle():
    with pytest.raises(ValueError, match="outside"):
        Exported(objects(), (10, 10))
    with pytest.raises(ValueError, match="intensity"):
        exported(intensity=np.zeros((3, 4)))
    for wrong in ({"scale": (1.0,)}, {"axes": "ZYX"}):
        with pytest.raises(ValueError, match="2 axes"):
            exported(**wrong)


def test_every_format_says_what_it_is():
    assert len({suffix for each in FORMATS for suffix in each.suffixes}) == sum(
        len(each.suffixes) for each in FORMATS
    )
    for each in FORMATS:
        assert format_of(f"A Name{each.suffixes[-1].upper()}") is each
        assert each.pattern.startswith(f"{each.title} (*{each.suffixes[0]}")
        assert each.holds


def test_importing_it_loads_no_library_of_a_format():
    program = (
        "import sys, napari_sam3.workflows.exporting, napari_sam3.workflows.measuring\n"
        "heavy = {'roifile', 'zarr', 'ome_zarr', 'tifffile', 'skimage', 'scipy', 'pandas'}\n"
        "print(*sorted(heavy & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == [], done.stderr


@pytest.mark.parametrize("suffix", [".zip", ".ome.zarr"])
def test_what_was_found_as_object_keeps_that_name(tmp_path, suffix):
    named = labelled(3, masks()[5], concept="object")
    (path,) = export(tmp_path / f"cells{suffix}", Exported((named,), SHAPE))
    assert read_objects(path).objects[0].instance.concept == "object"
