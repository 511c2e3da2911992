"""Measuring the engine, and the textbook algorithms beside it, on what was held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy import measure_all, tell_progress
from benchmarks.measuring import OBJECT, Measure
from benchmarks.tables import as_json, figures_of, markdown
from training.data import Sample

Report = Callable[[str], None]
Curve = list[tuple[float, float, int]]

# what a score stands beside in the panel, and how the card calls it
SCORED = {"box": "box", "click": "click", OBJECT: "everything"}
_SEED = 5


def evaluate(
    samples: Sequence[Sample],
    *,
    images: int,
    objects: int,
    composed: int,
    report: Report = print,
) -> list[Measure]:
    """Measure, and report the model card's tables as Markdown.

    Parameters
    ----------
    samples : sequence of Sample
        None of which may have been learned from.
    images, objects, composed : int
        As for `benchmarks.accuracy.measure_all`.
    report : callable
        Told the tables, and what the scores meant.

    Returns
    -------
    list of Measure
    """
    measures = measure_all(
        samples,
        images=images,
        objects=objects,
        composed=composed,
        seed=_SEED,
        report=tell_progress,
    )
    report(markdown(figures_of(measures)))
    report("\n**Reliability of the score** (mean score → mean true IoU, number of answers):\n")
    for name, curve in reliability_curves(as_json(measures)).items():
        report(f"- {name}: {_told(curve)}.")
    return measures


def reliability_curves(told: dict[str, Any]) -> dict[str, Curve]:
    """Return what scores meant, for boxes, first clicks and each of everything's objects.

    Parameters
    ----------
    told : dict
        From `benchmarks.tables.as_json`.

    Returns
    -------
    dict of str to list of (mean score, mean value, count)
    """
    return {
        name: reliability([(score, value) for _, of, score, value in told["scores"] if of == task])
        for task, name in SCORED.items()
    }


def reliability(pairs: Sequence[tuple[float, float]], bins: int = 10) -> Curve:
    """Return (mean score, mean value, count) for (score, value) of similar score."""
    table = np.array(pairs).reshape(-1, 2)
    number = np.minimum((table[:, 0] * bins).astype(np.intp), bins - 1)
    return [
        (*table[number == one].mean(axis=0).tolist(), int(np.count_nonzero(number == one)))
        for one in np.unique(number)
    ]


def _told(curve: Curve) -> str:
    return ", ".join(f"{score:.2f} → {value:.2f} ({count})" for score, value, count in curve)
