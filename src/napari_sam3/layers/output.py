"""Where the objects of an image belong: the Labels layer, its place and its plane."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.errors import ImageError
from napari_sam3.layers.describing import describe_image, describe_placement
from napari_sam3.layers.planes import Plane, is_plain
from napari_sam3.layers.transforms import LayerTransform, transform_kwargs

CELLS_PER_STEP = 1 << 20
"""Looked at in one go."""

METADATA_KEY = "napari_sam3"


@dataclass(frozen=True, slots=True, eq=False)
class OutputPlace:
    """Where the objects of an image belong, kept even if the image is removed.

    Parameters
    ----------
    name : str
        For a new layer.
    shape : tuple of int
        Of the image's whole extent, at the plane's level.
    transform : LayerTransform
        Of that level.
    kwargs : dict
        Scale, translate and so on, for a new layer.
    plane : Plane
        The plane that is written.
    image : dict
        What is known of the image, as JSON values.
    """

    name: str
    shape: tuple[int, ...]
    transform: LayerTransform
    kwargs: dict[str, Any]
    plane: Plane
    image: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return the shape of the labels and where they lie, as JSON values."""
        return describe_placement(self.shape, self.kwargs)

    def new_layer(self) -> Labels:
        """Make an empty Labels layer over the whole image; not yet in a viewer.

        Raises
        ------
        ImageError
            If the image is too large for a label image in memory.
        """
        try:
            # 16 bits: a 32-bit layer takes napari four times as long to show
            data = np.zeros(self.shape, np.uint16)
        except (MemoryError, ValueError) as error:
            raise ImageError(
                f"A Labels layer of shape {self.shape} does not fit in memory; "
                "crop the image, or segment a multiscale one."
            ) from error
        return Labels(data, name=self.name, metadata={METADATA_KEY: {}}, **self.kwargs)

    def misfit(self, layer: Labels) -> str:
        """Return why a layer cannot take these objects; empty if it can."""
        if layer.multiscale or not is_plain(layer.data):
            return f"“{layer.name}” cannot be edited, since its data are not a plain array"
        if not (layer.data.flags.writeable and layer.editable):
            return f"“{layer.name}” is read-only"
        if layer.data.shape != self.shape:
            return f"“{layer.name}” has the shape {layer.data.shape}, not {self.shape}"
        if not LayerTransform.of(layer).matches(self.transform):
            return f"“{layer.name}” lies in another place than the image"
        return ""


def find_output_place(image: Image, plane: Plane) -> OutputPlace:
    """Find where the objects on a plane of an image belong."""
    kwargs = transform_kwargs(image)
    data = image.data[plane.level] if image.multiscale else image.data
    shape = tuple(data.shape[: image.ndim])
    transform = plane.transform
    if plane.level:
        factors = np.asarray(plane.factors)
        centre = (factors - 1) / 2
        # a coarse pixel's centre lies amid the fine ones, not on the first of them
        first = np.append(transform.linear @ centre + transform.offset, 1)
        translate = (np.linalg.inv(image.affine.affine_matrix) @ first)[:-1]
        kwargs |= {"scale": np.asarray(image.scale) * factors, "translate": translate}
        transform = LayerTransform(
            transform.linear * factors, transform.linear @ centre + transform.offset
        )
    name = f"{image.name} objects"
    return OutputPlace(name, shape, transform, kwargs, plane, describe_image(image))


def picture_kwargs(place: OutputPlace, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the keyword arguments that lay a picture of the plane over the plane.

    Parameters
    ----------
    place : OutputPlace
    shape : tuple of int
        (rows, cols, …) of the picture, which may have fewer pixels than the plane.
    """
    factors = np.asarray(place.plane.shape) / np.asarray(shape[:2])
    pixels = np.array([(0, 0), (1, 0), (0, 1)])
    first, *others = place.plane.to_canvas((pixels + 0.5) * factors - 0.5)
    matrix = np.eye(3)
    matrix[:2] = np.stack([*(other - first for other in others), first], axis=1)
    return {"affine": matrix}


def iter_is_empty(layer: Labels) -> Generator[None, None, bool]:
    """Look, some milliseconds at a time, whether a layer holds no label; return that."""
    data = layer.data
    blocks = data if data.ndim > 2 else [data]
    looked_at = 0
    for block in blocks:
        for rows in np.array_split(block, -(-block.size // CELLS_PER_STEP) or 1):
            if rows.any():
                return False
            looked_at += rows.size
            if looked_at >= CELLS_PER_STEP:
                looked_at = 0
                yield
    return True


def iter_highest(data: LabelImage, planes: Iterable[PlaneIndex]) -> Generator[None, None, int]:
    """Look, some milliseconds at a time, which is the highest label on some planes."""
    highest = looked_at = 0
    for index in planes:
        plane = index.cut(data)
        for rows in np.array_split(plane, -(-plane.size // CELLS_PER_STEP) or 1):
            highest = max(highest, int(rows.max(initial=0)))
            looked_at += rows.size
            if looked_at >= CELLS_PER_STEP:
                looked_at = 0
                yield
    return highest
