"""How fast stored answers are found, each beside a floor measured in the same run.

    python benchmarks/cache_speed.py

The ratio to the floor is what counts; seconds depend on the machine and what else it does.
Each figure is the best of several rounds, in which the work and its floor take turns.
For a get the floor is to write as many mask pixels into fresh memory, for a put to write
and sync a file of the same length, and for `has` to ask the system about a file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import AnswerRecord, RawPart, SegmentationResult
from napari_sam3.jobs.answers import digest, encode_answer
from napari_sam3.jobs.cache import AnswerCache

SIDE, CROPS, RADIUS, FULL = 2048, 500, 40, 20
RAW_BYTES = 2_000_000
ROUNDS = 9
STORED = 2000


def main() -> None:
    """Print one line per piece of work."""
    print(f"{'work':58} {'floor':>9} {'ours':>9} {'ratio':>6}  target")
    with tempfile.TemporaryDirectory() as folder:
        for name, instances in _answers().items():
            _measure(name, instances, Path(folder))
        _scan(Path(folder) / "many")


def _measure(name: str, instances: Instances, folder: Path) -> None:
    noise = np.random.default_rng(2).bytes(RAW_BYTES)
    key = hashlib.sha256(name.encode()).hexdigest()
    record = AnswerRecord(key, "0" * 64, digest(instances), "benchmark", "1", {}, 0.0)
    result = SegmentationResult(instances, raw=(RawPart("image/png", noise),), record=record)
    cache = AnswerCache(folder, 1 << 30)
    data = encode_answer(result, {"name": name})

    def write() -> None:
        with (folder / "floor").open("wb") as file:
            file.write(data)
            os.fsync(file.fileno())

    def fill() -> object:
        return [np.ones(item.box.shape, bool) for item in instances]

    floor, ours = _best(write, lambda: cache.put(key, result, {"name": name}))
    _report(f"put {name}, {len(data) / 1e6:.1f} MB", floor, ours, "–")
    floor, ours = _best(fill, lambda: cache.get(key))
    _report(f"get {name}", floor, ours, "0.02 s")
    packed = [np.packbits(item.mask).tobytes() for item in instances]
    floor, ours = _best(lambda: hashlib.sha256(b"".join(packed)), lambda: digest(instances))
    _report(f"digest of {name} (floor: SHA-256 of its bits)", floor, ours, "–")
    path = str(folder / "floor")
    floor, ours = _best(lambda: _often(os.path.isfile, path), lambda: _often(cache.has, key))
    _report("1000 × has", floor, ours, "–")


def _often(work: Callable[[str], object], argument: str) -> None:
    for _ in range(1000):
        work(argument)


def _scan(folder: Path) -> None:
    cache = AnswerCache(folder, 1 << 40)
    keys = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(STORED)]
    for key in keys:
        path = folder / "answers" / "v1" / key[:2] / f"{key}.answer"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def walk() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*"))

    floor, ours = _best(walk, cache.info)
    _report(f"count {STORED} answers (floor: rglob and stat)", floor, ours, "–")


def _answers() -> dict[str, Instances]:
    corners = np.random.default_rng(0).integers(0, SIDE - 2 * RADIUS, (CROPS, 2))
    disk = _disk(RADIUS, RADIUS, RADIUS, 2 * RADIUS)
    crops = [
        Instance(disk, Box(int(top), int(left), int(top) + 2 * RADIUS, int(left) + 2 * RADIUS), 0.5)
        for top, left in corners
    ]
    whole = Box(0, 0, SIDE, SIDE)
    full = [Instance(_disk(900 + 10 * i, 1024, 700 + 10 * i, SIDE), whole) for i in range(FULL)]
    shape = (SIDE, SIDE)
    return {
        "1 mask of 2048²": Instances(shape, tuple(full[:1])),
        f"{CROPS} crops of radius {RADIUS}": Instances(shape, tuple(crops)),
        f"{FULL} masks of 2048²": Instances(shape, tuple(full)),
    }


def _disk(row: int, col: int, radius: int, side: int) -> npt.NDArray[np.bool_]:
    rows, cols = np.ogrid[:side, :side]
    disk: npt.NDArray[np.bool_] = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return disk


def _best(floor: Callable[[], object], work: Callable[[], object]) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for function, taken in zip((floor, work), times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return min(times[0]), min(times[1])


def _report(work: str, floor: float, ours: float, target: str) -> None:
    print(f"{work:58} {floor:8.4f}s {ours:8.4f}s {ours / floor:6.2f}  ≤ {target}")


if __name__ == "__main__":
    main()
