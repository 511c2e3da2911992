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
from napari_sam3.workflows.exporting import read_objects

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
