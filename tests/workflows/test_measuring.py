from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst
from skimage.measure import regionprops

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.objects import PlaneObject
from napari_sam3.workflows.exporting import Exported, export
from napari_sam3.workflows.measuring import COLUMNS, iter_measure, measure
from tests.tiers import examples

from .exported import ABOUT, SHAPE, exported, labelled, masks, objects


def kept():
    return exported().kept


def theirs(mask, size, intensity=None):
    spacing = (size.row, size.row if size.is_square else size.col)
    (region,) = regionprops(mask.astype(np.uint8), intensity, spacing=spacing)
    return region


@pytest.mark.parametrize("size", [PixelSize(), PixelSize(0.5, 0.25, "micrometer")])
def test_every_object_is_measured_whole_as_scikit_image_does_it_alone(size):
    values = np.random.default_rng(5).normal(100, 20, SHAPE)
    table = measure(kept(), SHAPE, size, values)
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS
    for (_, row), (label, mask) in zip(table.iterrows(), masks().items(), strict=True):
        region = theirs(mask, size, values)
        assert row["label"] == label
        expected = {
            "area_px": np.count_nonzero(mask),
            "area": region.area,
            "centroid_row": region.centroid[0],
            "centroid_col": region.centroid[1],
            "equivalent_diameter": region.equivalent_diameter_area,
            "major_axis_length": region.axis_major_length,
            "minor_axis_length": region.axis_minor_length,
            "eccentricity": region.eccentricity,
            "solidity": region.solidity,
            "intensity_mean": region.intensity_mean,
            "intensity_min": region.intensity_min,
            "intensity_max": region.intensity_max,
            "intensity_std": region.intensity_std,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, abs=1e-9), name
        rows, cols = np.nonzero(mask)
        assert row["centroid_row_px"] == pytest.approx(rows.mean())
        assert row["centroid_col_px"] == pytest.approx(cols.mean())
        box = row[["bbox_top", "bbox_left", "bbox_bottom", "bbox_right"]].tolist()
        assert box == [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]
        if size.is_square:
            assert row["perimeter"] == pytest.approx(region.perimeter)
        else:
            assert np.isnan(row["perimeter"])


@examples(40)
@given(npst.arrays(bool, npst.array_shapes(min_dims=2, max_dims=2, max_side=8)))
def test_ellipses_are_scikit_images(mask):
    instance = Instance.from_mask(mask)
    if instance is None:
        return
    size = PixelSize(0.7, 1.3, "nm")
    row = measure([PlaneObject(1, instance)], mask.shape, size).iloc[0]
    region = theirs(mask, size)
    # the root of what is rounded away from 0 is a millionth of a pixel
    assert row["major_axis_length"] == pytest.approx(region.axis_major_length, abs=1e-6)
    assert row["minor_axis_length"] == pytest.approx(region.axis_minor_length, abs=1e-6)
    assert row["eccentricity"] == pytest.approx(region.eccentricity, abs=1e-6)


def test_a_square_pixel_of_any_size_scales_lengths_and_areas():
    one, other = (measure(kept(), SHAPE, PixelSize(side, side, "um")) for side in (1, 0.5))
    for name in ("perimeter", "major_axis_length", "equivalent_diameter", "centroid_row"):
        np.testing.assert_allclose(one[name] / 2, other[name])
    np.testing.assert_allclose(one["area"] / 4, other["area"])
    for name in ("area_px", "centroid_row_px", "eccentricity", "solidity", "bbox_top"):
        np.testing.assert_allclose(one[name], other[name])


def test_what_is_said_of_an_object_stands_beside_its_measurements():
    table = measure(kept(), SHAPE, PixelSize(2, 2, "nanometer")).set_index("label")
    for label, (score, concept, engine, state) in ABOUT.items():
        row = table.loc[label]
        assert (row["concept"], row["engine"], row["state"]) == (concept, engine, state)
        assert row["unit"] == "nanometer"
        assert np.isnan(row["score"]) if score is None else row["score"] == score


def test_only_objects_at_the_edge_touch_it():
    table = measure(kept(), SHAPE).set_index("label")
    assert table["touches_edge"].to_dict() == {1: False, 2: False, 5: False, 7: False, 300: True}
    rows, cols = SHAPE
    for box in (
        Box(0, 5, 2, 7),
        Box(5, 0, 7, 2),
        Box(rows - 1, 3, rows, 4),
        Box(3, cols - 1, 4, cols),
    ):
        item = Instance(np.ones(box.shape, bool), box)
        assert measure([PlaneObject(1, item)], SHAPE)["touches_edge"].all()


def test_a_single_pixel_and_a_line_can_be_measured():
    masks = [np.zeros(SHAPE, bool) for _ in range(2)]
    masks[0][4, 5] = masks[1][7, 3:20] = True
    table = measure([labelled(n + 1, mask) for n, mask in enumerate(masks)], SHAPE)
    assert table["area_px"].tolist() == [1, 17]
    assert table["minor_axis_length"].tolist() == [0, 0]
    assert table["eccentricity"].tolist() == [0, 1]


def test_equal_labels_and_full_overlaps_are_rows_of_their_own():
    ring = masks()[1]
    table = measure([labelled(3, ring), labelled(3, ring), labelled(2, masks()[2])], SHAPE)
    assert table["label"].tolist() == [3, 3, 2]
    assert table["area_px"].tolist() == [ring.sum(), ring.sum(), masks()[2].sum()]
    assert table["area"].tolist() == table["area_px"].tolist()


def test_no_object_is_a_table_with_all_columns():
    table = measure([], SHAPE, intensity=np.zeros(SHAPE))
    assert table.empty
    assert tuple(table.columns[: len(COLUMNS)]) == COLUMNS
    assert len(table.columns) == len(COLUMNS) + 5


def test_an_intensity_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="intensity"):
        measure(kept(), SHAPE, intensity=np.zeros((3, 4)))


def test_progress_counts_the_objects():
    steps = [(step.done, step.total) for step in iter_measure(objects(), SHAPE)]
    assert steps[0] == (0, 6)
    assert steps[-1] == (6, 6)


def read_csv(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))


def test_the_csv_is_rfc_4180_and_has_empty_cells_for_what_is_not_known(tmp_path):
    (path,) = export(tmp_path / "cells.csv", exported())
    assert path.read_bytes().count(b"\r\n") == 6
    rows = read_csv(path)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["label"] for row in rows] == ["1", "2", "5", "7", "300"]
    assert [row["score"] for row in rows] == ["0.875", "", "0.5", "0.25", "1.0"]
    assert {row["perimeter"] for row in rows} == {""}
    assert rows[2]["concept"] == "mitotic, späte Phase"
    assert {row["unit"] for row in rows} == {"micrometer"}
    assert [float(row["area"]) for row in rows] == [int(row["area_px"]) / 8 for row in rows]


def test_pandas_reads_the_csv_with_the_values_of_the_image(tmp_path):
    values = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)
    (path,) = export(tmp_path / "cells.csv", exported(intensity=values))
    table = pd.read_csv(path).set_index("label")
    for label, mask in masks().items():
        assert table.loc[label, "intensity_mean"] == pytest.approx(values[mask].mean())
        assert table.loc[label, "intensity_max"] == values[mask].max()
        assert table.loc[label, "intensity_min"] == values[mask].min()
        assert table.loc[label, "intensity_std"] == pytest.approx(values[mask].std())


def test_a_concept_that_looks_like_csv_stays_one_cell(tmp_path):
    concept = 'say "cell",\nor; not'
    one = labelled(1, masks()[1], concept=concept)
    (path,) = export(tmp_path / "cells.csv", Exported((one,), SHAPE))
    (row,) = read_csv(path)
    assert row["concept"] == concept


def test_coordinates_are_those_of_the_world():
    turn = np.array([[0.0, -0.5, 7.0], [0.25, 0.0, -3.0]])
    table = measure(kept(), SHAPE, PixelSize(0.25, 0.5, "micrometer"), to_world=turn)
    rows, cols = table["centroid_row_px"], table["centroid_col_px"]
    np.testing.assert_allclose(table["centroid_row"], 7 - 0.5 * cols)
    np.testing.assert_allclose(table["centroid_col"], 0.25 * rows - 3)
    np.testing.assert_allclose(rows, [np.nonzero(mask)[0].mean() for mask in masks().values()])


def test_a_table_of_placed_labels_says_where_they_lie_in_the_world(tmp_path):
    (path,) = export(tmp_path / "cells.csv", exported(translate=(100.0, -20.0)))
    for row, mask in zip(read_csv(path), masks().values(), strict=True):
        middle = [places.mean() for places in np.nonzero(mask)]
        assert float(row["centroid_row"]) == pytest.approx(100 + 0.5 * middle[0])
        assert float(row["centroid_col"]) == pytest.approx(-20 + 0.25 * middle[1])


def test_where_the_image_ends_unknown_nothing_is_said_to_touch_its_edge(tmp_path):
    assert measure(kept(), SHAPE, has_edges=False)["touches_edge"].isna().all()
    (path,) = export(tmp_path / "cells.csv", exported(has_edges=False))
    assert {row["touches_edge"] for row in read_csv(path)} == {""}


@pytest.mark.parametrize("hide", ["nan", "mask"])
def test_pixels_without_a_value_are_left_out_of_the_intensities_and_counted(hide):
    values = np.random.default_rng(1).normal(size=SHAPE)
    gone = np.zeros(SHAPE, bool)
    gone[8:12], gone[25:] = True, True
    image = np.ma.MaskedArray(values, gone) if hide == "mask" else np.where(gone, np.nan, values)
    table = measure(kept(), SHAPE, intensity=image).set_index("label")
    for label, mask in masks().items():
        row, left = table.loc[label], values[mask & ~gone]
        assert row["intensity_missing_px"] == np.count_nonzero(mask & gone)
        if left.size == 0:
            assert row[["intensity_mean", "intensity_min", "intensity_std"]].isna().all()
            continue
        assert row["intensity_mean"] == pytest.approx(left.mean())
        assert row["intensity_std"] == pytest.approx(left.std())
        assert (row["intensity_min"], row["intensity_max"]) == (left.min(), left.max())
    assert table.loc[300, "intensity_missing_px"] == masks()[300].sum()
