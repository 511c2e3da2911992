"""What the columns of the objects table are called, and how their values read."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

LABEL = "index"
"""The column that holds the label; napari's name for it."""
STATE = "state"
MARK = "✓"


def is_missing(value: object) -> bool:
    """Tell whether a cell holds nothing: None, NaN, NaT or pandas' NA."""
    if value is None or value is pd.NA:
        return True
    # of all values, only those that are "not a number" or "not a time" differ from themselves
    return isinstance(value, (float, np.floating, np.datetime64, np.timedelta64)) and bool(
        value != value
    )


def is_number(value: object) -> bool:
    """Tell whether a cell reads as a number, which a mark does not."""
    return isinstance(value, numbers.Real) and not is_mark(value)


def is_mark(value: object) -> bool:
    """Tell whether a cell says yes or no."""
    return isinstance(value, (bool, np.bool_))


def to_text(value: object) -> str:
    """Return a value as one line of text."""
    return " ".join(str(value).split())


def to_mark(value: object) -> str:
    """Return a mark for what is true, and nothing for what is not."""
    return MARK if value else ""


def to_count(value: Any) -> str:
    """Return a number without decimals, with separators between thousands: ``12,345``."""
    return f"{value:,.0f}"


def to_score(value: Any) -> str:
    """Return a number with two decimals and without a leading zero: ``.93``, ``1.00``."""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.2f}"


def to_number(value: Any) -> str:
    """Return a number with four digits that count, or all before the point: ``12,345``."""
    if isinstance(value, numbers.Integral) or 1000 <= abs(value) < 1e12:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def to_cell(value: object) -> str:
    """Return a value as its own type asks for."""
    if is_mark(value):
        return to_mark(value)
    return to_number(value) if is_number(value) else to_text(value)


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is shown.

    Parameters
    ----------
    name : str
        Of the frame's column.
    title : str
        What the header says.
    format : callable
        From a value, which is never missing, to one line of text.
    sample : str
        As wide as the column is to be at first; the header's title fits in any case.
    is_hidden : bool
        Whether it is left out until it is asked for.
    """

    name: str
    title: str
    format: Callable[[Any], str] = to_cell
    sample: str = "0,000.00"
    is_hidden: bool = False

    def read(self, value: object) -> str:
        """Return what the cell says; nothing where there is no value."""
        if is_missing(value):
            return ""
        try:
            return self.format(value)
        except (TypeError, ValueError, OverflowError):
            # features are everybody's: words may stand where a number is expected
            return to_cell(value)


COLUMNS = (
    Column(LABEL, "Label", to_text, "000"),
    Column("score", "Score", to_score, "1.00"),
    Column("area", "Area", to_count, "00,000"),
    Column("concept", "Concept", to_text, "mitochond"),
    Column(STATE, "State", to_text, "unreviewed"),
    Column("area_calibrated", "Calibrated area", to_number, "00,000"),
    Column("overlaps", "Overlaps"),
    Column("engine", "Engine", to_text, "SAM3 (Segmind)"),
    Column("prompt", "Prompt", to_text, "2 points, 1 box"),
    Column("seen", "Seen"),
)
"""Those that the plugin writes; the first five fit into a narrow dock."""
