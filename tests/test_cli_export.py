"""Exporting objects on the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image
from typer.testing import CliRunner

from napari_sam3.cli.export import export_objects
from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View
from napari_sam3.workflows.exporting import export, read_objects
from napari_sam3.workflows.exporting.recorded_place import placed
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.label_files import open_labels
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import new_record
from napari_sam3.workflows.sidecars import write_sidecar

SHAPE = (60, 90)
ONE, TWO = (slice(10, 25), slice(30, 52)), (slice(20, 50), slice(45, 80))


def run(*arguments):
    app = typer.Typer(rich_markup_mode=None)
    app.command()(export_objects)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def labels():
    labels = np.zeros(SHAPE, np.uint16)
    labels[ONE], labels[TWO] = 3, 7
    return labels


@pytest.fixture
def source(tmp_path, labels):
    path = tmp_path / "cells_labels.tif"
    tifffile.imwrite(
        path, labels, imagej=True, resolution=(4, 2), metadata={"unit": "um", "axes": "YX"}
    )
    return path


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_label_is_one_object_in_every_format_that_is_named(source, tmp_path):
    names = ("a.json", "a.geojson", "a.zip", "a.csv", "a.tif", "a.ome.zarr")
    options = [part for name in names for part in ("--output", tmp_path / name)]
    done = run(source, *options)
    assert done.exit_code == 0, done.output
    for name in names:
        kind = "labels" if name in ("a.tif", "a.ome.zarr") else "objects"
        assert f"2 {kind} → {tmp_path / name}" in done.stdout
        if name != "a.csv":
            assert [one.label for one in read_objects(tmp_path / name).objects] == [3, 7]


def test_the_calibration_is_that_of_the_file_unless_another_is_given(source, tmp_path):
    run(source, "--output", tmp_path / "a.tif")
    assert read_objects(tmp_path / "a.tif").pixel_size == PixelSize(0.5, 0.25, "micrometer")
    done = run(source, "--output", tmp_path / "b.csv", "--pixel-size", "0.1,0.2", "--unit", "mm")
    assert done.exit_code == 0, done.output
    (_, row) = rows_of(tmp_path / "b.csv")
    assert (row["unit"], row["area_px"]) == ("mm", "1050")
    assert float(row["area"]) == pytest.approx(1050 * 0.02)


def test_the_values_of_the_image_are_measured(source, tmp_path, labels):
    pixels = np.arange(labels.size, dtype=np.uint16).reshape(SHAPE)
    tifffile.imwrite(tmp_path / "cells.tif", pixels)
    done = run(
        *(source, "--image", tmp_path / "cells.tif"),
        *("--output", tmp_path / "a.csv", "--output", tmp_path / "a.json"),
    )
    assert done.exit_code == 0, done.output
    row = rows_of(tmp_path / "a.csv")[1]
    assert float(row["intensity_mean"]) == pytest.approx(pixels[labels == 7].mean())
    said = json.loads((tmp_path / "a.json").read_text())
    assert said["images"][0]["file_name"] == "cells.tif"


def test_a_colour_image_is_not_measured_and_that_is_said(source, tmp_path):
    colours = np.zeros((*SHAPE, 3), np.uint8)
    colours[3, 5, 1] = 9
    tifffile.imwrite(tmp_path / "cells.tif", colours, photometric="rgb")
    done = run(source, "--image", tmp_path / "cells.tif", "--output", tmp_path / "a.csv")
    assert done.exit_code == 0, done.output
    assert "in colour" in done.stderr
    assert "intensity_mean" not in rows_of(tmp_path / "a.csv")[0]


def test_a_gray_image_that_was_saved_as_colours_is_measured(source, tmp_path, labels):
    gray = (np.arange(labels.size) % 200).astype(np.uint8).reshape(SHAPE)
    Image.fromarray(np.stack([gray] * 3, axis=-1)).save(tmp_path / "cells.png")
    done = run(source, "--image", tmp_path / "cells.png", "--output", tmp_path / "a.csv")
    assert done.exit_code == 0, done.output
    row = rows_of(tmp_path / "a.csv")[1]
    assert float(row["intensity_mean"]) == pytest.approx(gray[labels == 7].mean())


def solid(label, place, state="unreviewed", depth=0, score=0.5):
    mask = np.zeros(SHAPE, bool)
    mask[place] = True
    item = Instance.from_mask(mask, score, "cell")
    return PlaneObject(label, item, "Built-in", state, depth)


def write_record(path, labels, objects, view=None, planes=(), **place):
    """Write objects, as the panel does, into the record beside labels."""
    image = {"name": "cells", "shape": list(labels.shape)}
    record = new_record(image, {"shape": list(labels.shape), **place})
    over = (
        LabelledObject(
            one.label, dict.fromkeys(planes or [PlaneIndex()], one.part), one.state, one.depth
        )
        for one in objects
    )
    record = with_objects(record, ObjectStore(labels.shape, over, view))
    write_sidecar(path.with_suffix(".json"), record, labels, path.name)


@pytest.fixture
def on_record(source, labels):
    """Labels with a record of three objects: one over another, and one rejected."""
    labels[TWO], labels[ONE] = 2, 1
    save_labels(source, labels)
    objects = (
        solid(1, ONE, "accepted", 1),
        solid(2, TWO, depth=2),
        solid(3, TWO, "rejected", depth=3),
    )
    write_record(source, labels, objects)
    return source


def test_objects_on_record_are_saved_whole_and_rejected_ones_are_not(on_record, tmp_path):
    done = run(on_record, "--output", tmp_path / "a.json", "--output", tmp_path / "a.tif")
    assert done.exit_code == 0, done.output
    assert "2 objects →" in done.stdout
    assert done.stderr == ""
    one, two = read_objects(tmp_path / "a.json").objects
    assert (one.instance.area, two.instance.area) == (15 * 22, 30 * 35)
    assert (one.instance.score, one.instance.concept, one.state) == (0.5, "cell", "accepted")
    # what is shown stays as it is shown
    np.testing.assert_array_equal(open_labels(tmp_path / "a.tif"), open_labels(on_record))


def test_what_the_saved_view_hides_is_not_saved(on_record, labels, tmp_path):
    objects = solid(1, ONE, depth=1, score=0.9), solid(2, TWO, depth=2, score=0.4)
    labels[labels == 2] = 0
    save_labels(on_record, labels)
    write_record(on_record, labels, objects, View(min_score=0.5))
    done = run(on_record, "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [row["label"] for row in rows_of(tmp_path / "a.csv")] == ["1"]


def test_an_object_that_others_hide_is_saved_all_the_same(on_record, labels, tmp_path):
    inside = (slice(12, 15), slice(32, 35))
    objects = solid(1, ONE, depth=1), solid(2, TWO, depth=2), solid(5, inside, depth=3)
    write_record(on_record, labels, objects)
    done = run(on_record, "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [row["label"] for row in rows_of(tmp_path / "a.csv")] == ["1", "2", "5"]


def test_labels_that_were_changed_since_are_saved_as_they_are_now_and_that_is_told(
    on_record, labels, tmp_path
):
    labels[labels == 2] = 0
    labels[1:5, 60:70] = 8
    save_labels(on_record, labels)
    done = run(on_record, "--output", tmp_path / "a.csv", "--output", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    assert "changed after its record was written" in done.stderr
    one, new = rows_of(tmp_path / "a.csv")
    assert (one["label"], one["score"], one["state"]) == ("1", "0.5", "accepted")
    assert (new["label"], new["score"], new["area_px"]) == ("8", "", "40")


def test_what_was_painted_since_is_saved_even_if_a_filter_would_hide_it(
    on_record, labels, tmp_path
):
    objects = solid(1, ONE, depth=1), solid(2, TWO, depth=2)
    write_record(on_record, labels, objects, View(min_area=100))
    labels[1:5, 60:70] = 8
    save_labels(on_record, labels)
    done = run(on_record, "--output", tmp_path / "a.csv")
    assert [row["label"] for row in rows_of(tmp_path / "a.csv")] == ["1", "2", "8"], done.output


def test_a_record_of_another_image_is_a_sentence(on_record, tmp_path):
    save_labels(on_record, np.zeros((20, 20), np.uint16))
    done = run(on_record, "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "60 × 90 pixels" in done.stderr


@pytest.mark.parametrize(
    "text", ['{"images": [], "annotations": [], "categories": []}', "{}", "[1, 2]", "not json"]
)
def test_json_that_is_no_record_beside_labels_is_no_trouble(source, tmp_path, text):
    source.with_suffix(".json").write_text(text)
    done = run(source, "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [row["label"] for row in rows_of(tmp_path / "a.csv")] == ["3", "7"]


def test_the_record_of_another_label_image_beside_it_is_not_taken(on_record, labels, tmp_path):
    other = on_record.with_suffix(".npy")
    np.save(other, np.flipud(labels))
    done = run(other, "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [row["concept"] for row in rows_of(tmp_path / "a.csv")] == ["", ""]


def test_a_damaged_record_is_a_sentence(on_record, tmp_path):
    path = on_record.with_suffix(".json")
    said = json.loads(path.read_text())
    said["objects"]["items"][0]["parts"][0]["rle"] = "0"
    path.write_text(json.dumps(said))
    done = run(on_record, "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be read" in done.stderr


def test_the_image_on_record_is_named(on_record, tmp_path):
    done = run(on_record, "--output", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    (image,) = json.loads((tmp_path / "a.json").read_text())["images"]
    assert image["file_name"] == "cells"
    assert "plane" not in image


def test_the_record_is_never_the_output(on_record):
    before = on_record.with_suffix(".json").read_bytes()
    done = run(on_record, "--output", on_record.with_suffix(".json"), "--overwrite")
    assert done.exit_code == 1
    assert "record of how labels were made" in done.stderr
    assert on_record.with_suffix(".json").read_bytes() == before


@pytest.fixture
def stack(tmp_path, labels):
    path = tmp_path / "stack.tif"
    planes = np.stack([labels, labels[::-1], np.zeros_like(labels)])
    tifffile.imwrite(
        path, planes, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "unit": "um"}
    )
    return path


def test_a_stack_of_labels_is_saved_whole_or_one_plane_of_it(stack, tmp_path):
    done = run(stack, "--output", tmp_path / "a.zarr", "--pixel-size", "0.25")
    assert done.exit_code == 0, done.output
    found = read_objects(tmp_path / "a.zarr")
    assert found.labels.shape == (3, *SHAPE)
    assert found.scale == (1, 0.25, 0.25)
    done = run(stack, "--output", tmp_path / "a.json", "--plane", "1")
    assert done.exit_code == 0, done.output
    assert len(read_objects(tmp_path / "a.json").objects) == 2


def test_which_plane_it_was_stands_in_the_table_and_in_coco(stack, source, tmp_path):
    image = tmp_path / "image.tif"
    pixels = np.zeros((3, *SHAPE), np.uint16)
    tifffile.imwrite(image, pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    for labels, more in ((stack, ()), (source, ("--image", image))):
        outputs = "--output", tmp_path / "a.csv", "--output", tmp_path / "a.json", "--overwrite"
        done = run(labels, "--plane", "1", *more, *outputs)
        assert done.exit_code == 0, done.output
        assert [row["plane"] for row in rows_of(tmp_path / "a.csv")] == ["1", "1"]
        assert json.loads((tmp_path / "a.json").read_text())["images"][0]["plane"] == [1]
    run(source, "--output", tmp_path / "b.csv")
    assert "plane" not in rows_of(tmp_path / "b.csv")[0]


@pytest.mark.parametrize("is_turned", [False, True])
def test_objects_on_record_of_a_plane_of_a_stack_are_saved_whole(tmp_path, labels, is_turned):
    path = tmp_path / "stack_labels.tif"
    labels[TWO], labels[ONE] = 2, 1
    planes = np.stack([np.zeros_like(labels), labels])
    save_labels(path, planes)
    objects = [solid(1, ONE, depth=1), solid(2, TWO, depth=2)]
    shown = (1, 2)
    if is_turned:
        shown = (2, 1)
        objects = [replace(one, instance=one.instance.transposed()) for one in objects]
    write_record(path, planes, objects, planes=[PlaneIndex(shown, (1,))])
    done = run(path, "--plane", "1", "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    rows = rows_of(tmp_path / "a.csv")
    assert [row["area_px"] for row in rows] == ["330", "1050"]
    assert {row["score"] for row in rows} == {"0.5"}
    # nothing is on record of the other one
    done = run(path, "--plane", "0", "--output", tmp_path / "b.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert rows_of(tmp_path / "b.csv") == []


def test_objects_on_record_over_planes_are_one_row_each(tmp_path, labels):
    path = tmp_path / "stack_labels.tif"
    labels[TWO], labels[ONE] = 2, 1
    planes = np.stack([np.zeros_like(labels), labels, labels])
    planes[2][labels == 2] = 0
    save_labels(path, planes)
    objects = [solid(1, ONE, depth=1), solid(2, TWO, depth=2), solid(3, ONE, "rejected", depth=9)]
    over = [PlaneIndex((1, 2), (z,)) for z in (1, 2)]
    write_record(path, planes, objects, planes=over, scale=[2, 0.5, 0.25], units=["um"] * 3)
    outputs = [each for name in ("a.csv", "a.json") for each in ("--output", tmp_path / name)]
    done = run(path, *outputs)
    assert done.exit_code == 0, done.output
    assert "2 objects → " in done.stdout
    # on the last plane, the second one was erased since
    assert "was changed after its record" in done.stderr
    one, two = rows_of(tmp_path / "a.csv")
    assert (one["planes"], two["planes"], two["plane"]) == ("2", "1", "1")
    assert float(one["volume"]) == int(one["voxels"]) * 2 * 0.5 * 0.25
    coco = json.loads((tmp_path / "a.json").read_text())
    assert [(each["label"], each["image_id"]) for each in coco["annotations"]] == [
        *((1, 1), (2, 1), (1, 2))
    ]


def test_objects_of_a_stack_need_a_plane_and_nothing_is_written_without(stack, tmp_path):
    done = run(stack, "--output", tmp_path / "a.tif", "--output", tmp_path / "a.csv")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "choose a plane with --plane" in done.stderr
    assert not (tmp_path / "a.tif").exists()
    done = run(stack, "--output", tmp_path / "a.csv", "--plane", "3")
    assert "planes 0 to 2" in done.stderr


def test_a_plane_may_be_that_of_the_image_alone_or_of_both(source, stack, tmp_path):
    image = tmp_path / "image.tif"
    pixels = np.zeros((3, *SHAPE), np.uint16)
    tifffile.imwrite(image, pixels, photometric="minisblack", metadata={"axes": "ZYX"})
    for name, labels in (("a.csv", source), ("b.csv", stack)):
        done = run(labels, "--image", image, "--plane", "1", "--output", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert len(rows_of(tmp_path / name)) == 2
    done = run(stack, "--image", source, "--plane", "9", "--output", tmp_path / "c.csv")
    assert (done.exit_code, "planes 0 to 2" in done.stderr) == (1, True)
    done = run(source, "--image", source, "--plane", "1", "--output", tmp_path / "c.csv")
    assert (done.exit_code, "leave --plane out" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--output", "a.doc"), "end its name in"),
        (("--output", "nowhere/a.csv"), "no folder"),
        (("--output", "cells_labels.tif", "--overwrite"), "given twice"),
        (("--output", "a.csv", "--output", "a.csv"), "given twice"),
        (("--output", "there.csv"), "exists already"),
        (("--output", "a.csv", "--image", "nothing.tif"), "no file"),
        (("--output", "a.csv", "--image", "small.tif"), "image has 5 × 6"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_nothing_is_written(
    source, tmp_path, monkeypatch, options, why
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((5, 6), np.uint8))
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run("cells_labels.tif", *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert why in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "there.csv").read_text() == "mine"


@pytest.mark.parametrize("size", ["0,1", "a", "1,2,3", "-1", "nan,1", ""])
def test_a_size_that_is_none_is_a_usage_error_with_an_example(source, tmp_path, size):
    done = run(source, "--output", tmp_path / "a.csv", f"--pixel-size={size}")
    assert done.exit_code == 2
    assert "0.325,0.325" in " ".join(done.stderr.split())


def test_what_a_file_says_cannot_move_the_cursor(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"annotations": [{"id": "\x1b[2J", "segmentation": 7}]}))
    done = run(path, "--output", tmp_path / "b.csv")
    assert done.exit_code == 1
    assert "\x1b" not in done.stderr


def test_where_the_image_ends_unknown_that_is_said_and_the_column_stays_empty(source, tmp_path):
    regions = tmp_path / "a.zip"
    assert run(source, "--output", regions).exit_code == 0
    done = run(regions, "--output", tmp_path / "a.csv", "--output", tmp_path / "a.geojson")
    assert done.exit_code == 0, done.output
    assert "50 × 80 pixels" in done.stderr
    assert "--image" in done.stderr
    assert {row["touches_edge"] for row in rows_of(tmp_path / "a.csv")} == {""}
    # nor does what was only guessed become a fact of the next file
    assert not read_objects(tmp_path / "a.geojson").has_edges
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros(SHAPE, np.uint8))
    done = run(regions, "--image", tmp_path / "cells.tif", "--output", tmp_path / "b.csv")
    assert (done.exit_code, done.stderr) == (0, "")
    assert {row["touches_edge"] for row in rows_of(tmp_path / "b.csv")} == {"False"}


def test_another_pixel_size_keeps_the_place_where_the_unit_is_the_same(source, tmp_path):
    moved = replace(read_objects(source), translate=(100.0, 50.0))
    export(tmp_path / "a.zarr", moved)
    for unit, first in (("micrometer", 100), ("nanometer", 0)):
        options = "--pixel-size", "2,3", "--unit", unit, "--overwrite"
        done = run(tmp_path / "a.zarr", *options, "--output", tmp_path / "a.csv")
        assert done.exit_code == 0, done.output
        row = rows_of(tmp_path / "a.csv")[0]
        there = float(row["centroid_row"])
        assert there == pytest.approx(first + 2 * float(row["centroid_row_px"]))


def lying(tmp_path, labels, **place):
    """Labels whose record says where they lie."""
    labels[ONE] = 3
    save_labels(tmp_path / "cells.tif", labels)
    objects = (solid(3, ONE), solid(7, TWO, depth=2))
    write_record(tmp_path / "cells.tif", labels, objects, **place)
    return tmp_path / "cells.tif"


@pytest.mark.parametrize(
    ("place", "sides"),
    [
        ({"scale": [-0.5, 0.25]}, (0.5, 0.25)),
        ({"rotate": [[0, -1], [1, 0]], "scale": [2, 3]}, (2, 3)),
        ({"shear": [0.5]}, (1, 1.25**0.5)),
    ],
)
def test_what_a_label_image_cannot_say_of_the_place_on_record_is_said(
    tmp_path, labels, place, sides
):
    path = lying(tmp_path, labels, **place)
    done = run(path, "--output", tmp_path / "a.zarr")
    assert done.exit_code == 0, done.output
    assert "a.zarr does not say that the labels are rotated, sheared or mirrored" in done.stderr
    np.testing.assert_allclose(read_objects(tmp_path / "a.zarr").scale, sides)
    # a table has the true places
    assert run(path, "--output", tmp_path / "a.csv").stderr == ""


def test_a_place_on_record_that_a_label_image_can_say_is_no_news(tmp_path, labels):
    path = lying(tmp_path, labels, scale=[0.5, 0.25], translate=[-3, 4])
    done = run(path, "--output", tmp_path / "a.zarr")
    assert (done.exit_code, done.stderr) == (0, "")
    assert read_objects(tmp_path / "a.zarr").translate == (-3, 4)


def test_where_the_file_says_where_its_labels_lie_the_record_does_not_count(tmp_path, labels):
    found = replace(read_objects(lying(tmp_path, labels)), translate=(9.0, 8.0))
    layer = {"shape": list(SHAPE), "scale": [2, 3], "translate": [1, 1]}
    assert placed(found, layer) is found


def test_rows_and_columns_of_different_units_are_measured_in_pixels(tmp_path, labels):
    units = {"units": ["micrometer", "nanometer"]}
    path = lying(tmp_path, labels, scale=[0.5, 250], translate=[9, 7], **units)
    outputs = [tmp_path / name for name in ("a.csv", "a.zarr", "b.csv")]
    assert run(path, "--output", outputs[0], "--output", outputs[1]).exit_code == 0
    # and where a file says so itself
    assert run(outputs[1], "--output", outputs[2]).exit_code == 0
    for table in (outputs[0], outputs[2]):
        for row in rows_of(table):
            assert row["unit"] == "pixel"
            for axis in ("row", "col"):
                assert row[f"centroid_{axis}"] == row[f"centroid_{axis}_px"]
    assert read_objects(outputs[1]).translate == (9, 7)
