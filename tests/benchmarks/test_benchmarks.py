"""No benchmark rots: each is run as a user runs it, on next to nothing."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.draw import disk

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = sorted(
    path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()
)
WITH_IMAGES = ["accuracy"]
COUNTS = ["fuzz_decoder"]


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def annotated(tmp_path):
    """A folder of two made-up images of three discs each, as the annotated ones lie."""
    rows = [["name", "kind", "suspect"]]
    for number in range(2):
        labels = np.zeros((72, 96), np.uint16)
        for label, centre in enumerate([(20, 18), (50, 34), (30, 72)], start=1):
            labels[disk(centre, 9 + number)] = label
        noise = np.random.default_rng(number).integers(0, 9, labels.shape)
        gray = ((labels > 0) * 160 + 30 + noise).astype(np.uint8)
        Image.fromarray(gray).convert("RGB").save(tmp_path / f"made_up_{number}.png")
        Image.fromarray(labels).save(tmp_path / f"made_up_{number}_labels.png")
        rows.append([f"made_up_{number}", "fluo", "0"])
    with (tmp_path / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p not in WITH_IMAGES + COUNTS])
def test_a_speed_is_told_as_a_ratio_to_a_floor_of_the_same_run(program):
    told = run("-m", f"benchmarks.{program}", "--small")
    assert "floor" in told
    ratios = [float(number) for number in re.findall(r"([\d.]+) ×", told)]
    assert ratios
    assert min(ratios) >= 0


def test_the_decoder_is_fed_damaged_answers_and_survives_them():
    assert "crashes    0" in run("-m", "benchmarks.fuzz_decoder", "--small")


def test_accuracy_is_measured_on_a_folder_of_images(annotated):
    told = run(
        "-m",
        "benchmarks.accuracy",
        annotated,
        *["--images", "1", "--objects", "1", "--composed", "1"],
    )
    assert "| task | fluo (" in told
    assert "| baseline | fluo (" in told


@pytest.mark.parametrize("net", ["prompt", "dense"])
def test_a_net_can_be_taught(annotated, net):
    pytest.importorskip("torch")
    checkpoint = annotated / f"{net}.pt"
    least = ["--steps", 1, "--synthetic", 1]
    run("-m", "training", "train", net, annotated, "--checkpoint", checkpoint, *least)
    assert checkpoint.stat().st_size > 10_000


def test_the_shipped_nets_are_measured_on_a_folder_of_images(annotated):
    least = ["--images", 1, "--objects", 1, "--composed", 1]
    told = run("-m", "training", "evaluate", annotated, "--json", annotated / "told.json", *least)
    assert "| task | fluo (" in told
    assert "Reliability of the score" in told
    assert json.loads((annotated / "told.json").read_text())["figures"]


def test_the_pictures_of_the_documentation_can_be_made_again(tmp_path):
    run(ROOT / "docs" / "make_screenshots.py", tmp_path, "--themes", "dark")
    shown = set(re.findall(r"docs/images/(\w+\.png)", (ROOT / "README.md").read_text()))
    made = {path.name: Image.open(path) for path in tmp_path.glob("*.png")}
    assert shown <= set(made)
    assert all(np.asarray(picture).std() > 10 for picture in made.values())
