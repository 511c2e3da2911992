from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.undoing import undone_labels

ITEM = Instance(np.ones((2, 3), bool), Box(4, 5, 6, 8))


def record(**runs):
    """Return objects by label; each run is named and has these."""
    return {
        label: PlaneObject(label, ITEM, source=None if run == "by_hand" else (run, 0, place))
        for run, labels in runs.items()
        for place, label in enumerate(labels)
    }


OBJECTS = record(first=(1, 2), second=(3, 4, 5), by_hand=(6,))


def test_a_run_of_which_nothing_is_left_was_undone():
    assert undone_labels(OBJECTS, {3, 4, 5}, {1, 2, 6}) == {3, 4, 5}


def test_what_a_run_hid_goes_with_it():
    assert undone_labels(OBJECTS, {3}, {1, 2, 6}) == {3, 4, 5}


def test_one_that_was_erased_from_many_was_erased_by_hand():
    assert undone_labels(OBJECTS, {3, 4}, {1, 2, 5, 6}) == set()


def test_a_run_that_was_not_to_be_seen_before_was_not_undone():
    assert undone_labels(OBJECTS, {1}, {2, 6}) == set()
    assert undone_labels(OBJECTS, set(), {6}) == set()


def test_several_runs_may_be_undone_at_once():
    assert undone_labels(OBJECTS, {1, 2, 3, 4, 5}, {6}) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("present", [set(), {1, 2, 3, 4, 5}])
def test_what_nobody_asked_for_is_no_run(present):
    assert 6 not in undone_labels(OBJECTS, {6}, present)
