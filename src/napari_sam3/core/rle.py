"""Masks as run lengths, in the compressed strings of COCO.

A mask is read column by column; the lengths of its runs alternate between background and
object, background first.  From the fourth on, a length is stored as its difference from the
last but one, in groups of five bits, the lowest first, one character each: bit 5 says that
another follows, and 48 is added.  As ``rleToString`` in ``maskApi.c`` of the COCO API does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray, Int64Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance

if TYPE_CHECKING:
    Lengths = Int64Array

_FIRST, _MORE, _SIGN, _BITS = 48, 0x20, 0x10, 5
# 40 bits: no image has more pixels, and no sum of two neighbours can overflow
_MAX_GROUPS = 8
_AT_ONCE = 1 << 22
_MAX_PIXELS = 1 << (_BITS * _MAX_GROUPS - 2)
# from here on, a number and its complement need one more group
_LIMITS = np.array([1 << (_BITS * n - 1) for n in range(1, _MAX_GROUPS)], np.int64)
_SHIFTS = np.arange(_MAX_GROUPS, dtype=np.int64) * _BITS


def encode_rles(masks: Sequence[BoolArray]) -> list[str]:
    """Return masks as compressed COCO strings, faster than one after the other.

    Parameters
    ----------
    masks : sequence of ndarray of bool, shape (rows, cols)
        Each of its own shape.

    Returns
    -------
    list of str
        The same that ``pycocotools.mask.encode`` puts in ``counts``.
    """
    texts: list[str] = []
    some: list[BoolArray] = []
    pixels = 0
    for mask in masks:
        some.append(mask)
        pixels += mask.size
        if pixels > _AT_ONCE:
            texts += _encode(some)
            some, pixels = [], 0
    return texts + _encode(some)


def whole_image_rle(instance: Instance, image_shape: tuple[int, int]) -> str:
    """Return an object's mask in the whole image as a compressed COCO string.

    No mask of the image's size is made.

    Raises
    ------
    ValueError
        If the object reaches out of the image.
    """
    box = instance.box
    if box.intersection(Box.of_shape(image_shape)) != box:
        raise ValueError(f"{box} lies outside an image of shape {image_shape}")
    counts = _counts(instance.mask, (box.top, box.left), image_shape)
    return _to_texts(counts, np.zeros(1, np.int64))[0]


def decode_rle(text: str, shape: tuple[int, int]) -> BoolArray:
    """Return the mask of shape (rows, cols) that a compressed COCO string stands for.

    Parameters
    ----------
    text : str
        As `encode_rles` returns it; it may come from a stranger.
    shape : tuple of int
        (rows, cols) of the mask.

    Raises
    ------
    ValueError
        If it is no such string, or of a mask of another size.  Nothing of the mask's size
        is made before this is known.
    """
    counts = _checked(counts_of(text), shape)
    return _filled(counts, shape[0], shape[1])


def counts_of(text: str) -> Lengths:
    """Return the run lengths that a compressed COCO string of a stranger stands for.

    They are of background and object in turn, may be negative, and need not fit any mask.

    Raises
    ------
    ValueError
        If it is no such string.
    """
    try:
        codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - _FIRST
    except UnicodeEncodeError as error:
        raise ValueError("run lengths are ASCII characters") from error
    if codes.size == 0 or codes.min() < 0 or codes.max() > 0x3F or codes[-1] & _MORE:
        raise ValueError("these are no compressed run lengths")
    ends = np.flatnonzero((codes & _MORE) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUPS:
        raise ValueError("a run is longer than any image")
    groups = np.arange(codes.size) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 0x1F) << (groups * _BITS), starts)
    numbers -= np.where(codes[ends] & _SIGN, np.int64(1) << (lengths * _BITS), 0)
    # the first two even ones stand for themselves
    for start in (1, 2):
        numbers[start::2] = np.cumsum(numbers[start::2])
    return numbers


def instance_of_counts(
    counts: Sequence[int] | Lengths, shape: tuple[int, int], max_area: int | None = None
) -> Instance | None:
    """Return the object that run lengths stand for, cropped; None if it has no pixel.

    Parameters
    ----------
    counts : sequence of int
        Of background and object in turn, column by column; they may come from a stranger.
    shape : tuple of int
        (rows, cols) of the image.
    max_area : int, optional
        Most pixels that its box may have; a larger one is refused before it is made.

    Raises
    ------
    ValueError
        If they are no lengths, or do not fit the image.
    """
    lengths = _checked(counts, shape)
    edges = np.cumsum(lengths)
    starts, ends = edges[:-1:2], edges[1::2]
    has_pixels = ends > starts
    if not has_pixels.any():
        return None
    rows = shape[0]
    starts, ends = starts[has_pixels], ends[has_pixels]
    left, right = int(starts[0]) // rows, (int(ends[-1]) - 1) // rows + 1
    top, bottom = _row_range(starts, ends, rows)
    box = Box(top, left, bottom, right)
    if max_area is not None and max(box.area, rows * (right - left)) > max_area:
        raise ValueError("the objects are too large")
    first, last = left * rows, right * rows
    within = np.diff(np.clip(np.concatenate(([0], edges)), first, last))
    mask = _filled(within, rows, right - left)[top:bottom]
    return Instance(np.ascontiguousarray(mask), box)


def _row_range(starts: Lengths, ends: Lengths, rows: int) -> tuple[int, int]:
    if np.any(starts // rows != (ends - 1) // rows):
        # a run that goes on in the next column touches the last row and the first
        return 0, rows
    return int((starts % rows).min()), int(((ends - 1) % rows).max()) + 1


def _counts(mask: BoolArray, corner: tuple[int, int], shape: tuple[int, ...]) -> Lengths:
    """Return the run lengths of an image that is empty but for a mask at this corner."""
    rows, cols = mask.shape
    # a gap between columns, so that starts and ends of runs alternate
    padded = np.zeros((cols, rows + 1), bool)
    padded[:, :rows] = mask.T
    flat = padded.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate(([0], changes))
    col, row = np.divmod(changes, rows + 1)
    edges = (col + corner[1]) * shape[0] + row + corner[0]
    if rows == shape[0] and edges.size:
        edges = _without_joints(edges)
    total = shape[0] * shape[1]
    if not (edges.size and edges[-1] == total):
        edges = np.append(edges, total)
    return np.diff(edges, prepend=0)


def _without_joints(edges: Lengths) -> Lengths:
    """Leave out where a run goes on in the next column."""
    is_joint = np.zeros(edges.size, bool)
    is_joint[1:-1:2] = edges[1:-1:2] == edges[2::2]
    is_joint[2::2] = is_joint[1:-1:2]
    return edges[~is_joint]


def _encode(masks: Sequence[BoolArray]) -> list[str]:
    if not masks:
        return []
    # all behind one another, with a background pixel before each and at the end
    gap = np.zeros(1, bool)
    flat = np.concatenate([part for mask in masks for part in (gap, mask.T.ravel())] + [gap])
    starts = np.concatenate(([0], np.cumsum([mask.size + 1 for mask in masks])))
    is_edge = np.zeros(flat.size, bool)
    is_edge[1:] = flat[1:] != flat[:-1]
    # where the next one begins, the last run ends
    is_edge[starts[1:]] = True
    edges = np.flatnonzero(is_edge)
    firsts = np.searchsorted(edges, starts[:-1], "right")
    counts = np.diff(edges, prepend=0)
    counts[firsts] = edges[firsts] - starts[:-1] - 1
    return _to_texts(counts, firsts)


def _to_texts(counts: Lengths, firsts: Lengths) -> list[str]:
    """Return the strings of several masks; the lengths of each lie from one of `firsts` on."""
    numbers = counts.copy()
    place = np.arange(counts.size) - np.repeat(firsts, np.diff(firsts, append=counts.size))
    is_later = np.flatnonzero(place > 2)
    numbers[is_later] -= counts[is_later - 2]
    lengths = np.searchsorted(_LIMITS, np.where(numbers < 0, ~numbers, numbers), "right") + 1
    most = int(lengths.max())
    codes = (numbers[:, np.newaxis] >> _SHIFTS[:most]) & 0x1F
    left = lengths[:, np.newaxis] - np.arange(most)
    codes[left > 1] |= _MORE
    text = (codes[left > 0] + _FIRST).astype(np.uint8).tobytes().decode("ascii")
    ends = np.cumsum(np.add.reduceat(lengths, firsts)).tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _checked(counts: Sequence[int] | Lengths, shape: tuple[int, int]) -> Lengths:
    """Return the lengths if they are such, and add up to the image."""
    total = shape[0] * shape[1]
    if min(shape) < 0 or total > _MAX_PIXELS:
        raise ValueError(f"there is no mask of shape {shape}")
    try:
        lengths: npt.NDArray[Any] = np.asarray(counts)
    except (ValueError, OverflowError) as error:
        raise ValueError("run lengths are whole numbers") from error
    if lengths.ndim != 1 or lengths.size == 0 or lengths.dtype.kind not in "iu":
        raise ValueError("run lengths are whole numbers")
    # each in range first, so that no sum overflows unseen
    if lengths.min() < 0 or lengths.max() > total:
        raise ValueError(f"the run lengths are not of a mask of shape {shape}")
    lengths = lengths.astype(np.int64)
    edges = np.cumsum(lengths)
    if edges[-1] != total or edges.min() < 0 or edges.max() > total:
        raise ValueError(f"the run lengths are not of a mask of shape {shape}")
    return lengths


def _filled(counts: Lengths, rows: int, cols: int) -> BoolArray:
    is_object = np.arange(counts.size) % 2 == 1
    return np.repeat(is_object, counts).reshape(cols, rows).T
