"""What each contender reaches on one annotated image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.contenders import ENGINE, Contenders, Found
from benchmarks.prompting import (
    click_in,
    correction,
    loose_box,
    median_diameter,
    random_objects,
)
from benchmarks.scoring import LabelImage, Mask, best_overlaps, iou, match
from napari_sam3 import Exemplar, Instances, Point
from training.data import Sample

Rng = np.random.Generator

CORRECTIONS = 3
EXEMPLARS = (1, 3)
LEAST_SCORE = 0.5
OBJECT = "one of everything"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value.

    Parameters
    ----------
    kind, task, who : str
    value : float
        IoU, F1 or AP.
    seconds : float
    score : float
        What the answer was expected to be; NaN where nothing was.
    """

    kind: str
    task: str
    who: str
    value: float
    seconds: float = float("nan")
    score: float = float("nan")


def measured(sample: Sample, who: Contenders, objects: int, seed: Sequence[int]) -> list[Measure]:
    """Put all tasks about one image to everybody.

    Parameters
    ----------
    sample : Sample
    who : Contenders
        Who look at its image.
    objects : int
        How many of its objects are clicked and boxed.
    seed : sequence of int
        The same gives the same prompts.

    Returns
    -------
    list of Measure
    """
    most = max(objects, *EXEMPLARS)
    masks = random_objects(sample.labels, most, np.random.default_rng(seed))
    measures = [*everything_measures(sample, who)]
    for index, mask in enumerate(masks[:objects]):
        measures += _box_measures(sample.kind, mask, who, np.random.default_rng([*seed, index]))
        measures += _click_measures(sample.kind, mask, who, [*seed, index, 1])
    for count in EXEMPLARS:
        examples = exemplars_of(masks[:count], np.random.default_rng([*seed, count]))
        if len(examples) == count:
            task = f"exemplars, {count}"
            measures += alike_measures(task, sample, sample.labels, who, examples)
    return measures


def _timed(call: Callable[..., Found], *asked: Any) -> tuple[Found, float]:
    start = time.perf_counter()
    return call(*asked), time.perf_counter() - start


def _score(found: Found) -> float:
    return float("nan") if not found or found[0].score is None else found[0].score


def _mask(found: Found, shape: tuple[int, ...]) -> Mask:
    """Return the likeliest answer as a mask of the whole image."""
    mask = np.zeros(shape, bool)
    for item in found[:1]:
        mask[item.box.slices] = item.mask
    return mask


def _box_measures(kind: str, mask: Mask, who: Contenders, rng: Rng) -> Iterator[Measure]:
    box = loose_box(mask, rng)
    for name, call in who.box.items():
        found, seconds = _timed(call, box)
        yield Measure(
            kind, "box", name, iou(_mask(found, mask.shape), mask), seconds, _score(found)
        )


def _click_measures(
    kind: str, mask: Mask, who: Contenders, seed: Sequence[int]
) -> Iterator[Measure]:
    for name, call in who.clicks.items():
        # everybody's first click falls on the same pixel
        rng = np.random.default_rng(seed)
        points = [Point(*click_in(mask, rng))]
        for count in range(CORRECTIONS + 1):
            found, seconds = _timed(call, tuple(points))
            answer = _mask(found, mask.shape)
            task = f"+ {count} corrective" if count else "click"
            yield Measure(kind, task, name, iou(answer, mask), seconds, _score(found))
            if count == 0 and name == ENGINE:
                best = max((iou(_mask([one], mask.shape), mask) for one in found), default=0.0)
                yield Measure(kind, "best of three", name, best)
            point = correction(answer, mask, rng)
            points += [] if point is None else [point]


def labels_of(found: Found, shape: tuple[int, ...], least: float = LEAST_SCORE) -> LabelImage:
    """Return those that are likely enough as labels; without a score, each is."""
    kept = Instances((shape[0], shape[1]), tuple(found)).at_least(least)
    return kept.to_labels().astype(np.int32)


def everything_measures(sample: Sample, who: Contenders) -> Iterator[Measure]:
    """Yield F1 and AP of all objects, with the diameter found and given."""
    given = median_diameter(sample.labels)
    for name, call in who.everything.items():
        for task, diameter in (("everything", None), ("diameter given", given)):
            found, seconds = _timed(call, diameter)
            labels = labels_of(found, sample.labels.shape)
            yield from _matched(sample.kind, task, name, labels, sample.labels, seconds)
            if diameter is None:
                yield from _object_measures(sample, name, found)


def _matched(
    kind: str, task: str, who: str, found: LabelImage, truth: LabelImage, seconds: float
) -> Iterator[Measure]:
    result = match(found, truth)
    yield Measure(kind, f"{task}, F1", who, result.f1, seconds)
    yield Measure(kind, f"{task}, AP", who, result.precision, seconds)


def _object_measures(sample: Sample, who: str, found: Found) -> Iterator[Measure]:
    """Yield each object's best overlap beside the one that it is expected to have."""
    scored = [item for item in found if item.score is not None]
    labels = labels_of(scored, sample.labels.shape, 0.0)
    values = best_overlaps(labels, sample.labels, len(scored))
    for item, value in zip(scored, values, strict=True):
        assert item.score is not None
        yield Measure(sample.kind, OBJECT, who, float(value), score=item.score)


def exemplars_of(masks: Sequence[Mask], rng: Rng, *, positive: bool = True) -> list[Exemplar]:
    """Return loose boxes around objects as examples of what is meant, or of what is not."""
    return [Exemplar(loose_box(mask, rng), positive) for mask in masks]


def alike_measures(
    task: str, sample: Sample, wanted: LabelImage, who: Contenders, exemplars: Sequence[Exemplar]
) -> Iterator[Measure]:
    """Yield F1 and AP of all objects like the exemplars; `wanted` labels those that are."""
    for name, call in who.alike.items():
        found, seconds = _timed(call, exemplars)
        labels = labels_of(found, wanted.shape)
        yield from _matched(sample.kind, task, name, labels, wanted, seconds)
