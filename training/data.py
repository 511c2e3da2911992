"""Reading annotated images: only folders whose licence allows training."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

RGB8 = npt.NDArray[np.uint8]
LabelImage = npt.NDArray[np.integer[Any]]

LEAST_AREA = 12


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One annotated image.

    Parameters
    ----------
    name : str
        Unique among all sources.
    kind : str
        Modality.
    image : ndarray of uint8, shape (rows, cols, 3)
    labels : ndarray of int32, shape (rows, cols)
        1 … n, 0 is background.
    """

    name: str
    kind: str
    image: RGB8
    labels: LabelImage


def iter_samples(folder: Path, names: set[str] | None = None) -> Iterator[Sample]:
    """Yield the images of a folder that are not suspect.

    Parameters
    ----------
    folder : Path
        Holds ``NAME.png``, ``NAME_labels.png`` and ``index.csv`` with the columns name, kind
        and suspect, as the corrected 2018 Data Science Bowl (CC0).
    names : set of str, optional
        Only these.

    Yields
    ------
    Sample
    """
    with (folder / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["suspect"] == "0"]
    for row in rows:
        name = row["name"]
        if names is None or name in names:
            image = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
            labels = np.asarray(Image.open(folder / f"{name}_labels.png")).astype(np.int32)
            yield Sample(name, row["kind"], image, labels)


def iter_mnfinder(folder: Path) -> Iterator[Sample]:
    """Yield the images of MNFinder's training data (MIT): DAPI, nuclei of several cell lines.

    Parameters
    ----------
    folder : Path
        ``mnfinder/training-data`` of the unpacked wheel.

    Yields
    ------
    Sample
        Of kind "dapi"; the name starts with the folder, which is one day's work.
    """
    for path in sorted(folder.glob("*/nucleus_masks/*.png")):
        day = path.parent.parent
        image = to_rgb8(np.asarray(Image.open(day / "images" / path.name)))
        colours = np.asarray(Image.open(path)).astype(np.int64)
        codes = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
        yield Sample(f"{day.name}-{path.stem}", "dapi", image, without_specks(codes))


def to_rgb8(plane: npt.NDArray[Any]) -> RGB8:
    """Return a gray plane from black, its least value, to white, its greatest."""
    values = plane.astype(np.float32)
    low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1)
    gray = ((values - low) * (255 / (high - low))).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(gray[..., None], (*gray.shape, 3)))


def without_specks(codes: npt.NDArray[np.int64]) -> LabelImage:
    """Return the regions of one code each as labels, without slips of the brush.

    Parameters
    ----------
    codes : ndarray of int64, shape (rows, cols)
        0 is background.

    Returns
    -------
    ndarray of int32, shape (rows, cols)
    """
    values, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    keep = (values != 0) & (counts >= LEAST_AREA)
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    labels: LabelImage = numbers[inverse].reshape(codes.shape)
    return labels
