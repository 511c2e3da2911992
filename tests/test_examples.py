import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_script_example_runs_and_finds_the_coins(tmp_path):
    script = EXAMPLES / "segment_in_a_script.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / "coins_labels.png"))
    assert labels.shape == (303, 384)
    assert labels[60, 48] > 0
    assert labels[65, 185] > 0
    assert labels[60, 48] != labels[65, 185]
    assert len(np.unique(labels)) > 10


def test_the_export_example_writes_files_that_others_read(tmp_path):
    script = EXAMPLES / "measure_and_export.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    coco = json.loads((tmp_path / "coins.coco.json").read_text())
    assert len(coco["annotations"]) > 10
    rows = (tmp_path / "coins.csv").read_text().splitlines()
    assert len(rows) == len(coco["annotations"]) + 1
    assert "AP50: " in done.stdout


def test_the_window_example_opens_the_panel(make_napari_viewer, monkeypatch):
    viewer = make_napari_viewer()
    monkeypatch.setattr("napari.Viewer", lambda: viewer)
    module = runpy.run_path(str(EXAMPLES / "open_the_panel.py"))
    assert module["main"]().layers[0].name == "coins"
    assert any("Segment" in name for name in viewer.window.dock_widgets)


@pytest.mark.parametrize("example", sorted(p.name for p in EXAMPLES.glob("*.py")))
def test_every_example_is_run_by_a_test(example):
    assert example in Path(__file__).read_text(encoding="utf-8")
