"""What napari's command palette offers: each finds its panel, or opens it, and lets it act."""

from __future__ import annotations

from collections.abc import Callable

import napari
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_sam3.widgets._dock import PanelT, docked
from napari_sam3.widgets.app import show_objects, show_segment
from napari_sam3.widgets.objects_panel import ObjectsPanel

NO_VIEWER = "Open a napari window first."
SHOWN_NOW = "“Objects” is in front now: run the command again to decide on the current object."
LOOK_AGAIN_MS = 50


def open_segment() -> None:
    """Show the panel that segments."""
    _panel(show_segment)


def open_objects() -> None:
    """Show the panel of the objects."""
    _panel(show_objects)


def segment_everything() -> None:
    """Find all objects in the image, with the engine that is chosen."""
    panel = _panel(show_segment)
    if panel is not None and not panel.run_everything():
        show_info(panel.form.result.text())


def next_object() -> None:
    """Let what is drawn next belong to another object."""
    panel = _panel(show_segment)
    if panel is not None and not panel.next_object():
        show_info(panel.form.result.text())


def accept() -> None:
    """Say that the current objects are right."""
    _decide(ObjectsPanel.accept)


def reject() -> None:
    """Hide the current objects."""
    _decide(ObjectsPanel.reject)


def next_doubtful() -> None:
    """Go to the next doubtful object that nobody has reviewed."""
    panel = _panel(show_objects)
    if panel is not None:
        _act(panel, ObjectsPanel.next)


def _decide(action: Callable[[ObjectsPanel], bool]) -> None:
    viewer = napari.current_viewer()
    before = None if viewer is None else docked(viewer, ObjectsPanel)
    was_hidden = before is not None and not before.is_seen
    panel = _panel(show_objects)
    if panel is None:
        return
    if was_hidden and panel.review.current:
        # as with the keys: nobody saw what it would decide on
        show_info(SHOWN_NOW)
        return
    _act(panel, action)


def _act(panel: ObjectsPanel, action: Callable[[ObjectsPanel], bool]) -> None:
    if panel.is_looking:
        # it was opened just now, and does not know its objects yet
        again = QTimer(panel)
        again.setSingleShot(True)
        again.timeout.connect(again.deleteLater)
        again.timeout.connect(lambda: _act(panel, action))
        again.start(LOOK_AGAIN_MS)
    elif not action(panel):
        show_info(panel.form.result.text())


def _panel(show: Callable[[napari.Viewer], PanelT]) -> PanelT | None:
    viewer = napari.current_viewer()
    if viewer is None:
        show_info(NO_VIEWER)
        return None
    return show(viewer)
