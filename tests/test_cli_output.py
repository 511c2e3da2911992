"""What the command line prints, and where: help, JSON, less and more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.testing import SegmindServer
from napari_sam3.workflows.files import save_labels

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "Segment": ["segment", "engines", "demo"],
    "Use the results": ["export", "evaluate", "cite", "replay"],
    "Hosted engine and cache": [
        *("costs", "limits", "collect", "standin", "probe-segmind", "cache"),
    ],
}


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def image(tmp_path):
    pixels = np.full((40, 64), 10, np.uint16)
    pixels[6:18, 20:41] = 900
    np.save(tmp_path / "cells.npy", pixels)
    return tmp_path / "cells.npy"


def sections(text):
    """Return the lines of each part of a help text."""
    parts = re.split(r"\n\n(?=[A-Z][\w ]+:\n)", text)
    return {part.partition(":\n")[0]: part.partition(":\n")[2].splitlines() for part in parts}


class TestHelp:
    @pytest.mark.parametrize("option", ["-h", "--help"])
    @pytest.mark.parametrize(
        "command", [[], *([name] for names in COMMANDS.values() for name in names)]
    )
    def test_every_command_has_it_and_it_fits_80_columns(self, command, option):
        done = invoke(*command, option)
        assert done.exit_code == 0
        assert done.stdout.startswith("Usage: ")
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_commands_are_listed_in_the_order_of_need_and_none_is_cut(self):
        found = sections(invoke("-h").stdout)
        for title, names in COMMANDS.items():
            rows = [line for line in found[title] if re.match("  [a-z]", line)]
            assert [line.split()[0] for line in rows] == names
        assert "..." not in invoke("-h").stdout.partition("Segment:")[2]

    def test_the_options_of_segment_are_in_groups(self):
        found = sections(invoke("segment", "-h").stdout)
        for title, option in (
            ("Find all of a kind", "--text"),
            ("One object", "--point"),
            ("Everything", "--diameter"),
            ("Image", "--plane"),
            ("Output", "--output-dir"),
            ("Hosted engine", "--cap"),
        ):
            assert any(line.strip().startswith(option) for line in found[title]), title

    def test_its_examples_are_commands_that_can_be_typed(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        lines = invoke("segment", "-h").stdout.splitlines()
        examples = [line.split()[1:] for line in lines if line.startswith("    napari-sam3 ")]
        assert len(examples) >= 4
        for example in examples:
            done = invoke(*example)
            # there is no such image here; usage errors end with 2
            assert done.exit_code == 1, done.stderr

    def test_its_exit_codes_are_those_of_the_guide(self):
        guide = (ROOT / "docs" / "command-line.md").read_text()
        told = re.findall(r"^    (\d+) +\w", invoke("segment", "-h").stdout, re.MULTILINE)
        assert told == re.findall(r"^\| (\d+) \|", guide, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_choices(shell):
    def complete(line):
        variables = {
            "_NAPARI_SAM3_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        }
        return subprocess.run(
            [sys.executable, "-m", "napari_sam3.cli"],
            env={**os.environ, **variables},
            capture_output=True,
            check=False,
            text=True,
        ).stdout

    assert "segment" in complete("napari-sam3 seg")
    assert "segmind" in complete("napari-sam3 segment --engine seg")


class TestJson:
    """One document on stdout, whose keys the guide lists."""

    GUIDE = (ROOT / "docs" / "command-line.md").read_text()

    def documented(self, heading):
        text = self.GUIDE.partition(f"`{heading}`:")[2]
        part = re.split(r"\n\n`[\w ]+(?: --\w+)* --json`", text)[0]
        return set(re.findall(r"`(\w+)`", part))

    def read(self, *arguments, code=0):
        done = invoke(*arguments, "--json")
        assert done.exit_code == code, done.stderr
        assert done.stdout.isascii()
        return json.loads(done.stdout)

    def test_segment(self, image):
        said = self.read("segment", image, "--everything")
        [one] = said["images"]
        keys = self.documented("segment --json")
        assert {"images", *one} == keys - {"done", "partial", "failed", "skipped"}
        assert (one["image"], one["status"], one["objects"]) == (str(image), "done", 1)
        assert one["output"] == str(image.with_name("cells_labels.tif"))
        assert Path(one["record"]).exists()

    def test_segment_counts_each_class(self, image):
        texts = ["--text", "bright", "--text", "cells"]
        [one] = self.read("segment", image, *texts)["images"]
        assert set(one["classes"]) == {"bright", "cells"}
        assert sum(one["classes"].values()) == one["objects"]

    def test_an_image_that_fails_is_in_the_document_and_a_sentence_on_stderr(self, tmp_path):
        gone = tmp_path / "gé.tif"
        done = invoke("segment", gone, "--everything", "--json")
        assert done.exit_code == 1
        [one] = json.loads(done.stdout)["images"]
        assert (one["image"], one["status"]) == (str(gone), "failed")
        assert done.stderr == f"{one['error']}\n" == f"There is no file {gone}.\n"

    def test_an_estimate(self, image):
        said = self.read("segment", image, "--everything", "--estimate")
        assert {"estimate", *said["estimate"]} == self.documented("segment --estimate --json")
        assert (said["estimate"]["requests"], said["estimate"]["high_usd"]) == (1, 0)

    def test_engines(self):
        said = self.read("engines")
        assert {"engines", *said["engines"][0]} == self.documented("engines --json")
        assert said["engines"][0]["name"] == "builtin"
        assert [one["name"] for one in said["engines"] if not one["ready"]] == [
            *("segmind", "local", "server")
        ]

    def test_evaluate(self, tmp_path):
        save_labels(tmp_path / "mine.tif", np.eye(5, 7, dtype=np.uint16))
        said = self.read("evaluate", tmp_path / "mine.tif", tmp_path / "mine.tif")
        assert set(said) == self.documented("evaluate --json")
        assert said["metrics"]["ap50"] == 1

    def test_export(self, tmp_path):
        save_labels(tmp_path / "mine.tif", np.eye(5, 7, dtype=np.uint16))
        target = tmp_path / "mine.geojson"
        said = self.read("export", tmp_path / "mine.tif", "--output", target, "--pixel-size", "2,3")
        [one] = said["outputs"]
        assert {*said, *said["pixel_size"], *one} == self.documented("export --json")
        assert one == {"path": str(target), "objects": 1}
        assert said["pixel_size"] == {"row": 2, "col": 3, "unit": "micrometer"}

    def test_costs(self, image, monkeypatch):
        with SegmindServer(credits=1.0) as server:
            monkeypatch.setenv("SEGMIND_API_KEY", server.key)
            fixed = ["--engine", "segmind", "--url", server.url, "--api", "v1"]
            assert invoke("segment", image, "--text", "nuclei", *fixed).exit_code == 0
        sums = self.read("costs")
        each = self.read("costs", "--by", "request")
        keys = {"by", "today_usd", "rows", *sums["rows"][0], *each["rows"][0]}
        assert keys == self.documented("costs --json") - {"by request"}
        assert sums["rows"][0]["usd"] == each["rows"][0]["usd"] == sums["today_usd"] == 0.006

    def test_what_is_refused_before_prints_no_document(self, image):
        image.with_name("cells_labels.tif").touch()
        done = invoke("segment", image, "--everything", "--json")
        assert (done.exit_code, done.stdout) == (1, "")


class TestLessAndMore:
    def test_quiet_prints_nothing_if_nothing_is_wrong(self, image):
        done = invoke("segment", image, "--everything", "-q")
        assert (done.exit_code, done.output) == (0, "")
        assert image.with_name("cells_labels.tif").exists()

    def test_quiet_still_prints_errors(self, tmp_path):
        assert (
            "There is no file" in invoke("segment", tmp_path / "x.tif", "--everything", "-q").stderr
        )

    def test_verbose_tells_of_image_engine_and_record_on_stderr(self, image):
        done = invoke("segment", image, "--everything", "--verbose", "--contrast-limits", "5,950")
        assert done.stdout.count("\n") == 1
        told = done.stderr.splitlines()
        assert told[0] == "image: 40 × 64 pixels, uint16, 5 shown as black and 950 as white"
        assert told[1].startswith("engine: builtin, ")
        assert told[2] == f"record: {image.with_name('cells_labels.json')}"

    def test_export_tells_what_it_read(self, tmp_path):
        save_labels(tmp_path / "mine.tif", np.eye(5, 7, dtype=np.uint16))
        arguments = ["export", tmp_path / "mine.tif", "--output", tmp_path / "mine.csv"]
        assert invoke(*arguments, "-q").output == ""
        done = invoke(*arguments, "-v", "--overwrite")
        assert "5 × 7 pixels" in done.stderr
        assert done.stdout == f"1 object → {tmp_path / 'mine.csv'}\n"
