"""How a layer is written: in small steps, for runs with napari's undo, in a type that fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels

from napari_sam3.core.adding import run_changes
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.progress import drain
from napari_sam3.core.store import ObjectStore
from napari_sam3.layers import showing as module
from napari_sam3.layers.showing import Showing

SHAPE = (12, 20)
PLANE = PlaneIndex()


def solid(top, left, bottom, right):
    box = Box(top, left, bottom, right)
    return Instance(np.ones(box.shape, bool), box)


def over(dtype=np.uint16, shape=SHAPE):
    return Showing(Labels(np.zeros(shape, dtype)), ObjectStore(shape))


def add(showing, items, index=PLANE):
    parts = {label: Part(item) for label, item in items.items()}
    showing.store.edit(run_changes(showing.store, index, parts))


def write(showing, items, index=PLANE):
    """Write a run as one step of napari's history; return whether a pixel was changed."""
    add(showing, items, index)
    return drain(showing.iter_paint(index, history=True))


def by_hand(layer, row, col, label):
    layer.data_setitem((np.array([row]), np.array([col])), label)


@pytest.fixture
def small_steps(monkeypatch):
    """Pause after each few pixels."""
    monkeypatch.setattr(module, "CELL", (2, 3))
    monkeypatch.setattr(module, "STEP_S", -1)


class TestHistory:
    @pytest.mark.usefixtures("small_steps")
    def test_one_run_is_one_undo_step_and_one_redo(self):
        showing = over()
        layer = showing.layer
        by_hand(layer, 11, 19, 25)
        before = layer.data.copy()
        write(showing, {n: solid(2 * n, 2 * n, 2 * n + 5, 2 * n + 4) for n in range(1, 4)})
        after = layer.data.copy()
        assert set(np.unique(after)) == {0, 1, 2, 3, 25}
        layer.undo()
        assert np.array_equal(layer.data, before)
        layer.redo()
        assert np.array_equal(layer.data, after)
        layer.undo()
        layer.undo()
        assert not layer.data.any()

    def test_what_is_asked_for_again_is_one_undo_step_too(self):
        showing = over()
        write(showing, {1: solid(0, 0, 6, 7), 2: solid(0, 10, 6, 16)})
        before = showing.layer.data.copy()
        write(showing, {1: solid(4, 4, 9, 9)})
        assert np.count_nonzero(showing.layer.data == 1) == 25
        showing.layer.undo()
        assert np.array_equal(showing.layer.data, before)

    def test_a_run_that_writes_nothing_makes_no_undo_step(self):
        showing = over()
        by_hand(showing.layer, 0, 0, 7)
        assert write(showing, {}) is False
        showing.layer.undo()
        assert not showing.layer.data.any()

    def test_what_is_shown_otherwise_is_no_undo_step(self):
        showing = over()
        by_hand(showing.layer, 11, 19, 7)
        add(showing, {1: solid(0, 0, 6, 7)})
        assert drain(showing.iter_paint(PLANE)) is True
        showing.layer.undo()
        assert np.count_nonzero(showing.layer.data) == 42

    @pytest.mark.usefixtures("small_steps")
    def test_a_run_that_is_broken_off_is_still_one_undo_step(self):
        showing = over()
        add(showing, {1: solid(0, 0, 6, 6)})
        steps = showing.iter_paint(PLANE, history=True)
        next(steps)
        next(steps)
        steps.close()
        written = showing.layer.data.copy()
        assert np.count_nonzero(written) == 12
        by_hand(showing.layer, 11, 19, 7)
        showing.layer.undo()
        assert np.array_equal(showing.layer.data, written)
        showing.layer.undo()
        assert not showing.layer.data.any()

    def test_undo_works_when_the_layer_had_to_be_widened(self):
        showing = over(np.uint8)
        layer = showing.layer
        by_hand(layer, 0, 0, 255)
        write(showing, {256: solid(2, 2, 4, 5)})
        assert layer.data.dtype == np.uint16
        assert layer.data[3, 3] == 256
        layer.undo()
        assert layer.data.sum() == 255
        layer.undo()
        assert not layer.data.any()
        layer.redo()
        layer.redo()
        assert layer.data[3, 3] == 256


class TestSteps:
    @pytest.mark.usefixtures("small_steps")
    @pytest.mark.parametrize("history", [True, False])
    def test_every_step_changes_few_pixels(self, history):
        showing = over()
        items = {n: solid(n, 2 * n, n + 5, 2 * n + 7) for n in range(1, 7)}
        add(showing, items)
        before = showing.layer.data.copy()
        pauses = 0
        for _ in showing.iter_paint(PLANE, history=history):
            assert np.count_nonzero(showing.layer.data != before) <= 6
            before = showing.layer.data.copy()
            pauses += 1
        view = showing.store.view_of(PLANE)
        assert np.array_equal(before, view.paint(Box.of_shape(SHAPE), np.uint16))
        assert pauses >= np.count_nonzero(before) // 6

    def test_a_large_object_is_painted_in_parts(self, monkeypatch):
        monkeypatch.setattr(module, "STEP_S", -1)
        showing = over(shape=(700, 1300))
        add(showing, {1: solid(0, 0, 690, 1200)})
        assert len(list(showing.iter_paint(PLANE))) == 3 * 3
        assert np.count_nonzero(showing.layer.data) == 690 * 1200

    @pytest.mark.parametrize("cell", [(1, 1), (3, 7), (256, 512)])
    def test_the_size_of_the_steps_changes_nothing(self, monkeypatch, cell):
        monkeypatch.setattr(module, "CELL", cell)
        monkeypatch.setattr(module, "STEP_S", -1)
        rng, showing = np.random.default_rng(5), over()
        masks = rng.random((6, *SHAPE)) > 0.6
        write(showing, {n: Instance.from_mask(mask) for n, mask in enumerate(masks[:4], start=1)})
        write(showing, {2: Instance.from_mask(masks[4]), 5: Instance.from_mask(masks[5])})
        view = showing.store.view_of(PLANE)
        assert np.array_equal(showing.layer.data, view.paint(Box.of_shape(SHAPE), np.uint16))

    @pytest.mark.usefixtures("small_steps")
    @pytest.mark.parametrize("label", [9, 0])
    def test_what_is_painted_by_hand_between_two_steps_stays(self, label):
        showing = over()
        write(showing, {3: solid(4, 4, 6, 6)})
        add(showing, {1: solid(0, 0, 6, 6)})
        steps = showing.iter_paint(PLANE, history=True)
        next(steps)
        by_hand(showing.layer, 5, 5, label)
        drain(steps)
        assert showing.layer.data[5, 5] == label
        assert np.count_nonzero(showing.layer.data == 1) == 32

    @pytest.mark.usefixtures("small_steps")
    def test_what_was_begun_and_not_gone_on_with_is_painted_over(self):
        showing = over()
        add(showing, {1: solid(0, 0, 6, 6)})
        steps = showing.iter_paint(PLANE)
        next(steps)
        steps.close()
        one = showing.store.objects[1]
        showing.store.edit({1: replace(one, state="rejected")})
        drain(showing.iter_paint(PLANE))
        assert not showing.layer.data.any()
        assert not showing.stale

    @pytest.mark.usefixtures("small_steps")
    def test_what_was_begun_before_is_painted_over_by_who_comes_next(self):
        showing = over()
        add(showing, {1: solid(0, 0, 6, 6)})
        steps = showing.iter_paint(PLANE)
        next(steps)
        steps.close()
        showing.close()
        showing.store.edit({1: None})
        again = Showing(showing.layer, showing.store)
        assert again.stale == {PLANE}
        drain(again.iter_paint(PLANE))
        assert not showing.layer.data.any()

    @pytest.mark.usefixtures("small_steps")
    def test_another_shape_that_comes_between_two_steps_is_told(self):
        showing = over()
        add(showing, {1: solid(0, 0, 6, 6)})
        steps = showing.iter_paint(PLANE)
        next(steps)
        showing.layer.data = np.zeros((5, 7), np.uint16)
        with pytest.raises(IndexError, match=r"shape \(5, 7\)"):
            drain(steps)
        assert not showing.layer.data.any()


class TestWhere:
    def test_labels_of_others_are_never_overwritten(self):
        showing = over()
        painted = np.zeros(SHAPE, bool)
        painted[3:6, 0:20:3] = True
        showing.layer.data_setitem(np.nonzero(painted), 7)
        write(showing, {8: solid(2, 2, 8, 18)})
        assert np.array_equal(showing.layer.data == 7, painted)
        assert np.count_nonzero(showing.layer.data == 8) == 96 - painted[2:8, 2:18].sum()

    def test_only_the_mask_s_pixels_are_painted(self):
        showing = over()
        mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
        write(showing, {1: Instance(mask, Box(3, 4, 5, 7))})
        assert np.array_equal(showing.layer.data[3:5, 4:7], mask)
        assert np.count_nonzero(showing.layer.data) == 3

    @pytest.mark.parametrize("shown", [(1, 2), (2, 1), (2, 0)])
    @pytest.mark.parametrize("history", [True, False])
    def test_a_run_is_written_into_its_plane_and_no_other(self, shown, history):
        showing, index = over(shape=(6, 12, 20)), PlaneIndex(shown, (3,))
        showing.layer.data[2, 8:10, 8:11] = 1
        add(showing, {4: solid(1, 2, 3, 5)}, index)
        drain(showing.iter_paint(index, history=history))
        expected = np.zeros((6, 12, 20), int)
        expected[2, 8:10, 8:11] = 1
        index.cut(expected)[1:3, 2:5] = 4
        assert np.array_equal(showing.layer.data, expected)

    def test_our_own_writing_can_be_told_from_that_of_others(self):
        showing, told = over(), []
        for event in (showing.layer.events.set_data, showing.layer.events.labels_update):
            event.connect(lambda _: told.append(showing.is_writing))
        write(showing, {1: solid(0, 0, 6, 7)})
        add(showing, {2: solid(8, 0, 10, 7)})
        drain(showing.iter_paint(PLANE))
        assert told
        assert all(told)
        assert not showing.is_writing


class TestRoom:
    @pytest.mark.parametrize(
        ("dtype", "label", "widened"),
        [
            (np.uint8, 255, np.uint8),
            (np.uint8, 256, np.uint16),
            (np.uint16, 65535, np.uint16),
            (np.uint16, 65536, np.uint32),
            (np.uint32, 65536, np.uint32),
            (np.int8, 128, np.int16),
            (np.int16, 32768, np.int32),
            (np.int32, 70000, np.int32),
            (np.int64, 70000, np.int64),
            (np.uint32, 1 << 32, np.uint64),
        ],
    )
    def test_a_label_that_does_not_fit_widens_the_layer_and_no_sooner(self, dtype, label, widened):
        showing = over(dtype)
        showing.layer.data[11, 19] = 3
        write(showing, {label: solid(2, 2, 4, 5)})
        assert showing.layer.data.dtype == widened
        assert showing.layer.data[3, 3] == label
        assert showing.layer.data[11, 19] == 3

    def test_the_256th_object_of_a_run_does_not_overflow(self):
        showing = over(np.uint8, (16, 20))
        cells = [(row, col) for row in range(16) for col in range(16)]
        items = {n: solid(r, c, r + 1, c + 1) for n, (r, c) in enumerate(cells, start=1)}
        write(showing, items)
        assert set(np.unique(showing.layer.data)) == set(range(257))

    def test_a_label_that_is_not_shown_needs_no_room(self):
        showing = over(np.uint8)
        add(showing, {300: solid(2, 2, 4, 5)})
        showing.store.edit({300: replace(showing.store.objects[300], state="rejected")})
        drain(showing.iter_paint(PLANE))
        assert showing.layer.data.dtype == np.uint8
        assert not showing.layer.data.any()

    def test_negative_labels_survive_widening(self):
        showing = over(np.int8)
        showing.layer.data[6:] = -4
        write(showing, {200: solid(2, 2, 4, 5)})
        assert (showing.layer.data[6:] == -4).all()
        assert showing.layer.data[3, 3] == 200
