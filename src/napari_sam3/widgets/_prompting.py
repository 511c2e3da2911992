"""The layers that the user draws prompts in: made, armed, numbered, coloured."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Proposal
from napari_sam3.layers.copying import Copied, copy_to_image, copy_to_plane, number_copies
from napari_sam3.layers.drawing import (
    STROKES,
    PromptLayer,
    area_numbers,
    can_be_negative,
    clicked_objects,
    colour_by_polarity,
    drop_unfinished,
    highest_object,
    mark_size,
    new_points_layer,
    new_shapes_layer,
    next_object,
    next_polarity,
    proposal_of,
    set_next_object,
    set_next_polarity,
    set_proposal,
    toggle_selected,
)
from napari_sam3.layers.examples import add_examples
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.prompts import OBJECT, POLARITY

Kind = Literal["points", "boxes", "examples"]
ShapeTool = Literal["box", "outline", "scribble"]
MODES: dict[ShapeTool, str] = {
    "box": "add_rectangle",
    # these two end where the mouse is let go, as a box does; napari's others end by a double click
    "outline": "add_polygon_lasso",
    "scribble": "add_path",
}
DRAWN = ("added", "changed", "removed")


class PromptLayers:
    """The three prompt layers of a panel.

    Parameters
    ----------
    viewer : ViewerModel
        Layers are added to it.
    on_drawn : callable
        Called, without arguments, after something was drawn, moved or removed.
    """

    def __init__(self, viewer: ViewerModel, on_drawn: Callable[[], None]) -> None:
        self._viewer = viewer
        self._on_drawn = on_drawn
        self._layers: dict[Kind, PromptLayer] = {}
        self._first_number = 1
        self._generation = 0
        self._latest: dict[Kind, Hashable] = {}
        self._begun: set[Hashable] = set()

    @property
    def generation(self) -> int:
        """Changes whenever object numbers may start to mean other objects."""
        return self._generation

    def get(self, kind: Kind) -> PromptLayer | None:
        """Return the layer in use for a kind of prompt."""
        return self._layers.get(kind)

    def use(self, kind: Kind, layer: PromptLayer | None, *, same_numbers: bool = False) -> None:
        """Read a kind of prompt from this layer from now on.

        With `same_numbers`, its object numbers mean what those of the layer before it meant.
        """
        old = self._layers.pop(kind, None)
        if old is not None and all(other is not old for other in self._layers.values()):
            old.events.data.disconnect(self._on_data)
            old.events.features.disconnect(self._on_features)
        if layer is None:
            return
        is_other = self._latest.get(kind, layer.unique_id) != layer.unique_id
        if kind != "examples" and is_other and not same_numbers:
            # its numbers were given elsewhere
            self._generation += 1
        self._latest[kind] = layer.unique_id
        if all(other is not layer for other in self._layers.values()):
            layer.events.data.connect(self._on_data)
            layer.events.features.connect(self._on_features)
        self._layers[kind] = layer

    def numbers_again(self, keys: Sequence[Hashable]) -> list[int]:
        """Return object numbers for the prompts of an earlier run.

        Parameters
        ----------
        keys : sequence of hashable
            What the objects were known by, one per prompt.

        Returns
        -------
        list of int
            Those that they had, if they still mean the same objects, else new ones.
        """
        known = [key[-1] if isinstance(key, tuple) else None for key in keys]
        marks = [mark if isinstance(mark, tuple) and len(mark) == 2 else None for mark in known]
        if all(mark is not None and mark[0] == self._generation for mark in marks):
            return [mark[1] for mark in marks if mark is not None]
        first = max(self._first_number, *(highest_object(one) + 1 for one in self.object_layers), 1)
        return list(range(first, first + len(keys)))

    def forget(self, layer: Layer) -> None:
        """Stop using a layer that was removed from the viewer."""
        for kind in [k for k, used in self._layers.items() if used is layer]:
            if kind != "examples":
                self._first_number = max(self._first_number, highest_object(layer) + 1)
            self.use(kind, None)

    def close(self) -> None:
        """Stop listening to all layers."""
        for kind in list(self._layers):
            self.use(kind, None)

    def arm(
        self,
        kind: Kind,
        image: Image,
        plane: Plane,
        positive: bool,
        tool: ShapeTool = "box",
    ) -> PromptLayer:
        """Make a prompt layer ready to be drawn in, and make it first if need be.

        Parameters
        ----------
        kind : {"points", "boxes", "examples"}
        image : Image
            What is to be segmented.
        plane : Plane
            Of that image, as it is shown; sets the size of marks.
        positive : bool
            Sign of what is drawn next.
        tool : {"box", "outline", "scribble"}
            For kinds that are drawn as shapes.
        """
        self.drop_unfinished()
        layer = self._made(kind, image, plane)
        self._viewer.layers.selection.active = layer
        set_next_polarity(layer, positive)
        layer.mode = "add" if kind == "points" else MODES[tool]
        return layer

    def _made(self, kind: Kind, image: Image, plane: Plane) -> PromptLayer:
        layer = self._layers.get(kind)
        if layer is None or layer.ndim < image.ndim:
            # a layer with fewer dimensions would be seen, and used, on every plane
            layer = self._add(kind, image, plane)
        return layer

    def add_examples(self, image: Image, plane: Plane, boxes: Sequence[Box], positive: bool) -> int:
        """Add boxes as examples, in a layer that is made first if need be.

        Parameters
        ----------
        image : Image
            What is to be segmented.
        plane : Plane
            Of that image.
        boxes : sequence of Box
            In pixels of the plane.
        positive : bool
            Whether they show what is meant, or what is not.

        Returns
        -------
        int
            How many were added; those that are there with this sign are not.
        """
        self.drop_unfinished()
        layer = self._made("examples", image, plane)
        assert isinstance(layer, Shapes)
        with self._unheard([layer]):
            added = add_examples(layer, plane, boxes, positive)
        if added:
            self._on_drawn()
        return added

    def copy_to_plane(self, kinds: Iterable[Kind], plane_from: Plane, plane_to: Plane) -> Copied:
        """Copy what is drawn on one plane to another, as objects of their own.

        What is drawn next belongs to the copy of the current object, or to a new one.
        """
        self.drop_unfinished()
        used = {kind: self._layers[kind] for kind in kinds if kind in self._layers}
        owned = [layer for kind, layer in used.items() if kind != "examples"]
        first = max(self._highest_object + 1, self._first_number)
        numbers = number_copies(owned, plane_from, first, plane_to)
        current = self.current_object
        copied = Copied()
        with self._unheard(used.values()):
            for kind, layer in used.items():
                own = numbers if kind != "examples" else {}
                copied += copy_to_plane(layer, plane_from, plane_to, own)
            if numbers:
                self._go_on_with(numbers.get(current, self._highest_object + 1))
        if copied.count:
            self._on_drawn()
        return copied

    def copy_to_image(
        self, kinds: Iterable[Kind], plane_from: Plane, image: Image, plane_to: Plane
    ) -> Copied:
        """Copy what is drawn on one plane over another image, and use the copies from now on.

        Nothing is changed where there is nothing to copy.
        """
        self.drop_unfinished()
        copied, made = Copied(), dict[Kind, PromptLayer | None]()
        for kind in kinds:
            if kind in self._layers:
                name = f"{kind}: {image.name}"
                made[kind], done = copy_to_image(
                    self._layers[kind], plane_from, image, plane_to, name
                )
                copied += done
        if not copied.count:
            return copied
        for kind, layer in made.items():
            if layer is not None:
                self._viewer.add_layer(layer)
            # what is left behind would be asked along with the copies
            self.use(kind, layer)
        self._on_drawn()
        return copied

    @contextmanager
    def _unheard(self, layers: Iterable[PromptLayer]) -> Generator[None]:
        """Let layers change without being numbered, coloured and told as what is drawn by hand."""
        with ExitStack() as blocked:
            for layer in layers:
                blocked.enter_context(layer.events.data.blocker(self._on_data))
                blocked.enter_context(layer.events.features.blocker(self._on_features))
            yield

    def drop_unfinished(self) -> None:
        """Take back a shape that a click began and nothing ended; it would be read as a stroke."""
        for layer in self._layers.values():
            if isinstance(layer, Shapes) and layer.unique_id in self._begun:
                with layer.events.data.blocker(self._on_data):
                    drop_unfinished(layer)
                self._begun.discard(layer.unique_id)

    def _add(self, kind: Kind, image: Image, plane: Plane) -> PromptLayer:
        size = mark_size(plane.shape)
        name = f"{kind}: {image.name}"
        number = self.current_object
        layer: PromptLayer
        if kind == "points":
            layer = new_points_layer(image, name, size, plane.shown)
        else:
            layer = new_shapes_layer(image, name, size / 4, plane.shown)
        self._viewer.add_layer(layer)
        self._latest[kind] = layer.unique_id
        self.use(kind, layer)
        set_next_object(layer, number)
        return layer

    @property
    def object_layers(self) -> list[PromptLayer]:
        """The layers whose marks carry object numbers."""
        wanted: tuple[Kind, ...] = ("points", "boxes")
        return [self._layers[kind] for kind in wanted if kind in self._layers]

    @property
    def current_object(self) -> int:
        """Number of the object that is drawn now."""
        numbers = (next_object(layer) for layer in self.object_layers)
        return max(numbers, default=self._first_number)

    def start_next_object(self) -> int:
        """Let what is drawn from now on belong to another object; return its number."""
        number = max(self._highest_object + 1, self._first_number)
        self._go_on_with(number)
        return number

    @property
    def _highest_object(self) -> int:
        return max((highest_object(layer) for layer in self.object_layers), default=0)

    def _go_on_with(self, number: int) -> None:
        for layer in self.object_layers:
            set_next_object(layer, number)

    @property
    def proposal(self) -> Proposal:
        """Which of what its first click may mean is wanted of the current object."""
        points = self._layers.get("points")
        return proposal_of(points, self.current_object) if isinstance(points, Points) else ""

    def choose_proposal(self, proposal: Proposal) -> None:
        """Choose which of what its first click may mean for the current object."""
        points = self._layers.get("points")
        if isinstance(points, Points):
            set_proposal(points, self.current_object, proposal)

    @property
    def is_clicked(self) -> bool:
        """Whether a click lies on the current object."""
        points = self._layers.get("points")
        return points is not None and self.current_object in clicked_objects(points)

    @property
    def is_boxed(self) -> bool:
        """Whether a box or an outline marks the current object."""
        boxes = self._layers.get("boxes")
        return isinstance(boxes, Shapes) and self.current_object in area_numbers(boxes)

    @property
    def can_be_negative(self) -> bool:
        """Whether the layer that is drawn in takes what is negative."""
        boxes, active = self._layers.get("boxes"), self._viewer.layers.selection.active
        return active != boxes or not isinstance(boxes, Shapes) or can_be_negative(boxes)

    def toggle_polarity(self) -> bool | None:
        """Turn the selected marks, or what is drawn next, from + to − and back.

        Returns
        -------
        bool or None
            Whether what is drawn next is positive; None if no prompt layer is active.
        """
        active = self._viewer.layers.selection.active
        # a plugin is given a proxy of the layer, which equals it and is another object
        layer = next((used for used in self._layers.values() if used == active), None)
        if layer is None:
            return None
        if str(layer.mode) == "select" and toggle_selected(layer):
            return next_polarity(layer)
        set_next_polarity(layer, not next_polarity(layer))
        return next_polarity(layer)

    def count(self, kind: Kind) -> tuple[int, int]:
        """Return how many positive and negative marks there are, on all planes."""
        layer = self._layers.get(kind)
        if layer is None:
            return 0, 0
        column = layer.features.get(POLARITY)
        negative = 0 if column is None else int((column == "negative").sum())
        return len(layer.data) - negative, negative

    def _on_data(self, event: Any) -> None:
        layer = event.source
        if event.action == "adding":
            self._begun.add(layer.unique_id)
        if event.action not in DRAWN:
            return
        self._begun.discard(layer.unique_id)
        if isinstance(layer, Shapes) and event.action == "added":
            self._number_new_box(layer)
            colour_by_polarity(layer)
        self._on_drawn()

    def _on_features(self) -> None:
        self._on_drawn()

    def _number_new_box(self, layer: Shapes) -> None:
        """Give a second box a number of its own: two boxes cannot be one object."""
        is_boxes = any(k == "boxes" and used is layer for k, used in self._layers.items())
        if not is_boxes or OBJECT not in layer.features or not self._is_second_area(layer):
            return
        number = self.start_next_object()
        features = layer.features.copy()
        features.loc[features.index[-1], OBJECT] = number
        with layer.events.features.blocker(self._on_features):
            layer.features = features

    @staticmethod
    def _is_second_area(layer: Shapes) -> bool:
        """Whether the shape drawn last is a box or an outline, and its object has one already."""
        if not layer.shape_type or layer.shape_type[-1] in STROKES:
            # a stroke belongs to the current object, as a click does
            return False
        *others, number = area_numbers(layer)
        return number is not None and number in others


def is_points(layer: object) -> bool:
    """Whether a layer can hold clicks."""
    return isinstance(layer, Points)


def is_shapes(layer: object) -> bool:
    """Whether a layer can hold boxes."""
    return isinstance(layer, Shapes)
