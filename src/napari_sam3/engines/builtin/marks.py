"""Clicks as pixels of a window, and the promise that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from napari_sam3.core.arrays import BoolArray, Float32Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import Point
from napari_sam3.engines.builtin.split import distance_to_outline
from napari_sam3.errors import PromptError

Places = tuple[tuple[int, int], ...]


def window_at(frame: Box, pixels: Places, margin: int) -> Box:
    """Return the box around some pixels of an image with a margin, clipped to the image."""
    rows, cols = zip(*pixels, strict=True)
    around = Box(min(rows), min(cols), max(rows) + 1, max(cols) + 1).grown(margin)
    return around.intersection(frame) or frame


def corners(item: Instance) -> Places:
    """Return the first and the last pixel of an object's box."""
    box = item.box
    return (box.top, box.left), (box.bottom - 1, box.right - 1)


@dataclass(frozen=True, slots=True)
class Marks:
    """What must be inside the object, and what outside.

    Parameters
    ----------
    positive, negative : tuple of (row, col)
        Whole pixels.
    """

    positive: Places = ()
    negative: Places = ()

    @classmethod
    def from_points(cls, points: tuple[Point, ...], frame: Box) -> Marks:
        """Return the pixels clicked on.

        Parameters
        ----------
        frame : Box
            Of the image.  Negative points outside of it say nothing and are left out.

        Returns
        -------
        Marks
            A pixel clicked on both ways is positive: the last word of someone who
            wants to keep it is safer than cutting a hole.

        Raises
        ------
        PromptError
            If a positive point lies outside of the image.
        """
        for point in points:
            if point.positive and not frame.contains(*point.pixel):
                raise PromptError(
                    f"The click at row {point.row:g}, column {point.col:g} lies outside of the "
                    f"image, which has {frame.bottom} rows and {frame.right} columns."
                )
        positive = tuple(dict.fromkeys(p.pixel for p in points if p.positive))
        negative = tuple(
            dict.fromkeys(
                p.pixel
                for p in points
                if not p.positive and frame.contains(*p.pixel) and p.pixel not in positive
            )
        )
        return cls(positive, negative)

    def inside(self, window: Box) -> Marks:
        """Return those in a window, relative to its corner."""

        def moved(pixels: Places) -> Places:
            return tuple(
                (r - window.top, c - window.left) for r, c in pixels if window.contains(r, c)
            )

        return Marks(moved(self.positive), moved(self.negative))

    def hold(self, mask: BoolArray) -> bool:
        """Whether all positive pixels are in the mask and no negative one is."""
        return all(mask[p] for p in self.positive) and not any(mask[p] for p in self.negative)

    def enforced(self, mask: BoolArray, gray: Float32Array) -> BoolArray:
        """Return the mask changed as little as it takes for all marks to hold.

        Parameters
        ----------
        mask : ndarray of bool, shape (rows, cols)
        gray : ndarray of float32, shape (rows, cols)

        Returns
        -------
        ndarray of bool, shape (rows, cols)
        """
        if self.hold(mask):
            return mask
        grown = mask | self._surroundings(mask.shape)
        if not any(grown[p] for p in self.negative):
            return grown
        seeds = np.zeros(mask.shape, np.int32)
        for pixel in self.positive:
            seeds[pixel] = 1
        if not self.positive:
            # only a box says where the object is: its core is the part farthest from the outline
            seeds[mask & self._core(mask)] = 1
        for pixel in self.negative:
            seeds[pixel] = 2
        heights = _passability(grown, gray)
        parts = watershed(heights, seeds, mask=grown)  # type: ignore[no-untyped-call]
        return np.asarray(parts == 1)

    def _surroundings(self, shape: tuple[int, ...]) -> BoolArray:
        points = np.zeros(shape, bool)
        for pixel in self.positive:
            points[pixel] = True
        near: BoolArray = ndimage.binary_dilation(points, iterations=2) if points.any() else points
        return near

    def _core(self, mask: BoolArray) -> BoolArray:
        distance = distance_to_outline(mask)
        core = np.asarray(distance >= 0.7 * distance.max())
        for pixel in self.negative:
            core[pixel] = False
        return core


def _passability(mask: BoolArray, gray: Float32Array) -> npt.NDArray[Any]:
    """Return heights with ridges at necks and at edges of the gray values."""
    distance = distance_to_outline(mask)
    edge = ndimage.gaussian_gradient_magnitude(gray, 1.0)
    height: npt.NDArray[Any] = edge / max(float(edge.max()), 1e-6) - distance / distance.max()
    return height
