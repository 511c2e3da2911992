import os
import stat

import numpy as np
import pytest

from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting import export, read_objects
from napari_sam3.workflows.files import (
    check_label_path,
    open_image,
    save_labels,
    save_text,
)
from napari_sam3.workflows.label_files import open_labels
from napari_sam3.workflows.paths import kind_at
from napari_sam3.workflows.sidecars import find_labels, is_sidecar

from .exported import exported

LABELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
READERS = [open_image, open_labels, read_objects]
HAS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "cells.tif"
    os.mkfifo(path)
    return path


@pytest.fixture
def stranger(tmp_path):
    """Somebody who may not look into a folder, also where the tests may do anything."""
    folder = tmp_path / "locked"
    folder.mkdir()
    save_labels(folder / "cells.tif", LABELS)
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    folder.chmod(0o700)


class TestReading:
    @HAS_PIPES
    @pytest.mark.parametrize("read", READERS)
    def test_a_pipe_is_refused_and_not_waited_for(self, pipe, read):
        with pytest.raises(ImageError, match="is a pipe or a device, not a file; save its content"):
            read(pipe)

    @HAS_PIPES
    def test_a_pipe_is_no_record(self, pipe):
        renamed = pipe.rename(pipe.with_suffix(".json"))
        assert not is_sidecar(renamed)

    @pytest.mark.parametrize("read", READERS)
    def test_a_dash_is_told_to_be_saved_first(self, tmp_path, monkeypatch, read):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ImageError, match="Standard input cannot be read: save it to a file"):
            read("-")

    @pytest.mark.parametrize("read", READERS)
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("a" * 300 + ".tif", "cannot be used: File name too long"),
            ("a\0b.tif", "is no name of a file"),
            ("gone.tif", "There is no file"),
            ("plain.tif/x.tif", "There is no file"),
            ("loop.tif", "cannot be used: Too many levels"),
            ("dangling.tif", "There is no file"),
        ],
    )
    def test_each_name_that_is_no_file_has_its_reason(self, tmp_path, read, name, words):
        save_labels(tmp_path / "plain.tif", LABELS)
        (tmp_path / "loop.tif").symlink_to("loop.tif")
        (tmp_path / "dangling.tif").symlink_to("gone.tif")
        with pytest.raises(ImageError, match=words):
            read(tmp_path / name)

    @pytest.mark.skipif(os.name == "nt", reason="has other permissions")
    @pytest.mark.parametrize("read", READERS)
    def test_a_file_that_may_not_be_looked_at_has_its_reason(self, stranger, read):
        with pytest.raises(ImageError, match="cannot be used: Permission denied"):
            read(stranger / "cells.tif")

    @pytest.mark.parametrize("name", ["a" * 300 + ".tif", "x\0.tif", "..", ""])
    def test_the_name_that_a_record_says_may_be_anything(self, tmp_path, name):
        assert find_labels(tmp_path / "x.json", {"labels": {"file": name}}) is None


class TestWriting:
    @HAS_PIPES
    @pytest.mark.parametrize(
        "write",
        [
            lambda path: save_labels(path, LABELS),
            check_label_path,
            lambda path: export(path, exported(), overwrite=True),
        ],
    )
    def test_a_pipe_is_not_replaced(self, pipe, write):
        with pytest.raises(ImageError, match="is a pipe or a device"):
            write(pipe)
        assert stat.S_ISFIFO(pipe.stat().st_mode)

    def test_a_link_stays_and_what_it_leads_to_is_written(self, tmp_path):
        (tmp_path / "there").mkdir()
        target, link = tmp_path / "there" / "cells.tif", tmp_path / "link.tif"
        for _ in range(2):
            # at first it leads to a file that is not there yet
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            check_label_path(link)
            save_labels(link, LABELS)
            assert link.is_symlink()
            assert not target.is_symlink()
            np.testing.assert_array_equal(open_labels(target), LABELS)
        assert {path.name for path in tmp_path.rglob("*")} == {"there", "link.tif", "cells.tif"}

    def test_a_link_to_a_folder_that_is_not_there_is_refused(self, tmp_path):
        (tmp_path / "link.tif").symlink_to(tmp_path / "gone" / "cells.tif")
        with pytest.raises(ImageError, match=r"is a link to .*, and there is no such folder"):
            check_label_path(tmp_path / "link.tif")
        with pytest.raises(ImageError, match=r"is a link to .*, and there is no such folder"):
            save_labels(tmp_path / "link.tif", LABELS)
        assert (tmp_path / "link.tif").is_symlink()

    def test_a_link_to_a_folder_of_ome_zarr_stays_one(self, tmp_path):
        pytest.importorskip("zarr")
        (tmp_path / "there.ome.zarr").mkdir()
        (tmp_path / "link.ome.zarr").symlink_to("there.ome.zarr")
        export(tmp_path / "link.ome.zarr", exported(), overwrite=True)
        assert (tmp_path / "link.ome.zarr").is_symlink()
        assert read_objects(tmp_path / "there.ome.zarr").objects
        assert len(list(tmp_path.iterdir())) == 2

    def test_the_longest_name_that_a_disk_takes_is_taken(self, tmp_path):
        path = tmp_path / f"{'a' * 251}.tif"
        save_labels(path, LABELS)
        np.testing.assert_array_equal(open_labels(path), LABELS)

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("a" * 300 + ".tif", "too long"),
            ("a\0b.tif", "no name of a file"),
            ("x/b.tif", "folder"),
        ],
    )
    def test_a_name_that_no_disk_takes_has_its_reason(self, tmp_path, name, words):
        for write in (check_label_path, lambda path: save_labels(path, LABELS)):
            with pytest.raises(ImageError, match=words):
                write(tmp_path / name)

    @pytest.mark.skipif(os.name == "nt", reason="has other permissions")
    def test_a_folder_that_may_not_be_written_has_its_reason(self, stranger):
        with pytest.raises(ImageError, match="Permission denied"):
            check_label_path(stranger / "new.tif")

    def test_a_name_that_is_no_text_can_be_written_about(self, tmp_path):
        name = os.fsdecode(b"\xe9.tif")
        save_text(tmp_path / "x.json", name)
        assert (tmp_path / "x.json").read_text("utf-8") == "?.tif"


def test_what_lies_at_a_path_is_told_links_followed(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    kinds = {name: kind_at(tmp_path / name) for name in ("file", "link", "gone", "")}
    assert kinds == {"file": "file", "link": "file", "gone": "nothing", "": "folder"}
