"""Segmented objects in the files of other programs, and back."""

from __future__ import annotations

from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.calibration import Calibration, read_calibration
from napari_sam3.workflows.exporting.formats import FORMATS, Format, format_of
from napari_sam3.workflows.exporting.importing import read_objects
from napari_sam3.workflows.exporting.writing import check_target, export, iter_export

__all__ = [
    "FORMATS",
    "Calibration",
    "Exported",
    "Format",
    "check_target",
    "export",
    "format_of",
    "iter_export",
    "read_calibration",
    "read_objects",
]
