"""The record behind a layer follows what others do to it, and loses nothing meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels
from napari.layers._layer_actions import _duplicate_layer
from qtpy.QtWidgets import QApplication

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.layers import showing
from napari_sam3.layers.objects import OBJECTS_KEY, find_store, store_of
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.widgets import _keeping
from napari_sam3.widgets.opening import get_reader
from napari_sam3.widgets.saving import capture_labels, save_layer_data
from napari_sam3.workflows.object_records import with_objects
from napari_sam3.workflows.replay import rebuild

from .conftest import said
from .objects_room import (
    EDGE,
    LARGE,
    LIMIT_MS,
    LIMIT_S,
    ON_FIRST,
    ON_LAST,
    SHAPE,
    SMALL,
    WHOLE,
    add_run,
    at_plane,
    boxes,
    finds,
    labels_on_record,
    objects_of,
    paint,
    picture,
    shown,
    solid,
    stack_room,
    states,
    swap,
)

ELSEWHERE = Box(33, 2, 38, 9)
"""Where none of the objects lies."""


class HeldLook:
    """Looks at objects as ever, but keeps what it found until it is let go."""

    def __init__(self):
        self.looked, self._open = threading.Event(), threading.Event()
        self.real = _keeping.take_over

    def __call__(self, *args, **kwargs):
        found = self.real(*args, **kwargs)
        self.looked.set()
        assert self._open.wait(LIMIT_S)
        return found

    def release(self):
        self._open.set()


@pytest.fixture
def held(objects, monkeypatch):
    held = HeldLook()
    monkeypatch.setattr(_keeping, "take_over", held)
    yield held
    held.release()


@pytest.fixture
def looked_at(held, objects, qtbot):
    """Let the worker look at the plane, and hold what it found."""

    def looked_at():
        objects.keeper.look_everywhere()
        qtbot.waitUntil(held.looked.is_set, timeout=LIMIT_MS)

    return looked_at


# ---------------------------------------------------------------------- while it is looked at


def test_what_is_decided_while_the_objects_are_looked_at_is_kept(
    objects, layer, still, held, looked_at
):
    looked_at()
    objects.review.choose((2,))
    objects.reject()
    held.release()
    still()
    assert states(layer)[2] == "rejected"
    assert shown(layer) == [1]


def test_a_stroke_that_is_painted_while_the_objects_are_looked_at_stays(
    objects, layer, still, held, looked_at
):
    objects.form.view.min_score.value = 0.75
    looked_at()
    paint(layer, 7, (45, 65), (35, 62))
    held.release()
    still()
    assert layer.data[45, 65] == layer.data[35, 62] == 7
    assert objects_of(layer)[7].instance.area == 2
    assert shown(layer) == [1, 7]


def test_what_is_found_while_a_run_is_written_is_looked_for_again(
    objects, layer, still, held, looked_at
):
    looked_at()
    paint(layer, 7, (45, 65), (35, 62))
    add_run(layer, {4: solid(ELSEWHERE, 0.4)})
    held.release()
    still()
    assert shown(layer) == [1, 2, 4, 7]
    assert states(layer)[4] == "unreviewed"
    assert objects_of(layer)[7].instance.area == 2


def test_a_run_that_is_half_written_is_nobodys_edit(objects, layer, still, monkeypatch):
    monkeypatch.setattr(showing, "STEP_S", 0)
    monkeypatch.setattr(showing, "CELL", (2, 3))
    add_run(layer, {4: solid(ELSEWHERE, 0.4)})
    while not (layer.data[ELSEWHERE.slices] == 4).any():
        QApplication.processEvents()
    assert not (layer.data[ELSEWHERE.slices] == 4).all()
    layer.refresh()
    still()
    assert (layer.data[ELSEWHERE.slices] == 4).all()
    assert states(layer)[4] == "unreviewed"
    assert "added" not in said(objects)


def test_new_numbers_of_one_layer_move_nothing_in_the_table_of_the_next(
    seen, objects, layer, still, held, looked_at
):
    other = labels_on_record(name="other")
    other.features = other.features.assign(mood=["a", "b", "c"])
    seen.add_layer(other)
    swap(layer, 1, 2)
    looked_at()
    objects.form.labels.value = other
    held.release()
    still()
    assert other.features["mood"].tolist() == ["a", "b", "c"]


def test_metadata_that_are_replaced_while_the_objects_are_looked_at_are_followed(
    objects, layer, still, held, looked_at
):
    looked_at()
    layer.metadata = {}
    held.release()
    still()
    assert boxes(layer)[2] == EDGE
    assert objects.form.table.visible_labels() == (1, 2)


# ---------------------------------------------------------------------- strokes


def test_a_stroke_over_what_a_filter_hides_takes_nothing_from_it(objects, layer, still):
    objects.form.view.max_area.value = 999
    still()
    assert shown(layer) == [2, 3]
    paint(layer, 2, (6, 11), (6, 12))
    still()
    objects.form.view.reset.native.click()
    still()
    assert objects_of(layer)[1].instance.area == LARGE.area
    assert objects_of(layer)[2].instance.area == EDGE.area + 2


@pytest.mark.parametrize("label", [0, 1, 3])
def test_a_stroke_under_a_rule_stays_and_comes_back_with_it(objects, layer, still, label):
    objects.form.view.rule.value = "smallest"
    still()
    paint(layer, label, (12, 18), (12, 19), (6, 11))
    still()
    painted = layer.data.copy()
    assert painted[12, 18] == painted[6, 11] == label
    objects.form.view.rule.value = ""
    still()
    objects.form.view.rule.value = "smallest"
    still()
    assert np.array_equal(layer.data, painted)


def test_a_pixel_that_is_erased_under_a_rule_is_taken_from_who_showed_it(objects, layer, still):
    objects.form.view.rule.value = "smallest"
    still()
    paint(layer, 1, (12, 18))
    still()
    assert objects_of(layer)[3].instance.area == SMALL.area - 1
    assert objects_of(layer)[1].instance.area == LARGE.area


def test_what_lay_hidden_does_not_come_up_through_a_stroke_under_a_rule(objects, layer, still):
    objects.form.view.rule.value = "smallest"
    still()
    # larger than any object, so that the rule would put each of them on top of it
    layer.data[18:] = 4
    layer.refresh()
    painted = layer.data.copy()
    still()
    assert np.array_equal(layer.data, painted)
    assert objects_of(layer)[1].instance.area == 13 * 40


def test_a_hidden_number_that_an_8_bit_layer_does_not_hold_comes_back_as_itself(
    seen, objects, still
):
    data = np.zeros(SHAPE, np.uint8)
    for label, box in ((1, LARGE), (5, EDGE), (255, ELSEWHERE)):
        data[box.slices] = label
    other = seen.add_labels(data.copy(), name="8 bits")
    objects.form.labels.value = other
    still()
    objects.review.choose((5,))
    objects.reject()
    still()
    other.data[0, 80:88] = 5
    other.refresh()
    still()
    (pushed,) = {label for label, state in states(other).items() if state == "rejected"}
    assert pushed not in (1, 5, 255)
    objects.review.choose((pushed,))
    objects.accept()
    still()
    assert (other.data[EDGE.slices] == pushed).all()
    assert np.array_equal(other.data == 1, data == 1)
    assert boxes(other)[1] == LARGE


def test_an_8_bit_layer_is_widened_for_a_number_beyond_255(seen, objects, still):
    data = np.zeros(SHAPE, np.uint8)
    data[LARGE.slices] = 1
    other = seen.add_labels(data.copy(), name="8 bits")
    objects.form.labels.value = other
    still()
    part = Part(solid(EDGE), "Built-in")
    rejected = LabelledObject(257, {WHOLE: part}, "rejected", depth=9)
    store_of(other).edit({257: rejected})
    objects.review.choose((257,))
    objects.accept()
    still()
    assert np.array_equal(other.data == 1, data == 1)
    assert (other.data[EDGE.slices] == 257).all()
    assert boxes(other) == {1: LARGE, 257: EDGE}


def test_labels_below_0_stay(seen, objects, still):
    data = np.zeros(SHAPE, np.int32)
    data[LARGE.slices], data[EDGE.slices] = 1, -3
    other = seen.add_labels(data.copy(), name="signed")
    objects.form.labels.value = other
    still()
    assert np.array_equal(other.data, data)
    objects.review.choose((1,))
    objects.reject()
    still()
    assert set(np.unique(other.data)) == {-3, 0}
    objects.undo()
    still()
    assert np.array_equal(other.data, data)


# ---------------------------------------------------------------------- other data, other metadata


def test_numbers_beyond_32_bits_are_refused_in_a_sentence(seen, objects, still):
    data = np.zeros(SHAPE, np.int64)
    data[LARGE.slices] = 5_000_000_000
    objects.form.labels.value = seen.add_labels(data.copy(), name="64 bits")
    still()
    assert said(objects).startswith("“64 bits” cannot be reviewed: its labels go beyond")
    assert objects.layer is None
    assert np.array_equal(seen.layers["64 bits"].data, data)


def test_64_bit_labels_of_usual_size_can_be_reviewed(seen, objects, still):
    data = np.zeros(SHAPE, np.int64)
    data[LARGE.slices] = 70_000
    other = seen.add_labels(data, name="64 bits")
    objects.form.labels.value = other
    still()
    assert boxes(other) == {70_000: LARGE}


def as_dask(data):
    import dask.array

    return dask.array.from_array(data)


def as_read_only(data):
    data.flags.writeable = False
    return data


@pytest.mark.parametrize(
    ("lock", "why"), [(as_dask, "not a plain array"), (as_read_only, "it is read-only")]
)
class TestDataThatCannotBeWritten:
    def test_that_take_the_place_of_others_are_told_of(self, objects, layer, still, lock, why):
        layer.data = lock(layer.data.copy())
        still()
        assert why in said(objects)

    def test_leave_decisions_without_an_error(self, objects, layer, still, lock, why):
        layer.data = lock(layer.data.copy())
        still()
        objects.review.choose((2,))
        objects.reject()
        still()
        assert why in said(objects)
        assert (np.asarray(layer.data)[EDGE.slices] == 2).all()

    def test_are_not_looked_at_in_a_layer_that_is_chosen(self, seen, objects, still, lock, why):
        other = seen.add_labels(lock(np.ones(SHAPE, np.uint16)), name="locked")
        objects.form.labels.value = other
        still()
        assert why in said(objects)
        assert objects.layer is None
        assert OBJECTS_KEY not in other.metadata


def test_decisions_work_on_the_record_that_takes_the_place_of_one_that_was_removed(
    objects, layer, still
):
    layer.metadata = {}
    layer.refresh()
    still()
    objects.review.choose((2,))
    objects.reject()
    still()
    assert shown(layer) == [1]
    assert states(layer) == {1: "unreviewed", 2: "rejected"}
    assert objects.form.reviewed.text().startswith("1 of 2 reviewed")


def test_steps_of_a_removed_record_break_nothing(objects, layer, still):
    objects.review.choose((2,))
    objects.reject()
    still()
    layer.metadata = {}
    objects.undo()
    still()
    assert states(layer) == {1: "unreviewed"}


class TestADuplicatedLayer:
    @pytest.fixture(params=["napari", "script"])
    def copy(self, request, seen, objects, layer):
        if request.param == "script":
            data, attributes, _ = layer.as_layer_data_tuple()
            return seen.add_layer(Labels(data.copy(), **attributes | {"name": "copy"}))
        seen.layers.selection = {layer}
        _duplicate_layer(seen.layers)
        return next(one for one in seen.layers if isinstance(one, Labels) and one is not layer)

    def test_knows_the_objects(self, copy):
        assert boxes(copy) == {1: LARGE, 2: EDGE, 3: SMALL}

    def test_is_not_changed_by_decisions_on_the_first_one(self, objects, layer, still, copy):
        objects.review.choose((1,))
        objects.reject()
        still()
        assert states(layer)[1] == "rejected"
        assert states(copy)[1] == "unreviewed"

    def test_changes_nothing_of_the_first_one(self, objects, layer, still, copy):
        objects.form.labels.value = copy
        still()
        objects.review.choose((2,))
        objects.reject()
        objects.form.view.min_area.value = 500
        still()
        assert shown(copy) == [1]
        assert states(layer)[2] == "unreviewed"
        assert shown(layer) == [1, 2]
        assert find_store(layer).view.shows_all


class TestALayerOfAnotherShape:
    @pytest.fixture
    def reshaped(self, seen, objects, layer, still, engine, run_all):
        seen.layers["cells"].data = picture((30, 40))
        layer.data = np.zeros((30, 40), np.uint16)
        engine.answer = finds(solid(Box(3, 2, 18, 19), 0.8))
        run_all()
        still()
        return layer

    def test_takes_a_run_into_a_record_that_begins_anew(self, objects, reshaped):
        assert list(boxes(reshaped).values()) == [Box(3, 2, 18, 19)]
        assert len(find_store(reshaped).aside) == 3

    def test_is_saved_and_opened_again(self, reshaped, tmp_path):
        save_layer_data(tmp_path / "cells.tif", capture_labels(reshaped))
        path = str(tmp_path / "cells.json")
        ((data, attributes, _),) = get_reader(path)(path)
        again = Labels(data, **attributes)
        assert boxes(again) == boxes(reshaped)
        assert np.array_equal(again.data, reshaped.data)


def test_labels_that_get_another_axis_are_looked_at_plane_by_plane(seen, objects, layer, still):
    objects.form.table.selected.emit((2,))
    large = np.where(layer.data == 1, layer.data, 0)
    layer.data = np.stack([large, large])
    still()
    index = next(index for index in find_store(layer).planes if index.fixed)
    assert boxes(layer, index) == {1: LARGE}
    assert objects.form.table.visible_labels() == (1,)
    assert objects.form.reviewed.text() == "0 of 1 reviewed"


# ---------------------------------------------------------------------- planes


class TestAStack:
    @pytest.fixture
    def room(self):
        return stack_room({(0, 1): ON_FIRST, (2, 2): ON_LAST})

    @pytest.fixture
    def go_to(self, seen, objects, still):
        def go_to(plane):
            seen.dims.set_current_step(0, plane)
            still()

        return go_to

    def test_a_stroke_that_is_undone_on_another_plane_is_followed_with_other_data_too(
        self, objects, layer, still, go_to
    ):
        paint(layer, 7, (0, 30, 50), (0, 31, 51))
        still()
        layer.data = layer.data.copy()
        go_to(2)
        assert 7 in objects_of(layer, at_plane(0))
        layer.undo()
        still()
        assert not (layer.data == 7).any()
        assert (
            7 not in objects_of(layer, at_plane(0)) or states(layer, at_plane(0))[7] == "rejected"
        )

    def test_a_look_from_the_side_counts_no_object_twice(self, seen, objects, layer, still):
        before = layer.data.copy()
        seen.dims.order = (1, 0, 2)
        seen.dims.set_current_step(1, ON_FIRST.top + 1)
        still()
        objects.next()
        assert "turn the view back" in said(objects)
        assert len(store_of(layer)) == 2
        seen.dims.order = (0, 1, 2)
        still()
        objects.next()
        assert objects.review.current == (1,)
        assert np.array_equal(layer.data, before)

    def test_a_filter_holds_on_planes_that_are_not_on_the_screen(
        self, objects, layer, still, go_to
    ):
        go_to(2)
        go_to(0)
        objects.form.view.max_area.value = 199
        still()
        assert shown(layer) == []
        objects.form.view.max_area.value = 0
        still()
        assert (layer.data[0][ON_FIRST.slices] == 1).all()
        assert (layer.data[2][ON_LAST.slices] == 2).all()

    def test_what_a_script_paints_on_a_hidden_plane_is_seen_when_that_is_shown(
        self, objects, layer, still, go_to
    ):
        go_to(2)
        go_to(0)
        layer.data[2, 45:50, 5:15] = 7
        layer.refresh()
        still()
        go_to(2)
        assert boxes(layer, at_plane(2)) == {2: ON_LAST, 7: Box(45, 5, 50, 15)}
        assert objects.form.table.visible_labels() == (1, 2, 7)

    def test_a_brush_through_planes_is_seen_on_each_of_them(self, objects, layer, still, go_to):
        for plane in (2, 1, 0):
            go_to(plane)
        layer.n_edit_dimensions, layer.brush_size, layer.selected_label = 3, 9, 9
        layer.paint((1, 50, 20), 9)
        for plane in (0, 1, 2):
            go_to(plane)
            assert 9 in states(layer, at_plane(plane))

    def test_the_table_tells_of_overlaps_on_all_planes(self, seen, layer, qtbot, request):
        for plane, first in ((0, 11), (2, 21)):
            items = {first: solid(LARGE), first + 1: solid(SMALL)}
            layer.data[plane][LARGE.slices] = first
            add_run(layer, items, at_plane(plane))
        go_to = request.getfixturevalue("go_to")
        go_to(2)
        go_to(0)
        overlaps = layer.features.set_index("index")["overlaps"]
        assert overlaps[[11, 12, 21, 22]].all()
        go_to(2)
        assert overlaps[[11, 12, 21, 22]].all()

    def test_a_turned_view_shows_the_same_record(self, seen, objects, layer, still):
        objects.review.choose((1,))
        objects.accept()
        seen.dims.order = (0, 2, 1)
        still()
        assert {index.shown for index in find_store(layer).planes} == {(1, 2)}
        assert states(layer, at_plane(0)) == {1: "accepted"}
        assert objects.form.reviewed.text().startswith("1 of 2 reviewed")

    def test_a_decision_in_a_turned_view_holds_in_the_other(self, seen, objects, layer, still):
        before = layer.data.copy()
        seen.dims.order = (0, 2, 1)
        still()
        objects.review.choose((1,))
        objects.reject()
        still()
        assert not layer.data[0].any()
        seen.dims.order = (0, 1, 2)
        still()
        assert states(layer, at_plane(0)) == {1: "rejected"}
        objects.undo()
        still()
        assert np.array_equal(layer.data, before)


def test_a_turned_view_of_a_single_plane_shows_the_same_record(seen, objects, layer, still):
    seen.dims.order = (1, 0)
    still()
    assert list(find_store(layer).planes) == [WHOLE]
    assert boxes(layer) == {1: LARGE, 2: EDGE, 3: SMALL}


def test_a_run_in_a_turned_view_adds_to_the_same_record(
    seen, objects, layer, still, engine, run_all
):
    seen.dims.order = (1, 0)
    still()
    engine.answer = finds(solid(Box(2, 33, 9, 38), 0.4))
    run_all()
    still()
    assert list(find_store(layer).planes) == [WHOLE]
    assert boxes(layer)[4] == ELSEWHERE
    assert states(layer)[4] == "unreviewed"
    assert (layer.data[ELSEWHERE.slices] == 4).all()
    assert "added" not in said(objects)


def test_what_was_rejected_is_known_to_a_run_in_a_turned_view(
    seen, objects, layer, still, engine, run_all
):
    objects.review.choose((2,))
    objects.reject()
    seen.dims.order = (1, 0)
    still()
    turned = Box(EDGE.left, EDGE.top, EDGE.right, EDGE.bottom)
    engine.answer = finds(solid(turned, 0.8))
    assert "1 rejected or filtered out before" in run_all()
    still()
    assert len(find_store(layer)) == 3


# ---------------------------------------------------------------------- features


class TestATableOfSomebodyElse:
    @pytest.fixture
    def follow(self, seen, objects, still):
        """Look at a layer with two objects and this table."""

        def follow(features):
            data = np.zeros(SHAPE, np.uint16)
            data[LARGE.slices], data[EDGE.slices] = 1, 2
            other = seen.add_labels(data, name="other", features=features)
            objects.form.labels.value = other
            still()
            return other

        return follow

    def test_that_counts_its_rows_is_kept(self, follow):
        features = follow({"mean": [0.0, 1.5, 2.5]}).features.set_index("index")
        assert features["mean"].to_dict() == {1: 1.5, 2: 2.5}
        assert features["area"].to_dict() == {1: LARGE.area, 2: EDGE.area}

    def test_that_has_columns_of_the_same_names_keeps_its_values(self, follow):
        own = {"index": [1, 2], "area": [1.25, 3.5], "state": ["mitosis", "G1"], "score": [3, 4]}
        features = follow(own).features.set_index("index")
        assert features["area (before)"].to_dict() == {1: 1.25, 2: 3.5}
        assert features["state (before)"].to_dict() == {1: "mitosis", 2: "G1"}
        assert features["score (before)"].to_dict() == {1: 3, 2: 4}
        assert features["area"].to_dict() == {1: LARGE.area, 2: EDGE.area}
        assert set(features["state"]) == {"unreviewed"}

    def test_that_takes_the_place_of_ours_gets_the_objects_again(self, objects, layer, still):
        still()
        layer.features = pd.DataFrame({"index": [2, 2, 77], "mood": ["a", "b", "c"]})
        still()
        features = layer.features.set_index("index")
        assert list(features.index) == [1, 2, 3]
        assert features["area"][1] == LARGE.area
        assert features["mood"][2] == "a"

    def test_is_renamed_only_once(self, objects, follow, still):
        other = follow({"index": [1, 2], "area": [1.25, 3.5]})
        objects.review.choose((1,))
        objects.accept()
        still()
        assert [name for name in other.features if "area" in name] == ["area", "area (before)"]
        assert other.features["area (before)"].tolist() == [1.25, 3.5]

    def test_follows_its_objects_to_new_numbers(self, follow, still):
        other = follow({"index": [1, 2], "mood": ["a", "b"], "area": [1.25, 3.5]})
        swap(other, 1, 2)
        still()
        features = other.features.set_index("index")
        assert features["mood"].to_dict() == {1: "b", 2: "a"}
        assert features["area (before)"].to_dict() == {1: 3.5, 2: 1.25}

    def test_that_a_user_adds_to_later_keeps_that_too(self, follow, objects, still):
        other = follow({"index": [1, 2], "mood": ["a", "b"]})
        other.features = pd.DataFrame(other.features).assign(mine=[7.5, 8.5])
        objects.review.choose((2,))
        objects.reject()
        still()
        assert other.features["mine"].tolist() == [7.5, 8.5]


# ---------------------------------------------------------------------- undo of runs


FOUND = (solid(ELSEWHERE, 0.4), solid(Box(35, 4, 44, 20), 0.8))


class TestARunThatIsUndone:
    @pytest.fixture
    def run_twice(self, objects, still, engine, run_all):
        """Run what a test has not run yet; return the sentence."""
        engine.answer = finds(*FOUND)

        def run():
            words = run_all()
            still()
            return words

        return run

    def test_takes_its_objects_off_record_and_table(self, objects, layer, still, run_twice):
        run_twice()
        assert len(states(layer)) == 5
        layer.undo()
        still()
        assert sorted(states(layer)) == [1, 2, 3]
        assert objects.form.table.visible_labels() == (1, 2, 3)
        assert "A run was undone: 2 objects left the table." in said(objects)

    def test_finds_them_all_again(self, objects, layer, still, run_twice):
        run_twice()
        layer.undo()
        still()
        words = run_twice()
        assert "before" not in words
        assert sorted(
            one.instance.score for one in objects_of(layer).values() if one.label > 3
        ) == [
            0.4,
            0.8,
        ]
        assert set(states(layer).values()) == {"unreviewed"}

    def test_brings_them_back_with_redo_as_they_were(self, objects, layer, still, run_twice):
        run_twice()
        (best,) = (label for label, box in boxes(layer).items() if box == FOUND[1].box)
        objects.review.choose((best,))
        objects.accept()
        still()
        layer.undo()
        still()
        layer.redo()
        still()
        assert len(states(layer)) == 5
        assert states(layer)[best] == "accepted"
        assert objects_of(layer)[best].instance.score == 0.8
        assert objects_of(layer)[best].source is not None

    def test_finds_them_again_also_while_no_panel_looks(
        self, objects, layer, still, engine, run_all
    ):
        engine.answer = finds(*FOUND)
        objects.close_down()
        run_all()
        layer.undo()
        words = run_all()
        assert "before" not in words
        assert "labelled already" not in words
        objects.open()
        still()
        assert len(states(layer)) == 5
        assert set(states(layer).values()) == {"unreviewed"}
        assert len(objects.form.table.visible_labels()) == 5


def test_one_of_many_that_is_erased_by_hand_is_kept_as_rejected(
    objects, layer, still, engine, run_all
):
    engine.answer = finds(*FOUND)
    run_all()
    still()
    (best,) = (label for label, box in boxes(layer).items() if box == FOUND[1].box)
    layer.data[layer.data == best] = 0
    layer.refresh()
    still()
    assert states(layer)[best] == "rejected"
    assert len(states(layer)) == 5


def test_two_rejected_objects_that_overlap_are_both_known_to_a_later_run(
    seen, objects, still, engine, segment, run_all
):
    pair = {1: solid(Box(5, 10, 25, 30), 0.9), 2: solid(Box(5, 16, 25, 36), 0.8)}
    other = labels_on_record(pair, name="pair")
    seen.add_layer(other)
    objects.form.labels.value = segment.form.output.value = other
    still()
    objects.review.choose((1, 2))
    objects.reject()
    still()
    assert shown(other) == []
    engine.answer = finds(*pair.values())
    assert "2 rejected or filtered out before" in run_all()
    still()
    assert states(other) == {1: "rejected", 2: "rejected"}


def test_pixels_of_overlaps_are_made_again_by_the_rule_that_is_saved(
    objects, still, engine, layer, run_all
):
    layer.data[...] = 0
    layer.metadata.clear()
    layer.refresh()
    still()
    items = (solid(LARGE, 0.9), solid(SMALL, 0.6))
    engine.answer = finds(*items)
    run_all()
    still()
    objects.form.view.rule.value = "smallest"
    still()
    record = with_objects(layer.metadata[METADATA_KEY], find_store(layer))
    (run,) = record["runs"]
    again = rebuild(record, {(run["id"], 0): Instances(SHAPE, items)})
    assert np.array_equal(again, layer.data)
    assert (again[SMALL.slices] == min(shown(layer), key=lambda k: boxes(layer)[k] != SMALL)).all()


def test_steps_on_other_objects_outlive_a_renumbering(objects, layer, still):
    objects.review.choose((3,))
    objects.reject()
    objects.review.choose((1,))
    objects.accept()
    still()
    swap(layer, 1, 2)
    still()
    objects.undo()
    still()
    assert states(layer) == {1: "unreviewed", 2: "accepted", 3: "unreviewed"}
    objects.undo()
    assert said(objects) == "There is nothing to take back."
