import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.cli import hosted
from napari_sam3.engines.segmind import engine as segmind_engine
from napari_sam3.engines.segmind import probe as segmind_probe
from napari_sam3.settings import read_settings
from napari_sam3.testing import SegmindServer

SHAPE = (40, 64)


def left_half(image, fields):
    """Return a mask that shows a swapped axis: the left third of the upper half."""
    mask = np.zeros(image.shape[:2], bool)
    mask[: mask.shape[0] // 2, : mask.shape[1] // 3] = True
    return [mask] if fields.text or fields.points else []


@pytest.fixture
def server(monkeypatch, tmp_path):
    with SegmindServer(model=left_half, credits=1.0) as server:
        monkeypatch.setenv("SEGMIND_API_KEY", server.key)
        monkeypatch.setenv("NAPARI_SAM3_CONFIG", str(tmp_path / "config"))
        yield server


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE))
    return path


@pytest.fixture
def run(server, image):
    def invoke(*arguments):
        fixed = ["--engine", "segmind", "--url", server.url, "--api", "v1"]
        return CliRunner().invoke(cli.app, ["segment", str(image), *fixed, *arguments])

    return invoke


def labels_of(image):
    return tifffile.imread(image.with_name("cells_labels.tif"))


def test_a_text_becomes_labels_and_the_price_is_in_the_line(run, image, server):
    done = run("--text", "nucleus")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"1 object, \$0\.0060, .* → .*cells_labels\.tif", done.stdout)
    labels = labels_of(image)
    assert labels.shape == SHAPE
    assert labels[:20, :21].all()
    assert labels.sum() == 20 * 21
    assert server.ledger.billed == 1


def test_what_leaves_the_computer_is_said_once_and_nothing_is_waited_for(run):
    # another question: the same one would be answered from what is stored
    first, second = run("--text", "nucleus"), run("--point", "3,4", "--overwrite")
    assert "leave this computer" in first.stderr
    assert "leave this computer" not in second.stderr
    assert read_settings().segmind_upload_notice_printed
    assert not read_settings().segmind_upload_notice_seen


@pytest.mark.parametrize("answer", [True, False])
def test_in_a_terminal_the_user_is_asked_before_the_first_upload(run, server, monkeypatch, answer):
    monkeypatch.setattr(hosted, "is_terminal", lambda: True)
    monkeypatch.setattr(hosted.typer, "confirm", lambda *_, **__: answer)
    done = run("--text", "nucleus")
    assert (done.exit_code == 0) is answer
    assert server.ledger.posts == int(answer)
    assert read_settings().segmind_upload_notice_seen is answer


def test_the_price_of_several_calls_is_said_before_they_are_made(run, server):
    done = run("--point", "3,4", "--point", "30,50", "--in-flight", "2")
    assert done.exit_code == 0, done.stderr
    assert "2 calls, about $0.01" in done.stderr
    assert server.ledger.billed == 2


def test_an_overlay_is_saved_as_a_picture_and_never_as_labels(run, image, tmp_path):
    done = run("--text", "nucleus", "--overlay", str(tmp_path / "seen.png"))
    assert done.exit_code == 0, done.stderr
    with Image.open(tmp_path / "seen.png") as picture:
        assert (picture.size, picture.mode) == (SHAPE[::-1], "RGB")
    assert not image.with_name("cells_labels.tif").exists()


def test_separate_masks_are_asked_for(run, server):
    assert run("--text", "nucleus", "--separate-masks").exit_code == 0
    [request] = server.ledger.of("v1")
    assert request.fields["return_masks"] is True
    assert request.fields["return_preview"] is False


def test_combined_prompts_go_out_together_and_with_a_warning(run, server):
    done = run("--combine", "--text", "nucleus", "--point", "3,4", "--exemplar", "1,2,9,12")
    assert done.exit_code == 0, done.stderr
    [request] = server.ledger.of("v1")
    assert {"text_prompt", "points_input", "boxes_input"} <= set(request.fields)
    assert "left one kind out of account" in done.stderr


def test_a_wrong_key_is_one_sentence_without_the_key(run, monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_00000000deadbeef")
    done = run("--text", "nucleus")
    assert done.exit_code == 1
    assert "does not accept the API key" in done.stderr
    assert "deadbeef" not in done.stderr + done.stdout


def test_without_a_key_nothing_is_sent(run, server, monkeypatch):
    monkeypatch.delenv("SEGMIND_API_KEY")
    done = run("--text", "nucleus")
    assert done.exit_code == 1
    assert "SEGMIND_API_KEY" in done.stderr
    assert server.ledger.posts == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--text", "a", "--separate-masks", "--overlay", "x.png"),
        ("--text", "a", "--api", "v3"),
        ("--text", "a", "--image-format", "gif"),
        ("--text", "a", "--url", "http://example.org"),
        ("--text", "a", "--max-side", "5"),
        ("--text", "a", "--overlay", "x.tif"),
        ("--text", "a", "--overlay", "x.png", "--output", "y.tif"),
        ("--combine", "--box", "1,2,3,4"),
        ("--combine", "--negative-exemplar", "1,2,3,4"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error_and_sends_nothing(run, server, arguments):
    assert run(*arguments).exit_code == 2
    assert server.ledger.posts == 0


def test_the_engines_are_listed_with_what_the_hosted_one_lacks(server, monkeypatch):
    ready = CliRunner().invoke(cli.app, ["engines"]).stdout
    monkeypatch.delenv("SEGMIND_API_KEY")
    lacking = CliRunner().invoke(cli.app, ["engines"]).stdout
    assert "segmind (Segmind SAM3): ready\n" in ready
    assert "segmind (Segmind SAM3): needs an API key: set SEGMIND_API_KEY\n" in lacking


class TestProbe:
    def probe(self, server, *arguments):
        return CliRunner().invoke(cli.app, ["probe-segmind", "--url", server.url, *arguments])

    def test_it_makes_at_most_six_calls_and_reports_without_key_or_picture(
        self, server, monkeypatch
    ):
        monkeypatch.setattr(segmind_probe, "POLL_S", 0.01)
        done = self.probe(server, "--yes")
        assert done.exit_code == 0, done.stderr
        assert "at most 6 calls" in done.stderr
        assert 1 <= server.ledger.posts <= 6
        assert server.key not in done.stdout + done.stderr
        assert "iVBOR" not in done.stdout

    def test_it_sends_nothing_unless_the_price_is_agreed_to(self, server):
        done = self.probe(server)
        assert done.exit_code == 1
        assert "--yes" in done.stderr
        assert server.ledger.posts == 0

    def test_it_needs_a_key(self, server, monkeypatch):
        monkeypatch.delenv("SEGMIND_API_KEY")
        assert "needs an API key" in self.probe(server, "--yes").stderr


def test_the_command_never_waits_for_input_outside_a_terminal(server, image):
    command = [sys.executable, "-m", "napari_sam3.cli", "segment", str(image)]
    options = ["--text", "x", "--engine", "segmind", "--url", server.url, "--api", "v1"]
    done = subprocess.run(
        [*command, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_paid(
    run, server, tmp_path, monkeypatch
):
    def read_only(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    done = run("--text", "nucleus", "--output", str(tmp_path / "labels.tif"))
    assert done.exit_code == 1
    assert "Read-only file system" in done.stderr
    assert server.ledger.posts == 0


def test_every_picture_that_was_paid_for_is_saved(run, server, tmp_path):
    target = tmp_path / "seen.png"
    done = run("--point", "3,4", "--point", "30,50", "--overlay", str(target))
    assert done.exit_code == 0, done.stderr
    assert server.ledger.billed == 2
    assert target.exists()
    assert (tmp_path / "seen_2.png").exists()


def test_ctrl_c_says_that_the_call_may_still_be_billed(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(segmind_engine.SegmindEngine, "submit", interrupted)
    done = run("--text", "nucleus")
    assert done.exit_code == 130
    assert "1 call may have been billed without a result" in done.stderr
