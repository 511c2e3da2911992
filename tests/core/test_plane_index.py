from __future__ import annotations

import numpy as np
import pytest

from napari_sam3.core.plane_index import PlaneIndex

DATA = np.arange(3 * 4 * 5).reshape(3, 4, 5)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (PlaneIndex((1, 2), (2,)), DATA[2]),
        (PlaneIndex((0, 2), (3,)), DATA[:, 3]),
        (PlaneIndex((2, 0), (1,)), DATA[:, 1].T),
    ],
)
def test_a_plane_is_cut_as_it_is_shown(index, expected):
    assert np.array_equal(index.cut(DATA), expected)


def test_what_is_written_in_a_plane_is_in_the_array():
    data = DATA.copy()
    PlaneIndex((2, 1), (0,)).cut(data)[4, 1] = 99
    assert data[0, 1, 4] == 99


@pytest.mark.parametrize("index", [PlaneIndex(), PlaneIndex((1, 2), (3,))])
def test_a_plane_that_is_not_there_is_refused(index):
    with pytest.raises(IndexError):
        index.cut(DATA)


def test_pixels_of_a_plane_are_points_of_the_array():
    index = PlaneIndex((2, 0), (7,))
    assert index.to_data([[1.5, 2]]).tolist() == [[2, 7, 1.5]]
    assert index.position == (0, 7, 0)
