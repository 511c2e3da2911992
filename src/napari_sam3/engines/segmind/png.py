"""A picture → PNG, faster than any library does it: by all cores, and no harder than pays.

What is saved in bytes must be won back on the line.  Rows are written as their difference
to the row above, in strips that are deflated side by side (zlib lets other threads run) and
each end at a byte: what follows does not refer to what was before.
"""

from __future__ import annotations

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from napari_sam3.core.arrays import UInt8Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
UP = 2
COLOUR_TYPE_RGB = 2
DEFLATE_HEAD = b"\x78\x01"
LEAST_STRIP = 2**18
"""Bytes: less is not worth a thread."""
MOST_STRIPS = 8
SAMPLE = 16


def encode_png(image: UInt8Array) -> bytes:
    """Encode a picture as an RGB PNG of 8 bits, without loss.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, cols, 3)
    """
    rows, cols = image.shape[:2]
    lines = _filtered(image.reshape(rows, 3 * cols))
    strategy = _strategy(image)
    count = max(1, min(MOST_STRIPS, os.cpu_count() or 1, lines.nbytes // LEAST_STRIP))
    strips = [strip for strip in np.array_split(lines, count) if len(strip)]
    last = len(strips) - 1
    with ThreadPoolExecutor(len(strips)) as threads:
        checksum = threads.submit(zlib.adler32, lines.data)
        deflated = list(
            threads.map(
                lambda number: _deflated(strips[number], strategy, is_last=number == last),
                range(len(strips)),
            )
        )
        data = b"".join([DEFLATE_HEAD, *deflated, struct.pack(">I", checksum.result())])
    head = struct.pack(">IIBBBBB", cols, rows, 8, COLOUR_TYPE_RGB, 0, 0, 0)
    return b"".join(
        [SIGNATURE, *_chunk(b"IHDR", head), *_chunk(b"IDAT", data), *_chunk(b"IEND", b"")]
    )


def _filtered(lines: UInt8Array) -> UInt8Array:
    """Put before each line the mark of its filter, and take off the line above."""
    marked = np.empty((lines.shape[0], lines.shape[1] + 1), np.uint8)
    marked[:, 0] = UP
    marked[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=marked[1:, 1:])
    return marked


def _strategy(image: UInt8Array) -> int:
    """Return how zlib looks for repetitions: in gray each value comes three times, and it pays."""
    sample = image[::SAMPLE]
    is_gray = np.array_equal(sample[..., 0], sample[..., 1]) and np.array_equal(
        sample[..., 1], sample[..., 2]
    )
    return zlib.Z_DEFAULT_STRATEGY if is_gray else zlib.Z_RLE


def _deflated(strip: UInt8Array, strategy: int, *, is_last: bool) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    end = zlib.Z_FINISH if is_last else zlib.Z_FULL_FLUSH
    return packer.compress(strip.data) + packer.flush(end)


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    # parts, so that a large one is not copied once more
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
