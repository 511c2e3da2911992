from __future__ import annotations

from importlib.metadata import metadata

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.pictures import Picture
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View
from napari_sam3.engines.base import AnswerRecord, SegmentationResult
from napari_sam3.engines.segmind.results import SPLIT_NOTICE
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.cite import ACKNOWLEDGEMENT, PACKAGES, RULE_WORDS, SAM3_PAPER, cite
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.provenance import append_run, new_record, record_of_file, run_record
from napari_sam3.workflows.run import SegmentRun
from napari_sam3.workflows.sidecars import labels_digest

SHAPE = (20, 30)
DAY = 86_400


OUTLINE = ((1, 1), (1, 9), (7, 5))


def record_of(
    *prompts,
    engine="segmind",
    min_score=0.5,
    max_masks=0,
    day=0,
    name="cells.tif",
    plane=None,
    found=True,
    unanswered=0,
    notices=(),
    shape=SHAPE,
    **parameters,
):
    """A record of one run; the last of its questions may have got no answer."""
    picture = Picture.from_array(np.zeros(SHAPE, np.uint8), (20, 900))
    item = Instance(np.ones((2, 3), bool), Box(1, 2, 3, 5))
    said = {"service": "api.segmind.com"} if engine == "segmind" else {}
    record = AnswerRecord(
        "a" * 64, "b" * 64, "c" * 64, engine, "m-1", said | parameters, 1.7e9 + day * DAY
    )
    one = SegmentationResult(
        Instances(shape, (item,) if found else ()), record=record, notices=notices
    )
    none = SegmentationResult(Instances(shape))
    answered = len(prompts) - unanswered
    results = (*[one] * answered, *[none] * unanswered)
    answer = SegmentAnswer(results, shape, picture=picture.describe(), unanswered=unanswered)
    run = SegmentRun(picture, prompts, min_score, max_masks)
    labels = answer.instances.to_labels()
    return record_of_file(name, run, answer, engine=engine, plane=plane, labels=labels)


def both(first, second):
    """A record with the runs of two."""
    return append_run(first, {**second["runs"][0], "image": second["image"]})


def test_the_methods_say_who_was_asked_what_and_when():
    prompt = ConceptPrompt("nucleus", (Exemplar(Box(1, 2, 3, 5)), Exemplar(Box(4, 5, 9, 9), False)))
    said = cite(record_of(prompt, max_masks=7)).methods
    for words in (
        "“cells.tif”",
        "napari-sam3 ",
        "numpy ",
        "hosted service “Segmind SAM3” (segmind, model m-1, at api.segmind.com)",
        "on 2023-11-14",
        "all instances of “nucleus” (1 positive example and 1 negative example)",
        "values from 20 (black) to 900 (white)",
        "score of at least 0.5",
        "At most 7 objects",
        "1 object was labelled.",
    ):
        assert words in said


def test_questions_that_were_never_sent_are_not_cited():
    clicks = [ObjectPrompt((Point(1, col),)) for col in range(20)]
    said = cite(record_of(*clicks, unanswered=12)).methods
    assert "single objects (8 requests, by 8 positive clicks)" in said
    assert "12 of 20 requests were not answered" in said
    none = cite(record_of(*clicks[:2], unanswered=2))
    assert "asked for" not in none.methods
    assert "2 of 2 requests were not answered. No object was labelled." in none.methods
    assert SAM3_PAPER not in none.references


def test_a_record_that_does_not_say_what_was_answered_is_cited_whole():
    record = record_of(Everything())
    del record["runs"][0]["questions"][0]["answered"]
    assert "asked for everything" in cite(record).methods


@pytest.mark.parametrize("service", ["127.0.0.1:8765", "localhost:1", "[::1]:99"])
def test_a_stand_in_is_never_called_sam3(service):
    said = cite(record_of(Everything(), service=service))
    assert f"a stand-in for the hosted service on this computer ({service})" in said.methods
    assert str(said).startswith("Not for publication")
    assert "must not be published" in str(said)
    assert "Segmind SAM3" not in str(said)
    assert "arXiv" not in str(said)
    assert said.acknowledgements == ()


def test_another_service_than_the_vendor_s_is_told_of():
    said = cite(record_of(Everything(), service="sam.lab.example"))
    assert "not at its vendor's own address api.segmind.com" in said.methods
    assert "the service at sam.lab.example" in said.methods
    assert SAM3_PAPER not in said.references
    assert said.warnings == ()


class TestHandEdits:
    LABELS = np.pad(np.ones((2, 3), np.uint16), ((1, 17), (2, 25)))

    def saved(self, labels):
        record = record_of(Everything())
        return record | {"labels": {"file": "x.tif", "sha256": labels_digest(labels)}}

    def test_labels_as_they_were_saved_are_not_called_edited(self):
        said = cite(self.saved(self.LABELS), self.LABELS).methods
        assert "edited" not in said
        assert "1 object was labelled." in said

    def test_labels_that_were_changed_in_the_file_are_counted_as_they_are(self):
        labels = self.LABELS.copy()
        labels[10:12, 3:9] = 5
        labels[15:17, 3:9] = 7
        said = cite(self.saved(self.LABELS), labels).methods
        assert "afterwards edited by hand" in said
        assert "3 objects were labelled" in said

    @pytest.mark.parametrize("value", [0, 4])
    def test_labels_that_were_changed_before_they_were_saved_are_seen(self, value):
        labels = np.where(self.LABELS, value, 0)
        said = cite(self.saved(labels), labels).methods
        assert "afterwards edited by hand" in said
        assert "then 1 object" in said if value else "then no object" in said

    def test_an_object_that_was_refined_until_nothing_of_it_showed_is_no_edit(self):
        labels = np.zeros(SHAPE, np.uint16)
        second = record_of(Everything())
        second["runs"][0]["questions"][0] |= {"labels": {}, "replaced": {"0": 1}}
        record = both(self.saved(labels), second)
        said = cite(record, labels).methods
        assert "edited" not in said
        assert "No object was labelled" in said

    def test_labels_from_before_the_first_run_are_counted_apart(self):
        labels = self.LABELS.copy()
        labels[10:12, 3:9] = 5
        said = cite(self.saved(labels) | {"began": "labels"}, labels).methods
        assert "edited" not in said
        assert "1 object was labelled, beside 1 that had been labelled before" in said

    def test_an_answer_that_was_asked_for_by_nobody_knows_who_is_not_called_edited(self):
        record = self.saved(self.LABELS)
        record["runs"][0]["questions"] = []
        said = cite(record, self.LABELS).methods
        assert "edited" not in said
        assert "1 object was labelled" in said


class TestWhatMadeThePicture:
    def test_the_plane_of_a_stack_is_told(self):
        said = cite(record_of(Everything(), plane=(1, 2))).methods
        assert "plane 1, 2 of “cells.tif” (counted from 0)" in said
        record = record_of(Everything())
        record["runs"][0]["plane"] |= {"index": [0, 7, 0], "shown": [0, 2], "level": 2}
        assert "plane 7 at resolution level 2 of “cells.tif”" in cite(record).methods
        assert "plane" not in cite(record_of(Everything())).methods

    def test_inversion_and_gamma_are_told(self):
        record = record_of(Everything())
        record["runs"][0]["picture"] |= {"inverted": True, "gamma": 0.7}
        said = cite(record).methods
        assert "values from 20 (white) to 900 (black, inverted) with a gamma of 0.7" in said

    def test_channels_are_told_with_their_limits(self):
        record = record_of(Everything())
        layer = {"kind": "gray", "name": "DAPI", "contrast_limits": [1.0, 2.5], "gamma": 1}
        record["runs"][0]["picture"] = {"kind": "composed", "sha256": None, "layers": [layer]}
        assert "channels at once: “DAPI” (values from 1 (black) to 2.5 (white))" in str(
            cite(record)
        )

    def test_many_ways_to_show_an_image_are_not_listed(self):
        record = record_of(Everything())
        for number in range(5):
            other = record_of(Everything())
            other["runs"][0]["picture"]["contrast_limits"] = [0, number + 1]
            record = both(record, other)
        assert "several ways, which are on record" in cite(record).methods

    def test_a_picture_that_was_shrunk_or_squeezed_is_told_of(self):
        said = cite(record_of(Everything(), shape=(40, 100), max_side=64)).methods
        assert "Pictures of 40 × 100 pixels were shrunk to at most 64 pixels a side" in said
        assert "shrunk" not in cite(record_of(Everything(), max_side=64)).methods
        assert "sent as JPEG" in cite(record_of(Everything(), image_format="jpeg")).methods


class TestWhatWasAnswered:
    def test_one_mask_and_separate_masks_are_told_apart(self):
        split = cite(record_of(Everything(), answer="mask", notices=(SPLIT_NOTICE,))).methods
        assert "objects that touch are one" in split
        separate = cite(record_of(Everything(), answer="separate masks")).methods
        assert "a separate mask for each object" in separate
        assert "touch" not in separate

    def test_a_picture_for_the_eye_has_a_sentence_of_its_own(self):
        said = cite(record_of(Everything(), answer="overlay", found=False)).methods
        assert "were marked in a picture for the eye" in said
        assert "of which no labels are made" in said
        assert "labelled" not in said

    def test_a_picture_beside_labels_is_not_said_to_have_added_none(self):
        drawn = record_of(Everything(), answer="overlay", found=False)
        said = cite(both(record_of(ConceptPrompt("cell")), drawn)).methods
        assert "1 further request gave an overlay picture only." in said
        assert "everything" not in said

    def test_each_of_several_engines_is_told_with_what_it_was_asked(self):
        builtin = record_of(Everything(), engine="builtin")
        said = cite(both(builtin, record_of(ConceptPrompt("cell")))).methods
        assert "“Built-in” was asked for everything" in said
        assert "“Segmind SAM3” was asked for all instances of “cell”" in said

    def test_a_run_that_added_no_label_made_nothing(self):
        idle = record_of(ConceptPrompt("cell"))
        idle["runs"][0]["questions"][0]["labels"] = {}
        said = cite(both(record_of(Everything(), engine="builtin"), idle))
        assert "1 further request added no object that was not labelled already" in said.methods
        assert "“cell”" not in said.methods
        assert "Segmind" not in str(said)
        assert SAM3_PAPER not in said.references

    def test_the_rule_for_overlaps_is_told_as_a_rule(self):
        two = record_of(Everything())
        two["runs"][0]["questions"][0]["labels"] = {"0": 1, "1": 2}
        said = cite(two).methods
        assert "2 objects were labelled; where objects overlapped, the one with the highest" in said
        assert "overlapped" not in cite(record_of(Everything())).methods
        two["runs"][0]["notices"] = [SPLIT_NOTICE]
        assert "overlapped" not in cite(two).methods


def test_an_image_without_a_name_is_not_quoted():
    said = cite(record_of(Everything(), name="", plane=(3,))).methods
    assert said.startswith("Objects were segmented on 2023-11-14 with napari-sam3 ")
    assert "Segmented was plane 3 (counted from 0)." in said
    assert "“”" not in said


def seen_thick(record, **picture):
    """The record with its run as one of a stack, its picture as told."""
    (run,) = record["runs"]
    plane = run["plane"] | {"index": [6, 0, 0], "shown": [1, 2], "factors": [1.0] * 3}
    image = {"name": "stack.tif", "shape": [9, *SHAPE]}
    changed = run | {"plane": plane, "picture": run["picture"] | picture}
    return record | {"image": image, "runs": [changed]}


def test_a_projection_is_told_with_its_planes():
    slab = {"projection": "max", "ranges": [[3, 10]]}
    said = cite(seen_thick(record_of(Everything()), slab=slab)).methods
    assert "Segmented was the maximum of planes 3–9 of “stack.tif” (counted from 0)." in said
    said = cite(seen_thick(record_of(Everything()))).methods
    assert "Segmented was plane 6 of “stack.tif” (counted from 0)." in said


def test_each_channel_tells_its_own_projection():
    look = {"kind": "gray", "contrast_limits": [0, 9], "gamma": 1, "inverted": False}
    layers = [
        look | {"name": "a", "slab": {"projection": "max", "ranges": [[3, 10]]}},
        look | {"name": "b", "slab": {"projection": "mean", "ranges": [[3, 10]]}},
    ]
    said = cite(seen_thick(record_of(Everything()), kind="composed", layers=layers)).methods
    assert "Segmented was the maximum of planes 3–9 and the mean of planes 3–9 of" in said
    assert "“a” (the maximum of planes 3–9, values from 0 (black) to 9 (white))" in said


def test_a_record_that_names_no_versions_is_cited():
    record = record_of(Everything()) | {"software": {}}
    for run in record["runs"]:
        run.pop("software", None)
    assert " with napari-sam3 using " in cite(record).methods


def test_the_plugin_itself_is_a_reference():
    record = record_of(Everything())
    own = f"napari-sam3, version {record['software']['napari-sam3']} (software)."
    assert own in cite(record).references


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([ConceptPrompt("", (Exemplar(Box(1, 2, 3, 5)),))], "like the examples (1 positive exam"),
        ([ObjectPrompt(box=Box(1, 2, 3, 5))], "single objects (1 request, by 1 box)"),
        (
            [ObjectPrompt((Point(1, 2), Point(3, 4, False))), ObjectPrompt((Point(1, 9),))],
            "single objects (2 requests, by 2 positive clicks and 1 negative click)",
        ),
        ([Everything(8, 0.5)], "everything (8 points per side, predicted IoU of at least 0.5)"),
        ([CombinedPrompt("cell", (), (Point(1, 2),))], "of “cell” (1 positive click)"),
    ],
)
def test_prompts_are_told_in_words(prompts, words):
    assert words in cite(record_of(*prompts)).methods


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([Everything(8, 0.5)], "asked for everything."),
        ([Everything(diameter=12.5)], "asked for everything (objects about 12.5 pixels wide)."),
        ([ConceptPrompt("round cells")], "all objects that fit “round cells” by size, shape and"),
        (
            [ObjectPrompt((Point(1, 2),), proposal="small"), ObjectPrompt(outline=OUTLINE)],
            "(2 requests, by 1 positive click, 1 outline and 1 chosen proposal)",
        ),
    ],
)
def test_what_the_built_in_engine_does_not_heed_is_not_told(prompts, words):
    assert words in cite(record_of(*prompts, engine="builtin")).methods


def test_an_engine_of_another_version_is_told_with_all_that_was_asked():
    said = cite(record_of(Everything(8, 0.5), engine="later")).methods
    assert "8 points per side" in said


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
    picture = Picture.from_array(np.zeros(SHAPE, np.uint8))
    answer = SegmentAnswer((), SHAPE, picture=picture.describe())
    plane = {"index": [0, 0], "shown": [0, 1], "shape": [20, 30], "level": 0, "factors": [1, 1]}
    run = run_record(
        SegmentRun(picture, ()), answer, engine="gone", plane=plane, image={"name": "x"}, labels={}
    )
    said = cite(append_run(new_record({"name": "x"}, {"shape": [20, 30]}), run))
    assert "No object was labelled" in said.methods


def reviewed_record(view, *states):
    """Return the record of three objects, the second of which the first one hides."""
    boxes = Box(1, 2, 9, 14), Box(3, 4, 5, 7), Box(12, 2, 18, 9)
    items = tuple(
        Instance(np.ones(box.shape, bool), box, score)
        for box, score in zip(boxes, (0.9, 0.6, 0.8), strict=True)
    )
    run = SegmentRun(Picture.from_array(np.zeros(SHAPE, np.uint8)), (Everything(),))
    answer = SegmentAnswer((SegmentationResult(Instances(SHAPE, items)),), SHAPE)
    labels = answer.instances.to_labels()
    record = record_of_file("cells.tif", run, answer, engine="builtin", labels=labels)
    run_id = record["runs"][0]["id"]
    whole = PlaneIndex()
    store = ObjectStore(
        SHAPE,
        (
            LabelledObject(n, {whole: Part(item, "Built-in", (run_id, 0, n - 1))}, state, n)
            for n, (item, state) in enumerate(zip(items, states, strict=True), start=1)
        ),
        view,
    )
    shown = store.view_of(whole).paint(Box.of_shape(SHAPE), np.uint16)
    return with_objects(record, store), shown


def test_an_object_that_was_decided_on_over_many_planes_counts_once():
    record, _ = reviewed_record(View(), *["unreviewed"] * 3)
    record["layer"] = {"shape": [5, *SHAPE]}
    item = Instance(np.ones((3, 4), bool), Box(1, 2, 4, 6))
    objects = [
        LabelledObject(n, {PlaneIndex((1, 2), (z,)): Part(item) for z in range(5)}, state)
        for n, state in ((1, "accepted"), (2, "rejected"))
    ]
    methods = cite(with_objects(record, ObjectStore((5, *SHAPE), objects))).methods
    assert "reviewed by hand: of 2, 1 accepted and 1 rejected." in methods


def test_a_review_is_told_and_is_no_edit_that_nobody_can_account_for():
    record, labels = reviewed_record(View(), "rejected", "accepted", "edited")
    methods = cite(record, labels).methods
    assert "reviewed by hand: of 3, 1 accepted, 1 rejected and 1 corrected." in methods
    assert "2 objects were labelled" in methods
    assert "edited by hand" not in methods


def test_filters_are_told_as_what_was_kept():
    view = View(min_score=0.7, min_area=10, without_border=True, max_iom=0.5)
    record, labels = reviewed_record(view, *["unreviewed"] * 3)
    methods = cite(record, labels).methods
    assert (
        "a score of at least 0.7, at least 10 pixels, no contact with the image border" in methods
    )
    assert "0.5 of the smaller one" in methods
    assert "2 objects were labelled" in methods
    assert "reviewed" not in methods


def test_without_a_review_nothing_is_said_of_it():
    record, labels = reviewed_record(View(), *["unreviewed"] * 3)
    assert "reviewed" not in cite(record, labels).methods
    assert "edited" not in cite(record, labels).methods


@pytest.mark.parametrize("rule", ["score", "smallest", "first"])
def test_the_rule_that_labels_are_shown_by_is_told_in_place_of_the_runs(rule):
    record, labels = reviewed_record(View(rule), *["unreviewed"] * 3)
    own = {"score": "smallest", "smallest": "first", "first": "score"}[rule]
    record["runs"][0]["overlap_rule"] = own
    methods = cite(record, labels).methods
    assert RULE_WORDS[rule] in methods
    assert RULE_WORDS[own] not in methods
    assert "edited by hand" not in methods


def test_without_a_rule_of_the_view_that_of_the_runs_is_told():
    record, labels = reviewed_record(View(min_area=5), *["unreviewed"] * 3)
    record["runs"][0]["overlap_rule"] = "first"
    assert RULE_WORDS["first"] in cite(record, labels).methods
