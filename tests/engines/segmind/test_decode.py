"""Bytes → masks: every shape an answer is known or feared to take, and whatever else."""

import base64
import gzip
import io
import json
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFile
from scipy import ndimage

from napari_sam3.engines.segmind import results
from napari_sam3.engines.segmind.bodies import DecodeLimits, from_base64, natural_key
from napari_sam3.engines.segmind.decode import decode
from napari_sam3.engines.segmind.results import fit_mask, split_into_instances
from napari_sam3.errors import RequestRejectedError, ResponseError, Sam3Error
from tests.tiers import examples

SHAPE = (20, 30)
ID = "4f1c-77.a_b"
URL = "https://images.segmind.com/generations/one.png"
ODD_NUMBERS = ('"free"', "NaN", "-Infinity", '"nan"', '""', "true", "[]", "{}", "1e999")
ODD_NUMBERS += ("9" * 400, "9" * 9000)
KEYS = ["masks", "images", "output", "image", "url", "data"]
KEYS += ["error", "status", "request_id", "metrics"]
RED, GREEN, BLUE = (200, 10, 10), (10, 180, 20), (20, 30, 250)


def mask_of(top=3, bottom=9, left=20, right=28, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


MASK = mask_of()
OTHER = mask_of(12, 17, 2, 5)


def encode(pixels, file_format="PNG", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def gray(mask, file_format="PNG", mode=None, **options):
    return encode((mask * 255).astype(np.uint8), file_format, mode, **options)


def coloured(*places, background=(0, 0, 0), shape=SHAPE):
    pixels = np.full((*shape, 3), background, np.uint8)
    for mask, colour in places:
        pixels[mask] = colour
    return pixels


def b64(data):
    return base64.b64encode(data).decode()


def data_uri(data, kind="image/png"):
    return f"data:{kind};base64,{b64(data)}"


def zipped(*members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def as_json(value):
    return json.dumps(value).encode()


def read(body, content_type="", sent=SHAPE, **options):
    return decode(body, content_type, sent, **options)


def assert_one_mask(answer, mask=MASK):
    assert answer.kind == "mask"
    np.testing.assert_array_equal(answer.masks[0], mask)
    assert answer.masks[0].dtype == bool
    assert answer.notices == ()


PNG = gray(MASK)
TWO = [b64(PNG), b64(gray(OTHER))]
# the mask as 8-bit gray, coloured with one colour on black, and through alpha
RGBA = np.dstack([np.full((*SHAPE, 3), 90, np.uint8), (MASK * 255).astype(np.uint8)])
LA = np.dstack([np.full(SHAPE, 90, np.uint8), (MASK * 255).astype(np.uint8)])
DEEP = {
    "16 bit": (MASK * 65535).astype(np.uint16),
    "8 bit in 16": (MASK * 255).astype(np.uint16),
    "0 and 1 in 16": MASK.astype(np.uint16),
}


class TestPictures:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(gray(MASK, mode="1"), id="PNG, 1 bit"),
            pytest.param(PNG, id="PNG, L"),
            pytest.param(encode(MASK.astype(np.uint8)), id="PNG, L of 0 and 1"),
            pytest.param(gray(MASK, mode="LA"), id="PNG, opaque LA"),
            pytest.param(encode(LA), id="PNG, LA"),
            pytest.param(gray(MASK, mode="P"), id="PNG, gray palette"),
            pytest.param(gray(MASK, mode="RGB"), id="PNG, RGB"),
            pytest.param(gray(MASK, mode="RGBA"), id="PNG, opaque RGBA"),
            pytest.param(encode(RGBA), id="PNG, RGBA"),
            pytest.param(encode(RGBA // 2), id="PNG, half transparent"),
            *(pytest.param(encode(deep), id=f"PNG, {name}") for name, deep in DEEP.items()),
            pytest.param(gray(MASK, "JPEG", quality=95), id="JPEG"),
            pytest.param(gray(MASK, "JPEG", "RGB", quality=60), id="JPEG with ringing, RGB"),
            pytest.param(gray(MASK, "WEBP", lossless=True), id="WebP, lossless"),
            pytest.param(gray(MASK, "WEBP", quality=90), id="WebP, lossy"),
            pytest.param(encode(RGBA, "WEBP", quality=90), id="WebP, lossy with alpha"),
            pytest.param(gray(MASK, "GIF"), id="GIF"),
            pytest.param(gray(MASK, "BMP"), id="BMP"),
            pytest.param(gray(MASK, "BMP", "RGB"), id="BMP, RGB"),
            pytest.param(gray(MASK, "TIFF"), id="TIFF"),
            pytest.param(gray(MASK, "TIFF", compression="tiff_lzw"), id="TIFF, LZW"),
            pytest.param(gray(MASK, "TIFF", "RGB", compression="jpeg"), id="TIFF, JPEG"),
            pytest.param(encode(MASK.astype(np.float32), "TIFF"), id="TIFF, float"),
            pytest.param(encode((MASK * 10**9).astype(np.int32), "TIFF"), id="TIFF, 32 bit"),
        ],
    )
    def test_every_encoding_of_one_mask_reads_alike(self, body):
        assert_one_mask(read(body))

    @pytest.mark.parametrize(
        "content_type", ["", "text/html", "application/json", "\x00", "ÿ" * 999]
    )
    def test_the_content_type_is_not_believed(self, content_type):
        assert_one_mask(read(PNG, content_type))

    def test_a_palette_with_transparency_is_read_by_its_transparency(self):
        image = Image.fromarray(MASK.astype(np.uint8), "L").convert("P")
        image.putpalette([10, 200, 30, 10, 200, 30])
        assert_one_mask(read(encode(image, transparency=bytes([0, 255]))))

    def test_only_the_first_frame_counts(self):
        frames = [Image.fromarray((m * 255).astype(np.uint8)) for m in (MASK, OTHER)]
        for file_format in ("GIF", "TIFF"):
            body = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
            assert_one_mask(read(body))

    def test_colours_are_separate_objects_in_scan_order(self):
        third = mask_of(0, 2, 0, 3)
        pixels = coloured((OTHER, RED), (MASK, GREEN), (third, BLUE))
        palette = Image.fromarray(pixels).quantize(8)
        for body in (encode(pixels), encode(palette), encode(pixels, "GIF")):
            answer = read(body)
            assert answer.kind == "masks"
            for found, mask in zip(answer.masks, (third, MASK, OTHER), strict=True):
                np.testing.assert_array_equal(found, mask)
            assert "colour" in answer.notices[0]

    def test_the_background_is_what_lies_along_the_border(self):
        tall = mask_of(1, 19, 1, 29)
        answer = read(encode(coloured((tall, BLUE), background=(255, 255, 255))))
        np.testing.assert_array_equal(answer.masks[0], tall)
        assert answer.kind == "mask"

    def test_one_colour_everywhere_is_nothing(self):
        assert read(encode(coloured(background=RED))).kind == "empty"

    def test_more_colours_than_fit_are_one_mask(self):
        pixels = coloured((OTHER, RED), (MASK, GREEN))
        answer = read(encode(pixels), limits=DecodeLimits(max_total_pixels=MASK.size))
        np.testing.assert_array_equal(answer.masks[0], MASK | OTHER)
        assert "more colours" in answer.notices[0]

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
    def test_a_photo_is_cut_by_brightness_and_says_so(self, file_format):
        noise = np.random.default_rng(1).integers(0, 60, (*SHAPE, 3), np.uint8)
        noise[MASK] = [250, 90, 20]
        noise[4, 22] = [250, 90, 25]
        answer = read(
            encode(noise, file_format, **({"quality": 95} if file_format == "JPEG" else {}))
        )
        assert np.count_nonzero(answer.masks[0] ^ MASK) < 5
        assert "coloured picture" in answer.notices[0]

    def test_nothing_found_is_no_error(self):
        nothing = np.zeros(SHAPE, bool)
        for body in (gray(nothing), gray(nothing, "JPEG"), gray(nothing, mode="RGBA")):
            answer = read(body)
            assert (answer.kind, answer.masks, answer.notices) == ("empty", (), ())

    def test_everything_found_is_a_mask_and_a_warning(self):
        answer = read(gray(np.ones(SHAPE, bool)))
        assert answer.kind == "mask"
        assert answer.masks[0].all()
        assert "whole picture" in answer.notices[0]

    def test_dark_objects_do_not_vanish_in_silence(self):
        answer = read(encode((MASK * 100).astype(np.uint8)))
        assert answer.kind == "empty"
        assert "dark gray" in answer.notices[0]

    def test_shades_are_told(self):
        shades = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
        answer = read(encode(shades))
        np.testing.assert_array_equal(answer.masks[0], shades > 127)
        assert "shades" in answer.notices[0]

    def test_numbers_that_are_none_are_no_object(self):
        values = MASK.astype(np.float32)
        values[0, :3] = [np.nan, np.inf, -np.inf]
        values[0, 1] = np.nan
        assert_one_mask(read(encode(values, "TIFF")))

    @pytest.mark.parametrize(
        ("shape", "is_told"), [((40, 60), False), ((201, 300), False), ((30, 20), True)]
    )
    def test_other_proportions_are_told(self, shape, is_told):
        answer = read(gray(mask_of(1, 9, 2, 8, shape)))
        assert answer.masks[0].shape == shape
        assert bool(answer.notices) == is_told


class TestOverlay:
    def test_a_picture_is_a_picture(self):
        pixels = coloured((MASK, RED), (OTHER, GREEN), background=(7, 8, 9))
        for mode in ("RGB", "RGBA"):
            answer = read(encode(pixels, mode=mode), overlay=True)
            assert (answer.kind, answer.masks) == ("overlay", ())
            np.testing.assert_array_equal(answer.pictures[0], pixels)

    @pytest.mark.parametrize("pixels", [*DEEP.values(), (MASK * 255).astype(np.uint8)])
    def test_gray_of_any_depth_becomes_8_bit_rgb(self, pixels):
        (picture,) = read(encode(pixels), overlay=True).pictures
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, np.repeat(MASK[..., None] * 255, 3, axis=2))

    def test_its_own_key_goes_first_and_only_then(self):
        body = as_json({"masks": [b64(PNG)], "overlay": b64(encode(coloured((OTHER, RED))))})
        (picture,) = read(body, overlay=True).pictures
        assert tuple(picture[14, 3]) == RED
        assert_one_mask(read(body))

    def test_an_overlay_in_place_of_a_mask_is_told(self):
        answer = read(as_json({"overlay": b64(PNG)}))
        assert "overlay" in answer.notices[0]

    def test_proportions_and_absence(self):
        assert read(gray(MASK.T), overlay=True).notices
        assert read(b"[]", overlay=True).kind == "empty"


class TestText:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b64(PNG), id="base64"),
            pytest.param(f"\n {b64(PNG)} \r\n", id="base64 with blanks"),
            pytest.param(base64.encodebytes(PNG).decode(), id="base64 in lines"),
            pytest.param(b64(PNG).rstrip("="), id="base64 without padding"),
            pytest.param(base64.urlsafe_b64encode(PNG).decode(), id="base64 for addresses"),
            pytest.param(b64(gray(MASK, "JPEG", quality=95)), id="base64 of JPEG"),
            pytest.param(
                base64.urlsafe_b64encode(gray(MASK, "JPEG", quality=95)).decode(),
                id="base64 of JPEG for addresses",
            ),
            pytest.param(b64(gray(MASK, "WEBP", lossless=True)), id="base64 of WebP"),
            pytest.param(b64(gray(MASK, "GIF")), id="base64 of GIF"),
            pytest.param(b64(gray(MASK, "BMP")), id="base64 of BMP"),
            pytest.param(b64(gray(MASK, "TIFF")), id="base64 of TIFF"),
            pytest.param(b64(gzip.compress(PNG)), id="base64 of gzip"),
            pytest.param(data_uri(PNG), id="data URI"),
            pytest.param(data_uri(PNG, "video/mp4"), id="data URI of a wrong type"),
            pytest.param(f"DATA:;BASE64,{b64(PNG)}", id="data URI in capitals"),
            pytest.param(
                "data:image/png," + "".join(f"%{byte:02x}" for byte in PNG), id="data URI, percents"
            ),
        ],
    )
    def test_text_stands_for_a_picture_alone_and_in_json(self, body):
        for encoded in (
            body.encode(),
            b"\xef\xbb\xbf" + body.encode(),
            as_json(body),
            as_json({"image": body}),
            as_json([body]),
        ):
            assert_one_mask(read(encoded))

    def test_an_address_alone(self):
        answer = read(URL.encode())
        assert (answer.kind, answer.urls) == ("urls", (URL,))

    @pytest.mark.parametrize(
        "body",
        [
            b"data:image/png;base64",
            b"data:image/png;base64,#####",
            b"data:,hello",
            b"data:," + b"x" * 2_000_000,
            b"iVBOR....",
            b"https://host with blanks/",
            "https://hôst/".encode(),
            b"null",
            b"Internal error",
            b"QkJCQkJC",
        ],
    )
    def test_text_that_stands_for_nothing(self, body):
        with pytest.raises(ResponseError):
            read(body, "text/plain")


class TestArchives:
    def test_members_come_in_natural_order_and_are_separate(self):
        masks = {
            f"out/mask_{number}.png": mask_of(0, 2, number, number + 1) for number in (10, 9, 1)
        }
        members = [(name, gray(mask)) for name, mask in masks.items()]
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            answer = read(zipped(*members, compression=compression))
            assert answer.kind == "masks"
            assert [int(mask[0].argmax()) for mask in answer.masks] == [1, 9, 10]

    @pytest.mark.parametrize(
        ("names", "ordered"),
        [
            ("b10 b9 b1", "b1 b9 b10"),
            ("x a2b10 a2b9 1", "1 a2b9 a2b10 x"),
            (f"m{'9' * 5000} m3 m03 m", "m m3 m03 m" + "9" * 5000),
        ],
    )
    def test_natural_order(self, names, ordered):
        assert sorted(names.split(), key=natural_key) == ordered.split()

    def test_one_member_and_an_empty_member_are_still_separate(self):
        assert read(zipped(("a.png", PNG))).kind == "masks"
        answer = read(zipped(("a.png", gray(np.zeros(SHAPE, bool))), ("b.png", PNG)))
        assert (answer.kind, len(answer.masks)) == ("masks", 1)

    def test_names_are_not_used(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        answer = read(zipped(("../../up.png", PNG), ("/etc/passwd", gray(OTHER)), ("C:\\x", PNG)))
        assert len(answer.masks) == 3
        assert list(tmp_path.iterdir()) == []

    def test_clutter_is_passed_over_and_other_files_are_told(self):
        clutter = [("__MACOSX/._a.png", b"x"), (".DS_Store", b"x"), ("folder/", b"")]
        assert read(zipped(*clutter, ("a.png", PNG))).notices == ()
        assert "no pictures" in read(zipped(("a.png", PNG), ("scores.json", b"{}"))).notices[0]
        with pytest.raises(ResponseError, match="holds no picture"):
            read(zipped(("scores.json", b"{}")))

    def test_an_empty_archive_is_nothing_found(self):
        assert read(zipped()).kind == "empty"

    def test_base64_of_an_archive(self):
        assert len(read(as_json({"output": b64(zipped(("1", PNG), ("2", PNG)))})).masks) == 2

    def test_encrypted(self):
        body = bytearray(zipped(("a.png", PNG)))
        body[6] |= 1
        body[body.rindex(b"PK\x01\x02") + 8] |= 1
        with pytest.raises(ResponseError, match="encrypted"):
            read(bytes(body))

    @pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_unusual_compression(self, compression):
        with pytest.raises(ResponseError, match="compressed in a way"):
            read(zipped(("a.png", PNG), compression=compression))

    def test_too_many_members(self):
        limits = DecodeLimits(max_items=4)
        with pytest.raises(ResponseError, match="more members"):
            read(zipped(*((str(n), b"") for n in range(9))), limits=limits)
        with pytest.raises(ResponseError, match="more than 4 pictures"):
            read(zipped(*((str(n), PNG) for n in range(5))), limits=limits)

    def test_a_bomb_is_not_unpacked(self):
        body = zipped(*((str(n), bytes(2**20)) for n in range(3)))
        with pytest.raises(ResponseError, match="more than can be read safely"):
            read(body, limits=DecodeLimits(max_bytes=2**21))

    def test_a_declared_size_that_cannot_be(self):
        body = bytearray(zipped(("a.png", PNG)))
        at = body.rindex(b"PK\x01\x02")
        body[at + 24 : at + 28] = struct.pack("<I", 2**31)
        with pytest.raises(ResponseError, match="more than it can hold"):
            read(bytes(body))

    @pytest.mark.parametrize("cut", [10, 60, -30])
    def test_cut_off(self, cut):
        with pytest.raises(ResponseError, match="damaged or cut off"):
            read(zipped(("a.png", PNG))[:cut])


class TestGzip:
    def test_what_is_still_compressed_is_unpacked(self):
        for body in (PNG, as_json({"image": b64(PNG)}), b64(PNG).encode()):
            assert_one_mask(read(gzip.compress(body), "image/png"))

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (gzip.compress(PNG)[:-12], "cut off"),
            (b"\x1f\x8b" + bytes(30), "damaged"),
            (gzip.compress(bytes(2**22)), "unpacks to more"),
            (gzip.compress(gzip.compress(PNG)), "no picture"),
            (gzip.compress(b""), "nothing"),
        ],
        # gzip writes the time into what it packs, and each process must name the tests alike
        ids=["cut", "damaged", "bomb", "twice", "empty"],
    )
    def test_what_cannot_be(self, body, sentence):
        with pytest.raises(ResponseError, match=sentence):
            read(body, limits=DecodeLimits(max_bytes=2**20))

    def test_many_small_bombs_share_one_budget(self):
        bomb = b64(gzip.compress(PNG + bytes(2**20)))
        with pytest.raises(ResponseError, match="unpacks to more"):
            read(as_json({"masks": [bomb] * 9}), limits=DecodeLimits(max_bytes=2**22))


class TestJson:
    @pytest.mark.parametrize(
        "value",
        [
            {"image": b64(PNG)},
            {"output": data_uri(PNG)},
            {"masks": [b64(PNG)]},
            {"images": [{"image": b64(PNG), "content_type": "image/png"}]},
            {"output": {"b64": b64(PNG)}},
            {"result": {"data": [{"mask": b64(PNG)}]}},
            {"preview": b64(PNG), "result": "ok"},
            {"masks": [], "images": None, "output": b64(PNG)},
            {"masks": "none", "mask": b64(PNG)},
            {"masks": 3, "mask": b64(PNG)},
            {"output": json.dumps({"image": b64(PNG)})},
            {"image": b64(PNG), "error": None, "status": "COMPLETED", "request_id": ID},
            {"image": b64(PNG), "error": False},
            {"data": [None, [b64(PNG)]]},
            [b64(PNG)],
            b64(PNG),
            json.dumps({"image": b64(PNG)}),
        ],
    )
    def test_the_mask_is_found(self, value):
        assert_one_mask(read(as_json(value)))

    def test_several_masks(self):
        for value in ({"masks": TWO}, TWO, {"output": [{"image": text} for text in TWO]}):
            answer = read(as_json(value))
            assert answer.kind == "masks"
            np.testing.assert_array_equal(answer.masks[1], OTHER)

    def test_the_first_key_that_yields_something_wins(self):
        answer = read(as_json({"data": URL, "image": b64(PNG), "masks": TWO, "output": URL}))
        assert (answer.kind, len(answer.masks), answer.urls) == ("masks", 2, ())

    @pytest.mark.parametrize(
        "value",
        [
            {"output": URL},
            {"images": [{"url": URL, "file_size": "1234"}], "output": URL},
            {"output": {"image_url": URL}},
            {"output": {"image_url": {"url": URL}}},
            URL,
        ],
    )
    def test_addresses(self, value):
        answer = read(as_json(value))
        assert (answer.kind, answer.urls) == ("urls", (URL,))

    def test_addresses_keep_their_order_beside_masks(self):
        second = URL.replace("one", "two")
        answer = read(as_json({"images": [{"url": second}, b64(PNG), {"url": URL}]}))
        assert (answer.kind, answer.urls, len(answer.masks)) == ("urls", (second, URL), 1)

    def test_entries_that_are_no_picture_are_told(self):
        answer = read(as_json({"masks": [b64(PNG), "none", 5, None]}))
        assert answer.kind == "mask"
        assert answer.notices == ("2 entries of the answer are no pictures; left out.",)

    @pytest.mark.parametrize(
        "value",
        [
            [],
            {"masks": []},
            {"output": None},
            {"images": [], "output": None, "status": "COMPLETED", "request_id": ID},
            {"output": None, "status": "completed", "request_id": ID},
            {"images": [], "request_id": ID},
            {"masks": [None]},
            {"result": {"masks": []}},
        ],
    )
    def test_nothing_found(self, value):
        assert read(as_json(value)).kind == "empty"

    @pytest.mark.parametrize(
        "value",
        [
            {"request_id": ID},
            {"request_id": ID, "status": "QUEUED", "metrics": {}, "poll_url": URL},
            {"request_id": ID, "status": "PROCESSING", "images": []},
            {"request_id": ID, "status": "never heard of", "output": None},
            {"request_id": ID, "status": "COMPLETED", "response_url": URL},
            {"request_id": ID, "output": None, "status": 200},
        ],
    )
    def test_a_receipt(self, value):
        for body in (as_json(value), as_json(json.dumps(value))):
            answer = read(body)
            assert (answer.kind, answer.usage.request_id, answer.masks) == ("pending", ID, ())

    @pytest.mark.parametrize("request_id", ["", "a/b", "..", "a b", 7, None, "x" * 200, ["x"]])
    def test_an_id_that_cannot_be_used(self, request_id):
        with pytest.raises(ResponseError):
            read(as_json({"request_id": request_id}))

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ({"error": "no such thing", "image": b64(PNG)}, "no such thing"),
            ({"error": {"message": "inner"}}, "inner"),
            ({"error": 17}, "17"),
            ({"error": True}, "job"),
            ({"error": ["a", {"msg": "b"}]}, "a; b"),
            ({"error": "e", "error_description": "more words"}, "more words"),
            ({"error": "x" * 5000}, "x" * 300),
            ({"error": "\ud800"}, r"\?"),
            ({"error": [[[[[[[[["deep"]]]]]]]]]}, "…"),
            ({"status": "FAILED", "request_id": ID}, "job"),
            ({"status": "error", "message": "why"}, "why"),
            ({"output": {"status": "FAILED", "detail": [{"msg": "bad box"}]}}, "bad box"),
        ],
    )
    def test_a_failed_job(self, value, said):
        with pytest.raises(RequestRejectedError, match=said) as caught:
            read(as_json(value))
        assert caught.value.request_id == value.get("request_id")

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"{", "damaged or cut off"),
            (b'{"image": "' + b64(PNG).encode(), "damaged or cut off"),
            (b"{}", "holds no picture"),
            (b'{"message": "try later"}', "try later"),
            (b'{"foo": 1}', "holds no picture"),
            (b'{"output": "hello"}', "holds no picture"),
            (b'["hello"]', "holds no picture"),
            (b'[{"x": 1}]', "holds no picture"),
            (b'"hello"', "holds no picture"),
            (b'""', "holds no picture"),
            (b"[" * 100_000, "nested too deep"),
            (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
            (b"[" * 20 + b"]" * 20, "nested too deep"),
            (b'{"output":' * 9 + b"1" + b"}" * 9, "nested too deep"),
            (as_json(json.dumps(json.dumps({"image": b64(PNG)}))), "holds no picture"),
            (b"[" + b"0," * 300_000 + b"0]", "more JSON"),
            (as_json({"masks": [b64(PNG)] * 1001}), "1,001 entries"),
            (as_json({"masks": [[b64(PNG)] * 600] * 2}), "more than 1,000 pictures"),
            (as_json({"image": data_uri(b"\0\0\0\x20ftypisom")}), "a video"),
            (as_json({"image": data_uri(b"hello")}), "no picture"),
        ],
    )
    def test_what_cannot_be_read(self, body, sentence):
        with pytest.raises(ResponseError, match=sentence):
            read(body)

    def test_metrics(self):
        metrics = {"cost": 0.38, "remaining_credits": "12.5", "inference_time": 4}
        answer = read(as_json({"image": b64(PNG), "metrics": metrics}))
        assert (answer.usage.credits, answer.credits_left, answer.usage.seconds) == (
            0.38,
            12.5,
            4.0,
        )

    @pytest.mark.parametrize(
        "metrics",
        ["null", "5", "[]", "{}"]
        + [
            f'{{"cost": {odd}, "inference_time": {odd}, "remaining_credits": {odd}}}'
            for odd in ODD_NUMBERS
        ],
    )  # fmt: skip
    def test_metrics_that_are_none(self, metrics):
        answer = read(f'{{"image": "{b64(PNG)}", "metrics": {metrics}}}'.encode())
        assert (answer.usage.credits, answer.credits_left, answer.usage.seconds) == (
            None,
            None,
            None,
        )
        assert answer.kind == "mask"

    @pytest.mark.parametrize("odd", ["-1000", "1e300"])
    def test_what_no_answer_costs_or_takes_is_not_believed(self, odd):
        metrics = f'{{"cost": {odd}, "inference_time": {odd}, "remaining_credits": {odd}}}'
        answer = read(f'{{"image": "{b64(PNG)}", "metrics": {metrics}}}'.encode())
        assert (answer.usage.credits, answer.usage.seconds) == (None, None)
        # an account may be overdrawn
        assert answer.credits_left in (None, -1000.0)

    @pytest.mark.parametrize("value", ["%s", "[%s]", '{"output": %s}', '{"masks": [%s]}'])
    def test_an_endless_number_is_not_nothing_found(self, value):
        with pytest.raises(ResponseError):
            read((value % ("9" * 5_000_000)).encode())

    def test_an_endless_number_beside_a_mask_costs_no_answer(self):
        body = f'{{"image": "{b64(PNG)}", "seed": {"9" * 5_000_000}}}'.encode()
        assert read(body).kind == "mask"


class TestErrors:
    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"", "nothing at all"),
            (b" \r\n", "nothing at all"),
            (b"\xef\xbb\xbf", "nothing at all"),
            (b"<html><style>p{}</style><h1>504 Gateway</h1></html>", "web page.*“504 Gateway”"),
            (b"<", "web page"),
            (b"\0\0\0\x20ftypisom" + bytes(99), "a video"),
            (b"\0\0\0\x20ftypavif" + bytes(99), "an AVIF picture"),
            (b"%PDF-1.4", "a PDF document"),
            (b"\x00\x01\x02", "begins with b'.x00.x01.x02'"),
            (b"\xff\xd8", "begins with"),
            (b"BM", "BMP picture that is damaged"),
            (b"RIFF\0\0\0\0WEBP", "WEBP picture that is damaged"),
        ],
    )
    def test_the_sentence(self, body, sentence):
        with pytest.raises(ResponseError, match=sentence) as caught:
            read(body, "image/png")
        error = caught.value
        assert (error.content_type, error.length, error.head) == ("image/png", len(body), body[:64])
        assert f"image/png, {len(body):,} bytes" in str(error)

    def test_head_and_type_are_kept_short_in_the_sentence(self):
        with pytest.raises(ResponseError) as caught:
            read(b"\x01" * 5000, "t" * 5000)
        assert len(caught.value.head) == 64
        assert len(str(caught.value)) < 600

    @pytest.mark.parametrize(
        "whole",
        [PNG, gray(MASK, "JPEG"), gray(MASK, "GIF"), gray(MASK, "BMP"), gray(MASK, "TIFF"),
         gray(MASK, "TIFF", compression="tiff_lzw"), gray(MASK, "WEBP"),
         gray(MASK, "WEBP", lossless=True), gray(MASK, "WEBP", mode="RGBA")],
        ids=lambda body: body[:4].hex(),
    )  # fmt: skip
    def test_a_picture_cut_in_half(self, whole):
        for end in (len(whole) // 2, 30, 13):
            with pytest.raises(ResponseError, match="damaged or cut off"):
                read(whole[:end])

    def test_larger_than_allowed(self):
        with pytest.raises(ResponseError, match="too large"):
            read(PNG, limits=DecodeLimits(max_bytes=len(PNG) - 1))
        assert_one_mask(read(PNG, limits=DecodeLimits(max_bytes=len(PNG))))

    def test_more_pixels_than_allowed_is_seen_before_decoding(self, monkeypatch):
        def load(_self):
            raise AssertionError("it was decoded")

        bodies = [gray(MASK, name) for name in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")] + [
            gray(MASK, "WEBP", lossless=True),
            encode(RGBA, "WEBP", quality=50),
        ]
        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        for body in bodies:
            with pytest.raises(ResponseError, match="20 × 30 pixels, which is more"):
                read(body, limits=DecodeLimits(max_pixels=MASK.size - 1))

    def test_pillows_own_limit_is_respected(self, monkeypatch):
        for most in (MASK.size - 1, 10):
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
            with pytest.raises(ResponseError, match="be read safely"):
                read(PNG)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert_one_mask(read(PNG))

    def test_a_picture_without_pixels(self):
        empty = bytearray(gray(MASK, "BMP"))
        empty[18:22] = bytes(4)
        with pytest.raises(ResponseError):
            read(bytes(empty))
        with pytest.raises(ResponseError, match="no pixel"):
            read(b"RIFF\0\0\0\0WEBPVP8 " + bytes(40))

    def test_a_huge_picture_in_few_bytes(self):
        def chunk(name, data):
            crc = zlib.crc32(name + data)
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
        body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
        with pytest.raises(ResponseError, match="safely"):
            read(body)

    def test_all_pictures_share_one_budget(self):
        for picture in (PNG, gray(MASK, "WEBP")):
            body = as_json({"masks": [b64(picture)] * 2})
            assert len(read(body, limits=DecodeLimits(max_total_pixels=2 * MASK.size)).masks) == 2
            with pytest.raises(ResponseError, match="more pixels together"):
                read(body, limits=DecodeLimits(max_total_pixels=2 * MASK.size - 1))

    def test_threads_do_not_disturb_each_other(self):
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.extend(read(PNG).masks)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 8


class TestFitMask:
    def test_the_same_size_is_the_same_mask(self):
        assert fit_mask(MASK, SHAPE) is MASK

    @pytest.mark.parametrize("factor", [2, 3, 7])
    def test_whole_factors_repeat_and_pick(self, factor):
        large = np.kron(MASK, np.ones((factor, factor), bool))
        np.testing.assert_array_equal(fit_mask(MASK, large.shape), large)
        np.testing.assert_array_equal(fit_mask(large, SHAPE), MASK)

    @given(
        hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))),
        st.tuples(st.integers(1, 30), st.integers(1, 30)),
    )
    def test_every_pixel_comes_from_the_nearest(self, mask, shape):
        fitted = fit_mask(mask, shape)
        assert fitted.shape == shape
        assert fitted.dtype == bool
        rows, cols = (
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for old, new in zip(mask.shape, shape, strict=True)
        )
        # a middle that falls on an edge may go either way
        same = fitted == mask[np.ix_(rows, cols)]
        assert same.all()


class TestSplit:
    def test_parts_come_cropped_in_scan_order(self):
        first, second = split_into_instances(MASK | OTHER)
        np.testing.assert_array_equal(first.mask, MASK[first.box.slices])
        assert (first.box.top, first.box.left, first.box.shape) == (3, 20, (6, 8))
        assert (second.area, second.score, second.concept) == (OTHER.sum(), None, "")

    def test_corners_connect(self):
        assert len(split_into_instances(np.eye(5, dtype=bool))) == 1

    def test_a_single_pixel_is_a_part(self):
        mask = MASK.copy()
        mask[19, 0] = True
        assert [part.area for part in split_into_instances(mask)] == [MASK.sum(), 1]

    def test_nothing(self):
        assert split_into_instances(np.zeros(SHAPE, bool)) == ()

    def test_noise_is_refused(self, monkeypatch):
        monkeypatch.setattr(results, "MAX_PARTS", 1)
        with pytest.raises(ResponseError, match="2 separate parts"):
            split_into_instances(MASK | OTHER)

    @given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
    def test_the_parts_are_the_mask(self, mask):
        found = split_into_instances(mask)
        whole = np.zeros(mask.shape, int)
        starts = []
        for part in found:
            whole[part.box.slices] += part.mask
            starts.append((part.box.top, part.box.left + int(part.mask[0].argmax())))
        np.testing.assert_array_equal(whole, mask)
        assert starts == sorted(starts)
        assert len(found) == ndimage.label(mask, np.ones((3, 3)))[1]


VALID = [
    PNG,
    encode(RGBA),
    encode(Image.fromarray(coloured((MASK, RED), (OTHER, GREEN))).quantize(8)),
    encode(DEEP["16 bit"]),
    gray(MASK, "JPEG"),
    gray(MASK, "WEBP"),
    gray(MASK, "WEBP", lossless=True),
    gray(MASK, "GIF"),
    gray(MASK, "BMP"),
    gray(MASK, "TIFF"),
    gray(MASK, "TIFF", compression="tiff_lzw"),
    zipped(("a.png", PNG), ("b.png", gray(OTHER))),
    gzip.compress(PNG),
    b64(PNG).encode(),
    data_uri(PNG).encode(),
    as_json({"masks": TWO, "metrics": {"cost": 0.1}}),
    as_json({"images": [{"url": URL}], "request_id": ID, "status": "COMPLETED"}),
    as_json({"error": "no", "status": "FAILED"}),
    b"<html></html>",
]


@st.composite
def damaged(draw):
    body = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        match draw(st.sampled_from(["flip", "cut", "splice", "drop"])):
            case "flip" if body:
                body[at] ^= draw(st.integers(1, 255))
            case "cut":
                del body[at:]
            case "splice":
                other = draw(st.sampled_from(VALID))
                body[at:at] = other[: draw(st.integers(0, len(other)))]
            case "drop":
                del body[at : at + draw(st.integers(1, 9))]
    return bytes(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from([b64(PNG), URL, data_uri(PNG), "FAILED", "QUEUED", ID, '{"url": 1}', "[["]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(KEYS)
        | st.text(max_size=3),
        inner,
        max_size=5,
    ),
)  # fmt: skip


class TestAnything:
    """Whatever comes, it is an answer or an error for the user's eyes."""

    LIMITS = DecodeLimits(2**20, 2**16, 2**18, 20)

    def check(self, body, content_type, overlay):
        try:
            answer = read(body, content_type, overlay=overlay, limits=self.LIMITS)
        except Sam3Error:
            return
        assert all(mask.dtype == bool and mask.ndim == 2 and mask.any() for mask in answer.masks)
        assert all(one.dtype == np.uint8 and one.shape[2:] == (3,) for one in answer.pictures)
        assert not (answer.masks and answer.pictures)
        assert (answer.kind == "urls") == bool(answer.urls)
        assert answer.kind != "pending" or answer.usage.request_id

    @examples(400)
    @given(damaged(), st.sampled_from(["", "image/png", "application/json"]), st.booleans())
    def test_damaged_answers(self, body, content_type, overlay):
        self.check(body, content_type, overlay)

    @examples(200)
    @given(st.binary(max_size=200), st.text(), st.booleans())
    def test_any_bytes(self, body, content_type, overlay):
        self.check(body, content_type, overlay)

    @examples(200)
    @given(json_values, st.booleans())
    def test_any_json(self, value, overlay):
        self.check(json.dumps(value).encode(), "", overlay)

    @given(st.text())
    def test_any_text_is_base64_or_not(self, text):
        assert isinstance(from_base64(text), bytes | None)
