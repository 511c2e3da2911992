"""The table of a Labels layer: what it says of objects, and what others keep in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.layers.features import highest_in_features, object_rows, write_features

PLANE = PlaneIndex()


def one(label, *sides, planes=(PLANE,), score=0.9, concept="", **others):
    box = Box(*sides)
    item = Instance(np.ones(box.shape, bool), box, score, concept)
    part = Part(item, "Built-in", prompt="box")
    return LabelledObject(label, dict.fromkeys(planes, part), **others)


def rows_of(*objects):
    return object_rows({found.label: found for found in objects})


def table_of(layer, column):
    return layer.features.set_index("index")[column].to_dict()


@pytest.fixture
def layer():
    return Labels(np.zeros((20, 31), np.uint16))


class TestRows:
    def test_a_row_says_all_of_its_object(self):
        large = one(7, 2, 3, 6, 9, concept="cell", state="accepted")
        small = one(1, 2, 3, 4, 9, score=None)
        rows = object_rows({7: large, 1: small}, overlapping=[7])
        assert rows["index"].tolist() == [1, 7]
        assert rows["area"].tolist() == [12, 24]
        assert rows["concept"].tolist() == ["", "cell"]
        assert rows["state"].tolist() == ["unreviewed", "accepted"]
        assert rows["overlaps"].tolist() == [False, True]
        assert np.isnan(rows["score"][0])
        assert rows["score"][1] == 0.9
        assert set(rows["engine"]) == {"Built-in"}
        assert set(rows["prompt"]) == {"box"}
        assert "planes" not in rows

    def test_an_object_over_planes_is_one_row(self):
        planes = [PlaneIndex((1, 2), (z,)) for z in (2, 0)]
        rows = rows_of(one(7, 2, 3, 6, 9, planes=planes), one(8, 1, 1, 2, 4, planes=planes[:1]))
        assert rows["index"].tolist() == [7, 8]
        assert rows["area"].tolist() == [48, 3]
        assert rows["planes"].tolist() == [2, 1]
        assert rows["plane"].tolist() == ["0", "2"]

    def test_the_first_plane_is_told_by_all_of_its_positions(self):
        rows = rows_of(one(7, 2, 3, 6, 9, planes=[PlaneIndex((2, 3), (1, 12))]))
        assert rows["plane"].tolist() == ["1,12"]

    def test_no_objects_are_no_rows_of_the_same_columns(self):
        assert len(rows_of()) == 0
        assert list(rows_of()) == list(rows_of(one(7, 2, 3, 6, 9)))


class TestWriting:
    def test_napari_tells_what_a_label_under_the_pointer_is(self, layer):
        layer.data[2:6, 3:9] = 2
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert "score: 0.9" in str(layer.get_status((3, 4)))

    def test_rows_of_labels_that_are_no_objects_are_dropped(self, layer):
        write_features(layer, rows_of(one(1, 2, 3, 4, 9), one(2, 2, 3, 6, 9)))
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert layer.features["index"].tolist() == [2]
        write_features(layer, rows_of())
        assert layer.features["index"].tolist() == []
        write_features(layer, rows_of(one(3, 2, 3, 6, 9)))
        assert layer.features["index"].tolist() == [3]

    def test_the_same_rows_are_no_event(self, layer):
        told = []
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        layer.events.features.connect(told.append)
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert told == []
        write_features(layer, rows_of(one(2, 2, 3, 6, 9, state="accepted")))
        assert len(told) == 1

    def test_columns_of_a_stack_go_with_its_planes(self, layer):
        write_features(layer, rows_of(one(2, 2, 3, 6, 9, planes=[PlaneIndex((1, 2), (0,))])))
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert not {"plane", "planes"} & set(layer.features)


class TestColumnsOfOthers:
    def test_they_stay_with_their_objects(self, layer):
        layer.features = pd.DataFrame({"index": [1, 2, 9], "mood": ["a", "b", "c"]})
        for _ in range(2):
            write_features(layer, rows_of(one(2, 2, 3, 6, 9), one(4, 8, 3, 9, 9)))
        assert layer.features["index"].tolist() == [2, 4]
        assert layer.features["mood"].tolist()[0] == "b"
        assert pd.isna(layer.features["mood"][1])

    def test_they_go_with_their_objects_to_new_numbers(self, layer):
        layer.features = pd.DataFrame({"index": [1, 2], "mood": ["a", "b"]})
        rows = rows_of(one(1, 2, 3, 6, 9), one(2, 8, 3, 9, 9))
        write_features(layer, rows, {1: 2, 2: 1})
        assert table_of(layer, "mood") == {1: "b", 2: "a"}

    def test_those_that_have_our_names_are_kept_under_another(self, layer):
        layer.features = pd.DataFrame({"index": [2], "area": [1.25], "mood": ["b"]})
        for _ in range(2):
            write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert layer.features["area (before)"].tolist() == [1.25]
        assert layer.features["area"].tolist() == [24]
        assert layer.features["mood"].tolist() == ["b"]

    def test_of_a_label_that_they_name_twice_the_first_row_counts(self, layer):
        layer.features = pd.DataFrame({"index": [2, 2], "mood": ["a", "b"]})
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert table_of(layer, "mood") == {2: "a"}

    def test_a_table_without_an_index_counts_its_rows(self, layer):
        # napari takes the row's number for the label then
        layer.features = pd.DataFrame({"mean": [0.0, 1.5, 2.5]})
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        assert table_of(layer, "mean") == {2: 2.5}

    def test_a_table_about_something_else_is_left_alone(self, layer):
        layer.features = pd.DataFrame({"index": ["x", "y"], "mood": ["a", "b"]})
        before = layer.features.copy()
        write_features(layer, rows_of(one(2, 2, 3, 6, 9)))
        pd.testing.assert_frame_equal(layer.features, before)


@pytest.mark.parametrize(
    ("columns", "highest"),
    [
        ({}, 0),
        ({"index": [3, 50, 7]}, 50),
        ({"class": ["none", "a", "b"]}, 2),
        ({"index": ["x", "12"]}, 12),
        ({"index": [np.nan, 4.0]}, 4),
    ],
)
def test_labels_that_the_table_has_a_row_of_are_not_free(layer, columns, highest):
    layer.features = pd.DataFrame(columns)
    assert highest_in_features(layer) == highest
