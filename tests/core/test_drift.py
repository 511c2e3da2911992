from __future__ import annotations

import numpy as np

from napari_sam3.core.drift import Drift, compare_labels, match_objects
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances


def solid(*box):
    return Instance(np.ones(Box(*box).shape, bool), Box(*box))


def test_label_images_are_compared_label_by_label():
    old = np.array([[1, 1, 0, 2, 2], [3, 3, 0, 2, 2]])
    new = np.array([[1, 0, 0, 2, 2], [4, 4, 0, 2, 2]])
    assert compare_labels(old, new) == Drift((0.5, 1.0), vanished=1, appeared=1)
    assert compare_labels(old, old).is_within(1)


def test_labels_that_changed_places_agree_in_nothing():
    old = np.array([[1, 2]])
    assert compare_labels(old, old[:, ::-1]) == Drift((0.0, 0.0))


def test_a_drift_is_within_its_tolerance_only_if_no_object_came_or_went():
    assert Drift((0.99, 1.0)).is_within(0.99)
    assert not Drift((0.98, 1.0)).is_within(0.99)
    assert not Drift((1.0,), vanished=1).is_within(0)
    assert not Drift((1.0,), appeared=1).is_within(0)
    total = Drift((0.5,), 1, 2) + Drift((1.0,), 3, 4)
    assert total == Drift((0.5, 1.0), 4, 6)
    assert (total.objects, total.below(0.9)) == (6, 1)


def test_each_object_is_matched_to_the_one_that_agrees_most():
    old = {0: solid(0, 0, 4, 6), 7: solid(0, 6, 4, 12), 9: solid(15, 0, 18, 3)}
    new = Instances((20, 30), (solid(0, 5, 4, 12), solid(0, 0, 4, 5), solid(10, 20, 12, 22)))
    assert match_objects(old, new) == {0: (1, 20 / 24), 7: (0, 24 / 28)}


def test_boxes_that_cross_are_no_match_where_no_pixel_is_shared():
    mask = np.zeros((4, 6), bool)
    mask[0, 0] = True
    corner = Instance(mask, Box(0, 0, 4, 6))
    assert match_objects({1: corner}, Instances((20, 30), (solid(2, 2, 6, 9),))) == {}


def test_what_lay_under_others_is_left_out_of_account():
    view = np.zeros((10, 14), int)
    view[2:6, 2:8] = 1
    view[2:6, 5:12] = 2
    old = {1: solid(2, 2, 6, 5), 2: solid(2, 5, 6, 12)}
    new = Instances(view.shape, (solid(2, 2, 6, 8), solid(2, 5, 6, 12)))
    assert match_objects(old, new, view) == {1: (0, 1.0), 2: (1, 1.0)}
