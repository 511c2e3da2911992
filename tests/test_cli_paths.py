"""Whatever name is typed, a command ends in a sentence and never in a traceback."""

import os

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.label_files import open_labels

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no named pipes")

COMMANDS = {
    "segment": ["segment", "{}", "--everything"],
    "segment --output": ["segment", "good.tif", "--everything", "--output", "{}"],
    "segment --overlay": [
        "segment", "good.tif", "--everything", "--engine", "segmind", "--overlay", "{}",
    ],
    "evaluate": ["evaluate", "{}", "good.tif"],
    "evaluate, truth": ["evaluate", "good.tif", "{}"],
    "evaluate --csv": ["evaluate", "good.tif", "good.tif", "--csv", "{}"],
    "export": ["export", "{}", "--output", "new.csv"],
    "export --output": ["export", "good.tif", "--output", "{}"],
    "export --image": ["export", "good.tif", "--output", "new.csv", "--image", "{}"],
    "replay": ["replay", "{}"],
    "replay --output": ["replay", "good.tif", "--output", "{}"],
    "cite": ["cite", "{}"],
}  # fmt: skip
NAMES = [
    "-",
    "",
    "..",
    "folder",
    "folder.json",
    "pipe.json",
    "pipe.tif",
    "loop.tif",
    "loop.json",
    "a" * 253 + ".tif",
    "a" * 300 + ".json",
    "good.tif/x.tif",
    "good.tif/x.json",
    "gone.tif",
    os.fsdecode(b"\xe9.tif"),
]
CASES = [
    (command, name)
    for command in COMMANDS
    for name in NAMES
    # where something is written, these are names like any other
    if "--output" not in command or name not in NAMES[-2:]
]


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_labels(tmp_path / "good.tif", np.arange(48, dtype=np.uint16).reshape(6, 8))
    for name in ("folder", "folder.json"):
        (tmp_path / name).mkdir()
    for name in ("pipe.tif", "pipe.json"):
        os.mkfifo(tmp_path / name)
    for name in ("loop.tif", "loop.json"):
        (tmp_path / name).symlink_to(name)
    return tmp_path


@pytest.mark.parametrize(("command", "name"), CASES, ids=ascii)
def test_a_name_of_no_use_ends_in_a_sentence(work, command, name):
    arguments = [one.replace("{}", name) for one in COMMANDS[command]]
    result = CliRunner().invoke(cli.app, arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (1, 2)
    assert result.stderr.rstrip().endswith((".", "│", "╯"))
    assert len(list(work.iterdir())) == 7


def test_a_picture_that_is_turned_is_told_of(work):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 6)).save("turned.png", exif=exif)
    result = CliRunner().invoke(cli.app, ["segment", "turned.png", "--everything"])
    assert (result.exit_code, open_labels("turned_labels.tif").shape) == (0, (8, 6))
    assert "turned.png was turned as its EXIF orientation says" in result.stderr


def test_a_file_whose_name_is_no_text_is_segmented_and_told_of(work):
    name = os.fsdecode(b"\xe9.tif")
    (work / "good.tif").rename(work / name)
    result = CliRunner().invoke(cli.app, ["segment", name, "--everything"])
    assert result.exit_code == 0, result.output
    assert (work / os.fsdecode(b"\xe9_labels.tif")).is_file()
    compared = CliRunner().invoke(cli.app, ["evaluate", name, name, "--csv", f"{name}.csv"])
    assert compared.exit_code == 0, compared.output
    exported = CliRunner().invoke(cli.app, ["export", name, "--output", f"{name}.json"])
    assert exported.exit_code == 0, exported.output
