"""Objects that have a label: over all of their planes, and as one plane has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from napari_sam3.core.instances import Instance
from napari_sam3.core.plane_index import PlaneIndex

ReviewState = Literal["unreviewed", "accepted", "rejected", "edited"]
REVIEW_STATES: tuple[ReviewState, ...] = get_args(ReviewState)

Source = tuple[str, int, int]
"""The answer that something is from: the run's id, the question's and the object's index in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What one plane has of an object, whole: also where others hide it.

    Parameters
    ----------
    instance : Instance
        Its pixels, in (row, col) of the plane, its score and its concept.
    engine : str
        The title of what found it; empty where that is not known.
    source : tuple of (str, int, int), optional
        The answer that it is from.
    prompt : str
        What it was asked for by, in a few words; empty where that is not known.
    """

    instance: Instance
    engine: str = ""
    source: Source | None = None
    prompt: str = ""


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """One object of a label image, whole, over all of its planes.

    Parameters
    ----------
    label : int
        Its number in the Labels layer, above 0.
    parts : mapping
        `PlaneIndex` to `Part`; at least one.
    state : {"unreviewed", "accepted", "rejected", "edited"}
        What a person said of it.  A rejected one is kept, but not shown.
    depth : int
        Of two that share a pixel, the one of smaller depth shows, unless a rule says otherwise.
    """

    label: int
    parts: Mapping[PlaneIndex, Part]
    state: ReviewState = "unreviewed"
    depth: int = 0

    @cached_property
    def area(self) -> int:
        """Number of pixels, over all planes."""
        return sum(part.instance.area for part in self.parts.values())

    @cached_property
    def score(self) -> float | None:
        """The least score of its parts; None where none has one."""
        scores = (part.instance.score for part in self.parts.values())
        return min((score for score in scores if score is not None), default=None)

    @cached_property
    def concept(self) -> str:
        """What it was found as; empty where it was not asked for by name."""
        concepts = (part.instance.concept for part in self.parts.values())
        return next((concept for concept in concepts if concept), "")

    @cached_property
    def engine(self) -> str:
        """The title of what found it; empty where that is not known."""
        return next((part.engine for part in self.parts.values() if part.engine), "")

    @cached_property
    def prompt(self) -> str:
        """What it was asked for by, in a few words."""
        return next((part.prompt for part in self.parts.values() if part.prompt), "")

    @cached_property
    def plane(self) -> str:
        """Where its first plane lies along the other axes, as “3”; empty where there are none."""
        return ",".join(map(str, min(index.fixed for index in self.parts)))

    @classmethod
    def of(cls, parts: Mapping[PlaneIndex, PlaneObject]) -> LabelledObject:
        """Return the object of which planes have this; they say the same of all of it."""
        first = next(iter(parts.values()))
        own = {index: one.part for index, one in parts.items()}
        return cls(first.label, own, first.state, first.depth)

    def on(self, index: PlaneIndex) -> PlaneObject | None:
        """Return what a plane has of it; None if it does not lie there."""
        part = self.parts.get(index)
        if part is None:
            return None
        own = (part.instance, part.engine, self.state, self.depth, part.source, part.prompt)
        return PlaneObject(self.label, *own)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneObject:
    """What one plane has of an object, with what is known of all of it.

    Parameters
    ----------
    label : int
        As of `LabelledObject`.
    instance, engine, source, prompt
        As of `Part`.
    state, depth
        As of `LabelledObject`.
    """

    label: int
    instance: Instance
    engine: str = ""
    state: ReviewState = "unreviewed"
    depth: int = 0
    source: Source | None = None
    prompt: str = ""

    @property
    def part(self) -> Part:
        """What it is on this plane, without what is said of the whole object."""
        return Part(self.instance, self.engine, self.source, self.prompt)
