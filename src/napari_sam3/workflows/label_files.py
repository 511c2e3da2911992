"""Label images of others: as whole numbers, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_sam3.core.arrays import Array
from napari_sam3.errors import ImageError
from napari_sam3.workflows import cellpose
from napari_sam3.workflows.files import (
    NPY_MAGIC,
    TIFF_MAGIC,
    Tell,
    first_bytes,
    ignore,
    map_npy,
    open_pillow,
    read_tiff,
)


def open_labels(path: str | Path, tell: Tell = ignore) -> Array:
    """Read a label image of any number of dimensions, none of its labels below 0.

    Parameters
    ----------
    path : str or Path
        A TIFF, an NPY file (also Cellpose's ``_seg.npy``), or what Pillow opens.  Of a picture
        with a palette the numbers of its colours are the labels.
    tell : callable, optional
        Is given a sentence about whatever else the user should know.
    """
    return _open(Path(path), None, tell)[0]


def open_label_plane(
    path: str | Path, plane: Sequence[int], tell: Tell = ignore
) -> tuple[Array, tuple[int, ...]]:
    """Read one plane of a TIFF of labels, as `open_labels`; the rest need not be whole.

    Its position comes with it, along every axis before rows and columns.
    """
    return _open(Path(path), plane, tell)


def _open(path: Path, plane: Sequence[int] | None, tell: Tell) -> tuple[Array, tuple[int, ...]]:
    head = first_bytes(path)
    place: tuple[int, ...] = ()
    if head[:4] in TIFF_MAGIC:
        values, names, place = read_tiff(path, plane, tell, whole=plane is None, has_colours=False)
        if "S" in names:
            raise _is_coloured(path)
    elif head.startswith(NPY_MAGIC):
        is_pickled = cellpose.is_pickled(path)
        values = cellpose.read_masks(path) if is_pickled else np.array(map_npy(path))
    else:
        values = open_pillow(path, None, tell, lambda image: _pillow_labels(image, path))
    return as_labels(values, str(path), tell), place


def _is_coloured(path: Path) -> ImageError:
    return ImageError(
        f"{path} is a colour picture, not labels; save the labels themselves as .tif."
    )


def as_labels(values: Array, what: str, tell: Tell = ignore) -> Array:
    """Return values as labels, or say why they are none: whole numbers, none below −1.

    −1 counts as background, as 0 does.

    Parameters
    ----------
    values : ndarray
    what : str
        What holds them, as the start of a sentence.
    tell : callable, optional
        As in `open_labels`.
    """
    kind = values.dtype.kind
    if kind in "bu":
        return values
    if kind not in "if":
        raise ImageError(f"{what} holds no labels: its values are {values.dtype}.")
    if kind == "f":
        _refuse_fractions(values, what)
    lowest = int(values.min(initial=0))
    if lowest < -1:
        raise ImageError(
            f"{what} holds no labels: it goes down to {lowest}, and only −1 (background) may be "
            "below 0."
        )
    if lowest == -1:
        tell(f"{what}: −1 was read as background.")
        values = np.maximum(values, 0)
    return values if kind == "i" else values.astype(np.int64)


def _refuse_fractions(values: Array, what: str) -> None:
    if not np.isfinite(values).all():
        raise ImageError(f"{what} holds no labels: some of its values are NaN or infinite.")
    whole = values == np.trunc(values)
    if not whole.all():
        example = values.flat[int(np.argmin(whole))]
        raise ImageError(
            f"{what} holds no labels: it has values such as {example:.6g}, and labels are whole "
            "numbers."
        )
    if values.max(initial=0) >= 2 ** (np.finfo(values.dtype).nmant + 1):
        raise ImageError(f"{what} holds labels that {values.dtype} cannot tell apart.")


def _pillow_labels(image: Any, path: Path) -> Array:
    if len(image.getbands()) > 1:
        raise _is_coloured(path)
    # of a picture with a palette, the numbers of its colours
    return np.array(image)
