"""What is pressed and clicked, which panel answers, and the files that the panel writes."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import roifile
from napari._qt._qplugins._qnpe2 import _toggle_or_get_widget
from napari.layers import Labels
from napari.plugins import menu_item_template
from napari.utils._test_utils import read_only_mouse_event
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from npe2 import PluginManager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QShortcut

from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.viewing import View
from napari_sam3.layers.objects import find_store
from napari_sam3.widgets import _save, _sharing
from napari_sam3.widgets._canvas import CLICK_REACH
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.opening import get_reader
from napari_sam3.workflows.exporting import Exported, export

from .conftest import on_screen, press, said, solid
from .objects_room import (
    EDGE,
    LARGE,
    LIMIT_MS,
    LIMIT_S,
    OBJECTS,
    SHAPE,
    SMALL,
    boxes,
    labels_on_record,
    shown,
    states,
    wait,
)


def is_in_front(panel):
    return not panel.visibleRegion().isEmpty()


# ---------------------------------------------------------------------- keys


def test_a_key_that_is_held_down_decides_once(objects):
    shortcuts = objects.findChildren(QShortcut)
    assert len(shortcuts) == 8
    assert not any(shortcut.autoRepeat() for shortcut in shortcuts)


def test_a_panel_that_is_closed_leaves_its_keys_to_others(seen, objects):
    with pytest.raises(ValueError, match="J"):
        seen.bind_key("J", lambda _viewer: None)
    objects.close_down()
    for key in ("G", "H", "J", "Shift-J", "K", "U", "Control-Shift-E"):
        seen.bind_key(key, lambda _viewer: None)


def test_a_key_of_another_plugin_stays_its_own(seen, layer, qtbot):
    pressed = []
    seen.bind_key("J", pressed.append)
    panel = ObjectsPanel(seen)
    qtbot.addWidget(panel)
    assert "J next" not in panel.form.keys.text()
    assert "G accept" in panel.form.keys.text()
    panel.close_down()
    with pytest.raises(ValueError, match="J"):
        seen.bind_key("J", lambda _viewer: None)


@on_screen
def test_behind_another_tab_a_key_only_brings_the_panel_to_the_front(
    viewer, seen, objects, panel, still, qtbot
):
    panel._dock_widget().raise_()
    # Qt calls what lies behind another tab visible, though nothing of it is to be seen
    qtbot.waitUntil(lambda: is_in_front(panel) and not is_in_front(objects), timeout=LIMIT_MS)
    press(seen, Qt.Key.Key_J)
    still()
    assert objects.review.current == ()
    qtbot.waitUntil(lambda: is_in_front(objects), timeout=LIMIT_MS)
    press(seen, Qt.Key.Key_J)
    qtbot.waitUntil(lambda: objects.review.current == (3,), timeout=LIMIT_MS)


@on_screen
def test_escape_ends_refining(viewer, seen, objects, still, refine, qtbot):
    refine(2)
    press(seen, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not objects.refining.is_on, timeout=LIMIT_MS)
    refine(2)
    objects.form.table.view.setFocus()
    QTest.keyClick(objects.form.table.view, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not objects.refining.is_on, timeout=LIMIT_MS)


# ---------------------------------------------------------------------- the mouse


@pytest.fixture
def drag(seen):
    """Press the mouse at the first place in the image, move it, let go at the last one."""

    def event(kind, place):
        return read_only_mouse_event(type=kind, pos=np.array(place), position=place)

    def drag(*places):
        mouse_press_callbacks(seen, event("mouse_press", places[0]))
        for _, place in pairwise(places):
            mouse_move_callbacks(seen, event("mouse_move", place))
        mouse_release_callbacks(seen, event("mouse_release", places[-1]))

    return drag


def test_a_click_selects_what_is_under_it(objects, drag):
    drag((50, 70))
    assert objects.review.current == objects.form.table.selected_labels() == (2,)


def test_a_hand_that_trembles_still_clicks(objects, drag):
    drag((50, 70), (50 + CLICK_REACH, 70))
    assert objects.review.current == (2,)


def test_dragging_selects_nothing(objects, drag):
    objects.review.choose((1,))
    drag((50, 70), (50 + CLICK_REACH + 1, 70))
    assert objects.review.current == (1,)


@pytest.mark.parametrize("mode", ["paint", "erase", "fill"])
def test_a_click_with_a_tool_selects_nothing(seen, objects, layer, drag, mode):
    seen.layers.selection.active = layer
    layer.mode = mode
    drag((50, 70))
    assert objects.review.current == ()


def test_a_click_with_the_tool_of_another_layer_selects_nothing(seen, objects, drag):
    points = seen.add_points(ndim=2)
    points.mode = "add"
    seen.layers.selection.active = points
    drag((50, 70))
    assert objects.review.current == ()


def test_napari_s_picker_selects_too(objects, layer):
    layer.mode = "pick"
    layer.selected_label = 2
    assert objects.review.current == (2,)


# ---------------------------------------------------------------------- one panel


def choose_in_menu(viewer):
    """Do what napari's menu does: open the panel, or show or hide it if it is there."""
    title = PluginManager.instance().get_manifest("napari-sam3").display_name
    name = menu_item_template.format(title, "Objects")
    made = _toggle_or_get_widget("napari-sam3", "Objects", name)
    if made is not None:
        viewer.window.add_dock_widget(made[0], name=made[1])


@on_screen
@pytest.mark.parametrize("is_first_in_menu", [True, False], ids=["menu first", "Review first"])
def test_review_and_the_menu_open_the_same_panel_as_a_tab(
    viewer, panel, run, qtbot, is_first_in_menu
):
    run("everything")
    if is_first_in_menu:
        choose_in_menu(viewer)
    panel.reviewing.native.click()
    if not is_first_in_menu:
        choose_in_menu(viewer)
        panel.reviewing.native.click()
    docked = viewer.window.dock_widgets.values()
    (objects,) = (one for one in docked if isinstance(one, ObjectsPanel))
    wait(objects, qtbot)
    window, own = viewer.window._qt_window, objects._dock_widget()
    qtbot.waitUntil(
        lambda: panel._dock_widget() in window.tabifiedDockWidgets(own), timeout=LIMIT_MS
    )
    qtbot.waitUntil(lambda: is_in_front(objects), timeout=LIMIT_MS)
    assert not is_in_front(panel)
    objects.close_down()


# ---------------------------------------------------------------------- classes and overlaps


@pytest.mark.parametrize("kind", ["overlaps", "classes"])
def test_what_was_made_of_a_layer_follows_it_also_after_another_was_looked_at(
    seen, objects, layer, still, kind
):
    other = seen.add_layer(labels_on_record({1: OBJECTS[1]}, name="other"))
    objects.form.view.rule.value = "smallest"
    getattr(objects, f"show_{kind}")()
    still()
    made = seen.layers[f"{kind} of {layer.name}"]
    for one in (other, layer):
        objects.form.labels.value = one
        still()
    assert made.data[SMALL.slices].all()
    objects.review.choose((1, 3))
    objects.reject()
    still()
    assert not made.data[LARGE.slices].any()


def test_classes_are_not_offered_as_labels_to_review(seen, objects, layer, still):
    objects.show_classes()
    still()
    assert objects.form.labels.choices == (layer,)
    assert objects.layer is layer


def test_deleted_classes_are_not_painted_any_more(seen, objects, layer, still):
    objects.show_classes()
    still()
    seen.layers.remove(f"classes of {layer.name}")
    objects.review.choose((1,))
    objects.reject()
    still()
    assert "classes" not in objects.keeper.wanted
    assert shown(layer) == [2, 3]


# ---------------------------------------------------------------------- files


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def exported(objects, still, tmp_path):
    """Export measurements, and return their rows by label."""

    def exported():
        objects.export_to(str(tmp_path / "cells.csv"))
        still()
        return {int(row["label"]): row for row in rows(tmp_path / "cells.csv")}

    return exported


def test_what_a_filter_hides_is_not_exported(objects, still, exported):
    objects.form.view.min_area.value = 400
    still()
    assert exported().keys() == {1, 2}


def test_a_filter_that_was_just_set_holds_for_the_export(objects, exported):
    objects.form.view.min_area.value = 400
    assert exported().keys() == {1, 2}


def test_values_are_those_of_the_image_that_the_labels_lie_over(seen, exported):
    mean = seen.layers["cells"].data[EDGE.slices].mean()
    assert float(exported()[2]["intensity_mean"]) == pytest.approx(mean)


@pytest.mark.parametrize(
    "misfit", [{"translate": (5, 0)}, {"scale": (2, 2)}, {"shape": (30, 90)}], ids=str
)
def test_an_image_that_the_labels_do_not_lie_over_is_not_measured(seen, objects, exported, misfit):
    kept = dict(misfit)
    data = np.ones(kept.pop("shape", SHAPE), np.uint8)
    objects.form.image.value = seen.add_image(data, name="other", **kept)
    assert "intensity_mean" not in exported()[2]


@pytest.fixture
def calibrated(seen, layer):
    layer.scale, layer.units = (0.5, 0.25), ("micrometer", "micrometer")
    seen.layers.remove("cells")
    return layer


@pytest.mark.parametrize("name", ["cells.tif", "cells.geojson", "cells.json"])
def test_objects_keep_their_pixel_size_through_a_file(objects, calibrated, still, tmp_path, name):
    objects.export_to(str(tmp_path / name))
    still()
    objects.sharing.read(str(tmp_path / name))
    still()
    assert objects.layer is not calibrated
    assert tuple(objects.layer.scale) == (0.5, 0.25)
    assert {str(unit) for unit in objects.layer.units} == {"micrometer"}


def test_an_import_goes_over_the_image_that_it_fits(seen, objects, layer, still, tmp_path):
    objects.export_to(str(tmp_path / "cells.json"))
    still()
    seen.layers["cells"].translate = (7, 3)
    objects.sharing.read(str(tmp_path / "cells.json"))
    still()
    assert tuple(objects.layer.translate) == (7, 3)
    assert boxes(objects.layer) == {1: LARGE, 2: EDGE, 3: SMALL}


class HeldReading:
    """Reads nothing until it is let to."""

    def __init__(self, real):
        self.real, self.gate = real, threading.Event()

    def __call__(self, *args):
        assert self.gate.wait(LIMIT_S)
        return self.real(*args)


def test_one_file_at_a_time_is_read_or_written(objects, still, tmp_path, monkeypatch):
    objects.export_to(str(tmp_path / "cells.json"))
    still()
    held = HeldReading(_sharing.read_objects)
    monkeypatch.setattr(_sharing, "read_objects", held)
    objects.sharing.read(str(tmp_path / "cells.json"))
    is_busy = objects.is_busy
    objects.export_to(str(tmp_path / "other.json"))
    refused = said(objects)
    held.gate.set()
    still()
    assert is_busy
    assert refused == "Another file is being read or written; wait until it is done."
    assert not (tmp_path / "other.json").exists()


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """The file that is chosen in the dialog of Save."""
    path = tmp_path / "cells.tif"
    monkeypatch.setattr(_save.QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    return path


def test_save_writes_the_labels_and_what_was_said_of_them(objects, layer, still, chosen):
    objects.review.choose((2,))
    objects.reject()
    objects.form.view.rule.value = "smallest"
    objects.saving.button.native.click()
    still()
    assert said(objects) == "Saved cells.tif and cells.json."
    path = str(chosen.with_suffix(".json"))
    ((data, attributes, _),) = get_reader(path)(path)
    again = Labels(data, **attributes)
    assert states(again) == {1: "unreviewed", 2: "rejected", 3: "unreviewed"}
    assert find_store(again).view == View("smallest")
    assert np.array_equal(data, layer.data)


def test_save_without_labels_says_what_to_do(seen, objects, layer, still, chosen):
    seen.layers.remove(layer)
    still()
    objects.saving.button.native.click()
    assert "There are no objects to save yet" in said(objects)
    assert not chosen.exists()


@pytest.mark.parametrize("suffix", [".zip", ".geojson", ".coco.json"])
def test_objects_of_slices_are_imported_onto_their_slices(seen, objects, still, tmp_path, suffix):
    stack = seen.add_image(np.zeros((5, *SHAPE), np.uint8), name="stack", scale=(2, 1, 1))
    one = PlaneObject(3, solid(Box(1, 2, SHAPE[0], SHAPE[1])))
    planes = {(1,): (one,), (3,): (one, PlaneObject(9, solid(Box(0, 0, 4, 5))))}
    labels = np.zeros((4, *SHAPE), np.uint16)
    export(tmp_path / f"a{suffix}", Exported((), SHAPE, labels=labels, axes="ZYX", planes=planes))
    objects.form.image.value = stack
    objects.sharing.read(str(tmp_path / f"a{suffix}"))
    still()
    layer = objects.layer
    assert layer.data.shape == (5, *SHAPE)
    assert tuple(layer.scale) == (2, 1, 1)
    assert [sorted(set(np.unique(plane)) - {0}) for plane in layer.data] == [
        [],
        [3],
        [],
        [3, 9],
        [],
    ]
    assert {n: len(one.parts) for n, one in find_store(layer).objects.items()} == {3: 2, 9: 1}
    assert said(objects).startswith("2 objects")


def test_regions_of_imagej_are_imported_where_they_were_drawn(seen, objects, still, tmp_path):
    stack = seen.add_image(
        np.zeros((5, *SHAPE), np.uint8), scale=(2, 0.5, 0.5), translate=(1, 2, 3)
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for slice_ in (2, 5):
            roi = roifile.ImagejRoi.frompoints([[4, 2], [9, 2], [9, 7], [4, 7]])
            roi.position = slice_
            archive.writestr(f"{slice_}.roi", roi.tobytes())
    objects.form.image.value = stack
    objects.sharing.read(str(tmp_path / "a.zip"))
    still()
    layer = objects.layer
    assert layer.data.shape == stack.data.shape
    assert [np.count_nonzero(plane) for plane in layer.data] == [0, 25, 0, 0, 25]
    np.testing.assert_allclose(layer.data_to_world((1, 3, 5)), stack.data_to_world((1, 3, 5)))
    assert "not those" not in said(objects)


ENDS_AT_ONCE = """
import napari, numpy as np
from qtpy.QtWidgets import QApplication
from napari_sam3.widgets.app import Objects, Segment
viewer = napari.Viewer()
labels = np.zeros((3, 30, 40), np.uint16)
labels[:, 5:9, 7:20] = 4
viewer.add_labels(labels)
for panel in (Segment(viewer), Objects(viewer)):
    viewer.window.add_dock_widget(panel)
while panel.is_busy:
    QApplication.processEvents()
"""


def test_a_script_that_ends_with_its_panels_open_ends_well():
    ended = subprocess.run([sys.executable, "-c", ENDS_AT_ONCE], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "has been deleted" not in ended.stderr
