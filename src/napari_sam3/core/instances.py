"""Instance masks: the record of an answer, overlaps included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.label_runs import find_boxes
from napari_sam3.core.labels import OverlapRule, labels_dtype, paint, top_first


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One object.

    Parameters
    ----------
    mask : ndarray of bool, shape ``box.shape``
        The object's pixels, cropped to its box.  It must not be changed afterwards: what is
        known of it is remembered, and other instances may share it.
    box : Box
        Where the crop lies in the image.
    score : float, optional
        The engine's own confidence, 0–1; None where the engine gives none.
    concept : str
        What it was found as, if it was asked for by name.

    Raises
    ------
    ValueError
        If mask and box do not fit together.
    """

    mask: BoolArray
    box: Box
    score: float | None = None
    concept: str = ""
    _area: int | None = field(default=None, init=False, repr=False, compare=False)
    _perimeter: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.mask.dtype != np.bool_ or self.mask.shape != self.box.shape:
            raise ValueError(
                f"an instance needs a bool mask of shape {self.box.shape}, "
                f"not {self.mask.dtype} of shape {self.mask.shape}"
            )

    def __repr__(self) -> str:
        parts = [f"area={self.area}", f"box={self.box}"]
        parts += [f"score={self.score:g}"] if self.score is not None else []
        parts += [f"concept={self.concept!r}"] if self.concept else []
        return f"Instance({', '.join(parts)})"

    @property
    def area(self) -> int:
        """Number of pixels, counted when first asked for."""
        area = self._area
        if area is None:
            area = int(np.count_nonzero(self.mask))
            object.__setattr__(self, "_area", area)
        return area

    @property
    def perimeter(self) -> float:
        """Length of its outline in pixels, measured when first asked for.

        By Crofton's formula in four directions: π/8 times the sum of the outline's crossings
        along rows, columns (a pixel apart) and both diagonals (1/√2 apart).  So a straight
        outline counts as much at any angle, to within some 6 % (Legland, Kiêu & Devaux 2007,
        "Computation of Minkowski measures on 2D and 3D binary images", Image Anal Stereol 26).
        """
        known = self._perimeter
        if known is None:
            known = _perimeter(self.mask)
            object.__setattr__(self, "_perimeter", known)
        return known

    def shifted(self, rows: int, cols: int) -> Instance:
        """Return the instance moved by whole pixels."""
        return replace(self, box=self.box.shifted(rows, cols))

    def in_window(self, window: Box) -> BoolArray:
        """Return the object's pixels in a part of the image, shape ``window.shape``."""
        mask = np.zeros(window.shape, bool)
        common = self.box.intersection(window)
        if common is not None:
            own = common.shifted(-self.box.top, -self.box.left)
            mask[common.shifted(-window.top, -window.left).slices] = self.mask[own.slices]
        return mask

    def transposed(self) -> Instance:
        """Return the instance with rows and columns exchanged."""
        box = self.box
        return replace(self, mask=self.mask.T, box=Box(box.left, box.top, box.right, box.bottom))

    def joined(self, other: Instance) -> Instance:
        """Return the instance with the pixels of another, too; itself if it has them already."""
        box = self.box.union(other.box)
        mask = self.in_window(box) | other.in_window(box)
        return self if np.count_nonzero(mask) == self.area else replace(self, mask=mask, box=box)

    def without(self, other: Instance) -> Instance | None:
        """Return the pixels that another instance has not; None if there are none."""
        common = self.box.intersection(other.box)
        if common is None:
            return self
        mask = self.mask.copy()
        area = mask[common.shifted(-self.box.top, -self.box.left).slices]
        area &= ~other.mask[common.shifted(-other.box.top, -other.box.left).slices]
        left = Instance.from_mask(mask, self.score, self.concept)
        return None if left is None else left.shifted(self.box.top, self.box.left)

    def clipped(self, shape: tuple[int, int]) -> Instance | None:
        """Return the part inside an image of this shape, or None if nothing is left."""
        box = self.box.intersection(Box.of_shape(shape))
        if box is None:
            return None
        if box == self.box:
            return self
        inner = box.shifted(-self.box.top, -self.box.left)
        mask = self.mask[inner.slices]
        return replace(self, mask=mask, box=box) if mask.any() else None

    @classmethod
    def from_mask(
        cls,
        mask: npt.ArrayLike,
        score: float | None = None,
        concept: str = "",
        window: Box | None = None,
    ) -> Instance | None:
        """Crop a mask; None if it is empty.

        Parameters
        ----------
        mask : array_like, shape (rows, cols)
            Nonzero where the object is.
        score, concept
            As in `Instance`.
        window : Box, optional
            The part of the image that the mask is of; by default all of it.
        """
        pixels = np.asarray(mask)
        if pixels.dtype != np.bool_:
            pixels = pixels != 0
        box = bounding_box(pixels)
        if box is None:
            return None
        place = box if window is None else box.shifted(window.top, window.left)
        return cls(pixels[box.slices].copy(), place, score, concept)


def _perimeter(mask: BoolArray) -> float:
    rows, cols = mask.shape
    padded = np.zeros((rows + 2, cols + 2), bool)
    padded[1:-1, 1:-1] = mask
    straight = _crossings(padded[1:], padded[:-1]) + _crossings(padded[:, 1:], padded[:, :-1])
    diagonal = _crossings(padded[1:, 1:], padded[:-1, :-1])
    diagonal += _crossings(padded[1:, :-1], padded[:-1, 1:])
    return float(np.pi / 8 * (straight + diagonal / np.sqrt(2)))


def _crossings(one: BoolArray, other: BoolArray) -> int:
    return int(np.count_nonzero(one != other))


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """All objects of one answer, in the engine's order; they may overlap.

    Parameters
    ----------
    image_shape : tuple of int
        (rows, cols) of the image that was asked about.
    items : tuple of Instance
        The objects; each lies inside the image.
    """

    image_shape: tuple[int, int]
    items: tuple[Instance, ...] = field(default=())

    def __post_init__(self) -> None:
        rows, cols = self.image_shape
        object.__setattr__(self, "image_shape", (int(rows), int(cols)))
        object.__setattr__(self, "items", tuple(self.items))
        for item in self.items:
            box = item.box
            if box.top < 0 or box.left < 0 or box.bottom > rows or box.right > cols:
                raise ValueError(f"{box} lies outside an image of shape {self.image_shape}")

    def __repr__(self) -> str:
        return f"Instances({self.words})"

    @property
    def words(self) -> str:
        """How many objects, and on what, e.g. ``"2 objects, 40 × 60 pixels"``."""
        rows, cols = self.image_shape
        count = "1 object" if len(self.items) == 1 else f"{len(self.items)} objects"
        return f"{count}, {rows} × {cols} pixels"

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Instance:
        return self.items[index]

    @classmethod
    def from_masks(
        cls,
        masks: npt.ArrayLike | Iterable[npt.ArrayLike],
        scores: Iterable[float | None] | None = None,
        *,
        image_shape: tuple[int, int] | None = None,
        concept: str = "",
    ) -> Instances:
        """Build from full-size masks; empty ones are left out.

        Parameters
        ----------
        masks : array_like, shape (n, rows, cols), or iterable of (rows, cols)
            Nonzero where the object is.  An iterable is read one mask at a time.
        scores : iterable of float or None, optional
            One per mask.
        image_shape : tuple of int, optional
            Needed only where there may be no mask at all.
        concept : str
            As in `Instance`.

        Returns
        -------
        Instances

        Raises
        ------
        ValueError
            If the masks differ in shape, or their number from that of the scores,
            or no shape is known.
        """
        listed = list(scores) if scores is not None else None
        shape, items, count = image_shape, [], 0
        for mask in masks:  # type: ignore[union-attr]  # an ndarray iterates over its first axis
            pixels = np.asarray(mask)
            shape = shape or pixels.shape
            if pixels.shape != tuple(shape):
                raise ValueError(f"a mask of shape {pixels.shape} among masks of shape {shape}")
            score = listed[count] if listed is not None and count < len(listed) else None
            item = Instance.from_mask(pixels, score, concept)
            items.extend([item] if item else [])
            count += 1
        if listed is not None and len(listed) != count:
            raise ValueError(f"{len(listed)} scores for {count} masks")
        if shape is None:
            raise ValueError("without a mask, image_shape must be given")
        return cls(shape, tuple(items))

    @classmethod
    def from_labels(cls, labels: npt.NDArray[Any]) -> Instances:
        """Build from a label image: one instance per label above 0, in rising order."""
        return cls(labels.shape, tuple(split_labels(labels).values()))

    def to_labels(
        self, rule: OverlapRule = "score", dtype: npt.DTypeLike | None = None
    ) -> npt.NDArray[Any]:
        """Return a label image: item ``i`` becomes label ``i + 1``.

        Parameters
        ----------
        rule : {"score", "smallest", "first"}
            Which object shows where several overlap; see `napari_sam3.core.labels`.
        dtype : dtype, optional
            Default is the smallest of uint16 and uint32 that holds all labels.

        Returns
        -------
        ndarray of int, shape (rows, cols)
            0 is background.

        Raises
        ------
        ValueError
            If there is no such rule, or `dtype` cannot hold all labels.
        """
        chosen = np.dtype(dtype) if dtype is not None else labels_dtype(len(self))
        if len(self) > np.iinfo(chosen).max:
            raise ValueError(f"{len(self)} labels do not fit in {chosen}")
        labels = np.zeros(self.image_shape, chosen)
        paint(labels, ((i + 1, self[i].box, self[i].mask) for i in self.top_first(rule)))
        return labels

    def top_first(self, rule: OverlapRule) -> list[int]:
        """Return the indices of the items, those that lie on top under a rule first.

        Raises
        ------
        ValueError
            If there is no such rule.
        """
        return top_first([one.score for one in self], [one.area for one in self], rule)

    def transposed(self) -> Instances:
        """Return them with rows and columns exchanged."""
        rows, cols = self.image_shape
        return Instances((cols, rows), tuple(item.transposed() for item in self.items))

    def at_least(self, min_score: float) -> Instances:
        """Return those that score at least this much, or have no score."""
        kept = (i for i in self.items if i.score is None or i.score >= min_score)
        return replace(self, items=tuple(kept))

    def best(self, count: int) -> Instances:
        """Return the `count` best by score (all if 0), order kept; unscored ones come last."""
        if not 0 < count < len(self.items):
            return self
        scores = [-1.0 if i.score is None else i.score for i in self.items]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        return replace(self, items=tuple(self.items[i] for i in sorted(order[:count])))


def split_labels(
    labels: npt.NDArray[Any], boxes: Mapping[int, Box] | None = None, concept: str = ""
) -> dict[int, Instance]:
    """Take a label image apart into one instance per label.

    Parameters
    ----------
    labels : ndarray, shape (rows, cols)
    boxes : mapping of int to Box, optional
        What `napari_sam3.core.label_runs.find_boxes` found: of all labels above 0 by default,
        else of some, or in a part of the image.
    concept : str
        As in `Instance`.

    Returns
    -------
    dict
        By label.
    """
    found = find_boxes(labels) if boxes is None else boxes
    return {n: Instance(labels[box.slices] == n, box, None, concept) for n, box in found.items()}


def common_area(one: Instance, two: Instance) -> int:
    """Return how many pixels two instances share.

    Parameters
    ----------
    one, two : Instance
        Of the same image.
    """
    common = one.box.intersection(two.box)
    if common is None:
        return 0
    first, second = (
        item.mask[common.shifted(-item.box.top, -item.box.left).slices] for item in (one, two)
    )
    return int(np.count_nonzero(first & second))
