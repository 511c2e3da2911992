"""What the methods say after a review in the panel, from the files that it saves."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Points

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.prompts import ObjectPrompt
from napari_sam3.widgets.saving import capture_labels, save_layer_data
from napari_sam3.workflows.cite import RULE_WORDS, cite
from napari_sam3.workflows.label_files import open_labels
from napari_sam3.workflows.sidecars import read_sidecar

from .conftest import LIMIT_MS, solid

LARGE, SMALL, EDGE = Box(5, 10, 30, 50), Box(10, 15, 20, 30), Box(40, 60, 60, 80)


@pytest.fixture
def objects(viewer, panel, run, engine, qtbot):
    """The panel of the objects after a run: one of the three is covered by another."""

    def answer(request):
        box = request.prompt.box if isinstance(request.prompt, ObjectPrompt) else None
        boxes = [LARGE, EDGE, SMALL] if box is None else [box]
        return Instances(request.shape, tuple(solid(b, 0.9 - b.top / 100) for b in boxes))

    engine.answer = answer
    run("everything")
    found = viewer.window.add_plugin_dock_widget("napari-sam3", "Objects")[1]
    wait(found, qtbot)
    yield found
    found.close_down()


def wait(panel, qtbot):
    qtbot.wait(20)
    qtbot.waitUntil(lambda: not panel.is_busy, timeout=LIMIT_MS)


def methods_of(layer, folder):
    save_layer_data(folder / "x.tif", capture_labels(layer))
    return cite(read_sidecar(folder / "x.tif"), open_labels(folder / "x.tif")).methods


def decide(objects, label, what):
    objects.review.choose((label,))
    what()


def test_what_was_decided_and_not_painted_is_no_edit(objects, qtbot, tmp_path):
    layer, view = objects.layer, objects.form.view
    steps = (
        (lambda: decide(objects, 1, objects.accept), [1, 2]),
        (lambda: setattr(view.rule, "value", "smallest"), [1, 2, 3]),
        (lambda: setattr(view.min_area, "value", 200), [1, 2]),
        (lambda: decide(objects, 2, objects.reject), [1]),
        (lambda: setattr(view.min_area, "value", 0), [1, 3]),
        (lambda: setattr(view.min_score, "value", 0.95), []),
    )
    for step, shown in steps:
        step()
        wait(objects, qtbot)
        assert sorted(set(np.unique(layer.data).tolist()) - {0}) == shown
        methods = methods_of(layer, tmp_path)
        assert "edited by hand" not in methods
        assert "had been labelled before" not in methods
        assert f"{len(shown) or 'No'} object" in methods
        assert "reviewed by hand" in methods
        is_by_size = view.rule.value == "smallest" and len(shown) > 1
        assert (RULE_WORDS["smallest"] in methods) == is_by_size


def test_refined_objects_are_no_edit_and_what_is_painted_is_one(viewer, objects, qtbot, tmp_path):
    layer = objects.layer
    for label, click in ((1, (12, 30)), (2, (44, 64))):
        objects.review.choose((label,))
        objects.refine()
        wait(objects, qtbot)
        next(one for one in viewer.layers if isinstance(one, Points)).add(click)
        wait(objects, qtbot)
        objects.refine()
    objects.form.view.rule.value = "smallest"
    wait(objects, qtbot)
    methods = methods_of(layer, tmp_path)
    assert "edited by hand" not in methods
    assert "3 objects were labelled" in methods
    layer.paint((50, 10), 9)
    wait(objects, qtbot)
    assert "edited by hand" in methods_of(layer, tmp_path)
