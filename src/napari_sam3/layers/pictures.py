"""How image layers look, as a picture: captured in the window's thread, read in a worker."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from napari.components import Dims
from napari.layers import Image, Layer

from napari_sam3.core.arrays import Float64Array
from napari_sam3.core.blending import Blending
from napari_sam3.core.channels import Channel
from napari_sam3.core.pictures import Picture
from napari_sam3.core.slabs import Projection, Slab
from napari_sam3.errors import ImageError
from napari_sam3.layers.planes import Plane, find_plane, level_shapes
from napari_sam3.layers.slicing import find_slab


def capture_picture(image: Image, plane: Plane) -> Picture:
    """Freeze how a layer's plane looks now, without reading a pixel.

    The hue of a colormap is left out, since it tells nothing in a single
    channel; but what it shows dark is dark, inverted colormaps included.

    Raises
    ------
    ImageError
        If its values are complex numbers, which have no order to show; or if what is between
        the margins of the slice is nothing.
    """
    return Picture(plane.shape, (_channel(image, plane),))


def capture_composed(images: Sequence[Image], reference: Plane, dims: Dims) -> Picture:
    """Freeze how several layers look together, on the pixels of one of them.

    Parameters
    ----------
    images : sequence of Image
        From bottom to top; those that show no plane now are left out.
    reference : Plane
        Gives the pixel grid.
    dims : Dims
        The viewer's.

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        If none of them can be seen.
    """
    overlaid = []
    for image in images:
        try:
            plane = find_plane(image, dims)
        except ImageError:
            continue
        channel = replace(
            _channel(image, plane),
            lut=None if image.rgb else _colormap_table(image),
            colormap="" if image.rgb else str(image.colormap.name),
            opacity=float(image.opacity),
            blending=cast(Blending, str(image.blending)),
            mapping=_mapping(reference, plane),
        )
        overlaid.append(channel)
    if not overlaid:
        raise ImageError("No image is visible: show at least one image layer.")
    return Picture(reference.shape, tuple(overlaid), is_composed=True)


class LastPicture:
    """The picture that was captured last, and with it what was read of it.

    It is kept as long as it looks the same, and its images tell of no other data.
    """

    def __init__(self) -> None:
        self._picture: Picture | None = None
        self._images: list[weakref.ref[Image]] = []

    def kept(self, picture: Picture, images: Sequence[Image]) -> Picture:
        """Return the picture of before, if this one shows the same; else this one, to be read.

        Parameters
        ----------
        picture : Picture
            As it was captured now.
        images : sequence of Image
            That it was captured from.
        """
        # what is invisible does not tell when its data were changed
        is_told = all(image.visible for image in images)
        if is_told and self._picture is not None and self._picture.look == picture.look:
            return self._picture
        self._let_go()
        unread = replace(picture)
        if is_told:
            self._picture = unread
            self._images = [weakref.ref(image) for image in images]
            for image in images:
                image.events.set_data.connect(self._let_go)
        return unread

    def forget(self, layer: Layer | None = None) -> None:
        """Let go of it, if it shows that layer, or of any."""
        channels = () if self._picture is None else self._picture.channels
        if layer is None or any(channel.key == layer.unique_id for channel in channels):
            self._let_go()

    def _let_go(self, _event: Any = None) -> None:
        images, self._images, self._picture = self._images, [], None
        for reference in images:
            image = reference()
            if image is not None:
                image.events.set_data.disconnect(self._let_go)


def _channel(image: Image, plane: Plane) -> Channel:
    data = image.data[plane.level] if image.multiscale else image.data
    # the layer's own, as that of its data need not be one of NumPy's
    dtype = np.dtype(image.dtype)
    if dtype.kind == "c":
        raise ImageError(
            f"“{image.name}” holds complex numbers; segment its magnitude instead, "
            "for instance a layer made with np.abs()."
        )
    low, high = image.contrast_limits
    slab = _find_slab(image, plane)
    return Channel(
        data,
        plane.shape,
        rgb=bool(image.rgb),
        dtype=str(dtype),
        contrast_limits=(float(low), float(high)),
        gamma=float(image.gamma),
        inverted=not image.rgb and _is_inverted(image),
        slab=slab,
        shown=plane.shown,
        tells_slab=slab != plane.slab,
        name=str(image.name),
        key=image.unique_id,
    )


def _find_slab(image: Image, plane: Plane) -> Slab:
    finest = level_shapes(image)[0]
    sizes = [finest[axis] for axis in plane.hidden]
    cut = plane.transform.cut(plane.world, plane.margins, plane.hidden)
    if image.multiscale:
        # where napari is beside such an image, it cuts at its border
        cut = cut._replace(point=np.clip(cut.point, 0, np.array(sizes) - 1))
    slab = find_slab(cut, cast(Projection, str(image.projection_mode)), sizes)
    if slab is None:
        raise ImageError(
            f"napari shows nothing of “{image.name}” in so thick a slice; set its thickness to 0, "
            "or its projection mode to “none”."
        )
    return slab.at_level(plane.hidden_factors)


def _colormap_table(image: Image) -> npt.NDArray[np.uint8]:
    colours = np.asarray(image.colormap.map(np.linspace(0, 1, 256)))
    return np.asarray(np.round(colours[:, :3] * 255), dtype=np.uint8)


def _is_inverted(image: Image) -> bool:
    # Rec. 709 luma; only which end is darker matters
    first, last = _colormap_table(image)[[0, -1]] @ np.array([0.2126, 0.7152, 0.0722])
    return bool(first > last)


def _mapping(reference: Plane, plane: Plane) -> tuple[Float64Array, Float64Array] | None:
    """Return (matrix, offset) from pixels of `reference` to pixels of `plane`."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    mapped = plane.from_canvas(reference.to_canvas(corners))
    offset = mapped[0]
    matrix = (mapped[1:] - offset).T
    same = np.allclose(matrix, np.eye(2)) and np.allclose(offset, 0)
    return None if same and plane.shape == reference.shape else (matrix, offset)
