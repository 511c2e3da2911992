"""Which objects of a record are shown: filters and suppression that lose nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_sam3.core.arrays import Int64Array
from napari_sam3.core.doubt import touches_border
from napari_sam3.core.labels import OVERLAP_RULES
from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.overlaps import Overlaps, best_first, suppress
from napari_sam3.core.painting import PaintRule
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.plane_objects import PlaneObjects


@dataclass(frozen=True, slots=True)
class View:
    """How a record is shown as a label image.

    Parameters
    ----------
    rule : {"", "score", "smallest", "first"}
        Which of two objects shows where they overlap; "" leaves it as it was written.
    min_score : float
        Objects that score less are not shown, 0–1; those without a score are.
    min_area, max_area : int, optional
        Least and most pixels of an object that is shown.
    without_border : bool
        Whether objects that touch the image's border are left out.
    max_iom : float
        Of two objects that share more than this part of the smaller one, the better one is
        shown (intersection over minimum, 0–1); 1 shows both.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    rule: PaintRule = ""
    min_score: float = 0.0
    min_area: int = 0
    max_area: int | None = None
    without_border: bool = False
    max_iom: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in ("", *OVERLAP_RULES):
            raise ValueError(f"no overlap rule {self.rule!r}")
        for part in (self.min_score, self.max_iom):
            if not 0 <= part <= 1:
                raise ValueError(f"{part} does not lie between 0 and 1")
        if min(self.min_area, self.max_area or 0) < 0:
            raise ValueError("no object has less than 0 pixels")

    @property
    def shows_all(self) -> bool:
        """Whether nothing is filtered out."""
        return self == View(self.rule)


def hides(
    view: View, one: LabelledObject, plane_shape: Callable[[PlaneIndex], tuple[int, int]]
) -> bool:
    """Return whether a filter leaves an object out, all of its planes counted.

    Parameters
    ----------
    view : View
        `View.max_iom` is left to `crowded_labels`.
    one : LabelledObject
    plane_shape : callable
        Gives (rows, cols) of a plane.
    """
    if one.score is not None and one.score < view.min_score:
        return True
    if one.area < view.min_area or (view.max_area is not None and one.area > view.max_area):
        return True
    return view.without_border and any(
        touches_border([part.instance.box], plane_shape(index))[0]
        for index, part in one.parts.items()
    )


def crowded_labels(
    objects: Mapping[int, LabelledObject],
    planes: Iterable[PlaneObjects],
    view: View,
    plane_shape: Callable[[PlaneIndex], tuple[int, int]],
) -> frozenset[int]:
    """Return the labels of objects that give way to better ones that they overlap.

    Parameters
    ----------
    objects : mapping
        All objects, by label.
    planes : iterable of PlaneObjects
        The same, plane by plane.
    view, plane_shape
        As in `hides`.  An object that a filter leaves out does not suppress another.

    Notes
    -----
    Pixels in common are counted over all planes, and so are areas.
    """
    if view.max_iom >= 1:
        return frozenset()
    kept = [
        one
        for one in sorted(objects.values(), key=lambda one: one.label)
        if one.state != "rejected" and not hides(view, one, plane_shape)
    ]
    labels = np.array([one.label for one in kept], np.int64)
    areas = np.array([one.area for one in kept], np.int64)
    scores = np.array([np.nan if one.score is None else one.score for one in kept])
    overlaps = _summed([plane.labelled_overlaps for plane in planes], labels)
    if not overlaps.count:
        return frozenset()
    is_shown = suppress(overlaps, areas, best_first(scores, areas), view.max_iom)
    return frozenset(labels[~is_shown].tolist())


def _summed(pairs: Sequence[Int64Array], labels: Int64Array) -> Overlaps:
    """Return the overlaps of objects over all planes, by index in these labels."""
    table = np.concatenate([np.zeros((0, 3), np.int64), *pairs])
    table = table[np.isin(table[:, :2], labels).all(axis=1)]
    both, index = np.unique(table[:, :2], axis=0, return_inverse=True)
    shared = np.bincount(index.reshape(-1), weights=table[:, 2], minlength=len(both))
    first, second = np.searchsorted(labels, both.T)
    return Overlaps(first, second, shared.astype(np.int64))


def hidden_labels(
    objects: Mapping[int, LabelledObject],
    view: View,
    plane_shape: Callable[[PlaneIndex], tuple[int, int]],
) -> frozenset[int]:
    """Return the labels of objects that were rejected, or that a filter leaves out.

    Parameters
    ----------
    objects : mapping
        By label.
    view, plane_shape
        As in `hides`.
    """
    is_filtered = not view.shows_all
    return frozenset(
        label
        for label, one in objects.items()
        if one.state == "rejected" or (is_filtered and hides(view, one, plane_shape))
    )
