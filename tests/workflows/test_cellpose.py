import os
import pathlib
import pickle
import pickletools
import struct

import numpy as np
import pytest

from napari_sam3.errors import ImageError
from napari_sam3.workflows import cellpose
from napari_sam3.workflows.evaluating import evaluate_arrays
from napari_sam3.workflows.exporting import read_objects
from napari_sam3.workflows.label_files import open_labels

MASKS = np.zeros((7, 11), np.uint16)
MASKS[1:4, 2:9], MASKS[5:, 1:6] = 1, 2


def said(masks=MASKS, **more):
    """What Cellpose's window saves, with one of each kind of value that it puts there."""
    return {
        "outlines": MASKS * (MASKS > 1),
        "colors": [np.array([255, 0, 7], np.uint8), np.array([1, 2, 3], np.uint8)],
        "masks": masks,
        "filename": "/data/räume/a.tif",
        "flows": [np.zeros((7, 11, 3), np.uint8), [], np.float32(0.5), None],
        "ismanual": np.array([True, False]),
        "manual_changes": [["06/01/2024, 10:00:00", "added mask", [0, 1]]],
        "model_path": pathlib.PurePosixPath("/models/cyto3"),
        "normalize_params": {"lowhigh": None, "percentile": (1.0, 99.0), "tile_norm": 1 << 70},
        "diameter": np.nan,
    } | more


def save(path, content):
    np.save(path, content, allow_pickle=True)
    return path


def save_pickle(path, pickled):
    """A file whose head is that of one object, and whose rest is anything."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + pickled)
    return path


@pytest.mark.parametrize(
    "masks",
    [
        MASKS,
        MASKS.astype(np.int32),
        MASKS.astype(">u4"),
        MASKS.astype(np.float64),
        np.asfortranarray(MASKS),
        np.stack([MASKS, MASKS[::-1], MASKS * 3]),
        MASKS > 0,
    ],
    ids=lambda masks: f"{masks.dtype} {masks.shape}",
)
def test_the_masks_are_the_labels(tmp_path, masks):
    path = save(tmp_path / "a_seg.npy", said(masks))
    np.testing.assert_array_equal(open_labels(path), masks)


@pytest.mark.parametrize("protocol", range(2, 5))
def test_the_masks_are_found_whatever_the_protocol(tmp_path, protocol):
    pickled = pickle.dumps(np.array(said(), object), protocol)
    if protocol == 2:
        # there, bytes are a call
        with pytest.raises(ImageError, match="holds Python objects"):
            open_labels(save_pickle(tmp_path / "a_seg.npy", pickled))
        return
    path = save_pickle(tmp_path / "a_seg.npy", pickled)
    np.testing.assert_array_equal(open_labels(path), MASKS)


def test_it_is_evaluated_and_exported_as_any_label_image(tmp_path):
    path = save(tmp_path / "a_seg.npy", said())
    assert [one.label for one in read_objects(path).objects] == [1, 2]
    assert evaluate_arrays(open_labels(path), MASKS).counts[0].f1 == 1


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


class BuiltTrap:
    def __reduce__(self):
        return (Trap, ("x",), {"__class__": os.system})


@pytest.mark.parametrize("place", ["filename", "masks"])
def test_nothing_in_it_is_run(tmp_path, place):
    trap = tmp_path / "sprung"
    path = save(tmp_path / "a_seg.npy", said(**{place: Trap(trap)}))
    # it is one
    np.load(path, allow_pickle=True)
    assert trap.is_file()
    trap.unlink()
    if place == "masks":
        with pytest.raises(ImageError, match="its “masks” are no array of numbers"):
            open_labels(path)
    else:
        np.testing.assert_array_equal(open_labels(path), MASKS)
    assert not trap.exists()


def test_what_is_to_be_set_is_not_set(tmp_path):
    path = save(tmp_path / "a_seg.npy", said(filename=BuiltTrap()))
    np.testing.assert_array_equal(open_labels(path), MASKS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.array("masks", object), "it is no mapping"),
        ({"flows": 1}, "it has no “masks”"),
        (said(masks=[1, 2]), "its “masks” are no array of numbers"),
        (said(masks=np.array(["a"])), "its “masks” are no array of numbers"),
        (said(masks=np.array([None])), "its “masks” are no array of numbers"),
        (said(masks=np.zeros(3, "u1,O")), "its “masks” are no array of numbers"),
        (said(masks=MASKS.astype(complex)), "its “masks” are no array of numbers"),
        ({"a": {1, 2}, "masks": MASKS}, "something of another kind"),
    ],
    ids=range(8),
)
def test_what_is_none_of_cellposes_is_refused_with_the_reason(tmp_path, content, reason):
    with pytest.raises(ImageError, match=reason):
        open_labels(save(tmp_path / "a_seg.npy", content))


def test_an_array_that_is_said_to_be_larger_than_it_is_is_damaged(tmp_path):
    path = save(tmp_path / "a_seg.npy", said())
    content = path.read_bytes()
    shape = b"K\x07K\x0b\x86"
    assert shape in content
    path.write_bytes(content.replace(shape, b"K\xffK\xff\x86"))
    with pytest.raises(ImageError, match="is damaged: cannot reshape"):
        open_labels(path)


def test_a_file_of_too_many_steps_or_bytes_is_left_alone(tmp_path, monkeypatch):
    path = save(tmp_path / "a_seg.npy", said())
    monkeypatch.setattr(cellpose, "MAX_STEPS", 20)
    with pytest.raises(ImageError, match="too many objects"):
        open_labels(path)
    monkeypatch.setattr(cellpose, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match="is longer than"):
        open_labels(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
        b"\x80\x04r" + struct.pack("<I", 0xFFFFFFFF) + b".",
        b"\x80\x04]r" + struct.pack("<I", 0xFFFFFFFF) + b".",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04](e.",
        b"\x80\x04.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
        b"cos\nsystem\n(S'id'\ntR.",
        b"\x80\x04K\x01\x82\x01.",
        b"\x80\x04}(KeKe",
        b"I" + b"9" * 50_000 + b"\n.",
        b"",
    ],
    ids=range(12),
)
def test_a_pickle_that_was_made_to_do_harm_ends_in_a_sentence(tmp_path, pickled):
    with pytest.raises(ImageError, match=r"a_seg\.npy"):
        open_labels(save_pickle(tmp_path / "a_seg.npy", pickled))


def test_a_name_is_text_and_nothing_else_is_written_out_as_one(tmp_path):
    # lists that share their parts: as text, this would be longer than any disk
    doubled = b"".join(b"(h" + bytes([i]) + b"h" + bytes([i]) + b"l\x94" for i in range(60))
    pickled = b"]\x94" + doubled + b"\x8c\x01x\x93."
    with pytest.raises(ImageError, match="holds Python objects"):
        open_labels(save_pickle(tmp_path / "a_seg.npy", pickled))


def test_masks_are_found_beside_keys_that_are_no_text(tmp_path):
    pickled = pickle.dumps(np.array(said(key=1), object), 4)
    key = b"\x8c\x03key"
    assert pickled.count(key) == 1
    # a list cannot be a key of any mapping; the frame that holds it is as long as before
    path = save_pickle(tmp_path / "a_seg.npy", pickled.replace(key, b"]]]00"))
    np.testing.assert_array_equal(open_labels(path), MASKS)


def test_no_opcode_of_a_real_file_is_unknown(tmp_path):
    path = save(tmp_path / "a_seg.npy", said())
    with path.open("rb") as file:
        assert cellpose._is_one_object(file)
        names = {opcode.name for opcode, _, _ in pickletools.genops(file)}
    assert {"REDUCE", "BUILD", "STACK_GLOBAL", "MEMOIZE", "LONG1"} <= names
