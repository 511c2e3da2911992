"""A record's questions once more to its engines, and what became of the objects."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import RGB8
from napari_sam3.core.drift import Drift, match_objects
from napari_sam3.core.images import to_rgb8, to_uint8
from napari_sam3.core.instances import Instance, Instances, split_labels
from napari_sam3.core.label_runs import find_boxes
from napari_sam3.core.pictures import Picture, Pixels
from napari_sam3.core.slabs import Slab
from napari_sam3.engines.base import Engine
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.jobs.answers import digest
from napari_sam3.jobs.estimate import Estimate
from napari_sam3.jobs.records import Records
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.files import open_image
from napari_sam3.workflows.pictures import open_picture
from napari_sam3.workflows.provenance import (
    Record,
    crop_of,
    image_of,
    prompts_of,
    slab_of,
    was_answered,
)
from napari_sam3.workflows.replay import QuestionId, empty_answer, own_labels, plane_of
from napari_sam3.workflows.run import RunEvent, SegmentRun

if TYPE_CHECKING:
    from napari_sam3.workflows.accounted import Confirm


MAX_PLANES = 1 << 16
"""Of a file, that are read for one picture; a record may say anything."""

_NO_SUCH_PLANE = "The record does not fit together: its image has no such plane as a run names."


def picture_of(
    record: Mapping[str, Any],
    run: Mapping[str, Any],
    path: str | Path,
    plane: Sequence[int] | None = None,
) -> Picture:
    """Make the picture of a run again from the image's file.

    Parameters
    ----------
    record, run : mapping
    path : str or Path
        The image; or the very picture that was sent, saved as 8-bit colours.
    plane : sequence of int, optional
        As in `open_image`; by default as the record says.

    Raises
    ------
    ProvenanceError
        If it is not the image that was asked about, or cannot be read.
    """
    said = run["picture"]
    wanted = said.get("sha256")
    if not wanted:
        raise ProvenanceError(
            "The record does not tell which picture was asked about, so that it cannot be asked "
            "about again."
        )
    reason, source = "", _Source(record, run, path, plane)
    ways = source.as_recorded, source.as_it_is, source.as_gray
    # napari shows pictures as they are stored, whatever the file says of turning them
    for make, upright in itertools.product(ways, (True, False)):
        try:
            pixels = Pixels(make(upright))
        except (ProvenanceError, ImageError) as error:
            # the other ways are a last resort, whose failure tells nothing
            reason = f" {error}" if make is ways[0] else reason
            continue
        crop = crop_of(run)
        if crop is not None and pixels.shape == tuple(run["plane"]["shape"]):
            pixels = pixels.cut(crop)
        if pixels.sha256 == wanted:
            described = {name: value for name, value in said.items() if name != "sha256"}
            return Picture.from_pixels(pixels, described)
    raise ProvenanceError(
        f"{Path(path).name} is not the image that was asked about, or has been changed since: "
        f"shown as on record, its pixels are others.{reason}"
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that may hold the picture of a run, and the ways to make it of that."""

    record: Mapping[str, Any]
    run: Mapping[str, Any]
    path: str | Path
    plane: Sequence[int] | None

    def as_recorded(self, upright: bool) -> RGB8:
        """Return the image as the record says that it was shown."""
        said = self.run["picture"]
        if said["kind"] == "unknown":
            raise ProvenanceError("The record does not tell how the image was shown.")
        if said["kind"] == "composed":
            raise ProvenanceError(
                "It was put together from several layers: give the picture itself as an 8-bit RGB "
                "file."
            )
        if level := self.run["plane"]["level"]:
            raise ProvenanceError(
                f"It was level {level} of a multiscale image: give the picture itself as an 8-bit "
                "RGB file."
            )
        pixels = self._read_plane(upright)
        low, high = said["contrast_limits"]
        if said["kind"] == "rgb":
            return to_rgb8(pixels, (low, high), said["gamma"])
        return to_rgb8(to_uint8(pixels, (low, high), said["gamma"], inverted=said["inverted"]))

    def as_it_is(self, upright: bool) -> RGB8:
        """Return the very picture that was sent."""
        pixels = open_image(self.path, self.plane, upright=upright)
        if pixels.dtype != np.uint8:
            raise ImageError("It is no 8-bit picture.")
        return to_rgb8(pixels)

    def as_gray(self, upright: bool) -> RGB8:
        """Return a picture that was gray when it was asked about, and was saved as colours."""
        pixels = self.as_it_is(upright)
        if (pixels != pixels[..., :1]).any():
            raise ImageError("It is not gray.")
        return to_rgb8(to_uint8(pixels[..., 0], (0, 255)))

    def _read(self, place: Sequence[int] | None, upright: bool) -> npt.NDArray[Any]:
        # gray was shown by the values that are stored, even where they stand for colours
        if self.run["picture"]["kind"] == "rgb":
            return open_picture(self.path, place, upright=upright).channels[0].pixels()
        return open_image(self.path, place, upright=upright)

    def _read_plane(self, upright: bool) -> npt.NDArray[Any]:
        image, run = image_of(self.record, self.run), self.run
        if self.plane is not None:
            return self._read(self.plane, upright)
        if "plane" in image:
            # JSON's whole numbers may be written as 3.0
            return self._read([*map(int, image["plane"])], upright)
        rows, cols = map(int, run["plane"]["shown"])
        slab, shape = slab_of(run), list(image.get("shape", ()))
        hidden = [axis for axis in range(len(shape)) if axis not in (rows, cols)]
        if len(hidden) != len(slab.ranges) or len(shape) != len(hidden) + 2:
            raise ProvenanceError(_NO_SUCH_PLANE)
        ranges = dict(zip(hidden, slab.ranges, strict=True))
        # a turned view takes a line of each of the file's planes
        leading = [ranges.get(axis, (0, shape[axis])) for axis in range(len(hidden))]
        if math.prod(after - first for first, after in leading) > MAX_PLANES:
            raise ProvenanceError(_NO_SUCH_PLANE)
        places = itertools.product(*(range(first, after) for first, after in leading))
        planes = [self._read(place or None, upright) for place in places]
        sizes = [after - first for first, after in leading]
        # of the file's axes before rows and columns, only these planes are there
        own = [(0, sizes[axis]) if axis < len(sizes) else ranges[axis] for axis in hidden]
        try:
            stack = np.stack(planes).reshape(*sizes, *planes[0].shape)
            return Slab(tuple(own), slab.projection).read(stack, (rows, cols))
        except (ValueError, IndexError) as error:
            raise ProvenanceError(_NO_SUCH_PLANE) from error


def iter_asked_again(
    record: Mapping[str, Any],
    pictures: Callable[[Mapping[str, Any]], Picture],
    engines: Callable[[Mapping[str, Any]], Engine],
    records: Records,
    confirm: Confirm,
    *,
    newer_than: float = 0.0,
    on_notice: Callable[[str], object] = lambda _: None,
) -> Generator[RunEvent, None, dict[QuestionId, Instances]]:
    """Ask all answered questions of a record again; those whose answer is stored are free.

    Parameters
    ----------
    record : mapping
    pictures, engines : callable
        Given a run: its picture; who answers.
    records, confirm, newer_than
        As in `iter_accounted`.
    on_notice : callable
        Told what the user should read of each new answer, such as that it was not stored.

    Returns
    -------
    dict
        (run id, question's index) to its objects.
    """
    from napari_sam3.workflows.accounted import iter_accounted

    # all of them are looked at before anything is paid for
    asked = [(run, _run_again(run, pictures(run))) for run in record["runs"] if _indices(run)]
    # what was never answered gave no label, and is not paid for now
    answers: dict[QuestionId, Instances] = {
        (run["id"], index): empty_answer(run)
        for run in record["runs"]
        for index in range(len(run["questions"]))
    }
    for run, again in asked:
        answer = yield from iter_accounted(
            engines(run), again, records, confirm, newer_than=newer_than
        )
        _refuse_partial(answer)
        for notice in answer.notices:
            on_notice(notice)
        found = zip(_indices(run), answer.results, strict=True)
        answers |= {(run["id"], index): each.instances for index, each in found}
    return answers


def estimate_again(
    record: Mapping[str, Any],
    pictures: Callable[[Mapping[str, Any]], Picture],
    engines: Callable[[Mapping[str, Any]], Engine],
    records: Records,
    *,
    newer_than: float = 0.0,
) -> Estimate:
    """Say what `iter_asked_again` would take for all runs together, without sending anything."""
    from napari_sam3.workflows.paying import estimate_run

    found = [
        estimate_run(engines(run), _run_again(run, pictures(run)), records, newer_than=newer_than)
        for run in record["runs"]
        if _indices(run)
    ]
    seconds = [each.seconds for each in found if each.seconds is not None]
    return Estimate(
        questions=sum(each.questions for each in found),
        cached=sum(each.cached for each in found),
        paid=sum(each.paid for each in found),
        calls=tuple(call for each in found for call in each.calls),
        unknown=tuple(entry for each in found for entry in each.unknown),
        low=sum(each.low for each in found),
        high=sum(each.high for each in found),
        seconds=sum(seconds) if seconds else None,
        over_cap=next((each.over_cap for each in found if each.over_cap), ""),
        confirm_above=records.accounts().limits.confirm_above,
        notices=tuple(dict.fromkeys(words for each in found for words in each.notices)),
        today=max((each.today for each in found), default=0.0),
    )


def _indices(run: Mapping[str, Any]) -> list[int]:
    return [index for index, question in enumerate(run["questions"]) if was_answered(question)]


def _run_again(run: Mapping[str, Any], picture: Picture) -> SegmentRun:
    thresholds, prompts = run["thresholds"], prompts_of(run)
    return SegmentRun(
        picture,
        tuple(prompts[index] for index in _indices(run)),
        float(thresholds["min_score"]),
        thresholds["max_masks"],
    )


def _refuse_partial(answer: SegmentAnswer) -> None:
    if any(result.record is None for result in answer.results):
        why = " ".join(answer.notices)
        raise ProvenanceError(f"Some requests have no result, so nothing is compared. {why}")


@dataclass(frozen=True, slots=True, eq=False)
class MatchedRecord:
    """A record as it would be with other answers, and what became of the objects of each question.

    Objects that were matched have the labels of those that they are matched to.  A drift is None
    where there is nothing to compare with.
    """

    record: Record
    drifts: dict[QuestionId, Drift | None]


def match_answers(
    record: Mapping[str, Any],
    old: Mapping[QuestionId, Instances],
    new: Mapping[QuestionId, Instances],
    labels: npt.NDArray[Any] | None = None,
) -> MatchedRecord:
    """Match new answers to the recorded ones, object by object.

    Parameters
    ----------
    record : mapping
    old : mapping
        The recorded answers, as far as they are stored.
    new : mapping
        All of the new ones.
    labels : ndarray of int, optional
        The label image, where it is there: what could be seen of the recorded answers.
    """
    numbers = itertools.count(max(own_labels(record), default=0) + 1)
    givers = _givers(record)
    compared: dict[QuestionId, _Compared] = {}
    runs = []
    for run in record["runs"]:
        view = None if labels is None else plane_of(labels, run)
        crop = crop_of(run)
        if view is not None and crop is not None:
            view = view[crop.slices]
        questions = []
        for index, question in enumerate(run["questions"]):
            name = (run["id"], index)
            kept = {i: n for i, n in _own(question).items() if givers[n] == (*name, i)}
            found = _compare(question, old.get(name), new[name], view, kept)
            compared[name] = found
            questions.append(_relabelled(question, found, len(new[name]), numbers))
        runs.append({**run, "questions": questions, "former": _former(run, compared)})
    drifts = {name: found.drift for name, found in compared.items()}
    return MatchedRecord({**record, "runs": runs}, drifts)


def _relabelled(
    question: Mapping[str, Any], found: _Compared, objects: int, numbers: Iterator[int]
) -> Record:
    labels = _moved(_own(question), found.matched)
    labels |= {index: next(numbers) for index in found.appeared}
    replaced = _moved(_own(question, "replaced"), found.matched)
    return {
        **question,
        "objects": objects,
        "labels": _keyed(labels),
        "replaced": _keyed(replaced),
    }


def _former(
    run: Mapping[str, Any], compared: Mapping[QuestionId, _Compared]
) -> list[tuple[str, int, int]]:
    former = []
    for run_id, question, index in run.get("former", ()):
        found = compared.get((run_id, question))
        if found is not None and index in found.matched:
            former.append((run_id, question, found.matched[index]))
    return former


def _own(question: Mapping[str, Any], name: str = "labels") -> dict[int, int]:
    return {int(index): label for index, label in (question.get(name) or {}).items()}


def _moved(labels: Mapping[int, int], matched: Mapping[int, int]) -> dict[int, int]:
    return {matched[index]: label for index, label in labels.items() if index in matched}


@dataclass(frozen=True, slots=True)
class _Compared:
    matched: dict[int, int]
    appeared: tuple[int, ...]
    drift: Drift | None


def _compare(
    question: Mapping[str, Any],
    old: Instances | None,
    new: Instances,
    view: npt.NDArray[Any] | None,
    own: Mapping[int, int],
) -> _Compared:
    if digest(new) == question.get("answer_sha256"):
        return _Compared({i: i for i in range(len(new))}, (), Drift((1.0,) * len(new)))
    if old is not None:
        by_index = match_objects(dict(enumerate(old)), new)
        matched = {i: index for i, (index, _) in by_index.items()}
        appeared = tuple(i for i in range(len(new)) if i not in matched.values())
        ious = tuple(iou for _, iou in by_index.values())
        return _Compared(matched, appeared, Drift(ious, len(old) - len(ious), len(appeared)))
    if view is None:
        # by their order, for want of anything better
        shared = min(len(new), question["objects"])
        extra = tuple(range(shared, len(new)))
        return _Compared({i: i for i in range(shared)}, extra, None)
    return _compare_seen(view, own, new)


def _compare_seen(view: npt.NDArray[Any], own: Mapping[int, int], new: Instances) -> _Compared:
    """Compare with what the label image shows of the recorded answer."""
    there = split_labels(view, find_boxes(view, list(own.values())))
    by_label = match_objects(there, new, view)
    taken = {index for index, _ in by_label.values()}
    # what lies under other labels may have been there before, too, and got no label then
    appeared = tuple(
        i for i, item in enumerate(new) if i not in taken and not _is_covered(item, view)
    )
    matched = {i: by_label[label][0] for i, label in own.items() if label in by_label}
    ious = tuple(iou for _, iou in by_label.values())
    return _Compared(matched, appeared, Drift(ious, len(own) - len(ious), len(appeared)))


def _is_covered(item: Instance, view: npt.NDArray[Any]) -> bool:
    shown = view[item.box.slices][item.mask]
    return bool(2 * np.count_nonzero(shown) > shown.size)


def _givers(record: Mapping[str, Any]) -> dict[int, tuple[str, int, int]]:
    """Return which object each label was given to last."""
    return {
        label: (run["id"], index, int(i))
        for run in record["runs"]
        for index, question in enumerate(run["questions"])
        for i, label in question["labels"].items()
    }


def _keyed(labels: Mapping[int, int]) -> dict[str, int]:
    return {str(index): label for index, label in sorted(labels.items())}
