"""The list of file formats, which the file's name tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_sam3.errors import ImageError


@dataclass(frozen=True, slots=True)
class Format:
    """One file format; its name is short and without spaces, its title for a file dialog.

    Parameters
    ----------
    suffixes : tuple of str
        The ends of file names, the usual one first.
    holds : str
        What is in such a file, as the end of a sentence.
    keeps_overlaps : bool
        Whether each object is whole, also where others hide it.
    can_be_read : bool
        Whether `read_objects` reads it.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    holds: str
    keeps_overlaps: bool
    is_folder: bool = False
    can_be_read: bool = True

    @property
    def pattern(self) -> str:
        """The title with its suffixes, as Qt's file dialogs take it."""
        return f"{self.title} ({' '.join(f'*{suffix}' for suffix in self.suffixes)})"


FORMATS = (
    Format(
        "label_tiff",
        "Label image, TIFF for ImageJ",
        (".tif", ".tiff"),
        "a label image with its calibration, one object per pixel",
        keeps_overlaps=False,
    ),
    Format(
        "ome_zarr_labels",
        "Label image, OME-Zarr 0.5",
        (".ome.zarr", ".zarr"),
        "a label image with scores and names, and the image if it is known",
        keeps_overlaps=False,
        is_folder=True,
    ),
    Format(
        "coco",
        "COCO JSON",
        (".coco.json", ".json"),
        "masks as run lengths, with scores and categories",
        keeps_overlaps=True,
    ),
    Format(
        "geojson",
        "GeoJSON for QuPath",
        (".geojson",),
        "outlines along pixel edges, with classes and scores",
        keeps_overlaps=True,
    ),
    Format(
        "imagej_rois",
        "ImageJ regions of interest",
        (".zip",),
        "one region per object, for the ROI Manager",
        keeps_overlaps=True,
    ),
    Format(
        "csv_table",
        "Measurements, CSV",
        (".csv",),
        "one row of measurements per object",
        keeps_overlaps=True,
        can_be_read=False,
    ),
)
"""All formats, the most common first."""


def format_of(path: str | Path) -> Format:
    """Return the format that a file name stands for; refuse one that stands for none."""
    # a name that is nothing but a suffix is that of a hidden file
    name = Path(path).name.lower().lstrip(".")
    for each in FORMATS:
        if name.endswith(each.suffixes):
            return each
    known = [suffix for each in FORMATS for suffix in each.suffixes]
    raise ImageError(
        f"Objects cannot be saved as {Path(path).name!r}; end its name in "
        f"{', '.join(known[:-1])} or {known[-1]}."
    )
