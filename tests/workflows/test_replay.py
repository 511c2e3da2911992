"""Labels from a record are those that were written, to the last pixel."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Labels

from napari_sam3.core.adding import iter_plan, run_changes
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import Part
from napari_sam3.core.pictures import Picture
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import ObjectPrompt, Point
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.taking_over import look, take_over
from napari_sam3.engines.base import AnswerRecord, SegmentationResult
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import CacheError, ProvenanceError
from napari_sam3.jobs.answers import StoredAnswer, digest
from napari_sam3.jobs.records import open_records
from napari_sam3.layers.describing import describe_placement, describe_plane
from napari_sam3.layers.objects import plane_index
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.showing import Showing
from napari_sam3.layers.transforms import LayerTransform
from napari_sam3.workflows import replay
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import (
    append_run,
    check_record,
    new_record,
    new_run_id,
    record_of_file,
    run_record,
)
from napari_sam3.workflows.replay import (
    altered_questions,
    own_labels,
    plane_of,
    rebuild,
    stored_answers,
    without_own,
)
from napari_sam3.workflows.run import SegmentRun
from tests.tiers import examples

PICTURE = {"kind": "gray", "contrast_limits": [0.0, 1.0], "gamma": 1.0, "inverted": False}
CLICK = ObjectPrompt((Point(1, 2),))


def plane_at(shape, shown, at, factor=1):
    """A plane of labels of this shape; the image has `factor` times as many pixels a side."""
    ndim = len(shape)
    index = tuple(0 if axis in shown else at[axis] * factor for axis in range(ndim))
    transform = LayerTransform(np.eye(ndim), np.zeros(ndim))
    size = (shape[shown[0]], shape[shown[1]])
    factors = (float(factor),) * ndim
    here = (0.0,) * ndim
    return Plane(index, shown, size, int(factor > 1), factors, transform, here, (here, here))


def key_of(text):
    return f"{abs(hash(text)):064x}"[-64:]


@dataclass
class Desk:
    """A real Labels layer, its record, and the answers; keeps book as the panel does."""

    shape: tuple
    base: np.ndarray | None = None
    answers: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)

    def __post_init__(self):
        data = np.zeros(self.shape, np.uint16) if self.base is None else self.base.copy()
        self.layer = Labels(data)
        self.store = ObjectStore(self.shape)
        self.showing = Showing(self.layer, self.store)
        began = "empty" if self.base is None else "labels"
        image = {"name": "cells", "shape": self.shape}
        self.record = new_record(image, describe_placement(self.shape, {}), began)

    def write(self, plane, questions, rule="score", skip_known=False):
        """Write one run; a question is its key and its objects."""
        results, owners = [], []
        for number, (key, items) in enumerate(questions):
            instances = Instances(plane.shape, tuple(items))
            record = AnswerRecord(
                key_of((len(self.record["runs"]), number)), "0" * 64, digest(instances), "builtin",
                "classical-1", {}, 1.7e9,
            )  # fmt: skip
            results.append(SegmentationResult(instances, record=record))
            owners += [(key, number, index) for index in range(len(items))]
        answer = SegmentAnswer(tuple(results), plane.shape, picture=PICTURE)
        index = self.store.find_index(plane_index(plane))
        instances = answer.instances
        if index != plane_index(plane):
            instances = instances.transposed()
        names = [None if key is None else (index, key) for key, _, _ in owners]
        replaced, former = {}, {}
        for at, name in enumerate(names):
            if name in self.known and self.known[name][0] not in former:
                label, part = self.known[name]
                replaced[at], former[label] = label, part
        self.take_over(index)
        first = max(self.store.highest_label, int(self.layer.data.max(initial=0))) + 1
        plan = drain(
            iter_plan(
                index.cut(self.layer.data), instances, first_label=first, rule=rule,
                replaced=replaced, skip_known=skip_known,
            )
        )  # fmt: skip
        run_id, given = new_run_id(), plan.all_labels
        parts = {
            given[at]: Part(instances[at], source=(run_id, *owners[at][1:]))
            for at in instances.top_first(rule)
            if at in given
        }
        self.store.edit(run_changes(self.store, index, parts, former))
        drain(self.showing.iter_paint(index))
        for at, label in plan.labels.items():
            if names[at] is not None:
                self.known[names[at]] = label, parts[label]
        said = run_record(
            SegmentRun(None, (CLICK,) * len(questions)), answer, engine="builtin",
            plane=describe_plane(plane), image=self.record["image"], labels=given,
            rule=rule, skips_known=skip_known, replaced=replaced,
            former=[part.source for part in former.values()],
            run_id=run_id,
        )  # fmt: skip
        self.record = append_run(self.record, said)
        for number, result in enumerate(results):
            self.answers[run_id, number] = result.instances
        return plan

    def take_over(self, index):
        """Take over what was there before, as the keeper does."""
        whole = Box.of_shape(self.store.plane_shape(index))
        plane, painted = index.cut(self.layer.data), self.showing.painted(index)
        found = look(index, painted, plane, whole, is_first=not self.store.knows(index))
        if found is not None:
            taken = take_over(self.store.objects, [found])
            for _ in self.showing.iter_take([found], taken):
                pass

    def rebuilt(self):
        record = check_record(json.loads(json.dumps(self.record, allow_nan=False)))
        return rebuild(record, self.answers, self.base)


def solid(top, left, bottom, right, score=0.9):
    box = Box(top, left, bottom, right)
    return Instance(np.ones(box.shape, bool), box, score)


# --- any sequence of runs ---------------------------------------------------------------


@st.composite
def objects(draw, shape):
    top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
    bottom, right = draw(st.integers(top + 1, shape[0])), draw(st.integers(left + 1, shape[1]))
    box = Box(top, left, bottom, right)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
    mask = rng.random(box.shape) < draw(st.sampled_from([0.4, 0.9, 1.1]))
    mask.flat[0] = True
    score = draw(st.one_of(st.none(), st.sampled_from([0.25, 0.5, 0.75])))
    return Instance(mask, box, score)


@st.composite
def desks(draw):
    shape = draw(st.sampled_from([(9, 13), (3, 7, 11), (2, 3, 6, 8)]))
    base = None
    if draw(st.booleans()):
        rng = np.random.default_rng(draw(st.integers(0, 1 << 16)))
        base = np.where(rng.random(shape) < 0.2, rng.integers(1, 6, shape), 0).astype(np.uint16)
    desk = Desk(shape, base)
    for _ in range(draw(st.integers(1, 5))):
        rows, cols = draw(st.permutations(range(len(shape))))[:2]
        at = [draw(st.integers(0, size - 1)) for size in shape]
        plane = plane_at(shape, (rows, cols), at, draw(st.sampled_from([1, 1, 2])))
        questions = [
            (
                draw(st.sampled_from([None, "a", "b", "c"])),
                draw(st.lists(objects(plane.shape), max_size=3)),
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        rule = draw(st.sampled_from(["score", "smallest", "first"]))
        desk.write(plane, questions, rule, draw(st.booleans()))
    return desk


@examples(100)
@given(desks())
def test_replayed_labels_are_the_written_ones_to_the_last_pixel(desk):
    assert np.array_equal(desk.rebuilt(), desk.layer.data)


@examples(25)
@given(desks())
def test_what_was_there_before_can_be_told_from_the_labels_as_they_are(desk):
    before = without_own(desk.record, desk.layer.data)
    assert np.array_equal(before, np.zeros(desk.shape) if desk.base is None else desk.base)


# --- the rules, one by one --------------------------------------------------------------

FLAT = plane_at((20, 30), (0, 1), (0, 0))


def test_an_object_that_was_refined_leaves_no_trace_of_its_former_shape():
    desk = Desk((20, 30))
    desk.write(FLAT, [("a", [solid(2, 3, 9, 15)]), ("b", [solid(2, 16, 9, 20)])])
    desk.write(FLAT, [("a", [solid(5, 3, 12, 18)])])
    rebuilt = desk.rebuilt()
    assert np.array_equal(rebuilt, desk.layer.data)
    assert rebuilt[2, 3] == 0
    assert rebuilt[11, 17] == rebuilt[6, 4] == desk.record["runs"][0]["questions"][0]["labels"]["0"]


def test_what_was_painted_by_hand_with_a_label_that_is_refined_is_no_part_of_the_record():
    desk = Desk((20, 30))
    desk.write(FLAT, [("a", [solid(2, 3, 9, 15)])])
    desk.layer.data[15, 20] = 1
    desk.write(FLAT, [("a", [solid(2, 3, 5, 6)])])
    assert desk.layer.data[15, 20] == 1
    assert desk.rebuilt()[15, 20] == 0


def test_objects_that_were_known_already_get_no_label():
    desk = Desk((20, 30))
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    written = desk.write(FLAT, [(None, [solid(3, 3, 9, 15), solid(12, 3, 15, 9)])], "score", True)
    assert written.known == 1
    assert np.array_equal(desk.rebuilt(), desk.layer.data)
    assert own_labels(desk.record) == {1, 2}


def test_more_labels_than_sixteen_bits_hold():
    base = np.zeros((20, 30), np.uint16)
    base[0, 0] = 65535
    desk = Desk((20, 30), base)
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    assert desk.rebuilt().max() == 65536


# --- records that do not fit ------------------------------------------------------------


def test_without_an_answer_the_labels_cannot_be_made():
    desk = Desk((20, 30))
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    desk.answers.clear()
    with pytest.raises(ProvenanceError, match="request 1 of a run is missing"):
        desk.rebuilt()


def test_a_plane_that_the_labels_do_not_have_is_refused():
    desk = Desk((20, 30))
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    desk.record["layer"]["shape"] = [30, 20]
    with pytest.raises(ProvenanceError, match="does not fit together"):
        desk.rebuilt()


def test_an_object_refined_from_a_run_that_is_not_on_record_is_refused():
    desk = Desk((20, 30))
    desk.write(FLAT, [("a", [solid(2, 3, 9, 15)])])
    desk.write(FLAT, [("a", [solid(2, 3, 9, 17)])])
    desk.record["runs"] = desk.record["runs"][1:]
    desk.answers = {k: v for k, v in desk.answers.items() if k[0] == desk.record["runs"][0]["id"]}
    with pytest.raises(ProvenanceError, match="from a run before this record"):
        desk.rebuilt()


def test_a_record_that_names_more_objects_than_were_found_is_refused():
    desk = Desk((20, 30))
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    desk.record["runs"][0]["questions"][0]["labels"]["7"] = 9
    with pytest.raises(ProvenanceError, match="more objects than its answers"):
        desk.rebuilt()


def test_labels_that_no_memory_holds_are_refused():
    desk = Desk((20, 30))
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    desk.record["layer"]["shape"] = [1 << 40, 1 << 40]
    with pytest.raises(ProvenanceError, match="too many to make again"):
        desk.rebuilt()
    with pytest.raises(ProvenanceError, match="do not fit in memory"):
        rebuild(desk.record, desk.answers, max_pixels=1 << 81)


def test_a_run_that_found_nothing_takes_no_memory(asked):
    tracemalloc.start()
    try:
        side = 40_000
        [run] = asked["runs"]
        run["questions"][0] |= {"objects": 0, "labels": {}}
        run["plane"]["shape"] = asked["layer"]["shape"] = [side, side]
        rebuild(asked, stored_answers(asked, None).answers)
        # the labels alone, whose pages are never touched
        assert tracemalloc.get_traced_memory()[1] < 2.1 * side**2
    finally:
        tracemalloc.stop()


def test_memory_that_runs_out_while_labels_are_written_is_told_of(desk, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(replay, "_write_run", fail)
    with pytest.raises(ProvenanceError, match="do not fit in memory"):
        desk.rebuilt()


def test_an_answer_about_another_image_is_refused():
    desk = Desk((20, 30))
    desk.write(FLAT, [(None, [solid(2, 3, 9, 15)])])
    desk.answers = dict.fromkeys(desk.answers, Instances((30, 20)))
    with pytest.raises(ProvenanceError, match="belongs to another image"):
        desk.rebuilt()


def test_of_a_chosen_plane_the_labels_are_that_plane_alone():
    labels = np.arange(600).reshape(20, 30)
    plane = {"index": [1, 2, 0, 0], "shown": [2, 3], "shape": [20, 30], "factors": [1.0] * 4}
    np.testing.assert_array_equal(plane_of(labels, {"plane": plane}), labels)
    turned = plane | {"index": [0, 0, 2, 0], "shown": [0, 1], "shape": [20, 30]}
    with pytest.raises(ProvenanceError, match="does not fit together"):
        plane_of(labels, {"plane": turned})


# --- questions that were altered --------------------------------------------------------


@pytest.fixture
def asked():
    """The record of one question, as an engine that keeps its answers was asked it."""
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    run = SegmentRun(
        Picture.from_array(pixels), (ObjectPrompt((Point(3, 4.5),), Box(1, 2, 9, 12)),), 0.5
    )
    answer = drain(iter_accounted(create_engine(), run, open_records(), lambda _: True))
    return json.loads(json.dumps(record_of_file("x.tif", run, answer, engine="builtin")))


def test_a_record_as_it_was_written_has_no_altered_question(asked):
    assert altered_questions(asked) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run["questions"][0]["prompt"]["points"][0].__setitem__(1, 5.0),
        lambda run: run["questions"][0].__setitem__("prompt", {"kind": "object"}),
        lambda run: run["thresholds"].__setitem__("min_score", 0.4),
        lambda run: run["thresholds"].__setitem__("max_masks", 3),
        lambda run: run["engine"].__setitem__("model", "classical-0"),
        lambda run: run["engine"].__setitem__("parameters", {"service": "x"}),
        lambda run: run["picture"].__setitem__("sha256", "0" * 64),
        lambda run: run["plane"].__setitem__("shape", [30, 20]),
    ],
)
def test_an_altered_question_is_seen(asked, change):
    change(asked["runs"][0])
    assert altered_questions(asked) == ((asked["runs"][0]["id"], 0),)


def test_what_cannot_be_computed_again_is_passed_over(asked):
    [run] = asked["runs"]
    run["questions"][0]["prompt"]["points"][0][1] = 5.0
    for place, name in (
        (run["questions"][0], "question_sha256"),
        (run["picture"], "sha256"),
        (run["engine"], "model"),
    ):
        kept, place[name] = place[name], None
        assert altered_questions(asked) == ()
        place[name] = kept


# --- from the cache ---------------------------------------------------------------------


class FakeCache:
    """Holds answers by key; some cannot be read."""

    def __init__(self, desk):
        keys = [
            (question["question_sha256"], desk.answers[run["id"], index])
            for run in desk.record["runs"]
            for index, question in enumerate(run["questions"])
        ]
        self.held = {key: SegmentationResult(answer) for key, answer in keys}
        self.superseded = {}

    def get_recorded(self, key, answer_sha256):
        found = self.superseded.get((key, answer_sha256), self.held.get(key))
        if isinstance(found, Exception):
            raise found
        return None if found is None else StoredAnswer(found, {})


@pytest.fixture
def desk():
    desk = Desk((20, 30))
    desk.write(FLAT, [("a", [solid(2, 3, 9, 15)]), ("b", [solid(11, 3, 15, 8)]), ("c", [])])
    return desk


def test_stored_answers_are_found_and_empty_ones_need_no_looking_up(desk):
    cache = FakeCache(desk)
    cache.held.pop(desk.record["runs"][0]["questions"][2]["question_sha256"])
    stored = stored_answers(desk.record, cache)
    assert stored.missing == ()
    assert np.array_equal(rebuild(desk.record, stored.answers), desk.layer.data)


def test_an_answer_that_was_replaced_by_a_newer_one_is_found_if_it_is_kept(desk):
    cache = FakeCache(desk)
    [run] = desk.record["runs"]
    key = run["questions"][1]["question_sha256"]
    other = Instances((20, 30), (solid(11, 3, 15, 9),))
    former = cache.held[key]
    cache.held[key] = replace(former, instances=other)
    assert stored_answers(desk.record, cache).missing == ((run["id"], 1),)
    cache.superseded[key, run["questions"][1]["answer_sha256"]] = former
    stored = stored_answers(desk.record, cache)
    assert stored.missing == ()
    assert np.array_equal(rebuild(desk.record, stored.answers), desk.layer.data)


def test_an_answer_that_cannot_be_read_is_told_of_and_counts_as_missing(desk):
    cache = FakeCache(desk)
    cache.held[desk.record["runs"][0]["questions"][0]["question_sha256"]] = CacheError("Cut off.")
    stored = stored_answers(desk.record, cache)
    assert len(stored.missing) == 1
    assert stored.notices == ("Cut off.",)


def test_without_a_cache_all_that_found_something_is_missing(desk):
    assert len(stored_answers(desk.record, None).missing) == 2
