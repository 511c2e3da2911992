from __future__ import annotations

import json

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
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


def test_objects_of_an_answer_are_painted_as_its_labels():
    store = objects_of(ANSWER, "Built-in")
    painted = store.view_of(PlaneIndex()).paint(Box.of_shape(SHAPE), np.uint16)
    assert np.array_equal(painted, ANSWER.to_labels())


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
    assert with_objects(RECORD, ObjectStore(SHAPE)) == RECORD
    assert stored_objects(RECORD) is None
    assert shown_on_record(RECORD) is None
    assert record_beside(tmp_path / "nowhere.tif") is None


def test_objects_that_cannot_be_read_are_said_in_a_sentence():
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["items"][0]["parts"][0]["rle"] = "\N{SNOWMAN}"
    with pytest.raises(ProvenanceError, match="objects of the record"):
        stored_objects(record)


@pytest.mark.parametrize(
    "change",
    [
        {"state": "good"},
        {"label": 0},
        {"parts": []},
        {"parts": [{"box": [1, 2, 3]}]},
    ],
)
def test_the_schema_refuses_what_is_no_object(change):
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["items"][1] |= change
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


@pytest.mark.parametrize("place", [{"shown": [1, 2], "fixed": [0]}, {"fixed": [3]}])
def test_objects_of_a_plane_that_the_labels_do_not_have_are_refused(place):
    record = with_objects(RECORD, objects_of(ANSWER))
    record["objects"]["items"][0]["parts"][0] |= place
    with pytest.raises(ProvenanceError, match="objects of the record"):
        stored_objects(check_record(record))


def test_a_plane_beyond_the_end_of_a_stack_is_refused():
    record = {**RECORD, "layer": {"shape": [3, *SHAPE]}}
    for at, is_there in ((2, True), (3, False)):
        parts = {PlaneIndex((1, 2), (at,)): Part(ANSWER[0])}
        said = with_objects(record, ObjectStore((4, *SHAPE), [LabelledObject(1, parts)]))
        if is_there:
            assert len(stored_objects(said).planes) == 1
            continue
        with pytest.raises(ProvenanceError, match="3 × 40 × 61"):
            stored_objects(said)


def test_what_a_view_hides_is_not_among_what_is_shown():
    store = objects_of(ANSWER)
    store.show(View(min_score=0.6))
    shown = shown_on_record(with_objects(RECORD, store))
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


STACK = {**RECORD, "layer": {"shape": [3, *SHAPE]}}
OVER = {PlaneIndex((1, 2), (at,)): Part(ANSWER[0]) for at in range(3)}


def stack_of(*objects, view=None):
    return with_objects(STACK, ObjectStore((3, *SHAPE), objects, view))


def test_a_view_counts_all_planes_of_an_object_where_one_of_them_is_looked_at():
    alone = LabelledObject(2, {PlaneIndex((1, 2), (1,)): Part(ANSWER[0])})
    record = stack_of(LabelledObject(1, OVER), alone, view=View(min_area=ANSWER[0].area + 1))
    assert [one.label for one in shown_on_record(record, plane=(1,)).objects] == [1]


def test_what_was_erased_on_one_plane_is_gone_from_there_alone():
    record = stack_of(LabelledObject(1, OVER, "accepted"))
    empty = np.zeros(SHAPE, np.uint16)
    assert shown_on_record(record, empty, (1,)).objects == ()
    assert [one.label for one in shown_on_record(record, plane=(0,)).objects] == [1]


def test_what_is_on_record_with_its_axes_exchanged_is_told_upright():
    turned = {PlaneIndex((2, 1), (1,)): Part(ANSWER[0].transposed())}
    record = stack_of(LabelledObject(1, turned))
    labels = np.zeros(SHAPE, np.uint8)
    labels[ANSWER[0].box.slices] = 1
    shown = shown_on_record(record, labels, (1,))
    assert [one.instance.box for one in shown.objects] == [ANSWER[0].box]
    assert not shown.is_changed
    with pytest.raises(ProvenanceError, match="40 × 61 pixels"):
        shown_on_record(record, labels.T, (1,))


def test_a_label_that_the_pixels_do_not_hold_is_no_trouble():
    record = stack_of(LabelledObject(70_000, OVER))
    shown = shown_on_record(record, np.full(SHAPE, 7, np.uint8), (1,))
    assert [one.label for one in shown.objects] == [7]
