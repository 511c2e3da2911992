"""What other programs save, opened in the window."""

import gzip
import json
import sys

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import PlaneObject
from napari_sam3.errors import ImageError
from napari_sam3.layers.objects import find_store
from napari_sam3.widgets.opening import get_reader
from napari_sam3.workflows.exporting import Exported, export

from .conftest import solid

zarr = pytest.importorskip("zarr")
SHAPE = (60, 90)
VALUES = np.arange(60 * 90, dtype=np.uint16).reshape(SHAPE)


def exported(**more):
    large, small = solid(Box(5, 10, 30, 50), 0.75), solid(Box(40, 15, 50, 30), None)
    objects = (PlaneObject(3, large), PlaneObject(7, small))
    return Exported(objects, SHAPE, PixelSize(0.5, 0.25, "micrometer"), **more)


def others_zarr(path, **images):
    """What a program of version 0.4 writes: an image of three channels, and label images."""
    root = zarr.open_group(path, mode="w", zarr_format=2)
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scale = [{"type": "scale", "scale": [2.0, 3.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    said = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    root.create_array("0", shape=(3, *SHAPE), dtype="u2", chunks=(1, *SHAPE))
    root.attrs["multiscales"] = said
    labels = root.create_group("labels")
    labels.attrs["labels"] = list(images)
    for name, pixels in images.items():
        group = labels.create_group(name)
        group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=pixels.shape)
        group["0"][...] = pixels
        group.attrs["multiscales"] = said
        group.attrs["image-label"] = {"version": "0.4"}
    return path


def open_with_napari(path):
    viewer = ViewerModel()
    viewer.open(str(path), plugin="napari-sam3")
    return list(viewer.layers)


@pytest.mark.parametrize("name", ["cells.ome.zarr", "cells.zarr"])
def test_labels_exported_as_ome_zarr_open_again_with_what_is_known_of_them(plugins, tmp_path, name):
    export(tmp_path / name, exported())
    (layer,) = open_with_napari(tmp_path / name)
    assert (type(layer), layer.name) == (Labels, "cells")
    assert tuple(layer.scale) == (0.5, 0.25)
    assert find_store(layer).objects[3].score == 0.75
    assert set(np.unique(layer.data)) == {0, 3, 7}


def test_the_image_comes_along_where_it_is_one_plane(plugins, tmp_path):
    export(tmp_path / "cells.ome.zarr", exported(intensity=VALUES))
    image, labels = open_with_napari(tmp_path / "cells.ome.zarr")
    assert (type(image), type(labels)) == (Image, Labels)
    np.testing.assert_array_equal(image.data, VALUES)
    np.testing.assert_allclose(image.extent.world, labels.extent.world)


def test_each_label_image_of_another_program_is_a_layer(plugins, tmp_path):
    nuclei, cells = VALUES % 5, (VALUES > 900).astype(np.uint8)
    path = others_zarr(tmp_path / "a.ome.zarr", nuclei=nuclei, cells=cells)
    layers = open_with_napari(path)
    assert [layer.name for layer in layers] == ["nuclei", "cells"]
    np.testing.assert_array_equal(layers[0].data, nuclei)
    np.testing.assert_array_equal(layers[1].data, cells)
    assert tuple(layers[0].scale) == (2, 3)


@pytest.mark.parametrize("place", [".", "labels", "labels/cells"])
def test_a_single_label_image_is_found_from_each_folder_above_it(plugins, tmp_path, place):
    path = others_zarr(tmp_path / "a.ome.zarr", cells=VALUES % 3)
    (layer,) = open_with_napari(path / place)
    np.testing.assert_array_equal(layer.data, VALUES % 3)


def test_folders_that_are_not_ours_are_left_to_others(tmp_path, monkeypatch):
    without = others_zarr(tmp_path / "image.ome.zarr")
    plain = tmp_path / "array.zarr"
    zarr.create_array(plain, shape=(3, 4), dtype="u1")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.tif").write_bytes(b"")
    for number, text in enumerate(["{", "[]", '{"labels": 3}', '{"image-label": 1', "null"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / ".zattrs").write_text(text)
    # it is told by the metadata alone: napari asks about each folder
    monkeypatch.setitem(sys.modules, "zarr", None)
    for folder in (without, plain, *(tmp_path / name for name in ("pictures", *"01234"))):
        assert get_reader(str(folder)) is None


@pytest.mark.parametrize("name", ["../secret", "/etc", "..", "", 5, None, "gone"])
def test_a_label_image_is_looked_for_inside_only(tmp_path, name):
    others_zarr(tmp_path / "secret", cells=VALUES % 3)
    path = others_zarr(tmp_path / "a.ome.zarr", cells=VALUES % 3)
    (path / "labels" / ".zattrs").write_text(json.dumps({"labels": [name]}))
    assert get_reader(str(path)) is None


def test_labels_that_are_damaged_say_so(tmp_path):
    path = others_zarr(tmp_path / "a.ome.zarr", cells=VALUES % 3)
    (path / "labels" / "cells" / ".zattrs").write_text('{"image-label": {}}')
    reader = get_reader(str(path))
    with pytest.raises(ImageError, match=r"a\.ome\.zarr cannot be read"):
        reader(str(path))


def test_files_of_cellpose_and_packed_geojson_open_too(plugins, tmp_path):
    masks = (VALUES % 4).astype(np.int32)
    np.save(tmp_path / "a_seg.npy", {"masks": masks, "filename": "a.tif"})
    (layer,) = open_with_napari(tmp_path / "a_seg.npy")
    np.testing.assert_array_equal(layer.data, masks)
    (path,) = export(tmp_path / "b.geojson", exported())
    (tmp_path / "b.geojson.gz").write_bytes(gzip.compress(path.read_bytes()))
    (layer,) = open_with_napari(tmp_path / "b.geojson.gz")
    assert layer.name == "b"
    assert len(find_store(layer)) == 2


def test_what_was_changed_while_opening_is_told(plugins, tmp_path):
    np.save(tmp_path / "a_seg.npy", (VALUES % 4).astype(float) - 1)
    (layer,) = open_with_napari(tmp_path / "a_seg.npy")
    np.testing.assert_array_equal(layer.data, np.maximum(VALUES % 4, 1) - 1)
    assert "−1 was read as background" in notification_manager.records[-1].message
