"""Segment an image, write its objects for other programs, and compare two results: no window."""

from __future__ import annotations

import sys
from pathlib import Path

from skimage.data import coins

import napari_sam3 as sam3
from napari_sam3.core.calibration import PixelSize
from napari_sam3.workflows.evaluating import evaluate_arrays
from napari_sam3.workflows.exporting import Exported, export
from napari_sam3.workflows.object_records import objects_of


def main(folder: Path) -> None:
    """Write ``coins.coco.json``, ``coins.geojson`` (QuPath) and ``coins.csv`` into a folder."""
    image = coins()
    found = sam3.segment(image, sam3.Everything()).instances
    (plane,) = objects_of(found, engine="Built-in").planes
    content = Exported(
        tuple(plane.objects.values()),
        found.image_shape,
        PixelSize(0.2, 0.2, "millimeter"),
        image_name="coins.png",
        intensity=image,
    )
    for name in ("coins.coco.json", "coins.geojson", "coins.csv"):
        export(folder / name, content)
    # the surest ones alone, against all of them
    surest = found.at_least(0.85).to_labels()
    for metric in evaluate_arrays(surest, found.to_labels()).metrics():
        print(f"{metric.name}: {metric.value}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
