"""What the arrays are that several modules speak of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

RGB8 = npt.NDArray[np.uint8]
"""A picture, shape (rows, cols, 3)."""

IndexArray = npt.NDArray[np.intp]
"""Positions in another array."""

LabelImage = npt.NDArray[np.integer[Any]]
"""Numbers of objects, of any type of integers; 0 is background."""
