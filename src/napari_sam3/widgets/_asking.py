"""Intentions and layers → a frozen run: what the panel would ask now."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from itertools import compress
from typing import Any, NamedTuple

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_sam3.core.concepts import split_concepts
from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Picture
from napari_sam3.core.plane_index import Region
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Prompt,
)
from napari_sam3.engines import EngineInfo, engine_info, refusal, refuse_unsupported
from napari_sam3.engines.base import Question, Setting
from napari_sam3.errors import ImageError, PromptError, UnsupportedPromptError
from napari_sam3.layers.objects import plane_index
from napari_sam3.layers.output import find_output_place, picture_kwargs
from napari_sam3.layers.pictures import LastPicture, capture_composed, capture_picture
from napari_sam3.layers.planes import Plane, find_plane
from napari_sam3.layers.prompts import (
    DRAW_EXAMPLE,
    Drawn,
    read_points,
    read_shapes,
    to_concept_prompt,
    to_object_prompts,
)
from napari_sam3.layers.transforms import refuse_other_units
from napari_sam3.widgets._committing import Committer, RunContext
from napari_sam3.widgets._form import Form
from napari_sam3.widgets._prompting import Kind, PromptLayers, is_points
from napari_sam3.workflows.provenance import bare_name
from napari_sam3.workflows.run import SegmentRun


class _Object(NamedTuple):
    """What an object is known by, what is sent for it, and what was drawn for it."""

    key: Hashable
    prompt: ObjectPrompt
    drawn: ObjectPrompt


class Asking:
    """Resolves the controls and the layers to a run.

    Parameters
    ----------
    viewer : ViewerModel
    form : Form
    prompts : PromptLayers
    committer : Committer
        Knows which objects have their answer already.
    options : callable
        Engine name to the options that are chosen for it.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        form: Form,
        prompts: PromptLayers,
        committer: Committer,
        options: Callable[[str], Any],
    ) -> None:
        self._viewer = viewer
        self._form = form
        self._prompts = prompts
        self._committer = committer
        self._options = options
        # a further click on what is shown reads and hashes nothing again
        self._last = LastPicture()

    @property
    def question(self) -> Question:
        """Which of the three questions is chosen."""
        question: Question = self._form.question.value
        return question

    def _engine_info(self) -> EngineInfo:
        return engine_info(self._form.engine.value)

    @property
    def is_combined(self) -> bool:
        """Whether text, examples and clicks go out as one question."""
        can_combine = self._engine_info().capabilities.combined
        return can_combine and self.question == "concept" and bool(self._form.combine.value)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of drawn prompts that the question uses."""
        if self.is_combined:
            return "examples", "points"
        kinds: dict[Question, tuple[Kind, ...]] = {
            "concept": ("examples",),
            "object": ("points", "boxes"),
            "everything": (),
        }
        return kinds[self.question]

    def context(self, *, live: bool = False) -> RunContext:
        """Resolve what is chosen and drawn now; no pixel is read.

        Raises
        ------
        Sam3Error
            If it is no question, or none that this engine can answer.
        """
        image, plane = self.plane()
        drawn = self._drawn(plane)
        keys: tuple[Hashable, ...]
        prompts: tuple[Prompt, ...]
        if self.question == "object":
            objects, notices = self._objects(drawn, image, plane)
            asked = self._unanswered(objects, all_if_none=not live)
            keys, prompts = tuple(one.key for one in asked), tuple(one.prompt for one in asked)
            drawn += Drawn(notices=notices + self._left_out(asked))
        else:
            prompts = self._prompts_for_all(drawn)
            keys = (None,) * len(prompts)
            drawn += Drawn(notices=self._unsent(prompts))
        self._refuse_unsupported(prompts)
        place = find_output_place(image, plane)
        output: Labels | None = self._form.output.value
        if output is not None and (misfit := place.misfit(output)):
            raise ImageError(f"{misfit}; choose another layer under “Add to”.")
        lies = picture_kwargs(place, plane.shape)["affine"].tolist()
        run = SegmentRun(
            self._picture(image, plane),
            prompts,
            *self._limits(),
            region=Region(plane_index(plane), Box.of_shape(plane.shape)),
            about={"image": bare_name(image.name), "affine": lies},
        )
        return RunContext(
            run,
            self._form.engine.value,
            place,
            output,
            self._form.rule.value,
            keys,
            drawn.notices,
            live,
            image.unique_id,
            self._options(self._form.engine.value),
        )

    def plane(self) -> tuple[Image, Plane]:
        """Return the chosen image and its plane that is shown."""
        image = self._form.image.value
        if image is None:
            raise ImageError("There is no image yet: open one, or a sample from the File menu.")
        refuse_other_units(image, self._viewer.layers)
        return image, find_plane(image, self._viewer.dims)

    def _picture(self, image: Image, plane: Plane) -> Picture:
        if not self._form.composed.value:
            return self._last.kept(capture_picture(image, plane), [image])
        visible = [
            layer for layer in self._viewer.layers if isinstance(layer, Image) and layer.visible
        ]
        return self._last.kept(capture_composed(visible, plane, self._viewer.dims), visible)

    def forget(self, layer: Layer | None = None) -> None:
        """Let go of the picture that was asked about last, if it shows that layer, or of any."""
        self._last.forget(layer)

    def _drawn(self, plane: Plane) -> Drawn:
        drawn = Drawn()
        for kind in self.kinds:
            layer = self._prompts.get(kind)
            if layer is not None:
                drawn += (
                    read_points(layer, plane) if is_points(layer) else read_shapes(layer, plane)
                )
        return drawn

    def _objects(
        self, drawn: Drawn, image: Image, plane: Plane
    ) -> tuple[list[_Object], tuple[str, ...]]:
        """Return all objects that are drawn, and what of the drawing is of no use."""
        can, is_split = self._engine_info().capabilities, bool(self._form.one_per_point.value)
        wanted, notices = to_object_prompts(drawn, one_per_point=is_split)
        sent = wanted
        if not can.outline:
            sent, _ = to_object_prompts(drawn, one_per_point=is_split, outlines=False)
        if not can.proposal:
            sent = {key: replace(prompt, proposal="") for key, prompt in sent.items()}
        objects = [
            _Object(self._key(image, plane, key, prompt), prompt, wanted[key])
            for key, prompt in sent.items()
        ]
        return objects, notices

    def _left_out(self, asked: list[_Object]) -> tuple[str, ...]:
        """Say what was drawn and cannot be asked of this engine."""
        name = self._engine_info().name
        notices: tuple[str, ...] = ()
        if any(one.drawn.outline and not one.prompt.outline for one in asked):
            told = refusal(name, "outline")
            notices += (f"The box around an outline was used instead of it. {told}",)
        if any(one.drawn.proposal and not one.prompt.proposal for one in asked):
            told = refusal(name, "proposal")
            notices += (f"The size that was chosen for an object was left out. {told}",)
        return notices

    def _prompts_for_all(self, drawn: Drawn) -> tuple[Prompt, ...]:
        """Return what asks for all things of a kind, one for each concept, or for everything."""
        if self.question == "concept":
            texts = self._sent_texts(drawn) or ("",)
            if not self.is_combined:
                return tuple(to_concept_prompt(text, drawn) for text in texts)
            exemplars = tuple(Exemplar(box.box, box.positive) for box in drawn.boxes)
            points = tuple(mark.point for mark in drawn.points)
            try:
                return (CombinedPrompt(texts[0], exemplars, points),)
            except PromptError as error:
                raise drawn.explain(error, DRAW_EXAMPLE) from error
        form = self._form
        wanted = form.diameter.value if "diameter" in self._settings() else 0
        return (Everything(form.points_per_side.value, form.pred_iou_thresh.value, wanted or None),)

    @property
    def _texts(self) -> tuple[str, ...]:
        return split_concepts(self._form.text.value)

    def _sent_texts(self, drawn: Drawn) -> tuple[str, ...]:
        texts, can = self._texts, self._engine_info().capabilities
        # a text from before must not stand in the way of examples
        has_example = any(box.positive for box in drawn.boxes)
        if has_example and (not can.text or (len(texts) == 1 and self._why_not(texts[0]))):
            return ()
        if len(texts) > 1 and self.is_combined:
            raise PromptError(
                f"“Combine prompts” asks about one concept, but {len(texts)} are typed: leave "
                "one line in the text field, or untick it."
            )
        if len(texts) > 1 and drawn.boxes:
            raise PromptError(
                f"Examples go with one concept, but {len(texts)} are typed: leave one line in "
                "the text field, or choose no layer under “Examples”."
            )
        return texts

    def _refuse_unsupported(self, prompts: tuple[Prompt, ...]) -> None:
        name, can = self._engine_info().name, self._engine_info().capabilities
        for prompt in prompts:
            try:
                refuse_unsupported(name, can, prompt)
            except UnsupportedPromptError as error:
                if len(prompts) == 1 or not (isinstance(prompt, ConceptPrompt) and can.text):
                    raise
                raise UnsupportedPromptError(f"“{prompt.text}” cannot be found. {error}") from error

    def _why_not(self, text: str) -> str:
        """Return why the engine cannot find what a text says; empty if it can."""
        info = self._engine_info()
        try:
            refuse_unsupported(info.name, info.capabilities, ConceptPrompt(text))
        except UnsupportedPromptError as error:
            return str(error)
        except PromptError:
            # without a text there is nothing to refuse
            return ""
        return ""

    def _unsent(self, prompts: tuple[Prompt, ...]) -> tuple[str, ...]:
        sent = {getattr(prompt, "text", "") for prompt in prompts}
        left = [text for text in self._texts if text not in sent]
        if self.question != "concept" or not left:
            return ()
        listed = ", ".join(f"“{text}”" for text in left)
        words = f"text {listed} was" if len(left) == 1 else f"texts {listed} were"
        return (f"The {words} left out. {self._why_not(left[0])}",)

    def _settings(self) -> set[Setting]:
        """Return the thresholds that matter to this question and engine."""
        return {name for q, name in self._engine_info().capabilities.settings if q == self.question}

    def _limits(self) -> tuple[float, int]:
        matters = self._settings()
        return (
            float(self._form.min_score.value) if "min_score" in matters else 0.0,
            int(self._form.max_masks.value) if "max_masks" in matters else 0,
        )

    def _key(self, image: Image, plane: Plane, key: Hashable, prompt: ObjectPrompt) -> Hashable:
        # without a number an object is known by its prompt alone
        place = (image.unique_id, plane.key)
        if isinstance(key, int):
            return (*place, (self._prompts.generation, key))
        if self._form.one_per_point.value:
            return (*place, prompt)
        return self._committer.key_refined_by(place, prompt)

    def _unanswered(self, objects: list[_Object], *, all_if_none: bool) -> list[_Object]:
        # an engine that takes less is not asked anew, and paid, for what another one answered
        either = [(one.key, prompt) for one in objects for prompt in (one.prompt, one.drawn)]
        known = self._committer.answered(either)
        is_open = [not any(pair) for pair in zip(known[::2], known[1::2], strict=True)]
        open_ones = list(compress(objects, is_open))
        return objects if all_if_none and not open_ones else open_ones

    def identity(self, context: RunContext) -> Hashable:
        """Return what tells this question from others, pictures included."""
        run = context.run
        return (
            (context.engine, context.options),
            (context.image_id, context.place.plane.key),
            context.place.plane.margins,
            (run.prompts, run.min_score, run.max_masks),
            (context.rule, context.output and context.output.unique_id),
            run.picture.look,
        )
