"""How fast stored answers are found, each beside a floor measured in the same run.

    python -m benchmarks.cache_speed

Each figure is the best of several rounds, in which the work and its floor take turns.  For a
get the floor is to write as many mask pixels into fresh memory, for a put to write and sync a
file of the same length, and for `has` to ask the system about a file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.timing import best, heading, report, sizes_asked_for
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import AnswerRecord, RawPart, SegmentationResult
from napari_sam3.jobs.answers import digest, encode_answer
from napari_sam3.jobs.cache import AnswerCache

RAW_BYTES = 2_000_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    side: int = 2048
    crops: int = 500
    radius: int = 40
    full: int = 20
    stored: int = 2000
    calls: int = 1000
    rounds: int = 9


SMALL = Sizes(side=160, crops=4, radius=9, full=2, stored=5, calls=3, rounds=1)


def main() -> None:
    """Print one line per piece of work."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    with tempfile.TemporaryDirectory() as folder:
        for name, instances in _answers(sizes).items():
            _measure(name, instances, Path(folder), sizes)
        _scan(Path(folder) / "many", sizes)


def _measure(name: str, instances: Instances, folder: Path, sizes: Sizes) -> None:
    noise = np.random.default_rng(2).bytes(RAW_BYTES)
    rounds, calls = sizes.rounds, sizes.calls
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

    put, got = f"{name}, {len(data) / 1e6:.1f} MB", f"get {name}"
    report(
        f"put {put} (a synced file)",
        *best(rounds, write, lambda: cache.put(key, result, {"name": name})),
    )
    report(f"{got} (new masks)", *best(rounds, fill, lambda: cache.get(key)), within_s=0.02)
    packed = [np.packbits(item.mask).tobytes() for item in instances]
    report(
        f"digest of {name} (SHA-256 of its bits)",
        *best(rounds, lambda: hashlib.sha256(b"".join(packed)), lambda: digest(instances)),
    )
    path = str(folder / "floor")
    ask, has = _often(os.path.isfile, path, calls), _often(cache.has, key, calls)
    report(f"{calls} × has (isfile)", *best(rounds, ask, has))


def _often(work: Callable[[str], object], argument: str, calls: int) -> Callable[[], None]:
    def together() -> None:
        for _ in range(calls):
            work(argument)

    return together


def _scan(folder: Path, sizes: Sizes) -> None:
    cache = AnswerCache(folder, 1 << 40)
    keys = [hashlib.sha256(bytes([i % 256, i // 256])).hexdigest() for i in range(sizes.stored)]
    for key in keys:
        path = folder / "answers" / "v1" / key[:2] / f"{key}.answer"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def walk() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*"))

    report(f"count {sizes.stored} answers (rglob and stat)", *best(sizes.rounds, walk, cache.info))


def _answers(sizes: Sizes) -> dict[str, Instances]:
    side, radius, middle = sizes.side, sizes.radius, sizes.side // 2
    corners = np.random.default_rng(0).integers(0, side - 2 * radius, (sizes.crops, 2))
    disk = _disk(radius, radius, radius, 2 * radius)
    crops = [
        Instance(disk, Box(int(top), int(left), int(top) + 2 * radius, int(left) + 2 * radius), 0.5)
        for top, left in corners
    ]
    whole = Box(0, 0, side, side)
    full = [
        Instance(_disk(middle - 2 * i, middle, side // 3 + 2 * i, side), whole)
        for i in range(sizes.full)
    ]
    shape = (side, side)
    return {
        f"1 mask of {side}²": Instances(shape, tuple(full[:1])),
        f"{sizes.crops} crops of radius {radius}": Instances(shape, tuple(crops)),
        f"{sizes.full} masks of {side}²": Instances(shape, tuple(full)),
    }


def _disk(row: int, col: int, radius: int, side: int) -> npt.NDArray[np.bool_]:
    rows, cols = np.ogrid[:side, :side]
    disk: npt.NDArray[np.bool_] = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return disk


if __name__ == "__main__":
    main()
