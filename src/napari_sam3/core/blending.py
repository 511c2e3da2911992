"""Images on top of each other, colours and blending as napari shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from napari_sam3.core.arrays import BoolArray, Float32Array, UInt8Array
from napari_sam3.core.images import row_blocks

Blending = Literal[
    "opaque", "translucent", "translucent_no_depth", "additive", "multiplicative", "minimum"
]
BLENDINGS: tuple[Blending, ...] = get_args(Blending)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One image of those that are put on top of each other, as displayed.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, cols) or (rows, cols, 3)
        Grey levels as displayed, or RGB.
    lut : ndarray of uint8, shape (256, 3), optional
        Colour of each grey level; gray if not given.
    opacity : float
        0–1.
    blending : str
        How it combines with what lies below, one of `BLENDINGS`, by napari's names.
    covered : ndarray of bool, shape (rows, cols), optional
        Where it is; it changes nothing elsewhere.  Everywhere if not given.

    Raises
    ------
    ValueError
        If a parameter has another shape, type or range.
    """

    picture: UInt8Array
    lut: UInt8Array | None = None
    opacity: float = 1.0
    blending: Blending = "translucent"
    covered: BoolArray | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.picture.shape, self.picture.dtype
        if dtype != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise ValueError(f"an overlay is 8-bit gray or RGB, not {dtype} of shape {shape}")
        if self.lut is not None and (self.lut.shape != (256, 3) or self.lut.dtype != np.uint8):
            raise ValueError("an overlay's lut is uint8 of shape (256, 3)")
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"an opacity lies between 0 and 1, not at {self.opacity}")
        if self.blending not in BLENDINGS:
            raise ValueError(f"no blending {self.blending!r}; there are {', '.join(BLENDINGS)}")

    def colors(self, rows: slice) -> Float32Array:
        """Return the colours of some rows as 0–255, shape (rows, cols, 3 or 1)."""
        block = self.picture[rows]
        if block.ndim == 3:
            return block.astype(np.float32)
        if self.lut is None:
            return block[..., np.newaxis].astype(np.float32)
        return self.lut.astype(np.float32)[block]


def compose(overlays: Sequence[Overlay], shape: tuple[int, int]) -> UInt8Array:
    """Put images on top of each other over black, as napari shows them.

    Parameters
    ----------
    overlays : sequence of Overlay
        From bottom to top, each of `shape`.
    shape : tuple of int
        (rows, cols) of the picture.

    Returns
    -------
    ndarray of uint8, shape (rows, cols, 3)
        Red, green, blue; black where nothing lies.

    Raises
    ------
    ValueError
        If one has another shape.

    Notes
    -----
    Like napari, the lowest one is never darkened by the empty canvas: with
    ``"minimum"`` it shows as it is, with any other blending by its opacity over
    black.  Opacity has no effect on ``"minimum"`` and ``"multiplicative"`` above it.
    """
    for overlay in overlays:
        if overlay.picture.shape[:2] != tuple(shape):
            raise ValueError(
                f"an overlay of shape {overlay.picture.shape[:2]} in a picture of shape {shape}"
            )
    picture = np.zeros((*shape, 3), np.uint8)
    for rows in row_blocks(picture.shape):
        mixed = np.zeros(picture[rows].shape, np.float32)
        for index, overlay in enumerate(overlays):
            where = True if overlay.covered is None else overlay.covered[rows, :, np.newaxis]
            below = mixed if overlay.covered is None else mixed.copy()
            _blend(below, overlay.colors(rows), overlay, is_lowest=index == 0)
            np.copyto(mixed, below, where=where)
        picture[rows] = np.rint(mixed)
    return picture


def _blend(
    below: Float32Array,
    colors: Float32Array,
    overlay: Overlay,
    *,
    is_lowest: bool,
) -> None:
    mode, opacity = overlay.blending, np.float32(overlay.opacity)
    if mode == "minimum":
        below[...] = colors if is_lowest else np.minimum(below, colors)
    elif mode == "opaque" or is_lowest:
        below[...] = colors * opacity
    elif mode == "additive":
        below += colors * opacity
        np.minimum(below, 255, out=below)
    elif mode == "multiplicative":
        below *= colors / 255
    else:
        below += (colors - below) * opacity
