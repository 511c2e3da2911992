"""Records tell all that matters, in JSON's own types, and no key and no path."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import napari_sam3
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Picture
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines.base import AnswerRecord, SegmentationResult, Usage
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows import provenance
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import (
    append_run,
    bare_name,
    check_record,
    image_of,
    is_record,
    new_record,
    prompts_of,
    record_of_file,
    run_record,
    was_answered,
)
from napari_sam3.workflows.record_shape import published_schema
from napari_sam3.workflows.replay import plane_of
from napari_sam3.workflows.run import SegmentRun

SHAPE = (20, 30)
PROMPTS = (
    ConceptPrompt("nucleus", (Exemplar(Box(1, 2, 3, 5)), Exemplar(Box(4, 5, 9, 9), False))),
    ObjectPrompt((Point(3, 4.5), Point(np.float32(7), 8, False)), Box(1, 2, 9, 12)),
    Everything(8, 0.5),
    CombinedPrompt("cell", (), (Point(1, 2),)),
)
PLANE = {
    "index": [0, 3, 0],
    "shown": [2, 0],
    "shape": list(SHAPE),
    "level": 1,
    "factors": [2.0, 2.0, 2.0],
    "world": [0.0, 6.0, 1.5, 0.0],
}
IMAGE = {"name": "cells", "shape": [60, 40, 40]}
LAYER = {
    "shape": [30, 20, 20],
    "scale": [1.0, 1.0, 1.0],
    "affine": np.eye(4).tolist(),
    "units": ["pixel"] * 3,
}


def result_of(count=1, **usage):
    items = tuple(
        Instance(np.ones((2, 3), bool), Box(i, 2 * i, i + 2, 2 * i + 3), 0.5) for i in range(count)
    )
    record = AnswerRecord(
        "a" * 64, "b" * 64, "c" * 64, "segmind", "sam3-image", {"max_side": 2048}, 1.7e9
    )
    return SegmentationResult(Instances(SHAPE, items), Usage(**usage), record=record)


def run_of(prompts=PROMPTS, results=None, unanswered=0, **kwargs):
    results = results or tuple(result_of() for _ in prompts)
    picture = Picture.from_array(np.arange(600, dtype=np.uint16).reshape(SHAPE))
    answer = SegmentAnswer(results, SHAPE, 1.5, 0, picture.describe(), unanswered)
    run = SegmentRun(picture, prompts, np.float32(0.5), np.int64(9))
    options = {"engine": "segmind", "plane": PLANE, "image": IMAGE, "labels": {0: 4, 2: 5}}
    return run_record(run, answer, **(options | kwargs))


def record_of(**kwargs):
    return append_run(new_record(IMAGE, LAYER), run_of(**kwargs))


def strict(schema):
    """The schema, but with every property that it does not name forbidden."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    walked = {name: strict(item) for name, item in schema.items()}
    if "properties" in walked:
        walked["additionalProperties"] = False
    return walked


# --- the schema -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        record_of(),
        record_of(results=tuple(result_of(3, credits=0.01, cached=True) for _ in PROMPTS)),
        record_of(notices=("Slow.",), replaced={0: 4}, former=[("x", 0, 1)], skips_known=True),
        new_record(IMAGE, LAYER, "labels"),
    ],
)
def test_all_that_is_written_is_in_the_schema(record):
    there_and_back = json.loads(json.dumps(record, allow_nan=False))
    assert there_and_back == record
    assert check_record(record) is record
    jsonschema.Draft202012Validator(strict(json.loads(published_schema()))).validate(record)


def test_a_later_minor_version_with_more_in_it_can_be_read():
    record = record_of()
    for place in (record, record["image"], record["runs"][0], record["runs"][0]["questions"][0]):
        place["later"] = {"anything": 1}
    check_record(record)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("runs",), None),
        (("began",), "perhaps"),
        (("layer", "shape"), [1.5]),
        (("runs", 0, "overlap_rule"), "best"),
        (("runs", 0, "picture"), {"kind": "gray", "sha256": None}),
        (("runs", 0, "plane", "shown"), [0]),
        (("runs", 0, "questions", 0, "question_sha256"), "../../etc"),
        (("runs", 0, "questions", 0, "labels"), {"a": 1}),
        (("runs", 0, "questions", 0, "labels"), {"0": 0}),
        (("runs", 0, "questions", 1, "prompt", "points", 1, 0), "7"),
        (("runs", 0, "questions", 1, "prompt", "points", 1), [7.0, 8.0]),
        (("runs", 0, "questions", 1, "prompt", "box"), [9, 2, 1, 12]),
        (("runs", 0, "crop"), [0, 0, 0, 5]),
    ],
)
def test_a_mangled_record_is_refused_with_a_sentence_that_names_the_place(place, value):
    record = copy.deepcopy(record_of())
    *way, last = place
    inner = record
    for step in way:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(ProvenanceError, match="It cannot be read: at ") as error:
        check_record(record, "It")
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    assert f"It cannot be read: at {path[1:]}" in str(error.value)


def test_a_record_of_many_runs_is_checked_at_once():
    record = record_of()
    record["runs"] = [{**record["runs"][0], "id": str(number)} for number in range(2000)]
    began = time.perf_counter()
    check_record(record)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("value", [None, [], "text", {}, {"runs": []}])
def test_what_is_no_record_at_all_is_refused(value):
    with pytest.raises(ProvenanceError, match="is no record"):
        check_record(value)
    assert not is_record(value)


def test_a_record_from_the_future_names_the_remedy():
    record = record_of() | {"schema": 2}
    with pytest.raises(ProvenanceError, match=r"later version.*pip install --upgrade"):
        check_record(record)
    assert not is_record(record)


# --- what a record says -----------------------------------------------------------------


def test_every_question_says_what_was_asked_and_what_became_of_it():
    results = (result_of(2), result_of(1), result_of(0), result_of(1, request_id="r-1", seconds=2))
    run = run_of(results=results, labels={1: 7, 2: 8}, replaced={2: 8})
    said = run["questions"]
    assert [q["objects"] for q in said] == [2, 1, 0, 1]
    assert [q["labels"] for q in said] == [{"1": 7}, {"0": 8}, {}, {}]
    assert [q["replaced"] for q in said] == [{}, {"0": 8}, {}, {}]
    assert said[3]["request_id"] == "r-1"
    assert said[0]["answered_at"] == "2023-11-14T22:13:20Z"
    assert run["engine"] == {
        "name": "segmind", "title": "Segmind SAM3", "model": "sam3-image",
        "parameters": {"max_side": 2048},
    }  # fmt: skip
    assert run["picture"]["contrast_limits"] == [1.0, 598.0]
    assert run["picture"]["sha256"] == "b" * 64
    assert run["thresholds"] == {"min_score": 0.5, "max_masks": 9}


def test_prompts_can_be_had_back():
    assert prompts_of(json.loads(json.dumps(run_of()))) == PROMPTS


def test_a_prompt_that_cannot_be_had_back_is_refused():
    run = run_of()
    run["questions"][0]["prompt"] = {"kind": "object", "points": [], "box": None}
    with pytest.raises(ProvenanceError, match="cannot be sent again"):
        prompts_of(run)


def test_what_came_from_the_cache_costs_nothing_again():
    results = (result_of(credits=0.005), result_of(credits=0.006, cached=True))
    assert run_of(PROMPTS[:2], results)["cost"] == 0.005
    assert run_of(PROMPTS[:1], (result_of(),))["cost"] is None


def test_a_run_that_was_all_stored_cost_nothing_and_not_nobody_knows_what():
    stored = run_of(PROMPTS[:2], (result_of(credits=0.0, cached=True),) * 2)
    assert stored["cost"] == 0.0
    assert stored["currency"] == "USD"
    free = run_of(PROMPTS[:1], (result_of(cached=True),))
    assert free["cost"] is None
    assert "currency" not in free
    unknown = run_of(PROMPTS[:2], (result_of(credits=0.0, cached=True), result_of()))
    assert unknown["cost"] is None


def test_costs_are_rounded():
    run = run_of(PROMPTS[:3], (result_of(credits=0.1 + 0.2),) * 3)
    assert run["questions"][0]["cost"] == 0.3
    assert run["cost"] == 0.9


def test_questions_without_an_answer_are_told_apart_from_those_that_found_nothing():
    lost = SegmentationResult(Instances(SHAPE), notices=("Only 1 of 2.",))
    run = run_of(PROMPTS[:2], (result_of(0), lost), unanswered=1)
    assert [q["answered"] for q in run["questions"]] == [True, False]
    bare = run_of(PROMPTS[:2], (result_of(1), lost))
    assert [q["answered"] for q in bare["questions"]] == [True, True]
    assert [was_answered(q) for q in ({}, *run["questions"])] == [True, True, False]


def test_an_answer_that_was_not_accounted_for_is_on_record_without_a_key():
    bare = tuple(replace(result_of(), record=None) for _ in PROMPTS)
    record = record_of(results=bare)
    check_record(record)
    assert record["runs"][0]["questions"][0]["question_sha256"] is None


def test_a_picture_that_nobody_described_is_no_reason_to_lose_the_record():
    answer = SegmentAnswer((result_of(),), SHAPE)
    run = run_record(
        SegmentRun(None, PROMPTS[:1]), answer, engine="x", plane=PLANE, image=IMAGE, labels={}
    )
    check_record(append_run(new_record(IMAGE, LAYER), run))


def test_numbers_that_are_none_become_null():
    run = run_of(PROMPTS[:1], (result_of(seconds=float("nan"), credits=np.float64("inf")),))
    assert run["questions"][0]["seconds"] is run["questions"][0]["cost"] is None


def test_versions_are_told():
    said = new_record(IMAGE, LAYER)["software"]
    assert said["napari-sam3"] == napari_sam3.__version__
    assert {"numpy", "scipy", "scikit-image", "python"} <= set(said)


def test_a_run_repeats_nothing_that_the_record_says(monkeypatch):
    record = record_of()
    assert "image" not in record["runs"][0]
    assert image_of(record, record["runs"][0]) == IMAGE
    other = append_run(record, run_of(image={"name": "other", "shape": [60, 40, 40]}))
    assert image_of(other, other["runs"][1])["name"] == "other"
    monkeypatch.setattr(provenance, "software", lambda: {"napari-sam3": "9"})
    updated = append_run(other, run_of())
    assert updated["runs"][2]["software"] == {"napari-sam3": "9"}
    assert len(record["runs"]) == 1


def test_one_run_on_a_file_is_a_record():
    picture = Picture.from_array(np.zeros(SHAPE, np.uint8))
    answer = SegmentAnswer((result_of(2),), SHAPE, picture=picture.describe())
    labels = answer.instances.to_labels()
    labels[labels == 1] = 0
    run = SegmentRun(picture, PROMPTS[:1])
    record = record_of_file(
        "a/cells.tif", run, answer, engine="builtin", plane=(1, 2), labels=labels
    )
    check_record(record)
    assert record["image"] == {"name": "cells.tif", "shape": [20, 30], "plane": [1, 2]}
    assert record["runs"][0]["questions"][0]["labels"] == {"1": 2}
    plane = record["runs"][0]["plane"]
    assert (plane["index"], plane["shown"]) == ([1, 2, 0, 0], [2, 3])
    assert plane_of(labels, record["runs"][0]).shape == SHAPE


# --- what it keeps to itself ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("/data/patients/cells.tif", "cells.tif"),
        ("C:\\data\\cells.tif", "cells.tif"),
        ("~/cells", "cells"),
        ("nuclei, green", "nuclei, green"),
        ("folder/", "folder"),
        ("", ""),
    ],
)
def test_of_a_path_only_the_last_part_is_kept(name, bare):
    assert bare_name(name) == bare
    assert new_record({"name": name}, LAYER)["image"]["name"] == bare


@pytest.mark.parametrize(
    "sentence",
    [
        "The result could not be stored in /data/ann/cache: disk full.",
        "“~/cells.tif” is read-only.",
        "Kept in D:\\data\\ann\\x.",
        "(file:///data/x)",
        "On \\\\server\\share.",
    ],
)
def test_a_notice_that_names_a_folder_is_left_out(sentence):
    text = json.dumps(record_of(notices=("Clipped.", sentence)))
    assert "ann" not in text
    assert "Clipped." in text
    assert "left out" in text


@pytest.mark.parametrize(
    "sentence", ["A box and/or a point.", "See https://napari.org/x.", "1 / 2"]
)
def test_other_notices_stay(sentence):
    assert record_of(notices=(sentence,))["runs"][0]["notices"] == [sentence]


def test_neither_the_key_nor_a_folder_is_on_record(monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_0123456789abcdef")
    text = json.dumps(record_of(image={**IMAGE, "name": str(Path.home() / "cells.tif")}))
    assert "SG_0123456789abcdef" not in text
    assert str(Path.home()) not in text
