"""What becomes of each entry of a file: an object on its plane, or a reason why it is none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.painting import paint_objects
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported, Planes, place_along
from napari_sam3.workflows.exporting.file_object import (
    MAX_PIXELS,
    FileObject,
    NoObjectError,
    malformed_as_sentence,
)

Place = Mapping[str, int]
"""Positions along axes, by their letters (T, C, Z); empty where nothing is said."""


@dataclass(slots=True)
class Entries:
    """The entries of a file, each read once.

    Parameters
    ----------
    noun : str
        What the file calls them, in the singular.
    found : list of (FileObject, Place)
        Those that are objects, and where they lie.
    left_out : Counter
        How many are none, by the reason.
    """

    noun: str
    found: list[tuple[FileObject, Place]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def reading(self, what: str) -> Generator[None]:
        """Count the entry if it is no object; refuse the file if its values make no sense."""
        with malformed_as_sentence(what):
            try:
                yield
            except NoObjectError as why:
                self.left_out[str(why)] += 1

    def leave_out(self, why: str, count: int) -> None:
        """Count entries that are no objects, if there are any."""
        if count:
            self.left_out[why] += count

    def add(self, one: FileObject, place: Place) -> None:
        """Take an entry that is an object."""
        self.found.append((one, place))

    @property
    def notices(self) -> tuple[str, ...]:
        """A sentence for each reason."""
        return tuple(
            f"{count} {self.noun}{' was' if count == 1 else 's were'} left out: {why}."
            for why, count in self.left_out.items()
        )

    def assembled(
        self, path: Path, shape: tuple[int, int], wanted: Sequence[int] | None, **about: Any
    ) -> Exported:
        """Return the objects on their plane, or planes.

        Parameters
        ----------
        path : Path
            For messages.
        shape : tuple of int
            (rows, cols) of the image.
        wanted : sequence of int, optional
            The plane to take; the objects of others are left out.
        **about
            More of `Exported`.

        Raises
        ------
        ImageError
            If the planes are too many.
        """
        if wanted is not None:
            self._keep_on(place_along(tuple(wanted)))
            taken = tuple(one for one, _ in _numbered(self.found))
            at = tuple(wanted) or None
            return Exported(taken, shape, plane=at, notices=self.notices, **about)
        axes = "".join(letter for letter in "TCZ" if any(letter in at for _, at in self.found))
        if axes:
            self._keep_placed()
        planes: dict[tuple[int, ...], list[PlaneObject]] = {}
        for one, place in _numbered(self.found):
            planes.setdefault(tuple(place.get(letter, 0) for letter in axes), []).append(one)
        if len(planes) > 1:
            several = {at: tuple(planes[at]) for at in sorted(planes)}
            labels = _stacked(path, several, shape)
            return Exported(
                (),
                shape,
                labels=labels,
                axes=f"{axes}YX",
                planes=several,
                notices=self.notices,
                **about,
            )
        plane, objects = next(iter(planes.items()), ((), []))
        about["plane_axes"] = axes
        return Exported(tuple(objects), shape, plane=plane or None, notices=self.notices, **about)

    def _keep_on(self, wanted: Place) -> None:
        kept = []
        for one, at in self.found:
            if all(wanted[letter] == at[letter] for letter in wanted if letter in at):
                kept.append((one, at))
            else:
                self.left_out["another plane"] += 1
        self.found = kept

    def _keep_placed(self) -> None:
        kept = [(one, at) for one, at in self.found if at]
        without = len(self.found) - len(kept)
        self.leave_out("no plane, where others have one", without)
        self.found = kept


def _numbered(found: Sequence[tuple[FileObject, Place]]) -> list[tuple[PlaneObject, Place]]:
    """Give objects the labels that they have in the file, or 1 to n if those are none.

    What has one label on several planes is one object: what the file says first of its state
    is true of all of it.
    """
    labels = [one.label for one, _ in found]
    are_labels = all(0 < label <= np.iinfo(np.uint32).max for label in labels)
    on_planes = {(label, *sorted(at.items())) for label, (_, at) in zip(labels, found, strict=True)}
    if not are_labels or len(on_planes) < len(labels):
        labels = list(range(1, len(found) + 1))
    first: dict[int, PlaneObject] = {}
    numbered = []
    for label, (one, at) in zip(labels, found, strict=True):
        state, depth = one.state, len(first)
        if label in first:
            state, depth = first[label].state, first[label].depth
        made = PlaneObject(label, one.instance, one.engine, state, depth)
        first.setdefault(label, made)
        numbered.append((made, at))
    return numbered


def _stacked(path: Path, planes: Planes, shape: tuple[int, int]) -> Any:
    """Paint the objects of several planes into a stack that reaches to the last of them."""
    sizes = tuple(max(along) + 1 for along in zip(*planes, strict=True))
    if math.prod((*sizes, *shape)) > MAX_PIXELS:
        raise ImageError(
            f"{path} is about a stack of {' × '.join(map(str, (*sizes, *shape)))} pixels; "
            f"{MAX_PIXELS} are the most. Choose one plane of it."
        )
    largest = max(one.label for objects in planes.values() for one in objects)
    labels = np.zeros((*sizes, *shape), labels_dtype(largest))
    for at, objects in planes.items():
        labels[at] = paint_objects(objects, shape, dtype=labels.dtype)
    return labels
