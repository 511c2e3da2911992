"""What a question is known by."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
    describe,
)
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.jobs.question import Question, pixels_sha256

from .paid import IMAGE, PaidEngine

ENGINE = PaidEngine(None)
REQUEST = SegmentationRequest(IMAGE, ConceptPrompt("nucleus"), 0.5, 7)
BOX = Box(1, 2, 5, 9)
PROMPTS = [
    ConceptPrompt("nucleus"),
    ConceptPrompt("nuclei"),
    ConceptPrompt("nucleus", (Exemplar(BOX),)),
    ConceptPrompt("nucleus", (Exemplar(BOX, positive=False),)),
    ConceptPrompt("", (Exemplar(BOX),)),
    ConceptPrompt("", (Exemplar(Box(2, 1, 9, 5)),)),
    ConceptPrompt("", (Exemplar(BOX), Exemplar(Box(2, 1, 9, 5)))),
    ObjectPrompt(box=BOX),
    ObjectPrompt((Point(3, 4),)),
    ObjectPrompt((Point(4, 3),)),
    ObjectPrompt((Point(3, 4.5),)),
    ObjectPrompt((Point(3, 4), Point(4, 3))),
    ObjectPrompt((Point(3, 4), Point(4, 3, positive=False))),
    ObjectPrompt((Point(3, 4),), BOX),
    CombinedPrompt("nucleus", (), (Point(3, 4),)),
    CombinedPrompt("nucleus", (Exemplar(BOX),), (Point(3, 4),)),
    Everything(),
    Everything(16),
    Everything(32, 0.9),
]


class Other(PaidEngine):
    def __init__(self, **attributes):
        super().__init__(None)
        vars(self).update(attributes)


def key(engine=ENGINE, request=REQUEST):
    return Question.of(engine, request).key


class TestKeys:
    @pytest.mark.parametrize(
        "other",
        [
            Other(name="segmind"),
            Other(model="paid 2"),
            Other(parameters={"tone": 4}),
            Other(parameters={"tone": "3"}),
            Other(parameters={"tone": 3, "tint": None}),
        ],
        ids=lambda other: f"{vars(other)}",
    )
    def test_another_engine_model_or_parameter_is_another_question(self, other):
        assert key(other) != key()

    @pytest.mark.parametrize(
        "changes",
        [
            {"min_score": 0.25},
            {"max_masks": 8},
            {"image": IMAGE[:-1]},
            {"image": IMAGE[:, ::-1]},
            {"image": IMAGE[::-1]},
            {"image": IMAGE[..., ::-1]},
            {"image": IMAGE.reshape(23, 14, 3)},
            {"image": np.ascontiguousarray(IMAGE.swapaxes(0, 1))},
        ],
        ids=lambda changes: f"{next(iter(changes))}",
    )
    def test_another_threshold_or_picture_is_another_question(self, changes):
        assert key(request=replace(REQUEST, **changes)) != key()

    def test_a_single_changed_value_is_another_picture(self):
        changed = IMAGE.copy()
        changed[-1, -1, -1] ^= 1
        assert pixels_sha256(changed) != pixels_sha256(IMAGE)

    def test_no_two_prompts_share_a_key(self):
        keys = {key(request=replace(REQUEST, prompt=prompt)) for prompt in PROMPTS}
        assert len(keys) == len(PROMPTS)

    def test_numbers_that_are_equal_ask_the_same_whatever_their_type(self):
        numpy_like = replace(REQUEST, min_score=np.float64(0.5), max_masks=np.int16(7))
        assert key(request=numpy_like) == key()
        whole, real = (ObjectPrompt((Point(*at),)) for at in [(3, 4), (3.0, np.float32(4))])
        assert len({key(request=replace(REQUEST, prompt=prompt)) for prompt in (whole, real)}) == 1

    def test_the_order_of_an_engines_parameters_does_not_matter(self):
        one, other = Other(parameters={"a": 1, "b": 2}), Other(parameters={"b": 2, "a": 1})
        assert key(one) == key(other)

    @pytest.mark.parametrize("text", ["Zellkern µm", "核", "a\udc80b", 'quote " and \\ and \n x'])
    def test_any_text_has_a_key(self, text):
        asked = Question.of(ENGINE, replace(REQUEST, prompt=ConceptPrompt(text)))
        assert len(asked.key) == 64
        assert asked.key != key()

    def test_another_process_finds_the_same_key(self):
        program = (
            "import numpy as np\n"
            "from napari_sam3.jobs.question import pixels_sha256\n"
            "image = (np.arange(14 * 23 * 3) % 251).astype(np.uint8).reshape(14, 23, 3)\n"
            "print(pixels_sha256(image), end='')"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert done.stdout.decode() == pixels_sha256(IMAGE)

    def test_the_key_is_the_hash_of_the_fields_that_anyone_can_repeat(self):
        asked = Question.of(ENGINE, REQUEST)
        text = json.dumps(asked.fields, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == asked.key
        assert asked.words == describe(REQUEST.prompt)
        assert asked.image_sha256 == pixels_sha256(IMAGE)

    def test_a_hash_that_is_known_already_is_not_made_again(self):
        known = Question.of(ENGINE, REQUEST, pixels_sha256(IMAGE))
        assert known == Question.of(ENGINE, REQUEST)
        assert Question.of(ENGINE, REQUEST, "0" * 64).key != known.key

    def test_fields_hold_no_pixel(self):
        assert len(json.dumps(dict(Question.of(ENGINE, REQUEST).fields))) < 1000


pictures = arrays.arrays(
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
        assert len({pixels_sha256(laid) for laid in layouts(image).values()}) == 1

    @given(pictures, pictures)
    def test_other_values_or_shapes_have_other_hashes(self, one, other):
        is_same = one.shape == other.shape and bool((one == other).all())
        assert (pixels_sha256(one) == pixels_sha256(other)) == is_same

    @given(pictures)
    def test_a_gray_plane_counts_by_its_values_however_it_is_repeated(self, image):
        plane = image[..., 0]
        contiguous = np.broadcast_to(np.ascontiguousarray(plane)[..., None], image.shape)
        strided = np.broadcast_to(plane[..., None], image.shape)
        assert pixels_sha256(contiguous) == pixels_sha256(strided)

    @given(pictures)
    def test_a_gray_plane_is_not_taken_for_a_picture_of_the_same_bytes(self, image):
        rows, cols, _ = image.shape
        plane = image.reshape(rows, cols * 3)
        gray = np.broadcast_to(plane[..., None], (*plane.shape, 3))
        assert pixels_sha256(gray) != pixels_sha256(image)

    def test_a_read_only_picture_is_hashed_and_left_alone(self):
        image = IMAGE.copy()
        image.flags.writeable = False
        assert pixels_sha256(image) == pixels_sha256(IMAGE)

    def test_a_picture_of_many_blocks_is_hashed_whole(self, monkeypatch):
        monkeypatch.setattr("napari_sam3.jobs.question._BLOCK_BYTES", 100)
        flipped = np.ascontiguousarray(IMAGE[:, ::-1])[:, ::-1]
        assert not flipped.flags.c_contiguous
        assert pixels_sha256(flipped) == pixels_sha256(IMAGE)
