"""Thick slices and sheared stacks, from what is drawn to what is asked, written and said."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.workflows.cite import cite
from napari_sam3.workflows.provenance import check_record

from .conftest import LIMIT_MS, SHAPE, Mouse, labels_layers, on_screen, only_labels, said

SHEARED = np.array([[1, 0, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def stack(viewer, panel):
    """A stack in which each plane has a bright column of its own, seen as its maximum."""
    data = np.full((9, *SHAPE), 10, np.uint8)
    for z in range(9):
        data[z, :, 5 * z : 5 * z + 3] = 200
    viewer.layers.clear()
    image = viewer.add_image(data, name="stack", contrast_limits=(0, 255), projection_mode="max")
    viewer.dims.set_point(0, 4)
    viewer.dims.thickness = (3, 0, 0)
    return image


def test_the_maximum_that_is_seen_is_what_is_asked_about(stack, run, engine):
    run("everything")
    (request,) = engine.requests
    assert np.array_equal(request.image[..., 0], stack.data[2:6].max(axis=0))


def test_what_is_found_goes_to_the_plane_at_the_slider_and_the_line_says_so(viewer, stack, run):
    line = run("everything")
    assert line.endswith("s → “stack objects”, plane 4 (from the maximum of planes 2–5)")
    labels = only_labels(viewer)
    assert [z for z in range(9) if labels.data[z].any()] == [4]
    stack.projection_mode = "none"
    assert run().endswith("→ “stack objects”")


def test_the_record_and_the_methods_tell_of_the_projection(viewer, stack, run):
    run("everything")
    record = check_record(only_labels(viewer).metadata["napari_sam3"])
    (done,) = record["runs"]
    assert done["picture"]["slab"] == {"projection": "max", "ranges": [[2, 6]]}
    assert done["plane"]["index"] == [4, 0, 0]
    methods = cite(record).methods
    assert "Segmented was the maximum of planes 2–5 of “stack” (counted from 0)." in methods


def test_clicks_that_are_seen_in_a_thick_slice_count(viewer, stack, panel, click, engine, settle):
    click(20, 30, at=3)
    viewer.dims.thickness = (0, 0, 0)
    panel.form.run.native.click()
    settle()
    assert len(engine.requests) == 1
    assert "1 point is not on the plane that is shown" in said(panel)
    viewer.dims.thickness = (3, 0, 0)
    panel.form.run.native.click()
    settle()
    assert [p.pixel for p in engine.requests[-1].prompt.points] == [(20, 30)]


def test_a_thicker_slice_is_another_question_while_the_first_is_under_way(
    viewer, stack, panel, engine, asked, settle
):
    panel.form.question.value = "everything"
    engine.hold()
    panel.form.run.native.click()
    asked(engine, 1)
    viewer.dims.thickness = (0, 0, 0)
    panel.form.run.native.click()
    engine.release()
    settle()
    assert len(engine.requests) == 2
    assert not np.array_equal(engine.requests[0].image, engine.requests[1].image)


def test_restoring_a_run_brings_the_thickness_back(viewer, stack, panel, run):
    run("everything")
    viewer.dims.set_point(0, 7)
    viewer.dims.thickness = (0, 0, 0)
    panel.history.table.selectRow(0)
    panel.history.restore.native.click()
    assert viewer.dims.point[0] == 4
    assert viewer.dims.thickness == (3, 0, 0)


@on_screen
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")
def test_a_click_on_a_sheared_stack_means_the_pixel_under_the_cursor(
    viewer, panel, engine, settle, qtbot
):
    viewer.layers.clear()
    data = np.zeros((20, *SHAPE), np.uint8)
    data[10, 30, 40] = 255
    viewer.add_image(data, name="deskewed", affine=SHEARED, contrast_limits=(0, 1))
    viewer.dims.set_point(0, 10)
    panel.form.question.value = "object"
    panel.form.tools.point.native.click()
    # the controls of the new layer have taken their part of the window by now
    mouse = Mouse(viewer, qtbot)
    shot = viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int).min(axis=2)
    bright = np.argwhere(shot > 200)
    place = mouse.at(30, 40)
    scale = shot.shape[1] / mouse.canvas.width()
    drawn = bright.mean(axis=0) / scale
    np.testing.assert_allclose(drawn, (place.y(), place.x()), atol=3)
    mouse.click(30, 40)
    qtbot.waitUntil(lambda: bool(engine.requests), timeout=LIMIT_MS)
    settle()
    assert [p.pixel for p in engine.requests[-1].prompt.points] == [(30, 40)]
    (labels,) = labels_layers(viewer)
    assert labels.data[10, 30, 40]
