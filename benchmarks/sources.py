"""Annotated images to measure on."""
# scikit-image's functions are untyped
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.io import imread
from skimage.segmentation import relabel_sequential

from training.data import RGB8, LabelImage, Sample, to_rgb8


def iter_pairs(images: Path, labels: Path) -> Iterator[Sample]:
    """Yield the images of a folder, or of a file, with the labels beside them.

    Parameters
    ----------
    images, labels : Path
        Two files, or two folders that hold as many files in the same order of names.  A file
        may be a stack of planes.  0 is background.

    Yields
    ------
    Sample
        The kind is the name of `images` without its ending.
    """
    for image, truth in zip(_files(images), _files(labels), strict=True):
        for index, (plane, own) in enumerate(_planes(imread(image), imread(truth))):
            yield Sample(f"{images.stem}/{image.stem}-{index}", images.stem, plane, own)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.iterdir() if one.is_file() and one.name[0] != ".")


def _planes(image: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Iterator[tuple[RGB8, LabelImage]]:
    shape = labels.shape[-2:]
    # an alpha channel tells nothing about what was seen
    planes = image.reshape(-1, *shape, image.size // labels.size)[..., :3]
    for plane, own in zip(planes, labels.reshape(-1, *shape), strict=True):
        yield _rgb(plane), relabel_sequential(own)[0].astype(np.int32)


def _rgb(plane: npt.NDArray[Any]) -> RGB8:
    if plane.dtype == np.uint8:
        return np.ascontiguousarray(np.broadcast_to(plane, (*plane.shape[:2], 3)))
    return to_rgb8(plane.mean(axis=2))
