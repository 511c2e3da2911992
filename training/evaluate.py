"""Measuring the engine, and the classical algorithms on the same objects, on what was held out."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import click_in, f1, iou, loose_box, random_objects
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.prompts import Point
from napari_sam3.engines.builtin import box as classical_box
from napari_sam3.engines.builtin import clicks as classical_clicks
from napari_sam3.engines.builtin.everything import instances_of, regions_of
from napari_sam3.engines.builtin.marks import Marks
from napari_sam3.engines.builtin.picture import Picture
from napari_sam3.engines.builtin.trained import all_objects, objects_in_boxes, proposals
from training.data import Sample

Mask = npt.NDArray[np.bool_]
Report = Callable[[str], None]

CLICKS = 4
_SEED = 5


@dataclass(frozen=True)
class Measure:
    """One measured value.

    Parameters
    ----------
    task : str
    value : float
        IoU or F1.
    seconds : float
    score : float
        What the answer was expected to be; NaN where nothing was.
    """

    task: str
    value: float
    seconds: float = float("nan")
    score: float = float("nan")


def full_mask(item: Instance | None, shape: tuple[int, ...]) -> Mask:
    """Return an answer as a mask of the whole image."""
    mask = np.zeros(shape[:2], bool)
    if item is not None:
        mask[item.box.slices] |= item.mask
    return mask


class Trained:
    """What the engine answers: the nets, and the classical algorithms where they are unsure."""

    prefix = ""

    def __init__(self, image: npt.NDArray[np.uint8]) -> None:
        self._picture = Picture(image)

    def box(self, box: Box) -> list[Instance]:
        """Answer a box."""
        return [item for item in objects_in_boxes(self._picture, [box]) if item is not None]

    def clicks(self, points: Sequence[Point]) -> list[Instance]:
        """Answer clicks: proposals, the likeliest first."""
        return proposals(self._picture, points)

    def everything(self, diameter: float | None) -> list[Instance]:
        """Return all objects."""
        return all_objects(self._picture, diameter)


class Classical:
    """The algorithms without training."""

    prefix = "classical "

    def __init__(self, image: npt.NDArray[np.uint8]) -> None:
        self._picture = Picture(image)

    def box(self, box: Box) -> list[Instance]:
        """Answer a box."""
        found = classical_box.segment_box(self._picture, box, Marks())
        return [] if found is None else [found]

    def clicks(self, points: Sequence[Point]) -> list[Instance]:
        """Answer clicks."""
        marks = Marks.from_points(tuple(points), self._picture.box)
        found = classical_clicks.segment_clicks(self._picture, marks)
        return [] if found is None else [found]

    def everything(self, diameter: float | None) -> list[Instance]:
        """Return all objects; a diameter does not help."""
        del diameter
        return instances_of(regions_of(self._picture))


Contender = type[Trained] | type[Classical]


def measured(
    contender: Contender, sample: Sample, objects: int, rng: np.random.Generator
) -> Iterator[Measure]:
    """Yield what one contender reaches on one image."""
    who = contender(sample.image)
    for mask in random_objects(sample.labels, objects, rng):
        yield _box_measure(who, mask, rng)
        yield from _click_measures(who, mask, rng)
    yield from _everything_measures(who, sample)


def _timed(call: Callable[[], list[Instance]]) -> tuple[list[Instance], float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def _score(items: Sequence[Instance]) -> float:
    return float("nan") if not items or items[0].score is None else items[0].score


def _box_measure(who: Trained | Classical, mask: Mask, rng: np.random.Generator) -> Measure:
    box = loose_box(mask, rng)
    found, seconds = _timed(lambda: who.box(box))
    value = iou(full_mask(found[0] if found else None, mask.shape), mask)
    return Measure("box", value, seconds, _score(found))


def _click_measures(
    who: Trained | Classical, mask: Mask, rng: np.random.Generator
) -> Iterator[Measure]:
    points = [Point(*click_in(mask, rng))]
    for count in range(CLICKS):
        asked = tuple(points)
        found, seconds = _timed(lambda asked=asked: who.clicks(asked))  # type: ignore[misc]
        masks = [full_mask(item, mask.shape) for item in found] or [np.zeros_like(mask)]
        yield Measure(
            "click" if count == 0 else f"+{count}", iou(masks[0], mask), seconds, _score(found)
        )
        if count == 0:
            yield Measure("best of 3", max(iou(one, mask) for one in masks), seconds)
        missing, excess = mask & ~masks[0], masks[0] & ~mask
        positive = bool(np.count_nonzero(missing) >= np.count_nonzero(excess))
        wrong = missing if positive else excess
        if wrong.any():
            points.append(Point(*click_in(wrong, rng), positive=positive))


def _everything_measures(who: Trained | Classical, sample: Sample) -> Iterator[Measure]:
    shape = (sample.labels.shape[0], sample.labels.shape[1])
    sizes = np.bincount(sample.labels.ravel())[1:]
    diameter = 2 * float(np.sqrt(np.median(sizes[sizes > 0]) / np.pi)) if sizes.any() else None
    for task, given in (("everything", None), ("with diameter", diameter)):
        found, seconds = _timed(lambda given=given: who.everything(given))  # type: ignore[misc]
        kept = [item for item in found if (item.score or 0) >= 0.5]
        yield Measure(task, f1(Instances(shape, tuple(kept)), sample.labels), seconds)


def evaluate(
    samples: Sequence[Sample], images: int, objects: int, report: Report = print
) -> dict[str, dict[str, list[Measure]]]:
    """Measure the nets and the classical algorithms, and report a table by kind.

    Parameters
    ----------
    samples : sequence of Sample
        None of which may have been learned from.
    images : int
        At most, per kind.
    objects : int
        Per image.
    report : callable
        Told the table's lines.

    Returns
    -------
    dict of kind to dict of task to list of Measure
    """
    tables: dict[str, dict[str, list[Measure]]] = {}
    for kind in sorted({sample.kind for sample in samples}):
        own = [sample for sample in samples if sample.kind == kind]
        chosen = np.random.default_rng(_SEED).permutation(len(own))[:images]
        table: dict[str, list[Measure]] = defaultdict(list)
        for contender in (Trained, Classical):
            for index in chosen:
                rng = np.random.default_rng((_SEED, int(index)))
                for measure in measured(contender, own[index], objects, rng):
                    table[contender.prefix + measure.task].append(measure)
        tables[kind] = dict(table)
        report(f"{kind}, {len(chosen)} images")
        for task, measures in table.items():
            value = np.mean([measure.value for measure in measures])
            milliseconds = 1000 * np.median([measure.seconds for measure in measures])
            report(f"  {task:24s} {value:.3f}  n={len(measures):4d}  {milliseconds:6.0f} ms")
    return tables


def reliability(measures: Sequence[Measure], bins: int = 10) -> list[tuple[float, float, int]]:
    """Return (mean score, mean value, count) for answers of similar score."""
    pairs = np.array([(m.score, m.value) for m in measures if not np.isnan(m.score)])
    rows = []
    for low in np.arange(bins) / bins:
        inside = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] < low + 1 / bins)]
        if len(inside):
            rows.append((float(inside[:, 0].mean()), float(inside[:, 1].mean()), len(inside)))
    return rows
