import hashlib
import io
import json
import math
import random
import struct
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import AnswerRecord, RawPart, SegmentationResult, Usage
from napari_sam3.errors import CacheError
from napari_sam3.jobs import answers
from napari_sam3.jobs.answers import decode_answer, digest, encode_answer
from tests.tiers import examples

any_float = st.floats(allow_nan=True, allow_infinity=True)
TURNS = "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
any_text = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=TURNS)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
questions = st.dictionaries(any_text, json_values, max_size=4)


@st.composite
def any_instances(draw):
    rows, cols = draw(st.tuples(st.integers(1, 23), st.integers(1, 40)))
    items = []
    for _ in range(draw(st.integers(0, 5))):
        top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
        box = Box(top, left, draw(st.integers(top + 1, rows)), draw(st.integers(left + 1, cols)))
        score = draw(
            st.none() | st.sampled_from([0, 1, 0.0, -0.0, 1.0, np.float32(0.1)]) | any_float
        )
        items.append(Instance(draw(hnp.arrays(bool, box.shape)), box, score, draw(any_text)))
    return Instances((rows, cols), tuple(items))


records = st.builds(
    AnswerRecord,
    key=any_text,
    image_sha256=any_text,
    answer_sha256=any_text,
    engine=any_text,
    model=any_text,
    parameters=questions | st.builds(MappingProxyType, questions),
    answered_at=st.floats(0, 1e11),
)


def recorded(result, record=None):
    """The answer with a record of its objects."""
    record = record or AnswerRecord("k", "i", "", "segmind", "sam3", {"size": 1008}, 1e9)
    return replace(result, record=replace(record, answer_sha256=digest(result.instances)))


any_result = st.builds(
    SegmentationResult,
    any_instances(),
    st.builds(
        Usage,
        st.none() | any_float,
        st.none() | any_float,
        st.none() | any_text,
        st.booleans(),
    ),
    st.lists(any_text, max_size=3).map(tuple),
    st.lists(
        hnp.arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(0, 5), st.just(3))),
        max_size=2,
    ).map(tuple),
    st.lists(st.builds(RawPart, any_text, st.binary(max_size=60)), max_size=3).map(tuple),
    records,
).map(lambda result: recorded(result, result.record))


def same(one, other):
    """Exact equality of two numbers; NaN equals NaN."""
    if one is None or other is None:
        return one is other
    one, other = float(one), float(other)
    if math.isnan(one):
        return math.isnan(other)
    return struct.pack("<d", one) == struct.pack("<d", other)


def assert_same_instances(one, other):
    assert one.image_shape == other.image_shape
    assert len(one) == len(other)
    for ours, theirs in zip(one, other, strict=True):
        assert (ours.box, ours.concept) == (theirs.box, theirs.concept)
        assert same(ours.score, theirs.score)
        assert ours.mask.dtype == theirs.mask.dtype == np.bool_
        np.testing.assert_array_equal(ours.mask, theirs.mask)


def assert_same_record(one, other):
    if one is None or other is None:
        assert one is other
        return
    assert same(one.answered_at, other.answered_at)
    names = ("key", "image_sha256", "answer_sha256", "engine", "model", "parameters")
    for name in names:
        assert getattr(one, name) == getattr(other, name)


def assert_same(one, other):
    assert_same_instances(one.instances, other.instances)
    assert same(one.usage.credits, other.usage.credits)
    assert same(one.usage.seconds, other.usage.seconds)
    assert one.usage.request_id == other.usage.request_id
    assert one.usage.cached is other.usage.cached
    assert one.notices == other.notices
    assert len(one.pictures) == len(other.pictures)
    for ours, theirs in zip(one.pictures, other.pictures, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)
    assert [(p.content_type, p.body) for p in one.raw] == [
        (p.content_type, p.body) for p in other.raw
    ]
    assert_same_record(one.record, other.record)


def blob(rows=5, cols=9, box=(1, 2, 4, 9), score=0.25, concept="nucleus"):
    mask = np.zeros((rows, cols), bool)[: box[2] - box[0], : box[3] - box[1]]
    mask.flat[::3] = True
    return Instances((rows, cols), (Instance(mask, Box(*box), score, concept),))


def small_result(instances=None):
    result = SegmentationResult(
        instances or blob(),
        Usage(0.02, 3.5, "r-1"),
        ("A notice.",),
        (np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3),),
        (RawPart("image/png", b"\x89PNG raw"),),
    )
    return recorded(result)


def parts_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, methods=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in parts.items():
            is_mask = name.startswith("masks/")
            method = (methods or {}).get(name, zipfile.ZIP_DEFLATED if is_mask else 0)
            archive.writestr(name, body, method)
    return buffer.getvalue()


def changed(data, **changes):
    """The same answer with other values in answer.json."""
    parts = parts_of(data)
    document = json.loads(parts["answer.json"])
    parts["answer.json"] = json.dumps(document | changes).encode()
    return zipped(parts)


class TestRoundTrip:
    @given(any_result, questions)
    @examples(60)
    def test_nothing_is_lost(self, result, question):
        stored = decode_answer(encode_answer(result, question))
        assert_same(stored.result, result)
        assert stored.question == question

    @given(any_result, questions)
    @examples(30)
    def test_the_same_answer_gives_the_same_bytes(self, result, question):
        data = encode_answer(result, question)
        turned = dict(reversed(question.items()))
        assert encode_answer(decode_answer(data).result, turned) == data

    def test_many_objects_in_several_groups_keep_their_order(self, monkeypatch):
        monkeypatch.setattr(answers, "_GROUP_PIXELS", 500)
        rng = np.random.default_rng(3)
        items = []
        for index in range(60):
            height, width = rng.integers(1, 31, 2)
            top, left = rng.integers(0, 70), rng.integers(0, 90)
            box = Box(top, left, top + height, left + width)
            items.append(Instance(rng.random(box.shape) < 0.5, box, index / 60, f"n{index}"))
        result = recorded(SegmentationResult(Instances((100, 120), tuple(items))))
        data = encode_answer(result, {})
        assert sum(name.startswith("masks/") for name in parts_of(data)) > 10
        assert_same(decode_answer(data).result, result)

        def refuse(*args):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(answers, "ThreadPoolExecutor", refuse)
        assert_same(decode_answer(data).result, result)

    def test_an_answer_without_objects(self):
        result = recorded(SegmentationResult(Instances((7, 0))))
        assert_same(decode_answer(encode_answer(result, {})).result, result)

    def test_numpy_numbers_and_views_are_what_they_say(self):
        mask = np.zeros((6, 10), bool)
        mask[1:4, 2:8] = [[1, 0, 1, 1, 0, 0]]
        view = mask[::-1, ::2].T
        item = Instance(view, Box(0, 1, 5, 7), np.float32(0.3))
        result = SegmentationResult(Instances((9, 11), (item,)), Usage(np.float64(0.1)))
        result = recorded(result)
        question = {"threshold": np.float32(0.5), "count": np.int64(3), "sizes": (1, 2)}
        stored = decode_answer(encode_answer(result, question))
        assert_same(stored.result, result)
        assert stored.question == {"threshold": 0.5, "count": 3, "sizes": [1, 2]}

    def test_masks_and_pictures_can_be_written_to_without_touching_each_other(self):
        overlapping = Instances((5, 9), blob().items * 2)
        stored = decode_answer(encode_answer(small_result(overlapping), {})).result
        stored.instances[0].mask[:] = True
        stored.pictures[0][:] = 9
        np.testing.assert_array_equal(stored.instances[1].mask, blob()[0].mask)

    def test_the_file_opens_with_any_zip_tool_and_says_what_was_asked(self):
        parts = parts_of(encode_answer(small_result(), {"text": "Zellkern – µ"}))
        assert parts["raw/0"] == b"\x89PNG raw"
        assert "Zellkern – µ".encode() in parts["answer.json"]

    @pytest.mark.parametrize(
        "question", [{"a": math.nan}, {"a": object()}, {"a": b"bytes"}, {1: 1, "1": 2}]
    )
    def test_a_question_that_is_no_json_is_refused_in_a_sentence(self, question):
        with pytest.raises(CacheError, match="cannot be stored"):
            encode_answer(small_result(), question)

    @pytest.mark.parametrize(
        ("limit", "value"),
        [("MAX_BYTES", 600), ("MAX_MASK_PIXELS", 20), ("MAX_JSON_BYTES", 99), ("MAX_PARTS", 3)],
    )
    def test_what_could_not_be_read_back_is_not_written(self, monkeypatch, limit, value):
        data = encode_answer(small_result(), {})
        monkeypatch.setattr(answers, limit, value)
        with pytest.raises(CacheError, match="too large"):
            encode_answer(small_result(), {})
        with pytest.raises(CacheError, match="damaged"):
            decode_answer(data)


class TestDamage:
    @staticmethod
    def check(damaged, result):
        try:
            stored = decode_answer(damaged)
        except CacheError:
            return
        assert_same(stored.result, result)
        assert stored.question == {"text": "a"}

    def test_no_flipped_byte_gives_another_answer(self):
        rng = random.Random(5)
        result = small_result()
        data = encode_answer(result, {"text": "a"})
        for place in range(len(data)):
            for change in {1 << rng.randrange(8), rng.randrange(1, 256), 255}:
                damaged = bytearray(data)
                damaged[place] ^= change
                self.check(bytes(damaged), result)

    def test_no_cut_off_file_is_read(self):
        data = encode_answer(small_result(), {"text": "a"})
        for length in range(len(data)):
            with pytest.raises(CacheError):
                decode_answer(data[:length])

    @given(any_result, st.data())
    @examples(60)
    def test_no_damage_to_any_answer_gives_another_one(self, result, data):
        whole = encode_answer(result, {"text": "a"})
        place = data.draw(st.integers(0, len(whole) - 1))
        flipped = bytearray(whole)
        flipped[place] ^= data.draw(st.integers(1, 255))
        self.check(bytes(flipped), result)
        self.check(whole[:place], result)
        self.check(whole[:place] + whole[place + 1 :], result)
        self.check(whole[:place] + bytes(8) + whole[place:], result)

    @given(st.binary(max_size=300))
    def test_foreign_bytes_are_refused(self, data):
        with pytest.raises(CacheError, match="damaged, or no answer"):
            decode_answer(data)

    @given(st.data())
    @examples(200)
    def test_any_json_in_the_right_archive_gives_an_answer_or_a_sentence(self, data):
        parts = parts_of(encode_answer(small_result(), {}))
        document = json.loads(parts["answer.json"])
        name = data.draw(st.sampled_from(sorted(document)))
        odd = st.sampled_from(
            [-1, 0, 2**63, 10**400, True, 1e999, "nan", [[]], [[0, 0, 1]], [[4, 4, 2, 2]], [-1]]
        )
        parts["answer.json"] = json.dumps(document | {name: data.draw(json_values | odd)}).encode()
        try:
            stored = decode_answer(zipped(parts))
        except CacheError:
            return
        assert isinstance(stored.result, SegmentationResult)

    @pytest.mark.parametrize(
        "changes",
        [
            {"boxes": [[1, 2, 4, 10]]},
            {"boxes": [[-1, 2, 2, 9]]},
            {"boxes": [[1, 2, 4, 6]]},
            {"boxes": [[4, 2, 1, 9]]},
            {"boxes": [[1.0, 2, 4, 9]]},
            {"boxes": [[1, 2, 4, 9]] * 2},
            {"boxes": []},
            {"image_shape": [5]},
            {"image_shape": [5, -9]},
            {"image_shape": [5, 2**40]},
            {"scores": []},
            {"scores": ["high"]},
            {"scores": [True]},
            {"concepts": [3]},
            {"mask_groups": [2]},
            {"mask_groups": [2, -1]},
            {"mask_groups": [1, 0]},
            {"pictures": [[2, 3, 4]]},
            {"pictures": [[-2, -3, 3]]},
            {"pictures": []},
            {"raw": ["image/png", "image/png"]},
            {"record": {"key": "k"}},
            {"record": None},
            {"usage": {"credits": "1"}},
            {"usage": None},
            {"question": [1]},
            {"format": "other"},
            {"version": 0},
            {"version": "2"},
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, changes):
        with pytest.raises(CacheError, match="damaged, or no answer"):
            decode_answer(changed(encode_answer(small_result(), {}), **changes))

    @pytest.mark.parametrize("time", ["nan", "inf", 1e300, 1.1e11, -1, "-0.1", None])
    def test_an_answer_of_no_possible_time_is_refused(self, time):
        data = encode_answer(small_result(), {})
        record = json.loads(parts_of(data)["answer.json"])["record"]
        with pytest.raises(CacheError, match="damaged, or no answer"):
            decode_answer(changed(data, record=record | {"answered_at": time}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"boxes": [[0, 2, 3, 9]]},
            {"image_shape": [50, 90]},
            {"image_shape": [50, 90], "boxes": [[11, 12, 14, 19]]},
            {"scores": [0.5]},
            {"concepts": ["mitosis"]},
        ],
    )
    def test_objects_that_the_record_does_not_speak_of_are_refused(self, changes):
        with pytest.raises(CacheError, match="damaged, or no answer"):
            decode_answer(changed(encode_answer(small_result(), {}), **changes))

    def test_other_pixels_than_the_record_speaks_of_are_refused(self):
        parts = parts_of(encode_answer(small_result(), {}))
        parts["masks/0"] = bytes(b ^ 0x80 for b in parts["masks/0"])
        with pytest.raises(CacheError, match="damaged, or no answer"):
            decode_answer(zipped(parts))

    def test_what_could_not_be_told_from_a_manipulated_one_is_not_written(self):
        sound = small_result()
        for wrong in (
            replace(sound, record=None),
            replace(sound, record=replace(sound.record, answer_sha256="a" * 64)),
            replace(sound, record=replace(sound.record, answered_at=math.nan)),
            replace(sound, record=replace(sound.record, answered_at=1e300)),
        ):
            with pytest.raises(CacheError, match="cannot be stored"):
                encode_answer(wrong, {})

    def test_no_text_moves_the_cursor_of_a_terminal(self):
        evil = "\x1b[2J\x9b1A\x00\r\n\x7f\u202e\u2066\u2028\ud800"
        record = AnswerRecord(evil, evil, "", evil, evil, {evil: [{"a": evil}]}, 1e9)
        result = replace(
            small_result(blob(concept=f"a{evil}b")),
            notices=(f"Said{evil}so.",),
            usage=Usage(0.02, 3.5, evil),
            raw=(RawPart(evil, b"\x1b"),),
        )
        stored = decode_answer(encode_answer(recorded(result, record), {evil: {"b": evil}}))
        kept = stored.result
        told = (
            *(kept.notices, kept.usage.request_id, kept.raw[0].content_type),
            *(kept.record.key, kept.record.image_sha256, kept.record.engine, kept.record.model),
            *(kept.record.parameters, stored.question, kept.instances[0].concept),
        )
        seen = json.dumps(told, ensure_ascii=False)
        assert not set(evil) & set(seen) - set("[2J1A")
        assert "\\" not in seen
        assert kept.notices[0].startswith("Said [2J 1A")
        assert kept.raw[0].body == b"\x1b"

    def test_words_of_any_language_stay_as_they_are(self):
        words = "Zellkern – µ, 細胞核, नाभिक, هسته\u200cها, 🔬"
        stored = decode_answer(encode_answer(small_result(blob(concept=words)), {"text": words}))
        assert stored.result.instances[0].concept == stored.question["text"] == words

    def test_a_newer_version_is_named(self):
        data = changed(encode_answer(small_result(), {}), version=7, something="new")
        with pytest.raises(CacheError, match=r"newer napari-sam3 \(its format is 7"):
            decode_answer(data)

    def test_deep_json_is_no_crash(self):
        parts = parts_of(encode_answer(small_result(), {}))
        parts["answer.json"] = b"[" * 200_000
        with pytest.raises(CacheError):
            decode_answer(zipped(parts))

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_ways_of_packing_are_refused(self, method):
        parts = parts_of(encode_answer(small_result(), {}))
        with pytest.raises(CacheError):
            decode_answer(zipped(parts, {"masks/0": method}))

    def test_a_further_part_is_refused(self):
        parts = parts_of(encode_answer(small_result(), {}))
        with pytest.raises(CacheError):
            decode_answer(zipped({**parts, "../../evil": b"x"}))


def bombs():
    sound = parts_of(encode_answer(small_result(), {}))
    side = 20_000
    huge = {"boxes": [[0, 0, side, side]] * 3, "image_shape": [side, side], "mask_groups": [3]}
    columns = {"scores": [None] * 3, "concepts": [""] * 3}
    document = json.loads(sound["answer.json"])
    zeros = bytes(16 << 20)
    return {
        "more pixels than an answer may have": zipped(
            sound | {"answer.json": json.dumps(document | huge | columns).encode()}
        ),
        "more bits than the boxes hold": zipped(sound | {"masks/0": zeros}),
        "a packed raw part": zipped(sound | {"raw/0": zeros}, {"raw/0": zipfile.ZIP_DEFLATED}),
        "packed json": zipped(
            sound | {"answer.json": b" " * (16 << 20)}, {"answer.json": zipfile.ZIP_DEFLATED}
        ),
        "a size that lies": lying_about_the_size(zipped(sound | {"masks/0": zeros})),
        "parts that overlap": overlapping(sound),
    }


def lying_about_the_size(data):
    """Claim in the directory that the mask is as long as its box wants."""
    packed = (16 << 20).to_bytes(4, "little")
    return data.replace(packed, (3).to_bytes(4, "little"))


def overlapping(parts):
    """A hundred parts, each of which reaches to the end of the last one, of two megabytes."""
    document = json.loads(parts["answer.json"])
    document["raw"] = ["text/plain"] * 100
    names = [f"raw/{i}" for i in range(100)]
    raw = dict.fromkeys(names, b"") | {names[-1]: bytes(2 << 20)}
    text = json.dumps(document).encode()
    data = bytearray(zipped({**parts, **raw, "answer.json": text}))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries, place = archive.infolist(), archive.start_dir
        end = archive.start_dir
    for entry in entries:
        if entry.filename in names:
            body = data[entry.header_offset + 30 + len(entry.filename) : end]
            numbers = struct.pack("<3L", zlib.crc32(body), len(body), len(body))
            data[place + 16 : place + 28] = numbers
        place += 46 + len(entry.filename)
    return bytes(data)


def test_no_bomb_allocates_more_than_a_sound_answer_might():
    for name, data in bombs().items():
        tracemalloc.start()
        with pytest.raises(CacheError):
            decode_answer(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * len(data) + (4 << 20), name


class TestDigest:
    @given(any_instances())
    def test_is_the_same_however_the_masks_lie_in_memory(self, instances):
        items = []
        for item in instances:
            padded = np.ones((2 * item.mask.shape[0], 3 * item.mask.shape[1]), bool)
            padded[::2, ::3] = item.mask
            items.append(Instance(padded[::2, ::3], item.box, item.score, item.concept))
        other = Instances(instances.image_shape, tuple(items))
        assert digest(other) == digest(instances)
        fortran = [
            Instance(np.asfortranarray(i.mask), i.box, i.score, i.concept) for i in instances
        ]
        assert digest(Instances(instances.image_shape, tuple(fortran))) == digest(instances)

    @given(any_result)
    @examples(50)
    def test_survives_storage(self, result):
        stored = decode_answer(encode_answer(result, {}))
        assert digest(stored.result.instances) == digest(result.instances)

    def test_differs_with_all_that_an_answer_says(self):
        turned = Instances((5, 9), (Instance(~blob()[0].mask, Box(1, 2, 4, 9), 0.25, "nucleus"),))
        first, second = blob(concept="a").items[0], blob(concept="b").items[0]
        different = [
            blob(),
            turned,
            blob(rows=6),
            blob(cols=10),
            blob(box=(0, 2, 3, 9)),
            blob(score=None),
            blob(score=0),
            blob(score=math.nextafter(0.25, 1)),
            blob(concept=""),
            blob(concept="Nucleus"),
            Instances((5, 9)),
            Instances((9, 5)),
            Instances((5, 9), (first, second)),
            Instances((5, 9), (second, first)),
            Instances((5, 9), (first, first)),
        ]
        assert len({digest(instances) for instances in different}) == len(different)

    def test_equal_scores_of_any_type_are_equal(self):
        for one, other in [(0, -0.0), (1, np.float32(1)), (0.5, np.float64(0.5))]:
            assert digest(blob(score=one)) == digest(blob(score=other))

    def test_stays_what_it_was(self):
        """Records on disk hold digests: a change here makes them all look like drift."""
        # every third of 21 pixels, filled up to 24
        bits = int("100100100100100100100000", 2).to_bytes(3, "big")
        numbers = struct.pack("<3q4q?dq", 5, 9, 1, 1, 2, 4, 9, True, 0.25, 7)
        expected = hashlib.sha256(numbers + b"nucleus" + bits).hexdigest()
        assert digest(blob()) == expected
        assert expected == "d74515d913f27514fc7217194c209e84e3d6c510d60a76ace5ccac9cb602c8ec"
