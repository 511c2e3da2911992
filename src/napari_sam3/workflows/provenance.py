"""The record of how labels were made: what was asked, of whom, and what became of it.

A record is a plain dict of JSON values; it lies in a layer's metadata and, beside a saved
label image, in a file (`napari_sam3.workflows.sidecars`).  Its shape is declared in
`napari_sam3.workflows.record_shape`.  It holds no key and no path.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.prompts import Prompt, prompt_from_json, prompt_to_json
from napari_sam3.core.slabs import Slab
from napari_sam3.engines import engine_info
from napari_sam3.errors import EngineUnavailableError, PromptError, ProvenanceError
from napari_sam3.workflows.software import software

if TYPE_CHECKING:
    from napari_sam3.engines.base import SegmentationResult
    from napari_sam3.workflows.answer import SegmentAnswer
    from napari_sam3.workflows.run import SegmentRun

Record = dict[str, Any]
Began = Literal["empty", "labels"]
Source = tuple[str, int, int]
"""One object of an answer: the run's id, the question's and the object's index in it."""

SCHEMA = 1
CURRENCY = "USD"

# a slash or a drive at the start of a word, but not the one of “and/or” or of an address
_PLACE = re.compile(r"(?:^|[\s“”\"'(<\[=])(?:~?[/\\][^\s/\\]|\\\\|[A-Za-z]:[/\\]|file:)")
_LEFT_OUT = "(A notice that names a folder was left out.)"


def run_record(
    run: SegmentRun,
    answer: SegmentAnswer,
    *,
    engine: str,
    plane: Mapping[str, Any],
    image: Mapping[str, Any],
    labels: Mapping[int, int],
    rule: OverlapRule = "score",
    skips_known: bool = False,
    replaced: Mapping[int, int] | None = None,
    former: Iterable[Source] = (),
    notices: Sequence[str] | None = None,
    run_id: str | None = None,
    crop: Box | None = None,
) -> Record:
    """Return what is to be known of one run.

    Parameters
    ----------
    run : SegmentRun
    answer : SegmentAnswer
    engine : str
        Its name.
    plane, image : mapping
        The plane that was asked about and its image; see `napari_sam3.layers.describing`.
    labels : mapping
        Index among all of the answer's objects to the label that it got.
    rule : {"score", "smallest", "first"}
        Which of the new objects shows where they overlap.
    skips_known : bool
        Whether objects that were labelled already got no label.
    replaced : mapping, optional
        Index of an object to the label that it took the place of.
    former : iterable of (run id, question, object), optional
        What the replaced labels were written with.
    notices : sequence of str, optional
        What the user was told; by default what the answer says.
    run_id : str, optional
        By default a new one.
    crop : Box, optional
        The part of the plane that was asked about; by default all of it.

    Returns
    -------
    dict
        JSON values, as `napari_sam3.workflows.record_shape.RunShape`.
    """
    questions = _questions(run, answer, labels, replaced or {})
    records = [result.record for result in answer.results if result.record is not None]
    told = answer.notices if notices is None else notices
    return _plain_dict(
        {
            "id": run_id or new_run_id(),
            "time": _time(datetime.now(UTC)),
            "engine": _engine(engine, records[0] if records else None),
            "image": image_named(image),
            "plane": plane,
            **({} if crop is None else {"crop": [crop.top, crop.left, crop.bottom, crop.right]}),
            "picture": {
                **(answer.picture or {"kind": "unknown"}),
                "sha256": records[0].image_sha256 if records else None,
            },
            "thresholds": {"min_score": run.min_score, "max_masks": run.max_masks},
            "overlap_rule": rule,
            "skips_known": skips_known,
            "questions": questions,
            "former": [list(source) for source in former],
            **_paid(questions),
            "seconds": answer.seconds,
            "notices": [_without_places(sentence) for sentence in told],
        }
    )


def new_run_id() -> str:
    """Return an id that no other run has."""
    return str(uuid.uuid4())


def new_record(
    image: Mapping[str, Any], layer: Mapping[str, Any], began: Began = "empty"
) -> Record:
    """Return a record without a run.

    Parameters
    ----------
    image : mapping
        Of the first image that was asked about: ``name``, ``shape``.
    layer : mapping
        Of the labels: ``shape``, and where they lie.
    began : {"empty", "labels"}
        Whether there were labels before the first run.
    """
    return _plain_dict(
        {
            "schema": SCHEMA,
            "software": software(),
            "image": image_named(image),
            "layer": layer,
            "began": began,
            "runs": [],
        }
    )


def append_run(record: Mapping[str, Any], run: Mapping[str, Any]) -> Record:
    """Return a record with one more run; what the record says already is not said again."""
    last = dict(run)
    if last.get("image") == record.get("image"):
        last.pop("image")
    now = software()
    if now != record.get("software"):
        last["software"] = now
    return {**record, "runs": [*record["runs"], last]}


def without_runs(record: Mapping[str, Any], ids: Collection[str]) -> Record:
    """Return a record without the runs of these ids: what they wrote was taken back."""
    return {**record, "runs": [run for run in record["runs"] if run.get("id") not in ids]}


def crop_of(run: Mapping[str, Any]) -> Box | None:
    """Return the part of the plane that a run asked about, None if it was all of it."""
    return Box(*run["crop"]) if run.get("crop") else None


def slab_of(run: Mapping[str, Any]) -> Slab:
    """Return the planes that a run's picture is of.

    Raises
    ------
    ProvenanceError
        If the record does not fit together.
    """
    plane = run["plane"]
    hidden = [axis for axis in range(len(plane["index"])) if axis not in plane["shown"]]
    try:
        alone = Slab.single(*(plane["index"][axis] for axis in hidden))
        alone = alone.at_level([plane["factors"][axis] for axis in hidden])
    except (IndexError, ValueError, ZeroDivisionError):
        raise ProvenanceError("The record does not fit together: its plane is none.") from None
    slab = next(iter(slabs_in(run["picture"])), alone)
    if len(slab.ranges) != len(hidden):
        raise ProvenanceError("The record does not fit together: its slab has other axes.")
    return slab


def slabs_in(picture: Mapping[str, Any]) -> tuple[Slab, ...]:
    """Return what a picture, or a layer of it, shows that is not its one plane alone; each once.

    Raises
    ------
    ProvenanceError
        If that is nothing.
    """
    parts = picture.get("layers") or [picture]
    try:
        slabs = [Slab.from_json(part["slab"]) for part in parts if part.get("slab")]
    except ValueError as error:
        raise ProvenanceError(f"The record does not fit together: {error}.") from None
    return tuple(dict.fromkeys(slabs))


def record_of_file(
    name: str,
    run: SegmentRun,
    answer: SegmentAnswer,
    *,
    engine: str,
    plane: Sequence[int] | None = None,
    labels: npt.NDArray[Any] | None = None,
) -> Record:
    """Return the record of one run on one picture from a file.

    Parameters
    ----------
    name : str
        Of the file; its folders are left out.
    run : SegmentRun
    answer : SegmentAnswer
    engine : str
        Its name.
    plane : sequence of int, optional
        As `napari_sam3.workflows.files.open_image` was told.
    labels : ndarray of int, optional
        What `Instances.to_labels` made of the answer.
    """
    shape = list(answer.image_shape)
    image: dict[str, Any] = {"name": name, "shape": shape}
    if plane is not None:
        image["plane"] = list(plane)
    chosen = list(plane or ())
    whole = {
        "index": [*chosen, 0, 0],
        "shown": [len(chosen), len(chosen) + 1],
        "shape": shape,
        "level": 0,
        "factors": [1.0] * (len(chosen) + 2),
    }
    seen = [] if labels is None else [int(label) for label in np.unique(labels) if label > 0]
    said = run_record(
        run,
        answer,
        engine=engine,
        plane=whole,
        image=image,
        labels={label - 1: label for label in seen},
    )
    return append_run(new_record(image, {"shape": shape}), said)


def is_record(value: Any) -> bool:
    """Whether a run can be appended to a value, looked at briefly; see `check_record`."""
    return (
        isinstance(value, dict)
        and value.get("schema") == SCHEMA
        and isinstance(value.get("runs"), list)
        and all(isinstance(run, dict) for run in value["runs"])
    )


def check_record(value: Any, name: str = "The record") -> Record:
    """Return a value if it is a record that this version can read.

    Parameters
    ----------
    value : object
        JSON values.
    name : str
        How the sentence of an error begins.

    Raises
    ------
    ProvenanceError
        If it is none, or one of a later version.
    """
    if not isinstance(value, dict) or "schema" not in value:
        raise ProvenanceError(f"{name} is no record of how labels were made.")
    number = value["schema"]
    if isinstance(number, int) and number > SCHEMA:
        raise ProvenanceError(
            f"{name} was written by a later version of napari-sam3 (its format is {number}, this "
            f"version reads {SCHEMA}): update it with pip install --upgrade napari-sam3."
        )
    from napari_sam3.workflows.record_shape import RECORD

    try:
        RECORD.read(value)
    except ValueError as error:
        raise ProvenanceError(f"{name} cannot be read: {error}.") from None
    return value


def prompts_of(run: Mapping[str, Any]) -> tuple[Prompt, ...]:
    """Return what a recorded run asked, in pixels of its plane.

    Raises
    ------
    ProvenanceError
        If a prompt cannot be read.
    """
    try:
        return tuple(prompt_from_json(question["prompt"]) for question in run["questions"])
    except PromptError as error:
        raise ProvenanceError(f"A recorded request cannot be sent again: {error}") from error


def image_of(record: Mapping[str, Any], run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the image that a run asked about."""
    image: Mapping[str, Any] = run.get("image") or record["image"]
    return image


def image_named(image: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of an image, its name without the folders that may stand before."""
    return {**image, "name": bare_name(str(image.get("name", "")))}


def bare_name(name: str) -> str:
    r"""Return the last part of a path, and any other name as it is.

    Examples
    --------
    >>> bare_name("C:\\patients\\cells.tif"), bare_name("nuclei, green")
    ('cells.tif', 'nuclei, green')
    """
    parts = [part for part in re.split(r"[/\\]", name) if part.strip()]
    return parts[-1].strip() if parts else ""


def _questions(
    run: SegmentRun,
    answer: SegmentAnswer,
    labels: Mapping[int, int],
    replaced: Mapping[int, int],
) -> list[Record]:
    questions, first = [], 0
    for prompt, result in zip(run.prompts, answer.results, strict=True):
        own = range(first, first + len(result.instances))
        first = own.stop
        questions.append(
            {
                "prompt": prompt_to_json(prompt),
                # of a run that was not cut short, an empty answer is one all the same
                "answered": not answer.unanswered or _holds_answer(result),
                **_answered(result),
                "labels": {str(i - own.start): labels[i] for i in own if i in labels},
                "replaced": {str(i - own.start): replaced[i] for i in own if i in replaced},
            }
        )
    return questions


def _holds_answer(result: SegmentationResult) -> bool:
    has_objects = bool(len(result.instances) or result.pictures)
    return result.record is not None or has_objects


def was_answered(question: Mapping[str, Any]) -> bool:
    """Whether a recorded question was answered; one that does not say so was."""
    return bool(question.get("answered", True))


def _answered(result: SegmentationResult) -> Record:
    record, usage = result.record, result.usage
    return {
        "question_sha256": record.key if record else None,
        "answer_sha256": record.answer_sha256 if record else None,
        "answered_at": _time(datetime.fromtimestamp(record.answered_at, UTC)) if record else None,
        "request_id": usage.request_id,
        "cost": _rounded(usage.credits),
        "seconds": usage.seconds,
        "cached": usage.cached,
        "objects": len(result.instances),
    }


def _engine(name: str, record: Any) -> Record:
    try:
        title = engine_info(name).title
    except EngineUnavailableError:
        title = name
    return {
        "name": name,
        "title": title,
        "model": record.model if record else None,
        "parameters": dict(record.parameters) if record else {},
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _paid(questions: Sequence[Mapping[str, Any]]) -> Record:
    """Return what a run cost: nothing where all was stored, null where nobody told."""
    told = [q["cost"] for q in questions if q["cost"] is not None]
    new = [q["cost"] for q in questions if q["answered"] and not q["cached"]]
    known = [cost for cost in new if cost is not None]
    cost = None if not told or (new and not known) else _rounded(sum(known, 0.0))
    return {"cost": cost, **({"currency": CURRENCY} if told else {})}


def _rounded(amount: float | None) -> float | None:
    is_number = amount is not None and math.isfinite(amount)
    # sums of binary fractions end in 0.047999999999999994
    return round(float(cast(float, amount)), 6) if is_number else None


def _without_places(sentence: str) -> str:
    return _LEFT_OUT if _PLACE.search(sentence) else sentence


def _plain_dict(value: Mapping[str, Any]) -> Record:
    return {name: _plain(item) for name, item in value.items()}


_PLAIN = frozenset({str, int, bool, type(None)})


def _plain(value: Any) -> Any:
    """Return a value in JSON's own types; what is no number becomes null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(n): v if type(v) in _PLAIN else _plain(v) for n, v in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else _plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
