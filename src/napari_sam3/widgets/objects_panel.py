"""The dock widget for what was found: review, filters, refinement, measurements, files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import napari.viewer
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from napari_sam3.core.evaluation import Evaluation
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import Progress
from napari_sam3.core.viewing import View
from napari_sam3.errors import ImageError, Sam3Error
from napari_sam3.layers.calibrating import axis_letters, pixel_size
from napari_sam3.layers.derived import colour_classes, derived_layer, write_plane
from napari_sam3.layers.features import object_rows
from napari_sam3.layers.objects import find_store, flaw_of, plane_index
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.planes import Plane, find_plane
from napari_sam3.layers.transforms import LayerTransform, transform_kwargs
from napari_sam3.widgets._canvas import MOST_OUTLINES, Canvas
from napari_sam3.widgets._dock import Dock
from napari_sam3.widgets._keeping import Keeper, keep, let_go
from napari_sam3.widgets._noting import forget_runs, note_refined
from napari_sam3.widgets._objects_form import ObjectsForm
from napari_sam3.widgets._refining import Refined, Refining
from napari_sam3.widgets._review import Review
from napari_sam3.widgets._save import SaveButton
from napari_sam3.widgets._sharing import Sharing
from napari_sam3.widgets.exporting import capture_content
from napari_sam3.widgets.opening import layer_data_of, onto_image
from napari_sam3.workflows.exporting import Exported, format_of
from napari_sam3.workflows.plotting import iou_histogram_svg

NO_LAYER = (
    "There is no Labels layer yet: press Run in “Segment”, or Import … here. A label image that "
    "was opened as an image: right-click on it in the list of layers, Convert to Labels."
)
NOTHING_LEFT = "Nothing is left to review here."

EXPORT_KEYS = "Ctrl+Shift+E"


class ObjectsPanel(Dock):
    """Review, filter, refine, measure and export the objects of a Labels layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    parent : QWidget, optional
    """

    examples_chosen = Signal(object, object, object, bool)
    """Image, plane, boxes on it: examples of what to find, or if not positive, of what not."""

    _acts_unseen = False

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self._layer: Labels | None = None
        self.form = ObjectsForm(self._labels, self._images, self._truths, self)
        self.canvas = Canvas(self._viewer, self._choose_in_canvas)
        self._keepers: dict[Labels, Keeper] = {}
        self.review = Review(self)
        self.refining = Refining(self._viewer, self._keep, self)
        self.sharing = Sharing(self)
        self.saving = SaveButton(self, lambda: self._layer, self._say)
        self.form.add_saving(self.saving.button)
        self._fill(self.form)
        # a run writes features and pixels in many steps; they are read once
        self._refresh_timer = QTimer(self)
        self._refresh_timer.setSingleShot(True)
        self._refresh_timer.timeout.connect(self._on_layer_choice)
        self._connect()
        self.open()

    # ------------------------------------------------------------------ what is looked at

    @property
    def layer(self) -> Labels | None:
        """The layer whose objects are shown."""
        return self._layer

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be looked at, asked, written or read."""
        parts = (self.refining, self.sharing, self.saving)
        is_keeping = any(keeper.is_busy for keeper in self._keepers.values())
        return self._refresh_timer.isActive() or is_keeping or any(p.is_busy for p in parts)

    @property
    def is_looking(self) -> bool:
        """Whether it is still to be found out which objects there are."""
        keeper = self.keeper
        return self._refresh_timer.isActive() or (keeper is not None and keeper.is_busy)

    @property
    def keeper(self) -> Keeper | None:
        """What keeps the layer in step with its objects."""
        return None if self._layer is None else self._keepers.get(self._layer)

    def look_at(self, layer: Labels) -> None:
        """Show the objects of this layer."""
        own = next((one for _, one in self._labels(None) if one == layer), None)
        if own is not None:
            self.form.labels.value = own

    def _labels(self, _combo: Any) -> list[tuple[str, Labels]]:
        return [
            (layer.name, layer)
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and not _is_derived(layer)
        ]

    def _truths(self, combo: Any) -> list[tuple[str, Labels]]:
        return [pair for pair in self._labels(combo) if pair[1] is not self._layer]

    def _images(self, _combo: Any) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, Image)]

    def _plane(self) -> Plane | None:
        """Return the plane of the layer that is on the screen."""
        if self._layer is None:
            return None
        try:
            return find_plane(self._layer, self._viewer.dims)
        except ImageError:
            return None

    def _index(self) -> PlaneIndex | None:
        """Return the plane of the layer that is on the screen, as it is on record."""
        return None if self.keeper is None else self.keeper.visible

    def _no_plane(self) -> str:
        """Say why there is no plane to work on."""
        if self._layer is None:
            return NO_LAYER
        if self._viewer.dims.ndisplay != 2:
            return "Switch the viewer to its 2D view first (the cube button)."
        if self._plane() is not None:
            return "The objects lie on planes along other axes: turn the view back to review them."
        return f"No plane of “{self._layer.name}” is shown: move the sliders, or turn the view."

    def _on_layer_choice(self) -> None:
        layer = self.form.labels.value
        flaw = self._flaw_of(layer)
        if flaw:
            self._say(flaw)
            layer = None
        if layer is not self._layer:
            self._follow(layer)
        elif layer is None:
            self._show_table()
        if layer is None and not flaw:
            self._say(NO_LAYER)
        elif self.form.result.text() == NO_LAYER:
            self._say("")
        self._on_plane()

    def _flaw_of(self, layer: Labels | None) -> str:
        """Return why the objects of a layer cannot be reviewed, as far as is known."""
        keeper = None if layer is None else self._keepers.get(layer)
        found = "" if layer is None else flaw_of(layer)
        return found or ("" if keeper is None else keeper.flaw)

    def _follow(self, layer: Labels | None) -> None:
        self.refining.end()
        if self._layer is not None:
            self._layer.events.features.disconnect(self._on_features)
            self._layer.events.selected_label.disconnect(self._on_picked)
        self._layer = layer
        self.review.follow(None if layer is None else self._keep(layer))
        self.form.show_plot("")
        self.form.show_scores([])
        self.form.scores.setText("")
        self.canvas.follow(layer)
        if layer is not None:
            layer.events.features.connect(self._on_features)
            layer.events.selected_label.connect(self._on_picked)
            self.form.view.show_view(self._keep(layer).store.view)
            self._choose_image(layer)
        self.form.truth.reset_choices()
        self._show_table()

    def _choose_image(self, layer: Labels) -> None:
        """Choose an image that the labels lie exactly over."""
        own = LayerTransform.of(layer)
        for image in (one for one in self._viewer.layers if isinstance(one, Image)):
            shape = (image.data[0] if image.multiscale else image.data).shape[: image.ndim]
            if tuple(shape) == layer.data.shape and LayerTransform.of(image).matches(own):
                self.form.image.value = image
                return

    def _keep(self, layer: Labels) -> Keeper:
        """Return what keeps a layer; it is kept until it is removed, or the panel closes."""
        if layer not in self._keepers:
            keeper = self._keepers[layer] = keep(self._viewer, layer, self)
            keeper.settled.connect(self._on_settled)
            keeper.told.connect(self._on_told)
            keeper.failed.connect(self._on_failed)
        return self._keepers[layer]

    def _let_go_of(self, layer: Labels) -> None:
        keeper = self._keepers.pop(layer, None)
        if keeper is not None and keeper.is_alive:
            keeper.settled.disconnect(self._on_settled)
            keeper.told.disconnect(self._on_told)
            keeper.failed.disconnect(self._on_failed)
            let_go(keeper, self)

    def _on_plane(self) -> None:
        self._show_progress()

    def _on_features(self) -> None:
        if self._layer is not None:
            self._show_table()

    def _on_settled(self) -> None:
        if self.sender() is self.keeper:
            self._show_progress()
            self._refresh_derived()
            self._show_outlines(self.review.current)

    def _on_failed(self, error: BaseException) -> None:
        self._on_error(error)
        if self._layer is not None and self._flaw_of(self._layer) and not flaw_of(self._layer):
            # its pixels tell that it should not have been chosen
            self._on_layer_choice()

    def _on_told(self, words: str) -> None:
        if self.sender() is self.keeper:
            self._say(words)

    # ------------------------------------------------------------------ the table

    def _show_table(self) -> None:
        layer = self._layer
        if layer is None:
            self.form.table.show(object_rows({}))
            self._show_progress()
            return
        frame, titles = layer.features, {}
        index = self._index()
        size = None if index is None else pixel_size(layer, index)
        if size is not None and size.is_calibrated and "area" in frame:
            frame = frame.assign(area_calibrated=frame["area"] * size.area)
            titles["area_calibrated"] = f"area ({size.unit}²)"
        self.form.table.show(frame, titles)
        self._show_progress()

    def _show_progress(self) -> None:
        self.form.show_reviewed(*self.review.reviewed, self.review.undo_words)
        store = self.review.store
        if store is None or store.view.shows_all:
            self.form.view.show_count("")
        else:
            shown = len(store) - len(store.hidden)
            self.form.view.show_count(f"{shown} of {len(store)} shown")

    def _on_selected(self, labels: tuple[int, ...]) -> None:
        self.review.choose(labels, quiet=True)
        self._show_outlines(labels)
        if len(labels) == 1:
            self._centre(labels[0])
            self._say_what(labels[0])

    def _on_chosen(self, labels: tuple[int, ...]) -> None:
        self.form.table.select(labels)
        self._show_outlines(labels)
        if labels:
            self._centre(labels[0])
            self._say_what(labels[0])

    def _say_what(self, label: int) -> None:
        if words := self._what(label):
            self._say(words)

    def _what(self, label: int) -> str:
        """Say what an object is, and what is doubtful about it."""
        pairs = self.review.objects([label])
        if not pairs:
            return ""
        index, one = pairs[0]
        facts = None if self.keeper is None else self.keeper.facts(index)
        why = facts.reasons.get(label, "") if facts is not None else ""
        name = one.instance.concept or "Object"
        return ", ".join(words for words in (f"{name} {label}: {one.state}", why) if words)

    def _on_picked(self) -> None:
        """Follow napari's picker, which makes the object under it the selected label."""
        layer = self._layer
        if layer is not None and str(layer.mode) == "pick":
            self._choose_in_canvas(int(layer.selected_label))

    def _choose_in_canvas(self, label: int) -> None:
        labels = (label,) if label > 0 else ()
        self.review.choose(labels, quiet=True)
        self.form.table.select(labels)
        self._show_outlines(labels)
        if labels:
            self._say_what(label)

    def _centre(self, label: int) -> None:
        for index, one in self.review.objects([label])[:1]:
            self.canvas.centre(index, one)

    def _show_outlines(self, labels: tuple[int, ...]) -> None:
        shown = self.review.objects(labels[:MOST_OUTLINES]) if self._plane() is not None else []
        self.canvas.outline(shown)

    def _on_view(self, view: View) -> None:
        if self.keeper is not None:
            self.keeper.show(view)

    # ------------------------------------------------------------------ steps

    def accept(self) -> bool:
        """Say that the current objects are right, and go on to the next doubtful one.

        Returns
        -------
        bool
            False if there are none, which is said.
        """
        return self._decide("accepted", "Accepted")

    def reject(self) -> bool:
        """Hide the current objects, and go on to the next doubtful one.

        Returns
        -------
        bool
            As in `accept`.
        """
        return self._decide("rejected", "Rejected")

    def _decide(self, state: Any, words: str) -> bool:
        if self._refuse_none():
            return False
        self.refining.end()
        labels = self.review.decide(state)
        self._show_progress()
        if not labels:
            self._say("That object is gone.")
            return False
        done, total = self.review.reviewed
        many = f"{len(labels)} objects" if len(labels) > 1 else f"{labels[0]}"
        said = f"{words} {many}; {done} of {total} reviewed."
        following = self._what(self.review.current[0]) if self.review.current else NOTHING_LEFT
        self._say(f"{said} {following}")
        return True

    def next(self, by: int = 1) -> bool:
        """Go to the next doubtful object, or the one before.

        Returns
        -------
        bool
            False if there is none, which is said.
        """
        self.refining.end()
        if self._index() is None:
            self._say(self._no_plane())
            return False
        if not self.review.move(by):
            self._say(NOTHING_LEFT)
            return False
        return True

    def undo(self) -> None:
        """Take the last step back."""
        self.refining.end()
        step = self.review.undo()
        if step is not None and self._layer is not None:
            forget_runs(self._layer, step.run_ids)
        self._show_progress()
        self._say(f"Taken back: {step.words}." if step else "There is nothing to take back.")

    def refine(self) -> None:
        """Ask again for the current object, on a crop around it; or end that."""
        if self.refining.is_on:
            label = self.refining.label
            self.refining.end()
            self._say(f"Refining object {label} has ended.")
            return
        layer = self._layer
        if layer is None or self._refuse_none():
            return
        pairs = self.review.objects(self.review.current[:1])
        try:
            for _, one in pairs[:1]:
                self.refining.start(layer, self.form.image.value, one, self.form.engine.value)
        except Sam3Error as error:
            self._say(str(error))
        self.form.refine.text = "End refining" if self.refining.is_on else "Refine"

    def _on_refined(self, refined: Refined) -> None:
        before, after = refined.before, refined.after
        store = self._keep(refined.layer).store
        one = store.objects[after.label]
        parts = {**one.parts, refined.index: after.part}
        store.edit(
            {after.label: replace(one, parts=parts, state=after.state)},
            words=f"refine {after.label}",
            run_ids=(refined.run_id,),
            session=refined.session,
        )
        if refined.layer is not self._layer:
            # an answer that was paid for goes where it was asked for
            self._say(f"Object {after.label} of “{refined.layer.name}” was refined.")
        note_refined(refined)
        if refined.layer is not self._layer:
            return
        self._show_progress()
        more = after.instance.area - before.instance.area
        self._say(
            f"Object {after.label}: {after.instance.area:,} px ({more:+,d} px). "
            "Click + or − (W) to correct it; K ends."
        )

    def _refuse_none(self) -> bool:
        if flaw := self._flaw_of(self._layer):
            self._say(flaw)
            return True
        if self.review.current:
            return False
        self._say("Select an object first: click on it, on its row, or press J.")
        return True

    # ------------------------------------------------------------------ other layers

    def show_overlaps(self) -> None:
        """Add, or bring up to date, a layer of how many objects cover each pixel."""
        self._derive("overlaps")

    def show_classes(self) -> None:
        """Add, or bring up to date, a layer with one label for each concept."""
        self._derive("classes")

    def _derive(self, kind: str) -> None:
        layer = self._layer
        if layer is None or self._index() is None:
            self._say(self._no_plane())
            return
        if self._derived(kind) is None:
            made = derived_layer(layer, f"{kind} of {layer.name}")
            made.metadata[DERIVED_KEY] = (kind, layer.unique_id)
            active = self._viewer.layers.selection.active
            self._viewer.add_layer(made)
            self._viewer.layers.selection.active = active
        if kind == "classes":
            # colours through colours could not be told apart
            layer.visible = False
            self._say(f"“{layer.name}” is hidden below its classes: its eye shows it again.")
        if self.keeper is not None:
            self.keeper.want(kind)

    def _derived(self, kind: str) -> Labels | None:
        key = None if self._layer is None else (kind, self._layer.unique_id)
        found = (one for one in self._viewer.layers if one.metadata.get(DERIVED_KEY) == key)
        return next(found, None) if key is not None else None

    def _refresh_derived(self) -> None:
        keeper = self.keeper
        for kind in () if keeper is None else tuple(keeper.wanted):
            made = self._derived(kind)
            if made is None or keeper is None:
                if keeper is not None:
                    keeper.wanted.discard(kind)
                continue
            for index, facts in keeper.all_facts().items():
                if kind in facts.derived:
                    write_plane(made, index, facts.derived[kind])
                if kind == "classes" and made.metadata.get(CLASSES_KEY) != facts.classes:
                    made.metadata[CLASSES_KEY] = facts.classes
                    colour_classes(made, facts.classes)

    # ------------------------------------------------------------------ examples and files

    def use_as_examples(self, positive: bool) -> None:
        """Put boxes around the current objects into *Find all*, as examples."""
        layer, image = self._layer, self.form.image.value
        if layer is None or image is None or self._refuse_none():
            return
        try:
            plane = find_plane(image, self._viewer.dims)
        except ImageError as error:
            self._say(str(error))
            return
        if misfit := find_output_place(image, plane).misfit(layer):
            self._say(f"{misfit}; choose the image that the examples lie in.")
            return
        pairs = self.review.objects(self.review.current)
        boxes = [one.instance.box for index, one in pairs if index == plane_index(plane)]
        self.examples_chosen.emit(image, plane, boxes, positive)

    def tell_examples(self, count: int, positive: bool) -> None:
        """Say how many examples were taken, and where they are."""
        examples = f"{count} {'+' if positive else '−'} example{'' if count == 1 else 's'}"
        self._say(f"{examples} added in “Segment”; press Run there.")

    def export(self) -> None:
        """Ask where to, and write what is shown."""
        if self._layer is None:
            self._say(NO_LAYER)
            return
        path = self.sharing.ask_where(self._layer.name)
        if path:
            self.export_to(path)

    def export_to(self, path: str) -> None:
        """Write what is shown to a file, by its name."""
        layer, index = self._layer, self._index()
        if layer is None or index is None:
            self._say(self._no_plane())
            return
        try:
            whole = not format_of(path).keeps_overlaps
        except ImageError as error:
            self._say(str(error))
            return
        image = self.form.image.value
        image_plane = self._image_plane(image, layer)
        self.sharing.export(path, capture_content(layer, index, image, image_plane, whole=whole))

    def _image_plane(self, image: Image | None, layer: Labels) -> Plane | None:
        if image is None:
            return None
        try:
            plane = find_plane(image, self._viewer.dims)
        except ImageError:
            return None
        return None if find_output_place(image, plane).misfit(layer) else plane

    def _on_imported(self, found: Exported, name: str) -> None:
        image = self.form.image.value
        shape = () if image is None else _full_shape(image)
        if image is not None:
            found = onto_image(found, axis_letters(image) or "", shape)
        labels, attributes, _ = layer_data_of(found, name)
        if labels.shape == shape:
            attributes |= transform_kwargs(image)
        layer = Labels(labels, **attributes)
        self._viewer.add_layer(layer)
        self.form.labels.value = layer
        many = len(found.labelled)
        count = f"{many} object{'' if many == 1 else 's'}"
        self._say(" ".join([f"{count} from {name} → “{layer.name}”.", *found.notices]))

    def compare(self) -> None:
        """Compare the layer with another one that is right."""
        if self._layer is None or self.form.truth.value is None:
            self._say("Choose the Labels layer to compare with under “Truth”.")
            return
        self.sharing.compare(self._layer, self.form.truth.value)

    def _on_compared(self, found: Evaluation) -> None:
        self.form.show_scores([(m.name, _short(m.value), m.meaning) for m in found.metrics()])
        self.form.scores.setText("\n".join(found.notices))
        is_dark = str(self._viewer.theme) != "light"
        self.form.show_plot(iou_histogram_svg(found.true_ious, dark=is_dark))
        self._say("Compared; the numbers are below.")

    # ------------------------------------------------------------------ controls

    def _say(self, words: str) -> None:
        self.form.result.setText(words)

    def _on_progress(self, step: Progress) -> None:
        """Say how far a file is."""
        part = f" {100 * step.done // step.total} %" if step.total else ""
        self._say(f"{step.message or 'working'} …{part}")

    def _on_error(self, error: BaseException) -> None:
        self._say(str(error))
        if not isinstance(error, Sam3Error):
            raise error

    def _connect(self) -> None:
        form = self.form
        buttons: tuple[tuple[Any, Callable[[], object]], ...] = (
            (form.accept, self.accept),
            (form.reject, self.reject),
            (form.previous, lambda: self.next(-1)),
            (form.following, self.next),
            (form.refine, self.refine),
            (form.undo, self.undo),
            (form.ask, self.refining.ask),
            (form.view.overlaps, self.show_overlaps),
            (form.view.classes, self.show_classes),
            (form.positive, lambda: self.use_as_examples(True)),
            (form.negative, lambda: self.use_as_examples(False)),
            (form.export, self.export),
            (form.bring, self.sharing.bring),
            (form.compare, self.compare),
        )
        for button, action in buttons:
            button.changed.connect(lambda *_, action=action: action())
        form.labels.changed.connect(self._on_layer_choice)
        form.view.changed.connect(self._on_view)
        form.table.selected.connect(self._on_selected)
        form.table.opened.connect(lambda label: self.review.choose((label,)))
        self.review.chosen.connect(self._on_chosen)
        self.review.stepped.connect(self._show_progress)
        self.refining.refined.connect(self._on_refined)
        self.refining.said.connect(self._say)
        self.refining.ended.connect(lambda: setattr(self.form.refine, "text", "Refine"))
        self.sharing.said.connect(self._say)
        self.sharing.progressed.connect(self._on_progress)
        self.sharing.imported.connect(self._on_imported)
        self.sharing.compared.connect(self._on_compared)
        self._add_shortcuts()

    @property
    def _actions(self) -> dict[str, Callable[[], object]]:
        return {
            "G": self.accept,
            "H": self.reject,
            "J": self.next,
            "Shift-J": lambda: self.next(-1),
            "K": self.refine,
            "U": self.undo,
        }

    def _add_shortcuts(self) -> None:
        keys = {name.replace("-", "+"): action for name, action in self._actions.items()}
        keys |= {EXPORT_KEYS: self.export, "Escape": self.refining.end}
        for key, action in keys.items():
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            # a key that is held down decides on one object
            shortcut.setAutoRepeat(False)
            shortcut.activated.connect(action)

    def _bind_keys(self) -> None:
        self._bind({**self._actions, "Control-Shift-E": self.export})
        words = {"J": "next", "Shift-J": "previous", "G": "accept", "H": "reject", "K": "refine"}
        words |= {"U": "undo", "Control-Shift-E": "export"}
        said = [f"{key} {word}" for key, word in words.items() if key in self._bound]
        self.form.keys.setText(" · ".join(said).replace("Control-Shift-E", "Ctrl+Shift+E"))

    # ------------------------------------------------------------------ layers come and go

    def _on_layers(self) -> None:
        for layer in self._viewer.layers:
            # connecting twice has no effect
            layer.events.name.connect(self._on_layers)
        for combo in (self.form.labels, self.form.image, self.form.truth):
            combo.reset_choices()
        if self.form.labels.value is not self._layer:
            self._refresh_timer.start(0)

    def _on_inserted(self, event: Any) -> None:
        if isinstance(event.value, Labels):
            # a duplicated layer has a store of its own from now on
            find_store(event.value)
        self._on_layers()
        if isinstance(event.value, Labels) and not _is_derived(event.value) and self._layer is None:
            self.form.labels.value = event.value

    def _on_removed(self, event: Any) -> None:
        self.refining.forget(event.value)
        self.canvas.forget(event.value)
        if event.value is self._layer:
            self._follow(None)
        if isinstance(event.value, Labels):
            self._let_go_of(event.value)
        self._on_layers()

    def _listen(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._on_inserted)
        layers.removed.connect(self._on_removed)
        self._viewer.dims.events.point.connect(self._on_plane)
        self._viewer.dims.events.order.connect(self._on_plane)
        self._viewer.dims.events.ndisplay.connect(self._on_plane)
        self.canvas.open()
        self._bind_keys()
        self._on_layers()
        active = self._viewer.layers.selection.active
        if isinstance(active, Labels) and not _is_derived(active):
            self.form.labels.value = active
        self._on_layer_choice()

    def _let_go(self) -> None:
        self._refresh_timer.stop()
        self.refining.close()
        self.sharing.close()
        self.saving.finish()
        self._follow(None)
        for layer in list(self._keepers):
            self._let_go_of(layer)
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._on_inserted)
        layers.removed.disconnect(self._on_removed)
        self._viewer.dims.events.point.disconnect(self._on_plane)
        self._viewer.dims.events.order.disconnect(self._on_plane)
        self._viewer.dims.events.ndisplay.disconnect(self._on_plane)
        for layer in self._viewer.layers:
            layer.events.name.disconnect(self._on_layers)
        self.canvas.close()


DERIVED_KEY, CLASSES_KEY = "napari_sam3_derived", "napari_sam3_classes"


def _full_shape(image: Image) -> tuple[int, ...]:
    """Return the shape of an image at its full resolution, colours left out."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(data.shape[: image.ndim])


def _is_derived(layer: Layer) -> bool:
    return DERIVED_KEY in layer.metadata


def _short(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
