from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.prompts import Everything, ObjectPrompt, Point
from napari_sam3.engines.base import SegmentationResult
from napari_sam3.layers import showing
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.pictures import capture_picture
from napari_sam3.layers.planes import find_plane
from napari_sam3.widgets._committing import Committer, RunContext, picture_metadata
from napari_sam3.widgets._keeping import keep, let_go
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import check_record
from napari_sam3.workflows.replay import rebuild
from napari_sam3.workflows.run import SegmentRun

from .conftest import (
    SHAPE,
    labels_layers,
    only_labels,
    picture,
    solid,
)

A, B, C = Box(2, 3, 12, 23), Box(30, 40, 45, 75), Box(50, 5, 58, 30)
CLICK = ObjectPrompt((Point(5, 5),))
GRAY = {"kind": "gray", "contrast_limits": [0.0, 255.0], "gamma": 1.0, "inverted": False}
TWO_CLICKS = ObjectPrompt((Point(5, 5), Point(9, 9)))


class Desk:
    """A viewer without a window, and what is to be written in it."""

    def __init__(self, shape=SHAPE):
        self.viewer = ViewerModel()
        self.image = Image(picture(shape), name="cells")
        self.viewer.add_layer(self.image)
        self.committer = Committer(self.viewer)
        self.viewer.layers.events.removed.connect(lambda e: self.committer.forget(e.value))
        self.done, self.failed = [], []
        self.keepers = set()

    def context(self, *prompts, output=None, keys=None, live=False, notices=()):
        plane = find_plane(self.image, self.viewer.dims)
        place = find_output_place(self.image, plane)
        prompts = prompts or (Everything(),)
        run = SegmentRun(capture_picture(self.image, plane), prompts)
        keys = keys or (None,) * len(prompts)
        return RunContext(
            run,
            "builtin",
            place,
            output,
            "score",
            keys,
            notices,
            live=live,
            image_id=self.image.unique_id,
        )

    def commit(self, context, *answers, notices=()):
        shape = context.place.plane.shape
        results = tuple(
            SegmentationResult(Instances(shape, tuple(items)), notices=notices) for items in answers
        )
        answer = SegmentAnswer(results, shape, picture=GRAY)
        self.committer.commit(context, answer, self.done.append, self.failed.append)

    def write(self, *boxes, **kwargs):
        self.commit(self.context(**kwargs), [solid(box) for box in boxes])
        self.settle()

    def close(self):
        if isalive(self.committer):
            self.committer.close()
        for keeper in self.keepers:
            let_go(keeper, self)

    def begin_to_write(self):
        """Write until something is to be seen, and no further."""
        layer = only_labels(self.viewer)
        while not layer.data.any():
            QApplication.processEvents()
        return layer

    def settle(self):
        """Write all, and bring all layers in step."""
        self.committer.finish()
        keepers = [self.keeper(layer) for layer in labels_layers(self.viewer)]
        while any(keeper.is_busy for keeper in keepers):
            QApplication.processEvents()

    def keeper(self, layer):
        keeper = keep(self.viewer, layer, self)
        self.keepers.add(keeper)
        return keeper


@pytest.fixture
def desk(qtbot):
    desk = Desk()
    yield desk
    desk.close()


def delete_in_qt(thing):
    """Let Qt delete an object, as it does with a window's children."""
    thing.deleteLater()
    QCoreApplication.sendPostedEvents(thing, QEvent.Type.DeferredDelete)


def others(desk, known):
    return [layer for layer in labels_layers(desk.viewer) if layer is not known]


def has_only(layer, box, label):
    expected = np.zeros(SHAPE, bool)
    expected[box.slices] = True
    return np.array_equal(layer.data == label, expected)


def test_an_answer_makes_one_layer_and_the_next_is_appended(desk):
    desk.write(A)
    desk.write(B)
    layer = only_labels(desk.viewer)
    assert layer.name == "cells objects"
    assert has_only(layer, A, 1)
    assert has_only(layer, B, 2)


def test_two_answers_at_once_make_one_layer(desk):
    desk.commit(desk.context(), [solid(A)])
    desk.commit(desk.context(), [solid(B)])
    desk.settle()
    assert sorted(np.unique(only_labels(desk.viewer).data)) == [0, 1, 2]


def test_the_window_lives_between_two_steps(qtbot, desk):
    desk.commit(desk.context(), [solid(A)])
    assert desk.committer.is_busy
    assert desk.done == []
    qtbot.waitUntil(lambda: bool(desk.done))
    qtbot.waitUntil(lambda: not desk.committer.is_busy)


def test_each_layer_has_its_row_of_the_features_table(desk):
    context = desk.context(CLICK, TWO_CLICKS, keys=("a", "b"))
    desk.commit(context, [solid(A, 0.81239)], [solid(B, None)])
    desk.settle()
    table = only_labels(desk.viewer).features
    assert table["index"].tolist() == [1, 2]
    assert table["score"].iloc[0] == 0.8124
    assert np.isnan(table["score"].iloc[1])
    assert table["area"].tolist() == [200, 525]
    assert table["prompt"].tolist() == ["1 + point", "2 + points"]
    assert set(table["engine"]) == {"Built-in"}


def test_what_is_labelled_by_hand_is_untouched(desk):
    own = Labels(np.zeros(SHAPE, np.uint8), name="mine")
    own.data[0:8, 0:30] = 77
    desk.viewer.add_layer(own)
    before = own.data.copy()
    desk.write(B, C, output=own)
    assert np.array_equal(own.data[before > 0], before[before > 0])
    assert sorted(np.unique(own.data)) == [0, 77, 78, 79]


def test_a_label_painted_by_hand_on_another_plane_is_not_used_again(qtbot):
    desk = Desk((4, *SHAPE))
    desk.viewer.dims.set_point(0, 1)
    desk.write(A)
    layer = only_labels(desk.viewer)
    desk.viewer.dims.set_point(0, 3)
    layer.selected_label = 9
    layer.paint((3, 30, 30), 9)
    desk.viewer.dims.set_point(0, 1)
    desk.write(B)
    assert sorted(np.unique(layer.data)) == [0, 1, 9, 10]


def test_the_labels_of_a_layer_from_elsewhere_are_not_used_again(qtbot):
    desk = Desk((4, *SHAPE))
    foreign = Labels(np.zeros((4, *SHAPE), np.uint16))
    foreign.data[3, 0:5, 0:5] = 300
    desk.viewer.add_layer(foreign)
    desk.viewer.dims.set_point(0, 0)
    desk.write(A, output=foreign)
    assert sorted(np.unique(foreign.data)) == [0, 300, 301]


def test_a_refined_object_keeps_its_label_and_the_others_theirs(desk):
    desk.commit(desk.context(CLICK, keys=("a",)), [solid(A)])
    desk.commit(desk.context(CLICK, keys=("b",)), [solid(B)])
    desk.commit(desk.context(TWO_CLICKS, keys=("a",)), [solid(C)])
    desk.settle()
    layer = only_labels(desk.viewer)
    assert has_only(layer, C, 1)
    assert has_only(layer, B, 2)
    assert layer.features["area"].tolist() == [200, 525]
    assert desk.committer.answered([("a", TWO_CLICKS), ("a", CLICK)]) == [True, False]


def test_one_answer_is_one_undo_step(desk):
    desk.write(A, B)
    desk.write(C)
    layer = only_labels(desk.viewer)
    layer.undo()
    assert sorted(np.unique(layer.data)) == [0, 1, 2]
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    layer.redo()
    assert sorted(np.unique(layer.data)) == [0, 1, 2, 3]


def test_a_layer_removed_meanwhile_loses_no_answer(desk):
    desk.write(A)
    old = only_labels(desk.viewer)
    context = desk.context(output=old)
    desk.viewer.layers.remove(old)
    desk.commit(context, [solid(B)])
    desk.settle()
    assert has_only(only_labels(desk.viewer), B, 1)
    assert "was removed meanwhile" in desk.done[-1].notices[0]


def test_a_layer_removed_while_it_is_written_loses_no_answer(desk, monkeypatch):
    monkeypatch.setattr(showing, "STEP_S", 0)
    shape = (900, 700)
    desk.image.data = picture(shape)
    desk.commit(desk.context(), [solid(Box(0, 0, *shape))])
    old = desk.begin_to_write()
    assert not old.data.all()
    desk.viewer.layers.remove(old)
    desk.settle()
    assert only_labels(desk.viewer) is not old
    assert only_labels(desk.viewer).data.all()
    assert desk.failed == []
    assert len(desk.done) == 1


def test_a_layer_reshaped_while_it_is_written_loses_no_answer(desk, monkeypatch):
    monkeypatch.setattr(showing, "STEP_S", 0)
    shape = (900, 700)
    desk.image.data = picture(shape)
    desk.commit(desk.context(), [solid(Box(0, 0, *shape))])
    old = desk.begin_to_write()
    old.data = np.zeros((5, 6), np.uint16)
    desk.settle()
    (new,) = others(desk, old)
    assert new.data.all()
    assert not old.data.any()
    assert desk.failed == []


def test_a_viewer_that_closes_while_an_answer_is_written_gets_no_other_layer(desk):
    desk.commit(desk.context(), [solid(B)])
    desk.viewer.layers.clear()
    desk.committer.close()
    assert len(desk.viewer.layers) == 0
    assert desk.failed == []


def test_a_viewer_that_is_emptied_while_an_answer_is_written_loses_none(desk, qtbot):
    desk.commit(desk.context(), [solid(B)])
    desk.viewer.layers.clear()
    qtbot.waitUntil(lambda: bool(desk.done))
    assert has_only(only_labels(desk.viewer), B, 1)


def test_what_is_written_when_its_window_is_gone_tells_nobody(desk):
    keeper = desk.keeper(Labels(np.zeros(SHAPE, np.uint16), name="mine"))
    desk.viewer.add_layer(keeper.layer)
    desk.commit(desk.context(output=keeper.layer), [solid(B)])
    desk.viewer.layers.clear()
    delete_in_qt(desk.committer)
    while keeper.is_busy:
        QApplication.processEvents()
    assert (desk.done, desk.failed) == ([], [])


def test_a_panel_that_closes_after_a_layer_was_removed_loses_no_answer(desk):
    desk.commit(desk.context(), [solid(B)])
    desk.viewer.layers.remove(only_labels(desk.viewer))
    desk.committer.close()
    assert has_only(only_labels(desk.viewer), B, 1)


def test_a_layer_made_unfit_meanwhile_loses_no_answer(desk):
    chosen = Labels(np.zeros(SHAPE, np.uint16), name="mine")
    desk.viewer.add_layer(chosen)
    context = desk.context(output=chosen)
    chosen.data = np.zeros((5, 6), np.uint16)
    desk.commit(context, [solid(B)])
    desk.settle()
    (new,) = others(desk, chosen)
    assert has_only(new, B, 1)
    assert "has the shape (5, 6)" in desk.done[0].notices[0]


def test_an_own_layer_that_no_longer_fits_is_left_alone(desk):
    desk.write(A)
    old = only_labels(desk.viewer)
    desk.image.scale = (2, 2)
    desk.write(B)
    (new,) = others(desk, old)
    assert sorted(np.unique(old.data)) == [0, 1]
    assert np.allclose(new.scale, (2, 2))


def test_a_renamed_layer_is_still_the_one(desk):
    desk.write(A)
    only_labels(desk.viewer).name = "kept"
    desk.write(B)
    assert sorted(np.unique(only_labels(desk.viewer).data)) == [0, 1, 2]


def test_the_objects_of_a_removed_layer_are_asked_for_anew(desk):
    desk.commit(desk.context(CLICK, keys=("a",)), [solid(A)])
    desk.settle()
    assert desk.committer.answered([("a", CLICK)]) == [True]
    desk.viewer.layers.remove(only_labels(desk.viewer))
    assert desk.committer.answered([("a", CLICK)]) == [False]


def test_a_live_answer_leaves_the_user_in_the_layer_that_is_drawn_in(desk):
    points = desk.viewer.add_points()
    desk.commit(desk.context(CLICK, keys=("a",), live=True), [solid(A)])
    desk.settle()
    assert desk.viewer.layers.selection == {points}


def test_an_empty_answer_is_no_error_and_makes_no_layer(desk):
    desk.write()
    assert labels_layers(desk.viewer) == []
    assert desk.failed == []
    assert desk.done[-1].layer is None
    desk.write(A)
    assert has_only(only_labels(desk.viewer), A, 1)


def test_all_notices_are_handed_on(desk):
    desk.commit(desk.context(notices=("from reading",)), [solid(A)], notices=("from engine",))
    desk.settle()
    assert desk.done[0].notices == ("from reading", "from engine")


def test_an_error_while_writing_is_told_and_the_next_answer_written(desk):
    desk.commit(desk.context(CLICK, keys=()), [solid(A)])
    context = desk.context(CLICK)
    broken = RunContext(context.run, "nobody", context.place, None, "score", ("x",))
    desk.commit(broken, [solid(A)])
    desk.commit(desk.context(), [solid(B)])
    desk.settle()
    assert len(desk.failed) == 1
    assert len(desk.done) == 2


def refine(desk, box, *prompts):
    desk.commit(desk.context(*(prompts or (CLICK,)), keys=("object 1",)), [solid(box)])
    desk.settle()


def test_what_was_painted_by_hand_with_a_label_outlives_the_object_that_had_it(desk):
    refine(desk, A)
    layer = only_labels(desk.viewer)
    layer.undo()
    layer.data_setitem((np.array([1, 1]), np.array([70, 71])), 1)
    refine(desk, B, TWO_CLICKS)
    assert layer.data[1, 70:72].tolist() == [1, 1]
    assert layer.data[31, 41] == 1


def test_objects_that_are_all_known_are_looked_at_in_several_steps(desk):
    boxes = [Box(r, c, r + 1, c + 2) for r in range(50) for c in range(0, 80, 3)]
    desk.write(*boxes)
    desk.commit(desk.context(), [solid(box) for box in boxes])
    steps = 0
    while desk.committer.is_writing:
        QApplication.processEvents()
        steps += 1
    desk.settle()
    assert steps > 3
    assert desk.done[-1].written.known == len(boxes)
    assert len(only_labels(desk.viewer).features) == len(boxes)


@pytest.mark.parametrize("index", [["a", "b"], ["1", "2"]])
def test_a_table_that_is_not_about_labels_costs_no_answer_and_is_left_alone(desk, index):
    chosen = Labels(np.zeros(SHAPE, np.uint16), name="mine", features={"index": index})
    desk.viewer.add_layer(chosen)
    desk.commit(desk.context(output=chosen), [solid(B)])
    desk.settle()
    assert desk.failed == []
    assert chosen.data[31, 41] > 0
    assert chosen.features["index"].tolist() == index


def test_a_label_that_a_script_wrote_is_not_used_again(desk):
    desk.write(A)
    layer = only_labels(desk.viewer)
    layer.data_setitem((np.array([0]), np.array([79])), 9)
    desk.write(B)
    assert layer.data.max() == 10


def test_a_layer_that_is_not_editable_is_left_alone(desk):
    chosen = Labels(np.zeros(SHAPE, np.uint16), name="mine")
    desk.viewer.add_layer(chosen)
    chosen.editable = False
    desk.commit(desk.context(output=chosen), [solid(B)])
    desk.settle()
    assert not chosen.data.any()
    assert any("read-only" in notice for notice in desk.done[-1].notices)


# --- the record of what was written -----------------------------------------------------


def record_of(layer):
    return check_record(json.loads(json.dumps(layer.metadata["napari_sam3"], allow_nan=False)))


def replayed(desk, layer):
    """Return the layer's labels once more, from its record and the answers alone."""
    record = record_of(layer)
    answers = {
        (run["id"], index): result.instances
        for run, done in zip(record["runs"], desk.done, strict=True)
        for index, result in enumerate(done.answer.results)
    }
    return rebuild(record, answers)


def test_each_run_is_on_the_layer_s_record(desk):
    desk.write(A, B)
    desk.write(C)
    record = record_of(only_labels(desk.viewer))
    assert record["began"] == "empty"
    assert record["image"] == {"name": "cells", "shape": list(SHAPE)}
    assert record["layer"]["scale"] == [1.0, 1.0]
    assert [run["questions"][0]["labels"] for run in record["runs"]] == [{"0": 1, "1": 2}, {"0": 3}]
    assert record["software"]["napari"]
    assert record["runs"][0]["skips_known"]


def test_a_refined_object_can_be_replayed_to_the_last_pixel(desk):
    shifted, wide = Box(6, 8, 20, 40), Box(1, 1, 14, 30)
    desk.commit(desk.context(CLICK, TWO_CLICKS, keys=("a", "b")), [solid(A)], [solid(B)])
    desk.commit(desk.context(), [solid(wide), solid(C)])
    desk.commit(desk.context(TWO_CLICKS, keys=("a",)), [solid(shifted)])
    desk.commit(desk.context(CLICK, keys=("b",)), [solid(wide)])
    desk.settle()
    layer = only_labels(desk.viewer)
    assert np.array_equal(replayed(desk, layer), layer.data)
    first, _, third, _ = record_of(layer)["runs"]
    assert third["former"] == [[first["id"], 0, 0]]
    assert third["questions"][0]["replaced"] == {"0": 1}


def test_runs_on_turned_planes_of_a_stack_can_be_replayed(qtbot):
    desk = Desk((4, *SHAPE))
    desk.viewer.dims.set_point(0, 2)
    desk.write(A, B)
    desk.viewer.dims.order = (1, 2, 0)
    desk.viewer.dims.set_point(1, 7)
    desk.write(Box(3, 1, 40, 4))
    layer = only_labels(desk.viewer)
    assert [run["plane"]["shown"] for run in record_of(layer)["runs"]] == [[1, 2], [2, 0]]
    assert np.array_equal(replayed(desk, layer), layer.data)


def test_what_others_keep_in_the_metadata_stays(desk):
    desk.write(A)
    layer = only_labels(desk.viewer)
    layer.metadata["other plugin"] = {"x": 1}
    desk.write(B)
    assert layer.metadata["other plugin"] == {"x": 1}
    assert len(record_of(layer)["runs"]) == 2


@pytest.mark.parametrize(
    "mangled", ["text", [1], {"schema": 1}, {"schema": 9, "runs": []}, {"runs": [None]}]
)
def test_a_mangled_record_is_set_aside_and_a_new_one_begins(desk, mangled):
    desk.write(A)
    layer = only_labels(desk.viewer)
    for number in (1, 2):
        layer.metadata["napari_sam3"] = mangled
        desk.write(B)
        record = record_of(layer)
        assert (record["began"], len(record["runs"])) == ("labels", 1)
        assert layer.metadata[f"napari_sam3_unreadable_{number}"] == mangled
        assert any("changed or removed" in notice for notice in desk.done[-1].notices)


def test_a_record_that_was_removed_begins_anew_and_this_is_told(desk):
    desk.write(A)
    layer = only_labels(desk.viewer)
    layer.metadata = {}
    desk.write(B)
    assert record_of(layer)["began"] == "labels"
    assert any("changed or removed" in notice for notice in desk.done[-1].notices)
    desk.write(C)
    assert len(record_of(layer)["runs"]) == 2
    assert desk.done[-1].notices == ()


@pytest.mark.parametrize(("value", "began"), [(0, "empty"), (5, "labels")])
def test_the_record_says_whether_a_layer_from_elsewhere_held_labels(desk, value, began):
    own = Labels(np.zeros(SHAPE, np.uint8), name="mine")
    own.data[-1, -1] = value
    desk.viewer.add_layer(own)
    desk.write(A, output=own)
    assert record_of(own)["began"] == began
    assert desk.done[-1].notices == ()


def test_an_answer_without_an_object_is_on_record_too(desk):
    desk.write(A)
    desk.write()
    runs = record_of(only_labels(desk.viewer))["runs"]
    assert [run["questions"][0]["objects"] for run in runs] == [1, 0]


def test_a_picture_from_an_engine_has_a_record_too(desk):
    context = desk.context(CLICK)
    answer = SegmentAnswer((SegmentationResult(Instances(SHAPE)),), SHAPE, picture=GRAY)
    metadata = picture_metadata(context, answer, (30, 45, 3))
    record = check_record(metadata["napari_sam3"])
    assert record["layer"]["shape"] == [30, 45]
    assert len(record["runs"]) == 1
