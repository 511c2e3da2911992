from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part, PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.snapshots import Snapshot
from napari_sam3.core.store import ObjectStore
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.layers.objects import OBJECTS_KEY, find_store
from napari_sam3.widgets.exporting import write_objects
from napari_sam3.widgets.opening import get_reader, layer_data_of, onto_image
from napari_sam3.widgets.saving import capture_labels, save_layer_data
from napari_sam3.workflows.exporting import Exported, export, read_objects
from napari_sam3.workflows.files import save_labels
from tests.tiers import some_of
from tests.workflows.strangers import HOSTILE, altered

from .conftest import solid

WHOLE = PlaneIndex()


@pytest.fixture
def layer():
    large, small = solid(Box(5, 10, 30, 50), 0.9), solid(Box(10, 15, 20, 30), 0.6)
    objects = (
        LabelledObject(label, {WHOLE: Part(item, "Built-in")}, depth=label)
        for label, item in ((1, large), (2, small))
    )
    data = np.zeros((60, 90), np.uint16)
    data[large.box.slices] = 1
    return Labels(
        data,
        name="cells",
        scale=(0.5, 0.25),
        translate=(3, -7),
        units=("um", "um"),
        metadata={OBJECTS_KEY: ObjectStore(data.shape, objects)},
    )


def open_again(path):
    ((data, attributes, kind),) = get_reader(str(path))(str(path))
    assert kind == "labels"
    return Labels(data, **attributes)


def test_saved_labels_come_back_with_their_objects_and_their_place(layer, tmp_path):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    again = open_again(tmp_path / "cells.json")
    assert np.array_equal(again.data, layer.data)
    assert np.allclose(again.scale, layer.scale)
    assert np.allclose(again.translate, layer.translate)
    assert [str(unit) for unit in again.units] == ["micrometer", "micrometer"]
    objects = find_store(again).objects
    assert (objects[2].area, objects[2].score, objects[2].state) == (150, 0.6, "unreviewed")
    assert again.features["area"].tolist() == [1000, 150]


def test_labels_that_were_changed_beside_their_record_are_no_edit_that_is_lost(layer, tmp_path):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    changed = layer.data.copy()
    changed[40:44, 60:70] = 9
    save_labels(tmp_path / "cells.tif", changed)
    again = open_again(tmp_path / "cells.json")
    assert np.array_equal(again.data, changed)
    labels, store = Snapshot.of(again.data, find_store(again)).in_step()
    np.testing.assert_array_equal(labels, changed)
    assert store.objects[9].area == 40


def test_a_record_without_its_labels_says_so(layer, tmp_path):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    (tmp_path / "cells.tif").unlink()
    with pytest.raises(ImageError, match="does not lie beside"):
        open_again(tmp_path / "cells.json")


def test_a_record_whose_objects_were_damaged_says_so(layer, tmp_path):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    said = json.loads((tmp_path / "cells.json").read_text())
    said["objects"]["items"][0]["parts"][0]["box"] = [0, 0, 500, 500]
    (tmp_path / "cells.json").write_text(json.dumps(said))
    with pytest.raises(ProvenanceError, match="cannot be read"):
        open_again(tmp_path / "cells.json")


def test_labels_of_another_shape_than_their_record_say_so(layer, tmp_path):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    save_labels(tmp_path / "cells.tif", layer.data[:50])
    with pytest.raises(ImageError, match="another shape"):
        open_again(tmp_path / "cells.json")


def test_a_place_that_is_none_is_refused_with_a_sentence(layer, tmp_path):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    path = tmp_path / "cells.json"
    record = json.loads(path.read_text())
    refused = 0
    for _, other in some_of(altered(record, HOSTILE, ("layer",))):
        path.write_text(json.dumps(other))
        try:
            ViewerModel().add_layer(open_again(path))
        except (ImageError, ProvenanceError):
            refused += 1
    assert refused


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "not json", '{"type": "Topology"}'])
def test_other_json_files_are_left_to_others(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert get_reader(str(path)) is None
    assert get_reader([str(path), str(path)]) is None


@pytest.mark.parametrize("name", ["cells.json", "cells.geojson"])
def test_exported_objects_open_as_labels_with_overlaps(layer, tmp_path, name):
    path = str(tmp_path / name)
    assert write_objects(path, *layer.as_layer_data_tuple()[:2]) == [path]
    again = open_again(path)
    areas = [one.area for one in find_store(again).objects.values()]
    assert sorted(areas) == [150, 1000]


@pytest.mark.parametrize(
    ("size", "scale", "unit"),
    [
        (PixelSize(0.5, 0.25, "um"), (0.5, 0.25), "micrometer"),
        (PixelSize(2, 3, "unit"), (2, 3), "pixel"),
        (PixelSize(2, 3, "parsecs per apple"), (2, 3), "pixel"),
        (PixelSize(), (1, 1), "pixel"),
    ],
)
def test_what_was_read_lies_as_large_as_the_file_says(size, scale, unit):
    mask = np.zeros((60, 90), bool)
    mask[5:30, 10:50] = True
    one = PlaneObject(300, Instance.from_mask(mask, 0.5, "cell"))
    labels, attributes, kind = layer_data_of(Exported((one,), mask.shape, size), "cells.ome.zarr")
    assert (kind, attributes["name"], labels.dtype) == ("labels", "cells", np.uint16)
    made = Labels(labels, **attributes)
    assert tuple(made.scale) == scale
    assert {str(each) for each in made.units} == {unit}
    np.testing.assert_array_equal(made.data, mask * 300)
    store = find_store(made)
    assert (store.objects[300].concept, store.objects[300].state) == ("cell", "unreviewed")
    np.testing.assert_array_equal(Snapshot.of(made.data, store).in_step()[0], made.data)


def test_a_stack_that_was_read_is_a_stack(tmp_path):
    stack = np.zeros((3, 20, 30), np.int64)
    stack[1, 2:9, 4:17] = 5
    steps, size = (2.0, 0.5, 0.25), PixelSize(0.5, 0.25, "um")
    found = Exported((), (20, 30), size, labels=stack, scale=steps, axes="TYX")
    labels, attributes, _ = layer_data_of(found, "x.tif")
    made = Labels(labels, **attributes)
    np.testing.assert_array_equal(made.data, stack)
    assert tuple(made.scale) == steps
    assert [str(unit) for unit in made.units] == ["pixel", "micrometer", "micrometer"]
    assert find_store(made) is None


def test_objects_of_a_stack_are_not_exported_without_a_plane(tmp_path):
    stack = Labels(np.zeros((3, 20, 30), np.uint16))
    with pytest.raises(ImageError, match="plane by plane"):
        write_objects(str(tmp_path / "x.json"), *stack.as_layer_data_tuple()[:2])


@pytest.mark.parametrize("suffix", [".json", ".geojson", ".zip", ".csv"])
def test_napari_saves_a_layer_in_each_format(layer, tmp_path, plugins, suffix):
    viewer = ViewerModel()
    viewer.add_layer(layer)
    path = tmp_path / f"cells{suffix}"
    written = viewer.layers.save(str(path), plugin="napari-sam3")
    assert written == [str(path)]
    assert path.stat().st_size


def test_napari_opens_a_saved_record(layer, tmp_path, plugins):
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    viewer = ViewerModel()
    viewer.open(str(tmp_path / "cells.json"), plugin="napari-sam3")
    assert len(find_store(viewer.layers[0])) == 2


def test_a_placed_plane_of_a_stack_can_be_laid_into_the_stack_of_an_image(tmp_path):
    labels = np.zeros((1, 20, 30), np.uint16)
    labels[0, 2:9, 4:17] = 5
    stack = Exported((), (20, 30), labels=labels, axes="ZYX", translate=(1.0, 2.0, 3.0))
    export(tmp_path / "x.zarr", stack)
    found = onto_image(read_objects(tmp_path / "x.zarr"), "ZYX", (4, 20, 30))
    np.testing.assert_array_equal(found.labels[0], labels[0])
    assert not found.labels[1:].any()


def at_planes(*planes, axes="Z", **about):
    mask = np.zeros((9, 12), bool)
    mask[2:, 3:] = True
    one = (PlaneObject(4, Instance.from_mask(mask)),)
    if len(planes) == 1:
        return Exported(one, mask.shape, plane=planes[0], plane_axes=axes, **about)
    labels = np.zeros((*np.max(planes, axis=0) + 1, *mask.shape), np.uint16)
    several = dict.fromkeys(planes, one)
    return Exported((), mask.shape, labels=labels, axes=f"{axes}YX", planes=several, **about)


@pytest.mark.parametrize(
    ("axes", "planes", "letters", "sizes", "right"),
    [
        ("Z", [(1,), (3,)], "Z", (5,), [(1,), (3,)]),
        ("Z", [(3,)], "Z", (5,), [(3,)]),
        ("T", [(0,), (3,)], "Z", (5,), [(0,), (3,)]),
        ("TCZ", [(0, 1, 2), (0, 1, 4)], "Z", (5,), [(2,), (4,)]),
        ("TCZ", [(1, 0, 2), (3, 0, 4)], "TZ", (4, 5), [(1, 2), (3, 4)]),
        ("Z", [(1,), (3,)], "TZ", (1, 5), [(0, 1), (0, 3)]),
    ],
)
def test_objects_of_a_file_without_a_size_are_laid_on_the_planes_of_the_image(
    axes, planes, letters, sizes, right
):
    found = onto_image(
        at_planes(*planes, axes=axes, has_edges=False), f"{letters}YX", (*sizes, 20, 30)
    )
    assert sorted(found.planes) == right
    assert found.labels.shape == (*sizes, 20, 30)
    assert {at[:-2] for at in map(tuple, np.argwhere(found.labels).tolist())} == set(right)
    assert (found.has_edges, found.notices) == (True, ())


@pytest.mark.parametrize(
    ("places", "letters", "sizes", "right"),
    [
        ([(1, 0), (3, 0)], "TZ", (4, 5), [(0, 1), (0, 3)]),
        ([(3, 0)], "TZ", (4, 5), [(0, 3)]),
        ([(0, 2), (0, 1)], "TZ", (4, 5), [(1, 0), (2, 0)]),
        ([(0, 0)], "TZ", (4, 5), [(0, 0)]),
        ([(1, 0), (3, 0)], "Z", (5,), [(1,), (3,)]),
        ([(1, 0), (3, 0)], "T", (5,), [(1,), (3,)]),
        ([(0, 0)], "Z", (5,), [(0,)]),
    ],
)
def test_zeros_that_qupath_says_count_along_the_axes_that_the_image_has(
    tmp_path, places, letters, sizes, right
):
    ring = [[2, 4], [9, 4], [9, 7], [2, 7], [2, 4]]
    path = tmp_path / "a.geojson"
    geometries = [
        {"type": "Polygon", "coordinates": [ring], "plane": {"c": -1, "z": z, "t": t}}
        for z, t in places
    ]
    path.write_text(
        json.dumps([{"type": "Feature", "geometry": one, "properties": {}} for one in geometries])
    )
    found = onto_image(read_objects(path, (20, 30)), f"{letters}YX", (*sizes, 20, 30))
    assert sorted(found.planes) == right
    assert {at[:-2] for at in map(tuple, np.argwhere(found.labels).tolist())} == set(right)
    assert found.notices == ()
    # an image without planes has none of these axes
    if len(places) == 1 and not any(places[0]):
        flat = onto_image(read_objects(path, (20, 30)), "YX", (20, 30))
        assert (flat.planes, flat.plane) == ({}, None)


@pytest.mark.parametrize(
    ("axes", "planes", "letters", "shape"),
    [
        ("Z", [(1,), (5,)], "Z", (5, 20, 30)),
        ("Z", [(1,), (3,)], "Z", (5, 8, 30)),
        ("C", [(0,), (1,)], "Z", (5, 20, 30)),
        ("TZ", [(1, 2), (0, 2)], "Z", (5, 20, 30)),
        ("Z", [(1,), (3,)], "TZ", (4, 5, 20, 30)),
        ("Z", [(1,), (3,)], "", (2, 2, 2, 5, 20, 30)),
    ],
)
def test_objects_that_lie_on_no_plane_of_the_image_stay_as_they_are_and_that_is_said(
    axes, planes, letters, shape
):
    given = at_planes(*planes, axes=axes, has_edges=False)
    found = onto_image(given, f"{letters}YX" if letters else "", shape)
    assert list(found.planes) == planes
    (notice,) = found.notices
    assert "not those of the image" in notice


def test_a_stack_larger_than_any_that_is_allocated_is_not_laid_over(monkeypatch):
    monkeypatch.setattr("napari_sam3.widgets.opening.MAX_PIXELS", 5 * 9 * 12)
    given = at_planes((1,), (3,))
    assert onto_image(given, "ZYX", (5, 9, 12)).labels.shape == (5, 9, 12)
    found = onto_image(given, "ZYX", (6, 9, 12))
    assert (found.labels.shape, len(found.notices)) == ((4, 9, 12), 1)


@pytest.mark.parametrize("shape", [(9, 12), (9, 30), (20, 12)])
def test_an_image_that_ends_where_the_objects_do_is_theirs(shape):
    found = onto_image(at_planes((), axes="", has_edges=False), "YX", shape)
    assert (found.image_shape, found.has_edges) == (shape, True)


def test_objects_of_another_image_keep_their_size():
    given = at_planes((1,), (3,))
    assert onto_image(given, "ZYX", (5, 20, 30)).image_shape == (9, 12)
    flat = at_planes((), axes="", has_edges=False)
    assert onto_image(flat, "YX", (20, 30)).image_shape == (20, 30)
    assert onto_image(flat, "YX", (8, 30)).image_shape == (9, 12)
    assert onto_image(flat, "ZYX", (5, 20, 30)).labels is None


def test_what_has_one_label_on_several_planes_of_a_file_is_one_object(tmp_path):
    item = solid(Box(2, 3, 9, 12))
    other = solid(Box(4, 5, 12, 20))
    planes = {
        (0,): (PlaneObject(4, item, depth=0), PlaneObject(2, other, depth=1)),
        (2,): (PlaneObject(2, other, depth=2), PlaneObject(4, item, depth=3)),
    }
    labels = np.zeros((3, 20, 30), np.uint16)
    export(tmp_path / "x.json", Exported((), (20, 30), labels=labels, axes="ZYX", planes=planes))
    ((data, attributes, _),) = get_reader(str(tmp_path / "x.json"))(str(tmp_path / "x.json"))
    store = attributes["metadata"][OBJECTS_KEY]
    assert {n: len(one.parts) for n, one in store.objects.items()} == {4: 2, 2: 2}
    assert attributes["features"]["area"].tolist() == [2 * other.area, 2 * item.area]
    still, kept = Snapshot.of(data, store).in_step()
    np.testing.assert_array_equal(still, data)
    assert dict(kept.objects) == dict(store.objects)


def test_objects_of_a_stack_of_one_plane_open_as_a_stack():
    placed = Exported(
        (PlaneObject(1, solid(Box(2, 3, 9, 12))),), (20, 30), plane=(0,), plane_axes="Z"
    )
    data, attributes, _ = layer_data_of(onto_image(placed, "ZYX", (1, 20, 30)), "x.json")
    assert data.shape == (1, 20, 30)
    assert attributes["metadata"][OBJECTS_KEY].shape == data.shape
