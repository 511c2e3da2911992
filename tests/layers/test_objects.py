from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.object_json import objects_from_json, objects_to_json
from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.viewing import View
from napari_sam3.layers.objects import (
    OBJECTS_KEY,
    ObjectRecord,
    add_written,
    hidden_finder,
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
        WHOLE, {5: LabelledObject(5, Instance.from_mask(joined | hand), "a", depth=known.depth)}
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
        plane.objects[label] = LabelledObject(label, item, "Built-in", state, depth=label - 5)
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
    record.plane(WHOLE, (20, 31)).objects[1] = LabelledObject(1, item)
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
