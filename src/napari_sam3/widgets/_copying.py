"""Copies of what is drawn: on the next plane of the image, or over another image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox, PushButton
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QWidget

from napari_sam3.errors import ImageError, Sam3Error
from napari_sam3.layers.copying import Copied, next_plane, plane_count
from napari_sam3.layers.planes import Plane, find_plane, go_to
from napari_sam3.widgets._asking import Asking
from napari_sam3.widgets._form import Form, say_why
from napari_sam3.widgets._prompting import PromptLayers

NOTHING = "Nothing is drawn on this plane that could be copied."


class CopyPart(QWidget):
    """The two buttons that copy prompts, and what they do.

    Parameters
    ----------
    viewer : ViewerModel
        Its sliders move to the plane that was copied to.
    form : Form
        Its image changes to the one that was copied to.
    prompts : PromptLayers
    asking : Asking
        Knows the plane that is shown, and which kinds of prompts the question uses.
    on_copied : callable
        Called with a sentence and further ones, once all is done.
    parent : QWidget, optional
    """

    def __init__(
        self,
        viewer: ViewerModel,
        form: Form,
        prompts: PromptLayers,
        asking: Asking,
        on_copied: Callable[[str, tuple[str, ...]], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._form = form
        self._prompts = prompts
        self._asking = asking
        self._on_copied = on_copied
        self._point: tuple[float, ...] = ()
        self._moved = -1
        self.to_plane = PushButton(
            text="To next plane",
            tooltip="Copy what is drawn on this plane to the next one along the slider that was "
            "moved last, as objects of their own, and go there.",
        )
        self.to_image = PushButton(
            text="To image",
            tooltip="Copy what is drawn on this plane to the same pixels of that image, and "
            "choose it.",
        )
        self.image = ComboBox(
            choices=self._others, nullable=False, tooltip="The image that gets the copies."
        )
        self._lay_out()
        self.to_plane.changed.connect(self.copy_to_next_plane)
        self.to_image.changed.connect(self.copy_to_chosen_image)

    def open(self) -> None:
        """Listen to the viewer's sliders."""
        events = self._viewer.dims.events
        self._point = tuple(self._viewer.dims.point)
        events.point.connect(self._on_point)
        for event in (events.order, events.ndisplay, events.range):
            event.connect(self.refresh)

    def close_down(self) -> None:
        """Let go of the viewer."""
        events = self._viewer.dims.events
        events.point.disconnect(self._on_point)
        for event in (events.order, events.ndisplay, events.range):
            event.disconnect(self.refresh)

    def refresh(self, _event: object = None) -> None:
        """Show which images there are, and what can be done."""
        self.image.reset_choices()
        is_alone = not self.image.choices
        alone = "There is no other image to copy to: open one first."
        say_why(self.image, not is_alone, alone)
        say_why(self.to_image, not is_alone, alone)
        self._show_whether_there_is_a_next()

    def copy_to_next_plane(self) -> None:
        """Copy what is drawn on this plane to the next one, and go there."""
        try:
            image, plane_from = self._asking.plane()
            axis, plane_to = self._next(image, plane_from)
        except Sam3Error as error:
            self._on_copied(str(error), ())
            return
        copied = self._prompts.copy_to_plane(self._asking.kinds, plane_from, plane_to)
        if copied.count or copied.already:
            go_to(self._viewer.dims, plane_to)
        self._on_copied(*_words(copied, self._name_shown_plane(axis - plane_to.ndim)))

    def copy_to_chosen_image(self) -> None:
        """Copy what is drawn on this plane over the chosen image, and choose that one."""
        image = self.image.value
        if image is None:
            return
        try:
            _, plane_from = self._asking.plane()
            plane_to = find_plane(image, self._viewer.dims)
        except Sam3Error as error:
            self._on_copied(str(error), ())
            return
        copied = self._prompts.copy_to_image(self._asking.kinds, plane_from, image, plane_to)
        if copied.count:
            self._form.image.value = image
        self._on_copied(*_words(copied, f"“{image.name}”"))

    def _next(self, image: Image, plane: Plane) -> tuple[int, Plane]:
        """Return the axis and the plane after this one; `ImageError` says why there is none."""
        axis = self._axis(image, plane)
        if axis is None:
            raise ImageError(f"“{image.name}” has a single plane.")
        following = next_plane(image, plane, axis)
        if following is None:
            name = self._name_axis(axis - plane.ndim)
            raise ImageError(f"This is the last plane along {name}.")
        return axis, following

    def _name_axis(self, from_last: int) -> str:
        """Return what an axis is called; -1 is the last."""
        dims = self._viewer.dims
        label = dims.axis_labels[from_last]
        # what nobody has named, napari calls by its number counted from the end
        is_unnamed = label == str(from_last)
        return f"axis {dims.ndim + from_last}" if is_unnamed else f"the axis “{label}”"

    def _name_shown_plane(self, from_last: int) -> str:
        """Return the plane that is shown along an axis, in the numbers of its slider."""
        dims = self._viewer.dims
        return f"plane {dims.current_step[from_last]} of 0–{dims.nsteps[from_last] - 1}"

    def _axis(self, image: Image, plane: Plane) -> int | None:
        """Return the data axis whose slider was moved last, by default the last one."""
        sliding = [axis for axis in plane.hidden if plane_count(image, axis) > 1]
        moved = self._moved + plane.ndim
        return moved if moved in sliding else max(sliding, default=None)

    def _show_whether_there_is_a_next(self) -> None:
        try:
            self._next(*self._asking.plane())
        except Sam3Error as error:
            say_why(self.to_plane, False, str(error))
        else:
            say_why(self.to_plane, True)

    def _on_point(self, _event: object = None) -> None:
        before, now = self._point, tuple(self._viewer.dims.point)
        self._point = now
        if len(before) == len(now):
            moved = [axis for axis, at in enumerate(now) if at != before[axis]]
            # counted from the last axis, which stays the last when others are added
            self._moved = moved[0] - len(now) if len(moved) == 1 else self._moved
        self._show_whether_there_is_a_next()

    def _others(self, _combo: Any) -> list[tuple[str, Image]]:
        chosen = self._form.image.value
        layers = (layer for layer in self._viewer.layers if isinstance(layer, Image))
        return [(layer.name, layer) for layer in layers if layer != chosen]

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.to_plane.native, 0, 0)
        grid.addWidget(self.to_image.native, 1, 0)
        grid.addWidget(self.image.native, 1, 1)
        # a long layer name must not widen the dock
        self.image.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        grid.setColumnStretch(1, 1)


def _words(copied: Copied, place: str) -> tuple[str, tuple[str, ...]]:
    there = f"{_count_marks(copied.already)} there already."
    if copied.count:
        told = (there, *copied.notices) if copied.already else copied.notices
        return f"{_count_marks(copied.count)} copied to {place}.", told
    if copied.already:
        return f"Nothing was copied to {place}: {there}", copied.notices
    return (copied.notices[0], copied.notices[1:]) if copied.notices else (NOTHING, ())


def _count_marks(count: int) -> str:
    return "1 mark was" if count == 1 else f"{count} marks were"
