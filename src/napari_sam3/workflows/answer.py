"""What a run found, all of it together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from napari_sam3.core.flatness import Flatness
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import SegmentationResult, Usage


@dataclass(frozen=True, slots=True, eq=False)
class SegmentAnswer:
    """What a run found.

    Parameters
    ----------
    results : tuple of SegmentationResult
        One per prompt, in the run's order.
    image_shape : tuple of int
        (rows, cols) of the picture.
    seconds : float
        Wall time from start to end.
    overlapping : int
        How many objects share a pixel with another.
    picture : dict
        What the picture's `describe` said once it was read.
    unanswered : int
        Questions of a billed engine that got no answer; those that did are kept.
    concepts : tuple of str
        What each prompt asked for by name, "" where it did not.
    flatness : Flatness, optional
        Why nearly all of the picture is one grey level, if it is.
    """

    results: tuple[SegmentationResult, ...]
    image_shape: tuple[int, int]
    seconds: float = 0.0
    overlapping: int = 0
    picture: dict[str, Any] = field(default_factory=dict)
    unanswered: int = 0
    concepts: tuple[str, ...] = ()
    flatness: Flatness | None = None

    def __repr__(self) -> str:
        rows, cols = self.image_shape
        parts = [self.found_words, f"{rows} × {cols} pixels", f"{len(self.results)} prompts"]
        parts += [f"{self.unanswered} without result"] if self.unanswered else []
        return f"SegmentAnswer({', '.join([*parts, *self.usage.words])})"

    @property
    def instances(self) -> Instances:
        """All objects, in the order of the prompts, each with what it was asked for as.

        The results stay as they came: their records vouch for them.
        """
        items: list[Instance] = []
        concepts = self.concepts or ("",) * len(self.results)
        for result, concept in zip(self.results, concepts, strict=True):
            items += named(result.instances, concept)
        return Instances(self.image_shape, tuple(items))

    @property
    def found_words(self) -> str:
        """Say how many objects there are, and how many of each of several concepts.

        Examples
        --------
        ``"12 objects"``, ``"7 nucleus, 5 cell"``
        """
        counts = [len(result.instances) for result in self.results]
        if len(self.concepts) > 1 and all(self.concepts):
            pairs = zip(counts, self.concepts, strict=True)
            return ", ".join(f"{count} {concept}" for count, concept in pairs)
        return f"{sum(counts)} object{'' if sum(counts) == 1 else 's'}"

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should read, each sentence once."""
        sentences = [notice for result in self.results for notice in result.notices]
        flat = [self.flatness.reason] if self.flatness is not None else []
        return tuple(dict.fromkeys(flat + sentences))

    @property
    def cached(self) -> int:
        """How many answers came from the cache."""
        return sum(result.usage.cached for result in self.results)

    @property
    def cached_words(self) -> str:
        """Say how many answers came from the cache; empty if none did."""
        count, is_all = self.cached, self.cached == len(self.results)
        return "" if not count else "from cache" if is_all else f"{count} from cache"

    @property
    def usage(self) -> Usage:
        """The sum over all questions; unknown parts stay unknown."""
        usages = [result.usage for result in self.results]
        ids = [usage.request_id for usage in usages if usage.request_id]
        return Usage(
            credits=_sum_known([usage.credits for usage in usages]),
            seconds=_sum_known([usage.seconds for usage in usages]),
            request_id=ids[-1] if len(ids) == 1 else None,
            cached=bool(usages) and all(usage.cached for usage in usages),
        )


def named(instances: Instances, concept: str) -> tuple[Instance, ...]:
    """Return objects with what they were asked for as, where they say nothing else."""
    if not concept:
        return instances.items
    return tuple(item if item.concept else replace(item, concept=concept) for item in instances)


def _sum_known(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
