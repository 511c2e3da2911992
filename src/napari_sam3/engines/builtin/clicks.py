"""One object from clicks: of all thresholds, the one whose component looks most like an object.

Windows around the clicks are looked at, coarse enough to be searched fast.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import ndimage

from napari_sam3.core.arrays import BoolArray, Float32Array
from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.instances import Instance
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.everything import fill_holes
from napari_sam3.engines.builtin.marks import Marks, Places, corners, window_at
from napari_sam3.engines.builtin.outline import centre_and_half, star_outline
from napari_sam3.engines.builtin.quality import score_mask
from napari_sam3.engines.builtin.scene import Scene, is_drawn, project, smoothed
from napari_sam3.engines.builtin.split import split_by_distance

_LEVELS = 16
_SPLIT_TRIALS = 2
_ROOMY = 0.3
_CLEAR = 0.75
_MORE_WINDOWS = 3
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
    gray: Float32Array
    spread: float
    marks: Marks
    frame: Box


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A region of a window that may be the object.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)
        Of the window.
    score : float
        0–1.
    """

    mask: BoolArray
    score: float


def segment_clicks(picture: Scene, marks: Marks, stop: threading.Event = NEVER) -> Instance | None:
    """Segment the object that was clicked on.

    Parameters
    ----------
    marks : Marks
        At least one positive pixel.

    Returns
    -------
    Instance or None
        None where there is no object: the click fell on the background.

    Notes
    -----
    The component tree of the gray levels, as for maximally stable extremal regions
    [1]_, but only the branch that holds the clicks.  Windows grow until the
    object lies well inside one.

    References
    ----------
    .. [1] J. Matas et al., "Robust wide-baseline stereo from maximally stable
       extremal regions", Image and Vision Computing 22 (2004).
    """
    attempts = [_search(picture, marks, stop)]
    if marks.negative:
        # or the object that the positive clicks alone mean, cut where the negative ones say
        attempts.append(_united(picture, marks, [_search(picture, Marks(marks.positive), stop)]))
    found = max(filter(None, attempts), key=lambda item: item.score or 0, default=None)
    if found is not None or len(marks.positive) == 1:
        return found
    parts = [_search(picture, Marks((one,), marks.negative), stop) for one in marks.positive]
    return _united(picture, marks, parts)


def _search(picture: Scene, marks: Marks, stop: threading.Event) -> Instance | None:
    best: tuple[float, Box, BoolArray] | None = None
    left = _MORE_WINDOWS
    for window in windows(picture.box, marks.positive):
        raise_if_stopped(stop)
        look = max(
            (found for found in map(best_candidate, looks(picture, window, marks)) if found),
            key=lambda found: found[1].score,
            default=None,
        )
        if look is None:
            continue
        view, candidate = look
        if best is None or candidate.score > best[0]:
            best = candidate.score, window, finest(candidate.mask, view)
        # a small window sees a large object's texture: unless the answer is clear, look on
        left -= 1
        if candidate.mask.mean() < _ROOMY and (candidate.score >= _CLEAR or left < 0):
            break
    return None if best is None else settled(picture, marks, best[1], best[2])


def best_candidate(look: Look) -> tuple[Look, Candidate] | None:
    """Return the component that holds the clicks and looks most like an object, if any does."""
    found = sorted(_components(look), key=lambda candidate: -candidate.score)
    pieces = [piece for one in found[:_SPLIT_TRIALS] for piece in _pieces(look, one)]
    best = max([*found, *pieces], key=lambda candidate: candidate.score, default=None)
    if best is None:
        return None
    return look, max([best, *_rounded(look, best)], key=lambda candidate: candidate.score)


def _components(look: Look) -> Iterator[Candidate]:
    low = float(np.percentile(look.gray, 2))
    high = min(float(look.gray[pixel]) for pixel in look.marks.positive)
    area = 0
    for level in low + (high - low) * (np.arange(_LEVELS) + 0.5) / _LEVELS:
        mask = component(look.gray > level, look.marks.positive)
        if mask is None or any(mask[pixel] for pixel in look.marks.negative):
            continue
        if np.count_nonzero(mask) == area or is_cut_off(mask, look):
            continue
        area = int(np.count_nonzero(mask))
        filled = fill_holes(mask)
        mask = mask if any(filled[pixel] for pixel in look.marks.negative) else filled
        yield Candidate(mask, score_mask(mask, look.gray, look.spread))


def component(mask: BoolArray, pixels: Places) -> BoolArray | None:
    """Return the connected part of a mask that holds all the pixels, or None."""
    labels, _ = ndimage.label(mask)
    names = {int(labels[pixel]) for pixel in pixels}
    name = names.pop()
    return None if names or name == 0 else np.asarray(labels == name)


def _pieces(look: Look, whole: Candidate) -> Iterator[Candidate]:
    labels, count = split_by_distance(whole.mask)
    names = {int(labels[pixel]) for pixel in look.marks.positive} - {0}
    if count > 1 and len(names) == 1:
        mask = labels == names.pop()
        yield Candidate(mask, score_mask(mask, look.gray, look.spread))


def _rounded(look: Look, found: Candidate) -> Iterator[Candidate]:
    """Yield the star-convex outline near a candidate: it closes gaps that no threshold closes."""
    box = bounding_box(found.mask)
    if box is None or is_drawn(look.gray):
        return
    mask = star_outline(look.gray, *centre_and_half(box))
    if look.marks.hold(mask) and not is_cut_off(mask, look):
        yield Candidate(mask, score_mask(mask, look.gray, look.spread))


def settled(picture: Scene, marks: Marks, window: Box, mask: BoolArray) -> Instance | None:
    """Return the object with every mark honoured and its final score."""
    gray = picture.window(window)
    kept = marks.inside(window).enforced(mask, gray)
    if not kept.any():
        return None
    score = max(score_mask(kept, gray * np.float32(sign), picture.spread) for sign in (1, -1))
    return Instance.from_mask(kept, score, window=window)


def _united(picture: Scene, marks: Marks, answers: list[Instance | None]) -> Instance | None:
    """Return all parts as one object: the user says that they belong together."""
    parts = [part for part in answers if part is not None]
    if not parts:
        return None
    whole = reduce(Instance.joined, parts)
    window = window_at(picture.box, (*marks.positive, *corners(whole)), 2)
    return settled(picture, marks, window, whole.in_window(window))


# ---------------------------------------------------------------------- looking


def windows(frame: Box, pixels: Places) -> Iterator[Box]:
    """Yield ever larger boxes around the pixels, clipped to the picture; the last is all of it."""
    half, window = _FIRST_HALF, None
    while window != frame:
        window = window_at(frame, pixels, half)
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


def _patches(shape: tuple[int, ...], pixels: Places, half: int) -> BoolArray:
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
