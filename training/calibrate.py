"""Making scores mean what they say: the overlap (IoU) that an answer can be expected to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.prompting import click_in, loose_box, median_diameter, random_objects
from benchmarks.scoring import best_overlaps
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import Point
from napari_sam3.engines.builtin.nets.dense_net import dense_maps
from napari_sam3.engines.builtin.nets.everything import cut, features
from napari_sam3.engines.builtin.nets.layers import Weights
from napari_sam3.engines.builtin.nets.objects import first_proposals, segment_boxes
from napari_sam3.engines.builtin.nets.planes import DIAMETER
from training.data import LabelImage, Sample

Float64Array = npt.NDArray[np.float64]

_STEPS = 50
_RIDGE = 1e-2
_OBJECTS = 4


def fit_logistic(features_: Float64Array, values: Float64Array) -> Float64Array:
    """Return the weights, the offset last, of a logistic regression.

    Parameters
    ----------
    features_ : ndarray, shape (n, k)
    values : ndarray, shape (n,)
        0–1.

    Returns
    -------
    ndarray, shape (k + 1,)
    """
    table = np.column_stack([features_, np.ones(len(features_))])
    weights = np.zeros(table.shape[1])
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-(table @ weights)))
        gradient = table.T @ (expected - values) + _RIDGE * weights
        curvature = (table * (expected * (1 - expected))[:, None]).T @ table
        weights -= np.linalg.solve(curvature + _RIDGE * np.eye(len(weights)), gradient)
    return weights


def everything_score(
    net: Weights, samples: Sequence[Sample], rng: np.random.Generator
) -> Float64Array:
    """Fit the score of `segment_everything`; scales are a little wrong, as in use."""
    tables, values = [], []
    for sample in samples:
        diameter = median_diameter(sample.labels) or DIAMETER
        maps = dense_maps(sample.image, diameter * float(np.exp(rng.normal(0, 0.25))), net)
        labels, count = cut(maps)
        if count:
            tables.append(features(labels, maps, count))
            values.append(best_overlaps(labels, _nearest(sample.labels, labels.shape), count))
    return fit_logistic(np.concatenate(tables), np.concatenate(values))


def _nearest(labels: LabelImage, shape: tuple[int, ...]) -> LabelImage:
    rows, cols = (
        ((np.arange(cells) + 0.5) * pixels / cells).astype(np.intp)
        for cells, pixels in zip(shape, labels.shape, strict=True)
    )
    return np.asarray(labels[rows[:, None], cols])


def prompt_score(net: Weights, samples: Sequence[Sample], rng: np.random.Generator) -> Float64Array:
    """Fit slope and offset of the prompt net's own judgement."""
    logits, values = [], []
    for sample in samples:
        for mask in random_objects(sample.labels, _OBJECTS, rng):
            click = Point(*click_in(mask, rng))
            answers = [
                *segment_boxes(sample.image, [loose_box(mask, rng)], net),
                *first_proposals(sample.image, [click], net)[:1],
            ]
            for item in answers:
                if item is not None and item.score is not None:
                    score = min(max(item.score, 1e-4), 1 - 1e-4)
                    logits.append(np.log(score / (1 - score)))
                    values.append(_iou(item, mask))
    return fit_logistic(np.array(logits)[:, None], np.array(values))


def _iou(item: Instance, mask: npt.NDArray[Any]) -> float:
    common = int(np.count_nonzero(mask[item.box.slices] & item.mask))
    return common / (item.area + int(np.count_nonzero(mask)) - common)
