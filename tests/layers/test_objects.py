from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.object_json import objects_from_json, objects_to_json
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.core.viewing import View
from napari_sam3.layers import objects as module
from napari_sam3.layers.objects import (
    OBJECTS_KEY,
    ObjectRecord,
    add_written,
    flaw_of,
    hidden_finder,
    iter_take_undone,
    object_rows,
    write_features,
)

WHOLE = PlaneIndex()


def solid(top, left, bottom, right, score=0.9, concept=""):
    box = Box(top, left, bottom, right)
    return Instance(np.ones(box.shape, bool), box, score, concept)


@pytest.fixture
def layer():
    return Labels(np.zeros((20, 31), np.uint16))


def paint(layer, label, item):
    layer.data[item.box.slices][item.mask] = label


def test_a_run_is_added_with_what_it_shows_and_what_it_hides(layer):
    large, small = solid(2, 3, 12, 20), solid(4, 5, 8, 9, score=0.5)
    paint(layer, 1, large)
    add_written(layer, WHOLE, {1: large, 2: small}, engine="Built-in")
    record = ObjectRecord.find(layer)
    plane = record.planes[WHOLE]
    assert plane.objects[2].instance is small
    assert plane.objects[1].depth < plane.objects[2].depth
    assert np.array_equal(plane.expected, layer.data)


def test_earlier_runs_lie_above_later_ones(layer):
    add_written(layer, WHOLE, {1: solid(2, 3, 12, 20)}, engine="")
    add_written(layer, WHOLE, {2: solid(4, 5, 8, 9)}, engine="")
    objects = ObjectRecord.find(layer).planes[WHOLE].objects
    assert objects[1].depth < objects[2].depth


def test_what_was_painted_by_hand_with_its_label_stays_in_an_object_that_is_asked_again(layer):
    old, new = solid(2, 3, 6, 9), solid(2, 3, 7, 10)
    paint(layer, 5, old)
    layer.data[15:17, 20:25] = 5
    hand = np.zeros((20, 31), bool)
    hand[15:17, 20:25] = True
    add_written(layer, WHOLE, {5: old}, engine="a")
    record = ObjectRecord.of(layer)
    joined = np.zeros((20, 31), bool)
    joined[old.box.slices] = True
    known = record.planes[WHOLE].objects[5]
    record.change(
        WHOLE, {5: PlaneObject(5, Instance.from_mask(joined | hand), "a", depth=known.depth)}
    )
    paint(layer, 5, new)
    add_written(layer, WHOLE, {5: new}, engine="b", former=[old])
    mask = record.planes[WHOLE].objects[5].instance
    whole = np.zeros((20, 31), bool)
    whole[mask.box.slices] = mask.mask
    assert whole[15, 22]
    assert whole[6, 9]
    assert np.count_nonzero(whole) == new.area + 10


def test_a_rejected_object_is_known_and_its_parts_are_not(layer):
    clump = solid(2, 3, 12, 23)
    add_written(layer, WHOLE, {1: clump}, engine="")
    assert hidden_finder(layer, WHOLE) is None
    plane = ObjectRecord.of(layer).planes[WHOLE]
    plane.hidden = frozenset({1})
    is_hidden = hidden_finder(layer, WHOLE)
    assert is_hidden(solid(2, 3, 12, 22))
    assert not is_hidden(solid(2, 3, 12, 12))
    assert not is_hidden(solid(15, 3, 18, 12))


def test_a_record_comes_back_from_json_as_it_was():
    record = ObjectRecord(view=View("smallest", 0.25, 3, None, True, 0.5))
    index = PlaneIndex((2, 0), (4,))
    plane = record.plane(index, (20, 31))
    for label, state in ((3, "accepted"), (70_000, "rejected")):
        item = solid(1, 2, 5, 9, score=None if label == 3 else 0.125, concept="nucleus")
        plane.objects[label] = PlaneObject(label, item, "Built-in", state, depth=label - 5)
    again = ObjectRecord.from_stored(objects_from_json(objects_to_json(record.to_stored())))
    assert again.view == record.view
    for label, one in plane.objects.items():
        other = again.planes[index].objects[label]
        assert (other.state, other.depth, other.engine) == (one.state, one.depth, one.engine)
        assert other.instance.score == one.instance.score
        assert np.array_equal(other.instance.mask, one.instance.mask)
        assert other.instance.box == one.instance.box


@pytest.mark.parametrize(
    "change",
    [
        {"box": [0, 0, 50, 5]},
        {"rle": "not run lengths \u00e9"},
        {"rle": "o4"},
        {"label": 0},
        {"state": "doubtful"},
        {"depth": None},
        {"box": [0, 0]},
    ],
)
def test_a_record_that_was_damaged_is_refused(change):
    record = ObjectRecord()
    item = solid(1, 2, 5, 9)
    record.plane(WHOLE, (20, 31)).objects[1] = PlaneObject(1, item)
    said = objects_to_json(record.to_stored())
    said["planes"][0]["items"][0] |= change
    with pytest.raises(ValueError, match=r"."):
        objects_from_json(said)


def test_no_more_masks_are_unfolded_than_fit_in_memory():
    item = {"label": 1, "box": [0, 0, 30_000, 30_000], "rle": "0", "score": None}
    item |= {"concept": "", "engine": "", "state": "accepted", "depth": 0}
    items = [{**item, "label": label} for label in (1, 2)]
    plane = {"shown": [0, 1], "fixed": [], "shape": [30_000, 30_000], "items": items}
    with pytest.raises(ValueError, match="memory"):
        objects_from_json({"planes": [plane]})


def test_the_table_says_all_of_each_object(layer):
    add_written(layer, WHOLE, {2: solid(2, 3, 6, 9, concept="cell")}, engine="Built-in")
    add_written(layer, WHOLE, {1: solid(2, 3, 4, 9, score=None)}, engine="")
    rows = object_rows(ObjectRecord.find(layer), {WHOLE: [2]})
    assert rows["index"].tolist() == [1, 2]
    assert rows["area"].tolist() == [12, 24]
    assert rows["concept"].tolist() == ["", "cell"]
    assert rows["overlaps"].tolist() == [False, True]
    assert np.isnan(rows["score"][0])


def test_one_label_on_two_planes_is_one_row():
    layer = Labels(np.zeros((3, 20, 31), np.uint16))
    for z in (0, 2):
        add_written(layer, PlaneIndex((1, 2), (z,)), {7: solid(2, 3, 6, 9)}, engine="")
    rows = object_rows(ObjectRecord.find(layer), {})
    assert rows["index"].tolist() == [7]
    assert rows["area"].tolist() == [48]


def test_columns_of_other_plugins_stay_with_their_objects(layer):
    layer.features = pd.DataFrame({"index": [1, 2, 9], "mood": ["a", "b", "c"]})
    add_written(layer, WHOLE, {2: solid(2, 3, 6, 9), 4: solid(8, 3, 9, 9)}, engine="")
    write_features(layer, object_rows(ObjectRecord.find(layer), {}))
    assert layer.features["index"].tolist() == [2, 4]
    assert layer.features["mood"].tolist()[0] == "b"


def test_a_table_about_something_else_is_left_alone(layer):
    layer.features = pd.DataFrame({"index": ["x", "y"], "mood": ["a", "b"]})
    before = layer.features
    write_features(layer, object_rows(ObjectRecord(), {}))
    assert layer.features.equals(before)


def test_a_copy_of_the_layer_has_a_record_of_its_own(layer):
    add_written(layer, WHOLE, {1: solid(2, 3, 6, 9)}, engine="")
    import copy

    metadata = copy.deepcopy(layer.metadata)
    metadata[OBJECTS_KEY].planes[WHOLE].objects.clear()
    assert len(ObjectRecord.find(layer)) == 1


# --- what an object that is asked again leaves behind ------------------------------------------


@pytest.fixture
def asked_again(layer):
    """A layer in which label 5 became smaller; others were written before and after it."""
    old, new = solid(2, 3, 8, 12), solid(3, 4, 6, 9)
    paint(layer, 1, solid(10, 3, 14, 12))
    add_written(layer, WHOLE, {1: solid(10, 3, 14, 12)}, engine="a")
    paint(layer, 5, old)
    add_written(layer, WHOLE, {5: old}, engine="a")
    paint(layer, 6, solid(15, 3, 18, 12))
    add_written(layer, WHOLE, {6: solid(15, 3, 18, 12)}, engine="a")
    layer.data[layer.data == 5] = 0
    paint(layer, 5, new)
    add_written(layer, WHOLE, {5: new}, engine="b", former=[old])
    return layer


def test_pixels_that_a_replaced_label_left_are_nobodys_edit(asked_again):
    plane = ObjectRecord.find(asked_again).planes[WHOLE]
    assert np.array_equal(plane.expected, asked_again.data)
    assert plane.objects[5].instance.box == Box(3, 4, 6, 9)


def test_an_object_that_is_asked_again_keeps_its_depth(asked_again):
    objects = ObjectRecord.find(asked_again).planes[WHOLE].objects
    assert objects[1].depth < objects[5].depth < objects[6].depth


def test_what_somebody_painted_where_a_replaced_label_was_is_still_to_be_seen(layer):
    old, new = solid(2, 3, 8, 12), solid(3, 4, 6, 9)
    paint(layer, 5, old)
    add_written(layer, WHOLE, {5: old}, engine="a")
    layer.data[layer.data == 5] = 0
    layer.data[7, 5:9] = 8
    paint(layer, 5, new)
    add_written(layer, WHOLE, {5: new}, engine="b", former=[old])
    differs = ObjectRecord.find(layer).planes[WHOLE].expected != layer.data
    assert sorted(zip(*np.nonzero(differs), strict=True)) == [(7, col) for col in range(5, 9)]


def test_a_pixel_that_kept_its_label_is_nobodys_edit(layer):
    old, new = solid(2, 3, 8, 12), solid(3, 4, 6, 9)
    paint(layer, 5, old)
    add_written(layer, WHOLE, {5: old}, engine="a")
    layer.data[layer.data == 5] = 0
    paint(layer, 5, new)
    layer.data[7, 5:9] = 5
    add_written(layer, WHOLE, {5: new}, engine="b", former=[old])
    plane = ObjectRecord.find(layer).planes[WHOLE]
    assert np.array_equal(plane.expected, layer.data)
    assert plane.objects[5].instance.area == new.area + 4


def test_what_somebody_erased_from_another_object_is_still_to_be_seen(layer):
    above, old, new = solid(4, 5, 6, 8), solid(2, 3, 8, 12), solid(2, 3, 7, 10)
    paint(layer, 5, old)
    paint(layer, 6, above)
    add_written(layer, WHOLE, {6: above, 5: old}, engine="a")
    layer.data[5, 5:8] = 0
    add_written(layer, WHOLE, {5: new}, engine="b", former=[old])
    plane = ObjectRecord.find(layer).planes[WHOLE]
    assert (plane.expected[5, 5:8] == 6).all()


# --- what is known, though it cannot be seen ---------------------------------------------------


@pytest.mark.parametrize(
    ("state", "view"), [("rejected", View()), ("accepted", View(min_score=0.95))]
)
def test_what_was_rejected_or_filtered_out_is_known_in_a_record_from_disk(layer, state, view):
    item = solid(2, 3, 12, 23)
    record = ObjectRecord(view=view)
    plane = record.plane(WHOLE, (20, 31))
    plane.objects[1] = PlaneObject(1, item, "Built-in", state)
    layer.metadata[OBJECTS_KEY] = ObjectRecord.from_stored(record.to_stored())
    assert hidden_finder(layer, WHOLE)(solid(2, 3, 12, 22))


def test_each_of_two_hidden_objects_is_known_where_they_overlap(layer):
    pair = {1: solid(2, 3, 12, 13), 2: solid(2, 7, 12, 17)}
    add_written(layer, WHOLE, pair, engine="")
    ObjectRecord.of(layer).planes[WHOLE].hidden = frozenset(pair)
    is_hidden = hidden_finder(layer, WHOLE)
    assert all(is_hidden(item) for item in pair.values())
    assert not is_hidden(solid(2, 3, 12, 7))


# --- runs that were undone ---------------------------------------------------------------------


def undone(layer):
    return drain(iter_take_undone(layer, WHOLE))


@pytest.fixture
def after_runs(layer):
    """A layer with two runs; the second one has an object that it hides itself."""
    first = {1: solid(2, 3, 8, 12)}
    second = {2: solid(10, 3, 18, 20), 3: solid(11, 4, 13, 7)}
    for run, items in (("first", first), ("second", second)):
        for label in reversed(items):
            paint(layer, label, items[label])
        sources = {label: (run, 0, place) for place, label in enumerate(items)}
        add_written(layer, WHOLE, items, engine="", sources=sources)
    return layer


def test_a_run_that_was_undone_is_taken_off_the_record(after_runs):
    after_runs.data[10:18] = 0
    assert undone(after_runs) == (2, 3)
    plane = ObjectRecord.find(after_runs).planes[WHOLE]
    assert plane.objects.keys() == {1}
    assert plane.undone.keys() == {2, 3}
    assert np.array_equal(plane.expected, after_runs.data)


def test_what_was_found_before_a_run_was_undone_is_out_of_date(after_runs):
    version = ObjectRecord.find(after_runs).version
    after_runs.data[10:18] = 0
    undone(after_runs)
    assert ObjectRecord.find(after_runs).version > version


def test_what_is_as_it_was_stays_on_record(after_runs):
    version = ObjectRecord.find(after_runs).version
    assert undone(after_runs) == ()
    record = ObjectRecord.find(after_runs)
    assert record.planes[WHOLE].objects.keys() == {1, 2, 3}
    assert record.version == version


def test_an_object_of_which_a_pixel_is_left_keeps_its_run_on_record(after_runs):
    after_runs.data[10:18] = 0
    after_runs.data[17, 19] = 2
    assert undone(after_runs) == ()


def test_a_rejected_run_was_not_undone(after_runs):
    plane = ObjectRecord.find(after_runs).planes[WHOLE]
    for label in (2, 3):
        plane.objects[label] = replace(plane.objects[label], state="rejected")
    after_runs.data[10:18] = plane.expected[10:18] = 0
    assert undone(after_runs) == ()


@pytest.mark.parametrize("shape", [(9, 9), (2, 20, 31)])
def test_a_record_of_another_shape_is_left_alone(after_runs, shape):
    plane = ObjectRecord.find(after_runs).planes[WHOLE]
    after_runs.data = np.zeros(shape, np.uint16)
    index = WHOLE if len(shape) == 2 else PlaneIndex((1, 2), (0,))
    assert list(iter_take_undone(after_runs, index)) == []
    assert plane.objects.keys() == {1, 2, 3}
    assert plane.undone == {}


def test_many_objects_are_looked_at_in_several_steps(layer, monkeypatch):
    monkeypatch.setattr(module, "LOOKED_AT_ONCE", 3)
    items = {label: solid(label, 3, label + 1, 9) for label in range(1, 8)}
    for label, item in items.items():
        paint(layer, label, item)
    add_written(layer, WHOLE, items, engine="", sources={k: ("run", 0, k) for k in items})
    layer.data[...] = 0
    assert len(list(iter_take_undone(layer, WHOLE))) == 2
    assert len(ObjectRecord.find(layer)) == 0


# --- one record for one layer ------------------------------------------------------------------


def test_a_copy_can_be_changed_by_itself(after_runs):
    record = ObjectRecord.find(after_runs)
    copy = record.copied()
    plane = copy.planes[WHOLE]
    plane.objects.pop(1)
    plane.expected[...] = 9
    plane.undone[7] = record.planes[WHOLE].objects[1]
    copy.view = View("smallest")
    assert record.planes[WHOLE].objects.keys() == {1, 2, 3}
    assert np.array_equal(record.planes[WHOLE].expected, after_runs.data)
    assert record.planes[WHOLE].undone == {}
    assert record.view == View()


def test_a_plane_that_is_turned_is_the_one_on_record():
    record = ObjectRecord()
    upright, turned = PlaneIndex((1, 2), (4,)), PlaneIndex((2, 1), (4,))
    assert record.find_index(turned) == turned
    record.plane(upright, (20, 31))
    assert record.find_index(turned) == record.find_index(upright) == upright
    assert record.find_index(PlaneIndex((2, 1), (5,))) == PlaneIndex((2, 1), (5,))


def test_a_plane_of_another_shape_begins_anew_and_the_old_one_is_kept(after_runs):
    record = ObjectRecord.find(after_runs)
    old = record.planes[WHOLE]
    assert record.plane(WHOLE, (9, 9)).objects == {}
    assert record.aside == [old]
    assert record.plane(WHOLE, (9, 9)) is record.planes[WHOLE]


# --- tables ------------------------------------------------------------------------------------


def test_columns_of_others_that_have_our_names_are_kept_under_another(layer):
    layer.features = pd.DataFrame({"index": [2], "area": [1.25], "mood": ["b"]})
    add_written(layer, WHOLE, {2: solid(2, 3, 6, 9)}, engine="")
    for _ in range(2):
        write_features(layer, object_rows(ObjectRecord.find(layer), {}))
    assert layer.features["area (before)"].tolist() == [1.25]
    assert layer.features["area"].tolist() == [24]
    assert layer.features["mood"].tolist() == ["b"]


def test_a_table_without_an_index_counts_its_rows(layer):
    layer.features = pd.DataFrame({"mean": [0.0, 1.5, 2.5]})
    add_written(layer, WHOLE, {2: solid(2, 3, 6, 9)}, engine="")
    write_features(layer, object_rows(ObjectRecord.find(layer), {}))
    assert layer.features.set_index("index")["mean"].to_dict() == {2: 2.5}


def test_columns_of_others_go_with_their_objects_to_new_numbers(layer):
    layer.features = pd.DataFrame({"index": [1, 2], "mood": ["a", "b"]})
    add_written(layer, WHOLE, {1: solid(2, 3, 6, 9), 2: solid(8, 3, 9, 9)}, engine="")
    write_features(layer, object_rows(ObjectRecord.find(layer), {}), {1: 2, 2: 1})
    assert layer.features.set_index("index")["mood"].to_dict() == {1: "b", 2: "a"}


# --- layers whose objects cannot be reviewed ---------------------------------------------------


def locked():
    data = np.ones((4, 5), np.uint16)
    data.flags.writeable = False
    return data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (locked(), "read-only"),
        (np.full((4, 5), 2**32, np.int64), "go beyond 4294967295"),
        (np.full((4, 5), 2**32 - 1, np.int64), ""),
        (np.full((4, 5), 2**32 - 1, np.uint32), ""),
        (np.ones((4, 5), np.uint8), ""),
    ],
)
def test_a_layer_that_cannot_be_reviewed_is_told_of(data, why):
    flaw = flaw_of(Labels(data, name="mine"))
    assert why in flaw
    assert bool(flaw) == bool(why)
    assert flaw == "" or flaw.startswith("“mine” cannot be reviewed")
