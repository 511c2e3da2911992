"""The dock widget: prompts and thresholds in, Labels layers out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from typing import Any

import napari.viewer
from magicgui.widgets import PushButton
from napari.layers import Image, Labels, Layer
from napari.utils import progress
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut, QWidget

from napari_sam3.core.contrast import Limits
from napari_sam3.core.geometry import Box
from napari_sam3.core.progress import Progress
from napari_sam3.core.prompts import PROPOSALS, ObjectPrompt, Proposal
from napari_sam3.engines import EngineInfo, engine_info, refusal
from napari_sam3.engines.base import Engine, Question
from napari_sam3.engines.creating import create_engine
from napari_sam3.engines.segmind.options import price_of
from napari_sam3.engines.segmind.payload import Sent, build_payload
from napari_sam3.errors import ImageError, Sam3Error
from napari_sam3.jobs.collecting import Collected
from napari_sam3.layers.output import picture_kwargs
from napari_sam3.layers.planes import Plane
from napari_sam3.widgets._asking import Asking
from napari_sam3.widgets._collected import add_collected
from napari_sam3.widgets._committing import (
    Committed,
    Committer,
    RunContext,
    picture_metadata,
)
from napari_sam3.widgets._consent import ConsentDesk
from napari_sam3.widgets._copying import CopyPart
from napari_sam3.widgets._dock import Dock
from napari_sam3.widgets._form import Form, say_why
from napari_sam3.widgets._history import Balance, HistoryPart, Past
from napari_sam3.widgets._hosted import HostedPart
from napari_sam3.widgets._prompting import Kind, PromptLayers, ShapeTool, is_points, is_shapes
from napari_sam3.widgets._restoring import restore
from napari_sam3.widgets._save import SaveButton
from napari_sam3.widgets._worker import Job, Runner
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import slabs_in
from napari_sam3.workflows.run import Found, RunEvent, SegmentRun

STATE_INTERVAL_MS = 250
NEXT_OBJECT_KEY = "N"
POLARITY_KEY = "W"
PROPOSAL_KEY = "Q"

SETTING_WORDS = {
    "min_score": "Objects with a lower score are left out, 0.1–1.",
    "points_per_side": "Density of the grid of automatic clicks, 0–128.",
    "pred_iou_thresh": "Leave out masks of which the model predicts a lower quality, 0.5–1.",
    "max_masks": "Keep at most this many objects, the best ones; 0 keeps all.",
    "diameter": "About how wide the objects are, in pixels of the image, 1–10,000; 0 lets the "
    "engine find out.",
}

DRAW_WORDS: dict[ShapeTool, str] = {
    "box": "Drag a box around it on the image.",
    "outline": "Drag around it on the image, roughly; the outline closes where you let go.",
    "scribble": "Drag a line over it on the image.",
}
BESIDE = "Drag a line over what does not belong to the object."
PROPOSAL_WORDS: dict[Proposal, str] = {
    "": "likeliest size",
    "small": "size small",
    "medium": "size medium",
    "large": "size large",
}
ONLY_ONE_OBJECT = (
    "An outline or a scribble marks one object; to find all like it, draw a box around an example."
)
SPLIT = "Each point is an object of its own: untick “One object per point” first."


class SegmentPanel(Dock):
    """Segment the displayed image by text, examples, clicks, boxes, or altogether.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Its Points and Shapes layers are read as prompts; Labels layers are added to it.
    parent : QWidget, optional
    """

    review_asked = Signal(object)
    """A Labels layer is to be reviewed; None if it is not known which."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(napari_viewer, parent)
        self._engines: dict[Hashable, Engine] = {}
        self._engine_lock = threading.Lock()
        self._activity: progress | None = None
        self._asked_at = 0.0
        self._found_so_far = 0
        self._state_said = ""
        self._chosen: tuple[str, ...] = ()
        self._better: Mapping[Hashable, Limits] = {}
        self.prompts = PromptLayers(self._viewer, self._on_drawn)
        self.form = Form(
            self._choices(Image), self._points_layers, self._shapes_layers, self._outputs, self
        )
        self.runner = Runner(self)
        self.committer = Committer(self._viewer, self)
        self.hosted = HostedPart(self)
        self.hosted.hide()
        self.form.add_service(self.hosted)
        self.history = HistoryPart(self)
        self.form.add_history(self.history)
        self.consent = ConsentDesk(self)
        self.saving = SaveButton(self, self._layer_to_save, self._say)
        self.reviewing = PushButton(
            text="Review …", tooltip="Open the panel of the objects: table, keys, filters, export."
        )
        self.form.add_saving(self.saving.button, self.reviewing)
        self.asking = Asking(self._viewer, self.form, self.prompts, self.committer, self._options)
        self.copying = CopyPart(
            self._viewer, self.form, self.prompts, self.asking, self._on_copied, self
        )
        self.form.add_copying(self.copying)
        self._fill(self.form)
        # several events of one mouse press make one question
        self._live_timer = QTimer(self)
        self._live_timer.setSingleShot(True)
        self._live_timer.timeout.connect(self._run_live)
        # what an engine is doing is looked up, since it has one method only
        self._state_timer = QTimer(self)
        self._state_timer.setInterval(STATE_INTERVAL_MS)
        self._state_timer.timeout.connect(self._show_state)
        self._connect()
        self.open()
        self.form.engine.value = "builtin"
        self._choose("everything")
        self._on_engine()
        self.history.refresh()

    # ------------------------------------------------------------------ questions

    @property
    def question(self) -> Question:
        """Which of the three questions is chosen."""
        return self.asking.question

    @property
    def engine_info(self) -> EngineInfo:
        """The chosen engine, as far as it is known without creating it."""
        return engine_info(self.form.engine.value)

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be asked, answered or written."""
        parts = (self.runner, self.committer, self.history, self.saving)
        return self._live_timer.isActive() or any(part.is_busy for part in parts)

    def value(self) -> SegmentRun:
        """Return the question as it stands now, frozen; no pixel is read yet.

        Returns
        -------
        SegmentRun
            Its `requests()` reads the picture and gives what the engine is asked.

        Raises
        ------
        ImageError
            If no plane of an image is chosen and shown.
        PromptError
            If there is nothing to find, or no object is marked.
        """
        return self.asking.context().run

    # ------------------------------------------------------------------ running

    def run(self) -> bool:
        """Ask the engine what the panel says.

        Returns
        -------
        bool
            False if it cannot be asked, which is said.
        """
        self.prompts.drop_unfinished()
        return self._start(live=False)

    def run_everything(self) -> bool:
        """Choose *Everything*, and run it; as `run`."""
        self._choose("everything")
        return self.run()

    def cancel(self) -> None:
        """Stop waiting for what runs."""
        self.runner.cancel()
        if self.runner.is_paid:
            self._say("Stopping … A result that still arrives is kept, since it costs money.")

    def review(self) -> None:
        """Ask for the panel of the objects, with the layer that is written or selected."""
        self.review_asked.emit(self._layer_to_save())

    def _run_live(self) -> None:
        if self._is_live and self.question == "object":
            self._start(live=True)

    @property
    def _is_live(self) -> bool:
        return bool(self.form.live.value) and not self.engine_info.capabilities.billed

    def _start(self, *, live: bool) -> bool:
        if self.engine_info.missing:
            self._say(self.engine_info.missing)
            return False
        try:
            context = self.asking.context(live=live)
        except Sam3Error as error:
            # while something is being drawn it may well be incomplete
            self._say(str(error) if not live or self._anything_drawn() else "")
            return False
        lane = (self.question, context.image_id, context.place.plane.key)
        if not context.keys:
            # what was drawn is answered already; what runs was asked for something else
            self.runner.drop(lane)
            self._forget_state()
            return True
        billed = self.engine_info.capabilities.billed
        if billed and self.committer.is_writing:
            self._say("The result before this one is just being written; press Run again.")
            return False
        job = Job(self._workflow(context), context, lane, billed, self.asking.identity(context))
        if not self.runner.start(job):
            self._say("A paid request is under way; wait for its result.")
            return False
        if self.runner.is_waiting(job):
            self.form.cancel.enabled = True
            if not live:
                self._say("Waiting for the run before this one to end …")
        return True

    def _anything_drawn(self) -> bool:
        kinds: tuple[Kind, ...] = ("points", "boxes")
        return any(sum(self.prompts.count(kind)) for kind in kinds)

    def _workflow(
        self, context: RunContext
    ) -> Callable[[threading.Event], Generator[RunEvent, None, SegmentAnswer]]:
        records = self.history.records()

        def workflow(stop: threading.Event) -> Generator[RunEvent, None, SegmentAnswer]:
            engine = self._engine(context.engine, context.options)
            info = engine_info(context.engine)
            confirm = self.consent.confirm(stop, info, getattr(context.options, "url", ""))
            return (yield from iter_accounted(engine, context.run, records, confirm, stop))

        return workflow

    def _engine(self, name: str, options: Any = None) -> Engine:
        # called by the worker: creating an engine may import a lot
        with self._engine_lock:
            key = (name, options)
            if key not in self._engines:
                self._engines[key] = create_engine(name, options)
            return self._engines[key]

    def _options(self, name: str) -> Any:
        return self.hosted.options() if name == "segmind" else None

    def _on_started(self, job: Job) -> None:
        self._on_idle()
        self.form.cancel.enabled = True
        self.form.run.enabled = not job.billed
        self._asked_at, self._found_so_far = time.monotonic(), 0
        self._state_timer.start()
        if not job.context.live:
            total = len(job.context.run.prompts)
            self._activity = progress(total=total, desc="SAM3")
            self._show_progress(0, 0)

    def _on_progressed(self, job: Job, step: Progress) -> None:
        if job.context.live:
            return
        count = self._found_so_far
        so_far = f"  {count} object{'' if count == 1 else 's'} so far" if count else ""
        self._say(f"{step.message} …{so_far}")
        # a single question has no steps: let the bar run
        self._show_progress(step.done, step.total if step.total > 1 else 0)
        if self._activity is not None:
            self._activity.n = step.done
            self._activity.refresh()

    def _on_found(self, _job: Job, found: Found) -> None:
        # one picture is written once, as one step that can be undone: see `_on_returned`
        self._found_so_far += len(found.instances)

    def _show_progress(self, done: int, total: int) -> None:
        bar = self.form.progress
        bar.max = total
        bar.value = done

    def _on_returned(self, job: Job, answer: SegmentAnswer) -> None:
        self.history.add(Past.of(job.context, answer))
        if job.billed:
            self._count_cost(job.context)
        if any(result.pictures for result in answer.results):
            self._show_pictures(job.context, answer)
            return
        if not job.context.live:
            self._say("adding the objects …")
        self.committer.commit(job.context, answer, self._on_committed, self._on_error)

    def _on_failed(self, job: Job, error: BaseException) -> None:
        self._look_into_ledger(job)
        self._on_error(error)

    def _on_cancelled(self, job: Job) -> None:
        # its thread may go on for a while; for the user it is over
        self._on_idle()
        # an engine that costs money says what may have been billed, and under which id
        said = str(job.error) if job.billed and job.error is not None else "Cancelled."
        self._look_into_ledger(job)
        self._say(f"{said} Nothing was changed.")

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, Sam3Error):
            self._say(str(error))
            return
        self._say(f"Something went wrong inside the plugin ({type(error).__name__}).")
        raise error

    def _on_committed(self, committed: Committed) -> None:
        chosen, self._chosen = self._chosen, ()
        flatness = committed.answer.flatness
        better = flatness.better if flatness is not None else {}
        advice = ("Press Auto contrast, then Run.",) if better else ()
        self._say(_result_line(committed), chosen + committed.notices + advice, better)

    def auto_contrast(self) -> None:
        """Give the images of the last run the contrast limits that show more of them."""
        said = []
        for layer in self._viewer.layers:
            limits = self._better.get(layer.unique_id)
            if limits is not None:
                layer.contrast_limits = limits
                low, high = limits
                said.append(f"“{layer.name}” now has the contrast limits {low:g} and {high:g}.")
        self._say(
            " ".join([*said, "Press Run."]) if said else "There is no better contrast to set."
        )

    def _look_into_ledger(self, job: Job) -> None:
        if job.billed and self._is_open:
            self.history.refresh()

    def _on_counted(self, found: Balance) -> None:
        self.form.show_unfinished(found.unfinished)
        self.hosted.show_spent(found.session)

    def restore(self, past: Past) -> None:
        """Bring the prompts and settings of a run back, in prompt layers of their own."""
        try:
            restore(past, self._viewer, self.form, self.prompts, self.asking)
            if past.options is not None:
                self.hosted.set_options(past.options)
        except Sam3Error as error:
            self._say(str(error))
            return
        self._on_layers()
        self._show_drawn()
        self._say("The prompts and settings of that run are back; press Run.")

    def take_examples(
        self, image: Image, plane: Plane, boxes: Sequence[Box], positive: bool
    ) -> int:
        """Add boxes as examples of what to find, or of what not, and choose “Find all”.

        Parameters
        ----------
        image : Image
            In the viewer; it becomes the chosen one.
        plane : Plane
            Of that image, on which the boxes lie.
        boxes : sequence of Box
            In pixels of the plane.  They go into the layer of examples that is in use, or
            into a new one over the image.
        positive : bool
            Whether they show what to find.

        Returns
        -------
        int
            How many were added; those that are examples of this sign already are not.
        """
        if all(layer.unique_id != image.unique_id for layer in self._viewer.layers):
            self._say(f"“{image.name}” was removed, so nothing can be found in it any more.")
            return 0
        self.form.image.value = image
        self._choose("concept")
        added = self.prompts.add_examples(image, plane, boxes, positive)
        self._on_layers()
        self._show_drawn()
        self._say(_taken_line(added, len(boxes) - added, positive))
        return added

    def _on_copied(self, sentence: str, notices: tuple[str, ...]) -> None:
        self._on_layers()
        self._show_drawn()
        # a live answer comes at once and takes the line
        self._chosen = (sentence, *notices) if self._live_timer.isActive() else ()
        self._say(sentence, notices)

    def _on_collected(self, done: tuple[Collected, ...]) -> None:
        """Show answers that were paid for and have come at last."""
        self._say("\n".join(add_collected(self._viewer, done)) or "There was nothing to collect.")

    def _layer_to_save(self) -> Labels | None:
        """Return the layer that is selected, if it holds labels, else the one that is written."""
        active = self._viewer.layers.selection.active
        if isinstance(active, Labels):
            return active
        if self.form.output.value is not None:
            return self.form.output.value
        image = self.form.image.value
        return None if image is None else self.committer.labels_of(image.unique_id)

    def _count_cost(self, context: RunContext) -> None:
        self.history.refresh()
        engine = self._engine(context.engine, context.options)
        self.hosted.show_credits(getattr(engine, "credits_left", None))

    def _show_pictures(self, context: RunContext, answer: SegmentAnswer) -> None:
        for result in answer.results:
            for picture in result.pictures:
                kwargs = picture_kwargs(context.place, picture.shape)
                metadata = picture_metadata(context, answer, picture.shape)
                self._viewer.add_image(
                    picture, rgb=True, name="overlay", metadata=metadata, **kwargs
                )
        self._say("A picture with the objects marked, and no labels, as chosen.", answer.notices)

    def _show_state(self) -> None:
        """Say what the engine is doing, once that takes a while."""
        job = self.runner.current
        if job is None or job.is_stale:
            return
        # without the lock, which the worker holds as long as it makes an engine
        engine = self._engines.get((job.context.engine, job.context.options))
        state = getattr(engine, "state", "")
        if job.billed:
            self._say(f"{state or 'sending'} … {time.monotonic() - self._asked_at:.0f} s")
        elif state:
            self._state_said = f"{state[0].upper()}{state[1:]} …"
            self._say(self._state_said)

    def _forget_state(self) -> None:
        """Take back what was said of an engine at work that is no longer."""
        if self._state_said and self.form.result.text() == self._state_said:
            self._say("")
        self._state_said = ""

    def _forget_result(self) -> None:
        """Take back what was said of another question or engine."""
        if not self.is_busy:
            self.form.show_result("")

    def _on_idle(self) -> None:
        self._state_timer.stop()
        self.form.cancel.enabled = False
        self.form.run.enabled = not self.engine_info.missing
        self._show_progress(0, 1)
        if self._activity is not None:
            self._activity.close()
            self._activity = None

    def _say(
        self,
        sentence: str,
        notices: tuple[str, ...] = (),
        better: Mapping[Hashable, Limits] | None = None,
    ) -> None:
        self._better = better or {}
        is_steady = self._is_live and self.question == "object"
        words = "\n".join([sentence, *notices])
        self.form.show_result(words, steady=is_steady, contrast=bool(better))

    # ------------------------------------------------------------------ drawing

    def draw(self, kind: Kind, positive: bool = True, tool: ShapeTool = "box") -> None:
        """Arm the tool for a kind of prompt, and make its layer on first use."""
        try:
            image, plane = self.asking.plane()
        except ImageError as error:
            self._say(str(error))
            return
        if kind not in self.asking.kinds and kind != "examples":
            self._choose("object")
        # another panel may have been closed since, and its keys be free
        self._bind_keys()
        self.prompts.arm(kind, image, plane, positive, tool)
        self._on_layers()
        self._show_drawn()
        words = DRAW_WORDS[tool] if positive or tool != "scribble" else BESIDE
        self._say("Click on the image." if kind == "points" else words)

    def next_object(self) -> bool:
        """Let what is drawn next belong to another object.

        Returns
        -------
        bool
            False if there is nothing to draw on, which is said.
        """
        try:
            self.asking.plane()
        except ImageError as error:
            self._say(str(error))
            return False
        number = self.prompts.start_next_object()
        self._chosen = ()
        self._show_drawn()
        self._say(f"What you draw next belongs to object {number}.")
        return True

    def toggle_polarity(self) -> None:
        """Turn what is selected, or what is drawn next, from + to − and back."""
        if not self._can_be_negative():
            self._say(
                "A box or an outline marks the object itself; only points, scribbles and examples "
                "can be negative."
            )
            return
        positive = self.prompts.toggle_polarity()
        if positive is not None:
            self._say(f"What you draw next is {'positive (+)' if positive else 'negative (−)'}.")
            self._show_drawn()

    def _can_be_negative(self) -> bool:
        active = self._viewer.layers.selection.active
        # napari gives a plugin a proxy of the layer, which equals it and is another object
        is_example = active is not None and active == self.prompts.get("examples")
        if is_example and self.question == "concept":
            return self.engine_info.capabilities.negative_exemplars
        return self.prompts.can_be_negative

    def next_proposal(self) -> None:
        """Go on to the next of what a click may mean: small, medium, large, the likeliest."""
        following = PROPOSALS.index(self.prompts.proposal) + 1
        self.choose_proposal(PROPOSALS[following % len(PROPOSALS)])

    def choose_proposal(self, proposal: Proposal) -> None:
        """Choose which of what its first click may mean the current object is."""
        if reason := self._why_no_choice():
            self._show_proposal()
            self._say(reason)
            return
        self.prompts.choose_proposal(proposal)
        said = f"Object {self.prompts.current_object}: {PROPOSAL_WORDS[proposal]}."
        # a live answer comes at once and takes the line
        self._chosen = (said,)
        self._say(said)

    def _why_no_choice(self) -> str:
        """Return why the current object cannot be small, medium or large; empty if it can."""
        if not self.engine_info.capabilities.proposal:
            return refusal(self.engine_info.name, "proposal")
        if self.question != "object":
            return "Small, medium or large is chosen for one object: choose “One object” first."
        if self.form.one_per_point.value:
            return SPLIT
        if self.prompts.is_boxed:
            return "A box or an outline says how large the object is: there is nothing to choose."
        if not self.prompts.is_clicked:
            return "Click on the object first: then small, medium or large can be chosen for it."
        return ""

    def _on_drawn(self) -> None:
        self._chosen = ()
        self._show_drawn()
        if self._is_live and self.question == "object":
            self._live_timer.start()

    def _on_box_button(self, positive: bool) -> None:
        self.draw("examples" if self.question == "concept" else "boxes", positive)

    def _show_drawn(self) -> None:
        """Show how much is drawn, what asking for it costs, and the size that is chosen."""
        self._show_counts()
        self._show_price()
        self._show_proposal()

    def _show_proposal(self) -> None:
        with self.form.proposal.changed.blocked():
            self.form.proposal.value = self.prompts.proposal

    def _show_counts(self) -> None:
        kinds = self.asking.kinds or ("points", "boxes")
        counts = [self.prompts.count(kind) for kind in kinds]
        positive, negative = (sum(count) for count in zip(*counts, strict=True))
        self.form.tools.count.setText(f"{positive} +, {negative} −")

    def _show_price(self) -> None:
        """Say what Run will cost, once it is more than one call."""
        self.form.show_price("")
        if not self.engine_info.capabilities.billed:
            return
        try:
            calls = len(self.asking.context().run.prompts)
        except Sam3Error:
            return
        if calls > 1:
            self.form.show_price(f"Run makes at most {price_of(calls)}; stored results are free.")

    def preview(self) -> None:
        """Show what Run would send, without sending it."""
        try:
            context = self.asking.context()
        except Sam3Error as error:
            self._say(str(error))
            return

        def build(_stop: threading.Event) -> Generator[Progress, None, list[Sent]]:
            yield Progress(0, 0, "preparing")
            return [build_payload(request, context.options) for request in context.run.requests()]

        self.hosted.show_preview(build, context.options.url)

    # ------------------------------------------------------------------ controls

    def _choose(self, question: Question) -> None:
        self.form.question.value = question
        self._on_question()

    def _on_question(self) -> None:
        self._forget_result()
        self.form.show_question(self.question)
        self._show_drawn()
        self._enable_what_can_be_done()
        self.copying.refresh()

    def _on_engine(self) -> None:
        info = self.engine_info
        self._forget_result()
        self.form.status.setText(_state(info))
        self.form.show_words(info.capabilities.words)
        self.hosted.setVisible(info.name == "segmind")
        self.form.combine.visible = info.capabilities.combined
        self._show_drawn()
        self._enable_what_can_be_done()
        self.form.run.enabled = not info.missing

    def _enable_what_can_be_done(self) -> None:
        can, name, form = self.engine_info.capabilities, self.engine_info.name, self.form
        say_why(form.text, can.text, refusal(name, "text"))
        self._enable_points()
        self._enable_shapes()
        say_why(form.live, not can.billed, "Each request costs money: press Run instead.")
        say_why(form.proposal, can.proposal, refusal(name, "proposal"))
        for setting, control in form.settings.items():
            matters = (self.question, setting) in can.settings
            control.tooltip = SETTING_WORDS[setting]
            say_why(control, matters, f"{SETTING_WORDS[setting]} Not used here.")

    def _enable_points(self) -> None:
        can, tools = self.engine_info.capabilities, self.form.tools
        is_concept = self.question == "concept"
        can_click = can.points and (not is_concept or self.asking.is_combined)
        why_not = (
            "A click marks one object; to find all like it, draw a box around an example."
            if can.points
            else refusal(self.engine_info.name, "points")
        )
        for button in (tools.point, tools.negative_point):
            say_why(button, can_click, why_not)
        no_scribble = ONLY_ONE_OBJECT if is_concept else why_not
        can_scribble = can.points and not is_concept
        say_why(tools.negative_scribble, can_scribble, no_scribble)
        # it is many clicks, which would be as many objects
        is_split = can_scribble and bool(self.form.one_per_point.value)
        say_why(tools.scribble, can_scribble and not is_split, SPLIT if is_split else no_scribble)

    def _enable_shapes(self) -> None:
        can, name, tools = self.engine_info.capabilities, self.engine_info.name, self.form.tools
        if self.question == "concept":
            say_why(tools.box, can.exemplars, refusal(name, "exemplars"))
            why_not = refusal(name, "negative_exemplars")
            say_why(tools.negative_box, can.negative_exemplars, why_not)
            say_why(tools.outline, False, ONLY_ONE_OBJECT)
            return
        say_why(tools.box, can.object_box, refusal(name, "object_box"))
        say_why(tools.negative_box, False, "Only examples can be negative: choose “Find all”.")
        # where there is no outline, the box around it is asked for
        say_why(tools.outline, can.outline or can.object_box, refusal(name, "outline"))

    def _connect(self) -> None:
        form = self.form
        form.engine.changed.connect(self._on_engine)
        form.question.changed.connect(self._on_question)
        form.combine.changed.connect(self._on_question)
        form.one_per_point.changed.connect(self._show_drawn)
        form.one_per_point.changed.connect(self._enable_what_can_be_done)
        form.proposal.changed.connect(self.choose_proposal)
        self.hosted.preview.changed.connect(self.preview)
        self.history.restored.connect(self.restore)
        self.history.collected.connect(self._on_collected)
        self.history.counted.connect(self._on_counted)
        form.collect.changed.connect(self.history.collect_now)
        form.run.changed.connect(self.run)
        self.reviewing.changed.connect(self.review)
        form.cancel.changed.connect(self.cancel)
        form.auto_contrast.changed.connect(self.auto_contrast)
        form.image.changed.connect(self.copying.refresh)
        form.text.native.returnPressed.connect(self.run)
        form.text.native.textChanged.connect(self._show_price)
        form.next_object.changed.connect(self.next_object)
        self._connect_tools()
        for kind, combo in self._prompt_combos():
            combo.changed.connect(lambda layer, kind=kind: self.prompts.use(kind, layer))
            combo.changed.connect(self._show_drawn)
        self.runner.started.connect(self._on_started)
        self.runner.progressed.connect(self._on_progressed)
        self.runner.found.connect(self._on_found)
        self.runner.returned.connect(self._on_returned)
        self.runner.failed.connect(self._on_failed)
        self.runner.cancelled.connect(self._on_cancelled)
        self.runner.idle.connect(self._on_idle)
        self.runner.idle.connect(self._forget_state)
        shortcuts = (
            (Qt.Key.Key_Escape, self.cancel),
            (Qt.Key.Key_Return, self.run),
            (Qt.Key.Key_Enter, self.run),
        )
        for key, action in shortcuts:
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def _connect_tools(self) -> None:
        tools = self.form.tools
        tools.point.changed.connect(lambda: self.draw("points"))
        tools.negative_point.changed.connect(lambda: self.draw("points", positive=False))
        tools.box.changed.connect(lambda: self._on_box_button(positive=True))
        tools.negative_box.changed.connect(lambda: self._on_box_button(positive=False))
        tools.outline.changed.connect(lambda: self.draw("boxes", tool="outline"))
        tools.scribble.changed.connect(lambda: self.draw("boxes", tool="scribble"))
        tools.negative_scribble.changed.connect(
            lambda: self.draw("boxes", positive=False, tool="scribble")
        )

    def _listen(self) -> None:
        layers = self._viewer.layers.events
        layers.inserted.connect(self._on_layers)
        layers.removed.connect(self._on_layer_removed)
        layers.reordered.connect(self._on_layers)
        self.copying.open()
        self._bind_keys()
        self._on_layers()

    def _bind_keys(self) -> None:
        """Take the keys that are free."""
        actions = {
            NEXT_OBJECT_KEY: self.next_object,
            POLARITY_KEY: self.toggle_polarity,
            PROPOSAL_KEY: self.next_proposal,
        }
        self._bind(actions)
        words = {NEXT_OBJECT_KEY: "next", POLARITY_KEY: "+/−", PROPOSAL_KEY: "size"}
        keys = [f"{key} {words[key]}" for key in actions if key in self._bound]
        self.form.keys.setText(" · ".join(["Enter run", "Esc cancel", *keys]))

    # ------------------------------------------------------------------ layers

    def _choices(self, kind: type[Layer]) -> Callable[..., list[tuple[str, Layer]]]:
        return lambda _combo: [
            (layer.name, layer) for layer in self._viewer.layers if isinstance(layer, kind)
        ]

    def _points_layers(self, _combo: Any) -> list[tuple[str, Layer]]:
        return [(layer.name, layer) for layer in self._viewer.layers if is_points(layer)]

    def _shapes_layers(self, _combo: Any) -> list[tuple[str, Layer]]:
        return [(layer.name, layer) for layer in self._viewer.layers if is_shapes(layer)]

    def _outputs(self, _combo: Any) -> list[tuple[str, Labels | None]]:
        own: list[tuple[str, Labels | None]] = [("the image's own objects layer", None)]
        return own + [
            (layer.name, layer) for layer in self._viewer.layers if isinstance(layer, Labels)
        ]

    def _prompt_combos(self) -> tuple[tuple[Kind, Any], ...]:
        return (
            ("points", self.form.points),
            ("boxes", self.form.boxes),
            ("examples", self.form.examples),
        )

    def _on_layers(self) -> None:
        """Refresh the layer choices, and show in them what is in use."""
        for layer in self._viewer.layers:
            # connecting twice has no effect
            layer.events.name.connect(self._on_renamed)
        for combo in (self.form.image, self.form.output):
            combo.reset_choices()
        for kind, combo in self._prompt_combos():
            used = self.prompts.get(kind)
            with combo.changed.blocked():
                combo.reset_choices()
                combo.value = used
        self.copying.refresh()

    def _on_renamed(self) -> None:
        self._on_layers()

    def _on_layer_removed(self, event: Any) -> None:
        self.prompts.forget(event.value)
        self.committer.forget(event.value)
        self.asking.forget(event.value)
        self._on_layers()
        self._show_drawn()

    # ------------------------------------------------------------------ the end

    def _finish_writing(self) -> None:
        self.committer.finish()

    def _let_go(self) -> None:
        self._live_timer.stop()
        self.runner.cancel()
        self.hosted.close_down()
        self.history.close_down()
        self.saving.finish()
        self.committer.close()
        self.prompts.close()
        self.asking.forget()
        self.copying.close_down()
        layers = self._viewer.layers.events
        layers.inserted.disconnect(self._on_layers)
        layers.removed.disconnect(self._on_layer_removed)
        layers.reordered.disconnect(self._on_layers)
        for layer in self._viewer.layers:
            layer.events.name.disconnect(self._on_renamed)


LACKS = {
    "text": "no text",
    "negative_exemplars": "no negative examples",
    "object_box": "no box around one object",
}


def _state(info: EngineInfo) -> str:
    """Return the line that says whether an engine is ready, and what it cannot do."""
    if info.missing:
        return f"○ {info.missing}"
    lacks = [words for name, words in LACKS.items() if not getattr(info.capabilities, name)]
    lacks += ["text: only some words"] if info.capabilities.words else []
    ready = "" if info.lacks else "● ready: "
    return f"{'; '.join([ready + info.summary, *lacks])}"


def _result_line(committed: Committed) -> str:
    """Return the one line that says what a run found."""
    written = committed.written
    parts = [committed.answer.found_words]
    asked_for_one = isinstance(committed.context.run.prompts[0], ObjectPrompt)
    counts = (
        (committed.answer.overlapping, "overlap"),
        (written.known, "labelled already"),
        (written.unseen, "rejected or filtered out before"),
        (written.hidden, "labelled already" if asked_for_one else "hidden under others"),
    )
    parts += [f"{count} {words}" for count, words in counts if count]
    cost = committed.answer.usage.credits
    parts += [f"{committed.answer.seconds:.1f} s", *([f"${cost:.4f}"] if cost is not None else [])]
    parts += [words] if (words := committed.answer.cached_words) else []
    if not len(committed.answer.instances):
        parts[0] = "Nothing found"
    elif not written.labels:
        parts.insert(0, "Nothing added")
    said = ", ".join(parts)
    if committed.layer is None:
        return said
    return f"{said} → “{committed.layer.name}”{_plane_words(committed)}"


def _plane_words(committed: Committed) -> str:
    """Say which plane got what was found in several; empty where it was found there."""
    found_in = [slab.words for slab in slabs_in(committed.answer.picture)]
    if not found_in:
        return ""
    return f", {committed.context.place.plane.slab.words} (from {' and '.join(found_in)})"


def _taken_line(added: int, known: int, positive: bool) -> str:
    """Return the sentences that say what became of boxes that were to be examples."""
    kind = f"{'+' if positive else '−'} example"
    parts = [f"{added} {kind}{'' if added == 1 else 's'} added; press Run."] if added else []
    if known:
        parts.append(f"{known} {'was' if known == 1 else 'were'} among the {kind}s already.")
    return " ".join(parts) or "There was no box to add as an example."
