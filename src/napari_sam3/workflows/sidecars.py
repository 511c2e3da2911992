"""Records beside label images: ``cells_labels.tif`` and ``cells_labels.json``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.labels import labels_dtype
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.files import LABEL_SUFFIXES, save_text
from napari_sam3.workflows.provenance import Record, check_record

# a list of plain numbers, or labels by number, over several lines: what JSON's own
# indentation makes of a point; no string has a line break
_NUMBERS = re.compile(r"\[\n[\s\d.,+\-eEtrufalsn]*\]|\{\n(?:\s*\"\d+\": \d+,?\n)+\s*\}")


def sidecar_path(labels_path: str | Path) -> Path:
    """Return where the record of a label image lies."""
    return Path(labels_path).with_suffix(".json")


def record_path(path: str | Path) -> Path:
    """Return where a record lies, given its own path or that of its label image."""
    path = Path(path)
    return sidecar_path(path) if path.suffix.lower() in LABEL_SUFFIXES else path


def read_sidecar(path: str | Path) -> Record:
    """Read a record.

    Parameters
    ----------
    path : str or Path
        The record's file, or the label image's.

    Raises
    ------
    ProvenanceError
        If there is none, or it cannot be read by this version.
    """
    path = record_path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ProvenanceError(f"There is no record {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ProvenanceError(f"{path} cannot be read: {reason}.") from error
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProvenanceError(f"{path} is no record: it is no JSON, or was cut off.") from error
    return check_record(value, str(path))


def write_sidecar(
    path: str | Path,
    record: Mapping[str, Any],
    labels: npt.NDArray[Any] | None = None,
    file: str = "",
) -> Record:
    """Write a record, whole or not at all; an existing one is replaced.

    Parameters
    ----------
    path : str or Path
    record : mapping
    labels : ndarray of int, optional
        The labels that are saved beside it.
    file : str
        The name of their file.

    Returns
    -------
    dict
        What was written.

    Raises
    ------
    ProvenanceError
        If it is no record.
    ImageError
        If the file cannot be written.
    """
    written = {name: value for name, value in record.items() if name != "labels"}
    if labels is not None:
        written["labels"] = {
            "file": Path(file).name,
            "sha256": labels_digest(labels),
            "dtype": str(labels_dtype(int(labels.max(initial=0)))),
            "shape": list(labels.shape),
        }
    check_record(written, "What was to be written")
    save_text(path, to_text(written))
    return written


def to_text(record: Mapping[str, Any]) -> str:
    """Return a record as text for the eye: one line for a point, a box, a row of a matrix."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    return _NUMBERS.sub(_on_one_line, text) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    whole = found.group()
    return whole[0] + " ".join(whole[1:-1].split()) + whole[-1]


def labels_digest(labels: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of a label image: of its shape and values, whatever their type."""
    digest = hashlib.sha256(f"labels {' '.join(map(str, labels.shape))}\n".encode())
    for block in labels if labels.ndim > 1 else [labels]:
        # one block at a time: eight bytes a pixel are more than the labels take themselves
        digest.update(np.ascontiguousarray(block, dtype="<i8").data)
    return digest.hexdigest()


def find_labels(path: str | Path, record: Mapping[str, Any]) -> Path | None:
    """Return the label image that lies beside a record, or None."""
    path = record_path(path)
    said = str(record.get("labels", {}).get("file", ""))
    names = [said, *(path.with_suffix(suffix).name for suffix in LABEL_SUFFIXES)]
    beside = (path.parent / Path(name).name for name in names if name)
    return next((each for each in beside if each != path and each.is_file()), None)
