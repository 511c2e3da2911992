"""Segment an image, write its objects for other programs, and compare two results: no window."""

from __future__ import annotations

import sys
from pathlib import Path

from skimage.data import coins

import napari_sam3 as sam3


def main(folder: Path) -> None:
    """Write ``coins.coco.json``, ``coins.geojson`` (QuPath) and ``coins.csv`` into a folder."""
    image = coins()
    found = sam3.segment(image, sam3.Everything())
    for name in ("coins.coco.json", "coins.geojson", "coins.csv"):
        sam3.export(
            found,
            folder / name,
            image,
            image_name="coins.png",
            pixel_size=0.2,
            unit="millimeter",
        )
    print(sam3.measure(found, image)[["label", "area", "intensity_mean"]].head())
    # the surest ones alone, against all of them
    for metric in sam3.evaluate(found.instances.at_least(0.85), found).metrics():
        print(f"{metric.name}: {metric.value}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
