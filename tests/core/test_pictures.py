"""Pictures of all kinds: a part is the part of the whole, read by itself, and hashed once."""

from collections import Counter
from dataclasses import replace

import dask.array
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.channels import Channel
from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Picture, Pixels
from napari_sam3.core.slabs import Slab
from napari_sam3.errors import ImageError

IMAGE = (np.arange(20 * 30) % 256).astype(np.uint8).reshape(20, 30)
COLOURS = (np.arange(14 * 23 * 3) % 251).astype(np.uint8).reshape(14, 23, 3)


pictures = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 9), st.integers(1, 7), st.just(3)),
    elements=st.integers(0, 3),
)


def layouts(image):
    """The same values, differently laid out in memory."""
    rows, cols, _ = image.shape
    wide = np.zeros((2 * rows, cols + 3, 5), np.uint8)
    view = wide[::2, 1 : cols + 1, 1:4]
    view[:] = image
    return {
        "C": np.ascontiguousarray(image),
        "Fortran": np.asfortranarray(image),
        "view": view,
        "reversed": np.ascontiguousarray(image[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "planes": np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
    }


class TestPixels:
    @given(pictures)
    def test_the_layout_in_memory_does_not_matter(self, image):
        assert len({Pixels(laid).sha256 for laid in layouts(image).values()}) == 1

    @given(pictures, pictures)
    def test_other_values_or_shapes_have_other_hashes(self, one, other):
        is_same = one.shape == other.shape and bool((one == other).all())
        assert (Pixels(one).sha256 == Pixels(other).sha256) == is_same

    @given(pictures)
    def test_a_gray_plane_counts_by_its_values_however_it_is_repeated(self, image):
        plane = image[..., 0]
        contiguous = np.broadcast_to(np.ascontiguousarray(plane)[..., None], image.shape)
        strided = np.broadcast_to(plane[..., None], image.shape)
        assert Pixels(contiguous).sha256 == Pixels(strided).sha256

    @given(pictures)
    def test_a_gray_plane_is_not_taken_for_a_picture_of_the_same_bytes(self, image):
        rows, cols, _ = image.shape
        plane = image.reshape(rows, cols * 3)
        gray = np.broadcast_to(plane[..., None], (*plane.shape, 3))
        assert Pixels(gray).sha256 != Pixels(image).sha256

    def test_a_read_only_picture_is_hashed_and_left_alone(self):
        image = COLOURS.copy()
        image.flags.writeable = False
        assert Pixels(image).sha256 == Pixels(COLOURS).sha256

    def test_a_picture_of_many_blocks_is_hashed_whole(self, monkeypatch):
        monkeypatch.setattr("napari_sam3.core.pictures._BLOCK_BYTES", 100)
        flipped = np.ascontiguousarray(COLOURS[:, ::-1])[:, ::-1]
        assert not flipped.flags.c_contiguous
        assert Pixels(flipped).sha256 == Pixels(COLOURS).sha256


class TestArrays:
    def test_limits_that_were_found_are_told_as_numbers(self):
        pixels = np.arange(600, dtype=np.uint16).reshape(20, 30) + 100
        assert Picture.from_array(pixels).describe() == {
            "kind": "gray",
            "dtype": "uint16",
            "contrast_limits": [101.0, 698.0],
            "gamma": 1.0,
            "inverted": False,
        }

    def test_limits_that_were_given_are_told(self):
        assert Picture.from_array(IMAGE, (3, 9)).describe()["contrast_limits"] == [3.0, 9.0]

    def test_colours_have_limits_as_gray_has(self):
        said = Picture.from_array(np.zeros((20, 30, 3), np.uint8)).describe()
        look = {"contrast_limits": [0.0, 255.0], "gamma": 1.0}
        assert said == {"kind": "rgb", "dtype": "uint8"} | look
        colours = np.full((20, 30, 3), (5, 90, 40), np.uint16)
        assert Picture.from_array(colours).describe()["contrast_limits"] == [5.0, 90.0]
        assert Picture.from_array(colours, (3, 9)).describe()["contrast_limits"] == [3.0, 9.0]
        assert Picture.from_array(colours, (0, 100)).read().rgb[7, 9].tolist() == [13, 230, 102]

    def test_an_inverted_image_is_bright_where_its_values_are_low(self):
        picture = Picture.from_array(IMAGE, inverted=True)
        np.testing.assert_array_equal(picture.read().rgb[..., 0], 255 - IMAGE)
        assert picture.describe()["inverted"]

    def test_a_masked_image_is_refused_rather_than_sent_with_what_it_hides(self):
        image = np.ma.MaskedArray(np.ones((20, 30)), np.eye(20, 30))
        with pytest.raises(ImageError, match="fill them first"):
            Picture.from_array(image)
        assert Picture.from_array(image.filled(0)).shape == (20, 30)


STACK = np.random.default_rng(2).gamma(2, 90, (6, 17, 26)).astype(np.float32)
STACK[2, 3, 4], STACK[4, 9, 20] = np.nan, np.inf
LUT = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 40)], axis=1).astype(np.uint8)
TURNED = (np.array([[0.7, 0.4], [-0.3, 0.8]]), np.array([1.5, 6.25]))
WIDER = (np.array([[0.5, 0], [0, 1 / 3]]), np.array([-0.25, -3.5]))


def gray(dtype=np.float32, **look):
    data = np.nan_to_num(STACK[1]).astype(dtype)
    return Channel(data, data.shape, False, str(data.dtype), (3.5, 300.25), **look)


def colour(dtype=np.uint8, **look):
    data = (np.nan_to_num(STACK[:4]) % 251).transpose(1, 2, 0).astype(dtype)[..., :3]
    return Channel(data, data.shape[:2], True, str(data.dtype), (0, 255), **look)


def thick(projection, ranges=((1, 5),), shown=(1, 2), data=STACK, **look):
    shape = tuple(data.shape[axis] for axis in shown)
    slab = Slab(ranges, projection)
    return Channel(data, shape, False, "float32", (10, 800), slab=slab, shown=shown, **look)


def alone(channel):
    return Picture(channel.shape, (channel,))


def together(*channels):
    return Picture(channels[0].shape, channels, is_composed=True)


KINDS = {
    "gray": alone(gray()),
    "bent and inverted": alone(gray(gamma=0.37, inverted=True)),
    "16 bit": alone(gray(np.uint16, gamma=1.7)),
    "64 bit": alone(gray(np.float64, inverted=True)),
    "colours": alone(colour()),
    "colours with limits": alone(replace(colour(np.uint16), contrast_limits=(20, 90), gamma=0.6)),
    **{mode: alone(thick(mode)) for mode in ("mean", "max", "min", "sum")},
    "turned": alone(thick("mean", ((2, 14),), (2, 0))),
    "two axes": alone(thick("mean", ((1, 3), (0, 9)), (0, 3), STACK.reshape(6, 17, 13, 2))),
    "channels": together(
        gray(lut=LUT),
        thick("sum", lut=LUT[::-1].copy(), opacity=0.6, blending="additive"),
        gray(np.uint8, gamma=0.5, opacity=0.4),
    ),
    "elsewhere": together(
        gray(lut=LUT, opacity=0.9),
        thick("max", lut=LUT, blending="additive", opacity=0.7, mapping=TURNED),
        colour(blending="translucent", opacity=0.35, mapping=WIDER),
        gray(blending="minimum", mapping=TURNED),
    ),
    "only elsewhere": together(gray(lut=LUT, mapping=TURNED), colour(mapping=WIDER, opacity=0.5)),
    "cropped": together(gray(), colour(mapping=WIDER)).cropped(Box(2, 3, 15, 24)),
}


@st.composite
def boxes(draw, shape):
    spans = []
    for side in shape:
        first = draw(st.integers(0, side - 1))
        spans.append((first, draw(st.integers(first + 1, side))))
    (top, bottom), (left, right) = spans
    return Box(top, left, bottom, right)


class TestParts:
    @pytest.mark.parametrize("kind", KINDS)
    @given(st.data())
    def test_a_part_is_the_same_part_of_the_whole(self, kind, data):
        picture = KINDS[kind]
        box = data.draw(boxes(picture.shape))
        whole = anew(picture).read()
        by_itself = anew(picture).read(box)
        assert by_itself.rgb.tobytes() == whole.rgb[box.slices].tobytes()
        of_a_whole = anew(picture)
        of_a_whole.read()
        crop = anew(picture).cropped(box)
        digests = {of_a_whole.read(box).sha256, crop.read().sha256, by_itself.sha256}
        assert len(digests) == 1
        assert crop.shape == box.shape
        assert all(part.pixels().size for part in crop.parts())

    def test_what_lies_elsewhere_is_blended_only_where_it_is(self):
        below, above = gray(lut=LUT), colour(mapping=WIDER, opacity=0.5)
        shown = together(below, above).read().rgb.astype(int)
        under = together(below).read().rgb.astype(int)
        rows, cols = np.indices(below.shape)
        source = np.floor(rows / 2 + 0.25).astype(int), np.floor(cols / 3 - 3).astype(int)
        inside = (source[0] >= 0) & (source[1] >= 0)
        inside &= (source[0] < 17) & (source[1] < 26)
        assert 0 < inside.sum() < inside.size
        np.testing.assert_array_equal(shown[~inside], under[~inside])
        over = above.data[source[0][inside], source[1][inside]].astype(int)
        assert np.abs(shown[inside] - (under[inside] + over) / 2).max() <= 1

    def test_a_box_beyond_the_picture_is_refused(self):
        for ask in (KINDS["gray"].read, KINDS["gray"].cropped):
            with pytest.raises(ValueError, match="does not lie in"):
                ask(Box(3, 20, 9, 27))


def anew(picture):
    """The same picture, of which nothing was read."""
    return replace(picture)


class Counted:
    """A stack in chunks, which counts how often each was read."""

    def __init__(self):
        self.reads = Counter()
        chunks = dask.array.from_array(STACK, chunks=(1, 5, 8))
        self.data = chunks.map_blocks(self._count, dtype=STACK.dtype, meta=STACK[:0, :0, :0])

    def _count(self, block, block_info=None):
        self.reads[block_info[0]["chunk-location"]] += 1
        return block


class TestLaziness:
    @pytest.mark.parametrize("is_composed", [False, True])
    def test_a_part_computes_only_the_chunks_under_it_once(self, is_composed):
        chunks = Counted()
        channel = thick("mean", ((2, 4),), data=chunks.data)
        picture = Picture(channel.shape, (channel,), is_composed=is_composed)
        assert not chunks.reads
        picture.read(Box(6, 9, 9, 17))
        wanted = [(z, 1, col) for z in (2, 3) for col in (1, 2)]
        assert chunks.reads == dict.fromkeys(wanted, 1)

    def test_a_part_of_what_lies_elsewhere_computes_only_the_chunks_under_it(self):
        chunks = Counted()
        halved = (np.eye(2) / 2, np.array([-0.25, -0.25]))
        channel = thick("none", ((2, 3),), data=chunks.data, mapping=halved)
        Picture((30, 40), (gray(), channel)[1:], is_composed=True).read(Box(21, 0, 29, 16))
        assert chunks.reads == {(2, 2, 0): 1}

    def test_the_whole_is_read_and_hashed_once(self):
        chunks = Counted()
        picture = alone(thick("none", ((3, 4),), data=chunks.data))
        first = picture.read()
        assert picture.read() is first
        assert picture.read(Box.of_shape(picture.shape)) is first
        picture.read(Box(1, 2, 5, 9))
        picture.cropped(Box(1, 2, 5, 9)).read()
        assert set(chunks.reads.values()) == {1}
        assert first.sha256 is first.sha256

    @pytest.mark.parametrize(
        "read", [Pixels, lambda image: Picture.from_array(image).read()], ids=["pixels", "picture"]
    )
    def test_what_was_read_is_changed_by_nobody(self, read):
        image = COLOURS.copy()
        pixels = read(image)
        image[:] = 7
        np.testing.assert_array_equal(pixels.rgb, COLOURS)
        for kind in KINDS.values():
            with pytest.raises(ValueError, match="read-only"):
                kind.read().rgb[2, 3] = 7


class TestLooks:
    def test_equal_looks_are_equal_and_others_are_not(self):
        one = gray(lut=LUT, mapping=TURNED)
        others = [
            replace(one, data=one.data.copy()),
            replace(one, contrast_limits=(3.5, 300.5)),
            replace(one, gamma=1.1),
            replace(one, inverted=True),
            replace(one, lut=LUT[::-1].copy()),
            replace(one, opacity=0.5),
            replace(one, blending="additive"),
            replace(one, mapping=WIDER),
            replace(one, mapping=None),
            replace(one, slab=Slab(((1, 2),))),
        ]
        assert together(one).look == together(replace(one, lut=LUT.copy())).look
        assert len({together(each).look for each in [one, *others]}) == 1 + len(others)
        assert alone(one).look != together(one).look != together(one, one).look
        assert alone(one).look != alone(one).cropped(Box(0, 0, 3, 4)).look


class TestFlatness:
    def test_it_is_found_once_and_of_the_part_that_is_shown(self):
        image = np.full((40, 60), 100, np.uint16)
        image[5:20, 8:30] = 900
        picture = Picture.from_array(image, (0, 1000))
        assert picture.find_flatness() is None
        flat = picture.cropped(Box(22, 32, 40, 60))
        assert "nearly all values are 100" in flat.find_flatness().reason
        assert flat.find_flatness() is flat.find_flatness()


def test_a_picture_that_is_not_kept_cannot_be_read_but_described():
    picture = Picture((4, 5), said={"kind": "unknown"})
    assert picture.describe() == {"kind": "unknown"}
    with pytest.raises(ImageError, match="not kept"):
        picture.read()


@pytest.mark.parametrize(
    "rgb",
    [np.zeros((4, 5, 3)), np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8)],
)
def test_pixels_of_another_kind_are_refused(rgb):
    with pytest.raises(ImageError, match="8-bit RGB"):
        Pixels(rgb)
