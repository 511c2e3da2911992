from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage
from shapely.geometry import MultiPolygon, Point, Polygon
from skimage.draw import polygon2mask

from napari_sam3.core.outlines import (
    Outline,
    count_crossings,
    instance_of_outlines,
    instance_of_rings,
    trace_outlines,
)

masks = npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))


def filled(outlines, shape):
    mask = np.zeros(shape, bool)
    item = instance_of_outlines(outlines, shape)
    if item is not None:
        mask[item.box.slices] = item.mask
    return mask


@given(masks)
def test_a_mask_survives_the_round_trip(mask):
    np.testing.assert_array_equal(filled(trace_outlines(mask), mask.shape), mask)


@given(masks)
def test_outlines_are_valid_polygons_of_exactly_the_pixels(mask):
    outlines = trace_outlines(mask)
    polygons = [Polygon(one.outer, one.holes) for one in outlines]
    assert MultiPolygon(polygons).is_valid
    assert sum(one.area for one in polygons) == np.count_nonzero(mask)


@given(masks)
def test_each_part_whose_pixels_share_edges_is_one_polygon(mask):
    assert len(trace_outlines(mask)) == ndimage.label(mask)[1]


@given(masks)
def test_rings_turn_at_each_point_and_run_as_geojson_has_them(mask):
    for outline in trace_outlines(mask):
        for ring in outline.rings:
            steps = np.roll(ring, -1, axis=0) - ring
            is_level = steps[:, 0] == 0
            assert ((steps != 0).sum(axis=1) == 1).all()
            assert (is_level != np.roll(is_level, 1)).all()
            is_outer = ring is outline.outer
            assert Polygon(ring[:, ::-1]).exterior.is_ccw == is_outer


def test_pixels_that_touch_by_corners_are_two_polygons():
    outlines = trace_outlines(np.array([[1, 0, 0], [0, 1, 1]], bool))
    assert [one.outer.tolist() for one in outlines] == [
        [[0, 0], [0, 1], [1, 1], [1, 0]],
        [[1, 1], [1, 3], [2, 3], [2, 1]],
    ]


def test_a_hole_lies_in_its_own_part_and_an_island_in_the_hole_is_another():
    mask = np.ones((7, 9), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    outer, island = trace_outlines(mask)
    assert (len(outer.holes), Polygon(outer.holes[0]).area) == (1, 25)
    assert (island.holes, Polygon(island.outer).area) == ((), 1)


def test_the_mask_of_an_empty_image_has_no_outline():
    assert trace_outlines(np.zeros((3, 4), bool)) == []
    assert not filled([], (3, 4)).any()


corners = npst.arrays(
    float, st.tuples(st.integers(3, 7), st.just(2)), elements=st.floats(-4, 15, width=16)
)


@given(corners)
def test_any_other_polygon_holds_the_pixels_whose_centres_it_holds(ring):
    mask = filled([Outline(ring)], (9, 11))
    shape = Polygon(ring)
    if not shape.is_valid:
        return
    for row, col in np.ndindex(mask.shape):
        centre = Point(row + 0.5, col + 0.5)
        # on the line itself, either is right
        if shape.exterior.distance(centre) > 1e-6:
            assert mask[row, col] == shape.contains(centre)


def test_scikit_image_fills_a_polygon_alike():
    ring = np.array([[0.3, 2.2], [8.1, 0.4], [11.7, 9.3], [4.2, 12.6], [5.1, 5.3]])
    np.testing.assert_array_equal(
        filled([Outline(ring)], (13, 14)), polygon2mask((13, 14), ring - 0.5)
    )


def test_polygons_side_by_side_share_no_pixel_and_leave_none_out():
    left = np.array([[0, 0], [0, 4.5], [6, 2.5], [6, 0]], float)
    right = np.array([[0, 4.5], [0, 8], [6, 8], [6, 2.5]], float)
    one, two = (filled([Outline(ring)], (6, 8)) for ring in (left, right))
    assert (one ^ two).all()


def test_what_reaches_out_of_the_image_is_cut_off():
    ring = np.array([[-5, -5], [-5, 3], [2, 3], [2, -5]])
    mask = filled([Outline(ring)], (4, 5))
    assert mask[:2, :3].all()
    assert np.count_nonzero(mask) == 6
    assert instance_of_outlines([Outline(ring + 100)], (4, 5)) is None


def test_an_object_in_a_large_image_is_only_as_large_as_its_box():
    ring = np.array([[70_000, 80_000], [70_000, 80_004], [70_003, 80_004], [70_003, 80_000]])
    item = instance_of_outlines([Outline(ring)], (100_000, 100_000))
    assert item.mask.shape == (3, 4)
    assert (item.box.top, item.box.left) == (70_000, 80_000)


def test_what_two_rings_go_around_is_outside():
    outer = np.array([[0, 0], [0, 9], [9, 9], [9, 0]])
    inner = np.array([[3, 3], [3, 6], [6, 6], [6, 3]])
    assert instance_of_rings([outer, inner], (9, 9)).area == 81 - 9
    assert instance_of_rings([inner, inner], (9, 9)) is None
    assert instance_of_rings([], (9, 9)) is None


@pytest.mark.parametrize(
    ("ring", "why"),
    [
        ([[0, 0], [1, 1]], "three points"),
        ([0, 1, 2], "three points"),
        ([[0, 0], [0, np.nan], [1, 1]], "at no place"),
        ([[0, 0], [0, 1e300], [1, 1]], "at no place"),
        ([[0, 0], [0, np.inf], [1, 1]], "at no place"),
    ],
)
def test_what_is_no_ring_is_refused(ring, why):
    square = np.array([[0, 0], [0, 4], [4, 4], [4, 0]])
    for refuse in (
        lambda ring: instance_of_outlines([Outline(ring)], (5, 5)),
        lambda ring: instance_of_outlines([Outline(square, (ring,))], (5, 5)),
        lambda ring: instance_of_rings([ring], (5, 5)),
        lambda ring: count_crossings([ring], 5),
    ):
        with pytest.raises(ValueError, match=why):
            refuse(np.array(ring, float))


def test_a_huge_polygon_is_refused_before_it_is_made():
    ring = np.array([[0, 0], [0, 900_000], [900_000, 0]])
    with pytest.raises(ValueError, match="too large"):
        instance_of_outlines([Outline(ring)], (1_000_000, 1_000_000), max_area=1 << 20)
    zigzag = np.tile([[0.0, 0.0], [100_000.0, 1.0]], (3000, 1))
    assert count_crossings([zigzag], 100_000) > 1 << 28
    with pytest.raises(ValueError, match="too long"):
        instance_of_outlines([Outline(zigzag)], (100_000, 2))
