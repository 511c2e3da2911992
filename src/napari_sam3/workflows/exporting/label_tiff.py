"""Label images as TIFF, calibrated so that ImageJ and others know it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.progress import Progress
from napari_sam3.workflows.exporting.bundle import Exported, PlacedLabels, label_image
from napari_sam3.workflows.exporting.calibration import METERS, full_name, imagej_name
from napari_sam3.workflows.files import replace_file

# ImageJ's own order of axes, and the most bytes that it finds behind one another
_ORDER = "TZCYX"
_MAX_IMAGEJ_BYTES = 2**32 - 2**25


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write the label image.

    Up to 65535 labels it is a TIFF of ImageJ.  Larger ones are uint32, which ImageJ does not
    know; such a file has the resolution in its tags.
    """
    yield Progress(0, 1, "writing the label image")
    image = label_image(exported, _ORDER)
    options = _options(image, exported.pixel_size)

    def write(file: BinaryIO) -> None:
        import tifffile

        tifffile.imwrite(file, image.pixels, photometric="minisblack", **options)

    replace_file(path, write)
    yield Progress(1, 1, "writing the label image")


def _options(image: PlacedLabels, size: PixelSize) -> dict[str, Any]:
    steps = dict(zip(image.axes, map(abs, image.scale), strict=True))
    if image.pixels.dtype != np.uint16 or image.pixels.nbytes > _MAX_IMAGEJ_BYTES:
        return _plain(image, size, steps)
    metadata: dict[str, Any] = {"axes": image.axes}
    if "Z" in steps:
        metadata["spacing"] = steps["Z"]
    if "T" in steps and steps["T"] != 1:
        metadata["finterval"] = steps["T"]
    options: dict[str, Any] = {"imagej": True, "metadata": metadata}
    if size.is_calibrated:
        metadata["unit"] = imagej_name(size.unit)
        options["resolution"] = (1 / size.col, 1 / size.row)
    if image.pixels.ndim == 2:
        # ImageJ looks for the planes of its own stacks behind one another, uncompressed
        options["compression"] = "zlib"
    return options


def _plain(image: PlacedLabels, size: PixelSize, steps: dict[str, float]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": image.axes}
    options: dict[str, Any] = {"compression": "zlib", "metadata": metadata}
    if not size.is_calibrated:
        return options
    unit = full_name(size.unit)
    metadata |= {"unit": imagej_name(unit), "spacing": steps.get("Z", 1.0)}
    per_cm = METERS["centimeter"] / METERS[unit] if unit in METERS else 1.0
    return options | {
        "resolution": (per_cm / size.col, per_cm / size.row),
        "resolutionunit": "CENTIMETER" if unit in METERS else "NONE",
    }
