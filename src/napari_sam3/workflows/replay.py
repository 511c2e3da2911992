"""Labels once more from their record, without a window.

What a run wrote follows from its answers and its record alone: the objects, the label that
each got, and the rules of `napari_sam3.layers.output.write_instances`, which are followed
here on a plain array.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import labels_dtype, paint
from napari_sam3.core.overlaps import overlap_map
from napari_sam3.core.painting import paint_objects
from napari_sam3.core.plane_index import level_position
from napari_sam3.core.prompts import prompt_from_json, prompt_to_json
from napari_sam3.core.viewing import hidden_labels
from napari_sam3.errors import CacheError, PromptError, ProvenanceError
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.fingerprint import key_of
from napari_sam3.workflows.object_records import stored_objects
from napari_sam3.workflows.provenance import crop_of

IntArray = npt.NDArray[np.integer[Any]]
QuestionId = tuple[str, int]
"""The run's id and the question's index in it."""

Answers = Mapping[QuestionId, Instances]

MAX_PIXELS = 2**31
"""Of labels that nothing but their record vouches for."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What the cache holds of a record's answers.

    Parameters
    ----------
    answers : dict
        Those that are the recorded ones, to the last pixel.
    missing : tuple
        Questions whose answer is not stored.
    notices : tuple of str
    """

    answers: dict[QuestionId, Instances]
    missing: tuple[QuestionId, ...]
    notices: tuple[str, ...] = ()


def stored_answers(record: Mapping[str, Any], cache: AnswerCache | None) -> Stored:
    """Look up the answers that a record is about."""
    answers: dict[QuestionId, Instances] = {}
    missing: list[QuestionId] = []
    notices: list[str] = []
    for run in record["runs"]:
        for index, question in enumerate(run["questions"]):
            found = empty_answer(run) if not question["objects"] else None
            try:
                found = _stored(question, cache) if found is None else found
            except CacheError as error:
                notices.append(str(error))
            if found is None:
                missing.append((run["id"], index))
            else:
                answers[run["id"], index] = found
    return Stored(answers, tuple(missing), tuple(dict.fromkeys(notices)))


def altered_questions(record: Mapping[str, Any]) -> tuple[QuestionId, ...]:
    """Return the questions whose SHA-256 is that of another question.

    What they are made of was changed after it was written: prompt, thresholds, engine,
    its model and parameters, or the picture.  One without a SHA-256 is passed over, and so
    is one of which the record does not tell all that.
    """
    return tuple(
        (run["id"], index)
        for run in record["runs"]
        for index, question in enumerate(run["questions"])
        if (said := question.get("question_sha256")) and said != _question_sha256(run, question)
    )


def _question_sha256(run: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    engine, picture = run["engine"], run["picture"]
    if not engine.get("model") or "parameters" not in engine or not picture["sha256"]:
        return str(question["question_sha256"])
    try:
        prompt = prompt_to_json(prompt_from_json(question["prompt"]))
    except PromptError:
        # of a kind that this version does not know, or that no version does
        return ""
    return key_of(
        {
            "engine": engine["name"],
            "model": engine["model"],
            "parameters": engine["parameters"],
            "prompt": prompt,
            "min_score": float(run["thresholds"]["min_score"]),
            "max_masks": run["thresholds"]["max_masks"],
            "image": {"shape": list(_asked_shape(run)), "sha256": picture["sha256"]},
        }
    )


def empty_answer(run: Mapping[str, Any]) -> Instances:
    """Return what a question of a run has found if it found nothing."""
    return Instances(_asked_shape(run))


def _asked_shape(run: Mapping[str, Any]) -> tuple[int, int]:
    crop = crop_of(run)
    rows, cols = run["plane"]["shape"] if crop is None else crop.shape
    return rows, cols


def in_plane(run: Mapping[str, Any], instances: Instances) -> Instances:
    """Return the objects of an answer in pixels of the plane, of which a part was asked about."""
    if crop_of(run) is None:
        return instances
    rows, cols = run["plane"]["shape"]
    return Instances((rows, cols), tuple(_moved(run, item) for item in instances))


def _moved(run: Mapping[str, Any], item: Instance) -> Instance:
    crop = crop_of(run)
    return item if crop is None else item.shifted(crop.top, crop.left)


def _stored(question: Mapping[str, Any], cache: AnswerCache | None) -> Instances | None:
    key, wanted = question.get("question_sha256"), question.get("answer_sha256")
    # it may have been replaced by a newer one
    stored = cache.get_recorded(key, wanted) if cache is not None and key and wanted else None
    if stored is None:
        return None
    instances = stored.result.instances
    return instances if digest(instances) == wanted else None


def rebuild(
    record: Mapping[str, Any],
    answers: Answers,
    base: npt.NDArray[Any] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> IntArray:
    """Write all runs of a record once more.

    Parameters
    ----------
    record : mapping
        As `napari_sam3.workflows.provenance.check_record` returns it.
    answers : mapping
        (run id, question's index) to its objects; all are needed.
    base : ndarray of int, optional
        What was labelled before the first run; by default nothing.
    max_pixels : int
        More are refused, where there is no base.

    Returns
    -------
    ndarray of int

    Raises
    ------
    ProvenanceError
        If the record does not fit together, or not with the answers.
    """
    shape = tuple(record["layer"]["shape"])
    if base is None and math.prod(shape) > max_pixels:
        raise ProvenanceError(
            f"The record is of labels of the shape {shape}, which are too many to make again "
            "without their label image: put it beside the record."
        )
    below = 0 if base is None else int(base.max(initial=0))
    dtype = labels_dtype(max(own_labels(record), default=0) | below)
    try:
        labels: IntArray = np.zeros(shape, dtype) if base is None else np.array(base, dtype)
    except (MemoryError, ValueError) as error:
        raise ProvenanceError(f"Labels of the shape {shape} do not fit in memory.") from error
    if labels.shape != shape:
        raise ProvenanceError(f"The labels have the shape {labels.shape}, but the record {shape}.")
    try:
        runs = {run["id"]: run for run in record["runs"]}
        for run in record["runs"]:
            _write_run(plane_of(labels, run), run, answers, _former(run, runs, answers))
        _show_as_saved(labels, record)
    except MemoryError as error:
        raise ProvenanceError(f"Labels of the shape {shape} do not fit in memory.") from error
    return labels


def plane_of(labels: npt.NDArray[Any], run: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return the plane that a run wrote, as it was shown, as a view of the labels.

    Raises
    ------
    ProvenanceError
        If the labels have no such plane.
    """
    plane = run["plane"]
    rows, cols = plane["shown"]
    # labels of one plane of a file have none of the axes that it was chosen along
    chosen = max(0, min(rows, cols, len(plane["index"]) - labels.ndim))
    try:
        index = [
            slice(None) if axis in (rows, cols) else level_position(at, factor)
            for axis, (at, factor) in enumerate(zip(plane["index"], plane["factors"], strict=True))
        ][chosen:]
        cut = labels[tuple(index)]
    except (IndexError, ValueError, ArithmeticError):
        cut = None
    if cut is not None and rows > cols:
        cut = cut.T
    if cut is None or list(cut.shape) != list(plane["shape"]) or len(index) != labels.ndim:
        raise ProvenanceError(
            f"The record does not fit together: labels of shape {labels.shape} have no such "
            f"plane as a run names (index {plane['index']}, shape {plane['shape']})."
        )
    return cut


def run_objects(run: Mapping[str, Any], answers: Answers) -> Instances:
    """Return all objects of a run in the order of its questions."""
    empty = empty_answer(run)
    items: list[Instance] = []
    for index in range(len(run["questions"])):
        found = answers.get((run["id"], index))
        if found is None:
            raise ProvenanceError(f"The result of request {index + 1} of a run is missing.")
        if found.image_shape != empty.image_shape:
            raise ProvenanceError(
                f"An answer has the shape {found.image_shape}, but its plane "
                f"{empty.image_shape}; it belongs to another image."
            )
        items += found
    return in_plane(run, Instances(empty.image_shape, tuple(items)))


def labels_by_object(run: Mapping[str, Any], answers: Answers, name: str) -> dict[int, int]:
    """Return ``labels`` or ``replaced`` of a run by an object's index among all of them."""
    found: dict[int, int] = {}
    first = 0
    for index, question in enumerate(run["questions"]):
        own = {int(i): label for i, label in (question.get(name) or {}).items()}
        count = len(answers[run["id"], index])
        if max(own, default=-1) >= count:
            raise ProvenanceError("The record names more objects than its answers hold.")
        found |= {first + i: label for i, label in own.items()}
        first += count
    return found


def _write_run(
    view: npt.NDArray[Any], run: Mapping[str, Any], answers: Answers, former: list[Instance]
) -> None:
    instances = run_objects(run, answers)
    labels = labels_by_object(run, answers, "labels")
    replaced = list(labels_by_object(run, answers, "replaced").values())
    if not labels and not replaced:
        return
    # a record may hold thousands of runs on one large plane: only what they touched is looked at
    for item in former:
        pixels = _cut(view, item)
        pixels[item.mask & np.isin(pixels, replaced)] = 0
    given = [i for i in instances.top_first(run["overlap_rule"]) if i in labels]
    paint(view, ((labels[i], instances[i].box, instances[i].mask) for i in given))


def _cut(view: npt.NDArray[Any], item: Instance) -> npt.NDArray[Any]:
    pixels = view[item.box.slices]
    if pixels.shape != item.mask.shape:
        raise ProvenanceError(
            "The record does not fit together: a refined object lies outside of its plane."
        )
    return pixels


def _former(
    run: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]], answers: Answers
) -> list[Instance]:
    try:
        return [
            _moved(runs[run_id], answers[run_id, question][index])
            for run_id, question, index in run.get("former", ())
        ]
    except (KeyError, IndexError) as error:
        raise ProvenanceError(
            "An object was refined that is from a run before this record; "
            "without that run, the labels cannot be made again."
        ) from error


def _show_as_saved(labels: IntArray, record: Mapping[str, Any]) -> None:
    """Take away what was rejected or filtered out, and show what lies below it."""
    stored = stored_objects(record)
    if stored is None:
        return
    for plane in stored.planes:
        objects = list(plane.objects.values())
        hidden = hidden_labels(objects, plane.shape, stored.view)
        try:
            view = plane.index.cut(labels)
        except IndexError:
            continue
        if view.shape != plane.shape:
            continue
        # all else is as the answers say
        decided = np.isin(view, list(hidden))
        if stored.view.rule:
            decided |= overlap_map([one.instance for one in objects], plane.shape) > 0
        shown = paint_objects(objects, plane.shape, rule=stored.view.rule, hidden=hidden)
        view[decided] = shown[decided]


def is_of_pictures_only(record: Mapping[str, Any]) -> bool:
    """Whether all runs of a record gave pictures for the eye, and no label."""
    return not own_labels(record) and all(
        (run["engine"].get("parameters") or {}).get("answer") == "overlay" for run in record["runs"]
    )


def own_labels(record: Mapping[str, Any]) -> set[int]:
    """Return all labels that the runs of a record have given."""
    return {
        label
        for run in record["runs"]
        for question in run["questions"]
        for label in question["labels"].values()
    }


def without_own(record: Mapping[str, Any], labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a label image without what the runs of a record have written."""
    return np.where(np.isin(labels, list(own_labels(record))), 0, labels)
