"""The two panels of a viewer: each is opened here, and what one asks of the other is done here."""

from __future__ import annotations

from collections.abc import Sequence

import napari.viewer
from napari.layers import Image, Labels
from qtpy.QtWidgets import QWidget

from napari_sam3.core.geometry import Box
from napari_sam3.layers.planes import Plane
from napari_sam3.widgets._dock import find_dock
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel


class Segment(SegmentPanel):
    """The panel that segments, beside which that of the objects opens.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    parent : QWidget, optional
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self.review_asked.connect(self._on_review_asked)

    def _on_review_asked(self, layer: Labels | None) -> None:
        panel = show_objects(self._viewer)
        if layer is not None:
            panel.look_at(layer)


class Objects(ObjectsPanel):
    """The panel of the objects, beside which that which segments opens.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    parent : QWidget, optional
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self.examples_chosen.connect(self._on_examples_chosen)

    def _on_examples_chosen(
        self, image: Image, plane: Plane, boxes: Sequence[Box], positive: bool
    ) -> None:
        count = show_segment(self._viewer).take_examples(image, plane, boxes, positive)
        self.tell_examples(count, positive)


def show_segment(viewer: napari.viewer.Viewer) -> Segment:
    """Bring the panel that segments to the front, opening it if it is not there."""
    return find_dock(viewer, Segment, "Segment")


def show_objects(viewer: napari.viewer.Viewer) -> Objects:
    """Bring the panel of the objects to the front, opening it if it is not there."""
    return find_dock(viewer, Objects, "Objects")
