"""The few words that the built-in engine knows: what they keep of all objects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation

from napari_sam3.core.arrays import BoolArray, Float64Array
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import Exemplar
from napari_sam3.engines.base import NEVER, split_words
from napari_sam3.engines.builtin.exemplars import log_elongation_and_solidity, segment_alike
from napari_sam3.engines.builtin.scene import Scene
from napari_sam3.engines.builtin.trained import all_objects, diameter_in
from napari_sam3.errors import PromptError

_SINGULAR = {"nuclei": "nucleus", "cells": "cell", "bacteria": "bacterium", "spots": "spot"}
_NOUNS = tuple(_SINGULAR.values())
_OPPOSITES = (("bright", "dark"), ("large", "small"), ("round", "elongated"))

_COMPARING = ("large", "small")

SPOT_DIAMETER = 12.0
"""Pixels: what is wider is no spot."""
_FINEST_SPOT = 6.0
ROUND = 1.35
"""Length over width, at most; and no dents."""
ELONGATED = 1.7
"""Length over width, at least."""
_DENTED = 0.85
_LUMPY = 0.75
_RING = 4


def parsed(text: str) -> tuple[str, ...]:
    """Return the words of a text, in the singular.

    Raises
    ------
    PromptError
        If they contradict each other, or name more than one kind.
    """
    words = tuple(dict.fromkeys(_SINGULAR.get(word, word) for word in split_words(text)))
    if not words:
        raise PromptError(f"“{text}” holds no word; type what to find.")
    for one, other in _OPPOSITES:
        if one in words and other in words:
            raise PromptError(f"Nothing is {one} and {other}; leave one of the two words out.")
    if sum(word in _NOUNS for word in words) > 1:
        raise PromptError(f"“{text}” names more than one kind; ask for one after the other.")
    return words


def segment_named(
    picture: Scene,
    text: str,
    exemplars: tuple[Exemplar, ...],
    min_score: float = 0.0,
    stop: threading.Event = NEVER,
) -> list[Instance]:
    """Find the objects that a few words describe.

    Parameters
    ----------
    text : str
        Words that the engine knows.
    exemplars : tuple of Exemplar
        If there are any, only objects like them.
    min_score : float
        Objects below are left out before sizes are compared.

    Raises
    ------
    PromptError
        If the words contradict each other.
    """
    words = parsed(text)
    found = segment_alike(picture, exemplars, stop) if exemplars else _all(picture, words, stop)
    found = [item for item in found if (item.score or 0.0) >= min_score]
    # large among the round ones, not round among the large ones
    for word in sorted(words, key=_COMPARING.__contains__):
        if found:
            kept = _FILTERS[word](picture, found)
            found = [item for item, is_kept in zip(found, kept, strict=True) if is_kept]
    return [replace(item, concept=text) for item in found]


def _all(picture: Scene, words: tuple[str, ...], stop: threading.Event) -> list[Instance]:
    if "spot" not in words:
        return all_objects(picture, stop=stop)
    # large objects may be seen first where both are there
    width = diameter_in(picture, stop) or _FINEST_SPOT
    return all_objects(picture, width if width <= SPOT_DIAMETER else _FINEST_SPOT, stop)


def _are_round(shapes: Float64Array) -> BoolArray:
    return np.asarray((shapes[:, 0] <= np.log(ROUND)) & (shapes[:, 1] >= _DENTED))


def _are_large(sizes: Float64Array) -> BoolArray:
    # where there is one size only, nothing is large or small beside the others
    return np.asarray((sizes > _limit(sizes)) | (np.ptp(sizes) == 0))


def _limit(sizes: Float64Array) -> float:
    """Return the size that best divides small from large.

    Otsu's criterion on the logarithms themselves: a histogram of a few objects has empty bins.
    """
    if np.ptp(sizes) == 0:
        return float(sizes[0])
    values = np.sort(np.log(sizes))
    below = np.arange(1, len(values))
    sums = np.cumsum(values)
    apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / (len(values) - below)
    best = int(np.argmax(below * (len(values) - below) * apart**2))
    return float(np.exp((values[best] + values[best + 1]) / 2))


def _areas(items: Sequence[Instance]) -> Float64Array:
    return np.array([item.area for item in items], float)


def _shapes(items: Sequence[Instance]) -> Float64Array:
    """Return log of length over width, and solidity, of each object."""
    return np.array([log_elongation_and_solidity(item.mask) for item in items])


def _contrasts(picture: Scene, items: Sequence[Instance]) -> Float64Array:
    """Return how much brighter each object is than the ring around it."""
    taken = np.zeros(picture.box.shape, bool)
    for item in items:
        taken[item.box.slices] |= item.mask
    return np.array([_contrast(picture, item, taken) for item in items])


def _contrast(picture: Scene, item: Instance, taken: BoolArray) -> float:
    window = item.box.grown(_RING).intersection(picture.box) or item.box
    mask = item.in_window(window)
    grown = binary_dilation(mask, iterations=_RING)
    ring = grown & ~taken[window.slices]
    if not ring.any():
        # others all around: they are what it is seen against
        ring = grown & ~mask
    gray = picture.rgb[window.slices].mean(axis=2)
    return float(gray[mask].mean() - gray[ring].mean()) if ring.any() else 0.0


_FILTERS: dict[str, Callable[[Scene, Sequence[Instance]], BoolArray]] = {
    "nucleus": lambda _, items: _shapes(items)[:, 1] >= _LUMPY,
    "cell": lambda _, items: np.ones(len(items), bool),
    "bacterium": lambda _, items: np.ones(len(items), bool),
    "spot": lambda _, items: 2 * np.sqrt(_areas(items) / np.pi) <= SPOT_DIAMETER,
    "bright": lambda picture, items: _contrasts(picture, items) > 0,
    "dark": lambda picture, items: _contrasts(picture, items) < 0,
    "large": lambda _, items: _are_large(_areas(items)),
    "small": lambda _, items: _areas(items) <= _limit(_areas(items)),
    "round": lambda _, items: _are_round(_shapes(items)),
    "elongated": lambda _, items: _shapes(items)[:, 0] >= np.log(ELONGATED),
}
"""Which objects a word keeps."""
