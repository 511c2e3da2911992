"""Our own PNG writer: any decoder reads what was there."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from napari_sam3.engines.segmind import png
from napari_sam3.engines.segmind.png import SIGNATURE, encode_png

sides = st.integers(1, 40)
pictures = hnp.arrays(np.uint8, st.tuples(sides, sides, st.just(3)))


def chunks(data):
    """Read the chunks by the standard alone: lengths, names and checksums."""
    assert data.startswith(SIGNATURE)
    at, found = len(SIGNATURE), []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        assert checksum == zlib.crc32(kind + body)
        found.append((kind, body))
        at += 12 + length
    return found


def decoded(data):
    """Decode by the standard alone, without any library for pictures."""
    (_, head), (_, body), _ = chunks(data)
    cols, rows, *form = struct.unpack(">IIBBBBB", head)
    assert form == [8, 2, 0, 0, 0]
    # zlib checks the sum at the end, and refuses what follows it
    unpacker = zlib.decompressobj()
    lines = np.frombuffer(unpacker.decompress(body), np.uint8).reshape(rows, -1)
    assert unpacker.eof
    assert not unpacker.unused_data
    assert (lines[:, 0] == 2).all()
    return np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8).reshape(rows, cols, 3)


def read(data):
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture)


@given(pictures, st.integers(1, 9), st.integers(1, 9))
def test_whatever_the_size_and_however_many_strips_it_is_read_as_it_was(image, cores, least):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "LEAST_STRIP", least)
        patch.setattr(png.os, "cpu_count", lambda: cores)
        data = encode_png(image)
    np.testing.assert_array_equal(read(data), image)
    np.testing.assert_array_equal(decoded(data), image)
    assert [kind for kind, _ in chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (601, 599), (1024, 1023)])
@pytest.mark.parametrize("is_gray", [True, False])
def test_real_sizes_in_strips(shape, is_gray, monkeypatch):
    monkeypatch.setattr(png.os, "cpu_count", lambda: 4)
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    if is_gray:
        image = np.broadcast_to(image[..., :1], image.shape)
    data = encode_png(image)
    np.testing.assert_array_equal(read(data), image)
    np.testing.assert_array_equal(decoded(data), image)


@pytest.mark.parametrize(
    "view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1::3], np.s_[..., ::-1], np.s_[5:6]]
)
def test_a_view_of_another_picture_is_written_as_it_looks(view):
    image = np.random.default_rng(1).integers(0, 256, (31, 45, 3), np.uint8)[view]
    np.testing.assert_array_equal(read(encode_png(image)), image)


def test_gray_takes_far_less_than_three_times_its_share(monkeypatch):
    rng = np.random.default_rng(2)
    plane = rng.normal(100, 5, (256, 256)).astype(np.uint8)
    gray = encode_png(np.repeat(plane[..., None], 3, axis=2))
    assert len(gray) < 0.5 * plane.size * 3


def test_without_a_known_number_of_cores_it_is_written_all_the_same(monkeypatch):
    monkeypatch.setattr(png.os, "cpu_count", lambda: None)
    image = np.zeros((9, 9, 3), np.uint8)
    np.testing.assert_array_equal(read(encode_png(image)), image)
