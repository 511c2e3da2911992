"""What a panel tells of a plane's objects, besides what each of them is; all of it is derived."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.doubt import compactness, doubts, rank_doubtful, touches_border
from napari_sam3.core.geometry import Box
from napari_sam3.core.labels import paint
from napari_sam3.core.overlaps import overlap_map, overlapping
from napari_sam3.core.plane_objects import PlaneView

UNNAMED = "object"
"""The concept of what was not asked for by name."""


@dataclass(frozen=True, slots=True, eq=False)
class PlaneFacts:
    """What there is to know of a plane's objects.

    Parameters
    ----------
    view : PlaneView
        What it is of.
    overlapping : frozenset of int
        The labels of objects that share a pixel with another, shown or not.
    doubtful : tuple of int
        The labels that are shown, the most doubtful first.
    reasons : dict
        Label of what is shown to why it is doubtful, in a few words.
    derived : dict
        For each that was wanted, its array, shape (rows, cols): how many objects cover a
        pixel where there are several ("overlaps"), or the number of the object's concept
        ("classes").
    classes : dict
        Concept to its number.
    """

    view: PlaneView
    overlapping: frozenset[int]
    doubtful: tuple[int, ...]
    reasons: dict[int, str]
    derived: dict[str, LabelImage] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        view: PlaneView,
        shape: tuple[int, int],
        classes: dict[str, int],
        wanted: Collection[str] = (),
    ) -> PlaneFacts:
        """Find them; what is known of an object already costs little.

        Parameters
        ----------
        view : PlaneView
        shape : tuple of int
            (rows, cols) of the plane.
        classes : dict
            As `class_numbers` gives it for the objects of all planes.
        wanted : collection of str
            What else is painted: "overlaps", "classes".
        """
        listed = list(view.objects.values())
        items = [one.instance for one in listed]
        shares = overlapping(view.objects.overlaps, len(listed))
        scores = [np.nan if item.score is None else item.score for item in items]
        areas = np.array([item.area for item in items], np.int64)
        on_border = touches_border([item.box for item in items], shape)
        known = (np.array(scores, float), areas, compactness(items), on_border, shares)
        labels = view.objects.labels.tolist()
        order = [labels[i] for i in rank_doubtful(*known)]
        return cls(
            view,
            frozenset(view.objects.labels[shares].tolist()),
            tuple(label for label in order if view.shows(label)),
            {n: words for n, words in zip(labels, doubts(*known), strict=True) if view.shows(n)},
            {kind: _derived(kind, view, shape, classes) for kind in wanted},
            classes,
        )


def class_numbers(concepts: Iterable[str]) -> dict[str, int]:
    """Return a number for each concept, from 1 on, in order of their names."""
    names = sorted({concept or UNNAMED for concept in concepts})
    return {name: number for number, name in enumerate(names, start=1)}


def _derived(
    kind: str, view: PlaneView, shape: tuple[int, int], classes: dict[str, int]
) -> LabelImage:
    shown = view.from_top(Box.of_shape(shape))
    if kind == "overlaps":
        return overlap_map([one.instance for one in shown], shape)
    painted = np.zeros(shape, np.uint16)
    items = ((one.instance.concept or UNNAMED, one.instance) for one in shown)
    paint(painted, ((classes[concept], item.box, item.mask) for concept, item in items))
    return painted
