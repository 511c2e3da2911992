"""Several concepts in one run: the text field, what is asked, what is said, what comes back."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Shapes
from qtpy.QtCore import QMimeData, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.errors import PromptError
from napari_sam3.widgets._concepts import MOST_LINES, ConceptField

from .conftest import LIMIT_MS, labels_layers, on_screen, only_labels, said, solid, values

BOX = np.array([[5, 5], [5, 20], [15, 20], [15, 5]], dtype=float)
PLACES = {
    "nucleus": (Box(1, 2, 5, 8), Box(10, 2, 16, 8)),
    "cell": (Box(30, 40, 45, 75),),
    "golgi": (),
}


def by_text(request):
    return Instances(request.shape, tuple(solid(box) for box in PLACES[request.prompt.text]))


@pytest.fixture
def find_all(panel, engine, free_engine_can):
    """Let the free engine take any text, and answer it by a table."""
    free_engine_can(text=True)
    engine.answer = by_text
    panel.form.question.value = "concept"
    return panel


@pytest.fixture
def paid(panel):
    panel.form.engine.value = "paid"
    panel.form.question.value = "concept"
    return panel


def add_example(panel, positive=True):
    panel.draw("examples", positive)
    panel.prompts.get("examples").add_rectangles(BOX)


def texts(engine):
    return [request.prompt.text for request in engine.requests]


# ---------------------------------------------------------------- the field


@pytest.fixture
def field(qtbot):
    field = ConceptField("what to find", "A tip.")
    qtbot.addWidget(field.native)
    field.native.resize(200, 24)
    field.native.show()
    return field


def heights(field, *texts):
    found = []
    for text in texts:
        field.value = text
        QApplication.processEvents()
        found.append(field.native.height())
    return found


def test_the_field_grows_from_one_line_to_four_and_then_scrolls(field):
    one, two, four, nine = heights(field, "a", "a\nb", "a\nb\nc\nd", "\n".join("abcdefghi"))
    assert one < two < four == nine
    line = two - one
    assert four == one + (MOST_LINES - 1) * line
    assert heights(field, "")[0] == one
    bar = field.native.verticalScrollBar()
    assert bar.maximum() == 0
    heights(field, "\n".join("abcdefghi"))
    assert bar.maximum() > 0


def test_a_line_that_is_too_long_is_wrapped_and_seen(field):
    one, wrapped = heights(field, "a", "a very long name of a thing " * 2)
    assert wrapped > one
    assert not field.native.horizontalScrollBar().isVisible()


def test_enter_asks_and_shift_enter_begins_a_line(field, qtbot):
    with qtbot.waitSignal(field.native.returnPressed, timeout=LIMIT_MS):
        QTest.keyClicks(field.native, "cell")
        QTest.keyClick(field.native, Qt.Key.Key_Return)
    assert field.value == "cell"
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
        with qtbot.assertNotEmitted(field.native.returnPressed):
            QTest.keyClick(field.native, key, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClicks(field.native, "wall")
    assert field.value == "cell\n\nwall"


def test_what_is_pasted_is_plain_text_with_all_its_lines(field):
    pasted = QMimeData()
    pasted.setText("nucleus\r\ncell wall\n")
    pasted.setHtml("<b>nucleus</b>")
    field.native.insertFromMimeData(pasted)
    assert field.value == "nucleus\ncell wall\n"


def test_what_looks_like_markup_stays_as_it_was_typed(field):
    field.value = "<b>bright</b>\n&amp;"
    assert field.value == "<b>bright</b>\n&amp;"


@on_screen
def test_tab_leaves_the_field(viewer, paid, qtbot):
    native = paid.form.text.native
    window = viewer.window._qt_window
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=LIMIT_MS)
    native.setFocus()
    QTest.keyClick(native, Qt.Key.Key_Tab)
    assert paid.form.text.value == ""
    assert not native.hasFocus()


@on_screen
@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_only_enter_without_shift_runs_and_it_runs_once(
    viewer, paid, settle, paid_engine, qtbot, key
):
    native = paid.form.text.native
    window = viewer.window._qt_window
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=LIMIT_MS)
    native.setFocus()
    QTest.keyClicks(native, "cell")
    QTest.keyClick(native, key, Qt.KeyboardModifier.ShiftModifier)
    QTest.keyClicks(native, "wall")
    settle()
    assert paid_engine.requests == []
    QTest.keyClick(native, key)
    settle()
    assert texts(paid_engine) == ["cell", "wall"]


@on_screen
def test_escape_in_the_field_cancels(viewer, paid, settle, paid_engine, asked, qtbot):
    paid_engine.hold()
    paid.form.text.value = "cell"
    window = viewer.window._qt_window
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=LIMIT_MS)
    paid.form.text.native.setFocus()
    paid.run()
    asked(paid_engine, 1)
    QTest.keyClick(paid.form.text.native, Qt.Key.Key_Escape)
    settle()
    assert "Nothing was changed" in said(paid)


def test_the_field_says_what_to_type_and_that_lines_are_possible(panel):
    assert panel.form.text.native.placeholderText() == "what to find, e.g. nucleus"
    panel.form.engine.value = "paid"
    assert "Shift+Enter" in panel.form.text.tooltip


# ---------------------------------------------------------------- what is asked


def test_each_line_is_asked_in_one_run_and_each_object_tells_its_concept(
    viewer, find_all, run, engine
):
    find_all.form.text.value = "nucleus\n\n  cell \nNucleus"
    line = run()
    assert [r.prompt for r in engine.requests] == [ConceptPrompt("nucleus"), ConceptPrompt("cell")]
    assert line.startswith("2 nucleus, 1 cell, ")
    assert line.endswith("→ “cells objects”")
    layer = only_labels(viewer)
    assert values(layer) == [0, 1, 2, 3]
    assert layer.features["prompt"].tolist() == ["nucleus", "nucleus", "cell"]
    assert layer.data[12, 4] == 2
    assert layer.data[35, 50] == 3
    layer.undo()
    assert values(layer) == [0]


def test_a_concept_that_is_not_there_is_counted_as_none(find_all, run):
    find_all.form.text.value = "golgi\ncell"
    assert run().startswith("0 golgi, 1 cell, ")
    find_all.form.text.value = "golgi\nGolgi"
    assert run().startswith("Nothing found, ")
    find_all.form.text.value = "cell"
    assert "1 object, " in run()


def test_nothing_but_empty_lines_is_nothing_to_find(find_all, run, engine):
    find_all.form.text.value = "\n  \n"
    assert "type what to find" in run()
    assert engine.requests == []


@pytest.mark.parametrize("positive", [True, False])
def test_examples_go_with_one_concept_only(viewer, find_all, run, engine, positive):
    add_example(find_all, positive)
    find_all.form.text.value = "nucleus\ncell"
    assert run() == (
        "Examples go with one concept, but 2 are typed: leave one line in the text field, or "
        "choose no layer under “Examples”."
    )
    assert (engine.requests, labels_layers(viewer)) == ([], [])
    with pytest.raises(PromptError):
        find_all.value()
    find_all.form.text.value = "nucleus\nNUCLEUS"
    run()
    assert texts(engine) == ["nucleus"]
    assert [e.positive for e in engine.requests[0].prompt.exemplars] == [positive]


def test_what_is_advised_about_examples_helps(find_all, run, engine):
    add_example(find_all)
    find_all.form.text.value = "nucleus\ncell"
    find_all.form.examples.value = None
    run()
    assert texts(engine) == ["nucleus", "cell"]


def test_combined_prompts_go_with_one_concept_only(find_all, free_engine_can, run, engine):
    free_engine_can(text=True, combined=True)
    find_all.form.combine.value = True
    find_all.form.text.value = "nucleus\ncell"
    assert "asks about one concept, but 2 are typed" in run()
    assert engine.requests == []
    find_all.form.text.value = "nucleus"
    run()
    assert texts(engine) == ["nucleus"]


def test_lines_from_before_do_not_stand_in_the_way_of_an_engine_without_text(panel, run, engine):
    panel.form.text.value = "nucleus\ncell"
    panel.form.question.value = "concept"
    assert not panel.form.text.enabled
    add_example(panel)
    line = run()
    assert texts(engine) == [""]
    assert "The texts “nucleus”, “cell” were left out." in line


def test_the_refusal_of_a_word_names_its_line(find_all, free_engine_can, run, engine):
    free_engine_can(text=True, words=("nucleus", "bright", "cell"))
    find_all.form.text.value = "bright nucleus\nred golgi"
    assert run().startswith(
        "“red golgi” cannot be found. The Built-in engine does not know the word “red”. It knows"
    )
    assert engine.requests == []


def test_an_engine_without_text_refuses_several_lines_as_one(panel, run):
    panel.form.text.value = "nucleus\ncell"
    assert run("concept").startswith("The Built-in engine cannot find things by name;")


# ---------------------------------------------------------------- what it costs, and again


def test_the_price_counts_the_concepts_as_they_are_typed(paid):
    price = paid.form.price
    said = {}
    for typed in ("nucleus", "nucleus\ncell", "a\nb\nc\nA"):
        paid.form.text.value = typed
        said[typed] = price.text().split(",")[0]
    assert list(said.values()) == ["", "Run makes at most 2 calls", "Run makes at most 3 calls"]
    paid.form.engine.value = "builtin"
    assert price.text() == ""


def test_the_list_of_runs_names_the_concepts_and_restore_puts_them_back(find_all, run, engine):
    find_all.form.text.value = "nucleus\n\ncell"
    run()
    table = find_all.history.table
    assert table.item(0, 1).text() == "nucleus, cell · builtin"
    assert table.item(0, 2).text() == "3"
    find_all.form.text.value = "something else"
    find_all.form.question.value = "everything"
    table.selectRow(0)
    find_all.history.restore.native.click()
    assert find_all.form.text.value == "nucleus\ncell"
    assert find_all.question == "concept"
    assert [p.text for p in find_all.value().prompts] == ["nucleus", "cell"]


def test_objects_of_one_run_are_still_called_objects(panel, click, run):
    panel.form.live.value = False
    click(10, 10)
    panel.next_object()
    click(40, 60)
    assert run("object").startswith("2 objects, ")
    assert panel.history.table.item(0, 1).text() == "2 objects · builtin"


# ---------------------------------------------------------------- boxes from elsewhere

BOXES = (Box(2, 3, 12, 33), Box(20, 50, 41, 77))


def plane_of(panel):
    return panel.asking.plane()[1]


def test_boxes_become_examples_and_are_asked_as_they_are(viewer, panel, run, engine):
    image = viewer.layers["cells"]
    assert panel.take_examples(image, plane_of(panel), BOXES, True) == 2
    assert said(panel) == "2 + examples added; press Run."
    assert panel.question == "concept"
    assert panel.form.examples.value.name == "examples: cells"
    assert panel.form.tools.count.text() == "2 +, 0 −"
    assert panel.take_examples(image, plane_of(panel), BOXES[:1], False) == 1
    assert said(panel) == "1 − example added; press Run."
    run()
    marks = [(e.box, e.positive) for e in engine.requests[-1].prompt.exemplars]
    assert marks == [(BOXES[0], True), (BOXES[1], True), (BOXES[0], False)]


def test_boxes_that_are_examples_already_are_not_added_again(viewer, panel):
    image, plane = viewer.layers["cells"], plane_of(panel)
    panel.take_examples(image, plane, BOXES[:1], True)
    assert panel.take_examples(image, plane, BOXES, True) == 1
    assert said(panel) == "1 + example added; press Run. 1 was among the + examples already."
    assert panel.take_examples(image, plane, BOXES, True) == 0
    assert said(panel) == "2 were among the + examples already."
    assert panel.take_examples(image, plane, (), True) == 0
    assert len(panel.prompts.get("examples").data) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_boxes_of_a_plane_of_another_image_choose_that_image(viewer, panel, run, engine, order):
    stack = viewer.add_image(
        np.zeros((7, 60, 90), np.uint8), name="stack", scale=(3, 0.5, 2), translate=(4, -5, 6)
    )
    viewer.dims.order = order
    viewer.dims.set_point(range(3), stack.data_to_world((4, 30, 40)))
    panel.form.image.value = stack
    plane = plane_of(panel)
    panel.form.image.value = viewer.layers["cells"]
    boxes = (Box(0, 1, 3, 20), Box(2, 5, 6, 7))
    assert panel.take_examples(stack, plane, boxes, True) == 2
    assert panel.form.image.value is stack
    layer = panel.prompts.get("examples")
    assert isinstance(layer, Shapes)
    assert layer.ndim == 3
    run()
    assert tuple(e.box for e in engine.requests[-1].prompt.exemplars) == boxes


def test_boxes_of_an_image_that_is_gone_change_nothing(viewer, panel):
    image, plane = viewer.layers["cells"], plane_of(panel)
    viewer.layers.remove("cells")
    assert panel.take_examples(image, plane, BOXES, True) == 0
    assert "“cells” was removed" in said(panel)
    assert panel.prompts.get("examples") is None
    assert panel.question == "everything"
