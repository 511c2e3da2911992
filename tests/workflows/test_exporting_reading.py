"""What other programs write, and what a stranger may."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pytest
import roifile
import tifffile
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from skimage.draw import ellipse

from napari_sam3.core.calibration import PixelSize
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import export, read_calibration, read_objects
from napari_sam3.workflows.exporting import file_object as limits
from napari_sam3.workflows.exporting.importing import is_readable
from napari_sam3.workflows.files import save_labels
from tests.tiers import examples

from .exported import SHAPE, assert_same_objects, exported, masks, whole

ROWS, COLS = SHAPE


def save_json(path, content):
    path.write_text(json.dumps(content), "utf-8")
    return path


def dataset(*annotations, **others):
    return {
        "images": [{"id": 7, "file_name": "a.png", "width": COLS, "height": ROWS}],
        "categories": [{"id": 3, "name": "nucleus"}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 3, **one} for n, one in enumerate(annotations)
        ],
    } | others


# COCO


def test_run_lengths_that_are_not_compressed_are_read(tmp_path):
    mask = masks()[1]
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    counts = np.diff(edges, prepend=0, append=flat.size).tolist()
    content = dataset({"segmentation": {"size": [ROWS, COLS], "counts": counts}})
    (one,) = read_objects(save_json(tmp_path / "a.json", content)).objects
    np.testing.assert_array_equal(whole(one), mask)
    assert (one.label, one.instance.concept, one.instance.score) == (1, "nucleus", None)


# pycocotools was built for an older NumPy
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_polygons_are_filled_by_the_centres_of_pixels(tmp_path):
    # x, y; the first is exactly two by three pixels
    exact = [4, 2, 6, 2, 6, 5, 4, 5]
    slanted = [20.2, 10.1, 33.9, 12.7, 24.4, 27.3]
    content = dataset(
        {"segmentation": [exact]}, {"segmentation": [exact, slanted], "score": 0.5}, iscrowd=0
    )
    one, two = read_objects(save_json(tmp_path / "a.json", content), SHAPE).objects
    assert whole(one)[2:5, 4:6].all()
    assert one.instance.area == 6
    # pycocotools draws fivefold enlarged and takes the outermost pixels too
    theirs = coco_mask.decode(
        coco_mask.merge(coco_mask.frPyObjects([exact, slanted], ROWS, COLS))
    ).astype(bool)
    ours = whole(two)
    assert two.instance.score == 0.5
    assert np.count_nonzero(ours & theirs) / np.count_nonzero(ours | theirs) > 0.9


def test_of_several_images_one_has_to_be_named(tmp_path):
    content = dataset({"segmentation": [[1, 1, 5, 1, 5, 5]]})
    content["images"].append({"id": 8, "file_name": "run 2/b.png", "width": 50, "height": 40})
    content["annotations"].append({"image_id": 8, "segmentation": [[0, 0, 9, 0, 9, 9]]})
    path = save_json(tmp_path / "a.json", content)
    with pytest.raises(ImageError, match=r"2 images; name one of them: a\.png, run 2/b\.png"):
        read_objects(path)
    with pytest.raises(ImageError, match=r"no image of the name 'c\.png'"):
        read_objects(path, image_name="c.png")
    assert read_objects(path, image_name="a.png").image_shape == SHAPE
    found = read_objects(path, image_name="b.png")
    assert (found.image_shape, found.image_name) == ((40, 50), "run 2/b.png")
    assert len(found.objects) == 1


def test_a_list_of_results_is_read(tmp_path):
    rle = coco_mask.encode(np.asfortranarray(masks()[2].astype(np.uint8)))
    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "score": 0.25,
            "segmentation": {"size": list(SHAPE), "counts": rle["counts"].decode()},
        }
    ]
    (one,) = read_objects(save_json(tmp_path / "results.json", results)).objects
    np.testing.assert_array_equal(whole(one), masks()[2])
    assert one.instance.score == 0.25


def test_what_has_no_pixel_is_left_out_and_counted(tmp_path):
    content = dataset(
        {"segmentation": [[1, 1, 5, 1, 5, 5]]},
        {"segmentation": [[1, 1, 5, 1]]},
        {"segmentation": [[900, 900, 905, 900, 905, 905]]},
        {},
    )
    found = read_objects(save_json(tmp_path / "a.json", content))
    assert len(found.objects) == 1
    told = " ".join(found.notices)
    for reason in ("fewer than three corners", "outside the image", "no mask"):
        assert f"1 annotation was left out: {reason}." in told


@pytest.mark.parametrize("score", [float("nan"), 7, -1, "0.5", True, None, [0.5]])
def test_a_score_that_is_none_is_not_taken_for_one(tmp_path, score):
    content = dataset({"segmentation": [[1, 1, 5, 1, 5, 5]], "score": score, "label": 4})
    (one,) = read_objects(save_json(tmp_path / "a.json", content)).objects
    assert (one.instance.score, one.label) == (None, 4)


@pytest.mark.parametrize("labels", [(4, 4), (4, 0), (4, None), (4, -1), (4, 1 << 40), (4, "x")])
def test_labels_that_are_none_are_replaced_by_numbers(tmp_path, labels):
    triangle = [[1, 1, 5, 1, 5, 5]]
    content = dataset(*({"segmentation": triangle, "label": label} for label in labels))
    found = read_objects(save_json(tmp_path / "a.json", content)).objects
    assert [one.label for one in found] == [1, 2]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [ROWS, COLS], "counts": "~~"},
        {"size": [ROWS, COLS], "counts": "01"},
        {"size": [ROWS, COLS], "counts": [1, 2]},
        {"size": [ROWS, COLS], "counts": [[1]]},
        {"size": [ROWS, COLS], "counts": None},
        {"size": [COLS, ROWS], "counts": [0]},
        {"counts": [0]},
        {"size": 5, "counts": [0]},
        [["a", "b", "c", "d", "e", "f"]],
        [[1, 2, 3, 4, 5, 1e300]],
        [[1, 2, 3, 4, 5, None]],
        [{"x": 1}],
        7,
    ],
)
def test_a_damaged_mask_is_a_sentence(tmp_path, segmentation):
    path = save_json(tmp_path / "a.json", dataset({"segmentation": segmentation}))
    with pytest.raises(ImageError, match=r"Annotation 0 of .* cannot be read"):
        read_objects(path)


@pytest.mark.parametrize("side", [0, -5, 1.5, "nine", None, 1 << 20, 1 << 62])
def test_an_image_without_a_size_or_of_a_hostile_one_is_refused(tmp_path, side):
    content = dataset({"segmentation": [[1, 1, 5, 1, 5, 5]]})
    content["images"][0] |= {"height": side, "width": 1 << 20}
    with pytest.raises(ImageError, match=r"how large|are the most"):
        read_objects(save_json(tmp_path / "a.json", content))


def test_a_small_file_cannot_unfold_to_more_than_is_allowed(tmp_path, monkeypatch):
    side = 40_000
    whole_image = {"size": [side, side], "counts": [0, side * side]}
    content = dataset({"segmentation": whole_image})
    content["images"][0] |= {"height": side, "width": side}
    with pytest.raises(ImageError, match="too large"):
        read_objects(save_json(tmp_path / "a.json", content))
    content["annotations"][0]["segmentation"] = [[0, 0, side, 0, side, side, 0, side]]
    with pytest.raises(ImageError, match="too large"):
        read_objects(save_json(tmp_path / "a.json", content))
    # each alone would be allowed
    monkeypatch.setattr(limits.Room.__init__, "__defaults__", (600, 1 << 20))
    square = {"segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]]}
    with pytest.raises(ImageError, match=r"Annotation 1 .*too large"):
        read_objects(save_json(tmp_path / "a.json", dataset(square, square)))


def test_a_polygon_that_takes_hours_to_draw_is_refused(tmp_path):
    rows = 1_000_000
    zigzag = [coordinate for n in range(1000) for coordinate in (n % 9, (n % 2) * rows)]
    content = dataset({"segmentation": [zigzag]})
    content["images"][0] |= {"height": rows, "width": 10}
    with pytest.raises(ImageError, match="too long"):
        read_objects(save_json(tmp_path / "a.json", content))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[]", "7", '"a"', "null", "{}", '{"annotations": 7}', '{"annotations": [7]}'),
        *('{"annotations": [], "images": 3}', '{"annotations": [], "images": [[]]}'),
        *('{"annotations": [{"image_id": 1}], "images": []}', "[" * 100_000, '{"type": "Feature"'),
    ],
)
def test_json_of_another_kind_is_a_sentence(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ImageError):
        read_objects(path)


def test_bytes_that_are_no_text_are_a_sentence(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ImageError, match="no JSON"):
        read_objects(tmp_path / "a.json")


def test_the_record_of_labels_is_no_coco_and_says_what_to_name(tmp_path):
    path = save_json(tmp_path / "a_labels.json", {"software": {"napari-sam3": "1"}, "runs": []})
    with pytest.raises(ImageError, match="name the label image"):
        read_objects(path)


# GeoJSON


def qupath(*geometries, **properties):
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": f"{number}",
                "geometry": geometry,
                "properties": {"objectType": "annotation", **properties},
            }
            for number, geometry in enumerate(geometries)
        ],
    }


SQUARE = {"type": "Polygon", "coordinates": [[[2, 3], [8, 3], [8, 9], [2, 9], [2, 3]]]}


def test_what_qupath_writes_is_read(tmp_path):
    content = qupath(
        SQUARE,
        {"type": "Point", "coordinates": [3, 4]},
        {"type": "LineString", "coordinates": [[3, 4], [9, 9]]},
        classification={"name": "Tumor", "color": [200, 0, 0]},
        measurements=[{"name": "Score", "value": 0.5}, {"name": "Area", "value": 36}],
        isLocked=False,
    )
    found = read_objects(save_json(tmp_path / "a.geojson", content))
    (one,) = found.objects
    assert found.image_shape == (9, 8)
    assert (one.instance.area, one.instance.concept, one.instance.score) == (36, "Tumor", 0.5)
    assert "1 feature was left out: no area (Point)." in found.notices[0]
    assert "1 feature was left out: no area (LineString)." in found.notices[1]
    assert read_objects(tmp_path / "a.geojson", SHAPE).image_shape == SHAPE


def test_what_reaches_out_of_the_image_is_cut_off(tmp_path):
    path = save_json(tmp_path / "a.geojson", qupath(SQUARE))
    (one,) = read_objects(path, (5, 6)).objects
    assert one.instance.mask.shape == (2, 4)


@pytest.mark.parametrize("content", [qupath(SQUARE)["features"], qupath(SQUARE)["features"][0]])
def test_a_list_of_features_and_one_alone_are_read(tmp_path, content):
    (one,) = read_objects(save_json(tmp_path / "a.json", content)).objects
    assert one.instance.area == 36


def test_a_class_derived_from_others_keeps_its_whole_name(tmp_path):
    content = qupath(SQUARE, classification={"names": ["Tumor", "Positive"]})
    (one,) = read_objects(save_json(tmp_path / "a.geojson", content)).objects
    assert one.instance.concept == "Tumor: Positive"


@pytest.mark.parametrize(
    "coordinates",
    [
        *(7, [7], [[7]], [[["a", "b"]] * 4]),
        *([[[1]] * 5], None, [[[1, 2], [3, 1e300], [4, 5], [1, 2]]]),
        [[[1, 2], [3, None], [4, 5], [1, 2]]],
    ],
)
def test_damaged_coordinates_are_a_sentence(tmp_path, coordinates):
    content = qupath({"type": "Polygon", "coordinates": coordinates})
    with pytest.raises(ImageError):
        read_objects(save_json(tmp_path / "a.geojson", content))


@pytest.mark.parametrize(
    "properties",
    [{"classification": 7}, {"measurements": 7}, {"measurements": [7]}, {"metadata": 7}],
)
def test_properties_of_the_wrong_kind_are_a_sentence(tmp_path, properties):
    with pytest.raises(ImageError, match="Feature 1 of"):
        read_objects(save_json(tmp_path / "a.geojson", qupath(SQUARE, **properties)))


def test_geojson_of_another_image_is_refused(tmp_path):
    (path,) = export(tmp_path / "cells.geojson", exported())
    with pytest.raises(ImageError, match="31 × 47 pixels"):
        read_objects(path, (47, 31))


# ImageJ


def save_zip(path, *regions):
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(regions):
            archive.writestr(f"{roi.name or number}.roi", roi.tobytes())
    return path


def region(kind, corners, **others):
    roi = roifile.ImagejRoi(roitype=kind, **others)
    roi.top, roi.left, roi.bottom, roi.right = corners
    return roi


def test_rectangles_ovals_and_drawn_areas_are_read(tmp_path):
    kinds = roifile.ROI_TYPE
    drawn = roifile.ImagejRoi.frompoints([[4.5, 1.5], [9.5, 1.5], [9.5, 6.5], [4.5, 6.5]])
    drawn.name = "0031-0012"
    path = save_zip(
        tmp_path / "a.zip",
        region(kinds.RECT, (2, 3, 7, 11), name="0004 cell"),
        region(kinds.OVAL, (10, 12, 21, 29), name="0009_vesicle"),
        drawn,
        region(kinds.LINE, (0, 0, 5, 5), name="line"),
    )
    found = read_objects(path, SHAPE)
    box, oval, hand = found.objects
    assert "1 region was left out: no area (line)." in found.notices[0]
    # a third has no number: all are numbered
    assert [one.label for one in found.objects] == [1, 2, 3]
    assert [one.instance.concept for one in found.objects] == ["cell", "vesicle", ""]
    assert (whole(box)[2:7, 3:11].all(), box.instance.area) == (True, 40)
    theirs = np.zeros(SHAPE, bool)
    theirs[ellipse(15.0, 20.0, 5.5, 8.5, SHAPE)] = True
    np.testing.assert_array_equal(whole(oval), theirs)
    assert hand.instance.area == 25


def test_one_region_alone_is_read_with_its_label(tmp_path):
    path = tmp_path / "0012 nucleus.roi"
    path.write_bytes(region(roifile.ROI_TYPE.RECT, (2, 3, 7, 11)).tobytes())
    found = read_objects(path)
    (one,) = found.objects
    assert (one.label, one.instance.concept, found.image_shape) == (12, "nucleus", (7, 11))


def test_a_rectangle_between_pixels_is_read(tmp_path):
    roi = region(roifile.ROI_TYPE.RECT, (2, 3, 7, 11))
    roi.version, roi.options = 228, roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.xd, roi.yd, roi.widthd, roi.heightd = 3.6, 2.4, 2.0, 3.0
    (one,) = read_objects(save_zip(tmp_path / "a.zip", roi), SHAPE).objects
    assert whole(one)[2:5, 4:6].all()
    assert one.instance.area == 6


def test_an_archive_without_regions_and_what_is_no_archive_are_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    for name, why in (("a.zip", "cannot be unpacked"), ("b.zip", "holds no regions")):
        with pytest.raises(ImageError, match=why):
            read_objects(tmp_path / name)


def test_a_bomb_is_refused_though_it_lies_about_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_sam3.workflows.exporting.from_rois.MAX_BYTES", 1 << 16)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.roi", bytes(1 << 22))
    with pytest.raises(ImageError, match="more regions than can be read"):
        read_objects(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1 << 22), struct.pack("<I", 100)))
    with pytest.raises(ImageError, match="cannot be unpacked: Bad CRC-32"):
        read_objects(path)


GOOD = region(roifile.ROI_TYPE.RECT, (2, 3, 7, 11), name="a").tobytes()


@pytest.mark.parametrize(
    "data",
    [b"", b"Iout", bytes(64), GOOD[:50], b"Iout" + bytes(100), GOOD[:6] + b"\xff" + GOOD[7:]],
)
def test_a_damaged_region_is_a_sentence_or_no_area(tmp_path, data):
    path = tmp_path / "a.roi"
    path.write_bytes(data)
    with contextlib.suppress(ImageError):
        assert read_objects(path).objects == ()


@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_file_is_at_most_a_sentence(tmp_path, data):
    suffix = data.draw(st.sampled_from([".zip", ".json", ".geojson", ".tif"]))
    original = _original(suffix)
    at = data.draw(st.integers(0, len(original) - 1))
    piece = data.draw(st.binary(max_size=6))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(
        original[:at] + piece + original[at + len(piece) + data.draw(st.integers(0, 2)) :]
    )
    with contextlib.suppress(ImageError):
        read_objects(path)


_ORIGINALS = {}


def _original(suffix):
    if not _ORIGINALS:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            for each in (".zip", ".json", ".geojson", ".tif"):
                (path,) = export(Path(folder) / f"a{each}", exported())
                _ORIGINALS[each] = path.read_bytes()
    return _ORIGINALS[suffix]


# GeoJSON that is packed


@pytest.mark.parametrize("name", ["a.geojson.gz", "A.GEOJSON.GZ", "a.geojson"])
def test_packed_geojson_is_unpacked_whatever_its_name(tmp_path, name):
    packed = gzip.compress(json.dumps(qupath(SQUARE)).encode())
    (tmp_path / name).write_bytes(packed)
    (one,) = read_objects(tmp_path / name, SHAPE).objects
    (plain,) = read_objects(save_json(tmp_path / "b.geojson", qupath(SQUARE)), SHAPE).objects
    np.testing.assert_array_equal(whole(one), whole(plain))


def test_what_a_browser_unpacked_is_read_by_the_same_name(tmp_path):
    path = save_json(tmp_path / "a.geojson.gz", qupath(SQUARE))
    assert len(read_objects(path, SHAPE).objects) == 1


@pytest.mark.parametrize("damage", [slice(None, 40), slice(None, -4)])
def test_packed_geojson_that_was_cut_off_is_refused(tmp_path, damage):
    packed = gzip.compress(json.dumps(qupath(SQUARE)).encode())
    (tmp_path / "a.geojson.gz").write_bytes(packed[damage])
    with pytest.raises(ImageError, match="cannot be unpacked: it is damaged, or was cut off"):
        read_objects(tmp_path / "a.geojson.gz", SHAPE)


def test_a_packed_file_is_unpacked_so_far_as_one_may_be_long(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_sam3.workflows.exporting.importing.MAX_BYTES", 1 << 20)
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(b" " * (1 << 24)))
    with pytest.raises(ImageError, match="is longer than 1 MB"):
        read_objects(tmp_path / "a.geojson.gz", SHAPE)


# label images


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
def test_every_label_of_a_label_image_is_an_object(tmp_path, suffix):
    labels = np.zeros(SHAPE, np.int64)
    for label, mask in masks().items():
        labels[mask] = label
    save_labels(tmp_path / f"a{suffix}", labels)
    found = read_objects(tmp_path / f"a{suffix}", SHAPE)
    assert_same_objects(found.objects, described=False, whole_ones=False)
    for one in found.objects:
        np.testing.assert_array_equal(whole(one), labels == one.label)


def test_large_and_few_labels_are_objects_too(tmp_path):
    labels = np.zeros(SHAPE, np.uint32)
    labels[3:5, 6:9], labels[20:, 40:] = 4_000_000_000, 12
    np.save(tmp_path / "a.npy", labels)
    found = read_objects(tmp_path / "a.npy").objects
    assert [one.label for one in found] == [12, 4_000_000_000]
    for one in found:
        np.testing.assert_array_equal(whole(one), labels == one.label)


def test_a_mask_of_true_and_false_is_one_object(tmp_path):
    np.save(tmp_path / "a.npy", masks()[5])
    (one,) = read_objects(tmp_path / "a.npy").objects
    assert one.label == 1
    np.testing.assert_array_equal(whole(one), masks()[5])


def test_labels_below_zero_and_pictures_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.full(SHAPE, -3))
    np.save(tmp_path / "b.npy", np.full(SHAPE, 0.5))
    np.save(tmp_path / "c.npy", np.zeros(9, int))
    Image.fromarray(np.zeros((*SHAPE, 3), np.uint8)).save(tmp_path / "d.png")
    tifffile.imwrite(tmp_path / "e.tif", np.zeros((*SHAPE, 3), np.uint8), photometric="rgb")
    (tmp_path / "f.tif").write_bytes(b"II*\0 and no more")
    for name in "abcdef":
        (path,) = tmp_path.glob(f"{name}.*")
        with pytest.raises(ImageError):
            read_objects(path)


def test_labels_that_are_scattered_all_over_are_refused_and_not_unfolded(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_sam3.workflows.exporting.from_labels.MAX_MASK_PIXELS", 10_000)
    labels = np.random.default_rng(2).integers(0, 50, SHAPE)
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(ImageError, match="scattered"):
        read_objects(tmp_path / "a.npy")


def test_a_file_that_says_it_is_huge_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_sam3.workflows.exporting.from_labels.MAX_PIXELS", 1000)
    np.save(tmp_path / "a.npy", np.zeros(SHAPE, int))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.uint16))
    for name in ("a.npy", "a.tif"):
        with pytest.raises(ImageError, match="1000 are the most"):
            read_objects(tmp_path / name)


def test_a_stack_comes_back_whole_or_one_plane_of_it(tmp_path):
    labels = np.zeros((3, *SHAPE), np.uint16)
    labels[1][masks()[5]], labels[2][masks()[2]] = 5, 8
    stack = exported(labels=labels, axes="ZYX", scale=(2.0, 0.5, 0.25))
    (path,) = export(tmp_path / "a.tif", stack)
    found = read_objects(path)
    assert (found.objects, found.axes, found.image_shape) == ((), "ZYX", SHAPE)
    assert found.scale == pytest.approx((2, 0.5, 0.25))
    np.testing.assert_array_equal(found.labels, labels)
    (one,) = read_objects(path, plane=(1,)).objects
    np.testing.assert_array_equal(whole(one), masks()[5])
    with pytest.raises(ImageError, match="planes 0 to 2"):
        read_objects(path, plane=(3,))


def test_a_label_image_of_another_size_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(SHAPE, int))
    with pytest.raises(ImageError, match="31 × 47"):
        read_objects(tmp_path / "a.npy", (9, 9))


# calibration


def test_the_calibration_of_an_ome_tiff_is_read(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((2, *SHAPE), np.uint16),
        metadata={
            "axes": "ZYX",
            "PhysicalSizeX": 325,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 650,
            "PhysicalSizeYUnit": "nm",
            "PhysicalSizeZ": 1000,
            "PhysicalSizeZUnit": "nm",
        },
    )
    found = read_calibration(tmp_path / "a.ome.tif")
    assert found.pixel_size == PixelSize(650, 325, "nanometer")
    assert (found.axes, found.scale) == ("ZYX", (1000, 650, 325))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, PixelSize()),
        ({}, PixelSize()),
        ({"resolution": (20_000, 10_000), "resolutionunit": 3}, PixelSize(1, 0.5, "micrometer")),
        ({"resolution": (2, 4), "imagej": True}, PixelSize()),
        (
            {"resolution": (2, 4), "imagej": True, "metadata": {"unit": "\\u00B5m"}},
            PixelSize(0.25, 0.5, "micrometer"),
        ),
        ({"resolution": (0, 4), "imagej": True, "metadata": {"unit": "um"}}, PixelSize()),
    ],
)
def test_resolutions_count_where_they_are_of_the_image(tmp_path, options, size):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(SHAPE, np.uint16), **options)
    assert read_calibration(tmp_path / "a.tif").pixel_size == size


def test_what_is_no_tiff_has_no_calibration(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"something else")
    assert read_calibration(tmp_path / "a.tif").pixel_size == PixelSize()


# names


def test_a_name_of_an_unknown_kind_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "a.doc").write_bytes(b"")
    with pytest.raises(ImageError, match="should end in"):
        read_objects(tmp_path / "a.doc")
    with pytest.raises(ImageError, match="no file"):
        read_objects(tmp_path / "b.json")


def test_only_json_with_objects_looks_readable(tmp_path):
    export(tmp_path / "a.json", exported())
    export(tmp_path / "a.geojson", exported())
    (tmp_path / "b.json").write_text('{"software": {"napari-sam3": "1"}, "runs": []}')
    (tmp_path / "c.json").write_text(" " * ((1 << 20) - 6) + '"annotations": []')
    (tmp_path / "a.csv").write_text("")
    assert is_readable(tmp_path / "a.json")
    assert is_readable(tmp_path / "a.geojson")
    assert is_readable(tmp_path / "c.json")
    for name in ("b.json", "a.csv", "nothing.json"):
        assert not is_readable(tmp_path / name)


def test_text_of_a_file_is_told_as_it_stands(tmp_path):
    stream = io.StringIO()
    json.dump(dataset({"segmentation": [[1, 1, 5, 1, 5, 5]], "engine": "SAM é"}), stream)
    (tmp_path / "a.json").write_text(stream.getvalue())
    (one,) = read_objects(tmp_path / "a.json").objects
    assert one.engine == "SAM é"
