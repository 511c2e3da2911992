"""Labels once more from their record, without a window.

What a run wrote follows from its answers and its record alone: the objects, the label that
each got, and the rules of `napari_sam3.core.adding`, which are followed here on a store and a
plain array.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.adding import run_changes
from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.objects import Part, Source
from napari_sam3.core.overlaps import overlap_map
from napari_sam3.core.plane_index import PlaneIndex, level_position
from napari_sam3.core.plane_objects import PlaneObjects, PlaneView
from napari_sam3.core.prompts import prompt_from_json, prompt_to_json
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.taking_over import look, take_over
from napari_sam3.errors import CacheError, PromptError, ProvenanceError
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.fingerprint import key_of
from napari_sam3.workflows.object_records import stored_objects
from napari_sam3.workflows.provenance import crop_of

QuestionId = tuple[str, int]
"""The run's id and the question's index in it."""

Answers = Mapping[QuestionId, Instances]

_NOTHING = PlaneView(PlaneObjects())

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
) -> LabelImage:
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
        labels: LabelImage = np.zeros(shape, dtype) if base is None else np.array(base, dtype)
    except (MemoryError, ValueError) as error:
        raise ProvenanceError(f"Labels of the shape {shape} do not fit in memory.") from error
    if labels.shape != shape:
        raise ProvenanceError(f"The labels have the shape {labels.shape}, but the record {shape}.")
    try:
        store, found = ObjectStore(shape), dict[Source, tuple[int, Part]]()
        for run in record["runs"]:
            _write_run(store, labels, run, answers, found)
        _show_as_saved(labels, record)
    except MemoryError as error:
        raise ProvenanceError(f"Labels of the shape {shape} do not fit in memory.") from error
    except ValueError as error:
        raise ProvenanceError(f"The record does not fit together: {error}.") from error
    return labels


def plane_of(labels: npt.NDArray[Any], run: Mapping[str, Any]) -> npt.NDArray[Any]:
    """Return the plane that a run wrote, as it was shown, as a view of the labels.

    Raises
    ------
    ProvenanceError
        If the labels have no such plane.
    """
    plane: npt.NDArray[Any] = index_of(labels, run).cut(labels)
    return plane


def index_of(labels: npt.NDArray[Any], run: Mapping[str, Any]) -> PlaneIndex:
    """Return which plane of the labels a run wrote; raises as `plane_of`."""
    plane = run["plane"]
    rows, cols = plane["shown"]
    # labels of one plane of a file have none of the axes that it was chosen along
    chosen = max(0, min(rows, cols, len(plane["index"]) - labels.ndim))
    try:
        fixed = [
            level_position(at, factor)
            for axis, (at, factor) in enumerate(zip(plane["index"], plane["factors"], strict=True))
            if axis not in (rows, cols) and axis >= chosen
        ]
        index = PlaneIndex((rows - chosen, cols - chosen), tuple(fixed))
        cut = index.cut(labels)
    except (IndexError, ValueError, ArithmeticError):
        cut = None
    if cut is None or list(cut.shape) != list(plane["shape"]):
        raise ProvenanceError(
            f"The record does not fit together: labels of shape {labels.shape} have no such "
            f"plane as a run names (index {plane['index']}, shape {plane['shape']})."
        )
    return index


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
    store: ObjectStore,
    labels: LabelImage,
    run: Mapping[str, Any],
    answers: Answers,
    found: dict[Source, tuple[int, Part]],
) -> None:
    """Write one run, and note what each of its objects was found as, and its label."""
    upright = index_of(labels, run)
    index = store.find_index(upright)
    instances = run_objects(run, answers)
    if index != upright:
        instances = instances.transposed()
    given, sources = labels_by_object(run, answers, "labels"), _sources(run, answers)
    former = _former(run, answers, found)
    parts = {
        given[i]: Part(instances[i], source=sources[i])
        for i in instances.top_first(run["overlap_rule"])
        if i in given
    }
    if not parts:
        return
    plane = index.cut(labels)
    _follow(store, index, plane, [part.instance.box for part in parts.values()])
    store.edit(run_changes(store, index, parts, former))
    _paint(store, index, plane)
    found |= {part.source: (label, part) for label, part in parts.items() if part.source}


def _sources(run: Mapping[str, Any], answers: Answers) -> list[Source]:
    """Return which answer each object of a run is from."""
    return [
        (run["id"], index, at)
        for index in range(len(run["questions"]))
        for at in range(len(answers[run["id"], index]))
    ]


def _former(
    run: Mapping[str, Any], answers: Answers, found: Mapping[Source, tuple[int, Part]]
) -> dict[int, Part]:
    """Return by label what a run asked for again, as it had been found."""
    former = {}
    for run_id, question, at in run.get("former", ()):
        if at >= len(answers.get((run_id, question), ())):
            raise ProvenanceError(
                "An object was refined that is from a run before this record; "
                "without that run, the labels cannot be made again."
            )
        if (run_id, question, at) in found:
            label, part = found[run_id, question, at]
            former[label] = part
    return former


def _follow(store: ObjectStore, index: PlaneIndex, plane: LabelImage, boxes: list[Box]) -> None:
    """Take over what was labelled before the first run, where a run writes."""
    view, region = store.painted.get(index, _NOTHING), functools.reduce(Box.union, boxes)
    found = look(index, view, plane, region, is_first=not store.knows(index))
    if found is not None:
        store.edit(take_over(store.objects, [found]).changes)
        store.painted[index] = store.view_of(index)


def _paint(store: ObjectStore, index: PlaneIndex, plane: LabelImage) -> None:
    """Paint what a run changed, where nothing else was painted."""
    before, after = store.painted.get(index, _NOTHING), store.view_of(index)
    for label in before.differing(after):
        for view in (before, after):
            if view.shows(label):
                box = view.objects[label].instance.box
                now = plane[box.slices]
                was, new = (each.paint(box, plane.dtype) for each in (before, after))
                np.copyto(now, new, where=now == was)
    store.painted[index] = after


def _show_as_saved(labels: LabelImage, record: Mapping[str, Any]) -> None:
    """Take away what was rejected or filtered out, and show what lies below it."""
    store = stored_objects(record)
    if store is None:
        return
    for index in store.planes:
        plane, view = index.cut(labels), store.view_of(index)
        # all else is as the answers say
        decided = np.isin(plane, list(store.hidden))
        if view.rule:
            items = [one.instance for one in view.objects.values()]
            decided |= overlap_map(items, plane.shape) > 0
        whole = Box.of_shape(store.plane_shape(index))
        shown = view.paint(whole, labels_dtype(store.highest_label))
        plane[decided] = shown[decided]


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
