"""One object refined, free or paid, and the steps of a review taken back."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.layers.objects import find_store
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.widgets import _refining

from .conftest import LIMIT_MS, said
from .objects_room import (
    EDGE,
    LARGE,
    SMALL,
    at_plane,
    boxes,
    clicks,
    finds,
    labels_on_record,
    objects_of,
    paint,
    shown,
    solid,
    stack_room,
    states,
    swap,
)

IN_CROP = Box(12, 12, 24, 24)
"""What the engine finds in the crop around the object at the edge, which begins at (24, 44)."""
FOUND = IN_CROP.shifted(24, 44)
LOST = "The object was changed or removed meanwhile: the result was not used."


def runs(layer):
    return layer.metadata.get(METADATA_KEY, {}).get("runs", [])


@pytest.fixture
def finer(engine):
    """The free engine finds a smaller object."""
    engine.answer = finds(solid(IN_CROP, 0.95))
    return engine


@pytest.fixture
def under_way(objects, finer, asked):
    """A free question about the object at the edge, whose answer a test lets go."""
    finer.hold()
    objects.review.choose((2,))
    objects.refine()
    asked(finer, 1)
    return finer


@pytest.fixture
def paid(objects, paid_engine):
    paid_engine.answer = finds(solid(IN_CROP, 0.95))
    objects.form.engine.value = "paid"
    return paid_engine


@pytest.fixture
def paid_under_way(objects, paid, asked):
    paid.hold()
    objects.review.choose((2,))
    objects.refine()
    objects.form.ask.native.click()
    asked(paid, 1)
    return paid


@pytest.fixture
def in_step(objects, qtbot):
    """Wait for the record alone, while an engine is still asked."""
    return lambda: qtbot.waitUntil(lambda: not objects.keeper.is_busy, timeout=LIMIT_MS)


# ---------------------------------------------------------------------- what is read


def test_only_the_crop_is_read_and_once_for_all_clicks(seen, objects, finer, refine, still):
    image = seen.layers["cells"]
    reads = []

    def load(block, block_info=None):
        reads.append(block_info[0]["chunk-location"])
        return block

    lazy = dask.array.from_array(np.asarray(image.data), chunks=(8, 8))
    image.data = lazy.map_blocks(load, dtype=image.dtype, meta=image.data[:0, :0])
    reads.clear()
    refine(2)
    points = clicks(seen)
    points.add([30, 50])
    still()
    first, second = (request.pixels for request in finer.requests)
    assert second is first
    rows, cols = first.shape
    assert (rows, cols) != image.data.shape
    # the crop begins at (24, 44)
    wanted = {
        (r, c) for r in range(3, -(-(24 + rows) // 8)) for c in range(5, -(-(44 + cols) // 8))
    }
    assert sorted(reads) == sorted(wanted)
    image.refresh()
    points.add([33, 52])
    still()
    assert finer.requests[-1].pixels is not first


# ---------------------------------------------------------------------- where an answer goes


@pytest.fixture
def other(seen):
    layer = labels_on_record({2: solid(SMALL)}, name="other")
    seen.add_layer(layer)
    return layer


def test_a_paid_answer_goes_to_the_layer_that_it_was_asked_for(
    objects, layer, other, still, paid_under_way
):
    objects.form.labels.value = other
    paid_under_way.release()
    still()
    assert boxes(layer)[2] == FOUND
    assert boxes(other) == {2: SMALL}
    assert (len(runs(layer)), len(runs(other))) == (1, 0)
    assert said(objects) == f"Object 2 of “{layer.name}” was refined."


def test_what_was_refined_in_another_layer_shows_when_that_is_looked_at_again(
    objects, layer, other, still, paid_under_way
):
    objects.form.labels.value = other
    paid_under_way.release()
    still()
    objects.form.labels.value = layer
    still()
    assert np.count_nonzero(layer.data == 2) == FOUND.area
    assert boxes(layer)[2] == FOUND


def test_a_paid_answer_for_a_layer_that_was_removed_changes_nothing_and_is_told(
    seen, objects, layer, other, still, paid_under_way
):
    seen.layers.remove(layer)
    paid_under_way.release()
    still()
    assert said(objects) == LOST
    assert boxes(layer)[2] == EDGE
    assert boxes(other) == {2: SMALL}
    assert objects.review.undo_words == ""


@pytest.mark.parametrize("is_followed", [True, False], ids=["followed", "not followed yet"])
def test_an_answer_goes_to_its_object_whatever_number_that_has_by_now(
    objects, layer, still, in_step, under_way, is_followed
):
    swap(layer, 1, 2)
    if is_followed:
        in_step()
    under_way.release()
    still()
    assert boxes(layer) == {1: FOUND, 2: LARGE, 3: SMALL}
    assert objects_of(layer)[1].instance.score == 0.95


def test_what_another_number_stood_for_is_not_taken_back_by_it(
    objects, layer, still, in_step, under_way
):
    swap(layer, 1, 2)
    in_step()
    under_way.release()
    still()
    objects.undo()
    still()
    assert boxes(layer) == {1: EDGE, 2: LARGE, 3: SMALL}


def test_another_object_that_has_the_number_by_now_gets_no_answer(
    objects, layer, still, in_step, under_way
):
    beside = Box(33, 2, 38, 9)
    layer.data[layer.data == 2] = 0
    layer.refresh()
    in_step()
    layer.data[beside.slices] = 2
    layer.refresh()
    under_way.release()
    still()
    assert boxes(layer)[2] == beside
    (own,) = boxes(layer).keys() - {1, 2, 3}
    assert boxes(layer)[own] == FOUND


@pytest.mark.parametrize("is_followed", [True, False], ids=["followed", "not followed yet"])
@pytest.mark.parametrize("shape", [(30, 40), (3, 60, 90)], ids=["smaller", "a stack"])
def test_labels_of_another_shape_get_no_answer_and_this_is_told(
    objects, layer, still, in_step, under_way, shape, is_followed
):
    layer.data = np.zeros(shape, np.uint16)
    if is_followed:
        in_step()
    under_way.release()
    still()
    assert said(objects) == LOST
    assert not layer.data.any()


def test_an_object_that_was_erased_meanwhile_gets_the_answer_and_can_be_taken_back(
    objects, layer, still, in_step, under_way
):
    layer.data[layer.data == 2] = 0
    layer.refresh()
    in_step()
    under_way.release()
    still()
    assert shown(layer) == [1, 2]
    objects.undo()
    still()
    assert shown(layer) == [1]
    assert states(layer)[2] == "rejected"


class TestOneNumberOnTwoPlanes:
    BOXES = (Box(5, 10, 20, 40), Box(30, 50, 40, 70))

    @pytest.fixture
    def room(self):
        return stack_room({(0, 2): self.BOXES[0], (1, 2): self.BOXES[1]})

    @pytest.fixture
    def refine_on(self, seen, objects, still, engine, refine):
        def refine_on(plane):
            seen.dims.set_current_step(0, plane)
            still()
            engine.answer = lambda request: Instances(
                request.shape, (solid(Box(17 + plane, 17, 25, 25)),)
            )
            refine(2)
            objects.refine()
            still()

        return refine_on

    def test_is_refined_on_each_of_them(self, layer, refine_on):
        refine_on(0)
        refine_on(1)
        after = [boxes(layer, at_plane(plane))[2] for plane in (0, 1)]
        assert [box.shape for box in after] == [(8, 8), (7, 8)]
        assert [np.count_nonzero(layer.data[plane] == 2) for plane in (0, 1)] == [64, 56]

    def test_is_taken_back_plane_by_plane(self, objects, layer, still, refine_on):
        before = layer.data.copy()
        refine_on(0)
        refine_on(1)
        objects.undo()
        still()
        assert np.array_equal(layer.data[1], before[1])
        assert np.count_nonzero(layer.data[0] == 2) == 64
        objects.undo()
        still()
        assert np.array_equal(layer.data, before)

    def test_means_the_object_of_the_plane_that_is_shown(self, seen, objects, still):
        for plane in (1, 0, 1):
            seen.dims.set_current_step(0, plane)
            still()
            assert [index for index, _ in objects.review.objects([2])] == [at_plane(plane)]

    def test_is_no_object_of_a_plane_that_has_it_not(self, seen, objects, still, engine):
        seen.dims.set_current_step(0, 1)
        still()
        objects.review.choose((2,))
        seen.dims.set_current_step(0, 2)
        still()
        objects.refine()
        assert "lies on another plane" in said(objects)
        assert not objects.refining.is_on
        assert engine.requests == []

    def test_only_boxes_of_the_shown_plane_become_examples(self, objects, still, seen):
        taken = []
        objects.examples_chosen.connect(lambda image, plane, boxes, positive: taken.append(boxes))
        seen.dims.set_current_step(0, 1)
        still()
        objects.review.choose((2,))
        objects.use_as_examples(True)
        assert taken.pop() == [self.BOXES[1]]
        seen.dims.set_current_step(0, 2)
        still()
        objects.use_as_examples(True)
        assert taken.pop() == []


# ---------------------------------------------------------------------- what it needs


def test_an_image_that_lies_elsewhere_is_not_asked_about(seen, objects, engine, refine):
    moved = seen.add_image(seen.layers["cells"].data, name="moved", translate=(5, 0))
    objects.form.image.value = moved
    refine(2)
    assert "choose the image that “cells objects” was made from" in said(objects)
    assert not objects.refining.is_on
    assert engine.requests == []


def test_examples_are_not_taken_from_an_image_that_lies_elsewhere(seen, objects):
    moved = seen.add_image(seen.layers["cells"].data, name="moved", translate=(5, 0))
    objects.form.image.value = moved
    objects.review.choose((2,))
    objects.use_as_examples(True)
    assert "choose the image that the examples lie in" in said(objects)


def test_without_an_image_it_says_what_is_missing(seen, objects, refine):
    seen.layers.remove("cells")
    refine(2)
    assert said(objects) == "Refining needs the image: choose it under “Image”."


def test_an_engine_that_is_not_there_is_told_of(objects, refine):
    objects.form.engine.value = "absent"
    refine(2)
    assert "Absent SAM3" in said(objects) or "install" in said(objects)
    assert not objects.refining.is_on


@pytest.mark.parametrize("gone", ["cells", "cells objects", "refine 2"])
def test_it_ends_with_each_layer_that_it_needs(seen, objects, still, refine, gone):
    refine(2)
    seen.layers.remove(gone)
    still()
    assert not objects.refining.is_on
    assert not any(one.name.startswith("refine") for one in seen.layers)
    assert objects.form.refine.text == "Refine"


ENDS = {
    "another layer": lambda panel: setattr(panel.form.labels, "value", panel.other),
    "accepting": lambda panel: panel.accept(),
    "rejecting": lambda panel: panel.reject(),
    "undo": lambda panel: panel.undo(),
    "next": lambda panel: panel.next(),
    "again": lambda panel: panel.refine(),
    "closing": lambda panel: panel.close_down(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_it_ends_with(seen, objects, other, still, refine, end):
    objects.other = other
    refine(2)
    assert objects.refining.is_on
    end(objects)
    still()
    assert not objects.refining.is_on
    assert not any(one.name.startswith("refine") for one in seen.layers)


def test_ending_it_stops_a_free_question(objects, layer, under_way, qtbot):
    objects.refine()
    qtbot.waitUntil(lambda: not objects.refining.is_busy, timeout=LIMIT_MS)
    assert boxes(layer)[2] == EDGE


def test_a_free_answer_that_comes_after_the_end_changes_nothing(objects, layer, still, under_way):
    under_way.heeds_stop = False
    objects.refine()
    under_way.release()
    still()
    assert boxes(layer)[2] == EDGE
    assert runs(layer) == []


# ---------------------------------------------------------------------- what costs money


def test_a_paid_engine_is_not_asked_when_it_begins(objects, paid, refine):
    refine(2)
    assert objects.refining.is_on
    assert paid.requests == []
    assert "press Ask" in said(objects)


def test_a_paid_engine_is_not_asked_by_a_click(seen, paid, still, refine):
    refine(2)
    clicks(seen).add((44, 64))
    still()
    assert paid.requests == []


def test_ask_asks_a_paid_engine_with_the_clicks(seen, objects, layer, paid, still, refine):
    refine(2)
    clicks(seen).add((44, 64))
    objects.form.ask.native.click()
    still()
    (request,) = paid.requests
    assert [(p.row, p.col) for p in request.prompt.points] == [(20, 20)]
    assert boxes(layer)[2] == FOUND


def test_the_same_question_is_not_paid_for_twice(objects, paid, still, refine):
    refine(2)
    for _ in range(2):
        objects.form.ask.native.click()
        still()
    assert len(paid.requests) == 1


def test_the_same_free_question_is_not_asked_twice(objects, engine, still, refine):
    refine(2)
    objects.refining.ask()
    still()
    assert len(engine.requests) == 1


def test_what_was_paid_for_arrives_also_after_the_end(objects, layer, still, paid_under_way):
    objects.refine()
    paid_under_way.release()
    still()
    assert boxes(layer)[2] == FOUND
    assert objects.review.undo_words == "refine 2"


def test_while_one_paid_question_is_under_way_no_other_is_asked(objects, still, paid_under_way):
    objects.refine()
    objects.review.choose((1,))
    objects.refine()
    objects.form.ask.native.click()
    assert said(objects) == "A paid request is running; wait for its result."
    paid_under_way.release()
    still()
    assert len(paid_under_way.requests) == 1


@pytest.fixture
def created(monkeypatch):
    """The engines that were created, in order."""
    made = []
    create = _refining.create_engine
    monkeypatch.setattr(
        _refining, "create_engine", lambda name: (made.append(name), create(name))[1]
    )
    return made


def test_a_paid_engine_is_created_anew_for_each_question(
    seen, objects, paid, still, refine, created
):
    refine(2)
    for click in ((44, 64), (50, 70)):
        clicks(seen).add(click)
        objects.form.ask.native.click()
        still()
    assert len(paid.requests) == 2
    assert created == ["paid", "paid"]


def test_a_free_engine_is_created_once(objects, engine, still, refine, created):
    for label in (2, 1, 3):
        refine(label)
        objects.refine()
    assert len(engine.requests) == 3
    assert created == ["builtin"]


# ---------------------------------------------------------------------- steps


def test_several_clicks_of_one_session_are_one_step(seen, objects, layer, still, engine, refine):
    before = layer.data.copy()
    smaller = iter(range(12, 16))
    engine.answer = lambda request: Instances(
        request.shape, (solid(Box(next(smaller), 12, 24, 24)),)
    )
    refine(2)
    for click in ((44, 64), (50, 70)):
        clicks(seen).add(click)
        still()
    assert boxes(layer)[2].shape == (10, 12)
    objects.refine()
    objects.undo()
    still()
    assert np.array_equal(layer.data, before)
    assert states(layer)[2] == "unreviewed"
    assert objects.review.undo_words == ""


def test_two_sessions_are_two_steps(objects, layer, still, engine, refine):
    engine.answer = finds(solid(IN_CROP))
    refine(2)
    objects.refine()
    engine.answer = finds(solid(Box(17, 17, 25, 25)))
    refine(2)
    objects.refine()
    objects.undo()
    still()
    assert boxes(layer)[2] == FOUND
    objects.undo()
    still()
    assert boxes(layer)[2] == EDGE


def test_all_answers_of_a_session_leave_the_record_with_their_step(
    seen, objects, layer, still, refine
):
    refine(1)
    objects.refine()
    (kept,) = (run["id"] for run in runs(layer))
    refine(2)
    clicks(seen).add((44, 64))
    still()
    clicks(seen).add((50, 70))
    still()
    assert len(runs(layer)) == 4
    objects.undo()
    still()
    assert [run["id"] for run in runs(layer)] == [kept]


def test_each_answer_takes_the_place_of_the_one_before_it(seen, objects, layer, still, refine):
    refine(2)
    clicks(seen).add((44, 64))
    still()
    objects.refine()
    refine(2)
    formers = [run.get("former", []) for run in runs(layer)]
    sources = [[list(objects_of(layer)[2].source)]]
    ids = [run["id"] for run in runs(layer)]
    assert formers == [[], [[ids[0], 0, 0]], [[ids[1], 0, 0]]]
    assert sources == [[[ids[2], 0, 0]]]


def test_what_is_painted_between_two_clicks_is_brought_back_by_undo(
    seen, objects, layer, still, engine, refine
):
    engine.answer = finds(solid(IN_CROP))
    refine(2)
    paint(layer, 2, (35, 62), (35, 63))
    still()
    engine.answer = finds(solid(Box(17, 17, 25, 25)))
    clicks(seen).add((44, 64))
    still()
    assert boxes(layer)[2].shape == (8, 8)
    objects.undo()
    still()
    assert objects_of(layer)[2].instance.area == FOUND.area + 2
    assert layer.data[35, 62] == layer.data[35, 63] == 2


def test_what_is_painted_after_a_step_outlives_its_undo(objects, layer, still, finer, refine):
    refine(2)
    objects.refine()
    paint(layer, 2, (35, 62))
    still()
    objects.undo()
    still()
    assert layer.data[35, 62] == 2
    assert objects_of(layer)[2].instance.area == FOUND.area + 1
    assert states(layer)[2] == "unreviewed"


def test_a_stroke_leaves_former_steps_to_be_taken_back(objects, layer, still):
    objects.review.choose((2,))
    objects.reject()
    still()
    paint(layer, 1, (35, 2), (36, 2))
    still()
    objects.undo()
    still()
    assert states(layer)[2] == "unreviewed"
    assert shown(layer) == [1, 2]
    assert layer.data[35, 2] == 1


@pytest.fixture
def with_four(objects, layer, still):
    """One more object, which is nobody's neighbour."""
    layer.data[35:38, 2:9] = 4
    layer.refresh()
    still()


def test_new_numbers_make_steps_on_them_be_forgotten(objects, layer, still):
    objects.review.choose((2,))
    objects.accept()
    still()
    swap(layer, 1, 2)
    still()
    objects.undo()
    still()
    assert said(objects) == "There is nothing to take back."
    assert states(layer)[1] == "accepted"


def test_new_numbers_leave_later_steps_on_others_to_be_taken_back(objects, layer, still, with_four):
    for label in (2, 4):
        objects.review.choose((label,))
        objects.accept()
        still()
    swap(layer, 1, 2)
    still()
    objects.undo()
    still()
    assert said(objects) == "Taken back: accept 4."
    objects.undo()
    assert said(objects) == "There is nothing to take back."
    assert (states(layer)[1], states(layer)[4]) == ("accepted", "edited")


def test_a_step_passes_over_what_is_not_on_record_any_more(objects, layer, still):
    objects.review.choose((1, 2))
    objects.accept()
    still()
    find_store(layer).edit({2: None})
    objects.undo()
    still()
    assert states(layer)[1] == "unreviewed"
    assert 2 not in states(layer) or states(layer)[2] != "accepted"


def test_back_visits_what_was_reviewed_too(objects, layer, still):
    objects.next()
    objects.accept()
    assert objects.review.current == (2,)
    objects.next(-1)
    assert objects.review.current == (3,)


def test_next_passes_over_what_was_reviewed(objects, still):
    objects.review.choose((2,))
    objects.accept()
    objects.review.choose(())
    seen = []
    for _ in range(3):
        objects.next()
        seen.append(objects.review.current)
    assert seen == [(3,), (1,), (3,)]


def test_next_passes_over_what_a_filter_hides(objects, still):
    objects.form.view.min_score.value = 0.65
    still()
    seen = []
    for _ in range(3):
        objects.next()
        seen.append(objects.review.current)
    assert seen == [(2,), (1,), (2,)]


class TestDecisionsOnTwoPlanes:
    @pytest.fixture
    def room(self):
        return stack_room({(0, 1): Box(5, 10, 20, 40), (1, 2): Box(30, 50, 40, 70)})

    @pytest.fixture
    def rejected(self, seen, objects, still):
        for plane in (1, 0):
            seen.dims.set_current_step(0, plane)
            still()
        objects.review.choose((1, 2))
        objects.reject()
        still()

    def test_are_made_at_once(self, layer, rejected):
        assert not layer.data.any()
        assert states(layer, at_plane(0)) == {1: "rejected"}
        assert states(layer, at_plane(1)) == {2: "rejected"}

    def test_are_taken_back_at_once(self, objects, layer, still, rejected):
        objects.undo()
        still()
        assert states(layer, at_plane(0)) == {1: "unreviewed"}
        assert states(layer, at_plane(1)) == {2: "unreviewed"}
        assert objects.review.undo_words == ""
