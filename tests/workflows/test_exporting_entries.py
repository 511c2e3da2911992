"""Each entry of a file ends as an object, or in a sentence with the true reason, or refuses it."""

from __future__ import annotations

import json
import re
import zipfile

import numpy as np
import pytest
import roifile
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import Exported, export, read_objects

SHAPE = (60, 80)
RING = [[5, 5], [15, 5], [15, 15], [5, 15]]
FLAT = [coordinate for corner in RING for coordinate in corner]


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def polygon(*rings):
    return feature({"type": "Polygon", "coordinates": list(rings)})


def dataset(*annotations):
    entries = [
        {"id": number, "image_id": 1, "category_id": 1} | one
        for number, one in enumerate(annotations)
    ]
    image = {"id": 1, "height": SHAPE[0], "width": SHAPE[1], "file_name": "a.tif"}
    categories = [{"id": 1, "name": "cell"}]
    return {"images": [image], "annotations": entries, "categories": categories}


@pytest.fixture
def read(tmp_path):
    def read(content, name="a.json"):
        (tmp_path / name).write_text(json.dumps(content))
        return read_objects(tmp_path / name, SHAPE)

    return read


def areas(found):
    return [one.instance.area for one in found.objects]


@pytest.mark.parametrize(
    "entry",
    [
        polygon(RING),
        polygon([*RING, RING[0]]),
        polygon([*RING, RING[0]], [[6, 6], [7, 7]]),
        feature({"type": "MultiPolygon", "coordinates": [[], [RING]]}),
    ],
)
def test_a_ring_counts_closed_or_not(read, entry):
    found = read([entry], "a.geojson")
    assert areas(found) == [100]
    assert found.notices == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (polygon(), "fewer than three corners"),
        (polygon([]), "fewer than three corners"),
        (polygon([[5, 5], [9, 9], [5, 5]]), "fewer than three corners"),
        (feature(None), "no geometry"),
        (feature({"type": "Point", "coordinates": [3, 4]}), "no area (Point)"),
        (polygon([[900, 5], [910, 5], [910, 15]]), "outside the image"),
        (polygon([[-9, 5], [-3, 5], [-3, 15]]), "outside the image"),
        (polygon([[5.6, 5.6], [5.9, 5.6], [5.9, 5.9]]), "no pixel's centre inside"),
    ],
)
def test_a_feature_without_area_does_not_take_the_others_along(read, entry, reason):
    found = read([entry, polygon(RING), entry], "a.geojson")
    assert areas(found) == [100]
    assert found.notices == (f"a.geojson: 2 features were left out: {reason}.",)


@pytest.mark.parametrize(
    "annotation",
    [
        {"segmentation": [FLAT], "image_id": "1"},
        {"segmentation": [FLAT], "category_id": "1"},
        {"segmentation": FLAT},
        {"segmentation": [FLAT, [1, 1, 2, 2]]},
    ],
)
def test_masks_are_read_as_other_programs_write_them(read, annotation):
    found = read(dataset(annotation))
    assert areas(found) == [100]
    assert [one.instance.concept for one in found.objects] == ["cell"]
    assert found.notices == ()


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"segmentation": [FLAT], "image_id": 2}, "another image"),
        ({"segmentation": [], "bbox": [5, 5, 10, 10]}, "a bounding box and no mask"),
        ({"bbox": [5, 5, 10, 10]}, "a bounding box and no mask"),
        ({}, "no mask"),
        ({"segmentation": [FLAT[:-1]]}, "an odd number of coordinates"),
        ({"segmentation": [FLAT[:4]]}, "fewer than three corners"),
        ({"segmentation": {"size": list(SHAPE), "counts": [4800]}}, "an empty mask"),
        ({"segmentation": [[900, 5, 910, 5, 910, 15]]}, "outside the image"),
    ],
)
def test_an_annotation_without_a_mask_has_its_true_reason(read, annotation, reason):
    found = read(dataset(annotation, {"segmentation": [FLAT]}))
    assert areas(found) == [100]
    assert found.notices == (f"a.json: 1 annotation was left out: {reason}.",)


numbers = st.integers(-20, 100) | st.floats(-20, 100)
corners = st.lists(st.tuples(numbers, numbers).map(list), max_size=6)
kinds = st.sampled_from(["Polygon", "MultiPolygon", "Point", "LineString"])
planes = st.none() | st.fixed_dictionaries(
    {"z": st.integers(0, 3), "t": st.integers(0, 2), "c": st.integers(-1, 1)}
)


def geometry(kind, rings, plane):
    coordinates = {"Polygon": rings, "MultiPolygon": [rings], "Point": [1, 2]}.get(kind, [[1, 2]])
    said = {"type": kind, "coordinates": coordinates}
    return said if plane is None else said | {"plane": plane}


geometries = st.none() | st.builds(geometry, kinds, st.lists(corners, max_size=2), planes)
annotations = st.fixed_dictionaries(
    {"image_id": st.sampled_from([1, "1", 2, None])},
    optional={
        "bbox": st.just([1, 2, 3, 4]),
        "segmentation": st.lists(st.lists(numbers, max_size=9), max_size=2)
        | st.lists(numbers, max_size=9)
        | st.just({"size": list(SHAPE), "counts": [4800]}),
    },
)


def accounted_for(path, plane=None):
    """How many entries ended as objects or in a sentence; None if the file was refused."""
    try:
        found = read_objects(path, SHAPE, plane=plane)
    except ImageError:
        return None
    told = [re.match(rf"{path.name}: (\d+) \w+ (was|were) left out", one) for one in found.notices]
    return len(found.everything) + sum(int(one[1]) for one in told)


chosen = st.none() | st.tuples(st.integers(0, 3))


@given(st.lists(geometries, max_size=6), chosen)
def test_every_feature_is_accounted_for(tmp_path_factory, listed, plane):
    path = tmp_path_factory.mktemp("f") / "a.geojson"
    features = [feature(one) for one in listed]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert accounted_for(path, plane) == len(features)


@given(st.lists(annotations, max_size=6), chosen)
def test_every_annotation_is_accounted_for(tmp_path_factory, listed, plane):
    path = tmp_path_factory.mktemp("f") / "a.json"
    path.write_text(json.dumps(dataset(*listed)))
    assert accounted_for(path, plane) in (len(listed), None)


def region(ring, kind, position, hyper):
    roi = roifile.ImagejRoi.frompoints(np.array(ring or [[0, 0]], np.float32))
    roi.roitype = roifile.ROI_TYPE[kind]
    roi.position = position
    roi.t_position, roi.z_position = hyper
    return roi


regions = st.builds(
    region,
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 70)), min_size=1, max_size=6),
    st.sampled_from(["POLYGON", "FREEHAND", "LINE", "POINT", "POLYLINE"]),
    st.integers(0, 3),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
)


@given(st.lists(regions, min_size=1, max_size=6), chosen)
def test_every_region_is_accounted_for(tmp_path_factory, listed, plane):
    path = tmp_path_factory.mktemp("f") / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(listed):
            archive.writestr(f"{number}.roi", roi.tobytes())
    assert accounted_for(path, plane) == len(listed)


def test_an_empty_entry_does_not_take_the_others_along(read):
    for listed in ([None, polygon(RING)], [polygon(RING), None]):
        found = read(listed, "a.geojson")
        assert areas(found) == [100]
        assert found.notices == ("a.geojson: 1 feature was left out: an empty entry.",)
    content = dataset({"segmentation": [FLAT]})
    for name in ("images", "annotations", "categories"):
        content[name].insert(0, None)
    found = read(content)
    assert areas(found) == [100]
    assert found.notices == ("a.json: 1 annotation was left out: an empty entry.",)
    assert read(dataset() | {"annotations": [None]}).objects == ()
    assert areas(read([None, {"segmentation": [FLAT]}])) == [100]


@pytest.mark.parametrize("entry", [7, "cell", [1]])
def test_an_entry_of_another_kind_is_refused_in_words_for_people(read, entry):
    for content in ({"type": "FeatureCollection", "features": [entry]}, {"annotations": [entry]}):
        with pytest.raises(ImageError) as refused:
            read(content)
        assert not re.search(r"[a-z](Type|Value|Key)?Error|NoneType|'int'|dict", str(refused.value))


def test_a_value_of_another_kind_is_refused_in_words_for_people(read):
    said = {"type": "Polygon", "coordinates": [RING]}
    for entry in (feature(said, classification=7), feature({"type": "Polygon"}), feature(7)):
        with pytest.raises(ImageError, match=r"a\.json cannot be read: (there is no '|a value is)"):
            read([entry])


def test_a_class_may_be_a_text_alone(read):
    entry = feature({"type": "Polygon", "coordinates": [RING]}, classification="nucleus")
    assert [one.instance.concept for one in read([entry]).objects] == ["nucleus"]


@pytest.mark.parametrize("one", [1, 1.0, "1"])
@pytest.mark.parametrize("other", [1, 1.0, "1"])
def test_the_same_number_is_the_same_however_it_is_written(read, tmp_path, one, other):
    content = dataset({"segmentation": [FLAT], "image_id": other, "category_id": other})
    rows, cols = (type(one)(side) for side in SHAPE)
    content["images"] = [{"id": one, "height": rows, "width": cols}]
    content["categories"] = [{"id": one, "name": "cell"}]
    found = read(content)
    assert [one.instance.concept for one in found.objects] == ["cell"]
    assert (areas(found), found.notices) == ([100], ())
    # the size counts also where nobody has the image
    assert read_objects(tmp_path / "a.json").image_shape == SHAPE


@pytest.mark.parametrize("side", [50.5, "50.5", "", None, True, -50, "-50", [50]])
def test_a_side_that_is_none_is_refused(read, side):
    content = dataset({"segmentation": [FLAT]})
    content["images"][0]["width"] = side
    with pytest.raises(ImageError):
        read(content)


def test_the_images_of_a_file_are_planes_only_if_each_has_a_place_of_its_own(read):
    content = dataset({"segmentation": [FLAT]}, {"segmentation": [FLAT], "image_id": 2})
    content["images"].append(content["images"][0] | {"id": 2})
    for image, z in zip(content["images"], (0, 3), strict=True):
        image |= {"plane": [z], "plane_axes": "Z"}
    assert sorted(read(content).planes) == [(0,), (3,)]
    content["images"][1]["plane"] = [0]
    with pytest.raises(ImageError, match="2 images"):
        read(content)


def test_a_region_of_no_bytes_does_not_take_the_others_along(tmp_path):
    good = roifile.ImagejRoi.frompoints([[4, 2], [9, 2], [9, 7], [4, 7]]).tobytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.roi", good)
        archive.writestr("b.roi", b"")
    found = read_objects(tmp_path / "a.zip")
    assert areas(found) == [25]
    assert found.notices == ("a.zip: 1 region was left out: an empty file.",)


def test_regions_of_no_objects_come_back_as_none(tmp_path):
    (path,) = export(tmp_path / "a.zip", Exported((), SHAPE))
    found = read_objects(path, SHAPE)
    assert (found.objects, found.image_shape, found.notices) == ((), SHAPE, ())


def test_regions_are_read_up_to_the_most_bytes(tmp_path, monkeypatch):
    good = roifile.ImagejRoi.frompoints([[4, 2], [9, 2], [9, 7], [4, 7]]).tobytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.roi", good)
    most = "napari_sam3.workflows.exporting.from_rois.MAX_BYTES"
    monkeypatch.setattr(most, len(good))
    assert areas(read_objects(tmp_path / "a.zip")) == [25]
    monkeypatch.setattr(most, len(good) - 1)
    with pytest.raises(ImageError, match="more regions than can be read"):
        read_objects(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ([[-9, 5], [0, 5], [0, 15]], "outside the image"),
        ([[5, -9], [15, -9], [15, 0]], "outside the image"),
        ([[-9, 5], [0.4, 5], [0.4, 5.2]], "no pixel's centre inside"),
    ],
)
def test_what_only_touches_the_image_lies_outside(read, corners, reason):
    found = read([polygon(corners)], "a.geojson")
    assert found.notices == (f"a.geojson: 1 feature was left out: {reason}.",)
