"""One object from clicks: of all thresholds, the one whose component looks most like an object."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_sam3.core.geometry import Box, bounding_box
from napari_sam3.core.instances import Instance
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.everything import fill_holes
from napari_sam3.engines.builtin.look import Look, finest, is_cut_off, looks, windows
from napari_sam3.engines.builtin.marks import Marks, Pixels
from napari_sam3.engines.builtin.outline import centre_and_half, star_outline
from napari_sam3.engines.builtin.quality import score_mask
from napari_sam3.engines.builtin.scene import BoolArray, Scene, is_drawn
from napari_sam3.engines.builtin.split import split_by_distance

_LEVELS = 16
_SPLIT_TRIALS = 2
_ROOMY = 0.3
_CLEAR = 0.75
_MORE_WINDOWS = 3


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
    picture : Scene
    marks : Marks
        At least one positive pixel.
    stop : threading.Event
        Set by another thread to cancel.

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


def component(mask: BoolArray, pixels: Pixels) -> BoolArray | None:
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
    held = marks.inside(window).enforced(mask, gray)
    box = bounding_box(held)
    if box is None:
        return None
    value = max(score_mask(held, gray * np.float32(sign), picture.spread) for sign in (1, -1))
    return Instance(held[box.slices].copy(), box.shifted(window.top, window.left), value)


def _united(picture: Scene, marks: Marks, answers: list[Instance | None]) -> Instance | None:
    """Return all parts as one object: the user says that they belong together."""
    parts = [part for part in answers if part is not None]
    if not parts:
        return None
    pixels = [
        *marks.positive,
        *((p.box.top, p.box.left) for p in parts),
        *((p.box.bottom - 1, p.box.right - 1) for p in parts),
    ]
    rows, cols = zip(*pixels, strict=True)
    window = Box(min(rows) - 2, min(cols) - 2, max(rows) + 3, max(cols) + 3)
    window = window.intersection(picture.box) or picture.box
    mask = np.zeros(window.shape, bool)
    for part in parts:
        mask[part.box.shifted(-window.top, -window.left).slices] |= part.mask
    return settled(picture, marks, window, mask)
