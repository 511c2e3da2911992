"""Which objects of two label images share pixels, and which are the same object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from napari_sam3.core.arrays import BoolArray, Float64Array, Int64Array, LabelImage

_PIXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Contingency:
    """The contingency table of two label images, without its zeros.

    Parameters
    ----------
    pred_labels, true_labels : ndarray of int, shapes (predicted,) and (true,)
        The labels above 0 that occur, in rising order.
    pred, true : ndarray of int, shape (pairs,)
        Of each two objects that share a pixel, their places in `pred_labels` and
        `true_labels`; in rising order of the first, then of the second.
    iou : ndarray of float, shape (pairs,)
        Intersection over union of the two, above 0 and at most 1.
    """

    pred_labels: LabelImage
    true_labels: LabelImage
    pred: Int64Array
    true: Int64Array
    iou: Float64Array

    def match(self, threshold: float) -> Int64Array:
        """Match each object to at most one of the other image.

        Returns
        -------
        ndarray of int, shape (matches,)
            Indices of pairs with at least this IoU: as many as can be, and of all such choices the
            one whose objects agree best.

        Raises
        ------
        ValueError
            If the threshold is not above 0 and at most 1.

        Notes
        -----
        The same problem as in `stardist.matching` 0.9 (Schmidt et al. 2018, "Cell Detection
        with Star-Convex Polygons", MICCAI), which solves it as a full table: the most pairs
        that reach the threshold, then the largest sum of IoUs, in which pairs below the
        threshold count as well.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"an IoU threshold lies above 0 and at most at 1, not at {threshold}")
        return self._only_choice(threshold) if threshold >= 0.5 else self._best_choice(threshold)

    def _only_choice(self, threshold: float) -> Int64Array:
        """Match where two objects can hardly have the same partner.

        Above one half nothing has two partners.  At exactly one half an object may have two: its
        halves, which then have no other partner.  So the first is as good as the second.
        """
        pairs = np.flatnonzero(self.iou >= threshold)
        for side in (self.true, self.pred):
            pairs = np.sort(pairs[np.unique(side[pairs], return_index=True)[1]])
        return pairs

    def _best_choice(self, threshold: float) -> Int64Array:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import min_weight_full_bipartite_matching

        smaller = min(len(self.pred_labels), len(self.true_labels))
        if not smaller:
            return np.zeros(0, np.int64)
        reached = self.iou >= threshold
        # all IoUs together weigh less than one match
        worth = reached + self.iou / (2 * smaller)
        # a partner of its own for each, worth nothing, so that none has to have a real one
        alone = np.arange(len(self.true_labels))
        rows = np.concatenate([self.true, alone])
        cols = np.concatenate([self.pred, len(self.pred_labels) + alone])
        # SciPy before 1.15 matches by 32 bits only
        edges = (rows.astype(np.int32), cols.astype(np.int32))
        # 2: what costs nothing would be no edge
        cost = 2 - np.concatenate([worth, np.zeros(len(alone))])
        shape = (len(alone), len(self.pred_labels) + len(alone))
        chosen = min_weight_full_bipartite_matching(coo_array((cost, edges), shape).tocsr())
        partner = np.full(len(alone), -1)
        partner[chosen[0]] = chosen[1]
        return np.flatnonzero(reached & (partner[self.true] == self.pred))

    def best_of_true(self) -> Int64Array:
        """Return for each true object the pair with the highest IoU, or -1 if it is in none."""
        return _best(self.true, self.pred, self.iou, len(self.true_labels))

    def best_of_pred(self) -> Int64Array:
        """Return for each predicted object the pair with the highest IoU, or -1."""
        return _best(self.pred, self.true, self.iou, len(self.pred_labels))


def _best(side: Int64Array, other: Int64Array, iou: Float64Array, count: int) -> Int64Array:
    order = np.lexsort((other, -iou, side))
    found, first = np.unique(side[order], return_index=True)
    best = np.full(count, -1, np.int64)
    best[found] = order[first]
    return best


def tabulate_labels(pred: LabelImage, true: LabelImage) -> Contingency:
    """Find all pairs of objects that share pixels, in one pass over the pixels.

    Pixels are counted run by run, and runs are sorted: what takes time and memory is the length of
    the objects' outlines, not the number of objects squared.

    Parameters
    ----------
    pred, true : ndarray of int or bool, of one shape
        Label images of any number of dimensions; 0 is background.

    Raises
    ------
    ValueError
        If the shapes differ, the values are no whole numbers, or one is below 0.

    Examples
    --------
    >>> tabulate_labels(np.array([[1, 1, 0]]), np.array([[0, 7, 7]])).iou
    array([0.33333333])
    """
    if pred.shape != true.shape:
        raise ValueError(f"label images of the shapes {pred.shape} and {true.shape}")
    if pred.dtype.kind not in "biu" or true.dtype.kind not in "biu":
        raise ValueError(f"labels are whole numbers, not {pred.dtype} and {true.dtype}")
    parts = [_sum_equal(*part) for part in _runs(pred.ravel(), true.ravel())]
    ones, twos, counts = _sum_equal(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    if (ones < 0).any() or (twos < 0).any():
        raise ValueError("no label is below 0")
    both = (ones > 0) & (twos > 0)
    one, pred_labels, pred_areas = _places(ones, counts, both)
    two, true_labels, true_areas = _places(twos, counts, both)
    common = counts[both]
    iou = common / (pred_areas[one] + true_areas[two] - common)
    return Contingency(pred_labels, true_labels, one, two, iou)


def _runs(one: LabelImage, two: LabelImage) -> Iterator[tuple[LabelImage, LabelImage, Int64Array]]:
    """Yield the two labels and the length of each run of equal pixels, piece by piece."""
    # at least one piece, so that an image without pixels has its types
    for start in range(0, max(one.size, 1), _PIXELS_AT_ONCE):
        piece = slice(start, start + _PIXELS_AT_ONCE)
        ones, twos = one[piece], two[piece]
        starts = _starts(ones, twos)
        yield ones[starts], twos[starts], np.diff(starts, append=ones.size)


def _starts(one: LabelImage, two: LabelImage) -> Int64Array:
    is_new = np.ones(one.size, bool)
    is_new[1:] = one[1:] != one[:-1]
    is_new[1:] |= two[1:] != two[:-1]
    return np.flatnonzero(is_new)


def _sum_equal(
    one: LabelImage, two: LabelImage, counts: Int64Array
) -> tuple[LabelImage, LabelImage, Int64Array]:
    order = np.lexsort((two, one))
    one, two, counts = one[order], two[order], counts[order]
    starts = _starts(one, two)
    return one[starts], two[starts], np.add.reduceat(counts, starts) if len(starts) else counts


def _places(
    labels: LabelImage, counts: Int64Array, both: BoolArray
) -> tuple[Int64Array, LabelImage, Int64Array]:
    """Return where each pair's label stands among those above 0, these, and their areas."""
    values, index = np.unique(labels, return_inverse=True)
    areas = np.zeros(len(values), np.int64)
    np.add.at(areas, index, counts)
    background = int(np.count_nonzero(values == 0))
    return index[both] - background, values[background:], areas[background:]
