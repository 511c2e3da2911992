"""The dense net: foreground, distance to the outline and size for every pixel."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import RGB8, Float32Array
from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.builtin.nets.layers import Weights, sigmoid, unfolded, weights
from napari_sam3.engines.builtin.nets.planes import DIAMETER, colour_range, dense_planes
from napari_sam3.engines.builtin.nets.sampling import Window, resampled

_TILE = 448
_HALO = 40
_FINEST = 4.0
_SAMPLES = 200_000

_LOOKS = 288
_OCTAVES = (-3, -2, -1, 0, 1)
_SURE = 0.5
_GOOD = 0.45
_LEAST_CELLS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """What the dense net sees in a picture.

    Parameters
    ----------
    foreground : ndarray of float32 or float16, shape (rows, cols)
        Probability.
    distance : ndarray, shape (rows, cols)
        To the outline, about 1 in an object's middle, about 0 outside.
    size : ndarray, shape (rows, cols)
        Logarithm of the object's diameter over the one looked for.
    """

    foreground: npt.NDArray[np.floating]
    distance: npt.NDArray[np.floating]
    size: npt.NDArray[np.floating]


def run_dense_net(net: Weights, planes: Float32Array) -> Float32Array:
    """Return the three maps of one tile.

    Parameters
    ----------
    planes : ndarray of float32, shape (4, rows, cols)
        As `napari_sam3.engines.builtin.nets.planes.dense_planes` makes them; rows and
        columns are multiples of 8.

    Returns
    -------
    ndarray of float32, shape (3, rows, cols)
        Logit of foreground, distance, size.
    """
    fine, _ = net.trunk(planes[:, None])
    return unfolded(net.conv("maps", fine, relu=False))[:, 0]


def dense_maps(
    rgb: RGB8,
    diameter: float,
    net: Weights | None = None,
    stop: threading.Event = NEVER,
) -> Maps:
    """Look for objects of a certain size in a whole picture.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
    diameter : float
        In pixels; objects of half or twice this size are seen, too.

    Returns
    -------
    Maps
        In the picture's pixels if its objects are small, else in fewer, larger ones.

    Notes
    -----
    Works on tiles with a halo, so that memory beyond the maps does not depend on the
    picture's size.
    """
    net = net or weights("dense")
    scale = min(DIAMETER / diameter, _FINEST)
    shape = tuple(max(1, round(side * min(scale, 1.0))) for side in rgb.shape[:2])
    offset, gain = colours_of(rgb)
    maps = np.empty((3, *shape), np.float16)
    # what is looked at finer than the picture is averaged back to its pixels
    finer = max(1, round(scale)) if scale > 1 else 1
    for rows, cols in tiles(shape, _TILE // finer):
        raise_if_stopped(stop)
        window, sides = _with_halo(rows, cols, shape, rgb.shape[:2], finer)
        planes = dense_planes(resampled(rgb, window, sides), offset, gain)
        found = run_dense_net(net, planes)[:, _HALO:, _HALO:]
        found = found[:, : (rows.stop - rows.start) * finer, : (cols.stop - cols.start) * finer]
        found[0] = sigmoid(found[0])
        maps[:, rows, cols] = _coarser(found, finer)
    return Maps(maps[0], maps[1], maps[2])


def tiles(shape: Sequence[int], side: int) -> Iterator[tuple[slice, slice]]:
    """Yield the parts of a plane, none longer than a side."""
    rows, cols = shape
    for top in range(0, rows, side):
        for left in range(0, cols, side):
            yield slice(top, min(top + side, rows)), slice(left, min(left + side, cols))


def _with_halo(
    rows: slice, cols: slice, shape: tuple[int, ...], picture: tuple[int, ...], finer: int
) -> tuple[Window, tuple[int, int]]:
    """Return where a tile and its halo lie in the picture, and their length in cells."""
    starts, lengths, sides = [], [], []
    for part, cells, pixels in zip((rows, cols), shape, picture, strict=True):
        step = pixels / cells / finer
        side = -(-((part.stop - part.start) * finer + 2 * _HALO) // 8) * 8
        starts.append((part.start * finer - _HALO) * step)
        lengths.append(side * step)
        sides.append(side)
    return Window(starts[0], starts[1], lengths[0], lengths[1]), (sides[0], sides[1])


def _coarser(maps: Float32Array, factor: int) -> Float32Array:
    if factor == 1:
        return maps
    count, rows, cols = maps.shape
    blocks = maps.reshape(count, rows // factor, factor, cols // factor, factor)
    return np.asarray(blocks.mean(axis=(2, 4)), np.float32)


def colours_of(rgb: RGB8) -> tuple[Float32Array, Float32Array]:
    """Return offset and scale of a picture's channels; see `planes.colour_range`."""
    step = max(1, int(np.sqrt(rgb.shape[0] * rgb.shape[1] / _SAMPLES)))
    return colour_range(rgb[::step, ::step])


def find_diameter(
    rgb: RGB8, net: Weights | None = None, stop: threading.Event = NEVER
) -> float | None:
    """Estimate how wide a picture's objects are.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)

    Returns
    -------
    float or None
        Typical diameter in pixels; None where no object is seen.

    Notes
    -----
    The net tells for every pixel how far the object's size is from the one that it
    looks for.  It is asked at five scales, and believed where it says "just right".
    """
    net = net or weights("dense")
    offset, gain = colours_of(rgb)
    seen: list[tuple[float, float]] = []
    for octave in _OCTAVES:
        raise_if_stopped(stop)
        scale = 2.0**octave
        if min(rgb.shape[:2]) * scale >= _LEAST_CELLS:
            worth, wrong = _looked_at(net, rgb, scale, offset, gain)
            seen.append((worth, DIAMETER / scale * float(np.exp(wrong))))
    most = max((worth for worth, _ in seen), default=0.0)
    if most <= 0:
        return None
    # from afar a crowd looks like one object: of the good scales, the finest is the right one
    diameter = [found for worth, found in seen if worth >= _GOOD * most][-1]
    worth, wrong = _looked_at(net, rgb, DIAMETER / diameter, offset, gain)
    return diameter * float(np.exp(np.clip(wrong, -0.7, 0.7))) if worth > 0 else diameter


def _looked_at(
    net: Weights, rgb: RGB8, scale: float, offset: Float32Array, gain: Float32Array
) -> tuple[float, float]:
    """Return how much the net sees at a scale, and the typical logarithm of the size."""
    worth: list[float] = []
    sizes: list[Float32Array] = []
    weight: list[Float32Array] = []
    for window, sides in _glances(rgb.shape[:2], scale):
        planes = dense_planes(resampled(rgb, window, sides), offset, gain)
        maps = run_dense_net(net, planes)
        sure = sigmoid(maps[0])
        inside = sure > _SURE
        own = maps[2][inside]
        # what the net takes for the right size, and is sure of
        fits = (2 * sure[inside] - 1) * np.exp(-np.square(own) / (2 * 0.35**2))
        worth.append(float(fits.sum()) / inside.size)
        sizes.append(own)
        # every object counts alike, so a large one's pixels count less
        weight.append(fits * np.exp(-2 * own))
    values, weights_ = np.concatenate(sizes), np.concatenate(weight)
    if values.size == 0 or weights_.sum() <= 0:
        return 0.0, 0.0
    return float(np.mean(worth)), _weighted_median(values, weights_)


def _weighted_median(values: Float32Array, weights_: Float32Array) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights_[order])
    return float(values[order][int(np.searchsorted(total, total[-1] / 2))])


def _glances(shape: tuple[int, ...], scale: float) -> Iterator[tuple[Window, tuple[int, int]]]:
    """Yield a few parts of a picture, or all of it if it is small at that scale."""
    cells = [min(_LOOKS, max(_LEAST_CELLS, round(side * scale))) // 8 * 8 for side in shape]
    lengths = [count / scale for count in cells]
    spare = [max(side - length, 0.0) for side, length in zip(shape, lengths, strict=True)]
    places = (
        [(0.5, 0.5)] if max(spare) < max(lengths) * 0.2 else [(0.5, 0.5), (0.2, 0.15), (0.8, 0.85)]
    )
    for down, right in places:
        window = Window(spare[0] * down, spare[1] * right, lengths[0], lengths[1])
        yield window, (cells[0], cells[1])
