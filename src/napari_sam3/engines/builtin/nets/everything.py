"""All objects of a picture: the dense net's maps, cut into objects by a watershed."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from napari_sam3.core.arrays import RGB8, Float32Array, Float64Array, LabelImage
from napari_sam3.core.instances import Instance, split_labels
from napari_sam3.core.prompts import Point
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.everything import fill_holes
from napari_sam3.engines.builtin.nets.cells import instance_of_cells
from napari_sam3.engines.builtin.nets.dense_net import (
    Maps,
    colours_of,
    dense_maps,
    run_dense_net,
    tiles,
)
from napari_sam3.engines.builtin.nets.layers import Weights, sigmoid, weights
from napari_sam3.engines.builtin.nets.planes import DIAMETER, dense_planes
from napari_sam3.engines.builtin.nets.sampling import Window, resampled

_INSIDE = 0.5
_PEAK = 0.65
_FOOT = 0.35
_LEAST_PEAK = 3
_LEAST_AREA = 4
_TILE = 1024
_HALO = 128
_STRIP = 512
_LOOK = 144


def segment_everything(
    rgb: RGB8,
    diameter: float,
    stop: threading.Event = NEVER,
) -> list[Instance]:
    """Segment all objects of a picture.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
    diameter : float
        About how wide the objects are, in pixels.

    Returns
    -------
    list of Instance
        They do not overlap.  The score is the expected overlap (IoU) with a true object.
    """
    net = weights("dense")
    maps = dense_maps(rgb, diameter, net, stop)
    return instances_of_maps(maps, (rgb.shape[0], rgb.shape[1]), net, stop)


def object_at(
    rgb: RGB8,
    point: Point,
    diameter: float,
    colours: tuple[Float32Array, Float32Array] | None = None,
) -> Instance | None:
    """Return the object at a point, as `segment_everything` would cut it out.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
    diameter : float
        About how wide the picture's objects are, in pixels.
    colours : tuple of ndarray, optional
        What `dense_net.colours_of` says of the picture, if it is known already.

    Returns
    -------
    Instance or None
        None where the net sees background.
    """
    net = weights("dense")
    side = _LOOK * diameter / DIAMETER
    window = Window.around(point.row + 0.5, point.col + 0.5, side)
    planes = dense_planes(resampled(rgb, window, (_LOOK, _LOOK)), *(colours or colours_of(rgb)))
    found = run_dense_net(net, planes)
    foreground = sigmoid(found[0])
    maps = Maps(foreground, found[1], found[2])
    labels, count = cut(maps)
    label = int(labels[_LOOK // 2, _LOOK // 2])
    if label == 0:
        return None
    score = float(scored(labels, maps, count, net)[label - 1])
    shape = (rgb.shape[0], rgb.shape[1])
    return instance_of_cells(foreground - _INSIDE, labels == label, window, shape, score)


def instances_of_maps(
    maps: Maps, shape: tuple[int, int], net: Weights, stop: threading.Event = NEVER
) -> list[Instance]:
    """Cut maps into objects, in pixels of a picture of this shape."""
    labels, count = cut(maps, stop)
    scores = scored(labels, maps, count, net)
    labels = enlarged_labels(labels, maps, shape, stop)
    return [
        Instance(fill_holes(item.mask), item.box, float(scores[label - 1]))
        for label, item in split_labels(labels).items()
        if item.area >= _LEAST_AREA
    ]


def cut(maps: Maps, stop: threading.Event = NEVER) -> tuple[LabelImage, int]:
    """Label the objects of maps.

    Returns
    -------
    labels : ndarray of int32, shape of the maps

    Notes
    -----
    An object is where the distance rises above a high level; where it rises above a low one
    only, that is an object, too, but one that is never divided.
    """
    seeds, count = _seeds(maps)
    labels = np.zeros(maps.foreground.shape, np.int32)
    for rows, cols in tiles(labels.shape, _TILE):
        raise_if_stopped(stop)
        wide = tuple(slice(max(part.start - _HALO, 0), part.stop + _HALO) for part in (rows, cols))
        height = -maps.distance[wide].astype(np.float32)
        inside = maps.foreground[wide] > _INSIDE
        found = watershed(height, seeds[wide], mask=inside)  # type: ignore[no-untyped-call]
        first = rows.start - wide[0].start, cols.start - wide[1].start
        labels[rows, cols] = found[first[0] :, first[1] :][:_TILE, :_TILE]
    return labels, count


def _seeds(maps: Maps) -> tuple[LabelImage, int]:
    inside = maps.foreground > _INSIDE
    high, peaks = ndimage.label((maps.distance > _PEAK) & inside)
    sizes = np.bincount(high.ravel(), minlength=peaks + 1)
    high[(sizes < _LEAST_PEAK)[high]] = 0
    low, feet = ndimage.label((maps.distance > _FOOT) & inside)
    topped = np.zeros(feet + 1, bool)
    topped[low[high > 0]] = True
    topped[0] = True
    alone = ~topped[low]
    high[alone] = low[alone] + peaks
    present = np.zeros(peaks + feet + 1, bool)
    present[high] = True
    present[0] = False
    names = np.where(present, np.cumsum(present), 0).astype(np.int32)
    return names[high], int(present.sum())


def scored(labels: LabelImage, maps: Maps, count: int, net: Weights) -> Float64Array:
    """Return the expected overlap of each label with a true object, shape (count,)."""
    if count == 0:
        return np.zeros(0)
    weight, offset = net.pair("score")
    values = features(labels, maps, count) @ weight + offset
    return np.asarray(1 / (1 + np.exp(-values)), np.float64)


def features(labels: LabelImage, maps: Maps, count: int) -> Float64Array:
    """Return what speaks for each label, shape (count, 4).

    Mean probability of foreground, height of the distance, how far the object's size is from
    the one that the net saw, and how far from the one that it looked for.
    """
    totals = np.zeros((3, count + 1))
    height = np.zeros(count + 1, np.float32)
    # in strips, because half-precision maps are small only as long as nobody converts them
    for first in range(0, len(labels), _STRIP):
        strip = slice(first, first + _STRIP)
        inside = labels[strip] > 0
        owner = labels[strip][inside]
        for total, plane in zip(totals, (None, maps.foreground, maps.size), strict=True):
            weights_ = None if plane is None else plane[strip][inside]
            total += np.bincount(owner, weights_, count + 1)
        np.maximum.at(height, owner, maps.distance[strip][inside].astype(np.float32))
    area = np.maximum(totals[0, 1:], 1)
    sure, told = totals[1, 1:] / area, totals[2, 1:] / area
    own = np.log(2 * np.sqrt(area / np.pi) / DIAMETER)
    table = np.stack([sure, height[1:].clip(0, 1), np.abs(told - own), np.abs(told)], axis=1)
    return np.asarray(np.clip(table, 0, 2), np.float64)


def enlarged_labels(
    labels: LabelImage, maps: Maps, shape: tuple[int, int], stop: threading.Event = NEVER
) -> LabelImage:
    """Return labels in a picture's pixels, with smooth outlines."""
    if labels.shape == shape:
        return labels
    out = np.zeros(shape, np.int32)
    down, right = (
        (np.arange(pixels) + 0.5) * cells / pixels - 0.5
        for pixels, cells in zip(shape, labels.shape, strict=True)
    )
    # a cell beyond the outline takes the nearest label: the foreground decides where it ends
    near = _spread(labels)
    cols = np.clip(np.rint(right), 0, labels.shape[1] - 1).astype(np.intp)
    for first in range(0, shape[0], 256):
        raise_if_stopped(stop)
        part = down[first : first + 256]
        rows = np.clip(np.rint(part), 0, labels.shape[0] - 1).astype(np.intp)
        inside = _interpolated(maps.foreground, part, right) > _INSIDE
        out[first : first + 256] = np.where(inside, near[rows[:, None], cols], 0)
    return out


def _spread(labels: LabelImage) -> LabelImage:
    """Give background pixels beside an object its label."""
    grown = ndimage.maximum_filter(labels, 3)
    return np.asarray(np.where(labels > 0, labels, grown), np.int32)


def _interpolated(plane: npt.NDArray[Any], rows: Any, cols: Any) -> Float32Array:
    top, down = _taps(rows, plane.shape[0])
    left, right = _taps(cols, plane.shape[1])
    part = plane[top[0]].astype(np.float32)
    part += down[:, None] * (plane[top[1]].astype(np.float32) - part)
    return np.asarray(part[:, left[0]] + right * (part[:, left[1]] - part[:, left[0]]), np.float32)


def _taps(position: Any, size: int) -> tuple[tuple[Any, Any], Float32Array]:
    position = np.clip(position, 0, size - 1)
    first = position.astype(np.intp)
    return (first, np.minimum(first + 1, size - 1)), (position - first).astype(np.float32)
