"""What the planes of a layer's record are like at one moment, for a worker to bring in step."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import hidden_labels
from napari_sam3.layers.objects import ObjectRecord
from napari_sam3.workflows.syncing import PlaneState


def capture_state(record: ObjectRecord, data: Any, index: PlaneIndex) -> PlaneState:
    """Return the state of a plane; the record stays as it is.

    Parameters
    ----------
    record : ObjectRecord
    data : ndarray of int
        The labels.  `PlaneState.actual` is a view of them.
    index : PlaneIndex

    Returns
    -------
    PlaneState
        Without an object where the plane is not on record, or is there in another shape.

    Raises
    ------
    IndexError
        If the labels have no such plane.
    """
    actual = index.cut(data)
    known = record.planes.get(index)
    if known is None or known.shape != actual.shape:
        return PlaneState({}, np.zeros(actual.shape, np.uint16), actual, record.view)
    # a run writes into `expected` while a worker reads it
    expected = np.array(known.expected)
    return PlaneState(
        dict(known.objects),
        expected,
        actual,
        record.view,
        known.hidden,
        known.rule,
        undone=dict(known.undone),
    )


def capture_states(record: ObjectRecord, data: Any) -> dict[PlaneIndex, PlaneState]:
    """Return the state of each plane on record that the labels have in the same shape."""
    return {
        index: capture_state(record, data, index)
        for index, plane in record.planes.items()
        if _has(data, index, plane.shape)
    }


def is_in_step(state: PlaneState) -> bool:
    """Return whether a sync would change neither the record nor the pixels."""
    if state.rule != state.view.rule or not np.array_equal(state.expected, state.actual):
        return False
    rows, cols = state.expected.shape
    return set(state.hidden) == hidden_labels(
        list(state.objects.values()), (rows, cols), state.view
    )


def _has(data: Any, index: PlaneIndex, shape: tuple[int, int]) -> bool:
    try:
        return bool(index.cut(data).shape == shape)
    except IndexError:
        return False
