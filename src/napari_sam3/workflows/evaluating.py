"""A segmentation against ground truth: two label images, two files or two folders."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.evaluation import Counts, Evaluation, ImageScores, evaluate
from napari_sam3.core.masked import refuse_masked
from napari_sam3.core.progress import Progress
from napari_sam3.errors import ImageError
from napari_sam3.workflows.files import LABEL_SUFFIXES
from napari_sam3.workflows.label_files import as_labels, open_labels
from napari_sam3.workflows.paths import are_same, is_file, is_folder

FilePair = tuple[str, Path, Path]

ENDINGS = (
    "cp_masks",
    "masks",
    "mask",
    "labels",
    "label",
    "instances",
    "seg",
    "segmentation",
    "pred",
    "prediction",
    "gt",
    "truth",
    "groundtruth",
    "ground_truth",
)
"""What a file of labels has at the end of its name, after the image's; case does not matter."""

_ENDING = re.compile(rf"(?:[_-](?:{'|'.join(ENDINGS)}))+$", re.IGNORECASE)
_NAMED_AT_MOST = 5

CSV_COLUMNS = ("image", "true_label", "predicted_label", "iou", "outcome")


def evaluate_arrays(pred: LabelImage, truth: LabelImage, name: str = "") -> Evaluation:
    """Compare a segmentation with its annotation, two label images of any number of dimensions.

    They hold whole numbers; 0 and −1 are background.  The image's name is for tables and messages.
    """
    about = f" of {name}" if name else ""
    if pred.shape != truth.shape:
        raise ImageError(
            f"The segmentation{about} has the shape {_shape(pred)}, the ground truth "
            f"{_shape(truth)}; both must be of the same image, at the same size."
        )
    refuse_masked(pred, f"The segmentation{about}")
    refuse_masked(truth, f"The ground truth{about}")
    notices: list[str] = []
    pred = as_labels(pred, f"The segmentation{about}", notices.append)
    truth = as_labels(truth, f"The ground truth{about}", notices.append)
    found = _with_doubts(evaluate(pred, truth, name))
    return replace(found, notices=(*notices, *found.notices))


def _shape(labels: LabelImage) -> str:
    return " × ".join(map(str, labels.shape))


def _with_doubts(found: Evaluation) -> Evaluation:
    """Add a notice if one of the two looks like a mask: it would score as a single object."""
    image = found.images[0]
    counts = {"segmentation": image.counts[0].predicted, "ground truth": image.counts[0].true}
    about = f" of {image.name}" if image.name else ""
    notices = tuple(
        f"The {words}{about} has 1 label only, the other has {other}: if it is a mask, number its "
        "objects first."
        for words, other in zip(counts, reversed(counts.values()), strict=True)
        if counts[words] == 1 and other > 2
    )
    return replace(found, notices=notices)


def iter_evaluate(pred: str | Path, truth: str | Path) -> Generator[Progress, None, Evaluation]:
    """Compare segmentations with their annotations, both in files or both in folders.

    Parameters
    ----------
    pred, truth : str or Path
        Two label images (TIFF, PNG, NPY, Cellpose's ``_seg.npy``); or two folders of such, in
        which what belongs together has the same name, but for the suffix and endings such as
        ``_labels``, ``_masks`` or ``_gt`` (`ENDINGS`).

    Returns
    -------
    Evaluation
        Of all images; files without a partner are named in its notices.

    Raises
    ------
    ImageError
        If nothing belongs together or it is not clear what does, a file cannot be read, or two
        of a pair differ in shape.
    """
    pred, truth = Path(pred), Path(truth)
    if is_folder(pred) != is_folder(truth):
        folder, other = (pred, truth) if is_folder(pred) else (truth, pred)
        raise ImageError(f"{folder} is a folder and {other} is not; give two files or two folders.")
    if is_folder(pred):
        pairs, notices = pair_files(pred, truth)
    else:
        pairs, notices = [(pred.name, pred, truth)], ()
    if are_same(pred, truth):
        notices = (f"{pred} was compared with itself.", *notices)
    told = list(notices)
    found = Evaluation()
    for done, (name, one, other) in enumerate(pairs):
        yield Progress(done, len(pairs), _writable(name))
        arrays = open_labels(one, told.append), open_labels(other, told.append)
        found += evaluate_arrays(*arrays, _writable(name))
    found = replace(found, notices=(*map(_writable, told), *found.notices))
    yield Progress(len(pairs), len(pairs))
    return found


def _writable(text: str) -> str:
    """Return a text without what a file's name may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode()


def pair_files(pred: Path, truth: Path) -> tuple[list[FilePair], tuple[str, ...]]:
    """Find what belongs together in two folders, by name; what lies deeper is not looked at.

    Returns
    -------
    pairs : list of (str, Path, Path)
        The image's name, its segmentation and its annotation, by rising name.
    notices : tuple of str
        Which files are left out, and why.
    """
    segmented, beside_pred = _by_image(pred)
    annotated, beside_truth = _by_image(truth)
    both = sorted(segmented.keys() & annotated.keys())
    if not both:
        raise ImageError(
            f"No file in {pred} belongs to one in {truth}: the two must have the same name, but "
            "for endings such as _labels, _masks or _gt."
        )
    notices = [
        _left_out(beside_pred, "beside labels of the same name"),
        _left_out(beside_truth, "beside labels of the same name") if pred != truth else "",
        _left_out(_others(segmented, both), "no ground truth of that name"),
        _left_out(_others(annotated, both), "no segmentation of that name"),
    ]
    pairs = [(name, segmented[name], annotated[name]) for name in both]
    return pairs, tuple(filter(None, notices))


def _others(files: Mapping[str, Path], both: Iterable[str]) -> list[Path]:
    return [files[name] for name in sorted(files.keys() - set(both))]


def _by_image(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Return each image's labels, and the pictures that lie beside them."""
    try:
        listed = sorted(folder.iterdir())
    except OSError as error:
        raise ImageError(f"{folder} cannot be read: {error.strerror}.") from error
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path in listed:
        if path.suffix.lower() in LABEL_SUFFIXES and is_file(path) and path.name[0] != ".":
            groups[_image_name(path)].append(path)
    chosen, beside = {}, []
    for name, paths in groups.items():
        # of a.png and a_labels.png in one folder, the first is the picture
        labels = [path for path in paths if path.stem != name] or paths
        if len(labels) > 1:
            raise ImageError(
                f"It is not clear which file in {folder} holds the labels of {name}: "
                f"{' or '.join(path.name for path in labels)}; leave one of them there."
            )
        chosen[name] = labels[0]
        beside += [path for path in paths if path != labels[0]]
    return chosen, beside


def _image_name(path: Path) -> str:
    return _ENDING.sub("", path.stem) or path.stem


def _left_out(paths: list[Path], why: str) -> str:
    if not paths:
        return ""
    names = ", ".join(path.name for path in paths[:_NAMED_AT_MOST])
    more = len(paths) - _NAMED_AT_MOST
    noun = "1 file was" if len(paths) == 1 else f"{len(paths)} files were"
    rest = f" and {more} more" if more > 0 else ""
    return f"{noun} left out, {why}, in {paths[0].parent}: {names}{rest}."


def to_json(found: Evaluation) -> dict[str, Any]:
    """Return all numbers as JSON values: of all images, at each threshold, of each image.

    What is not defined is None.
    """
    metrics = found.metrics()
    return {
        "images": len(found.images),
        "metrics": {metric.key: metric.value for metric in metrics},
        "meanings": {metric.key: metric.meaning for metric in metrics},
        "thresholds": [_counts_to_json(counts) for counts in found.counts],
        "per_image": [_image_to_json(image) for image in found.images],
        "notices": list(found.notices),
    }


def _counts_to_json(counts: Counts) -> dict[str, Any]:
    return {
        "threshold": counts.threshold,
        "tp": counts.tp,
        "fp": counts.fp,
        "fn": counts.fn,
        "ap": counts.average_precision,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "panoptic_quality": counts.panoptic_quality,
        "mean_matched_iou": counts.mean_matched_iou,
        "mean_true_iou": counts.mean_true_iou,
    }


def _image_to_json(image: ImageScores) -> dict[str, Any]:
    half = image.counts[0]
    return {
        "name": image.name,
        "true": half.true,
        "predicted": half.predicted,
        "mean_ap": image.mean_average_precision,
        "thresholds": [_counts_to_json(counts) for counts in image.counts],
    }


def to_csv(found: Evaluation) -> str:
    """Return one line for each true object, and one for each that was made up, below a head line.

    The columns are `CSV_COLUMNS`, see `ObjectScore`.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_COLUMNS)
    for image in found.images:
        # or a spreadsheet takes the name for a formula
        name = f"'{image.name}" if image.name[:1] in tuple("=+-@\t\r") else image.name
        table.writerows(
            (name, each.true, each.pred, f"{each.iou:.6f}", each.outcome) for each in image.objects
        )
    return text.getvalue()
