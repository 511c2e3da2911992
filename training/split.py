"""Which images may be learned from and which are kept for measuring.

Crops of one field of view are scattered over the data under different names.  They
are grouped first, and a group is never divided.  A source named in `WHOLE_SOURCES` is
kept for measuring as a whole: what is reached there is what is reached on images from
elsewhere.

Two groupings are made.  Images are *alike* if a crop of one is found in the other; the
choice of what is held out is made among the groups of those.  But one round nucleus on
black is found in any image of round nuclei, so a match is looked at again at full
resolution, and only what is confirmed counts as the *same* field.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from training.data import Sample

FloatArray = npt.NDArray[np.float32]

GROUPS_FILE = Path(__file__).with_name("groups.json")
TEST_SHARE = 0.2
WHOLE_SOURCES = ("dapi",)
CROP = 128
SAME = 0.93
SAME_DETAIL = 0.95
LEAST_OBJECTS = 3
_COARSE = 4
_FINE = 2
_MAYBE = 0.80
_TRIALS = 3
_LEAST_STD = 1.0
_SHIFT = 2
_RIM = 6
_GROWTH = 16
_SEED = "held out"

Corner = tuple[int, int]
Region = tuple[slice, slice]


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
        return np.asarray(self._maps(crops).max(axis=(1, 2)), np.float32)

    def found(self, crops: npt.NDArray[Any]) -> list[tuple[float, Corner]]:
        """Return each crop's best normalised correlation, and the corner where it is."""
        places = []
        for own in self._maps(crops):
            row, col = np.unravel_index(int(own.argmax()), own.shape)
            places.append((float(own[row, col]), (int(row), int(col))))
        return places

    def _maps(self, crops: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        centred = crops - crops.mean(axis=(1, 2), keepdims=True)
        std = np.maximum(centred.std(axis=(1, 2)), _LEAST_STD)
        spectra = fft.rfft2(centred, self.shape)
        maps = fft.irfft2(self._transform * np.conj(spectra), self.shape)
        rows, cols = self._std.shape
        maps = maps[:, :rows, :cols] / (self.side**2 * self._std * std[:, None, None])
        return np.asarray(maps, np.float32)


class _Forest:
    """Names that are joined step by step."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def joins(self, one: str, two: str) -> bool:
        """Whether they are in one tree."""
        return self.root(one) == self.root(two)

    def join(self, one: str, two: str) -> None:
        first, second = sorted((self.root(one), self.root(two)))
        self._parent[second] = first

    def trees(self) -> list[list[str]]:
        """Return the joined names, each list sorted, in a fixed order."""
        members: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._parent):
            members[self.root(name)].append(name)
        return sorted(members.values())


@dataclass(frozen=True, slots=True)
class Groups:
    """Images that belong together.

    Parameters
    ----------
    alike : list of list of str
        A 128-pixel crop of one is found in the other, correlation ≥ 0.93, or both are alike to
        a third one.
    same : list of list of str
        Likewise, and confirmed at full resolution; each lies within one of `alike`.
    """

    alike: list[list[str]]
    same: list[list[str]]


class _Field:
    """An image at the resolutions at which it is looked through, and its crops."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.name = sample.name
        self.shape = sample.labels.shape
        self.coarse = _gray(sample.image, _COARSE)
        self.fine = _gray(sample.image, _FINE)
        self.places = _textured(self.coarse, CROP // _COARSE)
        self.crops = _cut(self.coarse, self.places, 1)
        self._sizes = np.bincount(sample.labels.ravel())[1:]

    def gray(self, region: Region) -> FloatArray:
        """Return a region at full resolution."""
        return _gray(self.sample.image[region], 1)

    def objects(self, region: Region) -> int:
        """Return how many objects have at least half of their area in a region."""
        own = np.bincount(self.sample.labels[region].ravel(), minlength=len(self._sizes) + 1)[1:]
        return int(np.count_nonzero((own > 0) & (2 * own >= self._sizes)))


def group(samples: Sequence[Sample], report: Callable[[str], None] = print) -> Groups:
    """Group the images that share a piece of their field of view.

    Parameters
    ----------
    samples : sequence of Sample
    report : callable
        Told a line now and then.

    Returns
    -------
    Groups

    Notes
    -----
    Every crop is first looked for at a quarter of the resolution; the best of those that
    correlate there at all are looked for again at half of it, where noise counts little.
    What is found there makes two images alike; see `confirmed` for what makes them the same.
    """
    alike = _Forest(sample.name for sample in samples)
    same = _Forest(sample.name for sample in samples)
    # small first: a crop of a later, larger image does not fit into an earlier one
    fields = [_Field(one) for one in sorted(samples, key=lambda one: (one.labels.size, one.name))]
    for index, field in enumerate(fields):
        if index % 50 == 0:
            report(f"{index} of {len(fields)}: {len(same.trees())} groups")
        spectrum = _Spectrum(field.fine, CROP // _FINE)
        for other, tried in _candidates(field, fields[:index]):
            if same.joins(field.name, other.name):
                continue
            found = _found(spectrum, other, tried)
            if found:
                alike.join(field.name, other.name)
            if any(confirmed(field, other, here, there) for here, there in found):
                same.join(field.name, other.name)
    return Groups(alike.trees(), same.trees())


def _comparable(one: str, two: str) -> bool:
    # a stained section is no fluorescence image; two sources of those may share fields
    return one == two or {one, two} <= {"fluo", "dapi"}


def _candidates(field: _Field, earlier: list[_Field]) -> Iterator[tuple[_Field, list[Corner]]]:
    """Yield the images with crops that correlate at all, and the corners of the best of those."""
    spectrum = _Spectrum(field.coarse, CROP // _COARSE)
    others = [one for one in earlier if _comparable(one.sample.kind, field.sample.kind)]
    for first in range(0, len(others), 64):
        some = others[first : first + 64]
        values = spectrum.best(np.concatenate([other.crops for other in some]))
        ends = np.cumsum([len(other.crops) for other in some])[:-1]
        for other, own in zip(some, np.split(values, ends), strict=True):
            if own.max() >= _MAYBE:
                yield other, [other.places[k] for k in np.argsort(-own)[:_TRIALS]]


def _found(spectrum: _Spectrum, other: _Field, tried: list[Corner]) -> list[tuple[Corner, Corner]]:
    """Return where crops of another image are found in a field: corners here, and there."""
    found = spectrum.found(_cut(other.fine, tried, _COARSE // _FINE))
    return [
        ((row * _FINE, col * _FINE), (down * _COARSE, right * _COARSE))
        for (value, (row, col)), (down, right) in zip(found, tried, strict=True)
        if value >= SAME
    ]


def confirmed(one: _Field, other: _Field, here: Corner, there: Corner) -> bool:
    """Tell whether what is alike in two images is the same piece of a specimen.

    Parameters
    ----------
    one, other : _Field
    here, there : tuple of int
        (row, col) of the alike crop's first pixel in each of them.

    Returns
    -------
    bool
        The finest details are the same, noise included: it is one recording.  Or the crop,
        grown until it shows three objects in both, is still alike: no two specimens have
        three objects of the same shape in the same places.
    """
    value, here = _refined(one, other, here, there)
    if value >= SAME_DETAIL:
        return True
    for mine, theirs in _growing(one.shape, other.shape, here, there):
        if min(one.objects(mine), other.objects(theirs)) >= LEAST_OBJECTS:
            return correlation(one.gray(mine), other.gray(theirs)) >= SAME
    return False


def _refined(one: _Field, other: _Field, here: Corner, there: Corner) -> tuple[float, Corner]:
    """Return the best correlation of details near a place, and where exactly that is."""
    side = min(CROP, *one.shape, *other.shape)
    crop = detail(other.gray(_square(there, side)))
    first = max(here[0] - _SHIFT, 0), max(here[1] - _SHIFT, 0)
    near = detail(one.gray(_square(first, side + 2 * _SHIFT)))
    best = (-1.0, here)
    for row in range(near.shape[0] - crop.shape[0] + 1):
        for col in range(near.shape[1] - crop.shape[1] + 1):
            own = near[row:, col:][: crop.shape[0], : crop.shape[1]]
            best = max(best, (correlation(own, crop), (first[0] + row, first[1] + col)))
    return best


def _square(corner: Corner, side: int) -> Region:
    return slice(corner[0], corner[0] + side), slice(corner[1], corner[1] + side)


def detail(gray: FloatArray) -> FloatArray:
    """Return what is a few pixels large, without the rim, where the filter sees no neighbours."""
    fine = ndimage.gaussian_filter(gray, 0.7) - ndimage.gaussian_filter(gray, 2.0)
    return np.asarray(fine[_RIM:-_RIM, _RIM:-_RIM], np.float32)


def correlation(one: FloatArray, two: FloatArray) -> float:
    """Return the normalised correlation of two planes of the same shape."""
    first, second = one - one.mean(), two - two.mean()
    return float((first * second).mean() / max(float(first.std() * second.std()), 1e-6))


def _growing(
    one: tuple[int, ...], other: tuple[int, ...], here: Corner, there: Corner
) -> Iterator[tuple[Region, Region]]:
    """Yield ever larger regions that two images share, in pixels of each; the last is the whole."""
    last = None
    for margin in range(0, max(*one, *other) + _GROWTH, _GROWTH):
        rows, cols = (
            _grown(lengths, corners, margin)
            for lengths, corners in zip(
                zip(one, other, strict=True), zip(here, there, strict=True), strict=True
            )
        )
        if (rows, cols) == last:
            return
        last = rows, cols
        yield (rows[0], cols[0]), (rows[1], cols[1])


def _grown(lengths: tuple[int, int], corners: Corner, margin: int) -> tuple[slice, slice]:
    """Return the pixels along one axis, in each of two images, that both have."""
    before = min(margin, *corners)
    starts = [corner - before for corner in corners]
    spare = min(length - start for length, start in zip(lengths, starts, strict=True))
    length = min(before + CROP + margin, spare)
    return slice(starts[0], starts[0] + length), slice(starts[1], starts[1] + length)


def _textured(gray: FloatArray, side: int) -> list[Corner]:
    """Return the corners of crops that are not flat: flat background is alike anywhere."""
    corners = [(rows.start, cols.start) for rows, cols in iter_crops(gray.shape, side, side)]
    spread = {(r, c): float(gray[r : r + side, c : c + side].std()) for r, c in corners}
    kept = [corner for corner in corners if spread[corner] > 2 * _LEAST_STD]
    return kept or [max(corners, key=spread.__getitem__)]


def _cut(gray: FloatArray, corners: Sequence[Corner], factor: int) -> FloatArray:
    side = CROP // _COARSE * factor
    return np.stack([gray[r * factor :, c * factor :][:side, :side] for r, c in corners])


def held_out(alike: list[list[str]], kinds: dict[str, str]) -> list[str]:
    """Choose what is measured on: about a fifth of the images of each kind, and whole sources.

    Parameters
    ----------
    alike : list of list of str
        As `group` returns them.
    kinds : dict
        Kind of each image.

    Returns
    -------
    list of str
        Names; the same for the same groups, on any computer.

    Notes
    -----
    Chosen are whole groups of what is alike, which is more careful than need be: nothing
    is held out that only looks like an image that was learned from.  So the large group of
    sparse, smooth nuclei on black was learned from as a whole, and figures for
    fluorescence are figures for the other images.
    """
    chosen = [name for name, kind in kinds.items() if kind in WHOLE_SOURCES]
    for kind in sorted(set(kinds.values()).difference(WHOLE_SOURCES)):
        own = [group for group in alike if kinds[group[0]] == kind]
        wanted = TEST_SHARE * sum(map(len, own))
        taken = 0
        for group in sorted(own, key=_digest):
            # a group that alone exceeds the share would leave too little to learn from
            if taken < wanted and taken + len(group) <= 1.5 * wanted + 1:
                chosen += group
                taken += len(group)
    return sorted(set(chosen))


def _digest(group: list[str]) -> str:
    return hashlib.sha256((_SEED + group[0]).encode()).hexdigest()


def divided(same: list[list[str]], chosen: list[str]) -> list[str]:
    """Return the chosen images that share a field with one that is not: neither use is fair."""
    kept = set(chosen)
    return sorted(
        name for group in same if not kept.issuperset(group) for name in group if name in kept
    )


def write_split(samples: list[Sample], path: Path = GROUPS_FILE) -> dict[str, Any]:
    """Group samples, choose what is held out, and write both down.

    Parameters
    ----------
    samples : list of Sample
    path : Path

    Returns
    -------
    dict
        "groups" of the same field, those of what is "alike" (without single images), what is
        "held_out", what was "dropped" and serves neither use, and the "kinds".
    """
    kinds = {sample.name: sample.kind for sample in samples}
    groups = group(samples)
    chosen = held_out(groups.alike, kinds)
    dropped = divided(groups.same, chosen)
    split = {
        "groups": groups.same,
        "alike": [members for members in groups.alike if len(members) > 1],
        "held_out": [name for name in chosen if name not in dropped],
        "dropped": dropped,
        "kinds": kinds,
    }
    path.write_text(json.dumps(split, indent=0) + "\n")
    return split


@cache
def read_split(path: Path = GROUPS_FILE) -> dict[str, Any]:
    """Return the split written by `write_split`; only to be read."""
    split: dict[str, Any] = json.loads(path.read_text())
    return split


def alike_groups(split: dict[str, Any]) -> list[list[str]]:
    """Return the groups of what is alike, single images included, in their order."""
    several: list[list[str]] = split["alike"]
    joined = {name for members in several for name in members}
    return sorted([*several, *([name] for name in split["kinds"] if name not in joined)])


def may_be_learned_from(name: str) -> bool:
    """Whether an image is neither kept for measuring nor dropped."""
    split = read_split()
    return name not in split["held_out"] and name not in split["dropped"]


def was_held_out(name: str) -> bool:
    """Whether an image may be measured on: it was held out, or is of no source of the split."""
    split = read_split()
    return name in split["held_out"] or name not in split["kinds"]
