"""What goes over the wire, and that the way back leads to the same pixels."""

import io
import json
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.segmind.engine import SegmindEngine
from napari_sam3.engines.segmind.key import ApiKey
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.engines.segmind.payload import _ToSent, build_payload
from napari_sam3.engines.segmind.results import fit_mask
from napari_sam3.errors import PromptError, UnsupportedPromptError

IMAGE = np.random.default_rng(0).integers(0, 256, (30, 44, 3), np.uint8)
FLAGS = ("return_preview", "return_overlay", "return_masks")
CLICKS = (Point(5, 40), Point(7.4, 2.6, positive=False))


def body_of(prompt, image=IMAGE, options=None, **limits):
    return build_payload(
        SegmentationRequest(Pixels(image), prompt, **limits), options or SegmindOptions()
    ).body


def sent_alone(body):
    return {name: value for name, value in body.items() if name not in ("image", *FLAGS)}


# ---------------------------------------------------------------------- fields


def test_text():
    assert sent_alone(body_of(ConceptPrompt("nucleus"))) == {"text_prompt": "nucleus"}


@pytest.mark.parametrize("make", [ConceptPrompt, CombinedPrompt])
def test_text_is_sent_without_blanks_around_it(make):
    prompt = make("  a cell\n") if make is ConceptPrompt else make("  a cell\n", (), CLICKS)
    assert body_of(prompt)["text_prompt"] == "a cell"


def test_boxes_are_one_string_of_x1_y1_x2_y2():
    prompt = ConceptPrompt(exemplars=(Exemplar(Box(2, 30, 9, 41)), Exemplar(Box(0, 0, 30, 44))))
    assert sent_alone(body_of(prompt)) == {"boxes_input": "[[30, 2, 41, 9], [0, 0, 44, 30]]"}


def test_points_are_one_string_of_x_y_with_nested_labels():
    assert sent_alone(body_of(ObjectPrompt(CLICKS))) == {
        "points_input": "[[40, 5], [3, 7]]",
        "point_labels_input": "[[1, 0]]",
    }


def test_everything():
    assert sent_alone(body_of(Everything(16, 0.7))) == {
        "points_per_side": 16,
        "pred_iou_thresh": 0.7,
    }


def test_all_kinds_together():
    prompt = CombinedPrompt("cell", (Exemplar(Box(1, 2, 3, 4)),), CLICKS)
    fields = body_of(prompt, min_score=0.4, max_masks=7)
    assert sent_alone(fields) == {
        "text_prompt": "cell",
        "boxes_input": "[[2, 1, 4, 3]]",
        "points_input": "[[40, 5], [3, 7]]",
        "point_labels_input": "[[1, 0]]",
        "threshold": 0.4,
        "max_masks": 7,
    }


def test_every_documented_field_can_be_sent():
    prompts = [CombinedPrompt("c", (Exemplar(Box(1, 2, 3, 4)),), CLICKS), Everything()]
    sent = set().union(*(body_of(p, min_score=0.4, max_masks=7) for p in prompts))
    assert sent == {
        "image", "text_prompt", "points_input", "point_labels_input", "boxes_input", "threshold",
        "points_per_side", "pred_iou_thresh", "max_masks", *FLAGS,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "flag"), list(zip(("mask", "overlay", "separate masks"), FLAGS, strict=True))
)
def test_exactly_one_flag_is_true_and_the_others_are_said_to_be_false(answer, flag):
    fields = body_of(ConceptPrompt("a"), options=SegmindOptions(answer=answer))
    assert {name: fields[name] for name in FLAGS} == {name: name == flag for name in FLAGS}


@pytest.mark.parametrize(
    ("score", "sent"), [(0.0, None), (0.01, 0.1), (0.1, 0.1), (0.5, 0.5), (1.0, 1.0)]
)
@pytest.mark.parametrize("prompt", [ConceptPrompt("a"), ObjectPrompt((Point(1, 1),))])
def test_the_threshold_is_left_to_the_service_or_within_its_range(score, sent, prompt):
    assert body_of(prompt, min_score=score).get("threshold") == sent


def test_numbers_of_numpy_are_numbers_of_json():
    fields = body_of(ConceptPrompt("a"), min_score=np.float32(0.5), max_masks=np.int64(3))
    fields |= body_of(Everything(np.int32(8), np.float32(0.75)))
    read = json.loads(json.dumps(fields))
    assert (read["threshold"], read["max_masks"], read["points_per_side"]) == (0.5, 3, 8)
    assert read["pred_iou_thresh"] == 0.75


def test_what_is_not_set_is_left_out():
    assert None not in body_of(ConceptPrompt("a")).values()
    assert "threshold" not in body_of(Everything(), min_score=0.9)
    assert "max_masks" not in body_of(ObjectPrompt((Point(1, 1),)), max_masks=3)
    assert body_of(Everything(), max_masks=3)["max_masks"] == 3


@pytest.mark.parametrize(
    "prompt",
    [ObjectPrompt(box=Box(1, 2, 3, 4)), ConceptPrompt("a", (Exemplar(Box(1, 2, 3, 4), False),))],
)
def test_what_the_service_cannot_be_asked_is_refused_before_it_is_sent(prompt):
    engine = SegmindEngine(key=ApiKey("SG_0123456789abcdef"))
    with pytest.raises(UnsupportedPromptError):
        engine.payload(SegmentationRequest(Pixels(IMAGE), prompt))


def test_the_preview_of_what_is_sent_is_what_is_sent(start, engine_for, kit):
    server = start()
    engine, request = engine_for(server), kit.question("cell", max_masks=4)
    sent = engine.payload(request)
    engine.segment(request)
    (post,) = server.ledger.of("submit")
    assert dict(post.fields) == {n: v for n, v in sent.body.items() if n != "image"}
    assert post.image_shape == sent.sent_shape == (30, 44)
    assert "picture" not in repr(sent)
    assert "image=" not in repr(sent).replace("image_shape=", "")


# ---------------------------------------------------------------------- the picture


def test_png_is_exact_and_rgb():
    sent = build_payload(SegmentationRequest(Pixels(IMAGE), Everything()), SegmindOptions())
    with Image.open(io.BytesIO(sent.picture)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (44, 30))
        np.testing.assert_array_equal(np.asarray(picture), IMAGE)


def test_jpeg_is_close_and_smaller():
    options = SegmindOptions(image_format="jpeg")
    smooth = np.add.outer(np.arange(200), np.arange(300))[..., None] // 2
    image = np.broadcast_to(smooth, (200, 300, 3)).astype(np.uint8)
    sent = build_payload(SegmentationRequest(Pixels(image), Everything()), options)
    with Image.open(io.BytesIO(sent.picture)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (300, 200))
        assert np.abs(np.asarray(picture).astype(int) - image).mean() < 3


def test_a_large_picture_is_shrunk_and_the_user_is_told():
    image = np.zeros((100, 400, 3), np.uint8)
    options = SegmindOptions(max_side=200)
    sent = build_payload(SegmentationRequest(Pixels(image), Everything()), options)
    assert (sent.image_shape, sent.sent_shape) == ((100, 400), (50, 200))
    assert sent.notices == ("The picture was sent with 50 × 200 pixels instead of 100 × 400.",)
    assert not build_payload(
        SegmentationRequest(Pixels(image), Everything()), SegmindOptions()
    ).notices


def test_a_thin_picture_keeps_a_pixel():
    image = np.zeros((1, 3000, 3), np.uint8)
    sent = build_payload(
        SegmentationRequest(Pixels(image), Everything()), SegmindOptions(max_side=64)
    )
    assert sent.sent_shape == (1, 64)


# ---------------------------------------------------------------------- coordinates


@pytest.mark.parametrize(
    ("point", "sent"),
    [
        (Point(0, 0), [0, 0]),
        (Point(29.49, 43.49), [43, 29]),
        (Point(-0.5, -0.49), [0, 0]),
        (Point(0.5, 1.5), [2, 1]),
        (Point(29, 0), [0, 29]),
    ],
)
def test_a_point_is_sent_as_the_pixel_it_lies_in(point, sent):
    assert json.loads(body_of(ObjectPrompt((point,)))["points_input"]) == [sent]


@pytest.mark.parametrize("point", [Point(29.5, 0), Point(0, 43.6), Point(-0.6, 0), Point(0, -3)])
def test_a_point_outside_is_refused_and_named(point):
    with pytest.raises(PromptError, match=re.escape(f"row {point.row:g}")):
        body_of(ObjectPrompt((point,)))


def test_a_box_is_cut_at_the_border_and_one_beyond_it_refused():
    prompt = ConceptPrompt(exemplars=(Exemplar(Box(-5, 40, 3, 90)),))
    assert body_of(prompt)["boxes_input"] == "[[40, 0, 44, 3]]"
    with pytest.raises(PromptError, match="outside"):
        body_of(ConceptPrompt(exemplars=(Exemplar(Box(30, 0, 40, 9)),)))


sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


@given(st.data(), sizes, st.integers(64, 2048))
def test_points_and_boxes_stay_within_the_picture_as_sent_and_a_pixel_of_their_place(
    data, shape, max_side
):
    factor = min(1.0, max_side / max(shape))
    sent = tuple(max(1, round(side * factor)) for side in shape)
    row, col = (data.draw(st.integers(0, side - 1)) for side in shape)
    x, y = _ToSent(shape, sent).point(Point(row, col))
    assert 0 <= x < sent[1]
    assert 0 <= y < sent[0]
    # a mask of that pixel alone, mapped back, covers the click
    for at, back_to, side_sent in ((y, row, 0), (x, col, 1)):
        line = np.zeros((1, sent[side_sent]), bool)
        line[0, at] = True
        back = np.flatnonzero(fit_mask(line, (1, shape[side_sent]))[0])
        assert back.min() - 1 <= back_to <= back.max() + 1
    bottom, right = row + data.draw(st.integers(1, 50)), col + data.draw(st.integers(1, 50))
    left, top, x2, y2 = _ToSent(shape, sent).box(Box(row, col, bottom, right))
    assert 0 <= left < x2 <= sent[1]
    assert 0 <= top < y2 <= sent[0]
    assert left / sent[1] <= col / shape[1] + 1e-9
    assert x2 / sent[1] >= min(right, shape[1]) / shape[1] - 1e-9


def marks(image, fields):
    """Mark the pixel of each point and the area of each box, as they arrived."""
    masks = []
    for x, y in fields.points:
        mask = np.zeros(image.shape[:2], bool)
        mask[int(y), int(x)] = True
        masks.append(mask)
    for left, top, right, bottom in fields.boxes:
        mask = np.zeros(image.shape[:2], bool)
        mask[int(top) : int(bottom), int(left) : int(right)] = True
        masks.append(mask)
    return masks


@pytest.mark.parametrize(
    ("shape", "max_side"), [((40, 90), 2048), ((90, 200), 64), ((333, 130), 100), ((65, 64), 64)]
)
def test_there_and_back_through_the_service_it_is_the_same_place_within_a_pixel(
    shape, max_side, start, engine_for
):
    server = start(model=marks)
    engine = engine_for(server, max_side=max_side, api="v1")
    image = np.zeros((*shape, 3), np.uint8)
    step = max(1.0, max(shape) / max_side)
    for row, col in [(0, 0), (shape[0] - 1, shape[1] - 1), (shape[0] // 3, shape[1] // 2)]:
        prompt = ObjectPrompt((Point(row, col),))
        (item,) = engine.segment(SegmentationRequest(Pixels(image), prompt)).instances
        assert item.box.top - 1 <= row <= item.box.bottom
        assert item.box.left - 1 <= col <= item.box.right
        assert item.box.bottom - item.box.top <= step + 1
    box = Box(5, 20, 31, 47)
    prompt = ConceptPrompt(exemplars=(Exemplar(box),))
    (item,) = engine.segment(SegmentationRequest(Pixels(image), prompt)).instances
    for found, asked in zip(
        (item.box.top, item.box.left, item.box.bottom, item.box.right),
        (box.top, box.left, box.bottom, box.right),
        strict=True,
    ):
        assert abs(found - asked) <= step


@example((1, 1), (1, 1))
@given(sizes, st.tuples(st.integers(1, 99), st.integers(1, 99)))
def test_a_full_mask_stays_full_and_an_empty_one_empty(shape, sent):
    shape = tuple(min(side, 300) for side in shape)
    assert fit_mask(np.ones(sent, bool), shape).all()
    assert not fit_mask(np.zeros(sent, bool), shape).any()
