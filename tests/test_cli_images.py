"""Several images in one call: one engine, one price, one consent; each saved by itself."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.cli import hosted as hosted_module
from napari_sam3.engines import creating
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.settings import UPLOAD_NOTICE_SEEN, write_setting
from napari_sam3.testing import SegmindServer

SHAPE = (40, 64)


def draw(path, row, count=2):
    """Save a picture of discs, as different from others as the row says."""
    rows, cols = np.indices(SHAPE)
    pixels = np.full(SHAPE, 10, np.uint8)
    for number in range(count):
        pixels[(rows - row) ** 2 + (cols - 16 - 30 * number) ** 2 < 49] = 200
    tifffile.imwrite(path, pixels)
    return path


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["segment", *map(str, arguments)])


@pytest.fixture
def images(tmp_path):
    return [draw(tmp_path / f"{name}.tif", row) for name, row in (("a", 12), ("b", 20), ("c", 28))]


@pytest.fixture
def server(monkeypatch):
    with SegmindServer(credits=1.0) as server:
        monkeypatch.setenv("SEGMIND_API_KEY", server.key)
        yield server


@pytest.fixture
def hosted(server, images):
    fixed = ["--engine", "segmind", "--url", server.url, "--api", "v1", "--text", "nuclei"]
    return lambda *more: invoke(*images, *fixed, *more)


class TestTargets:
    def test_all_labels_go_into_the_folder_that_is_named(self, images, tmp_path):
        folder = tmp_path / "labels"
        folder.mkdir()
        done = invoke(*images, "--everything", "--output-dir", folder)
        assert done.exit_code == 0, done.stderr
        assert sorted(path.name for path in folder.iterdir()) == [
            f"{name}_labels.{end}" for name in "abc" for end in ("json", "tif")
        ]
        assert tifffile.imread(folder / "b_labels.tif")[20, 16] > 0
        assert done.stdout.splitlines()[-1].startswith("3 of 3 images segmented, 6 objects")

    def test_without_one_they_go_beside_the_images(self, images):
        assert invoke(*images, "--everything").exit_code == 0
        assert all(path.with_name(f"{path.stem}_labels.tif").exists() for path in images)

    def test_a_folder_that_is_not_there_yet_is_made(self, images, tmp_path):
        assert invoke(*images, "--everything", "--output-dir", tmp_path / "new").exit_code == 0
        assert (tmp_path / "new" / "c_labels.tif").exists()

    def test_a_file_is_no_folder(self, images):
        done = invoke(*images, "--everything", "--output-dir", images[0])
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)

    def test_the_record_names_the_plane_and_the_image(self, tmp_path):
        stack = np.zeros((2, *SHAPE), np.uint8)
        stack[1, 5:20, 10:31] = 200
        tifffile.imwrite(tmp_path / "s.tif", stack)
        done = invoke(tmp_path / "s.tif", "--everything", "--plane", "1", "--json")
        [one] = json.loads(done.stdout)["images"]
        record = json.loads(Path(one["record"]).read_text())
        assert record["image"]["name"] == "s.tif"
        assert "1" in json.dumps(record["runs"][0]["plane"])

    def test_one_engine_answers_all_of_them(self, images, monkeypatch):
        made = []
        monkeypatch.setattr(
            creating, "create_engine", lambda *_: made.append(BuiltinEngine()) or made[0]
        )
        assert invoke(*images, "--everything").exit_code == 0
        assert len(made) == 1

    def test_two_images_of_one_name_are_refused_before_anything_is_asked(self, images, tmp_path):
        (tmp_path / "other").mkdir()
        twin = draw(tmp_path / "other" / "a.png.tif", 25).rename(tmp_path / "other" / "a.tif")
        done = invoke(*images, twin, "--everything", "--output-dir", tmp_path / "labels")
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"{images[0]} and {twin} would both be saved as" in done.stderr
        assert not (tmp_path / "labels").exists()

    def test_labels_that_exist_are_named_before_anything_is_asked(self, images):
        invoke(*images[1:], "--everything")
        done = invoke(*images, "--everything")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "b_labels.tif and 1 more exist already" in done.stderr
        assert not images[0].with_name("a_labels.tif").exists()
        assert invoke(*images, "--everything", "--overwrite").exit_code == 0

    def test_a_file_of_another_program_at_the_place_of_the_record_is_kept(self, images, tmp_path):
        coco = tmp_path / "truth.json"
        coco.write_text('{"images": [], "annotations": []}')
        arguments = (images[0], "--everything", "-o", tmp_path / "truth.tif", "--json")
        for more in ((), ("--overwrite",)):
            done = invoke(*arguments, *more)
            assert done.exit_code == 0, done.stderr
            [one] = json.loads(done.stdout)["images"]
            assert one["record"] == str(tmp_path / "truth.tif.json")
            assert "runs" in json.loads(Path(one["record"]).read_text())
        assert coco.read_text() == '{"images": [], "annotations": []}'

    def test_where_both_names_of_the_record_are_taken_nothing_is_asked(
        self, server, images, tmp_path
    ):
        (tmp_path / "truth.json").mkdir()
        (tmp_path / "truth.tif.json").mkdir()
        hosted = ("--engine", "segmind", "--url", server.url, "--api", "v1", "--text", "nuclei")
        done = invoke(images[0], *hosted, "-o", tmp_path / "truth.tif", "--overwrite")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "The record cannot be saved: truth.json and truth.tif.json" in done.stderr
        assert server.ledger.posts == 0
        assert not (tmp_path / "truth.tif").exists()

    def test_a_folder_in_the_place_of_the_record_does_not_lose_the_labels(self, images, tmp_path):
        (tmp_path / "truth.json").mkdir()
        done = invoke(images[0], "--everything", "-o", tmp_path / "truth.tif")
        assert done.exit_code == 0, done.stderr
        assert (tmp_path / "truth.tif").is_file()
        assert (tmp_path / "truth.tif.json").is_file()

    def test_no_image_of_the_call_is_replaced(self, images, tmp_path):
        draw(tmp_path / "a_labels.tif", 9)
        done = invoke(*images, tmp_path / "a_labels.tif", "--everything", "--overwrite")
        assert (done.exit_code, done.stdout) == (1, "")
        assert "a_labels.tif is an image, too" in done.stderr

    @pytest.mark.parametrize("option", ["--output", "--overlay"])
    def test_a_file_is_for_one_image(self, hosted, tmp_path, option):
        done = hosted(option, tmp_path / "out.png")
        assert done.exit_code == 2
        assert "--output-dir" in done.stderr


class TestFailures:
    def test_one_that_cannot_be_read_is_a_sentence_and_the_rest_is_done(self, images):
        images[1].write_bytes(b"no picture")
        done = invoke(*images, "--everything")
        assert done.exit_code == 3
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"{images[1]}: ")
        assert images[2].with_name("c_labels.tif").exists()
        assert done.stdout.splitlines()[-1].startswith("2 of 3 images segmented")

    def test_results_that_find_no_room_are_told_of_once_and_saved_all_the_same(
        self, images, tmp_path, monkeypatch
    ):
        full = tmp_path / "cache"
        full.write_text("a file where the folder should be")
        monkeypatch.setenv("NAPARI_SAM3_CACHE", str(full))
        done = invoke(*images, "--everything")
        assert (done.exit_code, done.stderr.count("could not be stored")) == (0, 1)
        assert all(path.with_name(f"{path.stem}_labels.tif").exists() for path in images)

    def test_if_none_can_be_read_nothing_was_done(self, images):
        for path in images:
            path.write_bytes(b"no picture")
        assert invoke(*images, "--everything").exit_code == 1

    def test_a_click_outside_of_one_is_a_sentence(self, images):
        tifffile.imwrite(images[0], np.zeros((9, 12), np.uint8))
        done = invoke(*images, "--point", "20,16")
        assert done.exit_code == 3
        assert f"{images[0]}: The point 20,16 lies outside" in done.stderr

    def test_ctrl_c_keeps_what_is_done(self, images, monkeypatch):
        segment = BuiltinEngine.segment

        def interrupted(self, request, *stop):
            if asked:
                os.kill(os.getpid(), signal.SIGINT)
            asked.append(request)
            return segment(self, request, *stop)

        asked = []
        monkeypatch.setattr(BuiltinEngine, "segment", interrupted)
        done = invoke(*images, "--point", "20,16")
        assert done.exit_code == 130
        assert done.stderr == "Stopped; 1 of 3 images are done.\n"
        assert images[0].with_name("a_labels.tif").exists()
        assert not images[1].with_name("b_labels.tif").exists()


class TestCosts:
    def test_the_estimate_is_for_all_and_sends_nothing(self, hosted, server):
        done = hosted("--estimate")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith("3 requests, 3 calls, about $")
        assert server.ledger.posts == 0

    def test_it_is_agreed_to_once(self, hosted, server, monkeypatch):
        asked = []
        invoke_limits("--confirm-above", "0.01")
        write_setting(UPLOAD_NOTICE_SEEN, True)
        monkeypatch.setattr(hosted_module, "is_terminal", lambda: True)
        monkeypatch.setattr(hosted_module.typer, "confirm", lambda *_, **__: asked.append(1) or 1)
        done = hosted()
        assert done.exit_code == 0, done.stderr
        assert (len(asked), server.ledger.posts) == (1, 3)

    def test_what_is_not_agreed_to_sends_nothing(self, hosted, server):
        invoke_limits("--confirm-above", "0.01")
        done = hosted()
        assert (done.exit_code, done.stdout) == (1, "")
        assert server.ledger.posts == 0

    def test_a_cap_is_for_all_images_and_ends_in_good_order(self, hosted, server, images):
        done = hosted("--cap", "0.014", "--json")
        assert done.exit_code == 4
        said = json.loads(done.stdout)["images"]
        assert [one["status"] for one in said] == ["done", "done", "failed"]
        assert images[1].with_name("b_labels.tif").exists()
        assert server.ledger.posts == 2

    def test_a_class_whose_request_was_not_answered_has_no_count(self, server, images):
        texts = ("--text", "nuclei", "--text", "cells", "--text", "objects")
        fixed = ("--engine", "segmind", "--url", server.url, "--api", "v1", "--cap", "0.014")
        done = invoke(images[0], *fixed, *texts, "--json")
        assert done.exit_code == 4, done.stderr
        (one,) = json.loads(done.stdout)["images"]
        assert one["status"] == "partial"
        assert list(one["classes"].values()) == [2, 2, None]

    def test_an_image_that_another_took_the_place_of_is_not_paid_for(
        self, hosted, server, images, monkeypatch
    ):
        agree = hosted_module.require_key

        def exchange():
            draw(images[2], 33, count=1)
            agree()

        monkeypatch.setattr(hosted_module, "require_key", exchange)
        done = hosted()
        assert done.exit_code == 3
        assert f"{images[2]}: The price that was accepted does not include it" in done.stderr
        assert server.ledger.posts == 2

    def test_one_agreed_call_is_not_made_twice_for_two_images_that_are_alike(
        self, server, images, tmp_path
    ):
        twin = draw(tmp_path / "twin.tif", 12)
        fixed = ("--engine", "segmind", "--url", server.url, "--api", "v1", "--text", "nuclei")
        done = invoke(images[0], twin, *fixed, "--no-cache")
        # they were one call in the price
        assert f"{twin}: The price that was accepted does not include it" in done.stderr
        assert (done.exit_code, server.ledger.posts) == (3, 1)

    def test_what_a_run_that_was_stopped_has_of_an_image_is_not_saved(self, monkeypatch, images):
        def interrupted(image, fields):
            if fields.text == "cells":
                os.kill(os.getpid(), signal.SIGINT)
            return [np.ones(image.shape[:2], bool)]

        with SegmindServer(credits=1.0, model=interrupted) as server:
            monkeypatch.setenv("SEGMIND_API_KEY", server.key)
            fixed = ("--engine", "segmind", "--url", server.url)
            done = invoke(images[0], *fixed, "--text", "nuclei", "--text", "cells")
        assert done.exit_code == 130
        assert "Stopped; no labels were written." in done.stderr
        assert not images[0].with_name("a_labels.tif").exists()

    def test_a_wrong_key_is_tried_once(self, hosted, server, monkeypatch):
        monkeypatch.setenv("SEGMIND_API_KEY", "SG_wrong")
        done = hosted("--json")
        assert done.exit_code == 1
        said = json.loads(done.stdout)["images"]
        assert [one["status"] for one in said] == ["failed", "skipped", "skipped"]


def invoke_limits(*arguments):
    assert CliRunner().invoke(cli.app, ["limits", *arguments]).exit_code == 0
