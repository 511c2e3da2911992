"""Objects as they come out of a file, and how much of one is read at most."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import REVIEW_STATES, ReviewState
from napari_sam3.core.outlines import (
    Outline,
    Ring,
    count_crossings,
    instance_of_outlines,
    instance_of_rings,
)
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import place_along
from napari_sam3.workflows.exporting.coco import NO_CONCEPT

MAX_PIXELS = 1 << 31
"""A file that says that its image is larger is refused."""

MAX_MASK_PIXELS = 1 << 30
"""All objects' boxes together: a few bytes of a file unfold to any number of pixels."""

MAX_CROSSINGS = 1 << 28
"""All rows that all outlines cross."""

MAX_BYTES = 1 << 29
"""A longer text is not read."""

MAX_PLANE = (1 << 31) - 2
"""A plane farther along an axis is none; others count from 1, and in 32 bits."""

_MOST_AXES = 32

_WHOLE = re.compile(r"-?[0-9]{1,20}")

# what values of the wrong kind, at the wrong place, raise
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


class NoObjectError(Exception):
    """Why an entry of a file is no object, as the end of a sentence: a noun."""


class Wanted(NamedTuple):
    """Of which image, and of which plane, objects are read; see `read_objects`."""

    image_shape: tuple[int, int] | None = None
    image_name: str | None = None
    plane: Sequence[int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FileObject:
    """One object of a file; its label is 0 if it has none."""

    instance: Instance
    label: int
    engine: str
    state: ReviewState

    @classmethod
    def of(
        cls,
        instance: Instance,
        label: Any = 0,
        score: Any = None,
        concept: Any = "",
        engine: Any = "",
        state: Any = None,
    ) -> FileObject:
        """Take what a file says of an object, as far as it makes sense."""
        described = replace(instance, score=_score(score), concept=str(concept or ""))
        return cls(described, _label(label), str(engine or ""), _state(state))


@dataclass(slots=True)
class Room:
    """How much more may be unfolded from one file, about an image of this shape."""

    shape: tuple[int, int]
    pixels: int = MAX_MASK_PIXELS
    crossings: int = MAX_CROSSINGS

    def outlined(self, outlines: Sequence[Outline]) -> Instance:
        """Return what polygons outline.

        Raises
        ------
        NoObjectError
            If that is nothing.
        ValueError
            If they are no polygons, or too much.
        """
        rings = [ring for outline in outlines for ring in outline.rings]
        self._count_crossings(rings)
        return self.counted(instance_of_outlines(outlines, self.shape, self.pixels), rings)

    def ringed(self, rings: Sequence[Ring]) -> Instance:
        """Return what an odd number of rings goes around; raises as `outlined`."""
        self._count_crossings(rings)
        return self.counted(instance_of_rings(rings, self.shape, self.pixels), rings)

    def _count_crossings(self, rings: Sequence[Ring]) -> None:
        self.crossings -= count_crossings(rings, self.shape[0])
        if self.crossings < 0:
            raise ValueError("the outlines are too long")

    def counted(self, instance: Instance | None, rings: Sequence[Ring] = ()) -> Instance:
        """Take an object's pixels from what is left; the rings around it tell why there is none."""
        if instance is None:
            raise NoObjectError(self._why_nothing(rings))
        self.pixels -= instance.box.area
        if self.pixels < 0:
            raise ValueError("the objects are too large")
        return instance

    def _why_nothing(self, rings: Sequence[Ring]) -> str:
        if not rings:
            return "an empty mask"
        corners = np.concatenate(list(rings))
        if (corners.max(axis=0) <= 0).any() or (corners.min(axis=0) >= self.shape).any():
            return "outside the image"
        return "no pixel's centre inside"


@contextmanager
def malformed_as_sentence(what: str) -> Generator[None]:
    """Raise `ImageError`, which names what cannot be read, for values of the wrong kind."""
    try:
        yield
    except MALFORMED as error:
        raise ImageError(f"{what} cannot be read: {_reason(error):.200}.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):
        return str(error)
    is_missing = isinstance(error, KeyError)
    return f"there is no {error}" if is_missing else "a value is of another kind than it should be"


def entries_of(listed: Any) -> list[dict[str, Any]]:
    """Return the entries of a list, without empty ones."""
    if not isinstance(listed, list):
        raise ValueError("there is no list where one should be")
    if not all(one is None or isinstance(one, dict) for one in listed):
        raise ValueError("an entry of a list is a number, a text or a list")
    return [dict(one) for one in listed if one is not None]


def _allocatable(rows: Any, cols: Any, path: Path) -> tuple[int, int]:
    if not (type(rows) is int and type(cols) is int and rows > 0 and cols > 0):
        raise ImageError(f"{path} does not say how large its image is.")
    if rows * cols > MAX_PIXELS:
        raise ImageError(
            f"{path} is about an image of {rows} × {cols} pixels; {MAX_PIXELS} are the most, "
            "unless the image itself is at hand."
        )
    return rows, cols


def said_shape(rows: Any, cols: Any, wanted: tuple[int, int] | None, path: Path) -> tuple[int, int]:
    """Return the shape that a file says its image has, if it is wanted and not hostile."""
    rows, cols = whole_number(rows), whole_number(cols)
    if wanted is None:
        return _allocatable(rows, cols, path)
    if (rows, cols) != tuple(wanted):
        raise ImageError(
            f"{path} is about an image of {rows!r:.20} × {cols!r:.20} pixels (rows × columns), "
            f"but this one has {wanted[0]} × {wanted[1]}."
        )
    return wanted


def shape_around(rings: Sequence[Ring], path: Path) -> tuple[int, int]:
    """Return the shape of the smallest image that holds rings."""
    if not rings:
        return 1, 1
    with malformed_as_sentence(str(path)):
        # refuses what is no ring of an image
        count_crossings(rings, 1)
        farthest = np.max([ring.max(axis=0) for ring in rings], axis=0)
        rows, cols = np.maximum(np.ceil(farthest), 1).astype(int)
    return _allocatable(int(rows), int(cols), path)


def concept_of(category: Any) -> str:
    """Return the name of a category, unless it is that of what was found without a name."""
    return "" if category in (None, NO_CONCEPT) else str(category)


def _score(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    return None


def _state(value: Any) -> ReviewState:
    return next((state for state in REVIEW_STATES if state == value), "unreviewed")


def _label(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    return value if type(value) is int and value > 0 else 0


def pixel_size_of(value: Any) -> PixelSize:
    """Return the size of a pixel as this program writes it, or none."""
    try:
        return PixelSize(float(value["row"]), float(value["col"]), str(value["unit"])[:40])
    except MALFORMED:
        return PixelSize()


def place_of(image: Mapping[str, Any]) -> dict[str, int]:
    """Return where an image lies in its stack, by the letters of the axes; empty if unknown.

    Raises
    ------
    ValueError
        If no stack is so long.
    """
    said = image.get("plane")
    at = tuple(said) if isinstance(said, list) and len(said) <= _MOST_AXES else ()
    if not all(type(place) is int and place >= 0 for place in at):
        return {}
    if max(at, default=0) > MAX_PLANE:
        raise ValueError(f"no stack has a plane {max(at)}")
    return place_along(at, str(image.get("plane_axes") or ""))


def whole_number(value: Any) -> Any:
    """Return the whole number that a value is, perhaps written with a point or as text.

    What is none comes back as it is.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    return value
