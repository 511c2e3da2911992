"""What objects measure, in pixels and in the image's unit."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import IndexArray
from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.labels import labels_dtype, paint
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.progress import Progress, drain

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, npt.NDArray[Any]]

# scikit-image's names and ours
_SHAPE = {
    "area": "area",
    "centroid-0": "centroid_row",
    "centroid-1": "centroid_col",
    "equivalent_diameter_area": "equivalent_diameter",
    "solidity": "solidity",
    "perimeter": "perimeter",
}
_INTENSITY = tuple(f"intensity_{name}" for name in ("mean", "min", "max", "std", "missing_px"))

COLUMNS = (
    *("label", "concept", "score", "engine", "state"),
    *("area_px", "area", "unit"),
    *("centroid_row_px", "centroid_col_px", "centroid_row", "centroid_col"),
    *("bbox_top", "bbox_left", "bbox_bottom", "bbox_right"),
    *("equivalent_diameter", "major_axis_length", "minor_axis_length"),
    *("eccentricity", "solidity", "perimeter", "touches_edge"),
)
"""The columns of every table, in order; those of the intensity follow."""


def measure(
    objects: Sequence[PlaneObject],
    image_shape: tuple[int, int],
    pixel_size: PixelSize | None = None,
    intensity: npt.NDArray[Any] | None = None,
    *,
    to_world: npt.NDArray[Any] | None = None,
    has_edges: bool = True,
) -> pd.DataFrame:
    """Measure objects; see `iter_measure`, which tells how far it is."""
    return drain(
        iter_measure(
            objects, image_shape, pixel_size, intensity, to_world=to_world, has_edges=has_edges
        )
    )


def iter_measure(
    objects: Sequence[PlaneObject],
    image_shape: tuple[int, int],
    pixel_size: PixelSize | None = None,
    intensity: npt.NDArray[Any] | None = None,
    *,
    to_world: npt.NDArray[Any] | None = None,
    has_edges: bool = True,
) -> Generator[Progress, None, pd.DataFrame]:
    """Measure objects, each whole, also where others hide it.

    Parameters
    ----------
    objects : sequence of PlaneObject
    image_shape : tuple of int
        (rows, cols) of the image.
    pixel_size : PixelSize, optional
        By default, lengths are in pixels.
    intensity : ndarray, shape (rows, cols), optional
        Values to take mean, least, greatest and standard deviation of.  Pixels that are NaN, or
        masked in a masked array, are left out, and counted.
    to_world : ndarray of float, shape (2, 3), optional
        Takes (row, col, 1) to world coordinates.  By default, the world begins at the centre of
        the first pixel.
    has_edges : bool
        Whether the image is known to end where `image_shape` says.

    Returns
    -------
    DataFrame
        One row per object, in order, with the columns `COLUMNS` and, given an intensity,
        ``intensity_mean``, ``intensity_min``, ``intensity_max``, ``intensity_std`` and
        ``intensity_missing_px``, the number of pixels without a value.

        ``area_px``, the centroid's ``…_px`` and the bounding box (half-open) are in pixels;
        ``area``, diameter, lengths and ``perimeter`` are in ``unit`` or its square, and
        ``centroid_row`` and ``centroid_col`` are world coordinates in ``unit``.  A pixel's
        centre has whole coordinates.  ``score`` is NaN where there is none, and so is
        ``perimeter`` where pixels are not square.  ``touches_edge`` is missing where the edges
        are not known.

    Raises
    ------
    ValueError
        If the intensity has another shape than the image.

    Notes
    -----
    All but score and the like is `skimage.measure.regionprops_table`'s, or to the last digits
    what that has: lengths of the axes are those of the ellipse with the same second moments,
    the perimeter is Benkrid's, the solidity is the area over that of the convex hull, both in
    pixels.
    """
    if intensity is not None and intensity.shape != tuple(image_shape):
        raise ValueError(f"an intensity of shape {intensity.shape} for {image_shape} pixels")
    size = pixel_size or PixelSize()
    parts, done = [], 0
    yield Progress(0, len(objects), "measuring")
    for sheet, chosen in _sheets(objects, image_shape):
        parts.append(_measure_sheet(sheet, size))
        done += len(chosen)
        yield Progress(done, len(objects), "measuring")
    measured = _joined(parts) | _ellipses(objects, size)
    if intensity is not None:
        measured |= _intensities(objects, intensity)
    boxes = np.array(
        [(b.top, b.left, b.bottom, b.right) for b in (one.instance.box for one in objects)], int
    ).reshape(-1, 4)
    measured |= _places(boxes, measured, size, to_world)
    measured["touches_edge"] = _touching(boxes, image_shape if has_edges else None)
    return _table(objects, size, measured, intensity is not None)


def _sheets(
    objects: Sequence[PlaneObject], image_shape: tuple[int, int]
) -> Generator[tuple[npt.NDArray[Any], list[int]]]:
    """Yield label images in which no object hides another, and whose objects they hold.

    An object's label is its place in the sequence, from 1.  Each goes into the first sheet
    that has room.  A sheet is painted over for the next.
    """
    left = list(range(len(objects)))
    sheet = np.zeros(image_shape, labels_dtype(len(objects)))
    while left:
        chosen, later = [], []
        for index in left:
            item = objects[index].instance
            if sheet[item.box.slices][item.mask].any():
                later.append(index)
            else:
                paint(sheet, [(index + 1, item.box, item.mask)])
                chosen.append(index)
        yield sheet, chosen
        sheet[:] = 0
        left = later


def _measure_sheet(sheet: npt.NDArray[Any], size: PixelSize) -> Columns:
    from skimage import measure as skimage_measure

    wanted = ["label", *dict.fromkeys(name.partition("-")[0] for name in _SHAPE)]
    if not size.is_square:
        wanted.remove("perimeter")
    spacing = (size.row, _col(size))
    table: Any = skimage_measure.regionprops_table
    found: Columns = table(sheet, None, wanted, spacing=spacing)
    return {_SHAPE.get(name, name): values for name, values in found.items()}


def _ellipses(objects: Sequence[PlaneObject], size: PixelSize) -> Columns:
    """Return the axes of the ellipses that have the objects' second moments.

    As `skimage.measure.regionprops` does, which takes five times as long for it.
    """
    moments = np.zeros((len(objects), 3))
    for index, one in enumerate(objects):
        row, col = np.nonzero(one.instance.mask)
        row, col = (row - row.mean()) * size.row, (col - col.mean()) * _col(size)
        moments[index] = row @ row, row @ col, col @ col
    areas = np.array([one.instance.area for one in objects])
    by_row, mixed, by_col = moments.T / areas
    mean, spread = (by_row + by_col) / 2, np.hypot((by_row - by_col) / 2, mixed)
    large = mean + spread
    # rounding may take the small one of a line below 0
    small = np.maximum(mean - spread, 0)
    roundness = np.divide(small, large, out=np.ones_like(large), where=large > 0)
    return {
        "major_axis_length": 4 * np.sqrt(large),
        "minor_axis_length": 4 * np.sqrt(small),
        "eccentricity": np.sqrt(1 - roundness),
    }


def _intensities(objects: Sequence[PlaneObject], intensity: npt.NDArray[Any]) -> Columns:
    found = np.full((len(objects), len(_INTENSITY)), np.nan)
    for index, one in enumerate(objects):
        inside = intensity[one.instance.box.slices][one.instance.mask]
        values = np.asarray(np.ma.compressed(inside), float)
        values = values[~np.isnan(values)]
        if values.size:
            found[index, :-1] = values.mean(), values.min(), values.max(), values.std()
        found[index, -1] = one.instance.area - values.size
    columns: Columns = dict(zip(_INTENSITY, found.T, strict=True))
    return columns | {_INTENSITY[-1]: found[:, -1].astype(np.int64)}


def _places(
    boxes: IndexArray,
    measured: Columns,
    size: PixelSize,
    to_world: npt.NDArray[Any] | None,
) -> Columns:
    nothing = np.full(len(boxes), np.nan)
    row, col = (measured.get(f"centroid_{name}", nothing) for name in ("row", "col"))
    places = {
        "centroid_row_px": row / size.row,
        "centroid_col_px": col / _col(size),
        "bbox_top": boxes[:, 0],
        "bbox_left": boxes[:, 1],
        "bbox_bottom": boxes[:, 2],
        "bbox_right": boxes[:, 3],
    }
    if to_world is not None:
        points = np.array(
            [places["centroid_row_px"], places["centroid_col_px"], np.ones(len(boxes))]
        )
        places["centroid_row"], places["centroid_col"] = to_world @ points
    return places


def _touching(boxes: IndexArray, image_shape: tuple[int, int] | None) -> Any:
    import pandas as pd

    if image_shape is None:
        return pd.array([pd.NA] * len(boxes), dtype="boolean")
    return (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= image_shape).any(axis=1)


def _joined(parts: Sequence[Columns]) -> Columns:
    """Put the sheets' columns together, in the objects' order."""
    if not parts:
        return {}
    order = np.argsort(np.concatenate([part["label"] for part in parts]))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def _table(
    objects: Sequence[PlaneObject],
    size: PixelSize,
    measured: Columns,
    has_intensity: bool,
) -> pd.DataFrame:
    import pandas as pd

    scores = [one.instance.score for one in objects]
    nothing = np.full(len(objects), np.nan)
    columns: dict[str, Any] = {
        "label": np.array([one.label for one in objects], np.int64),
        "concept": [one.instance.concept for one in objects],
        "score": np.array([np.nan if score is None else score for score in scores], float),
        "engine": [one.engine for one in objects],
        "state": [one.state for one in objects],
        "area_px": np.array([one.instance.area for one in objects], np.int64),
        "unit": [size.unit] * len(objects),
    }
    names = (*COLUMNS, *(_INTENSITY if has_intensity else ()))
    return pd.DataFrame({name: columns.get(name, measured.get(name, nothing)) for name in names})


def _col(size: PixelSize) -> float:
    """Return the side by which columns were measured."""
    return size.row if size.is_square else size.col
