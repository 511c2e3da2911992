"""Which images may be learned from and which are kept for measuring.

Crops of one field of view are scattered over the data under different names.  They
are grouped first, and a group is never divided.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from training.data import Sample

FloatArray = npt.NDArray[np.float32]

GROUPS_FILE = Path(__file__).with_name("groups.json")
TEST_SHARE = 0.2
CROP = 128
SAME = 0.93
_COARSE = 4
_FINE = 2
_MAYBE = 0.80
_TRIALS = 3
_LEAST_STD = 1.0
_SEED = "held out"


def _gray(image: npt.NDArray[np.uint8], step: int) -> FloatArray:
    """Return gray at a fraction of the resolution."""
    gray = image.astype(np.float32).mean(axis=2)
    rows, cols = (side // step for side in gray.shape)
    blocks = gray[: rows * step, : cols * step].reshape(rows, step, cols, step)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def iter_crops(shape: tuple[int, ...], side: int, step: int) -> Iterator[tuple[slice, slice]]:
    """Yield square crops on a grid that ends at the image's last row and column."""
    side = min(side, *shape)
    for top in _starts(shape[0], side, step):
        for left in _starts(shape[1], side, step):
            yield slice(top, top + side), slice(left, left + side)


def _starts(length: int, side: int, step: int) -> list[int]:
    return sorted({*range(0, length - side + 1, step), length - side})


class _Spectrum:
    """An image whose correlation with many small crops is wanted."""

    def __init__(self, gray: FloatArray, side: int) -> None:
        self.shape = gray.shape
        self.side = side
        values = gray - gray.mean()
        self._transform = fft.rfft2(values)
        ones = fft.rfft2(np.ones((side, side), np.float32), self.shape)
        mean = fft.irfft2(self._transform * np.conj(ones), self.shape) / side**2
        square = fft.irfft2(fft.rfft2(values**2) * np.conj(ones), self.shape) / side**2
        rows, cols = (length - side + 1 for length in self.shape)
        self._std = np.sqrt(np.maximum(square - mean**2, _LEAST_STD**2))[:rows, :cols]

    def best(self, crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the best normalised correlation of each crop, (n, side, side) → (n,)."""
        centred = crops - crops.mean(axis=(1, 2), keepdims=True)
        std = np.maximum(centred.std(axis=(1, 2)), _LEAST_STD)
        spectra = fft.rfft2(centred, self.shape)
        maps = fft.irfft2(self._transform * np.conj(spectra), self.shape)
        rows, cols = self._std.shape
        maps = maps[:, :rows, :cols] / (self.side**2 * self._std * std[:, None, None])
        return np.asarray(maps.max(axis=(1, 2)), np.float32)


class _Forest:
    """Names that are joined step by step."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, one: str, two: str) -> None:
        first, second = sorted((self.root(one), self.root(two)))
        self._parent[second] = first

    def trees(self) -> list[list[str]]:
        """Return the joined names, each list sorted, in a fixed order."""
        members: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._parent):
            members[self.root(name)].append(name)
        return sorted(members.values())


def group(samples: Sequence[Sample], report: Callable[[str], None] = print) -> list[list[str]]:
    """Group the images that share a piece of their field of view.

    Parameters
    ----------
    samples : sequence of Sample
    report : callable
        Told a line now and then.

    Returns
    -------
    list of list of str
        Two images are in one group if a 128-pixel crop of one is found in the other,
        correlation ≥ 0.93, or if each shares a group with a third one.

    Notes
    -----
    Every crop is first looked for at a quarter of the resolution; the best of those that
    correlate there at all are looked for again at half of it, where noise counts little.
    """
    forest = _Forest(sample.name for sample in samples)
    # small first: a crop of a later, larger image does not fit into an earlier one
    samples = sorted(samples, key=lambda sample: (sample.labels.size, sample.name))
    coarse = [_gray(sample.image, _COARSE) for sample in samples]
    fine = [_gray(sample.image, _FINE) for sample in samples]
    places = [_textured(gray, CROP // _COARSE) for gray in coarse]
    crops = [_cut(gray, own, 1) for gray, own in zip(coarse, places, strict=True)]
    for index, sample in enumerate(samples):
        if index % 50 == 0:
            report(f"{index} of {len(samples)}, {len(forest.trees())} groups")
        spectrum = _Spectrum(coarse[index], CROP // _COARSE)
        full: _Spectrum | None = None
        earlier = [k for k in range(index) if _comparable(samples[k].kind, sample.kind)]
        for other, values in _correlations(spectrum, crops, earlier):
            if forest.root(samples[other].name) == forest.root(sample.name):
                continue
            tried = [places[other][k] for k in np.argsort(-values)[:_TRIALS]]
            full = full or _Spectrum(fine[index], CROP // _FINE)
            if full.best(_cut(fine[other], tried, _COARSE // _FINE)).max() >= SAME:
                forest.join(sample.name, samples[other].name)
    return forest.trees()


def _comparable(one: str, two: str) -> bool:
    # a stained section is no fluorescence image; two sources of those may share fields
    return one == two or {one, two} <= {"fluo", "dapi"}


def _correlations(
    spectrum: _Spectrum, crops: list[FloatArray], indices: list[int]
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the images with a crop that correlates at all, and the values of their crops."""
    for first in range(0, len(indices), 64):
        some = indices[first : first + 64]
        values = spectrum.best(np.concatenate([crops[index] for index in some]))
        ends = np.cumsum([len(crops[index]) for index in some])[:-1]
        for index, own in zip(some, np.split(values, ends), strict=True):
            if own.max() >= _MAYBE:
                yield index, own


def _textured(gray: FloatArray, side: int) -> list[tuple[int, int]]:
    """Return the corners of crops that are not flat: flat background is alike anywhere."""
    corners = [(rows.start, cols.start) for rows, cols in iter_crops(gray.shape, side, side)]
    spread = {(r, c): float(gray[r : r + side, c : c + side].std()) for r, c in corners}
    kept = [corner for corner in corners if spread[corner] > 2 * _LEAST_STD]
    return kept or [max(corners, key=spread.__getitem__)]


def _cut(gray: FloatArray, corners: Sequence[tuple[int, int]], factor: int) -> FloatArray:
    side = CROP // _COARSE * factor
    return np.stack([gray[r * factor :, c * factor :][:side, :side] for r, c in corners])


def held_out(groups: list[list[str]], kinds: dict[str, str]) -> list[str]:
    """Choose whole groups for measuring, about a fifth of the images of each kind.

    Parameters
    ----------
    groups : list of list of str
    kinds : dict
        Kind of each image.

    Returns
    -------
    list of str
        Names; the same for the same groups, on any computer.
    """
    chosen: list[str] = []
    for kind in sorted(set(kinds.values())):
        own = [group for group in groups if kinds[group[0]] == kind]
        wanted = TEST_SHARE * sum(map(len, own))
        taken = 0
        for group in sorted(own, key=_digest):
            # a group that alone exceeds the share would leave too little to learn from
            if taken < wanted and taken + len(group) <= 1.5 * wanted + 1:
                chosen += group
                taken += len(group)
    return sorted(chosen)


def _digest(group: list[str]) -> str:
    return hashlib.sha256((_SEED + group[0]).encode()).hexdigest()


def write_split(samples: list[Sample], path: Path = GROUPS_FILE) -> dict[str, Any]:
    """Group samples, choose what is held out, and write both down."""
    kinds = {sample.name: sample.kind for sample in samples}
    groups = group(samples)
    split = {"groups": groups, "held_out": held_out(groups, kinds), "kinds": kinds}
    path.write_text(json.dumps(split, indent=0) + "\n")
    return split


def read_split(path: Path = GROUPS_FILE) -> dict[str, Any]:
    """Return the split written by `write_split`: groups, held_out and kinds."""
    split: dict[str, Any] = json.loads(path.read_text())
    return split
