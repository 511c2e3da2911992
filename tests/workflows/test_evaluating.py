from __future__ import annotations

import csv
import io
import json
import os
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sam3.core.progress import drain
from napari_sam3.errors import ImageError
from napari_sam3.workflows.evaluating import (
    CSV_COLUMNS,
    evaluate_arrays,
    iter_evaluate,
    pair_files,
    to_csv,
    to_json,
)
from napari_sam3.workflows.files import save_labels


def labels(*numbers, shape=(9, 14)):
    found = np.zeros(shape, np.uint16)
    for place, number in enumerate(numbers):
        found[1:6, 4 * place : 4 * place + 3] = number
    return found


@pytest.fixture
def folders(tmp_path):
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    pred.mkdir()
    truth.mkdir()
    return pred, truth


def run(pred, truth):
    seen = []
    return drain(iter_evaluate(pred, truth), seen.append), seen


def names(found):
    return [image.name for image in found.images]


class TestFiles:
    @pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
    def test_two_files_are_compared_whatever_they_are_called(self, tmp_path, suffix):
        pred, truth = tmp_path / f"mine{suffix}", tmp_path / "theirs.tif"
        save_labels(pred, labels(1, 0, 7))
        save_labels(truth, labels(2, 3, 4))
        found, _ = run(str(pred), truth)
        half = found.counts[0]
        assert (half.tp, half.fp, half.fn) == (2, 0, 1)
        assert names(found) == [pred.name]
        assert found.notices == ()

    def test_volumes_are_compared_as_such(self, tmp_path):
        stack = np.stack([labels(1, 2), labels(1, 2), labels(1, 0)])
        for name in ("a.tif", "b.tif"):
            save_labels(tmp_path / name, stack)
        found, _ = run(tmp_path / "a.tif", tmp_path / "b.tif")
        assert found.counts[-1].tp == 2

    def test_images_of_different_sizes_are_refused_with_both_sizes(self, tmp_path):
        save_labels(tmp_path / "a.tif", labels(1))
        save_labels(tmp_path / "b.tif", labels(1, shape=(14, 9)))
        with pytest.raises(ImageError, match=r"of a\.tif has the shape 9 × 14, .* 14 × 9; both"):
            run(tmp_path / "a.tif", tmp_path / "b.tif")

    def test_a_colour_picture_is_no_label_image(self, tmp_path):
        Image.fromarray(np.zeros((9, 14, 3), np.uint8)).save(tmp_path / "a.png")
        with pytest.raises(ImageError, match="colour picture"):
            run(tmp_path / "a.png", tmp_path / "a.png")

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        save_labels(tmp_path / "a.tif", labels(1))
        with pytest.raises(ImageError, match=r"no file .*gone\.tif"):
            run(tmp_path / "gone.tif", tmp_path / "a.tif")

    def test_a_file_beside_itself_is_told(self, tmp_path):
        save_labels(tmp_path / "a.tif", labels(1))
        found, _ = run(tmp_path / "a.tif", tmp_path / "a.tif")
        assert "compared with itself" in found.notices[0]

    def test_a_file_and_a_folder_are_refused(self, tmp_path):
        save_labels(tmp_path / "a.tif", labels(1))
        for pair in ((tmp_path, tmp_path / "a.tif"), (tmp_path / "a.tif", tmp_path)):
            with pytest.raises(ImageError, match="two files or two folders"):
                run(*pair)


class TestFolders:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("a.tif", "a.png"),
            ("a_labels.tif", "a.tif"),
            ("a_cp_masks.png", "a_gt.tif"),
            ("a-Pred_labels.npy", "a_Ground_Truth.tiff"),
        ],
    )
    def test_files_belong_together_but_for_endings(self, folders, one, other):
        save_labels(folders[0] / one, labels(1, 2))
        save_labels(folders[1] / other, labels(2, 1))
        found, seen = run(*folders)
        assert names(found) == ["a"]
        assert found.mean_segmentation_accuracy == 1
        assert [(step.done, step.total) for step in seen] == [(0, 1), (1, 1)]
        assert seen[0].message == "a"

    @pytest.mark.parametrize("name", ["unmasks.tif", "_labels.tif", "labels.tif"])
    def test_what_is_no_ending_is_part_of_the_name(self, folders, name):
        save_labels(folders[0] / name, labels(1))
        save_labels(folders[1] / "un.tif", labels(1))
        with pytest.raises(ImageError, match="belongs to"):
            run(*folders)

    def test_images_are_compared_in_the_order_of_their_names_and_pooled(self, folders):
        for name, number in (("b", 0), ("a", 1)):
            save_labels(folders[0] / f"{name}.tif", labels(1, 2 * number))
            save_labels(folders[1] / f"{name}.tif", labels(1, 2))
        found, _ = run(*folders)
        assert names(found) == ["a", "b"]
        assert (found.counts[0].tp, found.counts[0].fn) == (3, 1)
        assert found.mean_segmentation_accuracy == 0.75

    def test_files_without_a_partner_are_told(self, folders):
        save_labels(folders[0] / "a.tif", labels(1))
        save_labels(folders[1] / "a.tif", labels(1))
        save_labels(folders[0] / "lonely.tif", labels(1))
        for number in range(7):
            save_labels(folders[1] / f"more{number}_gt.tif", labels(1))
        found, _ = run(*folders)
        assert names(found) == ["a"]
        one, more = found.notices
        assert one == (
            f"1 file was left out, no ground truth of that name, in {folders[0]}: lonely.tif."
        )
        assert more == (
            f"7 files were left out, no segmentation of that name, in {folders[1]}: more0_gt.tif, "
            "more1_gt.tif, more2_gt.tif, more3_gt.tif, more4_gt.tif and 2 more."
        )

    def test_pictures_beside_their_labels_are_not_taken_for_labels(self, folders):
        save_labels(folders[0] / "a_labels.tif", labels(1, 2))
        save_labels(folders[1] / "a_masks.tif", labels(1, 2))
        Image.fromarray(np.zeros((9, 14, 3), np.uint8)).save(folders[1] / "a.png")
        (folders[1] / "a_masks.json").write_text("{}")
        (folders[1] / ".hidden_masks.tif").write_bytes(b"")
        pairs, notices = pair_files(*folders)
        assert pairs == [("a", folders[0] / "a_labels.tif", folders[1] / "a_masks.tif")]
        assert len(notices) == 1
        assert "beside labels of the same name" in notices[0]

    def test_two_files_that_may_be_meant_are_refused(self, folders):
        save_labels(folders[0] / "a.tif", labels(1))
        save_labels(folders[1] / "a_gt.tif", labels(1))
        save_labels(folders[1] / "a_masks.tif", labels(1))
        with pytest.raises(ImageError, match=r"a_gt\.tif or a_masks\.tif"):
            run(*folders)

    @pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
    def test_a_name_that_is_no_text_can_still_be_written_down(self, folders):
        name = os.fsdecode(b"caf\xe9.tif")
        for folder in folders:
            save_labels(folder / name, labels(1))
        save_labels(folders[0] / os.fsdecode(b"\xe9.tif"), labels(1))
        found, _ = run(*folders)
        assert names(found) == ["caf?"]
        assert (to_csv(found) + json.dumps(to_json(found), ensure_ascii=False)).encode()

    def test_folders_in_which_nothing_belongs_together_are_refused(self, folders):
        save_labels(folders[0] / "a.tif", labels(1))
        with pytest.raises(ImageError, match="same name"):
            run(*folders)


class TestArrays:
    def test_arrays_are_scored_without_a_file(self):
        assert evaluate_arrays(labels(1, 2), labels(8, 9)).counts[-1].tp == 2

    @pytest.mark.parametrize(
        ("pred", "words"),
        [
            (labels(1) / 2, r"segmentation of x holds no labels: it has values such as 0\.5"),
            (labels(1).astype(complex), r"segmentation of x holds no labels: .* complex128"),
            (labels(1).astype(int) - 2, "segmentation of x holds no labels: it goes down to -2"),
            (labels(1)[None], "1 × 9 × 14"),
        ],
    )
    def test_what_is_no_label_image_of_that_shape_is_refused(self, pred, words):
        with pytest.raises(ImageError, match=words):
            evaluate_arrays(pred, labels(1), "x")

    def test_a_mask_of_many_objects_is_told(self):
        mask = labels(1, 2, 3) > 0
        for pair, words in (
            ((mask, labels(1, 2, 3)), "segmentation has 1 label only, the other has 3"),
            ((labels(1, 2, 3), mask), "ground truth has 1 label only, the other has 3"),
        ):
            (notice,) = evaluate_arrays(*pair).notices
            assert words in notice
        assert evaluate_arrays(labels(1), labels(1)).notices == ()


class TestWrittenOut:
    def test_the_table_has_a_line_for_each_object(self):
        found = evaluate_arrays(labels(1, 0, 7), labels(5, 6, 0), "=cells, 1")
        head, *rows = csv.reader(io.StringIO(to_csv(found)))
        assert tuple(head) == CSV_COLUMNS
        # no spreadsheet takes the name for a formula
        assert rows == [
            ["'=cells, 1", "5", "1", "1.000000", "found"],
            ["'=cells, 1", "6", "0", "0.000000", "missed"],
            ["'=cells, 1", "0", "7", "0.000000", "made up"],
        ]

    def test_the_numbers_are_json_even_where_one_is_not_defined(self):
        found = evaluate_arrays(labels(1), labels(), "x") + evaluate_arrays(labels(), labels(), "y")
        said = json.loads(json.dumps(to_json(found), allow_nan=False))
        assert said["metrics"]["relative_count_error"] is None
        assert said["metrics"].keys() == said["meanings"].keys()
        assert said["metrics"]["msa"] == 0.5
        assert [image["name"] for image in said["per_image"]] == ["x", "y"]
        assert [row["threshold"] for row in said["thresholds"]][:2] == [0.5, 0.55]
        assert said["thresholds"][0]["fp"] == 1


def test_a_tiff_of_another_program_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", labels(1, 2).astype(np.int32), imagej=False)
    save_labels(tmp_path / "b.tif", labels(1, 2))
    assert run(tmp_path / "a.tif", tmp_path / "b.tif")[0].counts[-1].tp == 2


def test_masked_arrays_are_refused_rather_than_compared_with_what_they_hide():
    labels = np.ma.MaskedArray(np.eye(4, 6, dtype=int), np.eye(4, 6, k=1))
    for pair in ((labels, labels.data), (labels.data, labels)):
        with pytest.raises(ImageError, match="masked array"):
            evaluate_arrays(*pair)
