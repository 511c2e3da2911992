"""Saving a Labels layer: the label image, and the record beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import LayerList, ViewerModel
from napari.layers import Labels
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import REVIEW_STATES, LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import ObjectPrompt, Point
from napari_sam3.core.snapshots import Snapshot
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.jobs.records import open_records
from napari_sam3.layers.objects import OBJECTS_KEY, find_store
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.pictures import capture_picture
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.showing import Showing
from napari_sam3.settings import CACHE_USED, write_setting
from napari_sam3.widgets import _save
from napari_sam3.widgets._committing import Committer, RunContext
from napari_sam3.widgets.opening import read_record
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


def test_no_copy_of_the_labels_is_made_in_the_windows_thread(layer):
    assert np.shares_memory(capture_labels(layer).labels.data, layer.data)


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
    objects = {1: solid(LARGE, 0.9), 2: solid(EDGE, 0.7), 3: solid(COVERED, 0.6)}
    store = ObjectStore(
        (60, 90),
        (
            LabelledObject(label, {WHOLE: Part(item, "Built-in")}, depth=label)
            for label, item in objects.items()
        ),
    )
    data = store.view_of(WHOLE).paint(Box.of_shape(store.shape), np.uint16)
    return Labels(data, name="cells objects", metadata={OBJECTS_KEY: store})


def saved_with_napari(layer, path):
    return write_labels(str(path), *layer.as_layer_data_tuple()[:2])


def saved_with_the_panel(layer, path):
    return save_layer_data(path, capture_labels(layer))


def kept_objects(path):
    return stored_objects(read_sidecar(path)).objects


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
        assert objects[7].parts[WHOLE].instance.box == Box(50, 5, 58, 15)
        np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), shown)

    def test_the_live_layer_and_its_store_stay_as_they_are(self, found, tmp_path, save):
        found.data[EDGE.slices] = 0
        store = find_store(found)
        store.show(View("smallest"))
        before, objects, version = found.data.copy(), dict(store.objects), store.version
        save(found, tmp_path / "x.tif")
        assert find_store(found) is store
        np.testing.assert_array_equal(found.data, before)
        assert (dict(store.objects), store.version) == (objects, version)

    @pytest.mark.parametrize(
        ("view", "shown"), [(View(min_score=0.65), [1, 2]), (View("smallest"), [1, 2, 3])]
    )
    def test_a_view_that_the_pixels_do_not_show_yet_is_in_both_files(
        self, found, tmp_path, save, view, shown
    ):
        find_store(found).show(view)
        save(found, tmp_path / "x.tif")
        saved = open_labels(tmp_path / "x.tif")
        assert sorted(set(np.unique(saved).tolist()) - {0}) == shown
        store = stored_objects(read_sidecar(tmp_path / "x.tif"))
        assert store.view == view
        again = store.view_of(WHOLE).paint(Box.of_shape(store.shape), np.uint16)
        np.testing.assert_array_equal(again, saved)

    def test_the_command_line_exports_what_is_visible(self, found, tmp_path, save):
        found.data[EDGE.slices] = 0
        found.data[50:58, 5:15] = 7
        find_store(found).show(View(min_score=0.65))
        save(found, tmp_path / "x.tif")
        out = tmp_path / "out.json"
        done = CliRunner().invoke(
            cli.app, ["export", str(tmp_path / "x.tif"), "--output", str(out)]
        )
        assert (done.exit_code, done.stderr) == (0, "")
        assert sorted(one.label for one in read_objects(out).objects) == [1, 7]

    def test_each_plane_of_a_stack_is_brought_in_step(self, tmp_path, save):
        first, last = PlaneIndex((1, 2), (0,)), PlaneIndex((1, 2), (2,))
        part = Part(solid(EDGE, 0.7), "Built-in")
        objects = LabelledObject(1, {first: part, last: part}), LabelledObject(2, {last: part})
        layer = Labels(np.zeros((3, 60, 90), np.int32), name="stack")
        layer.metadata[OBJECTS_KEY] = ObjectStore(layer.data.shape, objects)
        layer.data[2][EDGE.slices] = 1
        layer.data[1, 3:9, 4:20] = 9
        save(layer, tmp_path / "x.tif")
        np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), layer.data)
        kept = kept_objects(tmp_path / "x.tif")
        assert [(one.state, list(one.parts)) for one in kept.values()] == [
            ("edited", [last]),
            ("unreviewed", [last]),
        ]

    def test_labels_of_another_shape_than_their_objects_are_saved_without(
        self, found, tmp_path, save
    ):
        found.data = found.data[:50].copy()
        save(found, tmp_path / "x.tif")
        assert stored_objects(read_sidecar(tmp_path / "x.tif")) is None
        np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), found.data)


def test_what_is_decided_while_it_saves_stays_out(found, tmp_path):
    captured, store = capture_labels(found), find_store(found)
    before = found.data.copy()
    showing = Showing(found, store)
    store.edit({1: replace(store.objects[1], state="rejected"), 2: None})
    for _ in showing.iter_paint(WHOLE):
        pass
    assert not (found.data == 1).any()
    save_layer_data(tmp_path / "x.tif", captured)
    states = {n: one.state for n, one in kept_objects(tmp_path / "x.tif").items()}
    assert states == dict.fromkeys((1, 2, 3), "unreviewed")
    np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), before)


def test_what_is_drawn_before_it_is_written_is_in_both_files(found, tmp_path):
    captured = capture_labels(found)
    found.data[50:58, 5:15] = 7
    save_layer_data(tmp_path / "x.tif", captured)
    np.testing.assert_array_equal(open_labels(tmp_path / "x.tif"), found.data)
    assert kept_objects(tmp_path / "x.tif")[7].area == 80


shapes = st.sampled_from([(7, 11), (3, 6, 9)])


@st.composite
def layers(draw):
    """Return a layer with any store behind it, whose pixels anybody has changed."""
    shape = draw(shapes)
    rows, cols = shape[-2:]
    objects = []
    for label in draw(st.sets(st.integers(1, 300), max_size=4)):
        parts = {}
        for at in draw(st.sets(st.integers(0, 2), min_size=1)) if len(shape) > 2 else ((),):
            top, left = draw(st.integers(0, rows - 2)), draw(st.integers(0, cols - 2))
            box = Box(
                top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, cols))
            )
            index = PlaneIndex((len(shape) - 2, len(shape) - 1), (at,) if len(shape) > 2 else ())
            parts[index] = Part(solid(box, draw(st.sampled_from([0.3, 0.9]))), "Built-in")
        state = draw(st.sampled_from(REVIEW_STATES))
        objects.append(LabelledObject(label, parts, state, draw(st.integers(-3, 3))))
    view = draw(st.sampled_from([View(), View("smallest"), View(min_score=0.5, max_iom=0.5)]))
    store = ObjectStore(shape, objects, view)
    data = np.zeros(shape, np.uint16)
    for index in store.planes:
        whole = Box.of_shape(store.plane_shape(index))
        index.cut(data)[...] = store.view_of(index).paint(whole, data.dtype)
    for _ in range(draw(st.integers(0, 2))):
        at = tuple(draw(st.integers(0, size - 1)) for size in shape)
        data[at] = draw(st.sampled_from([0, 5, *store.objects]))
    return Labels(data, metadata={OBJECTS_KEY: store})


@given(layers())
@settings(deadline=None)
def test_any_layer_that_is_saved_and_opened_again_shows_the_same(tmp_path_factory, layer):
    path = tmp_path_factory.mktemp("any") / "x.tif"
    data, store = capture_labels(layer).labels.in_step()
    save_layer_data(path, capture_labels(layer))
    ((again, attributes, _),) = read_record(str(path.with_suffix(".json")))
    np.testing.assert_array_equal(again, data)
    if not store.objects:
        assert OBJECTS_KEY not in attributes["metadata"]
        return
    opened = attributes["metadata"][OBJECTS_KEY]
    assert opened.view == store.view
    assert {n: (one.state, one.area) for n, one in opened.objects.items()} == {
        n: (one.state, one.area) for n, one in store.objects.items()
    }
    # nothing is left to be painted, or taken for somebody's edit
    still, kept = Snapshot.of(again, opened).in_step()
    np.testing.assert_array_equal(still, again)
    assert dict(kept.objects) == dict(opened.objects)


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
