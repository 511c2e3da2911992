"""Objects to export: on an image that is neither square nor symmetric, some one over another."""

from __future__ import annotations

import numpy as np

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.workflows.exporting import Exported

SHAPE = (31, 47)
CALIBRATION = PixelSize(0.5, 0.25, "micrometer")


def masks():
    """Full masks by label: a ring, a part over it, two parts, diagonal pixels, one at the edge."""
    found = {label: np.zeros(SHAPE, bool) for label in (1, 2, 5, 7, 300)}
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(row - 12.5, col - 13)
    found[1][(distance < 9.2) & (distance > 3.1)] = True
    found[2][8:17, 18:27] = True
    found[5][20:24, 30:33] = found[5][26:29, 36:44] = True
    found[7][2:4, 35:37] = found[7][4, 37] = True
    found[300][25:, :3] = True
    return found


ABOUT = {
    1: (0.875, "nucleus", "Built-in", "accepted"),
    2: (None, "nucleus", "SAM3 (Segmind)", "unreviewed"),
    5: (0.5, "mitotic, späte Phase", "Built-in", "edited"),
    7: (0.25, "", "", "unreviewed"),
    300: (1.0, "a/b: c", "Built-in", "unreviewed"),
}


def labelled(label, mask, score=None, concept="", engine="", state="unreviewed", depth=0):
    return PlaneObject(label, Instance.from_mask(mask, score, concept), engine, state, depth=depth)


def objects():
    kept = tuple(
        labelled(label, mask, *ABOUT[label], depth=-label) for label, mask in masks().items()
    )
    everything = np.ones(SHAPE, bool)
    return (*kept[:2], labelled(4, everything, 0.9, "debris", state="rejected"), *kept[2:])


def exported(**others):
    said = {"pixel_size": CALIBRATION, "image_name": "cells in März.tif"}
    return Exported(objects(), SHAPE, **said | others)


def whole(one, shape=SHAPE):
    """The full mask of an object."""
    mask = np.zeros(shape, bool)
    mask[one.instance.box.slices] = one.instance.mask
    return mask


def assert_same_objects(found, *, described=True, whole_ones=True):
    """Those that were not rejected, with their labels, and what is known of them."""
    expected = masks()
    assert sorted(one.label for one in found) == sorted(expected)
    for one in found:
        if whole_ones:
            np.testing.assert_array_equal(whole(one), expected[one.label])
        if described:
            said = (one.instance.score, one.instance.concept, one.engine, one.state)
            assert said == ABOUT[one.label]
