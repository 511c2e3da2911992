"""The few layers that the nets are made of, and their shipped weights.

Arrays have shape (channels, n, rows, cols): channels come first, so that a whole batch is one
matrix product.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from napari_sam3.core.arrays import Float32Array

WEIGHTS_FILE = "weights.npz"

# what is unfolded at once stays in the processor's cache: 1 MB
_CELLS = 250_000


def conv(
    planes: Float32Array,
    weight: Float32Array,
    bias: Float32Array,
    stride: int = 1,
    relu: bool = True,
) -> Float32Array:
    """Convolve with zeros around, then optionally cut off negative values.

    Parameters
    ----------
    planes : ndarray of float32, shape (inputs, n, rows, cols)
    weight : ndarray of float32, shape (outputs, inputs, size, size)
        `size` is 1 or 3.
    bias : ndarray of float32, shape (outputs,)

    Returns
    -------
    ndarray of float32, shape (outputs, n, rows / stride, cols / stride)
    """
    inputs, count, rows, cols = planes.shape
    size = weight.shape[2]
    rows, cols = rows // stride, cols // stride
    out = np.empty((len(weight), count, rows, cols), np.float32)
    padded = np.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1))) if size == 3 else planes
    flat = weight.reshape(len(weight), -1)
    for images, lines in _blocks(count, rows, cols * inputs * size**2):
        part = _unfolded(padded[:, images], lines, cols, size, stride)
        result = flat @ part
        result += bias[:, None]
        if relu:
            np.maximum(result, 0, out=result)
        out[:, images, lines] = result.reshape(out[:, images, lines].shape)
    return out


def _blocks(count: int, rows: int, cells_per_row: int) -> Any:
    """Yield (images, rows) slices of at most about `_CELLS` unfolded cells."""
    lines = max(1, _CELLS // cells_per_row)
    if lines >= rows:
        images = max(1, lines // rows)
        for first in range(0, count, images):
            yield slice(first, min(first + images, count)), slice(0, rows)
        return
    for image in range(count):
        for first in range(0, rows, lines):
            yield slice(image, image + 1), slice(first, min(first + lines, rows))


def _unfolded(
    padded: Float32Array, lines: slice, cols: int, size: int, stride: int
) -> Float32Array:
    inputs, count = padded.shape[:2]
    rows = lines.stop - lines.start
    part = np.empty((inputs, size, size, count, rows, cols), np.float32)
    for down in range(size):
        top = lines.start * stride + down
        for right in range(size):
            part[:, down, right] = padded[
                :,
                :,
                top : top + (rows - 1) * stride + 1 : stride,
                right : right + (cols - 1) * stride + 1 : stride,
            ]
    return part.reshape(inputs * size**2, count * rows * cols)


def folded(planes: Float32Array) -> Float32Array:
    """Return 2 × 2 pixels as four channels: (c, n, r, k) → (4c, n, r / 2, k / 2)."""
    channels, count, rows, cols = planes.shape
    blocks = planes.reshape(channels, count, rows // 2, 2, cols // 2, 2)
    return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(4 * channels, count, rows // 2, cols // 2)


def unfolded(planes: Float32Array) -> Float32Array:
    """Return four channels as 2 × 2 pixels: (4c, n, r, k) → (c, n, 2r, 2k)."""
    channels, count, rows, cols = planes.shape
    blocks = planes.reshape(channels // 4, 2, 2, count, rows, cols)
    return blocks.transpose(0, 3, 4, 1, 5, 2).reshape(channels // 4, count, 2 * rows, 2 * cols)


def add_doubled(fine: Float32Array, coarse: Float32Array) -> Float32Array:
    """Add planes of half the resolution, each pixel four times, in place."""
    channels, count, rows, cols = coarse.shape
    blocks = fine.reshape(channels, count, rows, 2, cols, 2)
    blocks += coarse[:, :, :, None, :, None]
    return fine


def sigmoid(values: Float32Array) -> Float32Array:
    """Return 1 / (1 + e^−x), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), np.float32)


class Weights:
    """The layers of one net.

    Parameters
    ----------
    arrays : dict of str to ndarray of float32
        ``LAYER.weight`` and ``LAYER.bias``.
    """

    def __init__(self, arrays: dict[str, Float32Array]) -> None:
        self._arrays = arrays

    def pair(self, layer: str) -> tuple[Float32Array, Float32Array]:
        """Return weight and bias of a layer."""
        return self._arrays[f"{layer}.weight"], self._arrays[f"{layer}.bias"]

    def conv(
        self, layer: str, planes: Float32Array, stride: int = 1, relu: bool = True
    ) -> Float32Array:
        """Apply a convolution."""
        return conv(planes, *self.pair(layer), stride=stride, relu=relu)

    def trunk(self, planes: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Return features at half and at an eighth of the resolution.

        Parameters
        ----------
        planes : ndarray of float32, shape (channels, n, rows, cols)
            Rows and columns are multiples of 8.
        """
        fine = self.conv("trunk.stem2", self.conv("trunk.stem1", folded(planes)))
        middle = self.conv("trunk.mid1", self.conv("trunk.down1", fine, stride=2))
        coarse = self.conv("trunk.down2", middle, stride=2)
        coarse = self.conv("trunk.low2", self.conv("trunk.low1", coarse))
        middle = self.conv("trunk.mid2", add_doubled(middle, self.conv("trunk.lift2", coarse)))
        return self.conv("trunk.fine", add_doubled(fine, self.conv("trunk.lift1", middle))), coarse


@cache
def weights(net: str) -> Weights:
    """Return the weights of "prompt" or "dense", read once; safe to call from any thread."""
    file = resources.files("napari_sam3.engines.builtin.nets") / WEIGHTS_FILE
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        start = f"{net}/"
        return Weights(
            {
                name.removeprefix(start): arrays[name].astype(np.float32)
                for name in arrays.files
                if name.startswith(start)
            }
        )
