"""How large a pixel is in the world."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNNAMED = "unit"
"""Of pixels that have a size in a unit that is not known."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The sides of a pixel.

    Parameters
    ----------
    row, col : float
        The distance from one row to the next, and from one column to the next, above 0.
    unit : str
        Of both, e.g. ``"micrometer"``; ``"pixel"`` where nothing is known.

    Raises
    ------
    ValueError
        If a side is no length.
    """

    row: float = 1.0
    col: float = 1.0
    unit: str = "pixel"

    def __post_init__(self) -> None:
        for side in (self.row, self.col):
            if not (math.isfinite(side) and side > 0):
                raise ValueError(f"a pixel cannot be {side} {self.unit} long")

    @property
    def area(self) -> float:
        """Of one pixel, in square units."""
        return self.row * self.col

    @property
    def is_calibrated(self) -> bool:
        """Whether more is known than the number of pixels."""
        return self.unit != "pixel"

    @property
    def is_square(self) -> bool:
        """Whether rows and columns are equally far apart."""
        return math.isclose(self.row, self.col, rel_tol=1e-6)
