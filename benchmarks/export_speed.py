"""What exporting costs: 5,000 objects of some 40 × 40 pixels in an image of 4096² pixels.

Prints seconds, and the ratio to a floor that was measured in the same run: what takes the same
masks once through memory and writes as many bytes.

Run: ``python benchmarks/export_speed.py``
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import BoolArray, Instance
from napari_sam3.core.objects import LabelledObject
from napari_sam3.core.outlines import trace_outlines
from napari_sam3.core.rle import whole_image_rle
from napari_sam3.workflows.exporting import FORMATS, Exported, export, read_objects

SIDE, COUNT, WIDTH, ROUNDS = 4096, 5000, 40, 3
TARGET = 5.0


def cells(noise: np.random.Generator) -> tuple[LabelledObject, ...]:
    """Return ellipses on a grid, shaken so that some overlap; one in ten has a hole."""
    across = int(np.ceil(np.sqrt(COUNT)))
    step = (SIDE - WIDTH) / across
    objects = []
    for index in range(COUNT):
        row, col = divmod(index, across)
        shake = noise.uniform(-12, 12, 2)
        top, left = np.clip(np.array([row, col]) * step + shake, 0, SIDE - WIDTH).astype(int)
        mask = ellipse(noise, has_hole=index % 10 == 0)
        box = Box(int(top), int(left), int(top) + WIDTH, int(left) + WIDTH)
        score = float(noise.uniform(0.5, 1))
        instance = Instance(mask, box, score, "nucleus" if index % 3 else "cell")
        objects.append(LabelledObject(index + 1, instance, "Benchmark", depth=index))
    return tuple(objects)


def ellipse(noise: np.random.Generator, has_hole: bool) -> BoolArray:
    """Return a tilted ellipse that fills a square of 40 pixels more or less."""
    row, col = np.mgrid[:WIDTH, :WIDTH] - (WIDTH - 1) / 2
    angle = noise.uniform(0, np.pi)
    along, across = noise.uniform(14, 20, 2)
    first = (row * np.cos(angle) + col * np.sin(angle)) / along
    second = (col * np.cos(angle) - row * np.sin(angle)) / across
    mask: BoolArray = first**2 + second**2 <= 1
    mask[(row**2 + col**2 <= 9) & has_hole] = False
    return mask


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the shortest time of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def touch(objects: tuple[LabelledObject, ...], path: Path, size: int) -> Callable[[], object]:
    """Return the floor: paint all masks once, and write so many bytes."""

    def work() -> None:
        labels = np.zeros((SIDE, SIDE), np.uint16)
        for one in objects:
            labels[one.instance.box.slices][one.instance.mask] = one.label
        path.write_bytes(bytes(size))

    return work


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files)


def main() -> None:
    """Print the table."""
    noise = np.random.default_rng(1)
    objects = cells(noise)
    values: npt.NDArray[Any] = noise.integers(0, 4096, (SIDE, SIDE), np.uint16)
    exported = Exported(
        objects, (SIDE, SIDE), PixelSize(0.25, 0.25, "micrometer"), "cells.tif", intensity=values
    )
    print(f"{COUNT} objects, {SIDE}² pixels")
    print(f"{'work':40} {'seconds':>8} {'floor':>7} {'ratio':>7} {'MB':>7}  target")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        floor = best(touch(objects, home / "floor", 0))
        masks = [one.instance for one in objects]
        row("run lengths", best(lambda: [whole_image_rle(m, (SIDE, SIDE)) for m in masks]), floor)
        row("outlines", best(lambda: [trace_outlines(m.mask) for m in masks]), floor)
        for each in FORMATS:
            path = home / f"cells{each.suffixes[0]}"
            seconds = best(partial(export, path, exported, overwrite=True))
            floor = best(touch(objects, home / "floor", size_of(path)))
            row(f"write {each.title}", seconds, floor, size_of(path))
            if each.can_be_read:
                row(f"read {each.title}", best(partial(read_objects, path)), floor)


def row(name: str, seconds: float, floor: float, size: int = 0) -> None:
    """Print one line, and whether it is quick enough."""
    verdict = "≤ 5 s" if seconds <= TARGET else "TOO SLOW"
    print(
        f"{name:40} {seconds:8.3f} {floor:7.3f} {seconds / max(floor, 1e-9):7.1f} "
        f"{size / 1e6:7.2f}  {verdict}"
    )


if __name__ == "__main__":
    main()
