"""Measured values as Markdown and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from benchmarks.composed import KINDS
from benchmarks.contenders import ENGINE
from benchmarks.measuring import OBJECT, Measure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """The mean of what somebody reached in a task.

    Parameters
    ----------
    mean : float
    count : int
    milliseconds : float
        Median; NaN where nothing was timed.
    """

    mean: float
    count: int
    milliseconds: float


Figures = dict[tuple[str, str, str], Figure]


def figures_of(measures: Iterable[Measure]) -> Figures:
    """Return the figures by (kind, task, who), in the order of the measures."""
    collected: dict[tuple[str, str, str], list[Measure]] = {}
    for one in measures:
        collected.setdefault((one.kind, one.task, one.who), []).append(one)
    return {key: _figure(own) for key, own in collected.items()}


def _figure(measures: Sequence[Measure]) -> Figure:
    seconds = [one.seconds for one in measures if not math.isnan(one.seconds)]
    values = [one.value for one in measures]
    time = 1000 * float(np.median(seconds)) if seconds else float("nan")
    return Figure(float(np.mean(values)), len(values), time)


def markdown(figures: Figures) -> str:
    """Return the tables of a model card.

    Parameters
    ----------
    figures : dict
        From `figures_of`.

    Returns
    -------
    str
        The engine, the best baseline in brackets, on ordinary images and on composed ones;
        and every baseline on ordinary images.  A column for each kind, with how many
        values its figures are the means of, the mean over kinds, and the median time.
    """
    told = {key: one for key, one in figures.items() if key[1] != OBJECT}
    ordinary = {key: one for key, one in told.items() if key[0] not in KINDS}
    composed = {key: one for key, one in told.items() if key[0] in KINDS}
    own = [_own_table(part) for part in (ordinary, composed) if part]
    return "\n\n".join([*own, _baseline_table(ordinary)])


def _own_table(figures: Figures) -> str:
    tasks = _distinct(task for _, task, who in figures if who == ENGINE)
    return _table(["task", *_head(figures)], [[task, *_row(figures, task)] for task in tasks])


def _baseline_table(figures: Figures) -> str:
    others = _distinct((task, who) for _, task, who in figures if who != ENGINE)
    rows = [[f"{task}: {who}", *_row(figures, task, who)] for task, who in sorted(others)]
    return _table(["baseline", *_head(figures)], rows)


def _head(figures: Figures) -> list[str]:
    return [*(f"{kind} ({_count(figures, kind)})" for kind in _kinds(figures)), "mean", "ms"]


def _kinds(figures: Figures) -> list[str]:
    return _distinct(kind for kind, _, _ in figures)


def _distinct(names: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(names))


def _count(figures: Figures, kind: str) -> str:
    """Return how many values the kind's figures are means of: images, objects."""
    counts = [one.count for (of, _, who), one in figures.items() if of == kind and who == ENGINE]
    return " / ".join(str(count) for count in sorted({min(counts), max(counts)}))


def _row(figures: Figures, task: str, who: str = "") -> list[str]:
    kinds = _kinds(figures)
    found = [figures.get((kind, task, who or ENGINE)) for kind in kinds]
    rivals = [None if who else _rival(figures, kind, task) for kind in kinds]
    cells = [_cell(one, rival) for one, rival in zip(found, rivals, strict=True)]
    times = [one.milliseconds for one in found if one and not math.isnan(one.milliseconds)]
    return [*cells, _cell(_mean(found), _mean(rivals)), f"{np.mean(times):.0f}" if times else ""]


def _rival(figures: Figures, kind: str, task: str) -> Figure | None:
    others = [
        one
        for (of, what, who), one in figures.items()
        if (of, what) == (kind, task) and who != ENGINE
    ]
    return max(others, key=lambda one: one.mean, default=None)


def _mean(found: Sequence[Figure | None]) -> Figure | None:
    known = [one for one in found if one]
    if not known:
        return None
    return Figure(float(np.mean([one.mean for one in known])), len(known), float("nan"))


def _cell(one: Figure | None, rival: Figure | None) -> str:
    if one is None:
        return "–"
    return _short(one.mean) + (f" ({_short(rival.mean)})" if rival else "")


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_json(measures: Sequence[Measure]) -> dict[str, Any]:
    """Return all figures, and (kind, task, score, value) of each answer with a score."""
    figures = [
        {"kind": kind, "task": task, "who": who, **_plain(one)}
        for (kind, task, who), one in figures_of(measures).items()
    ]
    scores = [
        [one.kind, one.task, round(one.score, 4), round(one.value, 4)]
        for one in measures
        if not math.isnan(one.score)
    ]
    return {"figures": figures, "scores": scores}


def _plain(figure: Figure) -> dict[str, float | int | None]:
    timed = not math.isnan(figure.milliseconds)
    return {
        "mean": round(figure.mean, 4),
        "count": figure.count,
        "milliseconds": round(figure.milliseconds, 1) if timed else None,
    }
