"""What a question is known by."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Pixels
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
from napari_sam3.jobs.fingerprint import Fingerprint

from .paid import IMAGE, BillingEngine

ENGINE = BillingEngine(None)
REQUEST = SegmentationRequest(Pixels(IMAGE), ConceptPrompt("nucleus"), 0.5, 7)
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


class Other(BillingEngine):
    def __init__(self, **attributes):
        super().__init__(None)
        vars(self).update(attributes)


def key(engine=ENGINE, request=REQUEST):
    return Fingerprint.of(engine, request).key


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
            {"pixels": Pixels(IMAGE[:-1])},
            {"pixels": Pixels(IMAGE[:, ::-1])},
            {"pixels": Pixels(IMAGE[::-1])},
            {"pixels": Pixels(IMAGE[..., ::-1])},
            {"pixels": Pixels(IMAGE.reshape(23, 14, 3))},
            {"pixels": Pixels(np.ascontiguousarray(IMAGE.swapaxes(0, 1)))},
        ],
        ids=lambda changes: f"{next(iter(changes))}",
    )
    def test_another_threshold_or_picture_is_another_question(self, changes):
        assert key(request=replace(REQUEST, **changes)) != key()

    def test_a_single_changed_value_is_another_picture(self):
        changed = IMAGE.copy()
        changed[-1, -1, -1] ^= 1
        assert Pixels(changed).sha256 != Pixels(IMAGE).sha256

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
        asked = Fingerprint.of(ENGINE, replace(REQUEST, prompt=ConceptPrompt(text)))
        assert len(asked.key) == 64
        assert asked.key != key()

    def test_another_process_finds_the_same_key(self):
        program = (
            "import numpy as np\n"
            "from napari_sam3.core.pictures import Pixels\n"
            "image = (np.arange(14 * 23 * 3) % 251).astype(np.uint8).reshape(14, 23, 3)\n"
            "print(Pixels(image).sha256, end='')"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert done.stdout.decode() == Pixels(IMAGE).sha256

    def test_the_key_is_the_hash_of_the_fields_that_anyone_can_repeat(self):
        asked = Fingerprint.of(ENGINE, REQUEST)
        text = json.dumps(asked.fields, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == asked.key
        assert asked.words == describe(REQUEST.prompt)
        assert asked.image_sha256 == Pixels(IMAGE).sha256

    def test_fields_hold_no_pixel(self):
        assert len(json.dumps(dict(Fingerprint.of(ENGINE, REQUEST).fields))) < 1000
