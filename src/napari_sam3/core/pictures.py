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

from napari_sam3.core.arrays import RGB8
from napari_sam3.core.blending import compose
from napari_sam3.core.channels import Channel
from napari_sam3.core.contrast import Limits, auto_contrast_limits
from napari_sam3.core.flatness import Flatness, Part, find_flatness
from napari_sam3.core.geometry import Box
from napari_sam3.core.images import gray_or_colours
from napari_sam3.core.masked import refuse_masked
from napari_sam3.errors import ImageError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Pixels:
    """A picture that was read, as an engine is sent it.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
        Red, green, blue.  Copied, unless it is read-only.

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
        object.__setattr__(self, "rgb", _sealed(rgb))

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
        part = self.rgb[box.slices]
        return Pixels(_one_plane(part[..., 0].copy()) if self.is_one_plane else part.copy())


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
        pixels = gray_or_colours(image)
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
            rgb = compose([channel.overlay(box) for channel in self.channels], box.shape)
        else:
            (channel,) = self.channels
            levels = channel.levels(box, inverted=channel.inverted)
            rgb = levels if channel.rgb else _one_plane(levels)
        # nobody else has it: it need not be copied
        rgb.flags.writeable = False
        return rgb

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


def _one_plane(gray: npt.NDArray[np.uint8]) -> RGB8:
    return np.broadcast_to(gray[..., np.newaxis], (*gray.shape, 3))


def _sealed(rgb: RGB8) -> RGB8:
    """Return pixels that nobody else writes to."""
    if rgb.flags.writeable:
        rgb = _one_plane(rgb[..., 0].copy()) if rgb.strides[2] == 0 else np.array(rgb)
        rgb.flags.writeable = False
    return rgb


def _blocks(pixels: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    if pixels.flags.c_contiguous:
        yield pixels
        return
    # some rows at a time: a copy of the whole would cost as much as hashing it
    step = max(1, _BLOCK_BYTES // pixels[0].size)
    for top in range(0, len(pixels), step):
        yield np.ascontiguousarray(pixels[top : top + step])
