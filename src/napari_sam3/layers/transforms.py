"""Data ↔ world coordinates of a layer, for many points at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Layer

from napari_sam3.errors import ImageError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LayerTransform:
    """The affine map from a layer's data to the world's last ``ndim`` axes.

    Parameters
    ----------
    linear : ndarray, shape (ndim, ndim)
    offset : ndarray, shape (ndim,)
    """

    linear: FloatArray
    offset: FloatArray

    @classmethod
    def of(cls, layer: Layer) -> LayerTransform:
        """Read it off a layer.

        Notes
        -----
        `Layer.data_to_world` takes one point, and keeps the last ``ndim`` rows of
        an array without a word; so it is asked for the origin and each axis.
        """
        offset = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), dtype=float)
        axes = [np.asarray(layer.data_to_world(axis)) - offset for axis in np.eye(layer.ndim)]
        return cls(np.stack(axes, axis=1), offset)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.offset)

    def to_world(self, points: npt.ArrayLike) -> FloatArray:
        """Map data points, shape (n, ndim), to the world's last ``ndim`` axes."""
        return np.asarray(points, dtype=float) @ self.linear.T + self.offset

    def to_data(self, points: npt.ArrayLike) -> FloatArray:
        """Map world points, shape (n, at least ndim), to data, shape (n, ndim)."""
        own = np.asarray(points, dtype=float)[:, -self.ndim :]
        return (own - self.offset) @ np.linalg.inv(self.linear).T

    def matches(self, other: LayerTransform) -> bool:
        """Whether both map every point to the same place, to a thousandth of a pixel."""
        if self.ndim != other.ndim:
            return False
        # measured in pixels: stage positions are large, and pixels small
        inverse = np.linalg.inv(self.linear)
        turn = inverse @ other.linear - np.eye(self.ndim)
        shift = inverse @ (other.offset - self.offset)
        return bool(np.abs(turn).max() < 1e-6 and np.abs(shift).max() < 1e-3)


def refuse_other_units(image: Layer, layers: Iterable[Layer]) -> None:
    """Refuse layers that napari shows converted from other units of length.

    It converts them on the canvas only, and not in `Layer.data_to_world`, so that positions
    in one would be taken for others.

    Raises
    ------
    ImageError
        If a layer has, say, nanometres, and the image micrometres.
    """
    for layer in layers:
        pairs = zip(reversed(image.units), reversed(layer.units), strict=False)
        for own, other in pairs:
            if own != other and own.dimensionality == other.dimensionality:
                raise ImageError(
                    f"“{layer.name}” is measured in {other}, and “{image.name}” in {own}: "
                    "give both the same units (layer.units) and scale."
                )


def transform_kwargs(layer: Any) -> dict[str, Any]:
    """Return the keyword arguments that lay a new layer over this one."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {name: getattr(layer, name) for name in names}
