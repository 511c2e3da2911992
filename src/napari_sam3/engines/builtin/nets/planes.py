"""What the nets see: crops and pictures as normalised planes.

Training and inference share this module, so that a net is asked what it was taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from napari_sam3.core.arrays import BoolArray, Float32Array

CROP = 64
PROMPT_PLANES = 6
DENSE_PLANES = 4
DIAMETER = 20.0

_CLICK_SIGMA = 2.0
_NEAR = 2.5
_FAR = 10.0
_RIDGE = 4.0
_WEAK = 0.05
_LOCAL = 65

_ROWS, _COLS = np.mgrid[:CROP, :CROP].astype(np.float32)


def prompt_planes(
    rgb: Float32Array,
    clicks: Sequence[npt.NDArray[Any]],
    boxes: Float32Array,
    previous: Float32Array | None = None,
) -> Float32Array:
    """Return the prompt net's input for a batch of crops.

    Parameters
    ----------
    rgb : ndarray of float32, shape (n, 64, 64, 3)
        0–255.
    clicks : sequence of n ndarrays, shape (k, 3)
        Row, column, sign (1 or −1), in cells of the crop.
    boxes : ndarray of float32, shape (n, 4)
        Top, left, bottom, right in cells; NaN where there is no box.
    previous : ndarray of float32, shape (n, 64, 64), optional
        Earlier answers as probabilities; NaN where there is none.

    Returns
    -------
    ndarray of float32, shape (n, 6, 64, 64)
        Gray; the colour axis that separates the prompted pixels from the
        background; positive clicks; negative clicks; box; earlier answer.
    """
    count = len(rgb)
    planes = np.zeros((count, PROMPT_PLANES, CROP, CROP), np.float32)
    inside = np.zeros((count, CROP, CROP), bool)
    outside = np.zeros((count, CROP, CROP), bool)
    for index in range(count):
        earlier = None if previous is None else previous[index]
        _draw_prompt(planes[index], inside[index], outside[index], clicks[index], boxes[index])
        if earlier is not None and not np.isnan(earlier[0, 0]):
            planes[index, 5] = 2 * earlier - 1
            sure = planes[index, 2:4] > 0.5
            inside[index] |= (earlier > 0.5) & ~sure[1]
            outside[index] = (earlier <= 0.5) & ~sure[0]
    planes[:, 0] = _normalised_gray(rgb)
    planes[:, 1] = _separated(rgb, inside, outside)
    return planes


def _draw_prompt(
    planes: Float32Array,
    inside: BoolArray,
    outside: BoolArray,
    clicks: npt.NDArray[Any],
    box: Float32Array,
) -> None:
    nearest = np.full((CROP, CROP), np.inf, np.float32)
    for row, col, sign in clicks:
        square = (_ROWS - row) ** 2 + (_COLS - col) ** 2
        plane = planes[2 if sign > 0 else 3]
        np.maximum(plane, np.exp(-square / (2 * _CLICK_SIGMA**2)), out=plane)
        if sign > 0:
            np.minimum(nearest, square, out=nearest)
        else:
            outside |= square <= _NEAR**2
    inside |= nearest <= _NEAR**2
    if np.isnan(box[0]):
        outside |= nearest > _FAR**2
        return
    top, left, bottom, right = (float(side) for side in box)
    rows = np.clip(np.minimum(_ROWS - top + 1, bottom - _ROWS), 0, 1)
    cols = np.clip(np.minimum(_COLS - left + 1, right - _COLS), 0, 1)
    planes[4] = rows * cols
    outside |= planes[4] == 0
    half_rows, half_cols = max((bottom - top) / 2, 1.0), max((right - left) / 2, 1.0)
    away = ((_ROWS + 0.5 - (top + bottom) / 2) / half_rows) ** 2
    away += ((_COLS + 0.5 - (left + right) / 2) / half_cols) ** 2
    inside |= (away < 0.25) & ~outside


def _normalised_gray(rgb: Float32Array) -> Float32Array:
    gray = rgb.mean(axis=3)
    # every third pixel is enough for three percentiles
    flat = np.sort(gray.reshape(len(gray), -1)[:, ::3], axis=1)
    low, middle, high = (flat[:, int(q * (flat.shape[1] - 1))] for q in (0.02, 0.5, 0.98))
    scale = 0.5 * (high - low) + 2.0
    planes = (gray - middle[:, None, None]) / scale[:, None, None]
    return np.asarray(np.clip(planes, -3, 3), np.float32)


def _separated(rgb: Float32Array, inside: BoolArray, outside: BoolArray) -> Float32Array:
    """Return Fisher's discriminant: 1 looks like the prompted pixels, 0 like the background."""
    count = len(rgb)
    pixels = rgb.reshape(count, -1, 3)
    own, own_scatter = _moments(pixels, inside)
    other, other_scatter = _moments(pixels, outside)
    scatter = (own_scatter + other_scatter) / 2
    ridge = 0.02 * np.trace(scatter, axis1=1, axis2=2) + _RIDGE
    scatter += ridge[:, None, None] * np.eye(3, dtype=np.float32)
    step = own - other
    axis = np.linalg.solve(scatter, step[:, :, None])
    # weak separation stays weak: noise must not look like an object
    length = (step[:, None, :] @ axis)[:, 0, 0] + _WEAK
    values = ((pixels - other[:, None, :]) @ axis)[:, :, 0] / length[:, None]
    return np.clip(values, -2, 3).reshape(count, CROP, CROP).astype(np.float32)


def _moments(pixels: Float32Array, chosen: BoolArray) -> tuple[Float32Array, Float32Array]:
    """Return mean and scatter of the chosen pixels, (n, 3) and (n, 3, 3)."""
    means = np.zeros((len(pixels), 3), np.float32)
    scatters = np.zeros((len(pixels), 3, 3), np.float32)
    for index, (colours, mask) in enumerate(
        zip(pixels, chosen.reshape(len(pixels), -1), strict=True)
    ):
        own = colours[mask]
        if len(own):
            means[index] = own.mean(axis=0)
            own -= means[index]
            scatters[index] = own.T @ own / len(own)
    return means, scatters


def colour_range(rgb: npt.NDArray[Any]) -> tuple[Float32Array, Float32Array]:
    """Return the offset and scale of each channel that `dense_planes` normalises with.

    Parameters
    ----------
    rgb : ndarray, shape (rows, cols, 3)
        Values 0–255; a thinned picture is enough.

    Returns
    -------
    offset, scale : ndarray of float32, shape (3,)
    """
    low, high = np.percentile(rgb.reshape(-1, 3), (1, 99.5), axis=0)
    span = high - low
    # a channel that holds only noise is not blown up to the height of the others
    scale = np.maximum(span, max(0.25 * float(span.max()), 8.0))
    return low.astype(np.float32), scale.astype(np.float32)


def dense_planes(rgb: Float32Array, offset: Float32Array, scale: Float32Array) -> Float32Array:
    """Return the dense net's input for one picture or tile.

    Parameters
    ----------
    rgb : ndarray of float32, shape (rows, cols, 3)
        0–255, at the canonical scale (objects are about 20 pixels wide).
    offset, scale : ndarray of float32, shape (3,)
        Of the whole picture; see `colour_range`.

    Returns
    -------
    ndarray of float32, shape (4, rows, cols)
        Red, green, blue, and gray relative to its neighbourhood.
    """
    planes = np.empty((DENSE_PLANES, *rgb.shape[:2]), np.float32)
    colours = (rgb - offset) / scale
    planes[:3] = np.clip(colours.transpose(2, 0, 1), -1, 3)
    gray = planes[:3].mean(axis=0)
    mean = uniform_filter(gray, _LOCAL, mode="nearest")
    square = uniform_filter(gray**2, _LOCAL, mode="nearest")
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    planes[3] = np.clip((gray - mean) / (deviation + 0.03), -4, 4) / 2
    planes[:3] -= 0.5
    return planes
