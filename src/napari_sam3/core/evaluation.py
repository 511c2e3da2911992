"""How well a segmentation fits an annotation: what was found, missed and made up.

An object counts as found (TP) where a predicted one has at least a given IoU with it, one to one;
what is left over was made up (FP) or missed (FN).

Where there is no object in both of two images, nothing is wrong: every ratio is 1.  Where there is
none in one of them only, every ratio is 0.  (StarDist says 0 in both cases.)

`napari_sam3.core.drift` asks another question, what became of each label, and takes the best pairs
first; published scores need the largest number of pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from napari_sam3.core.arrays import Float64Array, Int64Array, LabelImage
from napari_sam3.core.contingency import Contingency, tabulate_labels

Outcome = Literal["found", "missed", "made up"]

THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))
"""The IoUs 0.50, 0.55 … 0.95, over which means are taken."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What was found (tp), made up (fp) and missed (fn) at one threshold.

    An object counts as found from an IoU of ``threshold`` on; ``iou_sum`` is of those found.
    """

    threshold: float
    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        if other.threshold != self.threshold:
            raise ValueError(f"counts at the thresholds {self.threshold} and {other.threshold}")
        return Counts(
            self.threshold,
            self.tp + other.tp,
            self.fp + other.fp,
            self.fn + other.fn,
            self.iou_sum + other.iou_sum,
        )

    @property
    def true(self) -> int:
        """Objects of the annotation."""
        return self.tp + self.fn

    @property
    def predicted(self) -> int:
        """Objects of the segmentation."""
        return self.tp + self.fp

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN).

        So called in the 2018 Data Science Bowl (Caicedo et al. 2019, Nature Methods 16:1247) and
        by Cellpose (Stringer et al. 2021, Nature Methods 18:100); StarDist's ``accuracy`` (Schmidt
        et al. 2018, MICCAI).  It is no area under a curve, as in COCO.
        """
        return self._ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP): how much of what is predicted is there."""
        return self._ratio(self.tp, self.predicted)

    @property
    def recall(self) -> float:
        """TP / (TP + FN): how much of what is there is predicted."""
        return self._ratio(self.tp, self.true)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall."""
        return self._ratio(2 * self.tp, self.predicted + self.true)

    @property
    def panoptic_quality(self) -> float:
        """Sum of the found objects' IoUs / (TP + FP/2 + FN/2): their mean IoU × F1.

        Kirillov et al. 2019, "Panoptic Segmentation", CVPR, equation 1, who match above an IoU of
        one half; here, as in StarDist, at the threshold or above.
        """
        return self._ratio(self.iou_sum, (self.predicted + self.true) / 2)

    @property
    def mean_matched_iou(self) -> float:
        """Mean IoU of the objects found; StarDist's ``mean_matched_score``."""
        return self._ratio(self.iou_sum, self.tp)

    @property
    def mean_true_iou(self) -> float:
        """Mean over all true objects, where a missed one counts 0; ``mean_true_score``."""
        return self._ratio(self.iou_sum, self.true)

    def _ratio(self, part: float, whole: float) -> float:
        if not self.tp + self.fp + self.fn:
            return 1.0
        return part / whole if whole else 0.0


class ObjectScore(NamedTuple):
    """One object, and how well it was met.

    Parameters
    ----------
    true : int
        Its label in the annotation.  Of what was made up, the true object that it overlaps most;
        0 where it overlaps none.
    pred : int
        The predicted object that overlaps it most, 0 where none does.  Of what was made up, its
        own label.
    iou : float
        Of the two, 0–1; 0 where there are no two.
    outcome : {"found", "missed", "made up"}
        At an IoU of one half.
    """

    true: int
    pred: int
    iou: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ImageScores:
    """How well one image was segmented.

    Parameters
    ----------
    name : str
        Of the image; may be empty.
    counts : tuple of Counts
        One for each of `THRESHOLDS`.
    objects : tuple of ObjectScore
        All true objects, then all that were made up, each by rising label.
    """

    name: str
    counts: tuple[Counts, ...]
    objects: tuple[ObjectScore, ...]

    def __repr__(self) -> str:
        half, mean = self.counts[0], self.mean_average_precision
        return (
            f"ImageScores({self.name!r}, {half.predicted} predicted, {half.true} true, "
            f"AP50 {half.average_precision:.4f}, mean AP {mean:.4f})"
        )

    @property
    def mean_average_precision(self) -> float:
        """Mean of the average precision over `THRESHOLDS`."""
        return _mean_average_precision(self.counts)

    @property
    def true_ious(self) -> list[float]:
        """The IoU of each true object with what overlaps it most, 0–1."""
        return [each.iou for each in self.objects if each.outcome != "made up"]


class Metric(NamedTuple):
    """One number about a segmentation; its value is None where it is not defined."""

    key: str
    name: str
    value: float | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well one image, or several, were segmented; evaluations add up.

    Without any image it has the scores of images without objects.

    Parameters
    ----------
    images : tuple of ImageScores
    notices : tuple of str
        Sentences about what the user should know.
    """

    images: tuple[ImageScores, ...] = ()
    notices: tuple[str, ...] = ()

    def __repr__(self) -> str:
        count, half = len(self.images), self.counts[0]
        return (
            f"Evaluation({count} image{'' if count == 1 else 's'}, {half.predicted} predicted, "
            f"{half.true} true, AP50 {half.average_precision:.4f}, "
            f"mean AP {self.mean_average_precision:.4f}, F1 {half.f1:.4f})"
        )

    def __add__(self, other: Evaluation) -> Evaluation:
        return Evaluation(self.images + other.images, self.notices + other.notices)

    @property
    def counts(self) -> tuple[Counts, ...]:
        """Of all images together, one for each of `THRESHOLDS`."""
        return tuple(
            sum((image.counts[place] for image in self.images), Counts(threshold))
            for place, threshold in enumerate(THRESHOLDS)
        )

    @property
    def mean_average_precision(self) -> float:
        """Mean over `THRESHOLDS` of the average precision, objects of all images counted together.

        Stringer et al. 2021 and Caicedo et al. 2019 take the same thresholds.
        """
        return _mean_average_precision(self.counts)

    @property
    def mean_segmentation_accuracy(self) -> float:
        """Mean over images of each one's mean average precision (mSA).

        As in "Segment Anything for Microscopy" (Archit et al. 2025, Nature Methods 22:579): each
        image counts the same, however many objects are in it.
        """
        each = [image.mean_average_precision for image in self.images]
        return math.fsum(each) / len(each) if each else 1.0

    @property
    def count_error(self) -> int:
        """Predicted objects − true objects."""
        return self.counts[0].predicted - self.counts[0].true

    @property
    def relative_count_error(self) -> float | None:
        """(Predicted − true) / true; 0 where there are none of both, None where none is true."""
        true = self.counts[0].true
        if not true:
            return None if self.count_error else 0.0
        return self.count_error / true

    @property
    def true_ious(self) -> list[float]:
        """The IoU of each true object with what overlaps it most, 0–1, for a histogram."""
        return [iou for image in self.images for iou in image.true_ious]

    def metrics(self) -> list[Metric]:
        """Return all numbers, each with what it means."""
        counts = self.counts
        half, three_quarters = counts[0], counts[THRESHOLDS.index(0.75)]
        return [
            Metric("true", "true objects", half.true, "objects in the ground truth"),
            Metric("predicted", "predicted objects", half.predicted, "objects in the segmentation"),
            Metric("count_error", "count error", self.count_error, "predicted − true"),
            Metric(
                "relative_count_error",
                "relative count error",
                self.relative_count_error,
                "(predicted − true) / true",
            ),
            Metric(
                "ap50",
                "AP50",
                half.average_precision,
                "TP / (TP + FP + FN), an object found at an IoU of 0.5 or more",
            ),
            Metric("ap75", "AP75", three_quarters.average_precision, "the same at 0.75"),
            Metric(
                "mean_ap",
                "mean AP",
                _mean_average_precision(counts),
                "mean of AP at 0.50, 0.55 … 0.95, objects of all images counted together",
            ),
            Metric(
                "msa",
                "mSA",
                self.mean_segmentation_accuracy,
                "mean AP of each image, then the mean over images",
            ),
            Metric("f1", "F1", half.f1, "2 TP / (2 TP + FP + FN) at 0.5"),
            Metric(
                "precision",
                "precision",
                half.precision,
                "TP / (TP + FP) at 0.5: how much of what is predicted is there",
            ),
            Metric(
                "recall",
                "recall",
                half.recall,
                "TP / (TP + FN) at 0.5: how much of what is there is predicted",
            ),
            Metric(
                "panoptic_quality",
                "panoptic quality",
                half.panoptic_quality,
                "F1 × mean IoU of the objects found, at 0.5",
            ),
        ]


def _mean_average_precision(counts: Iterable[Counts]) -> float:
    each = [one.average_precision for one in counts]
    return math.fsum(each) / len(each)


def evaluate(pred: LabelImage, truth: LabelImage, name: str = "") -> Evaluation:
    """Compare a segmentation with its annotation.

    Parameters
    ----------
    pred, truth : ndarray of int or bool, of one shape
        Label images of any number of dimensions; 0 is background.
    name : str
        Of the image.

    Raises
    ------
    ValueError
        As in `tabulate_labels`.

    Examples
    --------
    >>> found = evaluate(np.array([[1, 1, 2]]), np.array([[5, 5, 0]]))
    >>> found.counts[0].average_precision
    0.5
    """
    table = tabulate_labels(pred, truth)
    counts = tuple(count_matches(table, threshold) for threshold in THRESHOLDS)
    return Evaluation((ImageScores(name, counts, _object_scores(table)),))


def count_matches(table: Contingency, threshold: float) -> Counts:
    """Count what was found, made up and missed, as found from this IoU on."""
    pairs = table.match(threshold)
    found = len(pairs)
    return Counts(
        threshold,
        found,
        len(table.pred_labels) - found,
        len(table.true_labels) - found,
        math.fsum(table.iou[pairs]),
    )


def _object_scores(table: Contingency) -> tuple[ObjectScore, ...]:
    pairs = table.match(0.5)
    true_found = set(table.true[pairs].tolist())
    pred_found = set(table.pred[pairs].tolist())
    scores = []
    for place, pair in enumerate(table.best_of_true()):
        outcome: Outcome = "found" if place in true_found else "missed"
        pred = _label(table.pred_labels, table.pred, pair)
        true = int(table.true_labels[place])
        scores.append(ObjectScore(true, pred, _iou(table.iou, pair), outcome))
    for place, pair in enumerate(table.best_of_pred()):
        if place not in pred_found:
            true = _label(table.true_labels, table.true, pair)
            pred = int(table.pred_labels[place])
            scores.append(ObjectScore(true, pred, _iou(table.iou, pair), "made up"))
    return tuple(scores)


def _label(labels: LabelImage, places: Int64Array, pair: int) -> int:
    return int(labels[places[pair]]) if pair >= 0 else 0


def _iou(ious: Float64Array, pair: int) -> float:
    return float(ious[pair]) if pair >= 0 else 0.0
