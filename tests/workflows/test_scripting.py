"""Measuring, exporting and evaluating objects in whatever form a script has them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import AnswerRecord, SegmentationResult
from napari_sam3.errors import ImageError
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.scripting import evaluate, export, measure

SHAPE = (20, 30)
RECORD = AnswerRecord("k", "i", "a", "builtin", "m", {}, 0.0)


def square(top, left, size, **about):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + size, left : left + size] = True
    return Instance.from_mask(mask, **about)


# the second hides a part of the first
FOUND = Instances(SHAPE, (square(2, 3, 8, score=0.5), square(6, 8, 4, score=0.9)))
RESULT = SegmentationResult(FOUND, record=RECORD)
ANSWER = SegmentAnswer((RESULT,), SHAPE, concepts=("cell",))
LABELS = FOUND.to_labels()
IMAGE = np.arange(600, dtype=np.uint16).reshape(SHAPE)


class TestMeasure:
    @pytest.mark.parametrize("objects", [FOUND, RESULT, ANSWER])
    def test_objects_are_measured_whole_also_where_others_hide_them(self, objects):
        table = measure(objects, IMAGE, pixel_size=(0.5, 2))
        assert table["area_px"].tolist() == [64, 16]
        assert table["area"].tolist() == [64, 16]
        assert table["intensity_min"].tolist() == [2 * 30 + 3, 6 * 30 + 8]
        assert set(table["unit"]) == {"micrometer"}

    def test_labels_keep_their_numbers(self):
        table = measure(np.where(LABELS == 2, 300, LABELS))
        assert table["label"].tolist() == [1, 300]
        assert table["area_px"].tolist() == [64 - 12, 16]
        assert set(table["unit"]) == {"pixel"}

    def test_it_says_what_was_found_as_what_and_by_whom(self):
        table = measure(ANSWER)
        assert set(table["concept"]) == {"cell"}
        assert set(table["engine"]) == {"Built-in"}

    @pytest.mark.parametrize(
        ("objects", "options", "words"),
        [
            (np.zeros((2, *SHAPE), int), {}, "plane by plane"),
            (np.full(SHAPE, 0.5), {}, "label image holds no labels"),
            (np.zeros(9, int), {}, "no label image"),
            (np.ma.masked_equal(LABELS, 1), {}, "label image is a masked array"),
            (FOUND, {"image": IMAGE * 1j}, "real numbers"),
            (FOUND, {"image": IMAGE.astype(str)}, "real numbers"),
            (FOUND, {"image": [[1], [1, 2]]}, "rows differ in length"),
            ([[1], [1, 2]], {}, "rows differ in length"),
            (FOUND, {"pixel_size": True}, "above 0"),
            (FOUND, {"pixel_size": (1, True)}, "above 0"),
            (FOUND, {"pixel_size": "ab"}, "above 0"),
            (FOUND, {"pixel_size": 10**400}, "above 0"),
            (FOUND, {"image": IMAGE.T}, "has the shape"),
            (FOUND, {"image": np.eye(20, 30)[..., None] * (1, 2, 3)}, "one channel"),
            (FOUND, {"pixel_size": 0}, "above 0"),
            (FOUND, {"pixel_size": (1, 2, 3)}, "above 0"),
        ],
    )
    def test_what_cannot_be_measured_is_refused_in_a_sentence(self, objects, options, words):
        with pytest.raises(ImageError, match=words):
            measure(objects, **options)

    @pytest.mark.parametrize("side", [np.float32(0.5), np.int64(2), np.float64(3)])
    def test_a_pixel_size_may_be_a_number_of_numpy(self, side):
        table = measure(FOUND, pixel_size=side)
        assert table["area"].tolist() == [64 * float(side) ** 2, 16 * float(side) ** 2]

    def test_masked_pixels_of_the_image_are_left_out_and_counted(self, tmp_path):
        masked = np.ma.masked_less(IMAGE, 3 * 30)
        table = measure(FOUND, masked)
        assert table["intensity_missing_px"].tolist() == [8, 0]
        assert table["intensity_min"].tolist() == [3 * 30 + 3, 6 * 30 + 8]
        colours = measure(FOUND, np.ma.stack([masked] * 3, axis=-1))
        assert colours["intensity_missing_px"].tolist() == [8, 0]
        lines = export(FOUND, tmp_path / "a.csv", masked).read_text().splitlines()
        at = lines[0].split(",").index("intensity_missing_px")
        assert [line.split(",")[at] for line in lines[1:]] == ["8", "0"]


class TestExport:
    def test_what_is_no_path_is_refused_in_a_sentence(self):
        with pytest.raises(ImageError, match="path of a file"):
            export(LABELS, None)

    def test_the_suffix_is_the_format_and_overlaps_are_kept(self, tmp_path):
        path = export(RESULT, tmp_path / "a.json", image_name="cells.tif")
        said = json.loads(path.read_text())
        assert sorted(one["area"] for one in said["annotations"]) == [16, 64]
        assert said["images"][0]["file_name"] == "cells.tif"

    def test_a_table_has_the_intensities_and_the_unit(self, tmp_path):
        size = PixelSize(0.5, 0.5, "nanometer")
        path = export(FOUND, tmp_path / "a.csv", IMAGE, pixel_size=size)
        head, first, _ = path.read_text().splitlines()
        row = dict(zip(head.split(","), first.split(","), strict=True))
        assert (row["area"], row["unit"]) == ("16.0", "nanometer")
        assert float(row["intensity_max"]) == 9 * 30 + 10

    def test_a_stack_of_labels_becomes_a_stack(self, tmp_path):
        stack = np.stack([LABELS, np.zeros_like(LABELS), LABELS])
        assert (tifffile.imread(export(stack, str(tmp_path / "a.tif"))) == stack).all()
        with pytest.raises(ImageError, match="stack"):
            export(stack, tmp_path / "a.geojson")

    def test_nothing_is_replaced_unless_that_is_wanted(self, tmp_path):
        export(FOUND, tmp_path / "a.tif")
        with pytest.raises(ImageError, match="exists already"):
            export(LABELS, tmp_path / "a.tif")
        assert export(LABELS, tmp_path / "a.tif", overwrite=True).exists()


class TestEvaluate:
    def test_results_and_labels_are_compared_with_each_other(self):
        for pred in (FOUND, RESULT, ANSWER, LABELS):
            assert evaluate(pred, LABELS).counts[0].tp == 2
        assert evaluate(FOUND, LABELS == 2).counts[0].fp == 1

    def test_files_are_compared(self, tmp_path):
        save_labels(tmp_path / "a.tif", LABELS)
        save_labels(tmp_path / "b.tif", np.where(LABELS == 1, 0, LABELS))
        found = evaluate(tmp_path / "a.tif", str(tmp_path / "b.tif"))
        assert (found.counts[0].tp, found.counts[0].fp) == (1, 1)
        with pytest.raises(ImageError, match="open the file first"):
            evaluate(tmp_path / "a.tif", LABELS)


def test_a_gray_image_that_was_saved_as_colours_is_measured_by_its_values():
    gray = (IMAGE % 251).astype(np.uint8)
    table = measure(FOUND, np.stack([gray] * 3, axis=-1))
    assert table["intensity_min"].tolist() == measure(FOUND, gray)["intensity_min"].tolist()
