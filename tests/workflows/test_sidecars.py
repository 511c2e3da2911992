from __future__ import annotations

import json

import numpy as np
import pytest

from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.workflows.provenance import new_record
from napari_sam3.workflows.sidecars import (
    find_labels,
    labels_digest,
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
