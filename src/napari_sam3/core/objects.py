"""Objects that have a label: the record behind a Labels layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from napari_sam3.core.instances import Instance

ReviewState = Literal["unreviewed", "accepted", "rejected", "edited"]
REVIEW_STATES: tuple[ReviewState, ...] = get_args(ReviewState)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneObject:
    """One object of a plane, whole: also where others hide it, and where it is not shown.

    Parameters
    ----------
    label : int
        Its number in the Labels layer, above 0.
    instance : Instance
        Its pixels, in (row, col) of the plane, its score and its concept.
    engine : str
        The title of what found it; empty where that is not known.
    state : {"unreviewed", "accepted", "rejected", "edited"}
        What a person said of it.  A rejected one is kept, but not shown.
    depth : int
        Of two that share a pixel, the one of smaller depth shows, unless a rule says otherwise.
    source : tuple of (str, int, int), optional
        The answer that it is from: the run's id, the question's and the object's index in it.
    """

    label: int
    instance: Instance
    engine: str = ""
    state: ReviewState = "unreviewed"
    depth: int = 0
    source: tuple[str, int, int] | None = None
