"""Parts of a picture around the clicks, coarse enough to be searched fast."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from napari_sam3.core.geometry import Box
from napari_sam3.engines.builtin.marks import Marks, Pixels
from napari_sam3.engines.builtin.scene import BoolArray, FloatArray, Scene, project, smoothed

_FIRST_HALF = 32
_MOST_CELLS = 260
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A part of a picture around the clicks, coarse enough to be searched fast.

    Parameters
    ----------
    window : Box
        The part, in pixels of the picture.
    step : int
        Pixels of the picture per cell of the search.
    gray : ndarray of float32
        Cells, objects brighter than what surrounds them.
    spread : float
        Range of gray values that counts as strong contrast.
    marks : Marks
        In cells.
    frame : Box
        Of the picture.
    """

    window: Box
    step: int
    gray: FloatArray
    spread: float
    marks: Marks
    frame: Box


def windows(frame: Box, pixels: Pixels) -> Iterator[Box]:
    """Yield ever larger boxes around the pixels, clipped to the picture; the last is all of it."""
    rows, cols = zip(*pixels, strict=True)
    half, window = _FIRST_HALF, None
    while window != frame:
        around = Box(min(rows) - half, min(cols) - half, max(rows) + half + 1, max(cols) + half + 1)
        # the pixels lie inside the frame
        window = around.intersection(frame) or frame
        yield window
        half *= 2


def looks(picture: Scene, window: Box, marks: Marks) -> Iterator[Look]:
    """Yield the window as bright objects and, if gray does not tell, as dark ones."""
    step = max(1, -(-max(window.shape) // _MOST_CELLS))
    inside = marks.inside(window)
    cells = Marks(
        *(
            tuple((row // step, col // step) for row, col in pixels)
            for pixels in (inside.positive, inside.negative)
        )
    )
    pixels = picture.rgb[window.slices][::step, ::step]
    own, near = (_patches(pixels.shape, cells.positive, half) for half in (2, 8))
    gray = smoothed(project(pixels, picture.contrast_axis(pixels, own, ~near)))
    spread = picture.spread if picture.is_gray else max(float(np.ptp(gray)), 1.0)
    # on a discriminant axis the object is bright already
    for sign in (1, -1) if picture.is_gray else (1,):
        yield Look(window, step, gray * np.float32(sign), spread, cells, picture.box)


def _patches(shape: tuple[int, ...], pixels: Pixels, half: int) -> BoolArray:
    mask = np.zeros(shape[:2], bool)
    for row, col in pixels:
        mask[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1] = True
    return mask


def is_cut_off(mask: BoolArray, look: Look) -> bool:
    """Whether the window's sides cut the region, or it is the picture's background."""
    window, frame = look.window, look.frame
    sides = (
        (window.top > frame.top, mask[0]),
        (window.bottom < frame.bottom, mask[-1]),
        (window.left > frame.left, mask[:, 0]),
        (window.right < frame.right, mask[:, -1]),
    )
    if any(inner and side.any() for inner, side in sides):
        return True
    length = sum(side.size for _, side in sides)
    return sum(int(np.count_nonzero(side)) for _, side in sides) > _MOSTLY * length


def finest(mask: BoolArray, look: Look) -> BoolArray:
    """Return a mask of cells as a mask of the window's pixels."""
    if look.step == 1:
        return mask
    rows, cols = look.window.shape
    return mask.repeat(look.step, axis=0).repeat(look.step, axis=1)[:rows, :cols]
