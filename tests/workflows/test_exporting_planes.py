"""Objects of the planes of a stack, to files and back to where they were."""

from __future__ import annotations

import csv
import json
import zipfile

import numpy as np
import pytest
import roifile

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import Exported, export, read_objects

SHAPE = (31, 47)
FORMATS = (".json", ".geojson", ".zip")


def square(label, top, left, concept="nucleus"):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + 4, left : left + 6] = True
    return PlaneObject(label, Instance.from_mask(mask, 0.5, concept), "Built-in")


ON_PLANES = {(1, 4): (square(1, 2, 3), square(2, 3, 5)), (0, 2): (square(1, 20, 30),)}
"""By time and slice; two overlap, and one label is on two planes."""


def stack():
    labels = np.zeros((2, 5, *SHAPE), np.uint16)
    return Exported((), SHAPE, labels=labels, axes="TZYX", planes=ON_PLANES)


def placed(found):
    return {
        at: [(one.label, one.instance.box, one.instance.concept) for one in objects]
        for at, objects in sorted(found.planes.items())
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_objects_of_several_planes_come_back_to_their_planes(tmp_path, suffix):
    (path,) = export(tmp_path / f"a{suffix}", stack())
    found = read_objects(path, SHAPE)
    assert placed(found) == placed(stack())
    assert (found.axes, found.labels.shape, found.notices) == ("TZYX", (2, 5, *SHAPE), ())
    assert found.labels[0, 2, 20, 30] == 1
    assert np.count_nonzero(found.labels) == 3 * 24 - 3 * 4


@pytest.mark.parametrize("suffix", FORMATS)
def test_one_plane_of_them_may_be_chosen_and_the_rest_is_counted(tmp_path, suffix):
    (path,) = export(tmp_path / f"a{suffix}", stack())
    found = read_objects(path, SHAPE, plane=(1, 4))
    assert [one.label for one in found.objects] == [1, 2]
    assert found.plane == (1, 4)
    assert "1 " in found.notices[0]
    assert "was left out: another plane." in found.notices[0]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("plane", "axes"), [((7,), "Z"), ((7,), "T"), ((3, 0), "TZ"), ((2, 1, 5), "TCZ"), ((0,), "Z")]
)
def test_a_plane_keeps_its_place(tmp_path, suffix, plane, axes):
    content = Exported((square(3, 5, 6),), SHAPE, plane=plane, plane_axes=axes)
    (path,) = export(tmp_path / f"a{suffix}", content)
    found = read_objects(path)
    assert found.place == content.place
    assert [one.label for one in found.objects] == [3]


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_lies_in_no_stack_says_no_place(tmp_path, suffix):
    (path,) = export(tmp_path / f"a{suffix}", Exported((square(3, 5, 6),), SHAPE))
    assert read_objects(path).plane is None


def test_imagej_finds_each_region_on_its_slice(tmp_path):
    slices = {(z,): (square(z + 1, 2, 3),) for z in (0, 3)}
    labels = np.zeros((4, *SHAPE), np.uint16)
    one_axis = Exported((), SHAPE, labels=labels, axes="ZYX", planes=slices)
    export(tmp_path / "z.zip", one_axis)
    export(tmp_path / "tz.zip", stack())
    assert [roi.position for roi in roifile.roiread(tmp_path / "z.zip")] == [1, 4]
    hyper = [
        (roi.t_position, roi.z_position, roi.c_position)
        for roi in roifile.roiread(tmp_path / "tz.zip")
    ]
    assert hyper == [(2, 5, 0), (2, 5, 0), (1, 3, 0)]


def test_qupath_finds_each_detection_on_its_plane(tmp_path):
    export(tmp_path / "a.geojson", stack())
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert [one["geometry"]["plane"] for one in features] == [
        *([{"c": -1, "z": 4, "t": 1}] * 2),
        {"c": -1, "z": 2, "t": 0},
    ]
    assert len({one["id"] for one in features}) == 3


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_in_a_table_an_object_over_planes_is_one_row(tmp_path):
    export(tmp_path / "a.csv", stack())
    one, two = rows_of(tmp_path / "a.csv")
    assert (one["label"], one["voxels"], one["planes"], one["plane"]) == ("1", "48", "2", "0,2")
    assert (two["label"], two["voxels"], two["planes"], two["plane"]) == ("2", "24", "1", "1,4")
    middle = [float(one[f"centroid_{name}_px"]) for name in ("t", "z", "row", "col")]
    assert middle == [0.5, 3, (3.5 + 21.5) / 2, (5.5 + 32.5) / 2]
    assert [one[f"bbox_{side}"] for side in ("top", "left", "bottom", "right")] == [
        *("2", "3", "24", "36")
    ]
    # a step in time has no volume
    assert (one["volume"], one["touches_edge"]) == ("", "False")


@pytest.mark.parametrize(
    ("about", "volume"),
    [
        ({"scale": (2.0, 0.5, 0.25), "units": ("um",) * 3}, 48 * 0.25),
        ({"scale": (-2.0, 0.5, 0.25)}, 48 * 0.25),
        ({"scale": (2.0, 0.5, 0.25), "units": ("nm", "um", "um")}, None),
        ({}, None),
    ],
)
def test_where_slices_are_as_far_apart_as_is_known_there_is_a_volume(tmp_path, about, volume):
    slices = {(z,): (square(1, 2 + z, 3),) for z in (1, 3)}
    labels = np.zeros((5, *SHAPE), np.uint16)
    size = PixelSize(0.5, 0.25, "um")
    whole = Exported((), SHAPE, size, labels=labels, axes="ZYX", planes=slices, **about)
    export(tmp_path / "a.csv", whole)
    (row,) = rows_of(tmp_path / "a.csv")
    assert float(row["volume"] or "nan") == pytest.approx(volume or np.nan, nan_ok=True)
    place = [float(row[f"centroid_{name}"]) for name in ("z_px", "row_px", "row", "col")]
    assert place == [2, 5.5, 5.5 * 0.5, 5.5 * 0.25]


def test_an_object_over_planes_is_counted_once():
    assert repr(stack()).startswith("Exported(2 objects, 31 × 47 pixels of (2, 5, 31, 47)")


def test_the_parts_of_an_object_have_its_label_in_each_format(tmp_path):
    for suffix in FORMATS:
        export(tmp_path / f"a{suffix}", stack())
    coco = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert [one["label"] for one in coco] == [1, 2, 1]
    features = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert [one["properties"]["name"] for one in features] == ["1", "2", "1"]
    rois = roifile.roiread(tmp_path / "a.zip")
    assert ["Label: 1" in roi.props for roi in rois] == [True, False, True]


def test_a_file_that_says_two_things_of_one_object_is_taken_at_its_first_word(tmp_path):
    export(tmp_path / "a.json", stack())
    said = json.loads((tmp_path / "a.json").read_text())
    for one, state in zip(said["annotations"], ("accepted", "edited", "rejected"), strict=True):
        one["state"] = state
    (tmp_path / "a.json").write_text(json.dumps(said))
    found = read_objects(tmp_path / "a.json")
    assert {one.label: one.state for one in found.labelled} == {1: "accepted", 2: "edited"}
    assert {one.state for one in found.everything if one.label == 1} == {"accepted"}


def regions(tmp_path, *rois):
    path = tmp_path / "rois.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(rois):
            archive.writestr(f"{roi.name or number}.roi", roi.tobytes())
    return path


def rectangle(**said):
    roi = roifile.ImagejRoi.frompoints([[4, 2], [9, 2], [9, 7], [4, 7]])
    for name, value in said.items():
        setattr(roi, name, value)
    return roi


def test_three_slices_of_one_place_are_three_objects(tmp_path):
    path = regions(tmp_path, *(rectangle(position=z, name=f"r{z}") for z in (1, 2, 3)))
    found = read_objects(path)
    assert sorted(found.planes) == [(0,), (1,), (2,)]
    assert [np.count_nonzero(plane) for plane in found.labels] == [25, 25, 25]


def test_old_regions_have_their_slice_in_their_name(tmp_path):
    path = regions(tmp_path, rectangle(name="0003-0004-0007"))
    assert read_objects(path).place == {"Z": 2}


def test_what_has_no_place_among_others_that_have_one_is_said(tmp_path):
    path = regions(tmp_path, rectangle(position=2, name="a"), rectangle(name="b"))
    found = read_objects(path)
    assert len(found.everything) == 1
    assert "1 region was left out: no plane, where others have one." in found.notices[0]
    assert len(read_objects(path, plane=(1,)).everything) == 2


def test_a_hostile_position_is_a_sentence_and_takes_no_memory(tmp_path):
    path = regions(tmp_path, rectangle(position=2**31 - 1, name="a"), rectangle(position=1))
    with pytest.raises(ImageError, match="Choose one plane"):
        read_objects(path)


def test_what_qupath_says_no_plane_of_lies_on_the_first_one(tmp_path):
    def feature(plane):
        ring = [[2, 4], [9, 4], [9, 7], [2, 7], [2, 4]]
        geometry = {"type": "Polygon", "coordinates": [ring], **plane}
        return {"type": "Feature", "geometry": geometry, "properties": {}}

    third = {"plane": {"c": -1, "z": 2, "t": 0}}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature({}), feature(third), feature({})]))
    found = read_objects(path)
    assert {at: len(objects) for at, objects in found.planes.items()} == {(0,): 2, (2,): 1}
    assert found.notices == ()
    assert len(read_objects(path, plane=(0,)).objects) == 2
    path.write_text(json.dumps([feature({}), feature({})]))
    assert (read_objects(path).planes, read_objects(path).place) == ({}, {})


@pytest.mark.parametrize("kind", ["TEXT", "IMAGE"])
def test_what_only_decorates_a_picture_is_no_object(tmp_path, kind):
    note = rectangle(name="note")
    note.roitype, note.subtype = roifile.ROI_TYPE.RECT, roifile.ROI_SUBTYPE[kind]
    note.image_data = b"\x89PNG"
    found = read_objects(regions(tmp_path, rectangle(name="a"), note))
    assert len(found.objects) == 1
    assert f"1 region was left out: no area ({kind.lower()})." in found.notices[0]


def test_what_a_mac_packs_beside_each_region_is_no_region(tmp_path):
    path = regions(tmp_path, rectangle(name="a"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._a.roi", b"\0\5\x16\7 and more")
    found = read_objects(path)
    assert (len(found.objects), found.notices) == (1, ())


def on_plane(**plane):
    ring = [[2, 4], [9, 4], [9, 7], [2, 7], [2, 4]]
    geometry = {"type": "Polygon", "coordinates": [ring], "plane": plane}
    return {"type": "Feature", "geometry": geometry, "properties": {}}


def read_features(tmp_path, *features):
    (tmp_path / "a.geojson").write_text(json.dumps(features))
    return read_objects(tmp_path / "a.geojson", SHAPE)


@pytest.mark.parametrize("said", [1.5, -3, "1.5", "-1", "one", True, [1], 10**30, str(10**30)])
def test_what_qupath_says_of_no_plane_is_left_out_and_not_put_elsewhere(tmp_path, said):
    found = read_features(tmp_path, on_plane(c=-1, z=said, t=0), on_plane(c=-1, z=2, t=0))
    assert (found.place, len(found.everything)) == ({"Z": 2}, 1)
    assert found.notices[0].startswith("a.geojson: 1 feature was left out: no such plane (z: ")


@pytest.mark.parametrize("said", [2, 2.0, "2"])
@pytest.mark.parametrize("channel", [-1, -1.0, "-1", None])
def test_a_plane_may_be_written_as_any_whole_number(tmp_path, said, channel):
    found = read_features(tmp_path, on_plane(c=channel, z=said, t=0))
    assert (found.place, found.notices) == ({"Z": 2}, ())


def test_a_plane_beyond_what_imagej_counts_is_a_sentence(tmp_path):
    for plane, axes in (((10**30,), "Z"), ((0, 2**31 - 1), "TZ")):
        content = Exported((square(3, 5, 6),), SHAPE, plane=plane, plane_axes=axes)
        with pytest.raises(ImageError, match=r"ImageJ's regions name planes up to 2147483646"):
            export(tmp_path / "a.zip", content)
        assert not (tmp_path / "a.zip").exists()
    content = Exported((square(3, 5, 6),), SHAPE, plane=(2**31 - 2,), plane_axes="Z")
    (path,) = export(tmp_path / "a.zip", content)
    assert read_objects(path).place == content.place


@pytest.mark.parametrize("suffix", [".json", ".geojson"])
def test_a_plane_that_no_stack_has_is_a_sentence_where_it_is_read(tmp_path, suffix):
    content = Exported((square(3, 5, 6),), SHAPE, plane=(10**30,), plane_axes="Z")
    (path,) = export(tmp_path / f"a{suffix}", content)
    with pytest.raises(ImageError, match="plane 1000000000000000000000000000000"):
        read_objects(path)
