"""What a script does with objects, in whatever form it has them: measure, export, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.images import without_colours
from napari_sam3.core.instances import Instances
from napari_sam3.core.masked import refuse_masked
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.engines import engine_info
from napari_sam3.engines.base import SegmentationResult
from napari_sam3.errors import ImageError
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.exporting import Calibration, Exported
from napari_sam3.workflows.exporting import export as write

if TYPE_CHECKING:
    import pandas as pd

    from napari_sam3.core.evaluation import Evaluation

Objects = SegmentationResult | SegmentAnswer | Instances | npt.ArrayLike
Size = float | tuple[float, float] | PixelSize


def measure(
    objects: Objects,
    image: npt.ArrayLike | None = None,
    *,
    pixel_size: Size | None = None,
    unit: str = "micrometer",
) -> pd.DataFrame:
    """Measure objects: area, position, shape and, given the image, intensity.

    Parameters
    ----------
    objects : SegmentationResult, SegmentAnswer, Instances or label image
        A label image has one plane, (rows, cols), and 0 where there is no object.
    image : array_like, shape (rows, cols), optional
        Values to take mean, least, greatest and standard deviation of.  Those that are NaN, or
        masked in a masked array, are left out, and counted.
    pixel_size : float, (row, col) or PixelSize, optional
        The sides of a pixel; by default, lengths are in pixels.
    unit : str
        Of `pixel_size`, unless it has its own.

    Returns
    -------
    DataFrame
        One row per object; its columns are explained at
        `napari_sam3.workflows.measuring.iter_measure`.

    Raises
    ------
    ImageError
        If the labels are none of one plane, or the image has another shape.

    Examples
    --------
    >>> labels = np.zeros((6, 8), int)
    >>> labels[1:3, 2:5] = 4
    >>> measure(labels, pixel_size=0.5)[["label", "area_px", "area", "unit"]]
       label  area_px  area        unit
    0      4        6   1.5  micrometer
    """
    from napari_sam3.workflows.measuring import measure as measure_objects

    content = _content(objects, image, _size(pixel_size, unit))
    if content.is_stack:
        raise ImageError("The labels are a stack: measure them plane by plane.")
    return measure_objects(content.kept, content.image_shape, content.pixel_size, content.intensity)


def export(
    objects: Objects,
    path: str | Path,
    image: npt.ArrayLike | None = None,
    *,
    image_name: str = "",
    pixel_size: Size | None = None,
    unit: str = "micrometer",
    overwrite: bool = False,
) -> Path:
    """Write objects to a file for another program.

    Parameters
    ----------
    objects : SegmentationResult, SegmentAnswer, Instances or label image
        A label image may be a stack if the file holds label images.
    path : str or Path
        Its suffix is the format: ``.tif``, ``.ome.zarr``, ``.json`` (COCO), ``.geojson``
        (QuPath), ``.zip`` (ImageJ ROIs) or ``.csv`` (measurements).
    image : array_like, shape (rows, cols), optional
        As in `measure`, for ``.csv``.
    image_name : str
        The name of the image's file, for formats that hold it.
    pixel_size, unit
        As in `measure`.
    overwrite : bool
        Whether a file that exists is replaced.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ImageError
        If the objects cannot be written there; then nothing is.
    """
    if not isinstance(path, str | Path):
        raise ImageError(f"The path of a file is a text or a Path, not {path!r:.60}.")
    content = replace(_content(objects, image, _size(pixel_size, unit)), image_name=image_name)
    return write(path, content, overwrite)[0]


def evaluate(pred: Objects | Path, truth: Objects | Path) -> Evaluation:
    """Compare a segmentation with ground truth.

    Parameters
    ----------
    pred, truth : SegmentationResult, SegmentAnswer, Instances, label image, str or Path
        Of one image; or two files of labels, or two folders of such.  Where objects overlap,
        they count as `Instances.to_labels` shows them.

    Returns
    -------
    Evaluation
        Its `metrics` are AP, F1, panoptic quality and more.

    Raises
    ------
    ImageError
        If the two are not of the same image, or hold no labels.

    Examples
    --------
    >>> evaluate(np.array([[1, 1, 2]]), np.array([[5, 5, 0]]))
    Evaluation(1 image, 2 predicted, 1 true, AP50 0.5000, mean AP 0.5000, F1 0.6667)
    """
    from napari_sam3.workflows.evaluating import evaluate_arrays, iter_evaluate

    if isinstance(pred, str | Path) and isinstance(truth, str | Path):
        return drain(iter_evaluate(pred, truth))
    if isinstance(pred, str | Path) or isinstance(truth, str | Path):
        raise ImageError("Compare two files, or two results: open the file first.")
    return evaluate_arrays(_labels(pred), _labels(truth))


def _labels(objects: Objects) -> npt.NDArray[Any]:
    if isinstance(objects, SegmentationResult | SegmentAnswer):
        objects = objects.instances
    return (
        objects.to_labels()
        if isinstance(objects, Instances)
        else _array(objects, "The label image")
    )


def _engine_of(objects: Objects) -> str:
    results: Sequence[SegmentationResult] = ()
    if isinstance(objects, SegmentationResult | SegmentAnswer):
        results = objects.results if isinstance(objects, SegmentAnswer) else (objects,)
    names = {result.record.engine for result in results if result.record is not None}
    return engine_info(names.pop()).title if len(names) == 1 else ""


def _size(pixel_size: Size | None, unit: str) -> PixelSize:
    if pixel_size is None:
        return PixelSize()
    if isinstance(pixel_size, PixelSize):
        return pixel_size
    try:
        sides: Any = (pixel_size,) * 2 if isinstance(pixel_size, Real) else pixel_size
        row, col = sides
        if not all(isinstance(side, Real) and not isinstance(side, bool) for side in (row, col)):
            raise TypeError
        return PixelSize(float(row), float(col), unit)
    except (TypeError, ValueError, OverflowError) as error:
        raise ImageError(
            f"A pixel is one or two numbers above 0 large, not {pixel_size!r:.60}."
        ) from error


def _array(values: Any, what: str) -> npt.NDArray[Any]:
    """Return values as an array; a masked one remains masked."""
    try:
        return np.asanyarray(values)
    except ValueError as error:
        raise ImageError(f"{what} is no array: its rows differ in length.") from error


def _content(objects: Objects, image: npt.ArrayLike | None, size: PixelSize) -> Exported:
    from napari_sam3.workflows.exporting.from_labels import objects_of_labels
    from napari_sam3.workflows.label_files import as_labels
    from napari_sam3.workflows.object_records import objects_of

    engine = _engine_of(objects)
    if isinstance(objects, SegmentationResult | SegmentAnswer):
        objects = objects.instances
    if isinstance(objects, Instances):
        found = objects_of(objects, engine).on(PlaneIndex())
        content = Exported(tuple(found.values()), objects.image_shape, size)
    else:
        refuse_masked(objects, "The label image")
        labels = as_labels(_array(objects, "The label image"), "The label image")
        if labels.ndim < 2 or not labels.size:
            raise ImageError(f"An array of shape {labels.shape} is no label image.")
        content = objects_of_labels(labels, Calibration(size))
    if image is None:
        return content
    values = without_colours(_array(image, "The image"))
    if values.dtype.kind not in "biuf":
        raise ImageError(f"Intensities are real numbers, but the image holds {values.dtype}.")
    if values.shape != content.image_shape:
        raise ImageError(
            f"The image has the shape {values.shape}, but the objects lie in "
            f"{content.image_shape}; intensities are measured in images of one channel."
        )
    return replace(content, intensity=values)
