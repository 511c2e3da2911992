"""What is written of labels that are painted in while a thread writes them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.snapshots import Snapshot
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View

SHAPE = (3, 12, 17)
PLANES = [PlaneIndex((1, 2), (z,)) for z in range(SHAPE[0])]
WHOLE = Box(0, 0, *SHAPE[1:])
ONE, TWO, UNDER = Box(1, 1, 6, 8), Box(7, 9, 11, 16), Box(2, 2, 4, 5)


def over(label, box, planes=PLANES, **others):
    part = Part(Instance(np.ones(box.shape, bool), box, others.pop("score", 0.9)))
    return LabelledObject(label, dict.fromkeys(planes, part), **others)


def shown(store, dtype=np.uint16):
    data = np.zeros(store.shape, dtype)
    for index in store.planes:
        index.cut(data)[...] = store.view_of(index).paint(WHOLE, dtype)
    return data


@pytest.fixture
def store():
    return ObjectStore(SHAPE, [over(1, ONE), over(2, TWO), over(3, UNDER, score=0.5, depth=1)])


def states(store):
    return {label: one.state for label, one in store.objects.items()}


def areas(store):
    return {label: one.area for label, one in store.objects.items()}


def test_what_is_in_step_is_written_as_it_is(store):
    data = shown(store)
    labels, written = Snapshot.of(data, store).in_step()
    np.testing.assert_array_equal(labels, data)
    assert dict(written.objects) == dict(store.objects)
    labels[:] = 9
    assert not (data == 9).any()


def test_what_others_painted_is_in_both(store):
    data = shown(store)
    snapshot = Snapshot.of(data, store)
    # after it was taken, before it is written
    data[1][TWO.slices] = 0
    data[0, 10:12, :3] = 7
    labels, written = snapshot.in_step()
    np.testing.assert_array_equal(labels, data)
    assert states(written) == {1: "unreviewed", 2: "edited", 3: "unreviewed", 7: "edited"}
    assert areas(written)[2] == 2 * TWO.area
    np.testing.assert_array_equal(shown(written), labels)
    assert states(store)[2] == "unreviewed"


def test_a_view_that_the_pixels_do_not_show_yet_is_in_both(store):
    data = shown(store)
    store.show(View("smallest", min_area=50))
    labels, written = Snapshot.of(data, store).in_step()
    assert (written.view, states(written)) == (store.view, states(store))
    np.testing.assert_array_equal(labels, shown(store))
    assert set(np.unique(labels).tolist()) == {0, 1, 2}


def paint(store, data, planes=PLANES, part=WHOLE):
    """Paint what the store says, as the layer's own writer does; perhaps of a part alone."""
    for index in planes:
        target = store.view_of(index)
        index.cut(data)[part.slices] = target.paint(part, data.dtype)
        if part == WHOLE:
            store.painted[index] = target
            store.painting.pop(index, None)
        else:
            store.painting[index] = target


@pytest.mark.parametrize("part", [WHOLE, Box(0, 0, 9, 12)])
def test_what_is_decided_while_it_is_written_stays_out(store, part):
    data = before = shown(store)
    before = before.copy()
    snapshot = Snapshot.of(data, store)
    store.edit({1: over(1, ONE, state="rejected")})
    store.edit({5: over(5, Box(0, 12, 3, 17), PLANES[:2])})
    store.show(View(min_area=10**6))
    store.show(View("smallest"))
    paint(store, data, part=part)
    data[2, 11, 0] = 8
    labels, written = snapshot.in_step()
    assert states(written) == {1: "unreviewed", 2: "unreviewed", 3: "unreviewed", 8: "edited"}
    before[2, 11, 0] = 8
    np.testing.assert_array_equal(labels, before)


def test_one_that_nobody_went_on_to_paint_is_whole(store):
    data = shown(store)
    store.show(View("smallest"))
    paint(store, data, part=Box(0, 0, 9, 4))
    labels, written = Snapshot.of(data, store).in_step()
    np.testing.assert_array_equal(labels, shown(store))
    assert states(written) == states(store)


def test_of_one_plane_no_other_is_read(store):
    data = shown(store)
    store.show(View(min_area=70))
    data[1, 10:12, :3] = 7

    class OnePlane:
        shape, ndim = data.shape, data.ndim

        def __getitem__(self, at):
            assert at[0] == 1
            return data[at]

    labels, written = Snapshot(OnePlane(), store, store).plane_in_step(PLANES[1])
    assert set(np.unique(labels).tolist()) == {0, 1, 2}
    assert {n for n in written.on(PLANES[1]) if n not in written.hidden} == {1, 2}
    assert written.objects[7].area == 6


def test_a_plane_that_nobody_has_looked_at_is_nobodys_edit(store):
    data = np.zeros(SHAPE, np.uint8)
    data[1, 3:6, 4:9] = 5
    labels, written = Snapshot.of(data, ObjectStore(SHAPE)).plane_in_step(PLANES[1])
    assert states(written) == {5: "unreviewed"}
    np.testing.assert_array_equal(labels, data[1])


def test_a_label_that_shows_again_finds_room():
    store = ObjectStore(SHAPE, [over(300, ONE, state="rejected")])
    data = shown(store, np.uint16).astype(np.uint8)
    store.edit({300: over(300, ONE)})
    labels, _ = Snapshot.of(data, store).in_step()
    assert (labels == 300).sum() == 3 * ONE.area


def test_labels_of_another_shape_have_no_objects(store):
    labels, written = Snapshot.of(np.ones((4, 6), bool), store).in_step()
    assert (labels == 1).all()
    assert not written.objects


def test_what_is_below_0_stays(store):
    data = shown(store, np.int16)
    data[0, 2, 2] = data[1, 0, 0] = -3
    store.show(View("smallest"))
    labels, _ = Snapshot.of(data, store).in_step()
    assert (labels[0, 2, 2], labels[1, 0, 0]) == (-3, -3)


def test_a_run_that_was_undone_and_done_again_is_back(store):
    data = shown(store)
    store.undone[2] = store.objects[2]
    store.edit({2: None})
    for index in PLANES:
        store.painted[index] = store.view_of(index)
    _, written = Snapshot.of(data, store).in_step()
    assert (written.objects[2].state, written.objects[2].score) == ("unreviewed", 0.9)
    assert set(store.undone) == {2}
