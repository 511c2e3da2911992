from __future__ import annotations

import json

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels, Points
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.prompts import ObjectPrompt
from napari_sam3.core.viewing import View
from napari_sam3.errors import EngineError
from napari_sam3.layers.objects import find_store
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.widgets._sharing import QFileDialog
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.opening import get_reader
from napari_sam3.widgets.saving import capture_labels, save_layer_data
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import check_record
from napari_sam3.workflows.replay import altered_questions, rebuild

from .conftest import Mouse, on_screen, press, said
from .objects_room import (
    EDGE,
    LARGE,
    LIMIT_MS,
    SMALL,
    WHOLE,
    shown,
    solid,
    states,
    wait,
)

# ---------------------------------------------------------------------- the record


def test_what_others_hide_is_on_record_and_in_the_table(objects, layer):
    assert shown(layer) == [1, 2]
    features = layer.features.set_index("index")
    assert features["area"].to_dict() == {1: 1000, 2: 400, 3: 150}
    assert features["overlaps"].to_dict() == {1: True, 2: False, 3: True}
    assert objects.form.table.visible_labels() == (1, 2, 3)


def test_a_view_by_another_rule_shows_what_was_hidden_and_comes_back(objects, layer, still):
    before = layer.data.copy()
    objects.form.view.rule.value = "smallest"
    still()
    assert shown(layer) == [1, 2, 3]
    assert (layer.data[SMALL.slices] == 3).all()
    objects.form.view.rule.value = ""
    still()
    assert np.array_equal(layer.data, before)


@pytest.mark.parametrize(
    ("control", "value", "left"),
    [
        ("min_score", 0.65, [1, 2]),
        ("min_score", 0.8, [1]),
        ("min_area", 401, [1]),
        ("max_area", 999, [2, 3]),
        ("without_border", True, [1, 3]),
        ("max_iom", 0.5, [1, 2]),
    ],
)
def test_filters_hide_and_lose_nothing(objects, layer, still, control, value, left):
    objects.form.view.rule.value = "smallest"
    still()
    before = layer.data.copy()
    getattr(objects.form.view, control).value = value
    still()
    assert shown(layer) == left
    assert len(find_store(layer)) == 3
    objects.form.view.reset.native.click()
    still()
    assert np.array_equal(layer.data, before)


def test_filters_ask_no_engine_and_leave_no_step_in_the_layers_history(
    objects, layer, still, engine
):
    before = layer.data.copy()
    layer.data_setitem((np.array([35, 36]), np.array([62, 62])), 2)
    still()
    for least in (500, 0):
        objects.form.view.min_area.value = least
        still()
    assert engine.requests == []
    layer.undo()
    assert np.array_equal(layer.data, before)


def test_what_was_filtered_out_is_not_found_a_second_time(
    viewer, seen, objects, layer, still, panel, run, engine
):
    objects.form.view.min_area.value = 500
    still()
    panel.form.output.value = layer
    engine.answer = lambda request: Instances(request.shape, (solid(Box(40, 61, 60, 80), 0.8),))
    assert "1 rejected or filtered out before" in run("everything")
    still()
    assert len(find_store(layer)) == 3


# ---------------------------------------------------------------------- review


def test_the_least_sure_object_comes_first(objects, still):
    objects.next()
    assert objects.review.current == (3,)
    assert objects.form.table.selected_labels() == (3,)
    assert "score 0.6" in said(objects)
    objects.next()
    assert objects.review.current == (2,)
    objects.next(-1)
    assert objects.review.current == (3,)


def test_accept_and_reject_go_on_to_the_next_one(objects, layer, still):
    objects.form.view.rule.value = "smallest"
    still()
    objects.next()
    assert objects.review.current == (3,)
    objects.reject()
    assert objects.review.current == (2,)
    objects.accept()
    assert objects.review.current == (1,)
    still()
    assert states(layer) == {1: "unreviewed", 2: "accepted", 3: "rejected"}
    assert shown(layer) == [1, 2]
    assert objects.form.reviewed.text().startswith("2 of 3 reviewed")
    assert layer.features["state"].tolist() == ["unreviewed", "accepted", "rejected"]


def test_each_step_is_taken_back_by_itself(objects, layer, still):
    before = layer.data.copy()
    objects.review.choose((1, 2))
    objects.reject()
    still()
    objects.review.choose((3,))
    objects.accept()
    assert objects.form.reviewed.text().endswith("undo takes back: accept 3")
    objects.undo()
    objects.undo()
    still()
    assert np.array_equal(layer.data, before)
    assert set(states(layer).values()) == {"unreviewed"}
    objects.undo()
    assert said(objects) == "There is nothing to take back."


def test_steps_can_be_taken_back_after_the_panel_was_closed(objects, layer, still):
    objects.review.choose((1,))
    objects.reject()
    still()
    objects.close_down()
    objects.open()
    still()
    objects.undo()
    still()
    assert said(objects) == "Taken back: reject 1."
    assert states(layer)[1] == "unreviewed"
    assert shown(layer) == [1, 2]


def test_a_decision_without_an_object_says_how_to_choose_one(objects):
    objects.review.choose(())
    objects.accept()
    assert "Select an object first" in said(objects)


def test_the_end_of_the_review_is_said(objects, still):
    objects.next()
    for _ in range(3):
        objects.accept()
    assert "Nothing is left to review" in said(objects)


@on_screen
def test_keys_on_the_canvas_review(viewer, seen, objects, layer, still, qtbot):
    press(seen, Qt.Key.Key_J)
    qtbot.waitUntil(lambda: objects.review.current == (3,), timeout=LIMIT_MS)
    press(seen, Qt.Key.Key_H)
    press(seen, Qt.Key.Key_G)
    press(seen, Qt.Key.Key_U)
    still()
    assert states(layer) == {1: "unreviewed", 2: "unreviewed", 3: "rejected"}


@on_screen
def test_keys_in_the_table_review(viewer, seen, objects, layer, still, qtbot):
    objects.form.table.view.setFocus()
    QTest.keyClick(objects.form.table.view, Qt.Key.Key_J)
    qtbot.waitUntil(lambda: objects.review.current == (3,), timeout=LIMIT_MS)
    QTest.keyClick(objects.form.table.view, Qt.Key.Key_H)
    still()
    assert states(layer)[3] == "rejected"


@on_screen
def test_a_click_on_an_object_selects_its_row(viewer, seen, objects, layer, still, qtbot):
    seen.layers.selection.active = layer
    mouse = Mouse(seen, qtbot)
    mouse.click(50, 70)
    qtbot.waitUntil(lambda: objects.form.table.selected_labels() == (2,), timeout=LIMIT_MS)
    assert objects.review.current == (2,)
    mouse.click(2, 2)
    qtbot.waitUntil(lambda: objects.review.current == (), timeout=LIMIT_MS)


def test_a_selected_row_is_centred_and_outlined(seen, objects, layer):
    objects.form.table.selected.emit((2,))
    row, col = seen.scene.camera.center[-2:]
    assert (row, col) == ((40 + 59) / 2, (60 + 79) / 2)
    outline = next(one for one in seen.layers if one.name.startswith("selected in"))
    assert len(outline.data) == 2 * (20 + 20)
    corners = outline.data[:, 0]
    assert corners.min(axis=0).tolist() == [39.5, 59.5]


def test_outlines_follow_a_layer_that_is_given_another_scale(seen, objects, layer):
    objects.form.table.selected.emit((2,))
    layer.scale = (2, 3)
    objects.form.table.selected.emit((1,))
    (outline,) = (one for one in seen.layers if one.name.startswith("selected in"))
    assert np.allclose(outline.scale, layer.scale)


# ---------------------------------------------------------------------- other hands


def test_strokes_by_hand_go_into_the_record(objects, layer, still):
    layer.data_setitem((np.array([35, 36]), np.array([62, 62])), 2)
    still()
    objects.keeper.look_everywhere()
    still()
    one = find_store(layer).on(WHOLE)[2]
    assert one.instance.area == 402
    assert one.state == "edited"


def test_an_edited_label_survives_filters(objects, layer, still):
    layer.data[50:55, 5:9] = 7
    layer.data[7, 12] = 0
    layer.refresh()
    still()
    before = layer.data.copy()
    objects.form.view.min_area.value = 5000
    still()
    assert shown(layer) == []
    objects.form.view.min_area.value = 0
    still()
    assert np.array_equal(layer.data, before)


def test_what_was_erased_is_kept_as_rejected_and_said(objects, layer, still):
    layer.data[layer.data == 2] = 0
    layer.refresh()
    still()
    assert states(layer)[2] == "rejected"
    assert "kept as rejected" in said(objects)
    objects.review.choose((2,))
    objects.accept()
    still()
    assert 2 in shown(layer)


def test_labels_that_another_plugin_renumbered_stay_the_same_objects(objects, layer, still):
    swapped = layer.data.copy()
    swapped[layer.data == 1], swapped[layer.data == 2] = 2, 1
    layer.data = swapped
    still()
    objects_now = find_store(layer).on(WHOLE)
    assert objects_now[2].instance.box == LARGE
    assert objects_now[1].instance.box == EDGE
    assert objects_now[2].instance.score == 0.9
    assert "renumbered" in said(objects)


def test_labels_of_another_program_can_be_reviewed(seen, objects, still):
    data = np.zeros((60, 90), np.int32)
    data[3:9, 4:20] = 70_000
    data[30:40, 50:60] = 5
    other = seen.add_labels(data, name="cellpose")
    objects.form.labels.value = other
    still()
    assert objects.form.table.visible_labels() == (5, 70_000)
    assert set(states(other).values()) == {"unreviewed"}
    objects.review.choose((70_000,))
    objects.reject()
    still()
    assert shown(other) == [5]
    objects.undo()
    still()
    assert np.array_equal(other.data, data)
    assert other.data.dtype == np.int32


def test_a_layer_of_another_shape_begins_a_record_anew_and_the_old_one_is_kept(
    objects, layer, still
):
    layer.data = np.zeros((30, 40), np.uint16)
    still()
    assert len(find_store(layer)) == 0
    assert len(find_store(layer).aside) == 3
    assert "set aside" in said(objects)


def test_a_removed_layer_is_let_go(seen, objects, layer, still):
    objects.review.choose((1,))
    objects.reject()
    seen.layers.remove(layer)
    still()
    assert objects.layer is None
    assert objects.form.table.visible_labels() == ()


def test_a_run_in_between_is_nobodys_edit(viewer, objects, layer, still, panel, run, engine):
    panel.form.output.value = layer
    engine.answer = lambda request: Instances(request.shape, (solid(Box(33, 2, 38, 9), 0.4),))
    run("everything")
    still()
    assert states(layer)[4] == "unreviewed"
    assert "drawn" not in said(objects)


# ---------------------------------------------------------------------- refining


def test_refining_asks_on_a_crop_and_changes_this_object_alone(
    objects, layer, still, engine, refine
):
    before = layer.data.copy()
    engine.answer = lambda request: Instances(request.shape, (solid(Box(12, 12, 24, 24), 0.95),))
    refine(2)
    request = engine.requests[-1]
    assert request.image.shape[:2] == (36, 46)
    assert request.prompt.box == Box(16, 16, 36, 36)
    one = find_store(layer).on(WHOLE)[2]
    assert one.instance.box == Box(36, 56, 48, 68)
    assert one.state == "edited"
    assert np.array_equal(layer.data == 1, before == 1)
    assert np.count_nonzero(layer.data == 2) == 144
    objects.refine()
    objects.undo()
    still()
    assert np.array_equal(layer.data, before)


def test_clicks_refine_live_and_end_with_their_layer(seen, objects, layer, still, engine, refine):
    refine(2)
    points = next(one for one in seen.layers if isinstance(one, Points))
    points.add((44, 64))
    still()
    objects.refining.toggle_polarity()
    points.add((58, 78))
    still()
    clicks = engine.requests[-1].prompt.points
    assert [(p.row, p.col, p.positive) for p in clicks] == [(20, 20, True), (34, 34, False)]
    objects.refine()
    assert points not in seen.layers
    assert seen.layers.selection.active == layer
    assert objects.form.reviewed.text().endswith("undo takes back: refine 2")


def test_a_refined_object_is_on_record_and_taken_back_from_it(objects, layer, still, refine):
    refine(2)
    record = layer.metadata[METADATA_KEY]
    check_record(record)
    assert record["runs"][-1]["crop"] == [24, 44, 60, 90]
    assert altered_questions(record) == ()
    objects.refine()
    objects.undo()
    assert layer.metadata[METADATA_KEY]["runs"] == []


def test_an_empty_answer_changes_nothing(objects, layer, still, engine, refine):
    before = layer.data.copy()
    engine.answer = lambda request: Instances(request.shape)
    refine(2)
    assert "Nothing was found there" in said(objects)
    assert np.array_equal(layer.data, before)


def test_where_the_image_shows_nothing_that_is_the_reason(objects, seen, engine, refine):
    engine.answer = lambda request: Instances(request.shape)
    seen.layers["cells"].contrast_limits_range = (0, 65535)
    seen.layers["cells"].contrast_limits = (0, 65535)
    refine(2)
    assert "Nothing was found there" in said(objects)
    assert "the contrast limits of “cells” are 0 and 65535" in said(objects)


def test_a_failing_engine_is_said_and_changes_nothing(objects, layer, still, engine, refine):
    before = layer.data.copy()
    engine.error = EngineError("The engine is out of order.")
    refine(2)
    assert said(objects) == "The engine is out of order."
    assert np.array_equal(layer.data, before)


def test_a_layer_that_is_deleted_in_mid_run_loses_nothing_else(seen, objects, layer, still, engine):
    engine.hold()
    objects.review.choose((2,))
    objects.refine()
    seen.layers.remove(layer)
    engine.release()
    still()
    assert not objects.refining.is_on
    assert not any(isinstance(one, Points) for one in seen.layers)


# ---------------------------------------------------------------------- other layers, files


def test_overlaps_and_classes_are_layers_of_their_own(seen, objects, layer, still):
    objects.form.view.rule.value = "smallest"
    objects.show_overlaps()
    objects.show_classes()
    still()
    overlaps = seen.layers[f"overlaps of {layer.name}"]
    assert (overlaps.data[SMALL.slices] == 2).all()
    assert np.count_nonzero(overlaps.data) == 150
    classes = seen.layers[f"classes of {layer.name}"]
    assert np.array_equal(classes.data > 0, layer.data > 0)
    objects.review.choose((3,))
    objects.reject()
    still()
    assert not overlaps.data.any()


def test_objects_become_examples_of_find_all(viewer, objects, panel, still):
    objects.review.choose((2, 3))
    objects.use_as_examples(True)
    objects.review.choose((1,))
    objects.use_as_examples(False)
    prompt = panel.value().prompts[0]
    assert {(e.box, e.positive) for e in prompt.exemplars} == {
        (EDGE, True),
        (SMALL, True),
        (LARGE, False),
    }


def test_what_is_shown_is_exported_with_overlaps(objects, layer, still, tmp_path, monkeypatch):
    objects.form.view.rule.value = "smallest"
    objects.review.choose((2,))
    objects.reject()
    still()
    target = tmp_path / "cells.json"
    answer = (str(target), "")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: answer)
    objects.export()
    still()
    coco = json.loads(target.read_text())
    assert sorted(one["area"] for one in coco["annotations"]) == [150, 1000]


def test_exported_objects_are_imported_as_they_were(seen, objects, layer, still, tmp_path):
    target = tmp_path / "cells.json"
    objects.export_to(str(target))
    still()
    objects.sharing.read(str(target))
    still()
    other = seen.layers[-1] if isinstance(seen.layers[-1], Labels) else objects.layer
    assert objects.layer is other
    record = find_store(other)
    areas = sorted(one.area for one in record.objects.values())
    assert areas == [150, 400, 1000]


def test_how_far_an_export_is_is_told_until_it_is_done(objects, still, tmp_path):
    told = []
    objects.sharing.progressed.connect(lambda _step: told.append(said(objects)))
    objects.export_to(str(tmp_path / "cells.geojson"))
    still()
    assert any("%" in words for words in told)
    assert said(objects) == "3 objects → cells.geojson."


def test_a_file_that_cannot_be_written_is_said(objects, still, tmp_path):
    objects.export_to(str(tmp_path / "nowhere" / "cells.json"))
    still()
    assert "nowhere" in said(objects)


def test_a_comparison_shows_numbers_and_a_plot(seen, objects, layer, still):
    truth = seen.add_labels(np.roll(layer.data, 1, axis=0), name="truth")
    objects.form.truth.value = truth
    objects.compare()
    still()
    table = objects.form.numbers
    rows = range(table.rowCount())
    named = {table.itemAt(i, table.ItemRole.LabelRole).widget().text() for i in rows}
    assert {"AP50", "mSA", "F1"} <= named
    assert not objects.form.plot.isHidden()


# ---------------------------------------------------------------------- coming back


def test_a_saved_review_goes_on_where_it_ended(seen, objects, layer, still, tmp_path):
    objects.form.view.rule.value = "smallest"
    objects.form.view.min_score.value = 0.65
    objects.review.choose((2,))
    objects.accept()
    still()
    save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
    ((data, attributes, kind),) = get_reader(str(tmp_path / "cells.json"))(
        str(tmp_path / "cells.json")
    )
    assert kind == "labels"
    again = Labels(data, **attributes)
    seen.add_layer(again)
    objects.form.labels.value = again
    still()
    assert states(again) == {1: "unreviewed", 2: "accepted", 3: "unreviewed"}
    assert objects.form.view.value() == View("smallest", 0.65)
    assert np.array_equal(again.data, layer.data)
    objects.form.view.min_score.value = 0
    still()
    assert shown(again) == [1, 2, 3]
    check_record(again.metadata[METADATA_KEY])


def test_a_stack_is_reviewed_on_all_of_its_planes(qtbot):
    seen = ViewerModel()
    rng = np.random.default_rng(4)
    seen.add_image(rng.integers(0, 255, (3, 60, 90), dtype=np.uint8), name="stack")
    labels = np.zeros((3, 60, 90), np.uint16)
    labels[0, 5:20, 10:40] = 1
    labels[2, 30:40, 50:70] = 2
    layer = seen.add_labels(labels.copy())
    seen.dims.set_current_step(0, 2)
    panel = ObjectsPanel(seen)
    qtbot.addWidget(panel)
    wait(panel, qtbot)
    assert panel.form.table.visible_labels() == (1, 2)
    seen.dims.set_current_step(0, 0)
    wait(panel, qtbot)
    panel.form.table.selected.emit((2,))
    assert seen.dims.current_step[0] == 2
    panel.reject()
    wait(panel, qtbot)
    assert not layer.data[2].any()
    assert np.array_equal(layer.data[0], labels[0])
    panel.close_down()


def test_a_refined_and_reviewed_layer_is_made_again_from_its_record(
    viewer, objects, panel, run, engine, still
):
    answers = []

    def remember(request):
        box = request.prompt.box if isinstance(request.prompt, ObjectPrompt) else None
        boxes = [LARGE, EDGE, SMALL] if box is None else [box, Box(2, 3, 30, 29)]
        answers.append(Instances(request.shape, tuple(solid(b, 0.9 - b.top / 100) for b in boxes)))
        return answers[-1]

    engine.answer = remember
    viewer.layers.remove("cells objects")
    run("everything")
    still()
    made = objects.layer
    objects.review.choose((2,))
    objects.refine()
    still()
    points = next(one for one in viewer.layers if isinstance(one, Points))
    points.add((44, 64))
    still()
    objects.refine()
    objects.review.choose((1,))
    objects.reject()
    still()
    record = with_objects(made.metadata[METADATA_KEY], find_store(made))
    check_record(record)
    ids = [run["id"] for run in record["runs"]]
    again = rebuild(record, {(one, 0): answer for one, answer in zip(ids, answers, strict=True)})
    assert np.array_equal(again, made.data)


def test_review_opens_the_panel_with_what_was_found(viewer, panel, run, qtbot):
    run("everything")
    panel.review()
    objects = viewer.window.add_plugin_dock_widget("napari-sam3", "Objects")[1]
    wait(objects, qtbot)
    assert objects.layer is not None
    assert objects.form.reviewed.text() == "0 of 2 reviewed"
    objects.close_down()
