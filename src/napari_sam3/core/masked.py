"""Masked arrays, of which most functions of NumPy forget what is masked."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_sam3.errors import ImageError


def refuse_masked(array: Any, what: str) -> None:
    """Refuse an array of which pixels are masked, where they would count like all others.

    Parameters
    ----------
    array : array_like
    what : str
        The beginning of the sentence.

    Raises
    ------
    ImageError
    """
    if np.ma.is_masked(array):
        raise ImageError(
            f"{what} is a masked array, and its masked pixels would count like all others: fill "
            "them first, e.g. image.filled(0)."
        )
