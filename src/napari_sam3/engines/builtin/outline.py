"""The closed outline around a centre that follows the strongest edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_sam3.core.arrays import BoolArray, Float32Array, Float64Array, IndexArray
from napari_sam3.core.geometry import Box

_ANGLES = 64
_RADII = np.linspace(0.3, 1.4, 45)
_PRIOR = 0.25
_WIDEST_STEP = 2


def star_outline(
    gray: Float32Array, centre: tuple[float, float], half_axes: tuple[float, float]
) -> BoolArray:
    """Return the star-convex region around a centre with the strongest falling edge.

    Parameters
    ----------
    gray : ndarray of float32, shape (rows, cols)
        The object brighter than what surrounds it.
    centre : tuple of float
        (row, col), inside the object.
    half_axes : tuple of float
        Half of the object's rough height and width, in pixels.

    Returns
    -------
    ndarray of bool, shape (rows, cols)

    Notes
    -----
    The picture is sampled along rays, scaled so that the rough ellipse becomes a straight line,
    and a closed path is found by dynamic programming [1]_.

    References
    ----------
    .. [1] A. A. Amini, T. E. Weymouth, R. C. Jain, "Using dynamic programming for solving
       variational problems in vision", IEEE Trans. PAMI 12 (1990).
    """
    angles = np.arange(_ANGLES) * 2 * np.pi / _ANGLES
    rows = centre[0] + half_axes[0] * np.outer(np.sin(angles), _RADII)
    cols = centre[1] + half_axes[1] * np.outer(np.cos(angles), _RADII)
    rays = ndimage.map_coordinates(gray, [rows, cols], order=1, mode="nearest")
    path = closed_path(_edge_costs(rays))
    return _filled(gray.shape, centre, half_axes, _RADII[path])


def centre_and_half(inner: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the pixel position of a box's centre and half of its height and width."""
    centre = (inner.top + inner.bottom - 1) / 2, (inner.left + inner.right - 1) / 2
    return centre, (inner.shape[0] / 2, inner.shape[1] / 2)


def _edge_costs(rays: npt.NDArray[Any]) -> Float64Array:
    """Return low values where a ray falls steeply, near the rough outline."""
    fall = np.zeros(rays.shape)
    fall[:, 2:-2] = rays[:, :-4] + rays[:, 1:-3] - rays[:, 3:-1] - rays[:, 4:]
    strongest = np.percentile(np.maximum(fall, 0).max(axis=1), 75)
    costs: Float64Array = _PRIOR * ((_RADII - 0.97) / 0.3) ** 2 - np.clip(
        fall / max(strongest, 1e-6), -1, 1
    )
    return costs


def closed_path(costs: Float64Array) -> IndexArray:
    """Return the column for each row of a cheap path that ends where it starts.

    Parameters
    ----------
    costs : ndarray of float, shape (angles, radii)

    Returns
    -------
    ndarray of int, shape (angles,)

    Notes
    -----
    The path is found over two turns: in the middle of the second, the start no longer matters.
    """
    turns = np.concatenate([costs, costs])
    total = turns[0].copy()
    origin = np.zeros(turns.shape, np.intp)
    steps = np.arange(-_WIDEST_STEP, _WIDEST_STEP + 1)
    bend = 0.08 * steps**2
    columns = np.arange(costs.shape[1])
    near = np.clip(columns[:, None] + steps, 0, costs.shape[1] - 1)
    for row in range(1, len(turns)):
        options = total[near] + bend
        choice = options.argmin(axis=1)
        origin[row] = near[columns, choice]
        total = turns[row] + options[columns, choice]
    path = np.zeros(len(turns), np.intp)
    path[-1] = total.argmin()
    for row in range(len(turns) - 1, 0, -1):
        path[row - 1] = origin[row, path[row]]
    start = len(costs) // 2
    return np.roll(path[start : start + len(costs)], start)


def _filled(
    shape: tuple[int, ...],
    centre: tuple[float, float],
    half_axes: tuple[float, float],
    radii: Float64Array,
) -> BoolArray:
    rows, cols = np.indices(shape, dtype=np.float32)
    down, right = (rows - centre[0]) / half_axes[0], (cols - centre[1]) / half_axes[1]
    turn = np.arctan2(down, right) / (2 * np.pi) * _ANGLES
    limit = np.interp(turn, np.arange(_ANGLES), radii, period=_ANGLES)
    return np.asarray(down**2 + right**2 <= limit**2)
