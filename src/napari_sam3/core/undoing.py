"""Runs that were taken back: all of their objects are gone at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from napari_sam3.core.objects import PlaneObject


def undone_labels(
    objects: Mapping[int, PlaneObject], erased: Collection[int], present: Collection[int]
) -> set[int]:
    """Return the labels of all objects of runs that were undone.

    A run was undone if something of it was erased, and nothing of it is to be seen any more.
    Its hidden objects go with it.  A single object that was erased from many was erased by
    hand.

    Parameters
    ----------
    objects : mapping
        The record, by label.
    erased : collection of int
        Labels that were seen and are not any more.
    present : collection of int
        Labels that are seen.
    """
    runs: dict[str, set[int]] = defaultdict(set)
    for label, one in objects.items():
        if one.source is not None:
            runs[one.source[0]].add(label)
    gone, seen = set(erased), set(present)
    undone = (labels for labels in runs.values() if labels & gone and not labels & seen)
    return set().union(*undone)
