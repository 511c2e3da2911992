"""Records beside label images: ``cells_labels.tif`` and ``cells_labels.json``.

Where that name is another file's, the record is ``cells_labels.tif.json``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.schema import parse, values_in
from napari_sam3.errors import LedgerError, ProvenanceError
from napari_sam3.workflows.files import LABEL_SUFFIXES, save_text
from napari_sam3.workflows.paths import is_file
from napari_sam3.workflows.provenance import Record, check_record, is_record

MAX_BYTES = 256 << 20
"""A longer file is neither written nor read: 10,000 runs take 20 MB, and so do 80,000 objects."""

MAX_VALUES = 16_000_000
"""Nor is one that holds more, of some 60 bytes in memory: a run has 70, an object 20 a plane."""

_OBJECTS = "objects"
_BLOCK = 1 << 20

# a list of plain numbers, or labels by number, over several lines: what JSON's own
# indentation makes of a point; no string has a line break
_NUMBERS = re.compile(r"\[\n[\s\d.,+\-eEtrufalsn]*\]|\{\n(?:\s*\"\d+\": \d+,?\n)+\s*\}")


def sidecar_path(labels_path: str | Path) -> Path:
    """Return where the record of a label image lies, unless another file lies there."""
    return Path(labels_path).with_suffix(".json")


def own_sidecar_path(labels_path: str | Path) -> Path:
    """Return where the record of a label image may be written without harm to another file.

    Raises
    ------
    ProvenanceError
        If both names are taken.
    """
    first, second = sidecar_path(labels_path), _second_path(labels_path)
    if _is_ours(second, labels_path):
        # what is read first must not be left behind with an old record
        return second
    for path in (first, second):
        if not os.path.lexists(path) or _is_ours(path, labels_path):
            return path
    raise ProvenanceError(
        f"The record cannot be saved: {first.name} and {second.name} are other files. "
        "Choose another name for the labels."
    )


def record_path(path: str | Path) -> Path:
    """Return where a record lies, given its own path or that of its label image."""
    path = Path(path)
    if path.suffix.lower() not in LABEL_SUFFIXES:
        return path
    first, second = sidecar_path(path), _second_path(path)
    if not _is_ours(second, path):
        return first
    # a former run may have written the first one, and a later one the second
    is_newer = _is_ours(first, path) and first.stat().st_mtime_ns > second.stat().st_mtime_ns
    return first if is_newer else second


def _second_path(labels_path: str | Path) -> Path:
    path = Path(labels_path)
    return path.with_name(f"{path.name}.json")


def _is_ours(path: Path, labels_path: str | Path) -> bool:
    """Whether a file is a record, and not that of another label image that is there."""
    try:
        record = _load(path)
    except (ProvenanceError, OSError):
        return False
    if not is_record(record) or "napari-sam3" not in (record.get("software") or ()):
        return False
    said = record.get("labels")
    name = Path(str(said.get("file", ""))).name if isinstance(said, dict) else ""
    return name in ("", Path(labels_path).name) or not is_file(path.parent / name)


def is_sidecar(path: str | Path) -> bool:
    """Whether a file is a record of how labels were made."""
    try:
        return Path(path).suffix.lower() == ".json" and is_record(_load(Path(path)))
    except (ProvenanceError, OSError):
        return False


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
        value = _load(path)
    except FileNotFoundError as error:
        raise ProvenanceError(f"There is no record {path}.") from error
    except OSError as error:
        raise ProvenanceError(f"{path} cannot be read: {error.strerror}.") from error
    return check_record(value, str(path))


def settle_answers(record: Mapping[str, Any]) -> None:
    """Note that the paid answers of a record are saved: nothing else has to hold them any more.

    Parameters
    ----------
    record : mapping
        Of labels that were saved, with it beside them.
    """
    from napari_sam3.engines import ENGINES

    billed = {info.name for info in ENGINES if info.capabilities.billed}
    paid = [
        (question["question_sha256"], question.get("request_id"))
        for run in record["runs"]
        if run["engine"]["name"] in billed
        for question in run["questions"]
        if question.get("question_sha256")
    ]
    if not paid:
        return
    from napari_sam3.jobs.accounts import open_ledger

    # they are offered to be collected once more if this fails, and nothing is lost
    with suppress(LedgerError):
        open_ledger().settle(paid)


def _load(path: Path) -> Any:
    if path.exists() and not path.is_file():
        # a pipe would be waited for without end
        raise ProvenanceError(f"{path} cannot be read: it is no file.")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ProvenanceError(
            f"{path} is no record: it is longer than {MAX_BYTES >> 20} MB, the most that one has."
        )
    try:
        return parse(data, MAX_VALUES)
    except ValueError as error:
        raise ProvenanceError(f"{path} is no record: {error}.") from error


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
        If it is no record, or too large to be read again.
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
    text = to_text(written)
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_BYTES or values_in(data) > MAX_VALUES:
        raise ProvenanceError(
            f"The record of {path} is not saved: with {len(data) >> 20} MB it would be too large "
            "to be opened again. Save the labels of fewer planes at a time."
        )
    save_text(path, text)
    return written


def to_text(record: Mapping[str, Any]) -> str:
    """Return a record as text for the eye: one line for a point, an object, a row of a matrix."""
    said = {name: value for name, value in record.items() if name != _OBJECTS}
    text = json.dumps(said, indent=2, ensure_ascii=False, allow_nan=False)
    text = _NUMBERS.sub(_on_one_line, text)
    if _OBJECTS in record:
        # at the end: thousands of them would bury the rest
        text = f'{text[:-2]},\n  "{_OBJECTS}": {_objects_text(record[_OBJECTS])}\n}}'
    return text + "\n"


def _objects_text(objects: Mapping[str, Any]) -> str:
    dump = functools.partial(json.dumps, ensure_ascii=False, allow_nan=False)
    items = []
    for one in objects["items"]:
        head = dump({name: value for name, value in one.items() if name != "parts"})
        parts = ",\n      ".join(dump(part) for part in one["parts"])
        items.append(f'{head[:-1]}, "parts": [\n      {parts}\n    ]}}')
    others = dump({name: value for name, value in objects.items() if name != "items"})
    return f'{others[:-1]}, "items": [\n    {", ".join(items)}\n  ]}}'


def _on_one_line(found: re.Match[str]) -> str:
    whole = found.group()
    return whole[0] + " ".join(whole[1:-1].split()) + whole[-1]


def labels_digest(labels: npt.NDArray[Any]) -> str:
    """Return the SHA-256 of a label image: of its shape and values, whatever their type."""
    digest = hashlib.sha256(f"labels {' '.join(map(str, labels.shape))}\n".encode())
    for block in _blocks(labels):
        # one block at a time: eight bytes a pixel are more than the labels take themselves
        digest.update(np.ascontiguousarray(block, dtype="<i8").data)
    return digest.hexdigest()


def _blocks(labels: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    if labels.ndim < 2 or labels.size <= _BLOCK:
        yield labels
        return
    for part in labels:
        yield from _blocks(part)


def find_labels(path: str | Path, record: Mapping[str, Any]) -> Path | None:
    """Return the label image that lies beside a record, or None."""
    path = record_path(path)
    said = str(record.get("labels", {}).get("file", ""))
    # of “x.tif.json” it is “x.tif”
    own = path.stem if Path(path.stem).suffix.lower() in LABEL_SUFFIXES else ""
    names = [said, own, *(path.with_suffix(suffix).name for suffix in LABEL_SUFFIXES)]
    beside = (path.parent / Path(name).name for name in names if name)
    return next((each for each in beside if each != path and is_file(each)), None)
