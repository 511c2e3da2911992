"""What is sent is what the window shows; and where that is nothing, it is said why."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_sam3.core.instances import Instances

from .conftest import SHAPE, labels_layers, on_screen, only_labels, picture, said


def nuclei(shape=(240, 330)):
    """Return twenty nuclei of 12 bits beside one hot pixel of 16."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    values = np.random.default_rng(3).normal(300, 9, shape)
    for i in range(20):
        row, col = 30 + 60 * (i // 5), 35 + 65 * (i % 5)
        values += 300 * np.clip((13 - np.hypot(rows - row, cols - col)) / 3, 0, 1)
    image = values.astype(np.uint16)
    image[7, 9] = 65535
    return image


def show(viewer, data, name="cells", **options):
    while viewer.layers:
        viewer.layers.pop()
    return viewer.add_image(data, name=name, **options)


def offers_contrast(panel):
    return not panel.form.auto_contrast.native.isHidden()


def find_nothing(engine):
    engine.answer = lambda request: Instances(request.shape)


def test_one_hot_pixel_is_told_of_and_one_button_helps(real_engines, viewer, panel, run):
    image = show(viewer, nuclei())
    line = run("everything")
    assert line.startswith("Nothing found")
    assert "Nearly all of the picture is one grey level: the contrast limits of “cells”" in line
    assert line.endswith("Press Auto contrast, then Run.")
    assert offers_contrast(panel)
    assert labels_layers(viewer) == []
    panel.form.auto_contrast.native.click()
    low, high = image.contrast_limits
    assert 250 < low < 300 < 600 < high < 700
    assert "“cells” now has the contrast limits" in said(panel)
    assert not offers_contrast(panel)
    assert run().startswith("20 objects")
    assert "grey level" not in said(panel)
    assert only_labels(viewer).data.max() == 20


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.full(SHAPE, 7, np.uint16), "values of “cells” are 7"),
        (np.full(SHAPE, np.nan), "of “cells” are no numbers"),
        (np.zeros((3, *SHAPE), np.uint8), "values of “cells” are 0"),
    ],
    ids=["constant", "all NaN", "black stack"],
)
def test_where_no_contrast_helps_none_is_offered(viewer, panel, run, engine, data, reason):
    find_nothing(engine)
    show(viewer, data)
    assert reason in run("everything")
    assert not offers_contrast(panel)
    panel.auto_contrast()
    assert said(panel) == "There is no better contrast to set."


def test_colours_that_are_clipped_to_white_are_told_of(viewer, panel, run, engine):
    colours = picture()[..., np.newaxis] * np.array([0.9, 0.5, 0.7]) + 2
    image = show(viewer, colours, rgb=True, contrast_limits=(0, 1))
    assert "contrast limits of “cells” are 0 and 1" in run("everything")
    panel.form.auto_contrast.native.click()
    assert image.contrast_limits[1] > 100
    assert "grey level" not in run()


def test_a_picture_with_contrast_is_not_told_of(viewer, panel, run, engine):
    find_nothing(engine)
    line = run("everything")
    assert line.startswith("Nothing found")
    assert "grey level" not in line
    assert not offers_contrast(panel)


def test_of_images_that_are_sent_together_all_that_show_nothing_are_helped(
    viewer, panel, run, engine
):
    first = show(viewer, nuclei(), "first", blending="additive")
    second = viewer.add_image(nuclei()[:, ::-1], name="second", blending="additive")
    panel.form.image.value = first
    panel.form.composed.value = True
    line = run("everything")
    assert "“first”" in line
    assert "“second”" in line
    panel.form.auto_contrast.native.click()
    assert max(first.contrast_limits[1], second.contrast_limits[1]) < 700
    assert "grey level" not in run()


def test_an_image_that_is_gone_needs_no_contrast(viewer, panel, run, engine):
    image = show(viewer, nuclei())
    run("everything")
    viewer.layers.remove(image)
    panel.form.auto_contrast.native.click()
    assert said(panel) == "There is no better contrast to set."


def test_another_question_takes_the_offer_back(viewer, panel, run, engine):
    show(viewer, nuclei())
    run("everything")
    assert offers_contrast(panel)
    panel.form.question.value = "object"
    assert not offers_contrast(panel)


def test_nothing_found_makes_no_layer_and_leaves_one_that_is_there(viewer, panel, run, engine):
    answer = engine.answer
    find_nothing(engine)
    assert "→" not in run("everything")
    assert labels_layers(viewer) == []
    engine.answer = answer
    run()
    layer, found = only_labels(viewer), only_labels(viewer).data.copy()
    find_nothing(engine)
    assert run().endswith(f"→ “{layer.name}”")
    np.testing.assert_array_equal(only_labels(viewer).data, found)


def test_a_chosen_layer_that_was_removed_is_not_replaced_by_an_empty_one(
    viewer, panel, engine, asked, settle
):
    find_nothing(engine)
    layer = viewer.add_labels(np.zeros(SHAPE, int), name="mine")
    panel.form.output.value = layer
    panel.form.question.value = "everything"
    engine.hold()
    panel.run()
    asked(engine, 1)
    viewer.layers.remove(layer)
    engine.release()
    settle()
    assert labels_layers(viewer) == []
    assert said(panel).startswith("Nothing found")
    assert "new layer" not in said(panel)


@on_screen
@pytest.mark.parametrize(
    ("colour", "limits", "gamma"),
    [
        ((1000, 2000, 3500), (500, 2500), 0.5),
        ((1000, 2000, 3500, 32768), (0, 4000), 1.0),
    ],
    ids=["RGB", "RGBA"],
)
def test_colours_are_sent_as_the_canvas_shows_them(
    viewer, panel, run, engine, colour, limits, gamma
):
    find_nothing(engine)
    data = np.full((*SHAPE, len(colour)), colour, np.uint16)
    show(viewer, data, rgb=True, contrast_limits=limits, gamma=gamma)
    run("everything")
    viewer.window.resize(1000, 700)
    viewer.reset_view()
    QApplication.processEvents()
    canvas = viewer.screenshot(canvas_only=True, flash=False)
    drawn = canvas[canvas.shape[0] // 2, canvas.shape[1] // 2, :3].astype(int)
    sent = engine.requests[0].image[30, 40].astype(int)
    assert np.abs(sent - drawn).max() <= 1
