"""A layer's data ↔ the world, and where napari draws and cuts them, for many points at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from napari.layers import Layer
from napari.utils.transforms import Affine, CompositeAffine

from napari_sam3.core.arrays import Float64Array
from napari_sam3.errors import ImageError

Margins: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
"""How far a slice reaches before and behind its position, along each axis of the world."""


class Cut(NamedTuple):
    """Where the viewer cuts a layer, in its data, along each axis that is not shown.

    Its sides reach from ``point - left`` to ``point + right``.
    """

    point: Float64Array
    left: Float64Array
    right: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class LayerTransform:
    """The affine map from a layer's data to the world's last ``ndim`` axes.

    Parameters
    ----------
    linear : ndarray, shape (ndim, ndim)
    offset : ndarray, shape (ndim,)
    """

    linear: Float64Array
    offset: Float64Array

    @classmethod
    def of(cls, layer: Layer) -> LayerTransform:
        """Read it off a layer, to the last bit as napari has it."""
        own = CompositeAffine(
            layer.scale, layer.translate, rotate=layer.rotate, shear=layer.shear, ndim=layer.ndim
        )
        matrix = layer.affine.affine_matrix @ own.affine_matrix
        return cls(matrix[:-1, :-1], matrix[:-1, -1])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.offset)

    def to_world(self, points: npt.ArrayLike) -> Float64Array:
        """Map data points, shape (n, ndim), to the world's last ``ndim`` axes."""
        return np.asarray(points, dtype=float) @ self.linear.T + self.offset

    def cut(self, point: Sequence[float], margins: Margins, hidden: Sequence[int]) -> Cut:
        """Return where the viewer cuts the layer's data.

        Parameters
        ----------
        point : sequence of float
            The viewer's position along all of its axes.
        margins : pair of sequences of float
            How far the slice reaches before and behind it.
        hidden : sequence of int
            The data axes that are not shown.

        Notes
        -----
        Like napari, it maps these axes by themselves, as if nothing were turned or sheared
        between them and those that are shown.
        """
        if not hidden:
            return Cut(*np.zeros((3, 0)))
        mapping = self._inverse.set_slice(list(hidden))
        lacking = max(0, self.ndim - len(point))
        world = np.pad(np.array([point, *margins], dtype=float), ((0, 0), (lacking, 0)))
        data = mapping(world[:, -self.ndim :][:, list(hidden)])
        data[1:] -= mapping.translate
        return Cut(*np.nan_to_num(data))

    def slider_at(self, places: npt.ArrayLike, hidden: Sequence[int]) -> Float64Array:
        """Return where the viewer's sliders are when it cuts the data at these places.

        Parameters
        ----------
        places : array_like of float
            In data, one for each of the axes that are not shown.
        hidden : sequence of int
            These axes.

        Returns
        -------
        ndarray of float
            One for each of them, in world coordinates.
        """
        mapping = self._inverse.set_slice(list(hidden))
        return np.linalg.solve(mapping.linear_matrix, np.asarray(places) - mapping.translate)

    def to_canvas(self, points: npt.ArrayLike, shown: Sequence[int]) -> Float64Array:
        """Return where napari draws data points in 2D.

        Parameters
        ----------
        points : array_like of float, shape (n, ndim)
        shown : sequence of int
            The axes that are shown.

        Returns
        -------
        ndarray of float, shape (n, number of axes shown)
            In world coordinates along these axes.

        Notes
        -----
        Like napari, it leaves out what a shear or a turn adds from the axes that are not shown.
        """
        axes = list(shown)
        own = np.asarray(points, dtype=float)[:, axes]
        return own @ self.linear[np.ix_(axes, axes)].T + self.offset[axes]

    def from_canvas(self, places: npt.ArrayLike, shown: Sequence[int]) -> Float64Array:
        """Return what napari draws at a place, along the axes shown; undoes `to_canvas`."""
        axes = list(shown)
        own = np.asarray(places, dtype=float) - self.offset[axes]
        return own @ np.linalg.inv(self.linear[np.ix_(axes, axes)]).T

    @property
    def _inverse(self) -> Affine:
        matrix = np.eye(self.ndim + 1)
        matrix[:-1, :-1], matrix[:-1, -1] = self.linear, self.offset
        return Affine(affine_matrix=np.linalg.inv(matrix))

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


def flat_kwargs(layer: Any, shown: Sequence[int]) -> dict[str, Any]:
    """Return the keyword arguments that lay a new layer to draw in over what is seen of this one.

    napari leaves a shear or a turn out of the plane out of what it draws, but not out of where a
    click lands, so that a mark would appear beside the cursor.  A new layer does without it.

    Parameters
    ----------
    layer : Layer
    shown : sequence of int
        The axes that are shown; negative ones count from the last.
    """
    kwargs, transform = transform_kwargs(layer), LayerTransform.of(layer)
    shown = [axis % transform.ndim for axis in shown]
    hidden = [axis for axis in range(transform.ndim) if axis not in shown]
    drawn, cut = np.ix_(shown, shown), np.ix_(hidden, hidden)
    flat, linear = np.eye(transform.ndim + 1), np.zeros_like(transform.linear)
    linear[drawn] = transform.linear[drawn]
    linear[cut] = transform.linear[cut]
    if np.allclose(linear, transform.linear, rtol=0, atol=1e-9 * np.abs(linear).max()):
        return kwargs
    inverse = np.linalg.inv(transform.linear)
    linear[cut] = np.linalg.inv(inverse[cut])
    flat[:-1, :-1], flat[:-1, -1] = linear, transform.offset
    flat[hidden, -1] = linear[cut] @ (inverse @ transform.offset)[hidden]
    for name in ("translate", "rotate", "shear"):
        del kwargs[name]
    kwargs["affine"] = flat @ np.diag([*(1 / np.asarray(layer.scale)), 1.0])
    return kwargs
