"""All objects like some examples, and unlike others."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2, vq

from napari_sam3.core.arrays import BoolArray, Float32Array, Float64Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, common_area
from napari_sam3.core.prompts import Exemplar
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.box import core_and_ring, signs, window_around
from napari_sam3.engines.builtin.everything import instances_of, regions_of
from napari_sam3.engines.builtin.marks import Marks
from napari_sam3.engines.builtin.scene import Scene
from napari_sam3.engines.builtin.trained import all_objects, looks_drawn, objects_in_boxes

# differences that make two objects of one kind look different: log area, log elongation,
# solidity, and red, green, blue, texture in units of the picture's range
_TOLERANCES = np.array([0.6, 0.4, 0.15, 0.3, 0.3, 0.3, 0.2])
_REACH = 5.0
_SAME = 0.3
_LEAST_SCORE = 0.02
_SIZE_STEP = 0.15
# with fewer exemplars than this nobody knows how much their kind varies
_TELLING = 2
_CLEAR = 0.5
_FEW = 3
_APART = 3.5


def segment_alike(
    picture: Scene, exemplars: tuple[Exemplar, ...], stop: threading.Event = NEVER
) -> list[Instance]:
    """Find all objects that look like the positive exemplars.

    Parameters
    ----------
    exemplars : tuple of Exemplar
        At least one positive; each box at least partly inside the picture.

    Returns
    -------
    list of Instance
        The positive exemplars' own objects first, with score 1: the user says that they
        are such objects.  Others score the lower the less they look like one object, and
        the less like a positive exemplar; those that look more like a negative one are missing.
    """
    shown = {True: list[Instance](), False: list[Instance]()}
    boxed = objects_in_boxes(picture, [exemplar.box for exemplar in exemplars], stop)
    for exemplar, found in zip(exemplars, boxed, strict=True):
        if found is not None:
            shown[exemplar.positive].append(found)
    wanted, unwanted = (appearances(picture, shown[positive]) for positive in (True, False))
    own = [replace(item, score=1.0) for item in without_repetitions(shown[True])]
    others = [
        item
        for item in _candidates(picture, exemplars, shown[True], stop)
        if not any(same(item, example) for example in [*own, *shown[False]])
    ]
    raise_if_stopped(stop)
    looks = appearances(picture, others)
    if len(wanted) >= _TELLING:
        clear = [(item.score or 0.0) >= _CLEAR for item in others]
        unwanted = np.concatenate([unwanted, other_kind(looks[clear], wanted)])
    return [*own, *_rated(others, looks, wanted, unwanted)]


def other_kind(looks: Float64Array, wanted: Float64Array) -> Float64Array:
    """Return the typical look of a second kind of objects, if there clearly is one.

    Parameters
    ----------
    looks, wanted : ndarray of float, shape (n, 7)
        Of all objects and of the positive exemplars; see `appearances`.

    Returns
    -------
    ndarray of float, shape (0 or 1, 7)

    Notes
    -----
    Two means, one of which starts at the exemplars; the groups are two kinds where
    Ashman's D of their positions along the line between them [1]_ is large, and no exemplar
    lies in the other group.

    References
    ----------
    .. [1] K. M. Ashman, C. M. Bird, S. E. Zepf, "Detecting bimodality in astronomical
       datasets", Astronomical Journal 108 (1994).
    """
    none = np.zeros((0, looks.shape[1]))
    near = wanted.mean(axis=0)
    away = np.linalg.norm(looks - near, axis=1)
    if len(looks) < 2 * _FEW or np.ptp(away) == 0:
        return none
    # one that is unlike all others is no kind, so not the farthest alone
    start = np.stack([near, looks[away >= np.median(away)].mean(axis=0)])
    try:
        middles, group = kmeans2(looks, start, minit="matrix", missing="raise")
    except ClusterError:
        return none
    theirs, _ = vq(wanted, middles)
    if theirs.any() or min(np.count_nonzero(group == 0), np.count_nonzero(group)) < _FEW:
        return none
    along = looks @ (middles[1] - middles[0])
    own, other = along[group == 0], along[group == 1]
    spread = np.sqrt((own.var() + other.var()) / 2)
    is_apart = abs(other.mean() - own.mean()) > _APART * max(float(spread), 1e-9)
    return middles[1:] if is_apart else none


def _candidates(
    picture: Scene,
    exemplars: tuple[Exemplar, ...],
    shown: list[Instance],
    stop: threading.Event,
) -> list[Instance]:
    """Return all objects of about the size of those shown, or at least of their colour."""
    found: list[Instance] = []
    if shown and not looks_drawn(picture):
        area = float(np.median([item.area for item in shown]))
        # in steps, so that one more example of the same kind finds the picture searched already
        steps = round(np.log(2 * np.sqrt(area / np.pi)) / _SIZE_STEP)
        found = all_objects(picture, float(np.exp(steps * _SIZE_STEP)), stop)
    if found:
        return found
    axis = common_axis(picture, [exemplar.box for exemplar in exemplars if exemplar.positive])
    return instances_of(regions_of(picture, axis, stop))


def _rated(
    items: list[Instance], looks: Float64Array, wanted: Float64Array, unwanted: Float64Array
) -> list[Instance]:
    near, far = distances(looks, wanted), distances(looks, unwanted)
    likeness = 1 / (1 + (near / _REACH) ** 4)
    # halfway to a negative exemplar nothing is left, far from all of them nothing changes
    preference = np.clip(2 * (far - near) / np.maximum(far, 1e-6), 0, 1)
    rated = []
    for item, factor in zip(items, likeness * preference, strict=True):
        value = (item.score or 0.0) * float(factor)
        if value >= _LEAST_SCORE:
            rated.append(replace(item, score=value))
    return rated


def common_axis(picture: Scene, boxes: list[Box]) -> Float32Array:
    """Return the channel weights on which the boxes' objects are bright.

    Parameters
    ----------
    boxes : list of Box
        At least one.

    Returns
    -------
    ndarray of float32, shape (3,)
    """
    axes, steps = [], []
    for box in boxes:
        window = window_around(picture.box, box, Marks())
        core, ring = core_and_ring(window.shape, box.shifted(-window.top, -window.left))
        axis = picture.contrast_axis(picture.rgb[window.slices], core, ring)
        gray = picture.window(window, axis)
        axes.append(axis)
        steps.append(signs(gray, ring)[0])
    mean = np.mean([axis * sign for axis, sign in zip(axes, steps, strict=True)], axis=0)
    # opposite exemplars cancel out: then the first one decides
    return np.asarray(mean if np.abs(mean).sum() > 0.1 else axes[0] * steps[0], np.float32)


def appearances(picture: Scene, items: list[Instance]) -> Float64Array:
    """Return what objects look like, in units in which 1 is a clear difference.

    Returns
    -------
    ndarray of float, shape (len(items), 7)
        Log area, log elongation, solidity, red, green, blue, texture.
    """
    rows = [_appearance(picture, item) for item in items]
    table: Float64Array = np.array(rows, np.float64).reshape(len(rows), len(_TOLERANCES))
    table /= _TOLERANCES
    return table


def log_elongation_and_solidity(mask: BoolArray) -> tuple[float, float]:
    """Return how long an object is, and how well it fills the ellipse of its moments.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, cols)

    Returns
    -------
    elongation : float
        Logarithm of length over width.
    solidity : float
        0–1; 1 for an ellipse.
    """
    rows, cols = np.nonzero(mask)
    variance = np.cov(rows, cols) if rows.size > 1 else np.zeros((2, 2))
    small, large = np.linalg.eigvalsh(variance + np.eye(2) / 12)
    filled = rows.size / float(4 * np.pi * np.sqrt(small * large))
    return float(np.log(large / small) / 2), min(1.0, filled)


def _appearance(picture: Scene, item: Instance) -> list[float]:
    pixels = picture.rgb[item.box.slices][item.mask].astype(np.float32) / picture.spread
    colour = pixels.mean(axis=0)
    texture = float(pixels.mean(axis=1).std())
    return [
        float(np.log(item.area)),
        *log_elongation_and_solidity(item.mask),
        *colour.tolist(),
        texture,
    ]


def distances(looks: Float64Array, examples: Float64Array) -> Float64Array:
    """Return the distance of each row to the nearest example; infinite without examples."""
    if len(examples) == 0:
        return np.full(len(looks), 1e9)
    apart = looks[:, None, :] - examples[None, :, :]
    return np.asarray(np.linalg.norm(apart, axis=2).min(axis=1), np.float64)


def same(one: Instance, two: Instance) -> bool:
    """Whether two instances are the same object: they share much of the smaller one."""
    return common_area(one, two) > _SAME * min(one.area, two.area)


def without_repetitions(items: list[Instance]) -> list[Instance]:
    """Return the instances without repetitions: two boxes may show the same object."""
    kept: list[Instance] = []
    for item in items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return kept
