from __future__ import annotations

from importlib.metadata import metadata

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines.base import AnswerRecord, SegmentationResult
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.cite import ACKNOWLEDGEMENT, PACKAGES, SAM3_PAPER, cite
from napari_sam3.workflows.provenance import append_run, new_record, record_of_file, run_record
from napari_sam3.workflows.segment import ArrayPicture, SegmentAnswer, SegmentRun

SHAPE = (20, 30)
DAY = 86_400


def record_of(*prompts, engine="segmind", min_score=0.5, max_masks=0, day=0):
    picture = ArrayPicture(np.zeros(SHAPE, np.uint8))
    item = Instance(np.ones((2, 3), bool), Box(1, 2, 3, 5))
    record = AnswerRecord("a" * 64, "b" * 64, "c" * 64, engine, "m-1", {}, 1.7e9 + day * DAY)
    results = tuple(SegmentationResult(Instances(SHAPE, (item,)), record=record) for _ in prompts)
    answer = SegmentAnswer(results, SHAPE, picture=picture.describe())
    run = SegmentRun(picture, prompts, min_score, max_masks)
    labels = answer.instances.to_labels()
    return record_of_file("cells.tif", run, answer, engine=engine, labels=labels)


def test_the_methods_say_who_was_asked_what_and_when():
    prompt = ConceptPrompt("nucleus", (Exemplar(Box(1, 2, 3, 5)), Exemplar(Box(4, 5, 9, 9), False)))
    said = cite(record_of(prompt, max_masks=7)).methods
    for words in (
        "“cells.tif”",
        "napari-sam3 ",
        "numpy ",
        "“Segmind SAM3” (segmind, model m-1)",
        "on 2023-11-14",
        "all instances of “nucleus” (1 positive example and 1 negative example)",
        "score of at least 0.5",
        "At most 7 objects",
        "1 object was labelled",
        "the one with the higher score",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([ConceptPrompt("", (Exemplar(Box(1, 2, 3, 5)),))], "like the examples (1 positive exam"),
        ([ObjectPrompt(box=Box(1, 2, 3, 5))], "single objects (1 question, by 1 box)"),
        (
            [ObjectPrompt((Point(1, 2), Point(3, 4, False))), ObjectPrompt((Point(1, 9),))],
            "single objects (2 questions, by 2 positive clicks and 1 negative click)",
        ),
        ([Everything(8, 0.5)], "everything (8 points per side, predicted IoU of at least 0.5)"),
        ([CombinedPrompt("cell", (), (Point(1, 2),))], "of “cell” (1 positive click)"),
    ],
)
def test_prompts_are_told_in_words(prompts, words):
    assert words in cite(record_of(*prompts)).methods


def test_no_threshold_is_told_where_there_was_none():
    assert "score of at least" not in cite(record_of(Everything(), min_score=0.0)).methods


def test_several_runs_are_told_together():
    first = record_of(Everything(), engine="builtin")
    second = record_of(Everything(), day=3)["runs"][0]
    said = cite(append_run(first, {**second, "image": {"name": "other.tif"}}))
    assert "“cells.tif” and “other.tif”" in said.methods
    assert "between 2023-11-14 and 2023-11-17" in said.methods
    assert "“Built-in”" in said.methods
    assert said.references[0] == SAM3_PAPER


def test_the_model_and_its_licence_are_named_only_where_it_was_used():
    assert cite(record_of(Everything())).acknowledgements == (ACKNOWLEDGEMENT,)
    builtin = cite(record_of(Everything(), engine="builtin"))
    assert builtin.acknowledgements == ()
    assert SAM3_PAPER not in builtin.references
    assert PACKAGES["scikit-image"] in builtin.references
    assert "SAM License" not in str(builtin)


def test_napari_is_cited_where_it_ran():
    record = record_of(Everything())
    record["software"]["napari"] = "0.9.2"
    assert PACKAGES["napari"] in cite(record).references
    del record["software"]["napari"]
    assert PACKAGES["napari"] not in cite(record).references


@pytest.mark.parametrize(("name", "words"), [("napari", "3555620"), ("scikit-image", "peerj.453")])
def test_packages_are_cited_as_they_ask_for_it(name, words):
    own = metadata(name)
    description = own.get_payload() or own["Description"]
    assert words in description
    assert words in PACKAGES[name]


def test_a_record_without_a_run_gives_nothing_to_cite():
    with pytest.raises(ProvenanceError, match="no run"):
        cite(new_record({"name": "x"}, {"shape": [2, 3]}))


def test_a_run_without_a_question_is_no_reason_to_fail():
    picture = ArrayPicture(np.zeros(SHAPE, np.uint8))
    answer = SegmentAnswer((), SHAPE, picture=picture.describe())
    plane = {"index": [0, 0], "shown": [0, 1], "shape": [20, 30], "level": 0, "factors": [1, 1]}
    run = run_record(
        SegmentRun(picture, ()), answer, engine="gone", plane=plane, image={"name": "x"}, labels={}
    )
    said = cite(append_run(new_record({"name": "x"}, {"shape": [20, 30]}), run))
    assert "No object was labelled" in said.methods
