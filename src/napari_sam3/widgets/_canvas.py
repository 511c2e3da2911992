"""The objects on the canvas: outlined, brought to its middle, clicked on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels, Layer, Vectors

from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.errors import ImageError
from napari_sam3.layers.highlight import new_highlight, to_vectors
from napari_sam3.layers.planes import find_plane
from napari_sam3.layers.transforms import LayerTransform

MOST_OUTLINES = 200
LEAST_SIZE, MOST_SIZE = 60, 0.6
"""How large an object is shown at least, in screen pixels, and at most, as a part of the canvas."""

CLICK_REACH = 3
"""Screen pixels that the mouse may move during a click."""

Pair = tuple[PlaneIndex, PlaneObject]


class Canvas:
    """Shows which objects are chosen, and tells which one is clicked on.

    Parameters
    ----------
    viewer : ViewerModel
    on_clicked : callable
        Given the label that was clicked on, 0 for none.
    """

    def __init__(self, viewer: ViewerModel, on_clicked: Callable[[int], None]) -> None:
        self._viewer = viewer
        self._on_clicked = on_clicked
        self._layer: Labels | None = None
        self._highlight: Vectors | None = None
        self._outlined: tuple[object, ...] = ()

    def open(self) -> None:
        """Listen to the mouse."""
        self._viewer.mouse_drag_callbacks.append(self._on_mouse)

    def close(self) -> None:
        """Let go of the mouse, and take the outlines away."""
        self._viewer.mouse_drag_callbacks.remove(self._on_mouse)
        self.follow(None)

    def follow(self, layer: Labels | None) -> None:
        """Show the objects of this layer from now on."""
        self._layer = layer
        old, self._highlight, self._outlined = self._highlight, None, ()
        if old is not None and old in self._viewer.layers:
            self._viewer.layers.remove(old)

    def forget(self, layer: Layer) -> None:
        """Note that a layer was removed."""
        if layer is self._highlight:
            self._highlight, self._outlined = None, ()

    def outline(self, pairs: Sequence[Pair]) -> None:
        """Outline these objects, and no others; only the first ones of very many."""
        if self._has_moved():
            self.follow(self._layer)
        shown = pairs[:MOST_OUTLINES] if self._layer is not None else ()
        wanted = tuple((index, one.instance) for index, one in shown)
        if wanted == self._outlined:
            return
        highlight = self._highlight or (self._add() if shown else None)
        if highlight is not None:
            self._outlined = wanted
            parts = [to_vectors([item], index) for index, item in wanted]
            highlight.data = np.concatenate([np.empty((0, 2, highlight.ndim)), *parts])

    def _has_moved(self) -> bool:
        """Whether the layer was given another scale or place since its outlines were made."""
        if self._layer is None or self._highlight is None:
            return False
        return not LayerTransform.of(self._highlight).matches(LayerTransform.of(self._layer))

    def _add(self) -> Vectors | None:
        if self._layer is None:
            return None
        active = self._viewer.layers.selection.active
        self._highlight = new_highlight(self._layer)
        self._viewer.add_layer(self._highlight)
        if active is not None:
            self._viewer.layers.selection.active = active
        return self._highlight

    def centre(self, index: PlaneIndex, one: PlaneObject) -> None:
        """Bring an object to the middle of the canvas, its plane to the screen."""
        layer, dims = self._layer, self._viewer.dims
        if layer is None or dims.ndisplay != 2:
            return
        box = one.instance.box
        middle = [[(box.top + box.bottom - 1) / 2, (box.left + box.right - 1) / 2]]
        transform, data = LayerTransform.of(layer), index.to_data(middle)
        first = dims.ndim - layer.ndim
        hidden = [axis for axis in range(layer.ndim) if axis not in index.shown]
        if hidden:
            sliders = [first + axis for axis in hidden]
            dims.set_point(sliders, transform.slider_at(index.fixed, hidden))
        shown = [axis - first for axis in dims.displayed if axis >= first]
        self._viewer.scene.camera.center = (0.0, *transform.to_canvas(data, shown)[0].tolist())
        sides = transform.linear[np.ix_(index.shown, index.shown)] @ np.diag(box.shape)
        self._zoom_to(float(np.abs(sides).max()))

    def _zoom_to(self, size: float) -> None:
        camera = self._viewer.scene.camera
        on_screen = size * camera.zoom
        canvas = getattr(self._viewer, "canvas", None)
        most = MOST_SIZE * min(canvas.size) if canvas is not None else 0
        if on_screen < LEAST_SIZE:
            camera.zoom *= LEAST_SIZE / on_screen
        elif on_screen > most > 0:
            camera.zoom *= most / on_screen

    def _on_mouse(self, _viewer: Any, event: Any) -> Generator[None, None, None]:
        """Tell what is clicked on, unless the mouse is dragged, or a tool is at work."""
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos) - start).max() > CLICK_REACH or not self._is_looking():
            return
        label = None if self._layer is None else self._label_at(self._layer, event.position)
        if label is not None:
            self._on_clicked(label)

    def _label_at(self, layer: Labels, position: Sequence[float]) -> int | None:
        """Return which label is drawn at a position in the world; None beside the layer."""
        dims = self._viewer.dims
        if not layer.visible or dims.ndisplay != 2:
            value = layer.get_value(position, world=True)
            return None if value is None else int(value)
        try:
            plane = find_plane(layer, dims)
        except ImageError:
            return None
        place = [[position[axis] for axis in dims.displayed]]
        row, col = np.floor(plane.from_canvas(place)[0] + 0.5).astype(int).tolist()
        labels = plane.cut(layer.data)
        inside = 0 <= row < labels.shape[0] and 0 <= col < labels.shape[1]
        return int(labels[row, col]) if inside else None

    def _is_looking(self) -> bool:
        active = self._viewer.layers.selection.active
        return active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"
