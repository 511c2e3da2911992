from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.workflows import sidecars
from napari_sam3.workflows.provenance import new_record
from napari_sam3.workflows.sidecars import (
    find_labels,
    labels_digest,
    own_sidecar_path,
    read_sidecar,
    sidecar_path,
    to_text,
    write_sidecar,
)

LABELS = np.arange(3 * 5 * 7).reshape(3, 5, 7)


@pytest.fixture
def record():
    return new_record({"name": "cells"}, {"shape": [3, 5, 7], "affine": np.eye(4).tolist()})


def test_a_record_lies_beside_its_labels(tmp_path):
    assert sidecar_path(tmp_path / "a.b.tif") == tmp_path / "a.b.json"


def test_what_is_written_is_read_again_by_either_name(tmp_path, record):
    written = write_sidecar(tmp_path / "x.json", record, LABELS, str(tmp_path / "x.tif"))
    assert read_sidecar(tmp_path / "x.json") == read_sidecar(tmp_path / "x.tif") == written
    assert written["labels"] == {
        "file": "x.tif",
        "sha256": labels_digest(LABELS),
        "dtype": "uint16",
        "shape": [3, 5, 7],
    }
    assert "labels" not in record


def test_what_was_said_of_other_labels_is_not_kept(tmp_path, record):
    written = write_sidecar(tmp_path / "x.json", record, LABELS, "x.tif")
    assert "labels" not in write_sidecar(tmp_path / "y.json", written)


def test_a_record_is_text_for_the_eye(record):
    record["note"] = "[1,\n2]"
    record["labels"] = {"0": 4, "1": 5}
    text = to_text(record)
    assert json.loads(text) == record
    assert text.endswith("}\n")
    assert '"shape": [3, 5, 7]' in text
    assert "[1.0, 0.0, 0.0, 0.0]" in text
    assert '"labels": {"0": 4, "1": 5}' in text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"schema": 1', "[" * 100_000])
def test_a_mangled_file_is_refused_with_a_sentence(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ProvenanceError, match=r"x\.json is no record"):
        read_sidecar(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ProvenanceError, match="it is no text"):
        read_sidecar(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ProvenanceError, match="There is no record"):
        read_sidecar(tmp_path / "x.json")
    (tmp_path / "y.json").mkdir()
    with pytest.raises(ProvenanceError, match="cannot be read"):
        read_sidecar(tmp_path / "y.json")


def test_a_sidecar_from_the_future_names_the_remedy(tmp_path, record):
    (tmp_path / "x.json").write_text(json.dumps(record | {"schema": 2, "runs": "otherwise"}))
    with pytest.raises(ProvenanceError, match="pip install --upgrade"):
        read_sidecar(tmp_path / "x.json")


def test_nothing_is_written_that_could_not_be_read(tmp_path, record):
    with pytest.raises(ProvenanceError):
        write_sidecar(tmp_path / "x.json", {**record, "runs": [{}]})
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_any_name_has_a_record(tmp_path):
    write_sidecar(tmp_path / "x.json", new_record({"name": "b\udcff.tif"}, {"shape": [3, 5]}))
    assert read_sidecar(tmp_path / "x.json")["image"]["name"] == "b?.tif"


def test_a_folder_that_is_not_there_is_an_image_error(tmp_path, record):
    with pytest.raises(ImageError, match="no folder"):
        write_sidecar(tmp_path / "no" / "x.json", record)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, ">i4", np.int64])
def test_the_digest_is_of_values_whatever_their_type(dtype):
    assert labels_digest(LABELS.astype(dtype)) == labels_digest(LABELS)


def test_the_digest_tells_values_shapes_and_places_apart():
    other = LABELS.copy()
    other[2, 4, 6] = 1
    flipped = np.ascontiguousarray(LABELS[::-1])
    arrays = (LABELS, other, flipped, LABELS.reshape(3, 7, 5), LABELS.reshape(15, 7))
    assert len({labels_digest(array) for array in arrays}) == 5
    assert labels_digest(np.asfortranarray(LABELS)) == labels_digest(LABELS)
    assert labels_digest(flipped[::-1]) == labels_digest(LABELS)
    assert labels_digest(np.zeros((0, 4), np.uint8)) != labels_digest(np.zeros((4, 0), np.uint8))


def test_labels_are_found_by_the_name_on_record_or_by_the_record_s_own(tmp_path, record):
    path = tmp_path / "x.json"
    said = {**record, "labels": {"file": "old.tif"}}
    assert find_labels(path, said) is None
    (tmp_path / "x.png").touch()
    assert find_labels(path, said).name == "x.png"
    (tmp_path / "old.tif").touch()
    assert find_labels(path, said).name == "old.tif"
    # a name on record leads to no other folder
    assert find_labels(path, {**record, "labels": {"file": "../old.tif"}}).name == "old.tif"


# --- the name is another file's ---------------------------------------------------------


@pytest.mark.parametrize("text", ["mine", "{}", '{"schema": 1, "runs": []}', "[" * 100_000])
def test_a_file_that_is_no_record_keeps_its_name(tmp_path, record, text):
    foreign = tmp_path / "x.json"
    foreign.write_text(text)
    place = own_sidecar_path(tmp_path / "x.tif")
    assert place == tmp_path / "x.tif.json"
    (tmp_path / "x.tif").touch()
    written = write_sidecar(place, record, LABELS, "x.tif")
    assert read_sidecar(tmp_path / "x.tif") == read_sidecar(place) == written
    assert find_labels(place, written) == tmp_path / "x.tif"
    assert find_labels(place, record) == tmp_path / "x.tif"
    # also where the name has become free, as it is read first
    foreign.unlink()
    assert own_sidecar_path(tmp_path / "x.tif") == place


def test_a_record_of_its_own_is_replaced(tmp_path, record):
    write_sidecar(tmp_path / "x.json", record, LABELS, "x.tif")
    assert own_sidecar_path(tmp_path / "x.tif") == tmp_path / "x.json"


def test_the_record_of_other_labels_that_are_there_is_kept(tmp_path, record):
    write_sidecar(tmp_path / "x.json", record, LABELS, "x.png")
    assert own_sidecar_path(tmp_path / "x.tif") == tmp_path / "x.json"
    (tmp_path / "x.png").touch()
    assert own_sidecar_path(tmp_path / "x.tif") == tmp_path / "x.tif.json"


def test_where_both_names_are_taken_nothing_is_destroyed(tmp_path):
    for name in ("x.json", "x.tif.json"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(ProvenanceError, match="Choose another name"):
        own_sidecar_path(tmp_path / "x.tif")


def test_of_two_records_of_one_file_the_newer_is_read(tmp_path, record):
    for number, name in enumerate(("x.json", "x.tif.json")):
        write_sidecar(tmp_path / name, {**record, "note": name}, LABELS, "x.tif")
        os.utime(tmp_path / name, (number, number))
    assert read_sidecar(tmp_path / "x.tif")["note"] == "x.tif.json"
    os.utime(tmp_path / "x.json", (9, 9))
    assert read_sidecar(tmp_path / "x.tif")["note"] == "x.json"


# --- files that were made to do harm ----------------------------------------------------


def test_a_file_that_is_too_long_is_refused_unread(tmp_path, record, monkeypatch):
    write_sidecar(tmp_path / "x.json", record)
    monkeypatch.setattr(sidecars, "MAX_BYTES", 100)
    with pytest.raises(ProvenanceError, match="longer than"):
        read_sidecar(tmp_path / "x.json")


@pytest.mark.parametrize(("limit", "most"), [("MAX_BYTES", 300), ("MAX_VALUES", 20)])
def test_what_could_not_be_read_again_is_not_written(tmp_path, record, monkeypatch, limit, most):
    path = tmp_path / "x.json"
    write_sidecar(path, record)
    before = path.read_bytes()
    monkeypatch.setattr(sidecars, limit, most)
    with pytest.raises(ProvenanceError, match="too large to be opened again"):
        write_sidecar(path, record)
    assert path.read_bytes() == before
    with pytest.raises(ProvenanceError, match="is no record"):
        read_sidecar(path)


def test_large_stacks_are_digested_in_small_blocks():
    labels = np.arange(2 * 1500 * 1000).reshape(2, 1500, 1000)
    whole = hashlib.sha256(b"labels 2 1500 1000\n" + labels.astype("<i8").tobytes())
    assert labels_digest(labels) == whole.hexdigest()
