"""Scores of segmentations, compared with StarDist's and with COCO's.

`evaluation_values.json` holds what `stardist.matching` of StarDist 0.9.2 (NumPy 2.4.6, SciPy
1.17.1, numba 0.68.1) says of the images that `images` makes below.  It is written anew, where
StarDist is installed beside the tests' own tools, by

    PYTHONPATH=src python tests/core/test_evaluation.py

A digest of the images is stored with the values, so that images which came out otherwise are not
taken for a fault of the scores.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sam3.core.contingency import tabulate_labels
from napari_sam3.core.evaluation import (
    THRESHOLDS,
    Counts,
    Evaluation,
    ObjectScore,
    count_matches,
    evaluate,
)

FROZEN = Path(__file__).with_name("evaluation_values.json")
LEVELS = (0.1, 0.3, *THRESHOLDS)
# StarDist's names, and ours
FIELDS = {
    "tp": "tp",
    "fp": "fp",
    "fn": "fn",
    "n_true": "true",
    "n_pred": "predicted",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "average_precision",
    "f1": "f1",
    "mean_true_score": "mean_true_iou",
    "mean_matched_score": "mean_matched_iou",
    "panoptic_quality": "panoptic_quality",
}
COUNTED = ("tp", "fp", "fn", "n_true", "n_pred")
# turns by whole numbers: the same pixels on every machine
TURNS = ((5, 0), (4, 3), (3, 4), (0, 5), (3, -4), (4, -3))


def paint(labels, number, center, axes, turn):
    rows, cols = np.ogrid[: labels.shape[0], : labels.shape[1]]
    down, right = rows - center[0], cols - center[1]
    cos, sin = TURNS[turn]
    along, across = down * cos + right * sin, right * cos - down * sin
    inside = (along * axes[1]) ** 2 + (across * axes[0]) ** 2 <= 25 * (axes[0] * axes[1]) ** 2
    labels[inside] = number


def ellipses(seed, shape, count, sizes, changes):
    """Return objects, and the same after a change to each: kept, moved, shrunk, split, …"""
    rng = np.random.default_rng(seed)
    pred, truth = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for index in range(count):
        center = [int(rng.integers(0, side)) for side in shape]
        axes = [int(rng.integers(*sizes)) for _ in range(2)]
        turn, shift = int(rng.integers(len(TURNS))), rng.integers(-4, 5, 2).tolist()
        change = changes[int(rng.integers(len(changes)))]
        # numbers have gaps, and those of the two images have nothing to do with each other
        true, number = 3 * index + 2, 2 * count - index
        if change != "made up":
            paint(truth, true, center, axes, turn)
        if change == "moved":
            center = [place + by for place, by in zip(center, shift, strict=True)]
        if change == "shrunk":
            axes = [max(side - 1 - index % 3, 1) for side in axes]
        if change == "merged":
            number += 1
        if change != "missed":
            paint(pred, number, center, axes, turn)
        if change == "split":
            half = pred[: center[0]]
            half[half == number] = 4 * count + index
    return pred, truth


def strips():
    """Return objects of 20 pixels of which 2, 6, 10 … are predicted: IoUs at each threshold."""
    truth, pred = np.zeros((2 * len(LEVELS), 24), np.int32), np.zeros((2 * len(LEVELS), 24), int)
    for index, level in enumerate(LEVELS):
        truth[2 * index, 2:22] = index + 1
        pred[2 * index, 2 : 2 + round(20 * level)] = index + 1
    return pred, truth


def halves():
    """Return an object that is predicted as its two halves, and two predicted as one."""
    truth, pred = np.zeros((7, 12), np.int32), np.zeros((7, 12), np.int32)
    truth[1:3, 1:11], pred[1:3, 1:6], pred[1:3, 6:11] = 1, 1, 2
    truth[4:6, 1:6], truth[4:6, 6:11], pred[4:6, 1:11] = 2, 3, 3
    return pred, truth


def rivals():
    """Return objects where to take the best pair first leaves one without a partner."""
    truth, pred = np.zeros((4, 40), np.int32), np.zeros((4, 40), np.int32)
    truth[:, 0:16], truth[:, 16:30] = 1, 2
    pred[:, 9:26], pred[:, 26:38] = 1, 2
    return pred, truth


def noise(seed, shape, most):
    rng = np.random.default_rng(seed)
    pred, truth = (rng.integers(0, most, shape).astype(np.int32) for _ in range(2))
    return pred, truth


def volume():
    pred, truth = ellipses(11, (60, 44), 30, (4, 10), ALL)
    return pred.reshape(5, 12, 44), truth.reshape(5, 12, 44)


def emptied(which):
    pred, truth = ellipses(12, (50, 70), 12, (4, 9), ("kept",))
    return (np.zeros_like(pred), truth) if which == "pred" else (pred, np.zeros_like(truth))


ALL = ("kept", "moved", "shrunk", "split", "merged", "missed", "made up")
IMAGES = {
    "all changes, small": lambda: ellipses(1, (64, 91), 14, (4, 11), ALL),
    "all changes, large": lambda: ellipses(2, (200, 311), 90, (6, 16), ALL),
    "crowded": lambda: ellipses(3, (120, 85), 140, (5, 14), ALL),
    "moved": lambda: ellipses(4, (90, 140), 40, (3, 9), ("moved",)),
    "moved, crowded": lambda: ellipses(5, (70, 110), 120, (3, 9), ("moved",)),
    "split or merged": lambda: ellipses(6, (110, 80), 25, (6, 12), ("split", "merged")),
    "shrunk or missed": lambda: ellipses(7, (75, 130), 30, (4, 12), ("shrunk", "missed")),
    "strips": strips,
    "halves": halves,
    "rivals": rivals,
    "noise": lambda: noise(8, (9, 14), 12),
    "finer noise": lambda: noise(9, (12, 17), 60),
    "volume": volume,
    "nothing predicted": lambda: emptied("pred"),
    "nothing true": lambda: emptied("truth"),
    "nothing in either": lambda: (np.zeros((30, 41), np.int32), np.zeros((30, 41), np.int32)),
}


def digest(pred, truth):
    content = pred.astype("<i4").tobytes() + truth.astype("<i4").tobytes()
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def frozen():
    return json.loads(FROZEN.read_text())


@pytest.fixture(scope="module")
def images():
    return {name: make() for name, make in IMAGES.items()}


def ours(counts):
    return {field: getattr(counts, name) for field, name in FIELDS.items()}


def assert_same(counts, values, words=""):
    for field, value in values.items():
        found = ours(counts)[field]
        if field in COUNTED:
            assert found == value, f"{words} {field} at {counts.threshold}"
        else:
            # StarDist's are in single precision
            assert found == pytest.approx(value, abs=2e-6), f"{words} {field}"


def pooled(tables, level):
    return sum((count_matches(table, level) for table in tables), Counts(level))


class TestAgainstStarDist:
    @pytest.mark.parametrize("name", [name for name in IMAGES if name != "nothing in either"])
    def test_every_number_is_stardists(self, name, images, frozen):
        said = frozen["images"][name]
        assert digest(*images[name]) == said["sha256"], "the images came out otherwise"
        table = tabulate_labels(*images[name])
        for level, values in zip(LEVELS, said["values"], strict=True):
            assert_same(
                count_matches(table, level),
                dict(zip(FIELDS, values, strict=True)),
                f"{name}:",
            )

    def test_where_nothing_is_and_nothing_was_found_only_the_counts_are(self, images, frozen):
        # StarDist says 0 of each ratio: an empty image would be segmented as badly as can be
        values = frozen["images"]["nothing in either"]["values"]
        assert all(not any(row) for row in values)
        table = tabulate_labels(*images["nothing in either"])
        found = ours(count_matches(table, 0.5))
        assert [found.pop(field) for field in COUNTED] == [0] * 5
        assert set(found.values()) == {1.0}

    def test_images_are_pooled_as_stardist_does(self, images, frozen):
        tables = [tabulate_labels(*pair) for pair in images.values()]
        for level, values in zip(LEVELS, frozen["pooled"], strict=True):
            assert_same(pooled(tables, level), dict(zip(FIELDS, values, strict=True)))

    def test_msa_is_the_mean_of_stardists_accuracy_by_image(self, images, frozen):
        accuracy = list(FIELDS).index("accuracy")
        by_image = [row[accuracy] for row in frozen["by_image"][LEVELS.index(0.5) :]]
        together = sum((evaluate(*images[name]) for name in frozen["not_empty"]), Evaluation())
        assert together.mean_segmentation_accuracy == pytest.approx(np.mean(by_image), abs=1e-6)

    def test_the_frozen_values_are_what_stardist_says_here(self, images, frozen):
        matching = pytest.importorskip("stardist.matching")
        said = stardist_says(matching, images)
        for name, values in said["images"].items():
            assert values["values"] == frozen["images"][name]["values"]
        assert said == frozen


def test_to_take_the_best_pair_first_would_find_less(images):
    table = tabulate_labels(*images["rivals"])
    best = int(np.argmax(table.iou))
    left = (table.true != table.true[best]) & (table.pred != table.pred[best])
    assert not left.any()
    assert count_matches(table, 0.1).tp == 2


def test_ious_are_those_of_coco(images):
    mask = pytest.importorskip("pycocotools.mask")
    pred, truth = images["crowded"]
    table = tabulate_labels(pred, truth)

    def encoded(labels, values):
        return [mask.encode(np.asfortranarray(labels == value, np.uint8)) for value in values]

    found = mask.iou(
        encoded(pred, table.pred_labels),
        encoded(truth, table.true_labels),
        [0] * len(table.true_labels),
    )
    assert np.count_nonzero(found) == len(table.iou)
    np.testing.assert_allclose(found[table.pred, table.true], table.iou, rtol=1e-12)


class TestTheTable:
    def test_pairs_are_counted_across_the_borders_of_pieces(self, monkeypatch, images):
        whole = tabulate_labels(*images["crowded"])
        monkeypatch.setattr("napari_sam3.core.contingency._PIXELS_AT_ONCE", 37)
        pieces = tabulate_labels(*images["crowded"])
        for name in ("pred_labels", "true_labels", "pred", "true", "iou"):
            np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))

    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint64])
    def test_every_kind_of_whole_number_is_taken(self, dtype):
        pred, truth = np.array([[0, 1, 1, 0]], dtype), np.array([[0, 1, 0, 0]], dtype)
        assert tabulate_labels(pred, truth).iou.tolist() == [0.5]

    def test_labels_may_be_as_large_as_their_type(self):
        large = np.array([[2**63 + 5, 2**63 + 5, 0]], np.uint64)
        table = tabulate_labels(large, np.array([[7, 0, 0]], np.int8))
        assert (table.pred_labels.tolist(), table.iou.tolist()) == ([2**63 + 5], [0.5])

    def test_an_image_need_not_lie_in_one_piece(self):
        pred, truth = np.arange(24).reshape(4, 6)[:, ::2], np.arange(24).reshape(6, 4).T[:, ::2]
        found, copied = (
            tabulate_labels(pred, truth),
            tabulate_labels(np.array(pred), np.array(truth)),
        )
        np.testing.assert_array_equal(found.iou, copied.iou)

    @pytest.mark.parametrize("shape", [(0,), (0, 5), (3, 4), (2, 3, 4)])
    def test_images_without_objects_have_no_pairs(self, shape):
        table = tabulate_labels(np.zeros(shape, int), np.zeros(shape, np.uint8))
        assert len(table.iou) == len(table.pred_labels) == len(table.true_labels) == 0
        assert table.match(0.1).size == table.match(0.5).size == 0

    @pytest.mark.parametrize(
        ("pred", "truth", "words"),
        [
            (np.zeros((2, 3), int), np.zeros((3, 2), int), "shapes"),
            (np.zeros((2, 3)), np.zeros((2, 3), int), "float64"),
            (np.zeros((2, 3), int), np.full((2, 3), -1), "below 0"),
        ],
    )
    def test_what_is_no_pair_of_label_images_is_refused(self, pred, truth, words):
        with pytest.raises(ValueError, match=words):
            tabulate_labels(pred, truth)

    @pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan")])
    def test_a_threshold_that_is_none_is_refused(self, threshold):
        with pytest.raises(ValueError, match="threshold"):
            tabulate_labels(np.ones((1, 2), int), np.ones((1, 2), int)).match(threshold)


class TestScores:
    def test_one_object_is_found_one_missed_and_one_made_up(self):
        truth = np.array([[4, 4, 4, 4, 0, 9, 9, 0, 0], [4, 4, 4, 4, 0, 9, 9, 0, 0]])
        pred = np.array([[1, 1, 1, 0, 0, 0, 0, 2, 2], [1, 1, 1, 0, 0, 0, 5, 2, 2]])
        found = evaluate(pred, truth, "cells")
        half, eighty = found.counts[0], found.counts[THRESHOLDS.index(0.8)]
        assert half == Counts(0.5, tp=1, fp=2, fn=1, iou_sum=0.75)
        assert (eighty.tp, eighty.fp, eighty.fn) == (0, 3, 2)
        assert (half.average_precision, half.precision, half.recall, half.f1) == (
            *(1 / 4, 1 / 3, 1 / 2),
            2 / 5,
        )
        assert half.panoptic_quality == pytest.approx(0.75 / 2.5)
        # found at 0.5, 0.55 … 0.75
        assert found.mean_average_precision == pytest.approx(6 / 10 / 4)
        assert (found.count_error, found.relative_count_error) == (1, 0.5)
        assert found.true_ious == [0.75, 0.25]
        assert found.images[0].objects == (
            ObjectScore(4, 1, 0.75, "found"),
            ObjectScore(9, 5, 0.25, "missed"),
            ObjectScore(0, 2, 0.0, "made up"),
            ObjectScore(9, 5, 0.25, "made up"),
        )

    def test_pooled_scores_count_objects_and_msa_counts_images(self):
        many = np.arange(1, 11).reshape(2, 5)
        one = np.array([[1, 0, 0]])
        bad = evaluate(np.zeros_like(one), one, "bad")
        both = evaluate(many, many, "good") + bad
        assert [image.name for image in both.images] == ["good", "bad"]
        assert both.mean_average_precision == pytest.approx(10 / 11)
        assert both.mean_segmentation_accuracy == 0.5
        assert both.count_error == -1
        assert sum([both, bad], Evaluation()).counts[0].fn == 2

    @pytest.mark.parametrize("name", ["nothing predicted", "nothing true"])
    def test_every_ratio_is_zero_where_only_one_is_empty(self, images, name):
        found = evaluate(*images[name])
        assert {metric.value for metric in found.metrics()[4:]} == {0.0}
        expected = -1.0 if name == "nothing predicted" else None
        assert found.relative_count_error == expected

    def test_nothing_found_where_nothing_is_is_perfect(self, images):
        for found in (evaluate(*images["nothing in either"]), Evaluation()):
            assert {metric.value for metric in found.metrics()[4:]} == {1.0}
            assert (found.count_error, found.relative_count_error) == (0, 0.0)

    def test_counts_at_different_thresholds_do_not_add_up(self):
        with pytest.raises(ValueError, match=r"0\.5 and 0\.75"):
            Counts(0.5) + Counts(0.75)

    def test_found_objects_are_those_that_are_counted(self, images):
        for pair in images.values():
            found = evaluate(*pair)
            outcomes = [each.outcome for each in found.images[0].objects]
            half = found.counts[0]
            counts = [outcomes.count(word) for word in ("found", "made up", "missed")]
            assert counts == [half.tp, half.fp, half.fn]


SHAPE = (5, 9)
label_images = hnp.arrays(np.int16, SHAPE, elements=st.integers(0, 6))


def scores(found):
    return [(m.key, m.value) for m in found.metrics()]


@given(label_images)
def test_labels_are_perfect_beside_themselves(labels):
    found = evaluate(labels, labels)
    assert all(metric.value == 1 for metric in found.metrics()[4:])
    assert found.count_error == 0
    assert set(found.true_ious) <= {1.0}


@given(label_images, label_images, st.permutations(range(1, 7)), st.integers(1, 900))
def test_other_numbers_change_nothing(pred, truth, order, more):
    renumbered = np.array([0, *(more + number for number in order)])
    before, after = evaluate(pred, truth), evaluate(renumbered[pred], truth)
    assert scores(after) == [(key, pytest.approx(value)) for key, value in scores(before)]
    assert after.true_ious == before.true_ious


@given(label_images, label_images, st.sampled_from(LEVELS))
def test_to_swap_the_two_swaps_what_is_made_up_and_what_is_missed(pred, truth, level):
    one = count_matches(tabulate_labels(pred, truth), level)
    other = count_matches(tabulate_labels(truth, pred), level)
    assert (one.tp, one.fp, one.fn) == (other.tp, other.fn, other.fp)
    if level >= 0.5:
        # below, several choices may be equally good and divide the overlaps otherwise
        assert one.panoptic_quality == pytest.approx(other.panoptic_quality)


@given(label_images, label_images)
def test_a_higher_threshold_finds_no_more(pred, truth):
    table = tabulate_labels(pred, truth)
    found = [count_matches(table, level).tp for level in LEVELS]
    assert all(lower >= higher for lower, higher in pairwise(found))


@given(label_images, label_images, st.sampled_from(LEVELS))
def test_nothing_is_matched_twice_and_everything_reaches_the_threshold(pred, truth, level):
    table = tabulate_labels(pred, truth)
    pairs = table.match(level)
    for side in (table.pred, table.true):
        assert len(set(side[pairs].tolist())) == len(pairs)
    assert (table.iou[pairs] >= level).all()


def stardist_says(matching, images):
    def row(stats):
        return [round(float(getattr(stats, field)), 9) for field in FIELDS]

    def rows(all_stats):
        return [row(stats) for stats in all_stats]

    pairs = list(images.values())
    not_empty = [name for name in images if name != "nothing in either"]
    preds, truths = ([pair[side] for pair in pairs] for side in (0, 1))
    options = {"thresh": LEVELS, "show_progress": False}
    return {
        "fields": list(FIELDS),
        "thresholds": list(LEVELS),
        "images": {
            name: {
                "sha256": digest(pred, truth),
                "values": rows(matching.matching(truth, pred, thresh=LEVELS)),
            }
            for name, (pred, truth) in images.items()
        },
        "pooled": rows(matching.matching_dataset(truths, preds, **options)),
        "not_empty": not_empty,
        "by_image": rows(
            matching.matching_dataset(
                [images[name][1] for name in not_empty],
                [images[name][0] for name in not_empty],
                by_image=True,
                **options,
            )
        ),
    }


if __name__ == "__main__":
    from stardist import matching

    said = stardist_says(matching, {name: make() for name, make in IMAGES.items()})
    # an image a line: a change is seen
    text = json.dumps(said).replace('{"sha256"', '\n{"sha256"').replace(', "pooled"', ',\n"pooled"')
    FROZEN.write_text(text + "\n")
