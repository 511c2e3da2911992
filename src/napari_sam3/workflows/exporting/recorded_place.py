"""Where labels lie in the world, as the record beside them says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from napari_sam3.core.arrays import Array
from napari_sam3.core.calibration import UNNAMED, PixelSize
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.calibration import full_name


def placed(found: Exported, layer: Mapping[str, Any]) -> Exported:
    """Return labels with the place and the pixel size of the layer they were saved from.

    The layer is as a record has it.  What the label image says of its pixels' size counts more.
    """
    try:
        shape = tuple(layer["shape"])
        linear, offset = _to_world(layer, len(shape))
        units = [full_name(str(unit)) for unit in layer.get("units") or ("pixel",) * len(shape)]
        if not _is_of(found, shape) or found.pixel_size.is_calibrated or found.translate:
            return found
        return _placed(found, linear, offset, tuple(units))
    except (KeyError, TypeError, ValueError, IndexError):
        # a place that makes no sense is none
        return found


def _is_of(found: Exported, shape: tuple[int, ...]) -> bool:
    if found.is_stack:
        return found.labels is not None and found.labels.shape == shape
    return found.image_shape == shape[-2:] and len(found.plane or ()) == len(shape) - 2


def _placed(found: Exported, linear: Array, offset: Array, units: tuple[str, ...]) -> Exported:
    sides = np.linalg.norm(linear, axis=0)
    first = linear[:, :-2] @ np.array(found.plane or [0] * (len(offset) - 2)) + offset
    ndim = len(offset) if found.is_stack else 2
    return replace(
        found,
        pixel_size=_pixel_size(*sides[-2:].tolist(), *units[-2:]),
        scale=tuple(sides[-ndim:].tolist()),
        translate=tuple(first[-ndim:].tolist()),
        units=units[-ndim:],
        to_world=np.column_stack((linear[-2:, -2:], first[-2:])),
        is_turned=is_turned(linear),
    )


def is_turned(linear: Array) -> bool:
    """Whether a matrix rotates, shears or mirrors, and does not only stretch along the axes."""
    steps = np.diag(linear)
    off = np.abs(linear - np.diag(steps)).max()
    return bool(off > 1e-9 * np.abs(linear).max() or (steps <= 0).any())


def _pixel_size(row: float, col: float, unit: str, other: str) -> PixelSize:
    if unit != other or (unit == "pixel" and row == col == 1):
        return PixelSize()
    return PixelSize(row, col, UNNAMED if unit == "pixel" else unit)


def _to_world(layer: Mapping[str, Any], ndim: int) -> tuple[Array, Array]:
    """Return the matrix and the offset that napari makes of a layer's place."""
    scale = np.array(layer.get("scale", np.ones(ndim)), float)
    start = np.array(layer.get("translate", np.zeros(ndim)), float)
    turn = np.array(layer.get("rotate", np.eye(ndim)), float)
    shear = np.eye(ndim)
    shear[np.triu_indices(ndim, 1)] = np.array(layer.get("shear", 0), float)
    affine = np.array(layer.get("affine", np.eye(ndim + 1)), float)
    linear = affine[:-1, :-1] @ turn @ shear @ np.diag(scale)
    offset = affine[:-1, :-1] @ start + affine[:-1, -1]
    if linear.shape != (ndim, ndim) or not np.isfinite([*linear.ravel(), *offset]).all():
        raise ValueError("no place")
    return linear, offset
