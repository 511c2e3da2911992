"""A disk that is full when a paid answer comes: the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_sam3.testing import Behaviour, SegmindServer

SHAPE = (1500, 1960)
ROOM = 200_000
"""Bytes: more than the ledger takes, and less than any form of the answer."""

PROGRAM = """
import resource, sys
from napari_sam3.cli import main
from napari_sam3.engines.segmind import engine
engine.POLL_S = 0.02
most = int(sys.argv.pop(1))
if most:
    # every file may have so many bytes
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
main()
"""

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows limits no files and mounts no small disks"
)


def grainy(image, fields):
    """One object that no format makes small: every other row is noise."""
    mask = np.ones(image.shape[:2], bool)
    rows, cols = mask[1::2].shape
    mask[1::2] = np.random.default_rng(7).integers(0, 2, (rows, cols)).astype(bool)
    return [mask]


@pytest.fixture
def server():
    quick = Behaviour(queued_polls=0, processing_polls=0)
    with SegmindServer(quick, model=grainy, credits=1.0) as server:
        yield server


class LimitedFiles:
    """A disk on which no file can be larger than there is room; needs no rights."""

    def __init__(self, folder):
        self.folder, self.most = folder, ROOM

    def make_room(self):
        self.most = 0


class SmallDisk:
    """A file system of its own, of so many bytes."""

    most = 0

    def __init__(self, folder):
        self.folder = folder / "disk"
        self.folder.mkdir()

    def __enter__(self):
        kind = ["-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs"]
        done = subprocess.run(["mount", *kind, str(self.folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
        return self

    def __exit__(self, *_raised):
        subprocess.run(["umount", str(self.folder)], check=True)

    def make_room(self):
        subprocess.run(
            ["mount", "-o", "remount,size=64m", str(self.folder)], check=True, capture_output=True
        )


@pytest.fixture(params=["limited files", "small disk"])
def disk(request, tmp_path):
    if request.param == "limited files":
        yield LimitedFiles(tmp_path)
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a file system, and only Linux has a tmpfs")
    with SmallDisk(tmp_path) as disk:
        yield disk


@pytest.fixture
def cli(server, disk, tmp_path_factory):
    image = tmp_path_factory.mktemp("image") / "cells.tif"
    tifffile.imwrite(image, np.zeros(SHAPE, np.uint8))
    usual = {"SEGMIND_API_KEY": server.key, "NAPARI_SAM3_CONFIG": str(image.parent)}
    folders = {f"NAPARI_SAM3_{n}": str(disk.folder / n.lower()) for n in ("CACHE", "DATA")}

    def run(command, *typed):
        fixed = {
            "segment": (image, "--engine", "segmind", "--output", disk.folder / "out.tif"),
            "collect": (),
            "costs": (),
        }
        url = () if command == "costs" else ("--url", server.url)
        arguments = map(str, (disk.most, command, *fixed[command], *url, *typed))
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **usual, **folders},
        )

    return run


def test_a_paid_answer_is_kept_said_and_not_paid_again(cli, disk, server):
    failed = cli("segment", "--text", "nuclei", "--yes")
    assert failed.returncode == 1, failed.stderr
    assert server.ledger.billed == 1
    *_, stored, saved = failed.stderr.splitlines()
    assert "could not be stored" in stored
    assert "napari-sam3 collect" in stored
    assert "cannot be written" in saved
    assert "not lost" in saved
    disk.make_room()
    collected = cli("collect")
    assert collected.returncode == 0, collected.stderr
    assert "nuclei: 1 object" in collected.stdout
    again = cli("segment", "--text", "nuclei")
    assert again.returncode == 0, again.stderr
    assert "from cache" in again.stdout
    assert server.ledger.billed == 1
    assert "$0.0060" in cli("costs").stdout


def test_without_stored_answers_the_next_run_fetches_it(cli, disk, server):
    typed = "segment", "--text", "nuclei", "--no-cache"
    failed = cli(*typed)
    assert failed.returncode == 1, failed.stderr
    assert "not lost" in failed.stderr
    disk.make_room()
    done = cli(*typed)
    assert done.returncode == 0, done.stderr
    assert "$0.0000" in done.stdout
    assert server.ledger.billed == 1
    assert "There is nothing to collect" in cli("collect").stdout
    # saved now: whoever asks without stored answers pays
    assert cli(*typed, "--overwrite").returncode == 0
    assert server.ledger.billed == 2


def test_where_the_ledger_has_no_room_for_the_answer_its_request_id_is_said(cli, disk, server):
    typed = "segment", "--text", "nuclei", "--api", "v1"
    failed = cli(*typed)
    assert failed.returncode == 1, failed.stderr
    assert "its request id is" in failed.stderr
    assert "not lost" not in failed.stderr
    disk.make_room()
    asked = cli(*typed, "--yes")
    assert asked.returncode == 1
    assert "--pay-again" in asked.stderr
    assert server.ledger.billed == 1
