"""Random training examples: crops with prompts, and tiles with maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_sam3.engines.builtin.nets.planes import (
    CROP,
    DIAMETER,
    colour_range,
    dense_planes,
    prompt_planes,
)
from training.augment import (
    FloatArray,
    Prepared,
    Rng,
    View,
    depth,
    depth_of,
    looked_up,
    random_turn,
    recoloured,
    seen,
)

# how often an image of a kind is drawn, whatever the number of images
KIND_WEIGHTS = {
    "fluo": 0.38,
    "he_white": 0.19,
    "he_purple": 0.08,
    "bf_gray": 0.09,
    "synthetic": 0.26,
}
TILE = 128
_CONTEXT = 176
_BACKGROUND_CLICKS = 0.06
_FILLS = 0.55
_OUTLINED = 0.15


class Drawer:
    """Draws images, each kind as often as `KIND_WEIGHTS` says."""

    def __init__(self, prepared: list[Prepared]) -> None:
        self._kinds: dict[str, list[Prepared]] = {}
        for item in prepared:
            if item.median_diameter > 0:
                self._kinds.setdefault(item.sample.kind, []).append(item)
        weights = np.array([KIND_WEIGHTS[kind] for kind in self._kinds])
        self._names = list(self._kinds)
        self._weights = weights / weights.sum()

    def draw(self, rng: Rng) -> Prepared:
        """Return a random image."""
        own = self._kinds[self._names[rng.choice(len(self._names), p=self._weights)]]
        return own[rng.integers(len(own))]


@dataclass(slots=True, eq=False)
class PromptBatch:
    """Crops with prompts and the truth.

    Parameters
    ----------
    rgb : ndarray of float32, shape (n, 64, 64, 3)
    clicks : list of ndarray, shape (k, 3)
    boxes : ndarray of float32, shape (n, 4)
    previous : ndarray of float32, shape (n, 64, 64)
        NaN where there is no earlier answer.
    target : ndarray of bool, shape (n, 64, 64)
    valid : ndarray of bool, shape (n, 64, 64)
        Cells inside the image.
    area : ndarray of float32, shape (n,)
        Cells of the whole object, those outside of the crop included.
    """

    rgb: FloatArray
    clicks: list[npt.NDArray[Any]]
    boxes: FloatArray
    previous: FloatArray
    target: npt.NDArray[np.bool_]
    valid: npt.NDArray[np.bool_]
    area: FloatArray

    def planes(self) -> FloatArray:
        """Return the net's input."""
        return prompt_planes(self.rgb, self.clicks, self.boxes, self.previous)


def prompt_batch(drawer: Drawer, size: int, rng: Rng) -> PromptBatch:
    """Draw crops of random objects with a box, one or several clicks or a rough outline each."""
    parts = [_prompted(drawer.draw(rng), rng) for _ in range(size)]
    rgb, clicks, boxes, previous, targets, valids, areas = zip(*parts, strict=True)
    return PromptBatch(
        np.stack(rgb),
        list(clicks),
        np.stack(boxes),
        np.stack(previous),
        np.stack(targets),
        np.stack(valids),
        np.array(areas, np.float32),
    )


_Example = tuple[
    FloatArray,
    npt.NDArray[Any],
    FloatArray,
    FloatArray,
    npt.NDArray[np.bool_],
    npt.NDArray[np.bool_],
    float,
]


def _prompted(prepared: Prepared, rng: Rng) -> _Example:
    label = int(rng.choice(np.flatnonzero(prepared.diameters)))
    if rng.random() < 0.4:
        return _boxed(prepared, label, rng)
    if rng.random() < _BACKGROUND_CLICKS:
        return _missed(prepared, rng)
    return _clicked(prepared, label, rng)


def _pixels(prepared: Prepared, label: int) -> FloatArray:
    rows, cols = prepared.boxes[label - 1]
    inner = np.argwhere(prepared.sample.labels[rows, cols] == label).astype(np.float32)
    return inner + np.array([rows.start, cols.start], np.float32)


def _boxed(prepared: Prepared, label: int, rng: Rng) -> _Example:
    turn = random_turn(rng)
    own = _pixels(prepared, label) @ turn
    low, high = own.min(axis=0) - 0.5, own.max(axis=0) + 0.5
    sides = high - low
    grow = rng.uniform(-0.05, 0.12, 4) if rng.random() < 0.8 else np.zeros(4)
    low, high = low - grow[:2] * sides, high + grow[2:] * sides
    span = float(max((high - low).max(), 2.0)) / _FILLS * np.exp(rng.normal(0, 0.08))
    middle = (low + high) / 2 + rng.normal(0, 0.02, 2) * span
    centre = turn @ middle + 0.5
    view = View((float(centre[0]), float(centre[1])), span / CROP, turn, CROP)
    box = np.concatenate([low - middle, high - middle]) / view.step + CROP / 2
    return _finished(prepared, label, view, np.zeros((0, 3)), box.astype(np.float32), rng)


def _clicked(prepared: Prepared, label: int, rng: Rng) -> _Example:
    box = prepared.boxes[label - 1]
    distance = depth_of(prepared.sample.labels, label, box)
    deep = 0.6 if rng.random() < 0.75 else 0.2
    pixels = np.argwhere(distance >= deep) + np.array([box[0].start, box[1].start])
    # a scribble is several clicks
    count = int(rng.integers(2, 6)) if rng.random() < 0.15 else 1
    marked = pixels[rng.integers(len(pixels), size=count)].astype(np.float32)
    click = marked[0]
    side = max(box[0].stop - box[0].start, box[1].stop - box[1].start)
    # nobody knows the object's size yet: most windows fit badly, and the net must say so
    wrong = rng.uniform(-0.5, 0.5) if rng.random() < 0.6 else rng.uniform(-1.4, 1.4)
    step = side / _FILLS * np.exp(wrong) / CROP
    middle = click
    if rng.random() < 0.3:
        corner = np.array([box[0].start + box[0].stop, box[1].start + box[1].stop], np.float32)
        middle = (corner - 1) / 2 + rng.normal(0, 0.03, 2) * side
    jitter = rng.uniform(-0.5, 0.5, 2) * step
    centre = (float(middle[0] + 0.5 + jitter[0]), float(middle[1] + 0.5 + jitter[1]))
    view = View(centre, step, random_turn(rng), CROP)
    clicks = np.column_stack([view.to_cells(marked), np.ones(count)])
    return _finished(prepared, label, view, clicks, _no_box(), rng)


def _missed(prepared: Prepared, rng: Rng) -> _Example:
    """Return a click on the background, away from objects."""
    labels = prepared.sample.labels
    for _ in range(20):
        row, col = (int(rng.integers(length)) for length in labels.shape)
        if not labels[max(row - 3, 0) : row + 4, max(col - 3, 0) : col + 4].any():
            break
    step = prepared.median_diameter / _FILLS * np.exp(rng.uniform(-1.2, 1.2)) / CROP
    view = View((row + 0.5, col + 0.5), step, random_turn(rng), CROP)
    label = int(labels[row, col])
    click = np.array([[CROP / 2 - 0.5, CROP / 2 - 0.5, 1.0]])
    return _finished(prepared, label, view, click, _no_box(), rng)


def _no_box() -> FloatArray:
    return np.full(4, np.nan, np.float32)


def _finished(
    prepared: Prepared,
    label: int,
    view: View,
    clicks: npt.NDArray[Any],
    box: FloatArray,
    rng: Rng,
) -> _Example:
    found, valid = looked_up(prepared.sample.labels, view)
    rgb = recoloured(seen(prepared, view), rng, stained=is_stained(prepared))
    target = (found == label) & valid & (label > 0)
    area = np.pi / 4 * float(prepared.diameters[label]) ** 2 / view.step**2
    outlined = not np.isnan(box[0]) and rng.random() < _OUTLINED
    previous = _rough(target, rng) if outlined else np.full((CROP, CROP), np.nan, np.float32)
    return rgb, clicks, box, previous, target, valid, max(area, float(np.count_nonzero(target)))


def is_stained(prepared: Prepared) -> bool:
    """Tell whether an image shows a section stained with haematoxylin and eosin."""
    return prepared.sample.kind.startswith("he_")


def _rough(target: npt.NDArray[np.bool_], rng: Rng) -> FloatArray:
    """Return a mask as somebody draws it by hand around an object, 0 or 1."""
    soft = ndimage.gaussian_filter(target.astype(np.float32), rng.uniform(1, 4))
    waves = ndimage.gaussian_filter(rng.standard_normal(target.shape), 5)
    waves /= max(float(waves.std()), 1e-6)
    level = rng.uniform(0.2, 0.6) + 0.12 * waves
    return np.asarray(soft > level, np.float32)


def add_clicks(batch: PromptBatch, found: FloatArray, share: float, rng: Rng) -> None:
    """Give some examples the answer so far and a click that corrects it, in place.

    Parameters
    ----------
    batch : PromptBatch
    found : ndarray of float32, shape (n, 64, 64)
        The net's probabilities.
    share : float
        How many examples, 0–1.
    rng : Generator
    """
    for index in np.flatnonzero(rng.random(len(found)) < share):
        if not batch.target[index].any():
            continue
        answer = (found[index] > 0.5) & batch.valid[index]
        missing, excess = batch.target[index] & ~answer, answer & ~batch.target[index]
        positive = np.count_nonzero(missing) >= np.count_nonzero(excess)
        wrong = missing if positive else excess
        if np.count_nonzero(wrong) < 3:
            continue
        distance = depth(np.pad(wrong, 1))
        cells = np.argwhere(distance >= 0.6)
        cell = cells[rng.integers(len(cells))]
        new = np.array([[*cell, 1.0 if positive else -1.0]])
        batch.clicks[index] = np.concatenate([batch.clicks[index], new])
        batch.previous[index] = found[index]


@dataclass(frozen=True, slots=True, eq=False)
class DenseBatch:
    """Tiles and their maps.

    Parameters
    ----------
    planes : ndarray of float32, shape (n, 4, 128, 128)
    foreground : ndarray of float32, shape (n, 128, 128)
    distance : ndarray of float32, shape (n, 128, 128)
        0–1, 1 at each object's innermost pixel.
    size : ndarray of float32, shape (n, 128, 128)
        Logarithm of the object's diameter over the canonical one.
    valid : ndarray of float32, shape (n, 128, 128)
        1 inside the image.
    """

    planes: FloatArray
    foreground: FloatArray
    distance: FloatArray
    size: FloatArray
    valid: FloatArray


def dense_batch(drawer: Drawer, count: int, rng: Rng) -> DenseBatch:
    """Draw tiles at about the canonical scale, some of them far from it."""
    parts = [_tile(drawer.draw(rng), rng) for _ in range(count)]
    stacked = (np.stack(part).astype(np.float32) for part in zip(*parts, strict=True))
    return DenseBatch(*stacked)


def _tile(prepared: Prepared, rng: Rng) -> tuple[npt.NDArray[Any], ...]:
    wrong = rng.normal(0, 0.2) if rng.random() < 0.65 else rng.uniform(-1.1, 1.1)
    step = prepared.median_diameter / DIAMETER * float(np.exp(wrong))
    centre = _somewhere(prepared, rng)
    turn = random_turn(rng)
    wide = seen(prepared, View(centre, step, turn, _CONTEXT))
    wide = recoloured(wide, rng, stained=is_stained(prepared))
    offset, scale = colour_range(wide[::2, ::2])
    margin = (_CONTEXT - TILE) // 2
    inner = slice(margin, margin + TILE)
    planes = dense_planes(wide, offset, scale)[:, inner, inner]
    view = View(centre, step, turn, TILE)
    labels, valid = looked_up(prepared.sample.labels, view)
    distance, _ = looked_up(prepared.distance, view)
    diameters = prepared.diameters[labels] / np.float32(step * DIAMETER)
    size = np.log(np.maximum(diameters, 0.05))
    return planes, labels > 0, distance / np.float32(255), size, valid


def _somewhere(prepared: Prepared, rng: Rng) -> tuple[float, float]:
    """Return a random place, mostly near an object."""
    labels = prepared.sample.labels
    if rng.random() < 0.3:
        return float(rng.uniform(0, labels.shape[0])), float(rng.uniform(0, labels.shape[1]))
    rows, cols = prepared.boxes[int(rng.choice(np.flatnonzero(prepared.diameters))) - 1]
    return (rows.start + rows.stop) / 2, (cols.start + cols.stop) / 2
