"""Saving a Labels layer: the label image, and the record beside it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from napari.components import LayerList, ViewerModel
from napari.layers import Labels
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.core.geometry import Box
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import ObjectPrompt, Point
from napari_sam3.core.viewing import View
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.jobs.records import open_records
from napari_sam3.layers.objects import ObjectRecord, add_written
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.pictures import capture_picture
from napari_sam3.layers.planes import find_plane
from napari_sam3.settings import CACHE_USED, write_setting
from napari_sam3.widgets import _save
from napari_sam3.widgets._committing import Committer, RunContext
from napari_sam3.widgets.saving import capture_labels, save_layer_data, write_labels
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.exporting import read_objects
from napari_sam3.workflows.label_files import open_labels
from napari_sam3.workflows.object_records import stored_objects
from napari_sam3.workflows.provenance import new_record
from napari_sam3.workflows.run import SegmentRun
from napari_sam3.workflows.sidecars import labels_digest, read_sidecar

from .conftest import solid

LABELS = np.arange(3 * 5 * 7).reshape(3, 5, 7).astype(np.int32)


@pytest.fixture
def layer():
    record = new_record({"name": "cells", "shape": [3, 5, 7]}, {"shape": [3, 5, 7]})
    return Labels(
        LABELS.copy(), name="objects", scale=(2, 0.5, 0.5), metadata={"napari_sam3": record}
    )


def test_labels_of_a_stack_are_saved_with_their_record(tmp_path, layer):
    written = save_layer_data(tmp_path / "x.tif", capture_labels(layer))
    assert written == [str(tmp_path / "x.tif"), str(tmp_path / "x.json")]
    saved = open_labels(tmp_path / "x.tif")
    assert saved.dtype == np.uint16
    np.testing.assert_array_equal(saved, LABELS)
    record = read_sidecar(tmp_path / "x.json")
    assert record["labels"]["sha256"] == labels_digest(saved)
    assert record["labels"]["dtype"] == "uint16"
    assert record["image"]["name"] == "cells"


def test_the_record_says_where_the_layer_lies_when_it_is_saved(tmp_path, layer):
    layer.translate = (1, 2, 3)
    save_layer_data(tmp_path / "x.tif", capture_labels(layer))
    assert read_sidecar(tmp_path / "x.json")["layer"]["translate"] == [1.0, 2.0, 3.0]


def test_what_is_drawn_meanwhile_is_not_in_the_file(tmp_path, layer):
    captured = capture_labels(layer)
    layer.data[0] = 9
    save_layer_data(tmp_path / "x.tif", captured)
    np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), LABELS)


def test_labels_from_elsewhere_have_a_record_without_a_run(tmp_path):
    save_layer_data(tmp_path / "x.tif", capture_labels(Labels(LABELS)))
    record = read_sidecar(tmp_path / "x.json")
    assert (record["began"], record["runs"]) == ("labels", [])


def test_a_record_that_was_tampered_with_is_told_of(tmp_path, layer):
    layer.metadata["napari_sam3"]["runs"] = [{"id": 7}]
    with pytest.raises(ProvenanceError, match="cannot be read"):
        save_layer_data(tmp_path / "x.tif", capture_labels(layer))


def test_a_file_of_the_same_name_is_not_destroyed(tmp_path, layer, plugins):
    foreign = tmp_path / "x.json"
    foreign.write_text('{"mine": 1}')
    for _ in range(2):
        written = save_layer_data(tmp_path / "x.tif", capture_labels(layer))
        assert written == [str(tmp_path / "x.tif"), str(tmp_path / "x.tif.json")]
        layer.save(str(tmp_path / "x.tif"), plugin="napari-sam3")
    assert foreign.read_text() == '{"mine": 1}'
    assert read_sidecar(tmp_path / "x.tif")["labels"]["sha256"] == labels_digest(LABELS)


def test_where_there_is_no_name_for_the_record_no_labels_are_replaced(tmp_path, layer):
    for name in ("x.tif", "x.json", "x.tif.json"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ProvenanceError, match="Choose another name"):
        save_layer_data(tmp_path / "x.tif", capture_labels(layer))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_negative_labels_are_refused(tmp_path):
    with pytest.raises(ImageError, match="go down to -1"):
        save_layer_data(tmp_path / "x.tif", capture_labels(Labels(LABELS - 1)))
    assert list(tmp_path.iterdir()) == []


def test_of_several_resolutions_the_full_one_is_saved(tmp_path):
    layer = Labels([LABELS[1], LABELS[1, ::2, ::2]], multiscale=True)
    save_layer_data(tmp_path / "x.tif", capture_labels(layer))
    np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), LABELS[1])
    data, attributes, _ = layer.as_layer_data_tuple()
    write_labels(str(tmp_path / "y.tif"), data, attributes)
    np.testing.assert_array_equal(open_labels(tmp_path / "y.tif"), LABELS[1])


def test_napari_saves_with_this_plugin_if_it_is_asked_to(tmp_path, layer, plugins):
    written = layer.save(str(tmp_path / "x.tif"), plugin="napari-sam3")
    assert sorted(written) == sorted(map(str, tmp_path.iterdir()))
    LayerList([layer]).save(str(tmp_path / "y.tiff"), plugin="napari-sam3")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "y.tiff"), LABELS)
    assert json.loads((tmp_path / "y.json").read_text())["labels"]["file"] == "y.tiff"


def test_whichever_plugin_napari_chooses_by_itself_the_labels_are_saved(tmp_path, layer, plugins):
    # it takes the first that was registered, so the order of installation decides
    Labels(LABELS[0], metadata=layer.metadata).save(str(tmp_path / "x.tif"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), LABELS[0])


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)], ids=["as stored", "turned"])
def test_what_the_panel_wrote_is_made_again_from_the_files_alone(
    tmp_path, qtbot, real_engines, order
):
    write_setting(CACHE_USED, True)
    stack = np.full((12, 40, 60), 30, np.uint16)
    stack[2:9, 8:30, 12:33] = 900
    stack[3:10, 12:35, 40:55] = 700
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"})
    viewer = ViewerModel()
    image = viewer.add_image(stack, name="s", contrast_limits=(20, 950), gamma=0.8)
    viewer.dims.order = order
    viewer.dims.point = at = (6, 20, 20)
    plane = find_plane(image, viewer.dims)
    place = find_output_place(image, plane)
    prompts = (ObjectPrompt((Point(*(at[axis] for axis in plane.shown)),)),)
    run = SegmentRun(capture_picture(image, plane), prompts)
    context = RunContext(
        run, "builtin", place, None, "score", ("a",), image_id=image.unique_id
    )  # fmt: skip
    committer, done = Committer(viewer), []
    workflow = iter_accounted(create_engine(), run, open_records(), lambda _: True)
    committer.commit(context, drain(workflow), done.append, done.append)
    committer.finish()
    save_layer_data(tmp_path / "out.tif", capture_labels(done[0].layer))
    assert open_labels(tmp_path / "out.tif").any()

    def replay(*options):
        return CliRunner().invoke(cli.app, ["replay", str(tmp_path / "out.json"), *options])

    again = replay()
    assert again.exit_code == 0, again.output
    assert "identical" in again.stdout
    open_records().cache.clear()
    assert replay().exit_code == 1
    again = replay("--image", str(tmp_path / "s.tif"))
    assert again.exit_code == 0, again.output
    assert "identical" in again.stdout


WHOLE = PlaneIndex()
LARGE, EDGE, COVERED = Box(5, 10, 30, 50), Box(40, 60, 60, 80), Box(10, 15, 20, 30)


@pytest.fixture
def found():
    """A layer as a run leaves it: the third of its objects lies under the first one."""
    layer = Labels(np.zeros((60, 90), np.uint16), name="cells objects")
    objects = {1: solid(LARGE, 0.9), 2: solid(EDGE, 0.7), 3: solid(COVERED, 0.6)}
    for label in (3, 2, 1):
        layer.data[objects[label].box.slices] = label
    add_written(layer, WHOLE, objects, engine="Built-in")
    return layer


def saved_with_napari(layer, path):
    return write_labels(str(path), *layer.as_layer_data_tuple()[:2])


def saved_with_the_panel(layer, path):
    return save_layer_data(path, capture_labels(layer))


def kept_objects(path, index=WHOLE):
    planes = stored_objects(read_sidecar(path)).planes
    return next(plane.objects for plane in planes if plane.index == index)


@pytest.mark.parametrize("save", [saved_with_the_panel, saved_with_napari])
class TestObjects:
    def test_what_was_erased_and_drawn_since_is_on_record(self, found, tmp_path, save):
        found.data[EDGE.slices] = 0
        found.data[50:58, 5:15] = 7
        shown = found.data.copy()
        save(found, tmp_path / "x.tif")
        objects = kept_objects(tmp_path / "x.tif")
        states = {label: one.state for label, one in objects.items()}
        assert states == {1: "unreviewed", 2: "rejected", 3: "unreviewed", 7: "edited"}
        assert objects[7].instance.box == Box(50, 5, 58, 15)
        np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), shown)

    def test_the_live_layer_and_its_record_stay_as_they_are(self, found, tmp_path, save):
        found.data[EDGE.slices] = 0
        before, record = found.data.copy(), ObjectRecord.find(found)
        expected, objects = record.planes[WHOLE].expected.copy(), dict(record.planes[WHOLE].objects)
        record.view = View("smallest")
        save(found, tmp_path / "x.tif")
        assert ObjectRecord.find(found) is record
        np.testing.assert_array_equal(found.data, before)
        np.testing.assert_array_equal(record.planes[WHOLE].expected, expected)
        assert record.planes[WHOLE].objects == objects
        assert record.planes[WHOLE].hidden == frozenset()

    @pytest.mark.parametrize(
        ("view", "shown"), [(View(min_score=0.65), [1, 2]), (View("smallest"), [1, 2, 3])]
    )
    def test_a_view_that_the_pixels_do_not_show_yet_is_in_both_files(
        self, found, tmp_path, save, view, shown
    ):
        ObjectRecord.find(found).view = view
        save(found, tmp_path / "x.tif")
        saved = open_labels(tmp_path / "x.tif")
        assert sorted(set(np.unique(saved).tolist()) - {0}) == shown
        stored = stored_objects(read_sidecar(tmp_path / "x.tif"))
        assert stored.view == view
        again = ObjectRecord.from_stored(stored).planes[WHOLE]
        np.testing.assert_array_equal(again.expected, saved)

    def test_the_command_line_exports_what_is_visible(self, found, tmp_path, save):
        found.data[EDGE.slices] = 0
        found.data[50:58, 5:15] = 7
        ObjectRecord.find(found).view = View(min_score=0.65)
        save(found, tmp_path / "x.tif")
        out = tmp_path / "out.json"
        done = CliRunner().invoke(
            cli.app, ["export", str(tmp_path / "x.tif"), "--output", str(out)]
        )
        assert (done.exit_code, done.stderr) == (0, "")
        assert sorted(one.label for one in read_objects(out).objects) == [1, 7]

    def test_each_plane_of_a_stack_is_brought_in_step(self, tmp_path, save):
        layer = Labels(np.zeros((3, 60, 90), np.int32), name="stack")
        first, last = PlaneIndex((1, 2), (0,)), PlaneIndex((1, 2), (2,))
        for index, label in ((first, 1), (last, 2)):
            index.cut(layer.data)[EDGE.slices] = label
            add_written(layer, index, {label: solid(EDGE, 0.7)}, engine="Built-in")
        first.cut(layer.data)[EDGE.slices] = 0
        layer.data[1, 3:9, 4:20] = 9
        save(layer, tmp_path / "x.tif")
        np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), layer.data)
        assert kept_objects(tmp_path / "x.tif", first)[1].state == "rejected"
        assert kept_objects(tmp_path / "x.tif", last)[2].state == "unreviewed"

    def test_a_run_that_was_undone_and_done_again_is_on_record(self, found, tmp_path, save):
        plane = ObjectRecord.find(found).planes[WHOLE]
        plane.undone[2] = plane.objects.pop(2)
        plane.expected[EDGE.slices] = 0
        save(found, tmp_path / "x.tif")
        again = kept_objects(tmp_path / "x.tif")[2]
        assert (again.state, again.engine, again.instance.score) == ("unreviewed", "Built-in", 0.7)
        assert set(plane.undone) == {2}

    def test_a_plane_that_the_labels_do_not_have_is_not_saved(self, found, tmp_path, save):
        record = ObjectRecord.find(found)
        record.planes[PlaneIndex((1, 2), (4,))] = record.planes[WHOLE]
        found.data = found.data[:50].copy()
        save(found, tmp_path / "x.tif")
        assert stored_objects(read_sidecar(tmp_path / "x.tif")) is None
        np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), found.data)

    def test_labels_that_a_run_is_half_way_through_are_not_saved(self, found, tmp_path, save):
        ObjectRecord.find(found).writers = 1
        with pytest.raises(ImageError, match="save again"):
            save(found, tmp_path / "x.tif")
        assert list(tmp_path.iterdir()) == []


def test_what_is_decided_while_it_saves_stays_out(found, tmp_path):
    captured = capture_labels(found)
    record = ObjectRecord.find(found)
    record.planes[WHOLE].objects.clear()
    record.planes[WHOLE].expected[:] = 0
    save_layer_data(tmp_path / "x.tif", captured)
    assert set(kept_objects(tmp_path / "x.tif")) == {1, 2, 3}


class TestButton:
    @pytest.fixture
    def chosen(self, monkeypatch, tmp_path):
        path = tmp_path / "mine.tif"
        monkeypatch.setattr(
            _save.QFileDialog, "getSaveFileName", lambda *_: (str(path.with_suffix("")), "")
        )
        return path

    def test_the_objects_are_saved_with_their_record(self, panel, run, chosen, settle):
        run("everything")
        panel.saving.button.native.click()
        settle()
        assert "Saved mine.tif and mine.json" in panel.form.result.text()
        assert open_labels(chosen).max() == 2
        assert len(read_sidecar(chosen.with_suffix(".json"))["runs"]) == 1

    def test_without_objects_it_says_what_to_do(self, panel, chosen):
        panel.saving.button.native.click()
        assert "press Run" in panel.form.result.text()
        assert not chosen.exists()

    def test_what_is_painted_while_it_saves_stays_out(self, panel, run, chosen, settle, viewer):
        run("everything")
        layer = next(one for one in viewer.layers if isinstance(one, Labels))
        panel.saving.save(layer, str(chosen))
        layer.data[:] = 9
        settle()
        assert open_labels(chosen).max() == 2

    def test_a_folder_that_is_gone_is_told(self, panel, run, tmp_path, settle, viewer):
        run("everything")
        layer = next(one for one in viewer.layers if isinstance(one, Labels))
        panel.saving.save(layer, str(tmp_path / "gone" / "x.tif"))
        settle()
        assert "no folder" in panel.form.result.text()


def test_the_demo_in_a_window_writes_labels_that_replay(tmp_path):
    write_setting(CACHE_USED, True)
    # in a process of its own: it opens a viewer as a user does
    demo = [sys.executable, "-m", "napari_sam3.cli", "demo", "--window", "--close"]
    subprocess.run([*demo, "--output-dir", str(tmp_path)], check=True, timeout=300)
    assert {path.name for path in tmp_path.iterdir()} == {
        "nuclei_labels.tif",
        "nuclei_labels.json",
        "demo.png",
    }
    again = CliRunner().invoke(cli.app, ["replay", str(tmp_path / "nuclei_labels.json")])
    assert again.exit_code == 0, again.output
