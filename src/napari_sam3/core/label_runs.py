"""Where two label images differ, as runs: pixels side by side in a row that are alike.

Objects are blobs, so runs are some forty times fewer than pixels, and labels of any size
are sorted instead of being looked up in tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, IndexArray, Int64Array, LabelImage
from napari_sam3.core.geometry import Box, bounding_box

_PIXELS_AT_ONCE = 1 << 20


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

    rows: Int64Array
    cols: Int64Array
    lengths: Int64Array
    before: Int64Array
    after: Int64Array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: BoolArray) -> LabelRuns:
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
        sides = self.rows, self.cols, self.rows + 1, self.cols + self.lengths
        return _to_boxes(*_surround(self.after, np.stack(sides)))

    def paint(self, canvas: BoolArray) -> None:
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

    before: Int64Array
    after: Int64Array
    pixels: Int64Array

    def sum_before(self) -> dict[int, int]:
        """Return how many pixels each label above 0 had."""
        return _sum_by(self.before, self.pixels)

    def sum_after(self) -> dict[int, int]:
        """Return how many pixels each label above 0 has."""
        return _sum_by(self.after, self.pixels)


def _sum_by(labels: Int64Array, pixels: Int64Array) -> dict[int, int]:
    values, index = np.unique(labels, return_inverse=True)
    sums = np.bincount(index, weights=pixels).astype(np.int64)
    return {n: s for n, s in zip(values.tolist(), sums.tolist(), strict=True) if n > 0}


def find_changes(before: LabelImage, after: LabelImage) -> LabelRuns:
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


def find_boxes(labels: LabelImage, wanted: npt.ArrayLike | None = None) -> dict[int, Box]:
    """Find the box around each label of an image.

    Parameters
    ----------
    labels : ndarray, shape (rows, cols)
        Of any type: numbers below 1 are background.
    wanted : array_like of int, optional
        By default all labels above 0.

    Returns
    -------
    dict of int to Box
        In rising order.

    Notes
    -----
    The image is read in bands, so that noise takes no more memory than objects do.
    """
    height = max(1, _PIXELS_AT_ONCE // max(labels.shape[1], 1))
    bands = [
        _surround(*_find_sides(labels[start : start + height], wanted, start))
        for start in range(0, labels.shape[0], height)
    ]
    if not bands:
        return {}
    found, sides = zip(*bands, strict=True)
    return _to_boxes(*_surround(np.concatenate(found), np.concatenate(sides, axis=1)))


def _find_sides(
    band: LabelImage, wanted: npt.ArrayLike | None, top: int
) -> tuple[LabelImage, Int64Array]:
    """Return the labels of runs that are wanted, and (top, left, bottom, right) of each."""
    rows, cols, lengths = _find_starts(band, band)
    found = band[rows, cols]
    kept = found > 0 if wanted is None else np.isin(found, np.asarray(wanted))
    rows, cols = rows[kept] + top, cols[kept]
    return found[kept], np.stack([rows, cols, rows + 1, cols + lengths[kept]])


def _surround(labels: LabelImage, sides: Int64Array) -> tuple[LabelImage, Int64Array]:
    """Return each label once, in rising order, and the sides around all that it had."""
    order = np.argsort(labels, kind="stable")
    labels = labels[order]
    is_first = np.ones(len(labels), bool)
    is_first[1:] = labels[1:] != labels[:-1]
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return labels, sides[:, :0]
    near = np.minimum.reduceat(sides[:2, order], starts, axis=1)
    far = np.maximum.reduceat(sides[2:, order], starts, axis=1)
    return labels[starts], np.concatenate([near, far])


def _to_boxes(labels: LabelImage, sides: Int64Array) -> dict[int, Box]:
    pairs = zip(labels.tolist(), sides.T.tolist(), strict=True)
    return {int(label): Box(*box) for label, box in pairs if label > 0}


def _to_runs(before: LabelImage, after: LabelImage, top: int = 0, left: int = 0) -> LabelRuns:
    rows, cols, lengths = _find_starts(before, after)
    return LabelRuns(
        rows + top, cols + left, lengths, _clamped(before[rows, cols]), _clamped(after[rows, cols])
    )


def _find_starts(
    before: LabelImage, after: LabelImage
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return row, column and length of the runs in which neither of two images changes."""
    is_new = np.ones(before.shape, bool)
    np.not_equal(before[:, 1:], before[:, :-1], out=is_new[:, 1:])
    if after is not before:
        is_new[:, 1:] |= after[:, 1:] != after[:, :-1]
    starts = np.flatnonzero(is_new)
    rows, cols = np.divmod(starts, max(before.shape[1], 1))
    return rows, cols, np.diff(starts, append=is_new.size)


def _clamped(labels: LabelImage) -> Int64Array:
    return np.maximum(labels.astype(np.int64), 0)
