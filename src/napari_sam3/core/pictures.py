"""A picture: values of images, and how they are shown.  It is read by region, and hashed once.

An array, a layer, several layers put together, planes projected into one and a part of any of
these are ways to make a `Picture`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.contrast import Limits, auto_contrast_limits, real_array
from napari_sam3.core.flatness import Flatness, Part, find_flatness
from napari_sam3.core.geometry import Box
from napari_sam3.core.images import Blending, Overlay, compose, to_rgb8, to_uint8
from napari_sam3.core.masked import refuse_masked
from napari_sam3.core.slabs import Slab
from napari_sam3.errors import ImageError

_LONGEST_REASON = 200
_BLOCK_BYTES = 1 << 20
_SINGLE = Slab()

RGB8 = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pixels:
    """A picture that was read, as an engine is sent it.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
        Red, green, blue.  Whoever writes to it later makes new `Pixels` of it.

    Raises
    ------
    ImageError
        If it has another shape or type, or no pixel.
    """

    rgb: RGB8 = field(repr=False)

    def __post_init__(self) -> None:
        rgb = self.rgb
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ImageError(
                "An engine needs an 8-bit RGB picture of shape (rows, cols, 3), but got "
                f"{rgb.dtype} of shape {rgb.shape}; napari_sam3.segment() converts any image."
            )
        if rgb.size == 0:
            raise ImageError("The image is empty: it has no pixel to segment.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def is_one_plane(self) -> bool:
        """Whether a gray plane is repeated in memory (`numpy.broadcast_to`)."""
        return self.rgb.strides[2] == 0

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the words ``gray`` or ``rgb``, the shape, and the bytes, row by row.

        Of a gray plane that is repeated in memory, that plane is hashed: a third of the bytes.
        """
        rows, cols = self.shape
        kind = "gray" if self.is_one_plane else "rgb"
        digest = hashlib.sha256(f"{kind} {rows} {cols}\n".encode())
        for block in _blocks(self.rgb[..., 0] if self.is_one_plane else self.rgb):
            digest.update(block.data)
        return digest.hexdigest()

    def cut(self, box: Box) -> Pixels:
        """Return a part, which keeps nothing else of it in memory."""
        return Pixels(_own_copy(self.rgb[box.slices]))


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One image of a picture: where its values come from, and how they are shown.

    Parameters
    ----------
    data : array-like
        Possibly lazy; only what is shown of them is read.
    shape : tuple of int
        (rows, cols) of what is shown.
    rgb : bool
        Whether the last axis of `data` is colour.
    dtype : str
        Of the data, as NumPy calls it.
    contrast_limits : tuple of float
        Values that are shown black and white.
    gamma : float
    inverted : bool
        Whether high values of gray are shown dark.
    slab : Slab
        The planes that are shown at once.
    shown : tuple of int
        The axes of `data` shown as rows and as columns.
    tells_slab : bool
        Whether `slab` is more, or another one, than the plane that the picture is known by.
    name : str
        For the user; empty where there is only one.
    key : hashable
        Tells it from the others.
    lut : ndarray of uint8, shape (256, 3), optional
        Colour of each grey level, where several are put together.
    colormap : str
        What `lut` is called.
    opacity, blending
        As in `napari_sam3.core.images.Overlay`.
    mapping : pair of ndarray, optional
        (matrix, offset) from (row, col) of the picture to (row, col) of this; None where equal.
    """

    data: Any
    shape: tuple[int, int]
    rgb: bool
    dtype: str
    contrast_limits: Limits
    gamma: float = 1.0
    inverted: bool = False
    slab: Slab = _SINGLE
    shown: tuple[int, int] = (0, 1)
    tells_slab: bool = False
    name: str = ""
    key: Hashable = None
    lut: RGB8 | None = None
    colormap: str = ""
    opacity: float = 1.0
    blending: Blending = "translucent"
    mapping: tuple[FloatArray, FloatArray] | None = None

    def pixels(self, box: Box | None = None) -> npt.NDArray[Any]:
        """Read the values that are shown, or a part of them, and nothing else.

        Raises
        ------
        ImageError
            If whatever the data come from fails.
        """
        try:
            return self.slab.read(self.data, self.shown, box)
        except Exception as error:  # a closed file, a lost share, a failed computation: anything
            what = f"“{self.name}”" if self.name else "The image"
            raise ImageError(f"{what} cannot be read: {_reason(error)}.") from error

    def levels(self, box: Box, *, inverted: bool) -> RGB8:
        """Return grey levels, (rows, cols), or colours, (rows, cols, 3), of a part."""
        pixels = self.pixels(box)
        if not self.rgb:
            return to_uint8(pixels, self.contrast_limits, self.gamma, inverted=inverted)
        colours = to_rgb8(pixels, self.contrast_limits, self.gamma)
        # what belongs to others may be written to, or its file be closed
        return colours if colours.base is None else _own_copy(colours)

    def overlay(self, box: Box) -> Overlay:
        """Return what lies on a part of the picture."""
        covered: npt.NDArray[np.bool_] | None = None
        if self.mapping is None:
            # it is the colormap that turns bright and dark round here
            levels = self.levels(box, inverted=False)
        else:
            levels, covered = self._resampled(self.mapping, box)
        return Overlay(levels, self.lut, self.opacity, self.blending, covered)

    def under(self, box: Box) -> Box | None:
        """Return the part of this image that a part of the picture shows; None if there is none."""
        if self.mapping is None:
            return box
        # rounded sums rise with each of their terms, so that the corners are the farthest
        rows, cols = _sources(self.mapping, np.array([box.top, box.bottom - 1]), box, self.shape)
        spans = []
        for places, size in ((rows, self.shape[0]), (cols, self.shape[1])):
            first, last = max(int(places.min()), 0), min(int(places.max()), size - 1)
            if first > last:
                return None
            spans.append((first, last + 1))
        (top, bottom), (left, right) = spans
        return Box(top, left, bottom, right)

    def describe(self) -> dict[str, Any]:
        """Return how its values become grey levels or colours, as JSON values."""
        slab = {"slab": self.slab.to_json()} if self.tells_slab else {}
        low, high = self.contrast_limits
        said = {
            "kind": "rgb" if self.rgb else "gray",
            "dtype": self.dtype,
            **slab,
            "contrast_limits": [float(low), float(high)],
            "gamma": self.gamma,
        }
        return said if self.rgb else said | {"inverted": self.inverted}

    def describe_overlay(self) -> dict[str, Any]:
        """Return how it becomes a part of a picture of several, as JSON values."""
        said = self.describe() | {
            "name": self.name,
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

    @property
    def look(self) -> Hashable:
        """What tells how it looks from how others look, as long as its data are kept."""
        return (
            (id(self.data), self.shape, self.rgb, self.dtype, self.slab, self.shown),
            (self.contrast_limits, self.gamma, self.inverted),
            (self.name, self.key, self.tells_slab, self.colormap),
            (None if self.lut is None else self.lut.tobytes(), self.opacity, self.blending),
            None if self.mapping is None else tuple(part.tobytes() for part in self.mapping),
        )

    def _resampled(
        self, mapping: tuple[FloatArray, FloatArray], box: Box
    ) -> tuple[RGB8, npt.NDArray[np.bool_]]:
        """Return it on the pixels of the picture, and where it is.

        As napari shows it: each pixel is a square of one colour, nothing lies beyond the last.
        """
        colours = (3,) if self.rgb else ()
        found = np.zeros((*box.shape, *colours), np.uint8)
        covered = np.zeros(box.shape, bool)
        under = self.under(box)
        if under is None:
            return found, covered
        levels = self.levels(under, inverted=False)
        step = max(1, _BLOCK_BYTES // 8 // box.shape[1])
        for first in range(0, box.shape[0], step):
            block = slice(first, first + step)
            at = np.arange(box.top + first, min(box.top + first + step, box.bottom))
            rows, cols = _sources(mapping, at, box, self.shape, whole=True)
            is_row = (rows >= 0) & (rows < self.shape[0])
            is_col = (cols >= 0) & (cols < self.shape[1])
            covered[block] = is_row & is_col
            rows = np.clip(rows - under.top, 0, levels.shape[0] - 1)
            cols = np.clip(cols - under.left, 0, levels.shape[1] - 1)
            found[block] = levels[rows, cols]
        return found, covered


def _sources(
    mapping: tuple[FloatArray, FloatArray],
    rows: npt.NDArray[np.int_],
    box: Box,
    shape: tuple[int, int],
    *,
    whole: bool = False,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the row and the column of an image that lie at rows of a picture's part.

    They are arrays that broadcast to these rows and the columns of the part, or its first and
    last column only; -1 and the image's side stand for all that lies beyond.
    """
    matrix, offset = mapping
    ends = np.arange(box.left, box.right) if whole else np.array([box.left, box.right - 1])
    at, cols = rows[:, np.newaxis].astype(float), ends[np.newaxis].astype(float)
    found = []
    for axis in range(2):
        # in places of the whole picture, so that a part rounds as the whole does
        place = offset[axis] + matrix[axis, 0] * at if matrix[axis, 0] else offset[axis]
        place = place + matrix[axis, 1] * cols if matrix[axis, 1] else np.atleast_2d(place)
        nearest = np.clip(np.floor(place + 0.5), -1, shape[axis])
        found.append(nearest.astype(np.intp))
    return found[0], found[1]


@dataclass(slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    pixels: Pixels | None = None
    flatness: tuple[Flatness | None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Something that becomes 8-bit RGB when it is read.

    Reading may touch the disk or compute; it happens in a worker, never in the window's thread.
    What was read as a whole is kept as long as the picture is.

    Parameters
    ----------
    grid : tuple of int
        (rows, cols) of the pixels that its channels share.
    channels : tuple of Channel
        From bottom to top; none of a picture of which no more is known than its pixels, if those.
    box : Box, optional
        The part of the grid that it shows; all of it if not given.
    is_composed : bool
        Whether the channels are put on top of each other, in colours.
    said : mapping, optional
        What `describe` returns instead, of a picture that a record tells of.
    """

    grid: tuple[int, int]
    channels: tuple[Channel, ...] = field(default=(), repr=False)
    box: Box = None  # type: ignore[assignment]  # set below
    is_composed: bool = False
    said: Mapping[str, Any] | None = field(default=None, repr=False)
    _kept: _Kept = field(default_factory=_Kept, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.box is None:
            object.__setattr__(self, "box", Box.of_shape(self.grid))

    @classmethod
    def from_array(
        cls,
        image: npt.ArrayLike,
        contrast_limits: Limits | None = None,
        *,
        inverted: bool = False,
    ) -> Picture:
        """Return an image in memory as a picture.

        Parameters
        ----------
        image : array_like, shape (rows, cols) or (rows, cols, 3 or 4)
            Gray of any real type, or RGB(A).
        contrast_limits : tuple of float, optional
            Values shown as black and white; found from the image if not given.
        inverted : bool
            Whether low values of a gray image are bright.

        Raises
        ------
        ImageError
            If it cannot be shown.
        """
        refuse_masked(image, "The image")
        pixels = real_array(image)
        if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[2] not in (3, 4)):
            raise ImageError(
                f"The image has the shape {pixels.shape}, but a picture to segment has the axes "
                "(rows, cols) or (rows, cols, 3 or 4); choose one plane of it."
            )
        limits = auto_contrast_limits(pixels) if contrast_limits is None else contrast_limits
        shape, rgb = (pixels.shape[0], pixels.shape[1]), pixels.ndim == 3
        shown = Channel(
            pixels, shape, rgb, str(pixels.dtype), limits, inverted=inverted and not rgb
        )
        return cls(shape, (shown,))

    @classmethod
    def from_pixels(cls, pixels: Pixels, said: Mapping[str, Any]) -> Picture:
        """Return a picture that was read, and what is said of it."""
        picture = cls(pixels.shape, said=said)
        picture._kept.pixels = pixels
        return picture

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.box.shape

    @property
    def look(self) -> Hashable:
        """What tells how it looks from how others look, as long as its data are kept."""
        looks = tuple(channel.look for channel in self.channels)
        return self.grid, self.box, self.is_composed, looks

    def cropped(self, box: Box) -> Picture:
        """Return a part as a picture; its reading reads no more than that part."""
        self._refuse_beyond(box)
        part = replace(self, box=box.shifted(self.box.top, self.box.left))
        if self._kept.pixels is not None:
            part._kept.pixels = self._kept.pixels.cut(box)
        return part

    def read(self, box: Box | None = None) -> Pixels:
        """Return the picture, or a part of it: the same pixels as there are in the whole.

        Parameters
        ----------
        box : Box, optional
            Inside of the picture.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        if box is not None and box != Box.of_shape(self.shape):
            return self._read_part(box)
        with self._kept.lock:
            if self._kept.pixels is None:
                self._kept.pixels = Pixels(self._render(self.box))
            return self._kept.pixels

    def _read_part(self, box: Box) -> Pixels:
        self._refuse_beyond(box)
        whole = self._kept.pixels
        if whole is not None:
            return whole.cut(box)
        return Pixels(self._render(box.shifted(self.box.top, self.box.left)))

    def _refuse_beyond(self, box: Box) -> None:
        if box.intersection(Box.of_shape(self.shape)) != box:
            raise ValueError(f"{box} does not lie in a picture of shape {self.shape}")

    def _render(self, box: Box) -> RGB8:
        if not self.channels:
            raise ImageError("The picture is not kept; open the image again.")
        if self.is_composed:
            return compose([channel.overlay(box) for channel in self.channels], box.shape)
        (channel,) = self.channels
        levels = channel.levels(box, inverted=channel.inverted)
        return levels if channel.rgb else np.broadcast_to(levels[..., np.newaxis], (*box.shape, 3))

    def parts(self) -> tuple[Part, ...]:
        """Return the images that it is made of, as far as it shows them."""
        return tuple(
            Part(
                partial(channel.pixels, under),
                channel.contrast_limits,
                channel.gamma,
                channel.name,
                channel.key,
            )
            for channel in self.channels
            if (under := channel.under(self.box)) is not None
        )

    def find_flatness(self) -> Flatness | None:
        """Return why nearly all of it is one grey level; None if it is not.  It is read for that.

        Raises
        ------
        ImageError
            If it cannot be read.
        """
        pixels = self.read()
        if self._kept.flatness is None:
            self._kept.flatness = (find_flatness(pixels.rgb, self.parts()),)
        return self._kept.flatness[0]

    def describe(self) -> dict[str, Any]:
        """Return how values become grey levels or colours, as JSON values."""
        if self.said is not None:
            return dict(self.said)
        if not self.is_composed:
            return self.channels[0].describe()
        return {
            "kind": "composed",
            "shape": list(self.grid),
            "layers": [channel.describe_overlay() for channel in self.channels],
        }


def _own_copy(rgb: RGB8) -> RGB8:
    if rgb.strides[2] == 0:
        return np.broadcast_to(rgb[..., :1].copy(), rgb.shape)
    return np.array(rgb)


def _blocks(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    if pixels.flags.c_contiguous:
        yield pixels
        return
    # some rows at a time: a copy of the whole would cost as much as hashing it
    step = max(1, _BLOCK_BYTES // pixels[0].size)
    for top in range(0, len(pixels), step):
        yield np.ascontiguousarray(pixels[top : top + step])


def _reason(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return first[:_LONGEST_REASON] or type(error).__name__
