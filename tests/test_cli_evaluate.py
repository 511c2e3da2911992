"""Segmentations against ground truth on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from napari_sam3.cli.evaluate import evaluate
from napari_sam3.workflows.files import save_labels

app = typer.Typer(rich_markup_mode=None)
app.command()(evaluate)


@pytest.fixture
def files(tmp_path):
    truth = np.zeros((12, 30), np.uint16)
    for number in range(4):
        truth[2:9, 7 * number + 1 : 7 * number + 6] = number + 1
    pred = np.where(truth == 2, 0, truth)
    pred[11, 20:] = 9
    save_labels(tmp_path / "mine.tif", pred)
    save_labels(tmp_path / "theirs.tif", truth)
    return tmp_path / "mine.tif", tmp_path / "theirs.tif"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_numbers_are_printed_each_with_what_it_is(files):
    result = invoke(*files)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    found = {line[:21].strip(): line[21:].split(None, 1) for line in lines}
    assert found["AP50"][0] == "0.6000"
    assert found["AP50"][1].startswith("TP / (TP + FP + FN)")
    assert found["mSA"][0] == found["mean AP"][0] == "0.6000"
    assert found["F1"][0] == found["precision"][0] == found["recall"][0] == "0.7500"
    assert found["count error"][0] == "+0"
    assert "1 image" in lines[-1]
    assert result.stderr == ""


def test_plot_and_table_are_saved(files, tmp_path):
    targets = [tmp_path / name for name in ("hist.svg", "objects.csv")]
    result = invoke(*files, "--plot", targets[0], "--csv", targets[1])
    assert result.exit_code == 0
    assert targets[0].read_text().startswith("<svg")
    assert targets[1].read_text().splitlines()[2] == "mine.tif,2,0,0.000000,missed"
    assert result.stdout.splitlines()[-2:] == [f"→ {path}" for path in targets]


def test_all_numbers_are_one_json_document_on_stdout(files, tmp_path):
    result = invoke(*files, "--json", "--csv", tmp_path / "objects.csv")
    said = json.loads(result.stdout)
    assert said["metrics"]["ap50"] == 0.6
    assert [image["name"] for image in said["per_image"]] == ["mine.tif"]
    assert result.stderr == ""
    assert (tmp_path / "objects.csv").exists()


def test_quiet_prints_nothing_and_verbose_each_image(files, tmp_path):
    quiet = invoke(*files, "-q", "--csv", tmp_path / "objects.csv")
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert invoke(*files, "-v").stderr == "mine.tif: AP50 0.6000\n"


def test_a_file_that_exists_is_kept_unless_it_may_be_replaced(files, tmp_path):
    target = tmp_path / "hist.svg"
    target.write_text("mine")
    refused = invoke(*files, "--plot", target, "--csv", tmp_path / "new.csv")
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert refused.stdout == ""
    assert target.read_text() == "mine"
    assert not (tmp_path / "new.csv").exists()
    assert invoke(*files, "--plot", target, "--overwrite").exit_code == 0
    assert target.read_text().startswith("<svg")


@pytest.mark.parametrize(("option", "name"), [("--plot", "a.png"), ("--csv", "a.tif")])
def test_what_is_saved_is_called_what_it_is(files, tmp_path, option, name):
    result = invoke(*files, option, tmp_path / name)
    assert result.exit_code == 2
    assert "must end in" in result.stderr


def test_a_folder_that_is_not_there_is_told_before_anything_is_compared(files, tmp_path):
    result = invoke(*files, "--csv", tmp_path / "no" / "a.csv")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no folder" in result.stderr


def test_an_error_is_one_sentence(files, tmp_path):
    result = invoke(files[0], tmp_path / "gone.tif")
    assert result.exit_code == 1
    assert result.stderr.strip() == f"There is no file {tmp_path / 'gone.tif'}."


def test_folders_are_pooled_and_what_is_left_out_is_told_on_stderr(tmp_path):
    for folder, names in (("pred", "abx"), ("truth", "ab")):
        (tmp_path / folder).mkdir()
        for name in names:
            save_labels(tmp_path / folder / f"{name}_{folder}.tif", np.eye(5, 7, dtype=np.uint16))
    result = invoke(tmp_path / "pred", tmp_path / "truth")
    assert result.exit_code == 0
    assert "2 images" in result.stdout
    assert "1 file was left out" in result.stderr


def test_what_is_not_defined_is_a_dash(tmp_path):
    save_labels(tmp_path / "mine.tif", np.eye(5, 7, dtype=np.uint16))
    save_labels(tmp_path / "none.tif", np.zeros((5, 7), np.uint16))
    line = next(
        line
        for line in invoke(tmp_path / "mine.tif", tmp_path / "none.tif").stdout.splitlines()
        if line.startswith("relative")
    )
    assert line.split()[3] == "–"
