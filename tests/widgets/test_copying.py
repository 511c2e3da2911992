"""What is drawn is copied to the next plane, or over another image, and asked there."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Points, Shapes
from qtpy.QtWidgets import QScrollArea

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import ObjectPrompt, Point

from .conftest import SHAPE, labels_layers, picture, said, values

STACK = (4, *SHAPE)
TURNED = {"scale": (3, 0.5, 2), "translate": (4, -5, 6), "rotate": 15}
CORNERS = [(5, 8), (5, 30), (18, 30), (18, 8)]


@pytest.fixture
def stack(viewer):
    """A stack alone, on its second plane."""
    viewer.layers.clear()
    image = viewer.add_image(picture(STACK), name="stack", **TURNED)
    go_to(viewer, image, 1)
    return image


def go_to(viewer, image, *at):
    viewer.dims.set_point(range(image.ndim), image.data_to_world((*at, 0, 0)))


def plane_shown(panel):
    return panel.asking.plane()[1].index[:-2]


@pytest.fixture
def draw(panel, settle):
    """Draw at pixels of the plane that is shown."""

    def draw(kind, pixels, *, positive=True):
        panel.draw(kind, positive)
        layer = panel.prompts.get(kind)
        data = panel.asking.plane()[1].to_data(pixels)
        layer.add(data) if kind == "points" else layer.add_rectangles(data)
        settle()
        return layer

    return draw


@pytest.fixture
def press(panel, settle):
    def press(button):
        getattr(panel.copying, button).native.click()
        settle()
        return said(panel)

    return press


# ---------------------------------------------------------------- the next plane


def test_prompts_are_copied_to_the_next_plane_and_answered_there(
    viewer, stack, panel, draw, press, engine
):
    boxes = draw("boxes", CORNERS)
    panel.next_object()
    points = draw("points", [(40, 60)])
    draw("points", [(40, 70)], positive=False)
    asked_before = panel.value().prompts
    assert len(engine.requests) == 3
    first = press("to_plane")
    assert plane_shown(panel) == (2,)
    assert first.startswith("2 objects, ")
    assert first.endswith("\n3 marks were copied to plane 2 of 0–3.")
    assert panel.value().prompts == asked_before
    assert [r.prompt for r in engine.requests[3:]] == list(asked_before)
    assert boxes.features["object"].tolist() == [1, 3]
    assert points.features["object"].tolist() == [2, 2, 4, 4]
    assert points.features["polarity"].tolist() == ["positive", "negative"] * 2
    (layer,) = labels_layers(viewer)
    assert [values_of(layer, z) for z in range(4)] == [[0], [0, 1, 2], [0, 3, 4], [0]]
    # and a further click there refines the copy
    draw("points", [(50, 60)])
    assert values_of(layer, 2) == [0, 3, 4]
    assert values_of(layer, 1) == [0, 1, 2]


def values_of(layer, z):
    return np.unique(layer.data[z]).tolist()


def test_it_is_said_how_many_were_copied_and_where_to(stack, panel, draw, press):
    panel.form.live.value = False
    draw("points", [(40, 60), (10, 20)])
    assert press("to_plane") == "2 marks were copied to plane 2 of 0–3."
    assert press("to_plane") == "2 marks were copied to plane 3 of 0–3."
    assert plane_shown(panel) == (3,)


def test_the_plane_is_named_as_on_its_slider(viewer, stack, panel, draw, press):
    # sliders go over all layers: this one begins two planes before the stack
    viewer.add_image(np.zeros((9, 5, 5)), name="long", scale=(3, 1, 1), translate=(-2, 0, 0))
    panel.form.image.value = stack
    panel.form.live.value = False
    draw("points", [(40, 60)])
    said = press("to_plane")
    dims = viewer.dims
    assert plane_shown(panel) == (2,)
    assert said == f"1 mark was copied to plane {dims.current_step[0]} of 0–{dims.nsteps[0] - 1}."
    assert dims.current_step[0] != 2


def test_what_was_copied_is_not_copied_again(viewer, stack, panel, draw, press):
    panel.form.live.value = False
    points = draw("points", [(40, 60), (10, 20)])
    boxes = draw("boxes", CORNERS)
    press("to_plane")
    go_to(viewer, stack, 1)
    said = "Nothing was copied to plane 2 of 0–3: 3 marks were there already."
    assert press("to_plane") == said
    assert plane_shown(panel) == (2,)
    assert (len(points.data), len(boxes.data)) == (4, 2)
    go_to(viewer, stack, 1)
    draw("points", [(50, 70)])
    assert press("to_plane") == (
        "1 mark was copied to plane 2 of 0–3.\n3 marks were there already."
    )
    assert len(points.data) == 6


def test_one_mark_that_was_copied_is_one(viewer, stack, panel, draw, press):
    panel.form.live.value = False
    draw("points", [(40, 60)])
    press("to_plane")
    go_to(viewer, stack, 1)
    said = "Nothing was copied to plane 2 of 0–3: 1 mark was there already."
    assert press("to_plane") == said


def test_a_click_after_a_copy_of_something_else_begins_an_object(stack, panel, draw, press):
    panel.form.live.value = False
    points = draw("points", [(40, 60)])
    panel.next_object()
    press("to_plane")
    draw("points", [(10, 20)])
    assert points.features["object"].tolist() == [1, 2, 3]


def test_nothing_drawn_on_the_plane_moves_nothing(viewer, stack, panel, draw, press):
    panel.form.question.value = "object"
    assert press("to_plane") == "Nothing is drawn on this plane that could be copied."
    draw("points", [(40, 60)])
    go_to(viewer, stack, 0)
    assert press("to_plane") == "Nothing is drawn on this plane that could be copied."
    assert plane_shown(panel) == (0,)
    assert len(panel.prompts.get("points").data) == 1


def test_examples_are_copied_with_their_signs(stack, panel, draw, press, run, engine):
    panel.form.question.value = "concept"
    draw("examples", CORNERS)
    draw("examples", np.array(CORNERS) + 30, positive=False)
    before = panel.value().prompts
    assert press("to_plane") == "2 marks were copied to plane 2 of 0–3."
    assert panel.value().prompts == before
    assert panel.prompts.get("examples").features["object"].tolist() == [1, 1, 1, 1]
    run()
    assert [r.prompt for r in engine.requests] == list(before)


def test_a_billed_engine_is_not_asked_by_a_copy(stack, panel, draw, press, paid_engine):
    panel.form.engine.value = "paid"
    draw("points", [(40, 60)])
    assert press("to_plane") == "1 mark was copied to plane 2 of 0–3."
    assert paid_engine.requests == []


@pytest.mark.parametrize("moved", [0, 1, None])
def test_the_slider_that_was_moved_last_is_the_one_that_moves(viewer, panel, draw, press, moved):
    viewer.layers.clear()
    hyper = viewer.add_image(picture((3, 5, *SHAPE)), name="hyper", scale=(2, 3, 1, 1))
    go_to(viewer, hyper, 1, 1)
    panel.form.live.value = False
    if moved is not None:
        viewer.dims.set_point(moved, viewer.dims.point[moved] - hyper.scale[moved])
    before = plane_shown(panel)
    draw("points", [(40, 60)])
    press("to_plane")
    steps = np.subtract(plane_shown(panel), before).tolist()
    assert steps == ([1, 0] if moved == 0 else [0, 1])
    assert panel.value().prompts == (ObjectPrompt((Point(40, 60),)),)


def test_the_button_is_disabled_with_the_reason(viewer, stack, panel):
    panel.form.question.value = "object"
    button = panel.copying.to_plane
    assert button.enabled
    go_to(viewer, stack, 3)
    assert not button.enabled
    assert button.tooltip == "This is the last plane along axis 0."
    viewer.dims.axis_labels = ("depth", "y", "x")
    go_to(viewer, stack, 2)
    go_to(viewer, stack, 3)
    assert button.tooltip == "This is the last plane along the axis “depth”."
    go_to(viewer, stack, 0)
    assert button.enabled
    assert button.tooltip.startswith("Copy what is drawn")
    viewer.dims.ndisplay = 3
    assert not button.enabled
    assert "2D view" in button.tooltip
    viewer.dims.ndisplay = 2
    flat = viewer.add_image(picture(), name="flat")
    panel.form.image.value = flat
    assert not button.enabled
    assert button.tooltip == "“flat” has a single plane."
    panel.form.image.value = stack
    assert button.enabled


def test_an_axis_without_a_name_is_counted_as_the_sliders_are(viewer, stack, panel):
    viewer.add_image(np.zeros((2, 4, *SHAPE)), name="hyper", visible=False)
    panel.form.question.value = "object"
    panel.form.image.value = stack
    viewer.dims.set_point(range(4), (0, *stack.data_to_world((3, 0, 0))))
    assert panel.copying.to_plane.tooltip == "This is the last plane along axis 1."


def test_an_axis_of_a_single_plane_is_no_way_to_go(viewer, panel):
    viewer.layers.clear()
    assert "no image yet" in panel.copying.to_plane.tooltip
    viewer.add_image(picture((1, *SHAPE)), name="one")
    assert panel.copying.to_plane.tooltip == "“one” has a single plane."


# ---------------------------------------------------------------- another image


@pytest.fixture
def other(viewer):
    return viewer.add_image(
        picture((50, 80)), name="other", scale=(0.5, 3), translate=(40, -9), rotate=20
    )


def test_prompts_are_copied_over_another_image_and_answered_there(
    viewer, panel, other, draw, press, engine
):
    panel.form.image.value = viewer.layers["cells"]
    boxes = draw("boxes", CORNERS)
    panel.next_object()
    points = draw("points", [(40, 60)])
    asked = panel.value().prompts
    press("to_image")
    assert panel.form.image.value is other
    assert panel.value().prompts == asked
    assert [r.shape for r in engine.requests[2:]] == [(50, 80), (50, 80)]
    copies = [panel.prompts.get(kind) for kind in ("boxes", "points")]
    assert [layer.name for layer in copies] == ["boxes: other", "points: other"]
    assert (panel.form.boxes.value, panel.form.points.value) == tuple(copies)
    assert [len(boxes.data), len(points.data)] == [1, 1]
    (first, second) = labels_layers(viewer)
    assert (values(first), values(second)) == ([0, 1, 2], [0, 1, 2])
    assert {layer.data.shape for layer in (first, second)} == {SHAPE, (50, 80)}
    # what is drawn next refines the copy, and not the original
    draw("points", [(44, 60)])
    assert len(points.data) == 1
    assert panel.prompts.get("points").features["object"].tolist() == [2, 2]


def test_it_is_said_how_many_were_copied_and_what_lies_outside(viewer, panel, other, draw, press):
    panel.form.image.value = viewer.layers["cells"]
    panel.form.live.value = False
    draw("points", [(40, 60), (58, 60)])
    assert press("to_image") == (
        "1 mark was copied to “other”.\n1 mark was left out, outside of “other”."
    )


def test_a_kind_without_copies_is_not_read_any_more(viewer, panel, other, draw, press):
    panel.form.image.value = viewer.layers["cells"]
    panel.form.live.value = False
    boxes = draw("boxes", [(55, 8), (55, 30), (59, 30), (59, 8)])
    draw("points", [(40, 60)])
    press("to_image")
    assert panel.prompts.get("boxes") is None
    assert panel.form.boxes.value is None
    assert any(layer is boxes for layer in viewer.layers)
    assert panel.value().prompts == (ObjectPrompt((Point(40, 60),)),)


def test_nothing_to_copy_changes_nothing(viewer, panel, other, draw, press):
    panel.form.image.value = viewer.layers["cells"]
    points = draw("points", [(58, 60)])
    assert press("to_image") == "1 mark was left out, outside of “other”."
    assert panel.prompts.get("points") is points
    assert panel.form.image.value is viewer.layers["cells"]


def test_the_images_to_choose_from_are_all_others(viewer, panel, stack):
    part = panel.copying
    assert not part.to_image.enabled
    assert "no other image" in part.to_image.tooltip
    first = viewer.add_image(picture(), name="first")
    second = viewer.add_image(picture(), name="second")
    panel.form.image.value = first
    assert set(part.image.choices) == {stack, second}
    assert part.to_image.enabled
    part.image.value = second
    panel.form.image.value = stack
    assert set(part.image.choices) == {first, second}
    assert part.image.value is second
    viewer.layers.remove(second)
    assert part.image.choices == (first,)


def test_a_plane_that_the_other_image_lacks_is_a_sentence(viewer, stack, panel, draw, press):
    panel.form.live.value = False
    draw("points", [(40, 60)])
    viewer.add_image(picture((2, *SHAPE)), name="short", translate=(100, 0, 0))
    go_to(viewer, stack, 1)
    assert "“short” has no plane where the sliders are" in press("to_image")
    assert panel.form.image.value is stack


def test_a_box_of_a_stack_is_a_box_of_a_flat_image(viewer, stack, panel, draw, press):
    panel.form.live.value = False
    draw("boxes", CORNERS)
    viewer.add_image(picture(), name="flat")
    press("to_image")
    assert panel.value().prompts == (ObjectPrompt(box=Box(5, 8, 18, 30)),)
    assert isinstance(panel.prompts.get("boxes"), Shapes)
    assert panel.prompts.get("boxes").ndim == 2


# ---------------------------------------------------------------- the section


def test_the_section_is_there_for_what_is_drawn_only(panel):
    section = panel.form.copying
    for question, is_there in (("concept", True), ("object", True), ("everything", False)):
        panel.form.question.value = question
        assert section.isHidden() is not is_there
        assert not section.isExpanded()


def test_a_long_name_does_not_widen_the_dock(viewer, panel):
    long = "a name that is far too long for a combo box in a narrow dock " * 2
    viewer.add_image(picture(), name=long)
    panel.form.question.value = "object"
    panel.form.copying.expand(animate=False)
    area = panel.form.findChild(QScrollArea)
    bar = area.verticalScrollBar().sizeHint().width()
    assert area.widget().minimumSizeHint().width() <= panel.form.minimumWidth() - bar


def test_a_closed_panel_listens_no_more(viewer, stack, panel):
    panel.close_down()
    events = viewer.dims.events
    for event in (events.point, events.order, events.ndisplay, events.range):
        assert all("CopyPart" not in str(one) for one in event.callbacks)
    assert isinstance(viewer.add_points(np.zeros((0, 3))), Points)
