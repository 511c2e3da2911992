"""One object from a box around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from napari_sam3.core.arrays import BoolArray, Float32Array
from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.instances import Instance
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.clicks import settled
from napari_sam3.engines.builtin.everything import fill_holes
from napari_sam3.engines.builtin.marks import Marks
from napari_sam3.engines.builtin.outline import centre_and_half, star_outline
from napari_sam3.engines.builtin.quality import measure_mask
from napari_sam3.engines.builtin.scene import Scene, is_drawn, smoothed

_MARGIN = 0.25
_SLACK = 0.08
_LEVELS = 8
# the box says where and how large, so the edge counts for more than in a score, which has to
# tell objects from junk; chosen on boxes around annotated nuclei, a rod and a disc
_FEATURE_WEIGHTS = np.array([1.0, 1.0, 0.3, 0.3, 0.0])
_FIT_WEIGHT = 1.0
_LOOSE = 1
_MARK_WEIGHT = 1.0
_MOST_CELLS = 256


def segment_box(
    picture: Scene, box: Box, marks: Marks, stop: threading.Event = NEVER
) -> Instance | None:
    """Segment the object in a box.

    Parameters
    ----------
    box : Box
        At least partly inside the picture.
    marks : Marks
        Clicks that correct the answer; those outside of the box count, too.

    Returns
    -------
    Instance or None
        None only where negative clicks leave nothing.
    """
    window = window_around(picture.box, box, marks)
    inner = box.shifted(-window.top, -window.left)
    core, ring = core_and_ring(window.shape, inner)
    axis = picture.contrast_axis(picture.rgb[window.slices], core, ring)
    gray = smoothed(picture.window(window, axis))
    spread = max(float(np.ptp(gray)), 1.0)
    own = marks.inside(window)
    best, best_value = inscribed_ellipse(window.shape, inner), -np.inf
    for sign in signs(gray, ring):
        raise_if_stopped(stop)
        for mask in _candidates(gray * np.float32(sign), inner, ring):
            value = _value(mask, gray * np.float32(sign), spread, inner, own)
            if value > best_value:
                best, best_value = mask, value
    return settled(picture, marks, window, best)


def _value(mask: BoolArray, gray: Float32Array, spread: float, inner: Box, marks: Marks) -> float:
    kept = [mask[p] for p in marks.positive] + [not mask[p] for p in marks.negative]
    missed = 1 - float(np.mean(kept)) if kept else 0.0
    fit = _FIT_WEIGHT * fit_to_box(mask, inner)
    features = measure_mask(mask, gray, spread)
    return float(features @ _FEATURE_WEIGHTS) + fit - _MARK_WEIGHT * missed


def window_around(frame: Box, box: Box, marks: Marks) -> Box:
    """Return the box with a margin and all positive clicks, clipped to the picture."""
    rows, cols = box.shape
    wide = Box(
        box.top - int(_MARGIN * rows) - 3,
        box.left - int(_MARGIN * cols) - 3,
        box.bottom + int(_MARGIN * rows) + 3,
        box.right + int(_MARGIN * cols) + 3,
    )
    down = [row for row, _ in marks.positive]
    right = [col for _, col in marks.positive]
    wide = Box(
        min([wide.top, *down]),
        min([wide.left, *right]),
        max([wide.bottom, *(row + 1 for row in down)]),
        max([wide.right, *(col + 1 for col in right)]),
    )
    return wide.intersection(frame) or frame


def core_and_ring(shape: tuple[int, int], inner: Box) -> tuple[BoolArray, BoolArray]:
    """Return what surely belongs to the object of a box, and what surely does not."""
    core = inscribed_ellipse(shape, inner, 0.5)
    ring = np.ones(shape, bool)
    clipped = inner.intersection(Box.of_shape(shape))
    if clipped is not None:
        ring[clipped.slices] = False
    return core, ring if ring.any() else ~inscribed_ellipse(shape, inner, 1.1)


def inscribed_ellipse(shape: tuple[int, int], inner: Box, scale: float = 1.0) -> BoolArray:
    """Return the ellipse that touches the box's sides (times `scale`), at least one pixel."""
    centre, half = centre_and_half(inner)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    mask = ((rows - centre[0]) / half[0]) ** 2 + ((cols - centre[1]) / half[1]) ** 2 <= scale**2
    middle = tuple(min(max(int(c), 0), n - 1) for c, n in zip(centre, shape, strict=True))
    mask[middle] = True
    return np.asarray(mask)


def signs(gray: Float32Array, ring: BoolArray) -> tuple[int, ...]:
    """Return 1 for a bright object, −1 for a dark one, both if the box does not tell."""
    if not ring.any():
        return 1, -1
    # the mean, because the middle of a bent object's box is background
    step = float(gray[~ring].mean() - np.median(gray[ring]))
    unsure = 0.1 * float(np.ptp(gray))
    return (1, -1) if abs(step) <= unsure else ((1,) if step > 0 else (-1,))


def _candidates(gray: Float32Array, inner: Box, ring: BoolArray) -> Iterator[BoolArray]:
    allowed = _slackened(gray.shape, inner)
    centre, half = centre_and_half(inner)
    low = float(np.median(gray[ring])) if ring.any() else float(gray.min())
    high = float(np.percentile(gray[~ring], 90))
    # an outline through rays rounds corners off, where a drawn picture has them
    masks = [] if is_drawn(gray) else [star_outline(gray, centre, half)]
    masks += [gray > low + (high - low) * (k + 0.5) / _LEVELS for k in range(_LEVELS)]
    for mask in masks:
        main = main_part(mask & allowed)
        if main is not None:
            yield main


def _slackened(shape: tuple[int, ...], inner: Box) -> BoolArray:
    rows, cols = (max(1, round(_SLACK * side)) for side in inner.shape)
    mask = np.zeros(shape, bool)
    mask[
        max(inner.top - rows, 0) : inner.bottom + rows,
        max(inner.left - cols, 0) : inner.right + cols,
    ] = True
    return mask


def main_part(mask: BoolArray) -> BoolArray | None:
    """Return the largest connected part of a mask with its holes filled, or None."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return None
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    return fill_holes(np.asarray(largest))


def fit_to_box(mask: BoolArray, inner: Box) -> float:
    """Return the overlap (IoU) of a mask's bounding box with the box drawn.

    The drawn one may be up to `_LOOSE` pixels off on each side: a hand is not steadier
    than that, and on a thin object it is a large part of its width.
    """
    own = bounding_box(mask)
    if own is None:
        return 0.0
    near = Box(
        _towards(inner.top, own.top),
        _towards(inner.left, own.left),
        _towards(inner.bottom, own.bottom),
        _towards(inner.right, own.right),
    )
    common = own.intersection(near)
    return common.area / (own.area + near.area - common.area) if common else 0.0


def _towards(drawn: int, found: int) -> int:
    return drawn + min(max(found - drawn, -_LOOSE), _LOOSE)
