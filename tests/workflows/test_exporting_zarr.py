"""OME-Zarr: what is written, read by the libraries that define it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import ome_zarr_models.v05 as models
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from napari_sam3.core.calibration import PixelSize
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import Exported, export, read_objects
from napari_sam3.workflows.exporting.bundle import label_image

from .exported import ABOUT, SHAPE, assert_same_objects, exported, labelled, masks


def values(shape=SHAPE):
    return np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)


@pytest.fixture(scope="module")
def with_image(tmp_path_factory):
    path = tmp_path_factory.mktemp("zarr") / "cells.ome.zarr"
    export(path, exported(intensity=values()))
    return path


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    path = tmp_path_factory.mktemp("zarr") / "cells.zarr"
    export(path, exported())
    return path


def test_it_is_valid_ome_zarr_0_5(with_image, alone):
    image = models.Image.from_zarr(zarr.open_group(with_image, mode="r"))
    assert image.ome_attributes.version == "0.5"
    labels = models.Labels.from_zarr(zarr.open_group(with_image / "labels", mode="r"))
    assert labels.label_paths == ["objects"]
    inside = models.ImageLabel.from_zarr(zarr.open_group(with_image / "labels/objects", mode="r"))
    assert inside.ome_attributes.version == "0.5"
    stands_alone = models.ImageLabel.from_zarr(zarr.open_group(alone, mode="r"))
    assert stands_alone.ome_attributes.version == "0.5"
    assert zarr.open_group(with_image, mode="r").metadata.zarr_format == 3


def test_ome_zarrs_own_reader_finds_image_and_labels(with_image):
    nodes = list(Reader(parse_url(with_image))())
    image = next(node for node in nodes if node.zarr.basename() == with_image.name)
    labels = next(node for node in nodes if node.zarr.basename() == "objects")
    np.testing.assert_array_equal(image.data[0].compute(), values())
    np.testing.assert_array_equal(labels.data[0].compute(), label_image(exported()).pixels)
    assert labels.data[0].dtype == np.uint16
    for node in (image, labels):
        assert [axis["name"] for axis in node.metadata["axes"]] == ["y", "x"]
        assert {axis["unit"] for axis in node.metadata["axes"]} == {"micrometer"}
        assert node.metadata["coordinateTransformations"][0] == [
            {"type": "scale", "scale": [0.5, 0.25]}
        ]
    for label, (score, concept, engine, state) in ABOUT.items():
        said = labels.metadata["properties"][label]
        assert (said["concept"], said["engine"], said["state"]) == (concept, engine, state)
        assert said.get("score") == score
        assert "score" in said or score is None
        assert len(labels.metadata["color"][label]) == 4


def test_ome_zarrs_own_reader_finds_labels_that_stand_alone(alone):
    (node,) = list(Reader(parse_url(alone))())
    np.testing.assert_array_equal(node.data[0].compute(), label_image(exported()).pixels)
    assert set(node.metadata["properties"]) == set(ABOUT)


def test_the_values_of_the_image_come_back_too(with_image):
    found = read_objects(with_image, SHAPE)
    np.testing.assert_array_equal(found.intensity, values())
    assert_same_objects(found.objects, whole_ones=False)
    assert found.pixel_size == PixelSize(0.5, 0.25, "micrometer")


def test_a_large_image_has_levels_in_which_labels_stay_labels(tmp_path):
    mask = np.zeros((300, 700), bool)
    mask[10:200, 20:650] = True
    mask[50:70] = False
    (path,) = export(tmp_path / "cells.zarr", Exported((labelled(9, mask),), mask.shape))
    group = zarr.open_group(path, mode="r")
    levels = [group[name] for name in ("s0", "s1", "s2")]
    assert [level.shape for level in levels] == [(300, 700), (150, 350), (75, 175)]
    for level in levels:
        assert set(np.unique(level[...])) == {0, 9}
        assert level.metadata.dimension_names == ("y", "x")
    scales = [
        one["coordinateTransformations"][0]["scale"]
        for one in group.attrs["ome"]["multiscales"][0]["datasets"]
    ]
    assert scales == [[1, 1], [2, 2], [4, 4]]
    models.ImageLabel.from_zarr(group)


def test_a_stack_has_its_axes_in_the_formats_order_and_its_steps(tmp_path):
    labels = np.zeros((2, 3, *SHAPE), np.uint32)
    labels[1, 2][masks()[2]] = 70_000
    stack = exported(labels=labels, axes="ZTYX", scale=(3.0, 60.0, 0.5, 0.25), intensity=values())
    (path,) = export(tmp_path / "cells.ome.zarr", stack)
    group = zarr.open_group(path, mode="r")
    models.ImageLabel.from_zarr(group)
    (said,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in said["axes"]] == ["t", "z", "y", "x"]
    assert said["datasets"][0]["coordinateTransformations"][0]["scale"] == [60, 3, 0.5, 0.25]
    np.testing.assert_array_equal(group["s0"][...], labels.transpose(1, 0, 2, 3))
    whole = read_objects(path)
    assert (whole.objects, whole.axes, whole.scale) == ((), "TZYX", (60.0, 3.0, 0.5, 0.25))
    (one,) = read_objects(path, plane=(2, 1)).objects
    assert one.label == 70_000
    with pytest.raises(ImageError, match="no plane 9 along T"):
        read_objects(path, plane=(9, 0))


def test_without_the_library_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    for name in ("ome_zarr", "ome_zarr.writer", "zarr"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImageError, match=r'pip install "napari-sam3\[ome-zarr\]"'):
        export(tmp_path / "cells.zarr", exported())
    (tmp_path / "other.zarr").mkdir()
    with pytest.raises(ImageError, match=r'pip install "napari-sam3\[ome-zarr\]"'):
        read_objects(tmp_path / "other.zarr")


def test_version_0_4_is_read_too(tmp_path):
    path = tmp_path / "old.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_group("labels").attrs["labels"] = ["cells"]
    inside = group.create_group("labels/cells")
    labels = np.where(masks()[5], 5, 0).astype(np.int64)
    inside.create_array("0", shape=SHAPE, dtype=labels.dtype, chunks=SHAPE)[...] = labels
    inside.attrs["image-label"] = {"version": "0.4"}
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [2, 3]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    inside.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    (one,) = read_objects(path, SHAPE).objects
    assert one.label == 5
    np.testing.assert_array_equal(one.instance.mask, masks()[5][one.instance.box.slices])


def broken(tmp_path, change):
    (path,) = export(tmp_path / "cells.zarr", Exported((labelled(1, masks()[2]),), SHAPE))
    group = zarr.open_group(path, mode="r+")
    said = group.attrs["ome"]
    change(said)
    group.attrs["ome"] = said
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("multiscales"),
        lambda said: said.update(multiscales=[]),
        lambda said: said["multiscales"][0].update(axes=[]),
        lambda said: said["multiscales"][0]["datasets"][0].update(path="nothing"),
        lambda said: said["multiscales"][0]["datasets"][0].update(path="../../secret"),
        lambda said: said["multiscales"][0]["datasets"][0].update(coordinateTransformations=[]),
        lambda said: said["multiscales"][0]["datasets"][0].update(coordinateTransformations=[7]),
        lambda said: said.pop("image-label"),
    ],
)
def test_damaged_metadata_is_a_sentence(tmp_path, change):
    with pytest.raises(ImageError):
        read_objects(broken(tmp_path, change))


@pytest.mark.parametrize("about", [7, [], {"properties": 7}, {"properties": [{"a": 1}, 7]}])
def test_what_is_said_of_labels_in_another_way_is_passed_over(tmp_path, about):
    path = broken(tmp_path, lambda said: said.update({"image-label": about}))
    (one,) = read_objects(path).objects
    assert (one.label, one.instance.score) == (1, None)


def test_a_huge_array_is_refused_before_it_is_allocated(tmp_path):
    (path,) = export(tmp_path / "cells.zarr", Exported((labelled(1, masks()[2]),), SHAPE))
    group = zarr.open_group(path, mode="r+")
    huge = (1 << 20, 1 << 20)
    group.create_array("s0", shape=huge, chunks=(1 << 10, 1 << 10), dtype="u2", overwrite=True)
    with pytest.raises(ImageError, match="pixels"):
        read_objects(path)
    group.create_array("s0", shape=SHAPE, chunks=(1 << 20, 1 << 20), dtype="u2", overwrite=True)
    with pytest.raises(ImageError, match="too large"):
        read_objects(path)


def test_an_image_without_labels_and_an_ordinary_folder_are_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageError, match="no OME-Zarr"):
        read_objects(tmp_path / "folder")
    zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=3)
    with pytest.raises(ImageError, match="no label image"):
        read_objects(tmp_path / "image.zarr")


def test_several_label_images_are_listed(tmp_path):
    group = zarr.open_group(tmp_path / "image.zarr", mode="w", zarr_format=3)
    group.create_group("labels").attrs["ome"] = {"labels": ["nuclei", "cells"]}
    with pytest.raises(ImageError, match="cells, nuclei"):
        read_objects(tmp_path / "image.zarr")


def placements(path):
    datasets = zarr.open_group(path, mode="r").attrs["ome"]["multiscales"][0]["datasets"]
    for one in datasets:
        scale, *shift = one["coordinateTransformations"]
        yield one["path"], scale["scale"], shift[0]["translation"] if shift else [0, 0]


def test_every_pixel_of_every_level_lies_where_it_lies_in_the_image(tmp_path):
    numbers = np.arange(300 * 700, dtype=np.uint32).reshape(300, 700)
    placed = Exported(
        (labelled(9, numbers % 7 == 0),),
        numbers.shape,
        PixelSize(0.5, 0.25, "micrometer"),
        labels=(numbers % 7 == 0) * np.uint16(9),
        scale=(0.5, 0.25),
        translate=(1000.5, -30.25),
        intensity=numbers,
    )
    (path,) = export(tmp_path / "cells.ome.zarr", placed)
    for folder in (path, path / "labels/objects"):
        levels = list(placements(folder))
        assert len(levels) == 3
        for name, scale, shift in levels:
            values = zarr.open_group(folder, mode="r")[name][...]
            at = np.stack(np.indices(values.shape), axis=-1) * scale + shift
            full = np.rint((at - (1000.5, -30.25)) / (0.5, 0.25)).astype(int)
            source = numbers if folder == path else placed.labels
            np.testing.assert_array_equal(values, source[full[..., 0], full[..., 1]])
    models.Image.from_zarr(zarr.open_group(path, mode="r"))
    found = read_objects(path)
    assert (found.scale, found.translate) == ((0.5, 0.25), (1000.5, -30.25))
    assert found.pixel_size == placed.pixel_size


def test_a_stack_keeps_the_place_and_the_unit_of_each_axis(tmp_path):
    labels = np.zeros((2, 3, *SHAPE), np.uint16)
    labels[1, 2][masks()[2]] = 4
    stack = exported(
        labels=labels,
        axes="ZTYX",
        scale=(3.0, 60.0, 0.5, 0.25),
        translate=(7.0, 5.0, 3.0, 1.0),
        units=("micrometer", "second", "nanometer", "nanometer"),
    )
    (path,) = export(tmp_path / "cells.zarr", stack)
    group = zarr.open_group(path, mode="r")
    models.ImageLabel.from_zarr(group)
    axes = group.attrs["ome"]["multiscales"][0]["axes"]
    assert [axis["unit"] for axis in axes] == ["second", "micrometer", "nanometer", "nanometer"]
    whole = read_objects(path)
    assert (whole.axes, whole.translate) == ("TZYX", (5.0, 7.0, 3.0, 1.0))
    assert whole.units == ("second", "micrometer", "nanometer", "nanometer")
    plane = read_objects(path, plane=(2, 1))
    assert (plane.scale, plane.translate) == ((0.5, 0.25), (3.0, 1.0))


def test_what_all_levels_are_placed_by_is_heeded_too(tmp_path):
    both = [{"type": "scale", "scale": [2, 10]}, {"type": "translation", "translation": [1, 2]}]

    def change(said):
        said["multiscales"][0]["coordinateTransformations"] = both

    found = read_objects(broken(tmp_path, change))
    assert (found.scale, found.translate) == ((2, 10), (1, 2))


@pytest.mark.parametrize(
    "transformations",
    [
        [{"type": "scale", "scale": [1, 1]}, {"type": "translation", "translation": [1, 2, 3]}],
        [{"type": "scale", "scale": [1, 1]}, {"type": "translation", "path": "elsewhere"}],
        [{"type": "scale", "scale": [1, float("inf")]}],
        [{"type": "scale", "scale": [1, 1]}, {"type": "rotation", "rotation": [1, 1]}],
    ],
)
def test_a_place_that_is_none_is_a_sentence(tmp_path, transformations):
    def change(said):
        dataset = said["multiscales"][0]["datasets"][0]
        dataset["coordinateTransformations"] = transformations

    with pytest.raises(ImageError):
        read_objects(broken(tmp_path, change))


def test_no_other_library_than_zarr_writes_it(tmp_path):
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['ome_zarr', 's3fs', 'aiohttp', 'dask', 'fsspec']))\n"
        "import numpy as np\n"
        "from napari_sam3.workflows.exporting import Exported, export, read_objects\n"
        "labels = np.eye(5, 7, dtype=np.uint16)\n"
        "export(sys.argv[1], Exported((), (5, 7), labels=labels))\n"
        "print(len(read_objects(sys.argv[1]).objects))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.zarr"], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_masked_pixels_are_background_in_labels_and_no_value_in_the_image(tmp_path):
    hidden = np.zeros(SHAPE, bool)
    hidden[:, :20] = True
    labels = np.ma.MaskedArray(label_image(exported()).pixels, hidden)
    given = exported(labels=labels, intensity=np.ma.MaskedArray(values(), hidden))
    (path,) = export(tmp_path / "cells.zarr", given)
    found = read_objects(path)
    np.testing.assert_array_equal(found.labels, np.where(hidden, 0, labels.data))
    np.testing.assert_array_equal(np.isnan(found.intensity), hidden)


def test_a_mirrored_image_is_read_as_it_lies_and_not_written(tmp_path):
    def change(said):
        dataset = said["multiscales"][0]["datasets"][0]
        dataset["coordinateTransformations"][0]["scale"] = [2, -3]

    found = read_objects(broken(tmp_path, change))
    assert found.scale == (2, -3)
    with pytest.raises(ImageError, match="mirrored"):
        export(tmp_path / "again.zarr", found)
