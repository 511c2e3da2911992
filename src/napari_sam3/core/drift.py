"""How far two answers, or two label images, are from each other, object by object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.instances import Instance, Instances

Match = dict[int, tuple[int, float]]
"""An old object → the new one that it became, and their IoU."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of the objects of an answer or a label image.

    Of those that are in both it has the IoUs; the others vanished or appeared.
    """

    ious: tuple[float, ...] = ()
    vanished: int = 0
    appeared: int = 0

    def __add__(self, other: Drift) -> Drift:
        return Drift(
            self.ious + other.ious,
            self.vanished + other.vanished,
            self.appeared + other.appeared,
        )

    @property
    def objects(self) -> int:
        """How many there were."""
        return len(self.ious) + self.vanished

    def below(self, tolerance: float) -> int:
        """Return how many objects that are in both have an IoU below this."""
        return sum(iou < tolerance for iou in self.ious)

    def is_within(self, tolerance: float) -> bool:
        """Whether every object is in both, with at least this IoU."""
        return not (self.vanished or self.appeared or self.below(tolerance))


def compare_labels(old: npt.NDArray[Any], new: npt.NDArray[Any]) -> Drift:
    """Compare two label images of one shape, label by label.

    Examples
    --------
    >>> compare_labels(np.array([[1, 1, 2]]), np.array([[1, 0, 3]]))
    Drift(ious=(0.5,), vanished=1, appeared=1)
    """
    before, after = _areas(old), _areas(new)
    common = _areas(np.where(old == new, old, 0))
    both = sorted(before.keys() & after.keys())
    ious = [common.get(k, 0) / (before[k] + after[k] - common.get(k, 0)) for k in both]
    return Drift(tuple(ious), len(before) - len(both), len(after) - len(both))


def _areas(labels: npt.NDArray[Any]) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v > 0}


def match_objects(
    old: Mapping[int, Instance], new: Instances, outside: npt.NDArray[Any] | None = None
) -> Match:
    """Match each old object to at most one new one, those that agree most first.

    Parameters
    ----------
    old : mapping
        By any number.
    new : Instances
    outside : ndarray of int, shape (rows, cols), optional
        Where the old objects are only what could be seen of them: the label image, by the
        numbers of `old`.  What carries another number is then left out of account.
    """
    pairs = sorted(
        (
            (_iou(one, other, None if outside is None else (outside, number)), number, index)
            for number, one in old.items()
            for index, other in enumerate(new)
            if one.box.intersection(other.box) is not None
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    matched: Match = {}
    taken: set[int] = set()
    for iou, number, index in pairs:
        if iou > 0 and number not in matched and index not in taken:
            matched[number] = (index, iou)
            taken.add(index)
    return matched


def _iou(one: Instance, other: Instance, seen: tuple[npt.NDArray[Any], int] | None) -> float:
    box = one.box.union(other.box)
    first, second = one.in_window(box), other.in_window(box)
    if seen is not None:
        numbers = seen[0][box.slices]
        second &= (numbers == 0) | (numbers == seen[1])
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 0.0
