"""The shipped weights."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np

from napari_sam3.engines.builtin.nets.layers import FloatArray, add_doubled, conv, folded

WEIGHTS_FILE = "weights.npz"


class Weights:
    """The layers of one net.

    Parameters
    ----------
    arrays : dict of str to ndarray of float32
        ``LAYER.weight`` and ``LAYER.bias``.
    """

    def __init__(self, arrays: dict[str, FloatArray]) -> None:
        self._arrays = arrays

    def pair(self, layer: str) -> tuple[FloatArray, FloatArray]:
        """Return weight and bias of a layer."""
        return self._arrays[f"{layer}.weight"], self._arrays[f"{layer}.bias"]

    def conv(
        self, layer: str, planes: FloatArray, stride: int = 1, relu: bool = True
    ) -> FloatArray:
        """Apply a convolution; see `layers.conv`."""
        return conv(planes, *self.pair(layer), stride=stride, relu=relu)

    def trunk(self, planes: FloatArray) -> tuple[FloatArray, FloatArray]:
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
