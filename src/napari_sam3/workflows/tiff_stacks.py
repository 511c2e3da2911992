"""The planes of a TIFF: each can be read by itself, also where others are lost."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import tifffile

from napari_sam3.core.arrays import Array

# whose shape is what was found, not what the file says
_COUNTED = ("generic", "uniform")
_NAMED_AT_MOST = 4


class CutOffError(Exception):
    """A file ends before what was wanted; the message is the end of a sentence."""


class TiffPixels(NamedTuple):
    """What was read, as it is stored."""

    pixels: Array
    """Of a plane (rows, cols) or (rows, cols, samples); else along all of the file's axes."""
    names: list[str]
    """Of their axes."""
    place: tuple[int, ...]
    """Of the plane, along every axis before rows and columns."""


class _Stored(NamedTuple):
    """Pixels that lie in a file one after the other."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class TiffStack:
    """The first image of a TIFF, with all its planes.

    Rows, columns and colours are Y, X and S in its axes' `names`.

    Parameters
    ----------
    tiff : tifffile.TiffFile
    has_colours : bool
        Whether samples that lie apart are colours; of labels they are planes, which programs
        save like this where there are three or four.
    """

    def __init__(self, tiff: tifffile.TiffFile, *, has_colours: bool = True) -> None:
        self._tiff = tiff
        self._series: tifffile.TiffPageSeries = tiff.series[0]
        self.names = _axis_names(self._series, has_colours)
        self.shape = tuple(self._series.shape)
        self._stored = _stored(tiff, self._series)
        claimed = _claimed_by_imagej(tiff, self._series) if self._stored else []
        self._is_cut_off = bool(claimed)
        if claimed and self._stored:
            # a stack of ImageJ that was cut off looks like its first plane
            self.names = [*(name for name, _ in claimed), *self.names]
            self.shape = (*(size for _, size in claimed), *self.shape)
            self._stored = self._stored._replace(shape=self.shape)

    @property
    def choices(self) -> list[tuple[str, int]]:
        """Name and size of each axis that a plane is chosen along."""
        sizes = zip(self.names, self.shape, strict=True)
        return [(name, size) for name, size in sizes if name not in "YXS"]

    @property
    def orientation(self) -> int:
        """How it is to be turned, as EXIF numbers it; 1 is not at all."""
        tag = self._tiff.pages.first.tags.get("Orientation")
        # a file may say anything there: a text, two numbers, NaN
        return tag.value if tag is not None and isinstance(tag.value, int) else 1

    def whole(self) -> TiffPixels:
        """Read all planes; `CutOffError` if some are missing."""
        if self._is_cut_off:
            raise CutOffError("not all of its planes are in it; choose one that is")
        return TiffPixels(np.asarray(self._series.asarray()), self.names, ())

    def plane(self, chosen: Sequence[int]) -> TiffPixels:
        """Read the plane at this place along `choices`; `CutOffError` if it is missing."""
        rest = iter(chosen)
        index = tuple(slice(None) if name in "YXS" else next(rest) for name in self.names)
        kept = [name for name in self.names if name in "YXS"]
        order = [name for name in "YXS" if name in kept]
        pixels = self._read(index).transpose([kept.index(name) for name in order])
        return TiffPixels(np.ascontiguousarray(pixels), order, tuple(chosen))

    def page_of(self, place: Sequence[int]) -> Any:
        """Return the page that a plane lies on: it says what the plane's values mean."""
        series = self._series
        sizes = [size for _, size in self.choices]
        if not place or math.prod(sizes) != len(series.pages):
            return series.keyframe
        # a page that is like the first one may be known by its place only
        page = series.pages[int(np.ravel_multi_index(list(place), sizes))]
        return series.keyframe if page is None else page.aspage()

    def oddities(self) -> Iterator[str]:
        """Yield what the user should know, as the end of a sentence about the file."""
        others = [series.shape for series in self._tiff.series[1:]]
        if others:
            named = (self.shape, *others)[:_NAMED_AT_MOST]
            shown = [" × ".join(map(str, shape)) for shape in named]
            yield (
                f"holds {len(others) + 1} images ({', '.join(shown)}"
                f"{', …' if len(others) >= _NAMED_AT_MOST else ''}); the first one was read. To "
                "use another one, save it as a file of its own."
            )
        if self._series.kind in _COUNTED and _is_chain_broken(self._tiff):
            pages = len(self._series.pages)
            yield f"was cut off: {pages} plane{'' if pages == 1 else 's'} of it could be read."

    def _read(self, index: tuple[int | slice, ...]) -> Array:
        if self._stored is not None:
            return self._read_stored(self._stored, index)
        series = self._series
        split = len(series.shape) - len(series.keyframe.shape)
        leading, outer = series.shape[:split], index[:split]
        places = list(filter(_is_place, outer))
        is_by_page = (
            series.keyframe.shape == series.shape[split:]
            and math.prod(leading) == len(series.pages)
            and len(places) == len(outer)
        )
        if not is_by_page:
            return np.asarray(series.asarray()[index])
        try:
            page = series.pages[int(np.ravel_multi_index(places, leading)) if places else 0]
        except IndexError as error:
            raise CutOffError("and this plane is not in it") from error
        if page is None:
            # OME files may leave planes out; they count as black
            return np.asarray(np.zeros(series.keyframe.shape, series.dtype)[index[split:]])
        return np.asarray(page.asarray()[index[split:]])

    def _read_stored(self, stored: _Stored, index: tuple[int | slice, ...]) -> Array:
        """Read what lies behind the first positions that are chosen, and nothing else."""
        split = next((at for at, one in enumerate(index) if not _is_place(one)), len(index))
        places = list(filter(_is_place, index[:split]))
        block = stored.shape[split:]
        number = int(np.ravel_multi_index(places, stored.shape[:split])) if places else 0
        size = math.prod(block) * stored.dtype.itemsize
        offset = stored.offset + number * size
        if offset + size > self._tiff.filehandle.size:
            raise CutOffError("and this plane is not in it")
        mapped = self._tiff.filehandle.memmap_array(stored.dtype, block, offset)
        return np.array(mapped[index[split:]])


def _is_place(place: int | slice) -> TypeGuard[int]:
    return isinstance(place, int)


def _axis_names(series: tifffile.TiffPageSeries, has_colours: bool) -> list[str]:
    names = list(series.axes)
    for position, (name, size) in enumerate(zip(names, series.shape, strict=True)):
        is_apart = position < len(names) - 1
        if name == "S" and (size not in (3, 4) or (is_apart and not has_colours)):
            # samples that are no colours; any other letter makes it an axis to choose from
            names[position] = "C"
    if "Y" not in names or "X" not in names:
        # no picture by its own account: the last two axes are as good as any
        names = [f"axis {i}" for i in range(max(0, len(names) - 2))] + ["Y", "X"][-len(names) :]
    return names


def _stored(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> _Stored | None:
    if series.dataoffset is None:
        return None
    dtype = np.dtype(tiff.byteorder + series.dtype.char)
    return _Stored(int(series.dataoffset), dtype, tuple(series.shape))


def _claimed_by_imagej(
    tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> list[tuple[str, int]]:
    """Return the axes that a file of ImageJ says it has, where only one plane was found."""
    said = tiff.imagej_metadata or {}
    images = said.get("images", 1)
    if images == 1 or len(series.pages) > 1 or series.shape != series.keyframe.shape:
        return []
    sizes = [("T", said.get("frames", 1)), ("Z", said.get("slices", 1))]
    sizes = [(name, size) for name, size in [*sizes, ("C", said.get("channels", 1))] if size > 1]
    return sizes if math.prod(size for _, size in sizes) == images else [("I", images)]


def _is_chain_broken(tiff: tifffile.TiffFile) -> bool:
    """Whether the last page that was found says that another one follows."""
    file, form, last = tiff.filehandle, tiff.tiff, tiff.pages[-1]
    try:
        file.seek(last.offset)
        (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
        file.seek(last.offset + form.tagnosize + tags * form.tagsize)
        (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    except struct.error:
        return True
    return bool(following)
