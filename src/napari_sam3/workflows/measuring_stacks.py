"""What objects over the planes of a stack measure: one row each."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3.core.arrays import Float64Array
from napari_sam3.core.doubt import touches_border
from napari_sam3.core.geometry import Box
from napari_sam3.core.objects import LabelledObject
from napari_sam3.workflows.exporting.bundle import Exported, letters_of

if TYPE_CHECKING:
    import pandas as pd


def measure_stack(exported: Exported) -> pd.DataFrame:
    """Measure objects over planes, each whole, also where others hide it.

    Parameters
    ----------
    exported : Exported
        With `planes`.

    Returns
    -------
    DataFrame
        One row per object that was not rejected, by rising label: ``label``, ``concept``,
        ``score`` (the least of all planes), ``engine``, ``state``; ``voxels``; ``planes``, on
        how many it lies, and ``plane``, the first of them along the other axes;
        ``volume`` in ``unit`` cubed, NaN where the step between planes is not known, or is one
        of time; the centroid over all voxels, along each other axis (``centroid_z_px``),
        ``centroid_row_px`` and ``centroid_col_px`` in pixels, ``centroid_row`` and
        ``centroid_col`` in world coordinates; the bounding box over all planes; and
        ``touches_edge``, missing where the edges are not known.
    """
    import pandas as pd

    kept = sorted((one for one in exported.labelled if one.state != "rejected"), key=_label)
    centroids = np.array([_centroid(one) for one in kept]).reshape(len(kept), -1)
    world = exported.world @ np.column_stack([centroids[:, -2:], np.ones(len(kept))]).T
    voxels = np.array([one.area for one in kept], np.int64)
    boxes = [_box(one) for one in kept]
    scores = [np.nan if one.score is None else one.score for one in kept]
    letters = _letters(exported)
    edges: Any = pd.array([pd.NA] * len(kept), dtype="boolean")
    return pd.DataFrame(
        {
            "label": np.array([one.label for one in kept], np.int64),
            "concept": [one.concept for one in kept],
            "score": np.array(scores, float),
            "engine": [one.engine for one in kept],
            "state": [one.state for one in kept],
            "voxels": voxels,
            "planes": np.array([len(one.parts) for one in kept], np.int64),
            "plane": [",".join(map(str, min(i.fixed for i in one.parts))) for one in kept],
            "volume": voxels * _voxel_volume(exported, letters),
            "unit": exported.pixel_size.unit,
            **{f"centroid_{name}_px": centroids[:, at] for at, name in enumerate(letters.lower())},
            "centroid_row_px": centroids[:, -2],
            "centroid_col_px": centroids[:, -1],
            "centroid_row": world[0],
            "centroid_col": world[1],
            "bbox_top": [box.top for box in boxes],
            "bbox_left": [box.left for box in boxes],
            "bbox_bottom": [box.bottom for box in boxes],
            "bbox_right": [box.right for box in boxes],
            "touches_edge": touches_border(boxes, exported.image_shape)
            if exported.has_edges
            else edges,
        }
    )


def _label(one: LabelledObject) -> int:
    return one.label


def _box(one: LabelledObject) -> Box:
    return functools.reduce(Box.union, (part.instance.box for part in one.parts.values()))


def _centroid(one: LabelledObject) -> Float64Array:
    """Return the mean position of all voxels, along the other axes, rows and columns."""
    places, areas = [], []
    for index, part in one.parts.items():
        rows, cols = np.nonzero(part.instance.mask)
        box = part.instance.box
        places.append([*index.fixed, rows.mean() + box.top, cols.mean() + box.left])
        areas.append(part.instance.area)
    return np.average(np.array(places, float), axis=0, weights=areas)


def _letters(exported: Exported) -> str:
    """Return a letter for each axis of planes."""
    count = len(next(iter(exported.planes)))
    named = (exported.axes or "")[:-2]
    is_known = len(named) == count and set(named) <= set("TCZ")
    return named if is_known else letters_of(count) or "ABCDEFGH"[:count]


def _voxel_volume(exported: Exported, letters: str) -> float:
    steps, units = exported.scale, exported.units
    if letters != "Z" or steps is None:
        return float("nan")
    if units is not None and len(set(units)) > 1:
        return float("nan")
    return abs(steps[0]) * exported.pixel_size.area
