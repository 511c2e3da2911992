"""The image files of one call: where each is saved, what all of them cost, and each one's run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3.cli.following import follow
from napari_sam3.cli.hosted import paid_answers_kept
from napari_sam3.cli.parsing import TypedLimits, TypedPlane
from napari_sam3.cli.telling import Voice, notices_of
from napari_sam3.core.prompts import Prompt
from napari_sam3.engines.base import raise_if_stopped
from napari_sam3.errors import (
    AuthenticationError,
    CancelledError,
    CapReachedError,
    CreditsError,
    EngineError,
    EngineUnavailableError,
    ImageError,
    LedgerError,
    Sam3Error,
)

if TYPE_CHECKING:
    from napari_sam3.engines.base import Engine
    from napari_sam3.jobs.estimate import Estimate
    from napari_sam3.jobs.fingerprint import Fingerprint
    from napari_sam3.jobs.records import Records
    from napari_sam3.workflows.answer import SegmentAnswer
    from napari_sam3.workflows.run import SegmentRun

FINAL = (
    AuthenticationError,
    CancelledError,
    CapReachedError,
    CreditsError,
    EngineUnavailableError,
    LedgerError,
)
"""Errors that the next image would meet as well."""

UNAGREED = "The price that was accepted does not include it, so it was not sent."


@dataclass(frozen=True, slots=True)
class Target:
    """An image file, and where its labels go."""

    image: Path
    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class FileRun:
    """What is done with each image of a call."""

    engine: Engine
    records: Records
    prompts: tuple[Prompt, ...]
    min_score: float
    max_masks: int
    in_flight: int
    plane: TypedPlane | None
    limits: TypedLimits | None
    newer_than: float
    is_overlay: bool

    def on(self, image: Path, told: Callable[[str], None] = lambda _: None) -> SegmentRun:
        """Read an image, say what is to be known of its file, and return the run on it."""
        from napari_sam3.workflows.asking import require_inside
        from napari_sam3.workflows.pictures import open_picture
        from napari_sam3.workflows.run import SegmentRun

        picture = open_picture(image, self.plane, self.limits, told)
        require_inside(self.prompts, picture.shape)
        return SegmentRun(
            picture,
            self.prompts,
            self.min_score,
            self.max_masks,
            self.in_flight,
            about={"image": image.name},
        )


@dataclass(frozen=True, slots=True, eq=False)
class FileResult:
    """What became of one image: answer and files, or the error why there are none."""

    image: Path
    answer: SegmentAnswer | None = None
    saved: Path | None = None
    record: Path | None = None
    error: Sam3Error | None = None

    @property
    def status(self) -> str:
        """One of done, partial, failed and skipped."""
        if self.answer is not None:
            return "partial" if self.answer.unanswered else "done"
        return "failed" if self.error is not None else "skipped"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; the keys are always the same."""
        answer = self.answer
        return {
            "image": str(self.image),
            "status": self.status,
            "output": None if self.saved is None else str(self.saved),
            "record": None if self.record is None else str(self.record),
            "objects": None if answer is None else len(answer.instances),
            "classes": None if answer is None else _classes(answer),
            "overlapping": None if answer is None else answer.overlapping,
            "requests": None if answer is None else len(answer.results),
            "from_cache": None if answer is None else answer.cached,
            "unanswered": None if answer is None else answer.unanswered,
            "cost_usd": None if answer is None else answer.usage.credits,
            "seconds": None if answer is None else round(answer.seconds, 3),
            "notices": [] if answer is None else list(notices_of(answer)),
            "error": None if self.error is None else str(self.error),
        }


def _classes(answer: SegmentAnswer) -> dict[str, int | None]:
    """Return how many objects there are of each class; None where its request was not answered."""
    return {
        concept: len(result.instances) if result.record is not None else None
        for concept, result in zip(answer.concepts, answer.results, strict=True)
        if concept
    }


def targets_of(images: Sequence[Path], output: Path | None, folder: Path | None) -> list[Target]:
    """Return where the labels of each image go; no two may go to one place."""
    from napari_sam3.workflows.paths import are_same

    sources = {os.path.realpath(image): image for image in images}
    taken: dict[str, Path] = {}
    targets = []
    for image in images:
        path = output or (folder or image.parent) / f"{image.stem}_labels.tif"
        place = os.path.realpath(path)
        if place in taken:
            both = f"{taken[place]} and {image} would both be saved as {path}"
            raise ImageError(f"{both}; segment them one after the other, into different folders.")
        if place in sources or are_same(path, image):
            raise ImageError(
                f"{path} is {'the image itself' if are_same(path, image) else 'an image, too'}; "
                "choose another --output or --output-dir."
            )
        taken[place] = image
        targets.append(Target(image, path))
    return targets


def check_targets(targets: Sequence[Target], *, overwrite: bool) -> None:
    """Refuse places that cannot be written, or must not be."""
    from napari_sam3.workflows.files import check_label_path
    from napari_sam3.workflows.paths import is_file, kind_at
    from napari_sam3.workflows.sidecars import own_sidecar_path

    taken: list[Path] = []
    # what is no image is told of when it is read, and saved nowhere
    for target in (one for one in targets if is_file(one.image)):
        check_label_path(target.path)
        both = target.path, own_sidecar_path(target.path)
        taken += [path for path in both if kind_at(path) != "nothing"][:1]
    if taken and not overwrite:
        more = f" and {len(taken) - 1} more exist" if len(taken) > 1 else " exists"
        raise ImageError(f"{taken[0]}{more} already; choose another place, or add --overwrite.")


def expected_of(
    run: FileRun, targets: Sequence[Target], voice: Voice
) -> tuple[Estimate, dict[Path, FileResult]]:
    """Read all images, one after the other, and say what all of them together would take.

    The images that cannot be segmented are returned beside it.
    """
    from napari_sam3.jobs.estimate import estimate
    from napari_sam3.workflows.paying import questions_of

    questions: list[Fingerprint] = []
    failed: dict[Path, FileResult] = {}
    for target in targets:
        try:
            questions += questions_of(run.engine, run.on(target.image))
        except Sam3Error as error:
            failed[target.image] = _failed(target, error, voice, is_one=len(targets) == 1)
    found = estimate(
        run.engine, questions, run.records, in_flight=run.in_flight, newer_than=run.newer_than
    )
    return found, failed


def segment_each(
    run: FileRun,
    targets: Sequence[Target],
    results: dict[Path, FileResult],
    agreed: Collection[str],
    voice: Voice,
    stop: threading.Event,
) -> None:
    """Segment and save one image after the other, until it is stopped.

    What becomes of each is added to `results`; images that are in it already are left out.  Of an
    engine that is billed, only the questions with these keys are sent.
    """
    left = set(agreed)
    for number, target in enumerate(targets, start=1):
        if target.image in results:
            continue
        about = f"{target.image.name} ({number} of {len(targets)}): " if len(targets) > 1 else ""
        try:
            result = _segment(run, target, left, about, voice, stop)
        except CancelledError:
            raise
        except Sam3Error as error:
            result = _failed(target, error, voice, is_one=len(targets) == 1)
        results[target.image] = result
        if isinstance(result.error, FINAL):
            return


def _segment(
    run: FileRun,
    target: Target,
    agreed: set[str],
    about: str,
    voice: Voice,
    stop: threading.Event,
) -> FileResult:
    from napari_sam3.workflows.accounted import iter_accounted

    def confirm(expected: Estimate) -> bool:
        keys = {question.key for question in expected.calls}
        if not keys <= agreed:
            raise ImageError(UNAGREED)
        agreed.difference_update(keys)
        return True

    asked = run.on(target.image, lambda sentence: voice.notices(f"{about}{sentence}"))
    answer = follow(
        iter_accounted(run.engine, asked, run.records, confirm, stop, newer_than=run.newer_than),
        about,
    )
    raise_if_stopped(stop)
    # before anything is saved: that may fail, and this has happened
    voice.notices(*(f"{about}{notice}" for notice in notices_of(answer)))
    with paid_answers_kept(run.records, answer):
        result = _saved(run, target, asked, answer)
    voice.result(f"{about}{summary(answer)} → {result.saved}")
    for line in _details(run, result):
        voice.detail(f"{about}{line}")
    return result


def _failed(target: Target, error: Sam3Error, voice: Voice, *, is_one: bool) -> FileResult:
    voice.notices(str(error) if is_one else f"{target.image}: {error}")
    return FileResult(target.image, error=error)


def _saved(run: FileRun, target: Target, asked: SegmentRun, answer: SegmentAnswer) -> FileResult:
    from napari_sam3.workflows.files import save_labels
    from napari_sam3.workflows.object_records import objects_of, with_objects
    from napari_sam3.workflows.paths import is_file
    from napari_sam3.workflows.provenance import record_of_file
    from napari_sam3.workflows.sidecars import own_sidecar_path, settle_answers, write_sidecar

    path = target.path
    if answer.unanswered and is_file(path):
        # half an answer does not take the place of a whole one
        path = path.with_stem(f"{path.stem}_partial")
    beside = own_sidecar_path(path)
    labels = None if run.is_overlay else answer.instances.to_labels()
    name = target.image.name
    record = record_of_file(
        name, asked, answer, engine=run.engine.name, plane=run.plane, labels=labels
    )
    if labels is None:
        _save_pictures(path, answer)
    else:
        save_labels(path, labels)
        title = str(record["runs"][-1]["engine"].get("title", ""))
        record = with_objects(record, objects_of(answer.instances, title))
    write_sidecar(beside, record, labels, path.name)
    settle_answers(record)
    return FileResult(target.image, answer, path, beside)


def _save_pictures(target: Path, answer: SegmentAnswer) -> None:
    """Save what the service drew."""
    from napari_sam3.workflows.files import save_picture

    pictures = [picture for result in answer.results for picture in result.pictures]
    if not pictures:
        raise EngineError("The service sent no picture; ask for masks instead.")
    for number, picture in enumerate(pictures, start=1):
        # one for each question, and each was paid for
        numbered = target.with_stem(f"{target.stem}_{number}") if number > 1 else target
        save_picture(numbered, picture)


def _details(run: FileRun, result: FileResult) -> list[str]:
    assert result.answer is not None
    rows, cols = result.answer.image_shape
    shown = result.answer.picture
    limits = shown.get("contrast_limits")
    values = f", {limits[0]:g} shown as black and {limits[1]:g} as white" if limits else ""
    ids = [r.usage.request_id for r in result.answer.results if r.usage.request_id]
    return [
        f"image: {rows} × {cols} pixels, {shown.get('dtype')}{values}",
        f"engine: {run.engine.name}, {run.engine.model}",
        *([f"request: {', '.join(ids)}"] if ids else []),
        f"record: {result.record}",
    ]


def summary(answer: SegmentAnswer) -> str:
    """Say in one line what was found, what it cost and how long it took."""
    overlapping, parts = answer.overlapping, [answer.found_words]
    if any(result.pictures for result in answer.results):
        parts = ["a picture, no labels"]
    parts += [f"{overlapping} overlap"] if overlapping else []
    usage = answer.usage
    parts += [f"${usage.credits:.4f}"] if usage.credits is not None else []
    parts += [answer.cached_words] if answer.cached_words else []
    return ", ".join([*parts, f"{answer.seconds:.1f} s"])
