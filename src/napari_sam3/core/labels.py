"""Masks as a label image: a *view* of what was found, under a named overlap rule.

``"score"``
    The highest score lies on top (of equal ones, the smaller).  Where not all
    objects have a score, the smallest lies on top instead.
``"smallest"``
    The smallest lies on top.
``"first"``
    The first in the engine's order lies on top.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.geometry import Box

OverlapRule = Literal["score", "smallest", "first"]
OVERLAP_RULES: tuple[OverlapRule, ...] = get_args(OverlapRule)


def top_first(scores: Sequence[float | None], areas: Sequence[int], rule: OverlapRule) -> list[int]:
    """Return the indices of objects, those that lie on top first.

    Parameters
    ----------
    scores : sequence of float or None
        One per object.
    areas : sequence of int
        Pixels of each.
    rule : {"score", "smallest", "first"}

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    if rule not in OVERLAP_RULES:
        raise ValueError(f"no overlap rule {rule!r}; there are {', '.join(OVERLAP_RULES)}")
    indices = range(len(scores))
    if rule == "first":
        return list(indices)
    known = [score for score in scores if score is not None]
    if rule == "smallest" or len(known) < len(scores):
        return sorted(indices, key=lambda i: (areas[i], i))
    return sorted(indices, key=lambda i: (-known[i], areas[i], i))


def paint(
    canvas: npt.NDArray[Any],
    items: Iterable[tuple[int, Box, BoolArray]],
    place: Box | None = None,
) -> None:
    """Paint masks into a label image; of several that share a pixel, the first shows.

    Parameters
    ----------
    canvas : ndarray of int, shape (rows, cols)
        Changed in place.
    items : iterable of (int, Box, ndarray of bool)
        Label, box in the plane and pixels in that box, of what lies on top first.
    place : Box, optional
        Which part of the plane the canvas is, by default one that begins at its first pixel.
        What lies outside of it is left out.
    """
    first_row, first_col = (place.top, place.left) if place else (0, 0)
    end_row, end_col = first_row + canvas.shape[0], first_col + canvas.shape[1]
    # from below, as it is faster to paint over a pixel than to look at it
    for label, box, mask in reversed([*items]):
        top, bottom = max(box.top, first_row), min(box.bottom, end_row)
        left, right = max(box.left, first_col), min(box.right, end_col)
        if top < bottom and left < right:
            area = canvas[
                top - first_row : bottom - first_row, left - first_col : right - first_col
            ]
            inside = mask[top - box.top : bottom - box.top, left - box.left : right - box.left]
            np.copyto(area, label, where=inside)


def labels_dtype(largest: int) -> np.dtype[Any]:
    """Return the smallest of uint16 and uint32 that holds this label."""
    return np.dtype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.uint32)
