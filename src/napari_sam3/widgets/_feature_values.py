"""One column of a frame, as sorting and searching need it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_sam3.core.arrays import BoolArray, IndexArray
from napari_sam3.widgets._columns import is_number, to_text

Rows = npt.NDArray[np.intp]

_NUMERIC_OBJECTS = frozenset({"integer", "floating", "mixed-integer-float", "decimal", "boolean"})
_ORDERED_KINDS = "biuf"


class Values:
    """The cells of a column; what is derived from them is worked out once, when asked for.

    Parameters
    ----------
    series : pandas.Series
        Of any type.

    Attributes
    ----------
    cells : ndarray, shape (n,)
        The values themselves.
    """

    def __init__(self, series: pd.Series) -> None:
        self._series = series

    def __len__(self) -> int:
        return len(self._series)

    @cached_property
    def cells(self) -> npt.NDArray[Any]:
        return np.asarray(self._series.to_numpy())

    @cached_property
    def is_missing(self) -> BoolArray:
        """Which cells are empty."""
        return np.asarray(self._series.isna(), bool)

    @cached_property
    def is_logical(self) -> bool:
        """Whether the column says yes or no."""
        series = self._series
        if _is_object(series.dtype):
            return bool(pd.api.types.infer_dtype(series, skipna=True) == "boolean")
        return bool(pd.api.types.is_bool_dtype(series.dtype))

    @cached_property
    def numbers(self) -> npt.NDArray[Any] | None:
        """The cells as numbers, NaN where there is none; None for a column of anything else."""
        series = self._series
        dtype = series.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            is_numeric = _is_numeric(dtype.categories.dtype)
            return np.asarray(series, np.float64) if is_numeric else None
        if _is_object(dtype):
            if pd.api.types.infer_dtype(series, skipna=True) not in _NUMERIC_OBJECTS:
                return None
            return np.asarray(pd.to_numeric(series, errors="coerce"), np.float64)
        if not _is_numeric(dtype):
            return None
        if isinstance(dtype, np.dtype):
            return self.cells
        return np.asarray(series.to_numpy(np.float64, na_value=np.nan))

    @cached_property
    def extremes(self) -> tuple[Any, ...]:
        """The smallest and the largest of a column of numbers; empty for any other."""
        if self.numbers is None or self.is_logical:
            return ()
        present = self.numbers[~self.is_missing]
        return (present.min(), present.max()) if len(present) else ()

    @cached_property
    def digits(self) -> npt.NDArray[np.str_]:
        """The cells of a column of numbers, written out."""
        return self.cells.astype(np.str_)

    @cached_property
    def texts(self) -> tuple[IndexArray, list[str]]:
        """Which text each cell holds, −1 for none, and the different texts without their case."""
        codes, uniques = self._factorized
        return codes, [to_text(value).casefold() for value in uniques]

    @cached_property
    def keys(self) -> npt.NDArray[Any]:
        """What the column is sorted by; of a missing cell it means nothing."""
        if self.numbers is not None:
            return self.numbers
        codes, texts = self.texts
        if isinstance(self._series.dtype, pd.CategoricalDtype):
            # the order that somebody gave them
            return codes
        by = _sort_texts(texts, self._factorized[1])
        places = np.empty(len(by) + 1, np.intp)
        places[by] = np.arange(len(by))
        return places[codes]

    @cached_property
    def _factorized(self) -> tuple[IndexArray, list[Any]]:
        if isinstance(self._series.dtype, pd.CategoricalDtype):
            return np.asarray(self._series.cat.codes, np.intp), list(self._series.cat.categories)
        values = self._series.astype(object)
        try:
            codes, uniques = pd.factorize(values)
        except TypeError:  # lists and arrays, which are equal to nothing
            codes, uniques = pd.factorize(values.map(str, na_action="ignore"))
        return codes, list(uniques)


def _is_object(dtype: Any) -> bool:
    return bool(pd.api.types.is_object_dtype(dtype))


def _is_numeric(dtype: Any) -> bool:
    # complex numbers are numeric, but of two of them none is the larger
    return bool(pd.api.types.is_numeric_dtype(dtype)) and dtype.kind in _ORDERED_KINDS


def _sort_texts(texts: list[str], values: list[Any]) -> list[int]:
    by = sorted(range(len(texts)), key=texts.__getitem__)
    figures = {
        i: float(value)
        for i, value in enumerate(values)
        if type(value) is not str and is_number(value)
    }
    if figures:
        # numbers among words come first, by their size
        by.sort(key=lambda i: figures.get(i, np.inf))
    return by


def sort_rows(rows: Rows, values: Values, *, descending: bool = False) -> Rows:
    """Return rows in the order of their values.

    Parameters
    ----------
    rows : ndarray of int, shape (k,)
        Of the column; the order of equal ones stays, in either direction.
    values : Values
    descending : bool

    Returns
    -------
    ndarray of int, shape (k,)
        What is missing comes last, in either direction.
    """
    missing = values.is_missing[rows]
    present = rows[~missing]
    keys = values.keys[present]
    if descending:
        # from behind, and turned round again: equal ones keep their order
        by = len(keys) - 1 - np.argsort(keys[::-1], kind="stable")[::-1]
    else:
        by = np.argsort(keys, kind="stable")
    return np.concatenate([present[by], rows[missing]])
