"""The plane of an image layer that the viewer shows, and how it looks.

Everything here is captured in the window's thread without reading a pixel, and
is frozen: reading happens in the worker.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from napari.components import Dims
from napari.layers import Image, Layer

from napari_sam3.core.flatness import Part
from napari_sam3.core.images import Blending, Channel, compose, to_rgb8, to_uint8
from napari_sam3.core.slabs import Projection, Slab
from napari_sam3.errors import ImageError
from napari_sam3.layers.slicing import find_slab, is_beside
from napari_sam3.layers.transforms import FloatArray, LayerTransform, Margins

LONGEST_REASON = 200

MAX_SIDE = 4096
"""Of a multiscale image, the finest level is read whose shown sides are not longer."""

EDGE_ON = 1e-6
"""A layer is seen edge-on where its pixels are drawn smaller than this part of their area."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One 2D plane of a layer, in the orientation in which it is shown.

    Parameters
    ----------
    index : tuple of int
        Position along each data axis of the full-resolution data; 0 on the two
        axes that are shown.
    shown : tuple of int
        The data axes shown as rows and as columns.
    shape : tuple of int
        (rows, cols) of the plane at `level`.
    level : int
        Of a multiscale image; 0 is the full resolution.
    factors : tuple of float
        Full-resolution pixels per pixel of the level, along each data axis.
    transform : LayerTransform
        Full-resolution data to world.
    world : tuple of float
        The viewer's position along all of its axes.
    margins : pair of tuples of float
        How far what is shown reaches before and behind that position; 0 for a single plane.
    """

    index: tuple[int, ...]
    shown: tuple[int, int]
    shape: tuple[int, int]
    level: int
    factors: tuple[float, ...]
    transform: LayerTransform
    world: tuple[float, ...]
    margins: Margins

    @property
    def ndim(self) -> int:
        """Number of data axes, colour not counted."""
        return len(self.index)

    @property
    def hidden(self) -> tuple[int, ...]:
        """The data axes that are not shown."""
        return tuple(axis for axis in range(self.ndim) if axis not in self.shown)

    @property
    def key(self) -> tuple[int, ...]:
        """What tells this plane from others of the same layer."""
        return (*self.shown, *(self.index[axis] for axis in self.hidden))

    @property
    def is_transposed(self) -> bool:
        """Whether the data's later axis is shown as rows."""
        return self.shown[0] > self.shown[1]

    @property
    def slab(self) -> Slab:
        """The plane alone, in the level's data."""
        alone = Slab.single(*(self.index[axis] for axis in self.hidden))
        return alone.at_level(self.hidden_factors)

    @property
    def hidden_factors(self) -> tuple[float, ...]:
        """Full-resolution planes per plane of the level, along each hidden axis."""
        return tuple(self.factors[axis] for axis in self.hidden)

    def level_index(self) -> tuple[int | slice, ...]:
        """Index that cuts the plane out of the level's data."""
        whole: list[int | slice] = [slice(None)] * self.ndim
        for axis, (at, _) in zip(self.hidden, self.slab.ranges, strict=True):
            whole[axis] = at
        return tuple(whole)

    def cut(self, data: Any) -> Any:
        """Cut the plane out of the level's data, as shown, without computing it."""
        cut = data[self.level_index()]
        return cut.transpose((1, 0, *range(2, cut.ndim))) if self.is_transposed else cut

    def read(self, data: Any) -> npt.NDArray[Any]:
        """Read the plane, and nothing else, of the level's data, as shown."""
        return self.slab.read(data, self.shown)

    def axes_of(self, layer: Layer) -> tuple[int, int]:
        """Return the axes of another layer that are shown as rows and as columns.

        Below 0 are axes that it lacks.
        """
        rows, cols = (axis + layer.ndim - self.ndim for axis in self.shown)
        return rows, cols

    def to_data(self, pixels: npt.ArrayLike) -> FloatArray:
        """Map (row, col) of the level, (n, 2), to full-resolution data points, (n, ndim)."""
        rows_cols = np.asarray(pixels, dtype=float)
        factors = np.asarray([self.factors[axis] for axis in self.shown])
        data = np.tile(np.asarray(self.index, dtype=float), (len(rows_cols), 1))
        data[:, self.shown] = (rows_cols + 0.5) * factors - 0.5
        return data

    def to_canvas(self, pixels: npt.ArrayLike) -> FloatArray:
        """Return where napari draws (row, col) of the level, (n, 2), in world coordinates."""
        return self.transform.to_canvas(self.to_data(pixels), self.shown)

    def from_canvas(self, places: npt.ArrayLike) -> FloatArray:
        """Return (row, col) of the level that napari draws at these places, (n, 2)."""
        factors = np.asarray([self.factors[axis] for axis in self.shown])
        full = self.transform.from_canvas(places, self.shown)
        return np.asarray((full + 0.5) / factors - 0.5, dtype=float)


def is_plain(data: Any) -> bool:
    """Whether a layer's data can be written as they are: an array of NumPy's, without a mask."""
    return isinstance(data, np.ndarray) and not isinstance(data, np.ma.MaskedArray)


def find_plane(image: Image, dims: Dims, max_side: int = MAX_SIDE) -> Plane:
    """Find the plane of an image layer that the viewer shows.

    Parameters
    ----------
    image : Image
        Any number of dimensions, multiscale or not.
    dims : Dims
        The viewer's; it may have more axes than the layer.
    max_side : int
        As `MAX_SIDE`.

    Returns
    -------
    Plane

    Raises
    ------
    ImageError
        If the viewer shows no single plane of this layer.
    """
    if dims.ndisplay != 2:
        raise ImageError(
            "A single plane is needed: switch the viewer to its 2D view (the cube button)."
        )
    rows, cols = (axis - (dims.ndim - image.ndim) for axis in dims.displayed)
    if min(rows, cols) < 0:
        raise ImageError(
            f"“{image.name}” has no plane along the axes that are shown; "
            "turn the view (the roll button) until its rows and columns are."
        )
    transform, shapes = LayerTransform.of(image), _level_shapes(image)
    if 0 in shapes[0]:
        raise ImageError(f"“{image.name}” is empty: it has no pixel to segment.")
    _refuse_edge_on(image, transform, (rows, cols))
    hidden = [axis for axis in range(image.ndim) if axis not in (rows, cols)]
    margins = (tuple(dims.margin_left), tuple(dims.margin_right))
    cut = transform.cut(dims.point, margins, hidden)
    sizes = [shapes[0][axis] for axis in hidden]
    if is_beside(cut, str(image.projection_mode), sizes):
        raise ImageError(
            f"“{image.name}” has no plane where the sliders are; move them until it is seen."
        )
    index = np.zeros(image.ndim, dtype=int)
    index[hidden] = np.clip(np.round(cut.point), 0, np.array(sizes) - 1)
    level = _level([(shape[rows], shape[cols]) for shape in shapes], max_side)
    factors = tuple(full / max(1, own) for full, own in zip(shapes[0], shapes[level], strict=True))
    shape = (shapes[level][rows], shapes[level][cols])
    place = (transform, tuple(dims.point), margins)
    return Plane(tuple(index.tolist()), (rows, cols), shape, level, factors, *place)


def go_to(dims: Dims, plane: Plane) -> None:
    """Move the viewer's sliders to where a plane was found, as thick a slice as it was then."""
    first = dims.ndim - len(plane.world)
    # the world's last axes stay the same ones when others come before them
    axes = [axis for axis in range(first, dims.ndim) if axis >= 0]
    dims.set_point(axes, [plane.world[axis - first] for axis in axes])
    left, right = list(dims.margin_left), list(dims.margin_right)
    for axis in axes:
        left[axis], right[axis] = (side[axis - first] for side in plane.margins)
    dims.margin_left, dims.margin_right = tuple(left), tuple(right)


def _level_shapes(image: Image) -> list[tuple[int, ...]]:
    levels = image.data if image.multiscale else [image.data]
    return [tuple(level.shape[: image.ndim]) for level in levels]


def _level(shapes: Sequence[tuple[int, int]], max_side: int) -> int:
    fitting = (level for level, shape in enumerate(shapes) if max(shape) <= max_side)
    return 0 if len(shapes) == 1 else next(fitting, len(shapes) - 1)


def _refuse_edge_on(image: Image, transform: LayerTransform, shown: tuple[int, int]) -> None:
    sides = transform.linear[np.ix_(shown, shown)]
    area = np.prod(np.linalg.norm(transform.linear[:, shown], axis=0))
    if abs(np.linalg.det(sides)) < EDGE_ON * area:
        raise ImageError(
            f"“{image.name}” is seen edge-on; turn the view (the roll button) until it is seen."
        )


@dataclass(frozen=True, slots=True, eq=False)
class LayerPicture:
    """One image layer's plane as it is shown: contrast limits and gamma included.

    The hue of a colormap is left out, since it tells nothing in a single
    channel; but what it shows dark is dark, inverted colormaps included.

    Parameters
    ----------
    data : array-like
        The level's data, possibly lazy; only what is shown of them is read.
    plane : Plane
    slab : Slab
        The planes that are shown at once, of the level's data.
    rgb : bool
        Whether the last axis of `data` is colour.
    contrast_limits : tuple of float
    gamma : float
    inverted : bool
        Whether high values are shown dark.
    dtype : str
        Of the data, as NumPy calls it.
    name : str
        Of the layer.
    key : hashable
        Tells the layer from all others.
    """

    data: Any
    plane: Plane
    slab: Slab
    rgb: bool
    contrast_limits: tuple[float, float]
    gamma: float
    inverted: bool
    dtype: str
    name: str
    key: Hashable

    def read(self) -> npt.NDArray[np.uint8]:
        """Return the picture, shape (rows, cols, 3)."""
        shown = self._shown(inverted=self.inverted)
        return shown if self.rgb else to_rgb8(shown)

    def describe(self) -> dict[str, Any]:
        """Return how its values become grey levels or colours, as JSON values."""
        slab = {} if self.slab == self.plane.slab else {"slab": self.slab.to_json()}
        said = {
            "kind": "rgb" if self.rgb else "gray",
            "dtype": self.dtype,
            **slab,
            "contrast_limits": list(self.contrast_limits),
            "gamma": self.gamma,
        }
        return said if self.rgb else said | {"inverted": self.inverted}

    def parts(self) -> tuple[Part, ...]:
        """Return the layer, with what its values are shown as."""
        return (Part(self.pixels, self.contrast_limits, self.gamma, self.name, self.key),)

    def channel(self) -> npt.NDArray[np.uint8]:
        """Return levels for the colormap, (rows, cols), or the colours, (rows, cols, 3)."""
        # it is the colormap that turns bright and dark round here
        return self._shown(inverted=False)

    def pixels(self) -> npt.NDArray[Any]:
        """Read the values that are shown, and nothing else.

        Raises
        ------
        ImageError
            If whatever the data come from fails.
        """
        try:
            return self.slab.read(self.data, self.plane.shown)
        except Exception as error:  # a closed file, a lost share, a failed computation: anything
            raise ImageError(f"“{self.name}” cannot be read: {_reason(error)}.") from error

    def _shown(self, *, inverted: bool) -> npt.NDArray[np.uint8]:
        pixels = self.pixels()
        if self.rgb:
            return to_rgb8(pixels, self.contrast_limits, self.gamma)
        return to_uint8(pixels, self.contrast_limits, self.gamma, inverted=inverted)


def capture_picture(image: Image, plane: Plane) -> LayerPicture:
    """Freeze how a layer's plane looks now, without reading a pixel.

    Raises
    ------
    ImageError
        If its values are complex numbers, which have no order to show; or if what is between
        the margins of the slice is nothing.
    """
    data = image.data[plane.level] if image.multiscale else image.data
    # the layer's own, as that of its data need not be one of NumPy's
    dtype = np.dtype(image.dtype)
    if dtype.kind == "c":
        raise ImageError(
            f"“{image.name}” holds complex numbers; segment its magnitude instead, "
            "for instance a layer made with np.abs()."
        )
    low, high = image.contrast_limits
    return LayerPicture(
        data,
        plane,
        _find_slab(image, plane),
        rgb=bool(image.rgb),
        contrast_limits=(float(low), float(high)),
        gamma=float(image.gamma),
        inverted=not image.rgb and _is_inverted(image),
        dtype=str(dtype),
        name=str(image.name),
        key=image.unique_id,
    )


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return first[:LONGEST_REASON] or type(error).__name__


def _find_slab(image: Image, plane: Plane) -> Slab:
    finest = _level_shapes(image)[0]
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


@dataclass(frozen=True, slots=True, eq=False)
class _Overlaid:
    picture: LayerPicture
    lut: npt.NDArray[np.uint8] | None
    opacity: float
    blending: Blending
    # maps (row, col) of the composed picture to (row, col) of this one; None where equal
    mapping: tuple[FloatArray, FloatArray] | None
    colormap: str = ""

    def describe(self) -> dict[str, Any]:
        """Return how it becomes a part of the picture, as JSON values."""
        said = self.picture.describe() | {
            "name": self.picture.name,
            "opacity": self.opacity,
            "blending": self.blending,
        }
        if self.lut is not None:
            # what the colormap does to the levels is all in its table
            said |= {
                "inverted": False,
                "colormap": self.colormap,
                "colors": self.lut.tobytes().hex(),
            }
        if self.mapping is not None:
            matrix, offset = self.mapping
            said |= {"matrix": matrix.tolist(), "offset": offset.tolist()}
        return said

    def channel(self, shape: tuple[int, int]) -> tuple[Channel, npt.NDArray[np.bool_] | None]:
        """Return the layer on the pixels of the picture, and where it is (None: everywhere)."""
        pixels, covered = self.picture.channel(), None
        if self.mapping is not None:
            covered = _resampled(np.ones(pixels.shape[:2], np.uint8), self.mapping, shape) > 0
            pixels = _resampled(pixels, self.mapping, shape)
        return Channel(pixels, self.lut, self.opacity, self.blending), covered


@dataclass(frozen=True, slots=True, eq=False)
class ComposedPicture:
    """Several image layers on top of each other, colours and blending as shown.

    Parameters
    ----------
    shape : tuple of int
        (rows, cols) of the picture.
    layers : tuple
        From bottom to top.
    """

    shape: tuple[int, int]
    layers: tuple[_Overlaid, ...]

    def read(self) -> npt.NDArray[np.uint8]:
        """Return the picture, shape (rows, cols, 3)."""
        channels: list[Channel] = []
        for layer in self.layers:
            channel, covered = layer.channel(self.shape)
            below = channels
            channels = [*below, channel]
            if covered is not None and not covered.all():
                # a layer hides nothing where it is not
                mixed = np.where(
                    covered[..., np.newaxis],
                    compose(channels, self.shape),
                    compose(below, self.shape),
                )
                channels = [Channel(mixed)]
        return compose(channels, self.shape)

    def parts(self) -> tuple[Part, ...]:
        """Return the layers, with what their values are shown as."""
        return tuple(part for layer in self.layers for part in layer.picture.parts())

    def describe(self) -> dict[str, Any]:
        """Return how each layer becomes a part of the picture, as JSON values."""
        return {
            "kind": "composed",
            "shape": list(self.shape),
            "layers": [layer.describe() for layer in self.layers],
        }


def capture_composed(images: Sequence[Image], reference: Plane, dims: Dims) -> ComposedPicture:
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
    ComposedPicture

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
        overlaid.append(
            _Overlaid(
                capture_picture(image, plane),
                None if image.rgb else _colormap_table(image),
                float(image.opacity),
                cast(Blending, str(image.blending)),
                _mapping(reference, plane),
                "" if image.rgb else str(image.colormap.name),
            )
        )
    if not overlaid:
        raise ImageError("No image is visible: show at least one image layer.")
    return ComposedPicture(reference.shape, tuple(overlaid))


def _mapping(reference: Plane, plane: Plane) -> tuple[FloatArray, FloatArray] | None:
    """Return (matrix, offset) from pixels of `reference` to pixels of `plane`."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    mapped = plane.from_canvas(reference.to_canvas(corners))
    offset = mapped[0]
    matrix = (mapped[1:] - offset).T
    same = np.allclose(matrix, np.eye(2)) and np.allclose(offset, 0)
    return None if same and plane.shape == reference.shape else (matrix, offset)


def _resampled(
    pixels: npt.NDArray[np.uint8], mapping: tuple[FloatArray, FloatArray], shape: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    from scipy import ndimage

    planes = [pixels] if pixels.ndim == 2 else list(np.moveaxis(pixels, -1, 0))
    # as napari shows it: each pixel is a square of one colour, nothing lies beyond the last
    done = [
        ndimage.affine_transform(plane, *mapping, shape, order=0, mode="grid-constant")
        for plane in planes
    ]
    return np.asarray(done[0] if pixels.ndim == 2 else np.stack(done, axis=-1), dtype=np.uint8)
