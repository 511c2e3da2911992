"""What of a Labels layer goes into the files of other programs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import typer
from napari.components import ViewerModel
from napari.layers import Image, Labels
from typer.testing import CliRunner

from napari_sam3.cli.export import export_objects
from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View
from napari_sam3.layers.objects import OBJECTS_KEY, find_store
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.layers.planes import find_plane
from napari_sam3.widgets.exporting import capture_content, write_objects
from napari_sam3.widgets.opening import read_others
from napari_sam3.widgets.saving import capture_labels, save_layer_data
from napari_sam3.workflows.exporting import export, format_of, read_objects
from napari_sam3.workflows.exporting.writing import not_held
from napari_sam3.workflows.provenance import new_record
from napari_sam3.workflows.sidecars import is_sidecar

from .conftest import solid

SHAPE = (40, 61)
LARGE, SMALL, EDGE = Box(5, 10, 30, 50), Box(10, 15, 20, 30), Box(32, 50, 40, 58)
SECOND = PlaneIndex((1, 2), (1,))


def stack_of_objects():
    layer = Labels(np.zeros((3, *SHAPE), np.uint16), name="cells objects", scale=(2, 0.5, 0.25))
    layer.data[0, 2:6, 3:9] = 77
    return on_record(
        layer, SECOND, {1: solid(LARGE, 0.9), 2: solid(EDGE, 0.4), 3: solid(SMALL, 0.8)}
    )


def on_record(layer, index, items):
    """Let a layer show objects of a plane, those of smaller label above the others."""
    objects = (LabelledObject(n, {index: Part(i, "Built-in")}, depth=n) for n, i in items.items())
    store = layer.metadata[OBJECTS_KEY] = ObjectStore(layer.data.shape, objects)
    plane, whole = index.cut(layer.data), Box.of_shape(store.plane_shape(index))
    plane[...] = store.view_of(index).paint(whole, plane.dtype)
    return layer


@pytest.fixture
def layer():
    return stack_of_objects()


def captured(layer, index=SECOND, image=None, plane=None, *, whole=False):
    return capture_content(layer, index, image, plane, whole=whole)


def labels_of(content):
    return sorted(one.label for one in content.objects)


def test_what_is_shown_is_exported_with_what_it_hides(layer):
    find_store(layer).show(View(min_score=0.5))
    content = captured(layer)()
    assert labels_of(content) == [1, 3]
    assert content.labels.shape == SHAPE
    assert sorted(np.unique(content.labels)) == [0, 1]
    assert (content.plane, content.pixel_size.row, content.pixel_size.col) == ((1,), 0.5, 0.25)


def test_what_was_painted_since_somebody_looked_is_exported(layer):
    layer.data[1][EDGE.slices] = 0
    layer.data[1, 0:4, 40:50] = 9
    content = captured(layer)()
    assert labels_of(content) == [1, 3, 9]
    assert (content.labels == 9).sum() == 40


def test_a_run_that_was_taken_back_and_done_again_is_exported_as_it_was(layer):
    store = find_store(layer)
    for label, one in dict(store.objects).items():
        part = replace(one.parts[SECOND], source=("run", 0, label))
        store.undone[label] = replace(one, parts={SECOND: part})
        store.edit({label: None})
    store.painted[SECOND] = store.view_of(SECOND)
    assert {one.instance.score for one in captured(layer)().objects} == {0.9, 0.4, 0.8}


def test_a_format_of_labels_gets_the_whole_stack(layer, tmp_path):
    find_store(layer).show(View("smallest", min_score=0.5))
    content = captured(layer, whole=True)()
    assert content.labels.shape == layer.data.shape
    assert content.scale == (2, 0.5, 0.25)
    assert sorted(np.unique(content.labels[1])) == [0, 1, 3]
    np.testing.assert_array_equal(content.labels[0], layer.data[0])
    # the layer itself is changed by its own panel only
    assert sorted(np.unique(layer.data[1])) == [0, 1, 2]
    export(tmp_path / "x.tif", content)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), content.labels)


def test_values_are_measured_only_where_the_plane_fits(layer):
    viewer = ViewerModel()
    values = np.arange(3 * 40 * 61).reshape(3, 40, 61)
    image = viewer.add_image(values, name="folder/nuclei")
    viewer.dims.set_current_step(0, 1)
    content = captured(layer, image=image, plane=find_plane(image, viewer.dims))()
    np.testing.assert_array_equal(content.intensity, values[1])
    assert content.image_name == "nuclei"
    smaller = Image(values[:, 1:])
    viewer.layers.append(smaller)
    content = captured(layer, image=smaller, plane=find_plane(smaller, viewer.dims))()
    assert content.intensity is None


def test_a_plane_that_is_shown_turned_is_exported_as_the_image_has_it(layer):
    viewer = ViewerModel()
    values = np.arange(3 * 40 * 61).reshape(3, 40, 61)
    image = viewer.add_image(values)
    viewer.dims.order = (0, 2, 1)
    viewer.dims.set_current_step(0, 2)
    turned, area = PlaneIndex((2, 1), (2,)), Box(3, 4, 9, 20)
    layer.data[2][area.slices] = 5
    on_record(layer, turned, {5: solid(Box(4, 3, 20, 9), 0.5)})
    plane = find_plane(image, viewer.dims)
    content = captured(layer, turned, image, plane)()
    (one,) = content.objects
    assert (one.instance.box, one.instance.score) == (area, 0.5)
    np.testing.assert_array_equal(content.labels, layer.data[2])
    np.testing.assert_array_equal(content.intensity, values[2])
    assert content.pixel_size == PixelSize(0.5, 0.25, content.pixel_size.unit)
    whole = captured(layer, turned, whole=True)()
    np.testing.assert_array_equal(whole.labels, layer.data)


def test_the_plane_stands_in_tables_and_in_coco(layer, tmp_path):
    content = captured(layer)()
    export(tmp_path / "x.csv", content)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        assert {row["plane"] for row in csv.DictReader(file)} == {"1"}
    export(tmp_path / "x.json", content)
    (image,) = json.loads((tmp_path / "x.json").read_text())["images"]
    assert image["plane"] == [1]
    assert read_objects(tmp_path / "x.json").plane == (1,)


def test_without_an_image_the_one_on_record_is_named(layer, tmp_path):
    assert captured(layer)().image_name == "cells objects"
    image = {"name": "nuclei.tif", "shape": [3, *SHAPE]}
    layer.metadata[METADATA_KEY] = new_record(image, {"shape": [3, *SHAPE]})
    assert captured(layer)().image_name == "nuclei.tif"


def flat_layer(index):
    layer = Labels(np.zeros(SHAPE, np.uint16), name="flat")
    objects = {1: solid(LARGE, 0.9), 2: solid(EDGE, 0.4)}
    for label, one in objects.items():
        layer.data[one.box.slices] = label
    turned = index.shown == (1, 0)
    items = {label: one.transposed() if turned else one for label, one in objects.items()}
    return on_record(layer, index, items)


@pytest.mark.parametrize("index", [PlaneIndex(), PlaneIndex((1, 0))], ids=["upright", "turned"])
def test_napari_writes_what_is_shown_and_leaves_the_live_store_as_it_is(tmp_path, index):
    layer = flat_layer(index)
    store = find_store(layer)
    store.show(View(min_score=0.5))
    layer.data[30:36, 0:5] = 9
    before, version = dict(store.objects), store.version
    write_objects(str(tmp_path / "x.json"), *layer.as_layer_data_tuple()[:2])
    found = {one.label: one.instance.box for one in read_objects(tmp_path / "x.json").objects}
    assert found == {1: LARGE, 9: Box(30, 0, 36, 5)}
    assert (store.planes, dict(store.objects), store.version) == ((index,), before, version)
    assert find_store(layer) is store


def test_labels_that_were_moved_lie_where_they_lay(layer, tmp_path):
    layer.translate = (100, -7.5, 20.25)
    layer.units = ("micrometer",) * 3
    export(tmp_path / "x.zarr", captured(layer, whole=True)())
    ((data, attributes, _),) = read_others(str(tmp_path / "x.zarr"))
    again = Labels(data, **attributes)
    np.testing.assert_array_equal(again.data, layer.data)
    corner = (2, 39, 60)
    np.testing.assert_allclose(again.data_to_world(corner), layer.data_to_world(corner))
    assert again.units == layer.units


@pytest.mark.parametrize("turn", [{}, {"rotate": (0, 0, 30)}, {"shear": (0, 0, 0.5)}])
def test_coordinates_in_a_table_are_where_napari_shows_them(layer, tmp_path, turn):
    place = {"scale": layer.scale, "translate": (100, -7.5, 20.25), **turn}
    made = Labels(layer.data, metadata=layer.metadata, **place)
    export(tmp_path / "x.csv", captured(made)())
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pixel = 1, float(row["centroid_row_px"]), float(row["centroid_col_px"])
            there = float(row["centroid_row"]), float(row["centroid_col"])
            np.testing.assert_allclose(there, made.data_to_world(pixel)[1:])


@pytest.mark.parametrize("turn", [{"rotate": (0, 0, 30)}, {"scale": (2, -0.5, 0.25)}])
def test_what_a_label_image_cannot_say_of_a_layers_place_is_said(layer, tmp_path, turn):
    made = Labels(layer.data, metadata=layer.metadata, **turn)
    content = captured(made, whole=True)()
    assert not_held(tmp_path / "x.csv", content) == ()
    (notice,) = not_held(tmp_path / "x.zarr", content)
    assert "rotated, sheared or mirrored" in notice
    export(tmp_path / "x.zarr", content)
    np.testing.assert_allclose(read_objects(tmp_path / "x.zarr").scale, np.abs(made.scale))


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (0.5, 0.25), "translate": (100, -20), "units": ("micrometer", "micrometer")},
        {"scale": (0.5, 0.25), "translate": (100, -20), "rotate": 30, "shear": [0.2]},
        {"affine": [[0, 2, 5], [3, 0, 7], [0, 0, 1]]},
        {"scale": (0.5, 250), "translate": (9, 7), "units": ("micrometer", "nanometer")},
        {},
    ],
)
def test_saved_labels_are_measured_on_the_command_line_as_in_the_window(tmp_path, place):
    flat = flat_layer(PlaneIndex())
    layer = Labels(flat.data, name="flat", metadata=flat.metadata, **place)
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    write_objects(str(tmp_path / "window.csv"), *layer.as_layer_data_tuple()[:2])
    app = typer.Typer()
    app.command()(export_objects)
    line = str(tmp_path / "cells.tif"), "--output", str(tmp_path / "line.csv")
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    one, other = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("window", "line"))
    pd.testing.assert_frame_equal(one, other)


def test_coco_is_the_default_under_a_name_that_no_record_has(layer, tmp_path, plugins):
    flat = flat_layer(PlaneIndex())
    viewer = ViewerModel()
    viewer.add_layer(flat)
    for name in ("cells.coco.json", "others.json"):
        assert viewer.layers.save(str(tmp_path / name)) == [str(tmp_path / name)]
        assert len(read_objects(tmp_path / name).objects) == 2
        assert format_of(name).name == "coco"
    assert format_of("x.json").suffixes[0] == ".coco.json"
    save_layer_data(tmp_path / "cells.tif", capture_labels(flat))
    assert is_sidecar(tmp_path / "cells.json")
    assert len(read_objects(tmp_path / "cells.coco.json").objects) == 2
