"""What a click may mean, outlines and scribbles, words, and what an engine is doing."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import ConceptPrompt, Everything, ObjectPrompt
from napari_sam3.engines.base import SegmentationResult

from .conftest import (
    LIMIT_MS,
    labels_layers,
    on_screen,
    only_labels,
    press,
    said,
    values,
)

BOX = np.array([[5, 5], [5, 20], [15, 20], [15, 5]], dtype=float)
KITE = np.array([[10, 40], [25, 30], [40, 45], [20, 70]], dtype=float)
LINE = np.array([[30, 10], [30, 40]], dtype=float)
SMALL = "Object 1: size small."


def area(layer, label):
    return int((layer.data == label).sum())


def proposals(engine):
    return [getattr(r.prompt, "proposal", None) for r in engine.requests]


@pytest.fixture
def draw(panel, settle):
    """Draw an outline, a scribble or a box as its button does."""

    def draw(tool, corners, *, button=None):
        getattr(panel.form.tools, button or tool).native.click()
        layer = panel.prompts.get("boxes")
        add = {"outline": layer.add_polygons, "scribble": layer.add_paths}
        add.get(tool, layer.add_rectangles)(corners)
        settle()
        return layer

    return draw


@pytest.fixture
def press_q(viewer, panel, settle):
    def press_q():
        press(viewer, Qt.Key.Key_Q)
        settle()
        return said(panel)

    return press_q


# ---------------------------------------------------------------- what a click may mean


def test_q_asks_for_the_next_meaning_and_replaces_the_label_of_this_object_only(
    viewer, panel, click, press_q, engine
):
    click(20, 20)
    panel.next_object()
    click(40, 60)
    layer = only_labels(viewer)
    first = layer.data == 1
    sizes = []
    for _ in range(4):
        press_q()
        sizes.append(area(layer, 2))
    assert sizes == [9, 81, 169, 25]
    assert np.array_equal(layer.data == 1, first)
    assert values(layer) == [0, 1, 2]
    assert proposals(engine) == ["", "", "small", "medium", "large", ""]


def test_q_says_what_is_chosen_also_once_it_is_answered(panel, click, press_q):
    click(20, 20)
    assert press_q().splitlines() == ["1 object, 0.0 s → “cells objects”", SMALL]
    press_q()
    press_q()
    assert press_q().splitlines()[1] == "Object 1: likeliest size."
    click(20, 22)
    assert said(panel).splitlines() == ["1 object, 0.0 s → “cells objects”"]


def test_without_live_what_q_chose_waits_for_run(viewer, panel, click, press_q, run, engine):
    panel.form.live.value = False
    click(20, 20)
    assert press_q() == SMALL
    assert engine.requests == []
    assert SMALL in run()
    assert area(only_labels(viewer), 1) == 9


def test_the_size_can_be_chosen_with_the_mouse_and_shows_what_q_chose(
    viewer, panel, click, press_q, settle
):
    click(20, 20)
    press_q()
    assert panel.form.proposal.value == "small"
    panel.form.proposal.value = "large"
    settle()
    assert area(only_labels(viewer), 1) == 169
    assert "size large" in said(panel)


def test_further_clicks_keep_the_size_and_the_next_object_starts_with_the_likeliest(
    panel, click, press_q, engine
):
    click(20, 20)
    press_q()
    click(22, 22)
    assert proposals(engine)[-1] == "small"
    panel.next_object()
    assert panel.form.proposal.value == ""
    click(40, 60)
    assert proposals(engine)[-1] == ""
    assert panel.prompts.get("points").features["proposal"].tolist() == ["small", "small", ""]


def test_a_negative_click_after_q_stays_negative(viewer, panel, click, press_q, engine):
    click(20, 20)
    press(viewer, Qt.Key.Key_W)
    press_q()
    click(30, 30)
    assert [p.positive for p in engine.requests[-1].prompt.points] == [True, False]
    assert proposals(engine)[-1] == "small"


def test_a_size_without_a_click_changes_nothing(viewer, panel, press_q, engine):
    panel.form.question.value = "object"
    assert press_q().startswith("Click on the object first")
    panel.form.proposal.value = "large"
    assert panel.form.proposal.value == ""
    assert engine.requests == []
    assert len(viewer.layers) == 1


def test_a_negative_click_alone_has_no_size(panel, click, press_q):
    panel.form.tools.negative_point.native.click()
    click(20, 20)
    assert press_q().startswith("Click on the object first")


@pytest.mark.parametrize("tool", ["box", "outline"])
def test_a_box_needs_no_choice(panel, draw, click, press_q, engine, tool):
    draw(tool, BOX)
    click(8, 8)
    assert "there is nothing to choose" in press_q()
    assert set(proposals(engine)) == {""}


def test_with_one_object_per_point_there_is_no_choice(panel, click, press_q):
    click(20, 20)
    panel.form.one_per_point.value = True
    assert "untick “One object per point”" in press_q()


def test_q_for_another_question_says_so(panel, click, press_q):
    click(20, 20)
    panel.form.question.value = "everything"
    assert "choose “One object” first" in press_q()
    assert "proposal" not in panel.prompts.get("points").features


def test_q_with_an_engine_that_has_no_choice_says_which_has(panel, click, press_q):
    click(20, 20)
    panel.form.engine.value = "paid"
    assert not panel.form.proposal.enabled
    assert press_q() == (
        "The Paid SAM3 engine cannot choose between a small, a medium and a large object; "
        "use Built-in for that."
    )
    assert "proposal" not in panel.prompts.get("points").features


def test_a_size_chosen_before_is_left_out_for_an_engine_without_and_said(
    panel, click, press_q, run, paid_engine
):
    click(20, 20)
    press_q()
    panel.form.engine.value = "paid"
    line = run()
    assert proposals(paid_engine) == [""]
    assert "The size that was chosen for an object was left out." in line
    assert "use Built-in for that" in line
    assert panel.prompts.get("points").features["proposal"].tolist() == ["small"]


def test_what_another_engine_answered_with_a_size_is_not_paid_for_again(
    viewer, panel, click, press_q, run, paid_engine
):
    click(20, 20)
    press_q()
    first = only_labels(viewer).data == 1
    panel.form.engine.value = "paid"
    panel.next_object()
    click(40, 60)
    assert "left out" not in run()
    assert [[p.pixel for p in r.prompt.points] for r in paid_engine.requests] == [[(40, 60)]]
    assert np.array_equal(only_labels(viewer).data == 1, first)


def test_a_size_chosen_before_an_answer_came_is_not_lost(viewer, panel, click, engine, asked):
    engine.hold()
    click(20, 20, wait=False)
    asked(engine, 1)
    press(viewer, Qt.Key.Key_Q)
    engine.release()
    asked(engine, 2)
    assert proposals(engine)[-1] == "small"


# ---------------------------------------------------------------- outlines and scribbles


@on_screen
def test_an_outline_drawn_with_the_mouse_gives_a_label(viewer, panel, mouse, settle, qtbot, engine):
    panel.form.tools.outline.native.click()
    ring = [(10, 20), (10, 60), (25, 75), (45, 60), (45, 25), (30, 15)]
    mouse.drag(*ring, ring[-1])
    qtbot.waitUntil(lambda: bool(labels_layers(viewer)), timeout=LIMIT_MS)
    settle()
    (request,) = engine.requests
    assert len(request.prompt.outline) >= 5
    assert request.prompt.box is None
    assert only_labels(viewer).data[30, 40] == 1
    assert panel.prompts.get("boxes").shape_type == ["polygon"]
    mouse.drag(*[(row + 12, col + 10) for row, col in ring], (42, 25))
    settle()
    assert len(engine.requests) == 2
    assert panel.prompts.get("boxes").features["object"].tolist() == [1, 2]


@on_screen
def test_nothing_is_asked_before_the_mouse_is_let_go(viewer, panel, mouse, settle, engine):
    panel.form.tools.outline.native.click()
    left, no = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    kinds = mouse.KINDS
    mouse.send(kinds.MouseButtonPress, mouse.at(10, 20), left, left)
    for place in ((10, 60), (40, 60), (40, 20)):
        mouse.send(kinds.MouseMove, mouse.at(*place), no, left)
        QApplication.processEvents()
    settle()
    assert engine.requests == []
    mouse.send(kinds.MouseButtonRelease, mouse.at(40, 20), left, no)
    settle()
    assert len(engine.requests) == 1


@on_screen
def test_scribbles_drawn_with_the_mouse_correct_the_current_object(
    viewer, panel, mouse, settle, qtbot, engine
):
    panel.form.tools.point.native.click()
    mouse.click(20, 30)
    qtbot.waitUntil(lambda: bool(labels_layers(viewer)), timeout=LIMIT_MS)
    settle()
    panel.form.tools.scribble.native.click()
    mouse.drag((30, 30), (30, 45), (30, 60), (30, 60))
    settle()
    layer = only_labels(viewer)
    assert values(layer) == [0, 1]
    assert layer.data[30, 50] == layer.data[20, 30] == 1
    panel.form.tools.negative_scribble.native.click()
    mouse.drag((50, 30), (50, 45), (50, 60), (50, 60))
    settle()
    shapes = panel.prompts.get("boxes")
    assert shapes.features["object"].tolist() == [1, 1]
    assert shapes.features["polarity"].tolist() == ["positive", "negative"]
    assert panel.form.tools.count.text() == "2 +, 1 −"
    signs = {p.positive for p in engine.requests[-1].prompt.points if p.pixel[0] > 45}
    assert signs == {False}
    assert values(only_labels(viewer)) == [0, 1]


@on_screen
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("tool", ["scribble", "outline"])
def test_what_a_click_began_and_nothing_ended_is_taken_back(
    viewer, panel, mouse, draw, settle, engine, tool, others
):
    if others:
        draw("box", BOX)
    getattr(panel.form.tools, tool).native.click()
    mouse.click(30, 30)
    no = Qt.MouseButton.NoButton
    for place in ((20, 50), (40, 70), (50, 40)):
        mouse.send(mouse.KINDS.MouseMove, mouse.at(*place), no, no)
    layer = panel.prompts.get("boxes")
    assert len(layer.data) == others + 1
    panel.form.tools.point.native.click()
    mouse.click(40, 60)
    settle()
    assert len(layer.data) == len(layer.features) == others
    assert [p.pixel for p in engine.requests[-1].prompt.points] == [(40, 60)]
    assert panel.prompts.current_object == 1
    getattr(panel.form.tools, tool).native.click()
    mouse.drag((10, 50), (12, 70), (20, 80), (30, 60), (30, 60))
    settle()
    assert len(layer.data) == others + 1
    assert len(engine.requests) == others + 2


def test_a_scribble_alone_marks_an_object(viewer, panel, draw, engine):
    draw("scribble", LINE)
    (request,) = engine.requests
    assert all(p.positive for p in request.prompt.points)
    assert only_labels(viewer).data[30, 25] == 1


def test_a_scribble_corrects_the_box_that_was_drawn_last(panel, draw, engine):
    draw("box", BOX)
    draw("outline", KITE)
    layer = draw("scribble", LINE, button="negative_scribble")
    assert layer.features["object"].tolist() == [1, 2, 2]
    prompt = engine.requests[-1].prompt
    assert prompt.outline
    assert {p.positive for p in prompt.points} == {False}


def test_a_box_around_a_scribble_marks_the_same_object(viewer, panel, draw, engine):
    draw("scribble", LINE)
    layer = draw("box", BOX + 20)
    assert layer.features["object"].tolist() == [1, 1]
    assert engine.requests[-1].prompt.box is not None
    assert values(only_labels(viewer)) == [0, 1]


def test_an_outline_is_asked_as_its_box_where_the_engine_has_no_outline(
    panel, draw, engine, free_engine_can
):
    free_engine_can(outline=False)
    draw("outline", KITE)
    (request,) = engine.requests
    assert request.prompt == ObjectPrompt(box=Box(10, 30, 40, 70))
    instead = "The box around an outline was used instead of it."
    assert said(panel).count(instead) == 1
    panel.next_object()
    draw("box", BOX)
    assert instead not in said(panel)
    assert len(engine.requests) == 2


def test_an_outline_is_refused_where_the_engine_takes_no_box_either(panel, draw, run, paid_engine):
    draw("outline", KITE)
    panel.form.engine.value = "paid"
    assert not panel.form.tools.outline.enabled
    assert "use Built-in for that" in run()
    assert paid_engine.requests == []


def test_an_outline_among_the_examples_is_the_box_around_it(panel, run, engine):
    panel.form.question.value = "concept"
    panel.form.tools.box.native.click()
    panel.prompts.get("examples").add_polygons(KITE)
    run()
    assert [e.box for e in engine.requests[-1].prompt.exemplars] == [Box(10, 30, 40, 70)]


def test_outlines_and_scribbles_are_for_one_object(panel):
    tools = (panel.form.tools.outline, panel.form.tools.scribble)
    panel.form.question.value = "concept"
    for tool in tools:
        assert not tool.enabled
        assert "marks one object" in tool.tooltip
    panel.form.question.value = "object"
    assert all(tool.enabled for tool in tools)


def test_a_scribble_is_not_drawn_where_each_point_is_an_object(panel):
    panel.form.question.value = "object"
    panel.form.one_per_point.value = True
    assert not panel.form.tools.scribble.enabled
    assert "untick" in panel.form.tools.scribble.tooltip
    assert panel.form.tools.negative_scribble.enabled
    panel.form.one_per_point.value = False
    assert panel.form.tools.scribble.enabled


def test_w_turns_a_scribble_and_no_box(viewer, panel, draw):
    layer = draw("box", BOX)
    press(viewer, Qt.Key.Key_W)
    assert said(panel).startswith("A box or an outline marks the object itself")
    panel.form.tools.scribble.native.click()
    press(viewer, Qt.Key.Key_W)
    assert said(panel) == "What you draw next is negative (−)."
    layer.add_paths(LINE)
    assert layer.features["polarity"].tolist() == ["positive", "negative"]
    layer.mode = "select"
    layer.selected_data = {0}
    press(viewer, Qt.Key.Key_W)
    assert layer.features["polarity"].tolist() == ["positive", "negative"]


# ---------------------------------------------------------------- the diameter


@pytest.mark.parametrize(("given", "asked_for"), [(0, None), (12.5, 12.5)])
def test_the_diameter_reaches_the_prompt(panel, run, engine, given, asked_for):
    panel.form.diameter.value = given
    run("everything")
    assert engine.requests[-1].prompt == Everything(32, 0.88, asked_for)


def test_a_diameter_below_a_pixel_is_refused_with_a_sentence(panel, run, engine):
    panel.form.diameter.value = 0.5
    assert "between 1 and" in run("everything")
    assert engine.requests == []


def test_a_diameter_is_not_sent_where_it_does_not_matter(panel, run, paid_engine):
    panel.form.diameter.value = 12
    panel.form.engine.value = "paid"
    assert not panel.form.diameter.enabled
    run("everything")
    assert paid_engine.requests[-1].prompt.diameter is None


def test_no_diameter_is_called_found_by_itself(panel):
    assert panel.form.diameter.native.text() == "automatic"
    panel.form.diameter.value = 12
    assert panel.form.diameter.native.text() == "12.0 px"


@pytest.mark.parametrize("given", [0, 12.5])
def test_the_diameter_comes_back_from_the_history(panel, run, given):
    panel.form.diameter.value = given
    run("everything")
    panel.form.diameter.value = 70
    panel.history.table.selectRow(0)
    panel.history.restore.native.click()
    assert panel.form.diameter.value == given


def test_a_size_and_an_outline_come_back_from_the_history(
    viewer, panel, click, draw, press_q, run, engine
):
    panel.form.live.value = False
    click(20, 20)
    press_q()
    panel.next_object()
    draw("outline", KITE)
    run()
    before = [r.prompt for r in engine.requests]
    panel.form.question.value = "everything"
    panel.history.table.selectRow(0)
    panel.history.restore.native.click()
    run()
    assert [r.prompt for r in engine.requests][2:] == before
    assert values(only_labels(viewer)) == [0, 1, 2]


# ---------------------------------------------------------------- words

WORDS = ("nucleus", "nuclei", "bright")


@pytest.fixture
def few_words(panel, free_engine_can):
    free_engine_can(text=True, words=WORDS)
    panel.form.question.value = "concept"


def test_the_panel_says_which_words_the_engine_knows(panel, few_words):
    assert panel.form.text.enabled
    assert panel.form.words.text() == "Knows only these words: nucleus, nuclei, bright."
    assert not panel.form.words.isHidden()
    assert "text: only some words" in panel.form.status.text()
    panel.form.engine.value = "paid"
    assert panel.form.words.isHidden()
    assert "some words" not in panel.form.status.text()


def test_a_known_word_is_asked(panel, few_words, run, engine):
    panel.form.text.value = "bright nuclei"
    run()
    assert engine.requests[-1].prompt == ConceptPrompt("bright nuclei")


def test_an_unknown_word_is_refused_with_the_list_and_stays_typed(
    viewer, panel, few_words, run, engine
):
    panel.form.text.value = "mitochondrion"
    assert run() == (
        "The Built-in engine does not know the word “mitochondrion”. It knows nucleus, nuclei and "
        "bright; for anything else use Paid SAM3."
    )
    assert panel.form.text.value == "mitochondrion"
    assert engine.requests == []
    assert labels_layers(viewer) == []


def test_an_unknown_word_does_not_block_the_examples_and_is_said_to_be_left_out(
    panel, few_words, run, engine
):
    panel.form.text.value = "mitochondrion"
    panel.form.tools.box.native.click()
    panel.prompts.get("examples").add_rectangles(BOX)
    line = run()
    assert engine.requests[-1].prompt.text == ""
    assert "The text “mitochondrion” was left out. The Built-in engine does not know" in line
    panel.form.text.value = "nuclei"
    assert "left out" not in run()
    assert engine.requests[-1].prompt.text == "nuclei"


# ---------------------------------------------------------------- what the engine is doing

LOOKING = "looking at this image for the first time"


def test_a_live_click_says_that_the_engine_looks_for_the_first_time(
    panel, click, engine, asked, settle, qtbot
):
    engine.state = LOOKING
    engine.hold()
    click(20, 20, wait=False)
    asked(engine, 1)
    looking = "Looking at this image for the first time …"
    qtbot.waitUntil(lambda: said(panel) == looking, timeout=LIMIT_MS)
    engine.release()
    settle()
    assert said(panel).startswith("1 object, ")


def test_a_run_says_that_the_engine_looks_for_the_first_time(
    panel, run, engine, asked, settle, qtbot
):
    engine.state = LOOKING
    engine.hold()
    panel.run()
    asked(engine, 1)
    qtbot.waitUntil(lambda: said(panel).startswith("Looking at this image"), timeout=LIMIT_MS)
    engine.release()
    settle()
    assert said(panel).startswith("2 objects, ")


def test_an_answer_that_comes_at_once_is_not_announced(panel, click, engine, monkeypatch):
    engine.state = LOOKING
    heard = []
    say = panel.form.show_result
    monkeypatch.setattr(
        panel.form, "show_result", lambda words, **kwargs: (heard.append(words), say(words))
    )
    panel._state_timer.setInterval(LIMIT_MS)
    click(20, 20)
    assert [words for words in heard if "first time" in words] == []


def test_what_was_said_of_a_question_that_was_taken_back_is_taken_back(
    panel, click, engine, asked, settle, qtbot
):
    click(20, 20)
    engine.state = LOOKING
    engine.hold()
    click(20, 60, wait=False)
    asked(engine, 2)
    qtbot.waitUntil(lambda: said(panel).startswith("Looking"), timeout=LIMIT_MS)
    layer = panel.prompts.get("points")
    layer.selected_data = {1}
    layer.remove_selected()
    QApplication.processEvents()
    assert said(panel) == ""
    engine.release()
    settle()
    assert said(panel) == ""


# ---------------------------------------------------------------- hints


def test_hints_of_live_answers_are_seen_once_each(panel, click, engine, monkeypatch):
    hint = "This image looks unlike what the engine knows."
    segment = engine.segment

    def with_hint(request, stop):
        return SegmentationResult(segment(request, stop).instances, notices=(hint,))

    monkeypatch.setattr(engine, "segment", with_hint)
    for col in (20, 40, 60):
        click(20, col)
        assert said(panel).count(hint) == 1


@on_screen
def test_nothing_below_jumps_up_while_live_answers_come(
    viewer, panel, click, engine, monkeypatch, qtbot
):
    long = "A hint that takes more than one line in a panel that is as narrow as this one is. " * 3
    segment = engine.segment
    told = iter([(long,), (), (long,)])

    def with_hint(request, stop):
        return SegmentationResult(segment(request, stop).instances, notices=next(told))

    monkeypatch.setattr(engine, "segment", with_hint)
    result = panel.form.result
    heights = []
    for col in (20, 40, 60):
        click(20, col)
        qtbot.waitUntil(lambda: result.height() >= result.minimumHeight(), timeout=LIMIT_MS)
        heights.append(result.height())
    assert len(set(heights)) == 1
    assert heights[0] > 3 * result.fontMetrics().height()
    panel.form.question.value = "everything"
    assert result.minimumHeight() == 0


# ---------------------------------------------------------------- the engine that is there


def test_the_built_in_engine_replaces_the_label_by_another_meaning(blobs, panel, click, press_q):
    click(40, 65)
    layer = only_labels(blobs)
    for _ in range(4):
        press_q()
        assert values(layer) == [0, 1]
        assert layer.data[40, 65] == 1
        assert layer.data[18, 20] == 0


def test_the_built_in_engine_takes_outlines_and_scribbles(blobs, panel, draw):
    draw("outline", [[6, 15], [6, 25], [18, 33], [30, 26], [30, 14], [18, 8]])
    layer = only_labels(blobs)
    assert layer.data[18, 20] == 1
    assert layer.data[6, 15] == layer.data[40, 65] == 0
    panel.next_object()
    draw("scribble", [[38, 58], [42, 72]])
    assert layer.data[40, 74] == 2


def test_the_built_in_engine_refuses_a_word_that_it_does_not_know(blobs, panel, run):
    panel.form.text.value = "mitochondrion"
    line = run("concept")
    assert "does not know the word “mitochondrion”" in line
    assert line.endswith("for anything else use Segmind SAM3.")
    panel.form.text.value = "bright spots"
    assert "does not know" not in run()
