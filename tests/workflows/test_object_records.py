from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.object_json import StoredObjects
from napari_sam3.core.painting import paint_objects
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import View
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.object_records import (
    objects_of,
    record_beside,
    shown_on_record,
    stored_objects,
    with_objects,
)
from napari_sam3.workflows.provenance import check_record, new_record
from napari_sam3.workflows.sidecars import is_sidecar, read_sidecar, write_sidecar

SHAPE = (40, 61)
RECORD = new_record({"name": "cells", "shape": list(SHAPE)}, {"shape": list(SHAPE)})


def solid(box, score=None):
    return Instance(np.ones(box.shape, bool), box, score, "cell")


ANSWER = Instances(
    SHAPE,
    (solid(Box(2, 3, 20, 30), 0.5), solid(Box(5, 6, 9, 12), 0.9), solid(Box(30, 2, 35, 9), 0.7)),
)


@pytest.mark.parametrize("rule", ["score", "smallest", "first"])
def test_objects_of_an_answer_are_painted_as_its_labels(rule):
    (plane,) = objects_of(ANSWER, "Built-in", rule).planes
    painted = paint_objects(plane.objects.values(), SHAPE)
    assert np.array_equal(painted, ANSWER.to_labels(rule))


def test_a_sidecar_keeps_objects_whole(tmp_path):
    labels = ANSWER.to_labels()
    save_labels(tmp_path / "cells.tif", labels)
    record = with_objects(RECORD, objects_of(ANSWER, "Built-in"))
    write_sidecar(tmp_path / "cells.json", record, labels, "cells.tif")
    objects = shown_on_record(record_beside(tmp_path / "cells.tif")).objects
    assert [one.label for one in objects] == [1, 2, 3]
    assert [one.instance.area for one in objects] == [item.area for item in ANSWER]
    assert objects[0].instance.concept == "cell"
    assert is_sidecar(tmp_path / "cells.json")


def test_each_object_is_one_line_at_the_end_of_the_text(tmp_path):
    record = with_objects(RECORD, objects_of(ANSWER))
    write_sidecar(tmp_path / "cells.json", record)
    lines = (tmp_path / "cells.json").read_text().splitlines()
    assert sum('"rle"' in line for line in lines) == 3
    assert list(json.loads((tmp_path / "cells.json").read_text()))[-1] == "objects"
    assert check_record(read_sidecar(tmp_path / "cells.json"))["objects"] == record["objects"]


def test_without_objects_a_record_says_nothing_of_them(tmp_path):
    assert with_objects(RECORD, StoredObjects()) == RECORD
    assert stored_objects(RECORD) is None
    assert shown_on_record(RECORD) is None
    assert record_beside(tmp_path / "nowhere.tif") is None


def test_objects_that_cannot_be_read_are_said_in_a_sentence():
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["planes"][0]["items"][0]["rle"] = "\N{SNOWMAN}"
    with pytest.raises(ProvenanceError, match="objects of the record"):
        stored_objects(record)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "good"},
        {"label": 0},
        {"box": [1, 2, 3]},
        {"score": "high"},
        {"score": 1.5},
        {"score": True},
        {"rle": 5},
    ],
)
def test_the_schema_refuses_what_is_no_object(change):
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["planes"][0]["items"][1] |= change
    with pytest.raises(ProvenanceError):
        check_record(record)


@pytest.mark.parametrize(
    "view",
    [
        {"rule": "largest"},
        {"min_score": 2},
        {"min_score": True},
        {"min_area": -1},
        {"min_area": 2.5},
        {"max_area": "9"},
        {"max_iom": None},
        {"without_border": 1},
        [],
    ],
)
def test_the_schema_refuses_what_is_no_view(view):
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["view"] = view
    with pytest.raises(ProvenanceError):
        check_record(record)


@pytest.mark.parametrize(
    ("shown", "fixed", "shape"),
    [
        ([0, 1], [], [40, 60]),
        ([1, 0], [], [40, 61]),
        ([1, 2], [0], [40, 61]),
        ([0, 1], [3], [40, 61]),
    ],
)
def test_objects_of_a_plane_that_the_labels_do_not_have_are_refused(shown, fixed, shape):
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["planes"][0] |= {"shown": shown, "fixed": fixed, "shape": shape}
    with pytest.raises(ProvenanceError, match="objects of the record"):
        stored_objects(check_record(record))


def test_a_plane_beyond_the_end_of_a_stack_is_refused():
    record = {**RECORD, "layer": {"shape": [3, *SHAPE]}}
    (plane,) = objects_of(ANSWER).planes
    for at, is_there in ((2, True), (3, False)):
        stored = StoredObjects((replace(plane, index=PlaneIndex((1, 2), (at,))),))
        said = with_objects(record, stored)
        if is_there:
            assert len(stored_objects(said).planes) == 1
            continue
        with pytest.raises(ProvenanceError, match="3 × 40 × 61"):
            stored_objects(said)


def test_what_a_view_hides_is_not_among_what_is_shown():
    stored = replace(objects_of(ANSWER), view=View(min_score=0.6))
    shown = shown_on_record(with_objects(RECORD, stored))
    assert [one.label for one in shown.objects] == [2, 3]
    assert not shown.is_changed


def test_what_others_painted_since_is_followed():
    record = with_objects(RECORD, objects_of(ANSWER))
    labels = ANSWER.to_labels()
    assert not shown_on_record(record, labels).is_changed
    labels[labels == 3] = 0
    labels[36:39, 50:60] = 8
    shown = shown_on_record(record, labels)
    assert shown.is_changed
    assert [one.label for one in shown.objects] == [1, 2, 8]
    with pytest.raises(ProvenanceError, match="40 × 61 pixels"):
        shown_on_record(record, labels[1:])
