"""Layers, planes and places in JSON values, for the record of how labels were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

if TYPE_CHECKING:
    from napari_sam3.layers.planes import Plane

PLACEMENT = ("scale", "translate", "rotate", "shear", "affine")


def describe_image(image: Image) -> dict[str, Any]:
    """Return an image layer's name, and its full-resolution shape without colours."""
    data = image.data[0] if image.multiscale else image.data
    return {"name": str(image.name), "shape": [int(n) for n in data.shape[: image.ndim]]}


def describe_plane(plane: Plane) -> dict[str, Any]:
    """Return which plane of an image it is.

    Returns
    -------
    dict
        ``index`` along each axis of the full-resolution data, ``shown`` axes (as rows, as
        columns), ``shape`` at the ``level``, full-resolution pixels per pixel of the level as
        ``factors``, and the viewer's position in the ``world``.
    """
    return {
        "index": [int(i) for i in plane.index],
        "shown": [int(axis) for axis in plane.shown],
        "shape": [int(n) for n in plane.shape],
        "level": int(plane.level),
        "factors": [float(factor) for factor in plane.factors],
        "world": [float(position) for position in plane.world],
    }


def describe_placement(shape: tuple[int, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shape of a layer, and where it lies in the world.

    Parameters
    ----------
    shape : tuple of int
    kwargs : mapping
        What a layer is made with, or what `Layer.as_layer_data_tuple` gives; names that
        tell of no place are passed over, and so are those that are missing.
    """
    said: dict[str, Any] = {"shape": [int(n) for n in shape]}
    for name in PLACEMENT:
        if kwargs.get(name) is not None:
            value = kwargs[name]
            # an Affine of napari, or the matrix itself
            said[name] = np.asarray(getattr(value, "affine_matrix", value), float).tolist()
    for name in ("units", "axis_labels"):
        if kwargs.get(name) is not None:
            said[name] = [str(value) for value in kwargs[name]]
    return said
