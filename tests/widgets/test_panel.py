"""The panel in a real window, asked through what the user touches."""

from __future__ import annotations

import gc
import threading
import weakref

import dask
import dask.array
import numpy as np
import pytest
from napari.layers import Labels, Points, Shapes
from napari.utils import progress
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QProgressBar, QScrollArea

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.prompts import ConceptPrompt, Everything, ObjectPrompt
from napari_sam3.errors import CreditsError, PromptError
from napari_sam3.layers.drawing import NEGATIVE_COLOUR, POSITIVE_COLOUR
from napari_sam3.settings import data_folder
from napari_sam3.widgets.panel import SegmentPanel

from .conftest import (
    LIMIT_MS,
    SHAPE,
    labels_layers,
    on_screen,
    only_labels,
    picture,
    press,
    said,
    solid,
    values,
)

BOX = np.array([[5, 5], [5, 20], [15, 20], [15, 5]], dtype=float)


@pytest.fixture
def draw_box(panel, settle):
    def draw_box(vertices, *, wait=True):
        if panel.prompts.get("boxes") is None:
            panel.form.tools.box.native.click()
        panel.prompts.get("boxes").add_rectangles(vertices)
        if wait:
            settle()

    return draw_box


@pytest.fixture
def focus(viewer, qtbot):
    """Give a control the keyboard, as a mouse click on it does."""

    def focus(control):
        window = viewer.window._qt_window
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow, timeout=LIMIT_MS)
        control.native.setFocus()
        return control.native

    return focus


def delete(panel):
    """Do away with a panel that has no dock: napari calls it a leak otherwise."""
    panel.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


def last_points(engine):
    return [p.pixel for p in engine.requests[-1].prompt.points]


def hex_of(colour):
    return "#" + "".join(f"{round(v * 255):02x}" for v in colour[:3])


# ---------------------------------------------------------------- Run


def test_run_on_everything_adds_a_labels_layer(viewer, panel, run):
    line = run("everything")
    layer = only_labels(viewer)
    assert layer.name == "cells objects"
    assert layer.data.shape == SHAPE
    assert values(layer) == [0, 1, 2]
    assert line.startswith("2 objects, ")
    assert line.endswith("s → “cells objects”")


def test_a_second_run_uses_the_same_layer_and_appends(viewer, panel, run, engine):
    run("everything")
    before = only_labels(viewer).data.copy()
    engine.answer = lambda r: Instances(r.shape, (solid(Box(50, 1, 55, 9)),))
    run()
    layer = only_labels(viewer)
    assert values(layer) == [0, 1, 2, 3]
    assert np.array_equal(layer.data[before > 0], before[before > 0])


def test_a_repeated_run_adds_nothing_and_says_so(viewer, panel, run):
    run("everything")
    before = only_labels(viewer).data.copy()
    assert "2 labelled already" in run()
    assert np.array_equal(only_labels(viewer).data, before)


def test_a_free_run_makes_no_ledger(panel, run):
    run("everything")
    assert "object" in said(panel)
    assert not data_folder().exists()


def test_the_line_of_result_counts_objects_and_overlaps(panel, run, engine):
    boxes = (Box(1, 1, 20, 20), Box(10, 10, 30, 30), Box(40, 40, 45, 45))
    engine.answer = lambda r: Instances(r.shape, tuple(solid(b) for b in boxes))
    assert run("everything").startswith("3 objects, 2 overlap, ")


def test_one_object_is_not_called_objects(panel, run, engine):
    engine.answer = lambda r: Instances(r.shape, (solid(Box(1, 1, 5, 5)),))
    assert run("everything").startswith("1 object, ")


def test_an_empty_answer_is_called_nothing_found(panel, run, engine):
    engine.answer = lambda r: Instances(r.shape)
    assert run("everything").startswith("Nothing found, ")


def test_the_features_table_tells_what_each_label_is(viewer, panel, run):
    run("everything")
    table = only_labels(viewer).features
    assert table["index"].tolist() == [1, 2]
    assert table["score"].tolist() == [0.9, 0.9]
    assert sorted(table["area"]) == [200, 525]
    assert set(table["prompt"]) == {"everything"}
    assert set(table["engine"]) == {"Built-in"}


def test_hand_edited_labels_are_untouched(viewer, panel, run, engine):
    run("everything")
    layer = only_labels(viewer)
    layer.data_setitem((np.array([30, 31]), np.array([40, 41])), 50)
    layer.data_setitem((np.array([0]), np.array([0])), 51)
    engine.answer = lambda r: Instances(r.shape, (solid(Box(0, 0, 60, 90)),))
    run()
    assert layer.data[30, 40] == layer.data[31, 41] == 50
    assert layer.data[0, 0] == 51
    assert values(layer) == [1, 2, 50, 51, 52]


def test_one_run_is_one_undo_step_also_the_first(viewer, panel, run, engine):
    run("everything")
    engine.answer = lambda r: Instances(r.shape, (solid(Box(50, 1, 55, 9)),))
    run()
    layer = only_labels(viewer)
    layer.undo()
    assert values(layer) == [0, 1, 2]
    layer.undo()
    assert values(layer) == [0]


@on_screen
def test_enter_in_the_text_field_runs_once(viewer, panel, settle, paid_engine, focus):
    panel.form.engine.value = "paid"
    panel.form.question.value = "concept"
    panel.form.text.value = "nucleus"
    QTest.keyClick(focus(panel.form.text), Qt.Key.Key_Return)
    settle()
    assert [r.prompt for r in paid_engine.requests] == [ConceptPrompt("nucleus")]


@on_screen
@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_enter_runs(viewer, panel, settle, engine, focus, key):
    QTest.keyClick(focus(panel.form.engine), key)
    settle()
    assert len(engine.requests) == 1


@on_screen
def test_escape_cancels(viewer, panel, settle, engine, asked, focus):
    engine.hold()
    panel.run()
    asked(engine, 1)
    QTest.keyClick(focus(panel.form.engine), Qt.Key.Key_Escape)
    settle()
    assert said(panel) == "Cancelled. Nothing was changed."
    assert labels_layers(viewer) == []


def test_value_is_frozen_and_reads_no_pixel(viewer, panel):
    def refuse(block):
        raise AssertionError("a pixel was read")

    layer = viewer.layers["cells"]
    lazy = dask.array.zeros(SHAPE, dtype=np.uint8, chunks=SHAPE)
    layer.data = lazy
    with dask.config.set(scheduler="synchronous"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask.array.Array, "__array__", refuse)
        patch.setattr(dask.array.Array, "compute", refuse)
        run = panel.value()
    assert run.prompts == (Everything(32, 0.88),)
    with pytest.raises(AttributeError):
        run.prompts = ()


def test_value_of_nothing_drawn_is_refused_with_a_sentence(panel):
    panel.form.question.value = "object"
    with pytest.raises(PromptError, match="No object is marked yet"):
        panel.value()


@pytest.mark.parametrize("question", ["object", "concept"])
def test_marks_that_cannot_be_used_are_said_instead_of_nothing_drawn(
    viewer, panel, run, engine, question
):
    stack = viewer.add_image(picture((4, *SHAPE)), name="stack")
    panel.form.image.value = stack
    panel.form.question.value = question
    panel.form.live.value = False
    panel.draw("boxes" if question == "object" else "examples")
    layer = panel.prompts.get("boxes" if question == "object" else "examples")
    viewer.dims.set_point(0, 2)
    layer.add_rectangles(np.insert(BOX, 0, 2, axis=1))
    viewer.dims.set_point(0, 1)
    line = run()
    assert "1 shape is not on the plane that is shown" in line
    assert "yet" not in line
    assert engine.requests == []
    viewer.dims.set_point(0, 2)
    run()
    assert len(engine.requests) == 1


# ---------------------------------------------------------------- live


def test_each_click_refines_the_current_object(viewer, panel, click, engine):
    click(20, 20)
    assert values(only_labels(viewer)) == [0, 1]
    click(30, 40)
    layer = only_labels(viewer)
    assert values(layer) == [0, 1]
    assert layer.data[20, 20] == layer.data[30, 40] == layer.data[25, 30] == 1
    assert last_points(engine) == [(20, 20), (30, 40)]
    assert layer.features["prompt"].tolist() == ["2 + points"]


def test_a_click_made_while_an_answer_is_under_way_is_not_lost(
    viewer, panel, click, engine, asked, settle
):
    engine.hold()
    click(20, 20, wait=False)
    asked(engine, 1)
    for col in (30, 40, 50):
        click(20, col, wait=False)
    engine.release()
    settle()
    assert last_points(engine) == [(20, 20), (20, 30), (20, 40), (20, 50)]
    layer = only_labels(viewer)
    assert values(layer) == [0, 1]
    assert (layer.data[20, 20:51] == 1).all()
    assert engine.most_at_once == 1


def test_a_click_made_while_an_answer_is_written_is_not_lost(viewer, panel, click, settle, engine):
    def click_again(*_):
        panel.runner.returned.disconnect(click_again)
        assert panel.committer.is_busy
        panel.prompts.get("points").add((20, 50))

    panel.runner.returned.connect(click_again)
    click(20, 20)
    assert last_points(engine) == [(20, 20), (20, 50)]
    assert (only_labels(viewer).data[20, 20:51] == 1).all()


def test_a_click_that_is_taken_back_while_it_is_answered_changes_nothing(
    viewer, panel, click, engine, asked, settle
):
    click(20, 20)
    before = only_labels(viewer).data.copy()
    engine.hold()
    engine.heeds_stop = False
    click(20, 60, wait=False)
    asked(engine, 2)
    layer = panel.prompts.get("points")
    layer.selected_data = {1}
    layer.remove_selected()
    QApplication.processEvents()
    engine.release()
    settle()
    assert np.array_equal(only_labels(viewer).data, before)


def test_a_moved_box_refines_its_object(viewer, panel, draw_box, settle, engine):
    draw_box(BOX)
    boxes = panel.prompts.get("boxes")
    boxes.data = [BOX + 20]
    settle()
    layer = only_labels(viewer)
    assert values(layer) == [0, 1]
    assert layer.data[30, 30] == 1
    assert layer.data[10, 10] == 0


def test_a_second_box_starts_another_object(viewer, panel, draw_box):
    draw_box(BOX)
    draw_box(BOX + 25)
    layer = only_labels(viewer)
    assert layer.data[10, 10] == 1
    assert layer.data[35, 35] == 2
    assert panel.prompts.get("boxes").features["object"].tolist() == [1, 2]


def test_only_what_changed_is_asked_again(panel, draw_box, engine):
    draw_box(BOX)
    draw_box(BOX + 25)
    assert len(engine.requests) == 2


def test_next_object_starts_another(viewer, panel, click):
    click(20, 20)
    panel.form.next_object.native.click()
    assert "object 2" in said(panel)
    click(40, 60)
    layer = only_labels(viewer)
    assert layer.data[20, 20] == 1
    assert layer.data[40, 60] == 2


@pytest.mark.parametrize("kind", ["points", "boxes"])
def test_the_keys_are_really_bound(viewer, panel, kind):
    panel.draw(kind, tool="scribble")
    layer = panel.prompts.get(kind)
    layer.add((20, 20)) if kind == "points" else layer.add_paths(BOX[:2])
    press(viewer, Qt.Key.Key_N)
    assert layer.feature_defaults["object"].iloc[0] == 2
    press(viewer, Qt.Key.Key_W)
    assert layer.feature_defaults["polarity"].iloc[0] == "negative"
    press(viewer, Qt.Key.Key_W)
    assert layer.feature_defaults["polarity"].iloc[0] == "positive"
    assert panel.form.keys.text() == "Enter run · Esc cancel · N next · W +/− · Q size"


def test_w_turns_the_next_click_negative_in_another_colour(viewer, panel, click, engine):
    click(20, 20)
    press(viewer, Qt.Key.Key_W)
    click(30, 30)
    points = panel.prompts.get("points")
    assert [hex_of(c) for c in points.face_color] == [POSITIVE_COLOUR, NEGATIVE_COLOUR]
    assert [p.positive for p in engine.requests[-1].prompt.points] == [True, False]
    assert panel.form.tools.count.text() == "1 +, 1 −"


def test_one_object_per_point(viewer, panel, click, run):
    panel.form.live.value = False
    panel.form.one_per_point.value = True
    click(10, 10)
    click(40, 60)
    assert labels_layers(viewer) == []
    run()
    assert values(only_labels(viewer)) == [0, 1, 2]


def test_what_is_drawn_without_live_waits_for_run(viewer, panel, click, run, engine):
    panel.form.live.value = False
    click(20, 20)
    assert engine.requests == []
    run()
    assert values(only_labels(viewer)) == [0, 1]


def test_a_text_after_clicks_does_not_send_the_old_points(panel, click, run, paid_engine):
    click(20, 20)
    panel.form.engine.value = "paid"
    panel.form.text.value = "nucleus"
    run("concept")
    assert [r.prompt for r in paid_engine.requests] == [ConceptPrompt("nucleus")]


def test_a_click_does_not_drop_the_run_on_everything(viewer, panel, click, engine, asked, settle):
    engine.hold()
    panel.run()
    asked(engine, 1)
    click(20, 80, wait=False)
    QApplication.processEvents()
    engine.release()
    settle()
    assert values(only_labels(viewer)) == [0, 1, 2, 3]


# ---------------------------------------------------------------- what can be done


def enabled(panel):
    tools = panel.form.tools
    names = ("point", "scribble", "box")
    signed = {*names, *(f"negative_{name}" for name in names), "outline"}
    return {name for name in signed if getattr(tools, name).enabled}


def test_what_the_engine_cannot_do_is_disabled_and_says_why(panel):
    panel.form.question.value = "concept"
    assert not panel.form.text.enabled
    assert panel.form.text.tooltip == (
        "The Built-in engine cannot find things by name; use Paid SAM3 for that."
    )
    panel.form.engine.value = "paid"
    assert panel.form.text.enabled
    assert "Enter runs" in panel.form.text.tooltip
    assert not panel.form.tools.negative_box.enabled
    assert "use Built-in for that" in panel.form.tools.negative_box.tooltip
    panel.form.question.value = "object"
    assert not panel.form.tools.box.enabled
    assert "use Built-in for that" in panel.form.tools.box.tooltip


def test_tools_that_make_no_sense_for_a_question_are_disabled_and_say_why(panel):
    panel.form.question.value = "concept"
    assert enabled(panel) == {"box", "negative_box"}
    assert "draw a box around an example" in panel.form.tools.point.tooltip
    panel.form.question.value = "object"
    assert enabled(panel) == {
        *("point", "negative_point", "scribble", "negative_scribble"),
        *("box", "outline"),
    }
    assert "Find all" in panel.form.tools.negative_box.tooltip


def test_every_control_has_a_tooltip(panel):
    form = panel.form
    controls = [
        *(form.image, form.composed, form.engine, form.question, form.text, form.examples),
        *(form.points, form.boxes, form.one_per_point, form.live, form.next_object, form.proposal),
        *(form.run, form.cancel, form.output, form.rule),
        *form.settings.values(),
        *form.tools.all,
    ]
    for question in ("concept", "object", "everything"):
        form.question.value = question
        assert [c.name for c in controls if not c.tooltip] == []


@pytest.mark.parametrize(
    ("question", "those"),
    [("concept", {"min_score"}), ("object", set()), ("everything", {"max_masks", "diameter"})],
)
def test_thresholds_are_enabled_only_where_they_matter(panel, question, those):
    panel.form.question.value = question
    assert {name for name, c in panel.form.settings.items() if c.enabled} == those
    unused = next(c for name, c in panel.form.settings.items() if name not in those)
    assert unused.tooltip.endswith("Not used here.")


def test_thresholds_are_sent_only_where_they_matter(panel, run, click, engine):
    panel.form.min_score.value = 0.75
    panel.form.max_masks.value = 7
    run("everything")
    assert (engine.requests[-1].min_score, engine.requests[-1].max_masks) == (0, 7)
    click(20, 20)
    assert (engine.requests[-1].min_score, engine.requests[-1].max_masks) == (0, 0)
    panel.form.question.value = "concept"
    panel.form.tools.box.native.click()
    panel.prompts.get("examples").add_rectangles(BOX)
    run()
    assert (engine.requests[-1].min_score, engine.requests[-1].max_masks) == (0.75, 0)


def test_a_refused_question_names_the_engines_that_can(viewer, panel, run, engine):
    panel.form.text.value = "nucleus"
    line = run("concept")
    assert line == ("The Built-in engine cannot find things by name; use Paid SAM3 for that.")
    assert engine.requests == []
    assert labels_layers(viewer) == []


def test_a_text_that_cannot_be_asked_does_not_block_the_examples(panel, run, engine):
    panel.form.text.value = "nucleus"
    panel.form.question.value = "concept"
    panel.form.tools.box.native.click()
    panel.prompts.get("examples").add_rectangles(BOX)
    line = run()
    assert engine.requests[-1].prompt.text == ""
    assert "The text “nucleus” was left out." in line


def test_negative_examples_are_sent(panel, run, engine):
    panel.form.question.value = "concept"
    panel.form.tools.box.native.click()
    panel.prompts.get("examples").add_rectangles(BOX)
    panel.form.tools.negative_box.native.click()
    panel.prompts.get("examples").add_rectangles(BOX + 25)
    assert panel.form.tools.count.text() == "1 +, 1 −"
    run()
    assert [e.positive for e in engine.requests[-1].prompt.exemplars] == [True, False]


def test_a_missing_engine_says_what_is_missing(panel, engine):
    panel.form.engine.value = "absent"
    assert not panel.form.run.enabled
    assert "not part of this version" in panel.form.status.text()
    panel.run()
    assert "not part of this version" in said(panel)
    panel.form.engine.value = "builtin"
    assert panel.form.run.enabled
    assert panel.form.status.text().startswith("● ready: here, free")


def test_no_image_is_a_sentence(make_napari_viewer, open_panel, engine):
    panel = open_panel(make_napari_viewer())
    for question in ("concept", "object", "everything"):
        panel.form.question.value = question
        panel.run()
        assert said(panel).startswith("There is no image yet")
    panel.draw("points")
    assert said(panel).startswith("There is no image yet")
    assert engine.requests == []


# ---------------------------------------------------------------- one after the other


def test_of_a_free_engine_only_the_newest_answer_is_used(
    viewer, panel, click, engine, asked, settle
):
    engine.hold()
    engine.heeds_stop = False
    click(20, 20, wait=False)
    asked(engine, 1)
    points = panel.prompts.get("points")
    points.data = np.array([[40, 60]])
    QApplication.processEvents()
    engine.release()
    settle()
    layer = only_labels(viewer)
    assert layer.data[20, 20] == 0
    assert layer.data[40, 60] == 1
    assert last_points(engine) == [(40, 60)]


def test_three_clicks_on_run_start_one(viewer, panel, engine, asked, settle):
    engine.hold()
    for _ in range(3):
        panel.form.run.native.click()
    asked(engine, 1)
    panel.form.run.native.click()
    engine.release()
    settle()
    assert len(engine.requests) == 1
    assert values(only_labels(viewer)) == [0, 1, 2]


def test_run_with_another_question_takes_the_place_of_the_first(panel, engine, asked, settle):
    engine.hold()
    panel.run()
    asked(engine, 1)
    panel.form.max_masks.value = 5
    panel.run()
    assert said(panel).startswith("Waiting for the run before")
    engine.release()
    settle()
    assert [r.max_masks for r in engine.requests] == [0, 5]
    assert said(panel).startswith("2 objects")
    assert engine.most_at_once == 1


def test_run_after_a_change_of_contrast_asks_again(viewer, panel, engine, asked, settle):
    engine.hold()
    panel.run()
    asked(engine, 1)
    viewer.layers["cells"].contrast_limits = (10, 20)
    panel.run()
    engine.release()
    settle()
    assert len(engine.requests) == 2


def test_cancel_then_run_never_runs_two_at_once(viewer, panel, engine, asked, settle):
    engine.hold()
    engine.heeds_stop = False
    panel.run()
    asked(engine, 1)
    panel.form.cancel.native.click()
    assert said(panel).startswith("Cancelled")
    assert not panel.form.cancel.enabled
    panel.form.run.native.click()
    assert said(panel).startswith("Waiting for the run before")
    assert panel.form.cancel.enabled
    engine.release()
    settle()
    assert engine.most_at_once == 1
    assert len(engine.requests) == 2
    assert values(only_labels(viewer)) == [0, 1, 2]


def test_a_second_billed_run_is_refused_with_a_sentence(
    viewer, panel, paid_engine, asked, settle, qtbot
):
    panel.form.engine.value = "paid"
    paid_engine.hold()
    panel.run()
    asked(paid_engine, 1)
    assert not panel.form.run.enabled
    panel.form.max_masks.value = 5
    qtbot.waitUntil(lambda: said(panel) == "segmenting …", timeout=LIMIT_MS)
    panel.run()
    assert said(panel) == "A paid request is under way; wait for its result."
    paid_engine.release()
    settle()
    assert len(paid_engine.requests) == 1
    assert values(only_labels(viewer)) == [0, 1, 2]
    assert panel.form.run.enabled


def test_a_billed_answer_after_cancel_is_still_delivered(viewer, panel, paid_engine, asked, settle):
    panel.form.engine.value = "paid"
    paid_engine.hold()
    paid_engine.heeds_stop = False
    panel.run()
    asked(paid_engine, 1)
    panel.form.cancel.native.click()
    assert "is kept, since it costs money" in said(panel)
    paid_engine.release()
    settle()
    assert values(only_labels(viewer)) == [0, 1, 2]
    assert said(panel).startswith("2 objects")


def test_a_billed_answer_before_cancel_is_kept(
    viewer, panel, click, paid_engine, asked, settle, qtbot
):
    panel.form.live.value = False
    click(10, 10)
    panel.next_object()
    click(40, 60)
    panel.form.engine.value = "paid"
    answer = paid_engine.answer

    def hold_the_second(request):
        paid_engine.hold()
        return answer(request)

    paid_engine.answer = hold_the_second
    panel.run()
    asked(paid_engine, 2)
    panel.cancel()
    settle()
    assert values(only_labels(viewer)) == [0, 1]
    assert "Only 1 of 2 requests were answered." in said(panel)


def test_a_billed_engine_is_never_asked_live(panel, click, paid_engine):
    panel.form.engine.value = "paid"
    assert not panel.form.live.enabled
    assert "costs money" in panel.form.live.tooltip
    click(20, 20)
    assert paid_engine.requests == []


def test_a_click_while_a_paid_question_is_under_way_is_not_lost(
    viewer, panel, click, engine, paid_engine, asked, settle
):
    panel.form.engine.value = "paid"
    paid_engine.hold()
    panel.run()
    asked(paid_engine, 1)
    panel.form.engine.value = "builtin"
    click(20, 80, wait=False)
    QApplication.processEvents()
    paid_engine.release()
    settle()
    assert values(only_labels(viewer)) == [0, 1, 2, 3]


# ---------------------------------------------------------------- errors


def test_an_engines_error_is_shown_once_and_the_panel_goes_on(viewer, panel, run, engine, qtbot):
    engine.error = CreditsError("No credits left; buy some.")
    with qtbot.captureExceptions() as raised:
        assert run("everything") == "No credits left; buy some."
    assert raised == []
    assert labels_layers(viewer) == []
    assert panel.form.run.enabled
    engine.error = None
    assert run().startswith("2 objects")


def test_a_bug_keeps_its_traceback_and_the_panel_goes_on(viewer, panel, run, engine, qtbot):
    engine.error = RuntimeError("bug")
    with qtbot.captureExceptions() as raised:
        assert "Something went wrong inside the plugin (RuntimeError)" in run("everything")
    ((kind, error, traceback),) = raised
    assert (kind, str(error)) == (RuntimeError, "bug")
    names = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert "segment" in names
    engine.error = None
    assert run().startswith("2 objects")
    assert list(progress_bars()) == []


# ---------------------------------------------------------------- things vanish


def test_an_image_removed_while_running_loses_no_answer(viewer, panel, engine, asked, settle):
    engine.hold()
    panel.run()
    asked(engine, 1)
    viewer.layers.remove("cells")
    engine.release()
    settle()
    assert values(only_labels(viewer)) == [0, 1, 2]


def test_a_new_image_gets_a_layer_of_its_own(viewer, panel, run):
    run("everything")
    old = only_labels(viewer)
    viewer.layers.remove("cells")
    viewer.add_image(picture(), name="cells")
    run()
    assert len(labels_layers(viewer)) == 2
    assert values(old) == [0, 1, 2]


def test_a_labels_layer_deleted_while_running_loses_no_answer(
    viewer, panel, run, engine, asked, settle
):
    run("everything")
    engine.hold()
    panel.run()
    asked(engine, 2)
    viewer.layers.remove(only_labels(viewer))
    engine.release()
    settle()
    assert values(only_labels(viewer)) == [0, 1, 2]


def test_a_labels_layer_renamed_and_edited_while_running_is_still_used(
    viewer, panel, run, engine, asked, settle
):
    run("everything")
    engine.hold()
    engine.answer = lambda r: Instances(r.shape, (solid(Box(0, 0, 60, 90)),))
    panel.run()
    asked(engine, 2)
    layer = only_labels(viewer)
    layer.name = "mine"
    layer.data_setitem((np.array([0]), np.array([0])), 40)
    engine.release()
    settle()
    assert layer is only_labels(viewer)
    assert values(layer) == [1, 2, 40, 41]
    assert said(panel).endswith("“mine”")


def test_a_labels_layer_made_unfit_while_running_loses_no_answer(
    viewer, panel, engine, asked, settle
):
    chosen = viewer.add_labels(np.zeros(SHAPE, np.uint16), name="mine")
    panel.form.output.value = chosen
    engine.hold()
    panel.run()
    asked(engine, 1)
    chosen.data = np.zeros((5, 6), np.uint16)
    engine.release()
    settle()
    (new,) = [layer for layer in labels_layers(viewer) if layer is not chosen]
    assert values(new) == [0, 1, 2]
    assert "has the shape (5, 6)" in said(panel)


def test_an_output_of_wrong_shape_is_refused_before_anything_is_sent(viewer, panel, run, engine):
    panel.form.output.value = viewer.add_labels(np.zeros((5, 6), np.uint16), name="small")
    assert run("everything") == (
        "“small” has the shape (5, 6), not (60, 90); choose another layer under “Add to”."
    )
    assert engine.requests == []


def test_a_chosen_layer_is_added_to(viewer, panel, run):
    chosen = viewer.add_labels(np.zeros(SHAPE, np.uint8), name="mine")
    panel.form.output.value = chosen
    run("everything")
    assert only_labels(viewer) is chosen
    assert values(chosen) == [0, 1, 2]


def test_after_its_prompt_layer_was_deleted_a_new_one_marks_another_object(
    viewer, panel, click, engine, asked, settle
):
    click(20, 20)
    engine.hold()
    click(20, 25, wait=False)
    asked(engine, 2)
    viewer.layers.remove(panel.prompts.get("points"))
    engine.release()
    settle()
    click(50, 70)
    layer = only_labels(viewer)
    assert layer.data[20, 20] == 1
    assert layer.data[50, 70] == 2
    assert len([x for x in viewer.layers if isinstance(x, Points)]) == 1


def test_another_points_layer_with_the_same_numbers_marks_other_objects(viewer, panel, click, run):
    click(20, 20)
    other = viewer.add_points([[50, 70]], features={"object": [1], "polarity": ["positive"]})
    panel.form.points.value = other
    run()
    layer = only_labels(viewer)
    assert layer.data[20, 20] == 1
    assert layer.data[50, 70] == 2


@on_screen
def test_a_viewer_closed_while_running_ends_the_thread(viewer, panel, engine, asked, qtbot):
    engine.hold()
    panel.run()
    asked(engine, 1)
    viewer.close()
    qtbot.waitUntil(lambda: engine.running == 0, timeout=LIMIT_MS)


def test_a_window_that_is_gone_is_not_told(viewer, panel, engine, asked, qtbot):
    engine.hold()
    engine.heeds_stop = False
    panel.run()
    asked(engine, 1)
    (thread,) = [t for t in threading.enumerate() if t.name == "sam3-run"]
    viewer.close()
    engine.release()
    qtbot.waitUntil(lambda: not thread.is_alive(), timeout=LIMIT_MS)
    QApplication.processEvents()


def test_a_panel_taken_out_of_its_dock_stops_and_gives_the_keys_back(
    viewer, panel, engine, asked, qtbot
):
    engine.hold()
    panel.run()
    asked(engine, 1)
    viewer.window.remove_dock_widget(panel.parent())
    qtbot.waitUntil(lambda: engine.running == 0, timeout=LIMIT_MS)
    assert not {str(key) for key in viewer.keymap} & {"N", "W"}
    viewer.add_image(picture(), name="later")
    viewer.layers.remove("later")
    assert labels_layers(viewer) == []
    delete(panel)


def test_a_reopened_panel_has_the_keys_and_answers_once(
    qtbot, viewer, panel, open_panel, engine, settle
):
    viewer.window.remove_dock_widget(panel.parent())
    new = open_panel(viewer)
    assert new is not panel
    assert "N next" in new.form.keys.text()
    new.draw("points")
    new.prompts.get("points").add((20, 20))
    settle(new)
    assert len(engine.requests) == 1
    press(viewer, Qt.Key.Key_N)
    assert new.prompts.current_object == 2
    assert panel.prompts.current_object == 1
    delete(panel)


@on_screen
def test_a_closed_panel_that_is_shown_again_works(viewer, panel, run):
    panel.close()
    assert "N" not in {str(key) for key in viewer.keymap}
    panel.show()
    assert "N" in {str(key) for key in viewer.keymap}
    viewer.add_image(picture(), name="later")
    assert "later" in panel.form.image.choices[1].name
    assert run("everything").startswith("2 objects")


def test_two_panels_in_one_viewer_do_not_disturb_each_other(
    qtbot, viewer, panel, click, settle, engine
):
    other = SegmentPanel(viewer)
    dock = viewer.window.add_dock_widget(other, name="other")
    click(20, 20)
    assert len(engine.requests) == 1
    assert other.prompts.get("points") is None
    other.draw("points")
    other.prompts.get("points").add((50, 70))
    settle(other)
    assert len(engine.requests) == 2
    assert "N next" not in other.form.keys.text()
    viewer.window.remove_dock_widget(panel.parent())
    other.draw("points")
    assert "N next" in other.form.keys.text()
    press(viewer, Qt.Key.Key_N)
    assert other.prompts.current_object == 2
    viewer.window.remove_dock_widget(dock)
    delete(panel)
    delete(other)


def test_a_closed_panel_is_let_go_of(viewer, open_panel):
    panel = open_panel(viewer)
    gone = weakref.ref(panel)
    viewer.window.remove_dock_widget(panel.parent())
    del panel
    QApplication.processEvents()
    gc.collect()
    assert gone() is None


def test_renamed_layers_are_shown_under_their_new_name(viewer, panel):
    viewer.layers["cells"].name = "nuclei"
    assert panel.form.image.current_choice == "nuclei"


# ---------------------------------------------------------------- threads


def test_the_engine_and_the_image_are_off_the_main_thread(viewer, panel, run, engine):
    readers = set()

    def note(block):
        readers.add(threading.get_ident())
        return block

    with dask.config.set(scheduler="synchronous"):
        lazy = dask.array.from_array(picture(), chunks=SHAPE).map_blocks(note, dtype=np.uint8)
        viewer.layers["cells"].data = lazy
        readers.clear()
        run("everything")
    main = threading.get_ident()
    assert engine.threads
    assert main not in engine.threads
    assert readers
    assert main not in readers


def test_layers_are_only_touched_in_the_main_thread(viewer, panel, run, monkeypatch):
    writers = set()
    write = Labels.data_setitem

    def note(self, *args, **kwargs):
        writers.add(threading.get_ident())
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Labels, "data_setitem", note)
    run("everything")
    assert writers == {threading.get_ident()}


def test_many_objects_are_written_in_several_turns_of_the_event_loop(
    viewer, panel, engine, settle, qtbot
):
    shape, side = (2048, 2048), 80
    viewer.layers["cells"].data = np.zeros(shape, np.uint8)
    corners = [(r, c) for r in range(0, 1400, 100) for c in range(0, 1500, 100)][:200]
    boxes = [Box(r, c, r + side, c + side) for r, c in corners]
    engine.answer = lambda r: Instances(r.shape, tuple(solid(box) for box in boxes))
    turns = []
    heart = QTimer(panel)
    heart.timeout.connect(lambda: turns.append(panel.committer.is_writing))
    heart.start(0)
    panel.run()
    settle()
    assert only_labels(viewer).data.max() == 200
    assert sum(turns) > 5


# ---------------------------------------------------------------- odd images


@pytest.mark.parametrize(
    ("data", "objects"),
    [
        (np.full(SHAPE, np.nan), 2),
        (np.full(SHAPE, 7, np.uint16), 2),
        (np.zeros((1, 1), np.uint8), 0),
        (np.random.default_rng(1).random((2, 2, 2, 60, 90)), 2),
        (np.random.default_rng(1).random((60, 90, 3)), 2),
        (np.random.default_rng(1).random(SHAPE) > 0.5, 2),
    ],
    ids=["all NaN", "constant", "1x1", "5D", "RGB", "bool"],
)
def test_odd_images_are_answered(viewer, panel, run, engine, data, objects):
    viewer.layers.remove("cells")
    image = viewer.add_image(data, name="odd")
    line = run("everything")
    assert engine.requests[0].image.dtype == np.uint8
    assert f"{objects} objects" in line if objects else "Nothing found" in line
    layers = labels_layers(viewer)
    assert [(layer.ndim, len(values(layer)) - 1) for layer in layers] == [
        (image.ndim, objects) for _ in layers
    ]
    assert len(layers) == bool(objects)


def test_a_3d_view_gives_a_sentence(viewer, panel, run, engine):
    viewer.add_image(picture((4, *SHAPE)), name="stack")
    viewer.dims.ndisplay = 3
    assert "2D view" in run("everything")
    panel.draw("points")
    assert "2D view" in said(panel)
    assert engine.requests == []


def test_clicks_on_two_planes_make_two_labels_on_their_planes(
    viewer, panel, click, engine, asked, settle
):
    viewer.layers.remove("cells")
    viewer.add_image(picture((8, *SHAPE)), name="stack")
    viewer.dims.set_point(0, 5)
    click(20, 20, at=5)
    viewer.dims.set_point(0, 6)
    click(20, 20, at=6)
    layer = only_labels(viewer)
    assert layer.data[5, 20, 20] == 1
    assert layer.data[6, 20, 20] == 2
    assert not layer.data[[0, 1, 2, 3, 4, 7]].any()


def test_two_planes_asked_quickly_share_one_layer(viewer, panel, click, engine, asked, settle):
    viewer.layers.remove("cells")
    viewer.add_image(picture((8, *SHAPE)), name="stack")
    engine.hold()
    for plane in (5, 6):
        viewer.dims.set_point(0, plane)
        click(20, 20, at=plane, wait=False)
        asked(engine, 1)
        QApplication.processEvents()
    engine.release()
    settle()
    layer = only_labels(viewer)
    assert layer.data[5, 20, 20] == 1
    assert layer.data[6, 20, 20] == 2


# ---------------------------------------------------------------- the window


def progress_bars():
    return [bar for bar in progress._all_instances if getattr(bar, "desc", "").startswith("SAM3")]


def test_progress_shows_in_the_activity_dock_and_is_gone_afterwards(
    viewer, panel, engine, asked, settle, qtbot
):
    dock = viewer.window._qt_window._activity_dialog
    engine.hold()
    panel.run()
    asked(engine, 1)
    assert len(dock.findChildren(QProgressBar)) == 1
    assert panel.form.progress.max == 0
    panel.form.max_masks.value = 5
    panel.run()
    engine.release()
    settle()
    qtbot.waitUntil(lambda: not dock.findChildren(QProgressBar), timeout=LIMIT_MS)
    assert progress_bars() == []
    assert panel.form.progress.max == 1
    assert not panel.form.cancel.enabled


def test_progress_is_gone_once_cancelled(panel, engine, asked):
    engine.hold()
    engine.heeds_stop = False
    panel.run()
    asked(engine, 1)
    assert len(progress_bars()) == 1
    panel.cancel()
    assert progress_bars() == []
    assert panel.form.progress.max == 1


@pytest.mark.parametrize("question", ["concept", "object", "everything"])
def test_the_panel_is_narrow_and_never_cut_off(viewer, panel, question):
    long = "a name that is far too long for a combo box in a narrow dock " * 2
    viewer.add_image(picture(), name=long)
    viewer.add_labels(np.zeros(SHAPE, np.uint8), name=f"{long} objects")
    panel.form.question.value = question
    panel.form.thresholds.expand(animate=False)
    assert panel.form.minimumSizeHint().width() <= 400
    # as narrow as a dock can make it, and scrolled: nothing scrolls sideways, so all must fit
    area = panel.form.findChild(QScrollArea)
    bar = area.verticalScrollBar().sizeHint().width()
    assert area.widget().minimumSizeHint().width() <= panel.form.minimumWidth() - bar


def test_the_panel_opens_through_the_manifest_with_a_proxy(
    make_napari_viewer_proxy, open_panel, engine, qtbot
):
    viewer = make_napari_viewer_proxy()
    viewer.add_image(picture(), name="cells")
    panel = open_panel(viewer)
    panel.draw("points")
    panel.prompts.get("points").add((20, 20))
    qtbot.waitUntil(lambda: not panel.is_busy, timeout=LIMIT_MS)
    panel.toggle_polarity()
    assert "negative" in said(panel)
    assert values(only_labels(viewer)) == [0, 1]


# ---------------------------------------------------------------- the mouse


@on_screen
def test_a_button_and_a_click_make_a_label(viewer, panel, mouse, settle, qtbot):
    panel.form.tools.point.native.click()
    mouse.click(20, 30)
    qtbot.waitUntil(lambda: bool(labels_layers(viewer)), timeout=LIMIT_MS)
    settle()
    assert only_labels(viewer).data[20, 30] == 1
    assert isinstance(viewer.layers.selection.active, Points)
    mouse.click(20, 60)
    settle()
    assert only_labels(viewer).data[20, 60] == 1


@on_screen
def test_a_button_and_a_drag_make_a_label(viewer, panel, mouse, settle, qtbot, engine):
    panel.form.tools.box.native.click()
    mouse.drag((10, 15), (20, 30), (40, 50), (40, 50))
    qtbot.waitUntil(lambda: bool(labels_layers(viewer)), timeout=LIMIT_MS)
    settle()
    layer = only_labels(viewer)
    rows, cols = np.nonzero(layer.data)
    assert np.allclose([rows.min(), rows.max(), cols.min(), cols.max()], [10, 40, 15, 50], atol=2)
    assert isinstance(viewer.layers.selection.active, Shapes)
    assert [type(r.prompt) for r in engine.requests] == [ObjectPrompt]
    mouse.drag((45, 60), (50, 70), (55, 85), (55, 85))
    settle()
    assert only_labels(viewer).data[50, 70] == 2


# ---------------------------------------------------------------- the engine that is there


def test_the_built_in_engine_finds_everything(blobs, panel, run):
    run("everything")
    layer = only_labels(blobs)
    assert values(layer) == [0, 1, 2]
    assert layer.data[18, 20] != layer.data[40, 65]


def test_the_built_in_engine_segments_what_is_clicked(blobs, panel, click):
    click(18, 20)
    layer = only_labels(blobs)
    assert layer.data[18, 20] == layer.data[18, 27] == 1
    assert layer.data[40, 65] == layer.data[18, 40] == 0
    panel.next_object()
    click(40, 65)
    assert layer.data[40, 75] == 2
