"""Where two label images differ, as runs: pixels side by side in a row that are alike.

Objects are blobs, so runs are some forty times fewer than pixels, and labels of any size
are sorted instead of being looked up in tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import bounding_box

IntArray = npt.NDArray[np.int64]
IndexArray = npt.NDArray[np.intp]
Labels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class LabelRuns:
    """Runs of pixels that carry one label before and one after.

    Parameters
    ----------
    rows, cols, lengths : ndarray of int, shape (n,)
        Where each run starts, and how many pixels it has.
    before, after : ndarray of int, shape (n,)
        Its labels; 0 is background, and so were labels below 0.
    """

    rows: IntArray
    cols: IntArray
    lengths: IntArray
    before: IntArray
    after: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> LabelRuns:
        return LabelRuns(
            self.rows[chosen],
            self.cols[chosen],
            self.lengths[chosen],
            self.before[chosen],
            self.after[chosen],
        )

    def count_pairs(self) -> tuple[LabelPairs, IndexArray]:
        """Return the pairs of labels that occur, and which of them each run has."""
        order = np.lexsort((self.after, self.before))
        before, after = self.before[order], self.after[order]
        is_new = np.ones(len(order), bool)
        is_new[1:] = (before[1:] != before[:-1]) | (after[1:] != after[:-1])
        index = np.empty(len(order), np.intp)
        index[order] = np.cumsum(is_new) - 1
        pixels = np.bincount(index, weights=self.lengths).astype(np.int64)
        return LabelPairs(before[is_new], after[is_new], pixels), index

    def boxes_after(self) -> dict[int, Box]:
        """Return for each label above 0 after the box around its runs."""
        order = np.argsort(self.after, kind="stable")
        after = self.after[order]
        starts = np.flatnonzero(np.diff(after, prepend=-1))
        if not len(starts):
            return {}
        rows, cols = self.rows[order], self.cols[order]
        sides = np.stack(
            [
                np.minimum.reduceat(rows, starts),
                np.minimum.reduceat(cols, starts),
                np.maximum.reduceat(rows, starts) + 1,
                np.maximum.reduceat(cols + self.lengths[order], starts),
            ],
            axis=1,
        )
        labels = after[starts].tolist()
        return {n: Box(*box) for n, box in zip(labels, sides.tolist(), strict=True) if n > 0}

    def paint(self, canvas: npt.NDArray[np.bool_]) -> None:
        """Set the runs' pixels in a contiguous image of shape (rows, cols)."""
        starts = self.rows * canvas.shape[1] + self.cols
        ends = np.cumsum(self.lengths)
        offsets = np.repeat(starts - ends + self.lengths, self.lengths)
        canvas.reshape(-1)[offsets + np.arange(len(offsets))] = True


@dataclass(frozen=True, slots=True, eq=False)
class LabelPairs:
    """How many pixels changed from which label to which.

    Parameters
    ----------
    before, after, pixels : ndarray of int, shape (n,)
        Each pair of labels once.
    """

    before: IntArray
    after: IntArray
    pixels: IntArray

    def sum_before(self) -> dict[int, int]:
        """Return how many pixels each label above 0 had."""
        return _sum_by(self.before, self.pixels)

    def sum_after(self) -> dict[int, int]:
        """Return how many pixels each label above 0 has."""
        return _sum_by(self.after, self.pixels)


def _sum_by(labels: IntArray, pixels: IntArray) -> dict[int, int]:
    values, index = np.unique(labels, return_inverse=True)
    sums = np.bincount(index, weights=pixels).astype(np.int64)
    return {n: s for n, s in zip(values.tolist(), sums.tolist(), strict=True) if n > 0}


def find_changes(before: Labels, after: Labels) -> LabelRuns:
    """Find the runs in which two label images differ.

    Parameters
    ----------
    before, after : ndarray of int, shape (rows, cols)

    Returns
    -------
    LabelRuns
        None where only labels below 1 took each other's place.
    """
    box = bounding_box(before != after)
    if box is None:
        return _to_runs(before[:0], after[:0])
    runs = _to_runs(before[box.slices], after[box.slices], box.top, box.left)
    return runs[runs.before != runs.after]


def find_runs(labels: Labels, wanted: npt.ArrayLike) -> LabelRuns:
    """Find the runs of some labels in one image, where before and after are the same.

    Parameters
    ----------
    labels : ndarray of int, shape (rows, cols)
    wanted : array_like of int
        Labels above 0.
    """
    runs = _to_runs(labels, labels)
    return runs[np.isin(runs.after, np.asarray(wanted))]


def _to_runs(before: Labels, after: Labels, top: int = 0, left: int = 0) -> LabelRuns:
    is_new = np.ones(before.shape, bool)
    np.not_equal(before[:, 1:], before[:, :-1], out=is_new[:, 1:])
    if after is not before:
        is_new[:, 1:] |= after[:, 1:] != after[:, :-1]
    starts = np.flatnonzero(is_new)
    rows, cols = np.divmod(starts, max(before.shape[1], 1))
    lengths = np.diff(starts, append=is_new.size)
    return LabelRuns(
        rows + top, cols + left, lengths, _clamped(before[rows, cols]), _clamped(after[rows, cols])
    )


def _clamped(labels: Labels) -> IntArray:
    return np.maximum(labels.astype(np.int64), 0)
