"""Geometric sampling and changes of appearance that keep the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import hed_from_rgb, rgb_from_hed

from training.data import LEAST_AREA, LabelImage, Sample

FloatArray = npt.NDArray[np.float32]
Rng = np.random.Generator

_LEVELS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A sample with what training derives from it once.

    Parameters
    ----------
    sample : Sample
    pyramid : tuple of ndarray of uint8
        The image at full, half, quarter … resolution.
    distance : ndarray of uint8, shape (rows, cols)
        Distance to the outline, 255 at each object's innermost pixel.
    diameters : ndarray of float32, shape (n + 1,)
        Of the disc with the object's area; 0 for the background and for specks.
    boxes : list of (slice, slice) or None
        Of each label.
    """

    sample: Sample
    pyramid: tuple[npt.NDArray[np.uint8], ...]
    distance: npt.NDArray[np.uint8]
    diameters: FloatArray
    boxes: list[Any]

    @property
    def median_diameter(self) -> float:
        """Of the objects that are no specks; 0 without objects."""
        sizes = self.diameters[self.diameters > 0]
        return float(np.median(sizes)) if sizes.size else 0.0


def prepare(sample: Sample) -> Prepared:
    """Derive pyramid, distances and sizes."""
    pyramid = [sample.image]
    while len(pyramid) < _LEVELS and min(pyramid[-1].shape[:2]) >= 64:
        pyramid.append(_halved(pyramid[-1]))
    areas = np.bincount(sample.labels.ravel()).astype(np.float32)
    areas[0] = 0
    diameters = np.where(areas >= LEAST_AREA, 2 * np.sqrt(areas / np.pi), 0).astype(np.float32)
    boxes = ndimage.find_objects(sample.labels)
    return Prepared(sample, tuple(pyramid), _distances(sample.labels, boxes), diameters, boxes)


def _halved(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rows, cols = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    blocks = image[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2, 3)
    return np.asarray(blocks.mean(axis=(1, 3)).round(), np.uint8)


def _distances(labels: LabelImage, boxes: list[Any]) -> npt.NDArray[np.uint8]:
    distance = np.zeros(labels.shape, np.uint8)
    for label, box in enumerate(boxes, start=1):
        if box is None:
            continue
        inner = depth_of(labels, label, box)
        np.maximum(distance[box], (255 * inner).round().astype(np.uint8), out=distance[box])
    return distance


def padded_mask(labels: LabelImage, label: int, box: Any) -> npt.NDArray[np.bool_]:
    """Return an object's mask with a pixel around it.

    Where the picture ends, the object goes on: its middle is not where the picture cuts it.
    """
    mask = np.pad(labels[box] == label, 1)
    rows, cols = box
    if rows.start == 0:
        mask[0] = mask[1]
    if rows.stop == labels.shape[0]:
        mask[-1] = mask[-2]
    if cols.start == 0:
        mask[:, 0] = mask[:, 1]
    if cols.stop == labels.shape[1]:
        mask[:, -1] = mask[:, -2]
    return mask


def depth_of(labels: LabelImage, label: int, box: Any) -> npt.NDArray[np.float64]:
    """Return an object's distance to its outline in its box, 1 at the innermost pixel."""
    return depth(padded_mask(labels, label, box))


def depth(padded: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the distance to the outline without the outermost pixels, 1 at the innermost one."""
    distance = np.asarray(ndimage.distance_transform_edt(padded), np.float64)[1:-1, 1:-1]
    return distance / max(float(distance.max()), 1.0)


@dataclass(frozen=True, slots=True)
class View:
    """A square crop, turned, mirrored and scaled.

    Parameters
    ----------
    centre : tuple of float
        Row and column of the crop's middle, in pixels of the image.
    step : float
        Pixels of the image per cell of the crop.
    turn : ndarray of float, shape (2, 2)
        Orthogonal; takes offsets in the crop to offsets in the image.
    side : int
        Cells.
    """

    centre: tuple[float, float]
    step: float
    turn: FloatArray
    side: int

    def positions(self) -> tuple[FloatArray, FloatArray]:
        """Return the row and column in the image of each cell's middle."""
        cells = (np.arange(self.side, dtype=np.float32) + 0.5 - self.side / 2) * self.step
        turn = self.turn
        rows = self.centre[0] + turn[0, 0] * cells[:, None] + turn[0, 1] * cells[None, :]
        cols = self.centre[1] + turn[1, 0] * cells[:, None] + turn[1, 1] * cells[None, :]
        return rows - 0.5, cols - 0.5

    def to_cells(self, pixels: FloatArray) -> FloatArray:
        """Return positions in the crop of positions in the image, both (n, 2)."""
        offsets = (pixels + 0.5 - np.array(self.centre, np.float32)) @ self.turn
        cells = offsets / np.float32(self.step) + self.side / 2 - 0.5
        return np.asarray(cells, np.float32)


def random_turn(rng: Rng) -> FloatArray:
    """Return a random rotation, mirrored half of the time."""
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    mirror = rng.choice((-1, 1))
    return np.array([[cosine, -sine * mirror], [sine, cosine * mirror]], np.float32)


def seen(prepared: Prepared, view: View) -> FloatArray:
    """Return the crop's colours, shape (side, side, 3), 0–255; border pixels are repeated."""
    level = int(np.clip(np.floor(np.log2(max(view.step, 1.0)) + 0.3), 0, len(prepared.pyramid) - 1))
    image = prepared.pyramid[level]
    rows, cols = view.positions()
    factor = np.float32(2.0**level)
    return _bilinear(image, (rows + 0.5) / factor - 0.5, (cols + 0.5) / factor - 0.5)


def _bilinear(image: npt.NDArray[np.uint8], rows: FloatArray, cols: FloatArray) -> FloatArray:
    rows = np.clip(rows, 0, image.shape[0] - 1).ravel()
    cols = np.clip(cols, 0, image.shape[1] - 1).ravel()
    top, left = rows.astype(np.int32), cols.astype(np.int32)
    bottom = np.minimum(top + 1, image.shape[0] - 1) * image.shape[1]
    right = np.minimum(left + 1, image.shape[1] - 1)
    down, across = (
        (rows - top.astype(np.float32))[:, None],
        (cols - left.astype(np.float32))[:, None],
    )
    top *= image.shape[1]
    flat = image.reshape(-1, 3)
    upper = flat.take(top + left, 0) * (1 - across) + flat.take(top + right, 0) * across
    lower = flat.take(bottom + left, 0) * (1 - across) + flat.take(bottom + right, 0) * across
    side = round(rows.size**0.5)
    merged = upper * (1 - down) + lower * down
    return np.asarray(merged.reshape(side, side, 3), np.float32)


def looked_up(plane: npt.NDArray[Any], view: View) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return a plane's nearest pixels in the crop, and which cells lie inside the image."""
    rows, cols = view.positions()
    rows, cols = np.rint(rows).astype(np.intp), np.rint(cols).astype(np.intp)
    valid = (rows >= 0) & (cols >= 0) & (rows < plane.shape[0]) & (cols < plane.shape[1])
    inside = plane[np.clip(rows, 0, plane.shape[0] - 1), np.clip(cols, 0, plane.shape[1] - 1)]
    return inside, valid


def recoloured(rgb: FloatArray, rng: Rng, *, stained: bool = False) -> FloatArray:
    """Change colour, polarity, contrast, sharpness and noise of a crop; 0–255."""
    if stained and rng.random() < 0.5:
        rgb = _restained(rgb, rng)
    rgb = _mixed(rgb, rng)
    if rng.random() < 0.3:
        rgb = 255 - rgb
    if rng.random() < 0.5:
        power = np.float32(np.exp(rng.uniform(-0.7, 0.7)))
        rgb = np.asarray(255 * (np.clip(rgb, 0, 255) / 255) ** power, np.float32)
    if rng.random() < 0.5:
        rgb = rgb * np.float32(rng.uniform(0.3, 1.2)) + np.float32(rng.uniform(0, 60))
    rgb = _shaded(_blurred(rgb, rng), rng)
    if rng.random() < 0.4:
        rgb = rgb + _noise(rgb, rng)
    return np.clip(rgb, 0, 255).astype(np.float32)


def _mixed(rgb: FloatArray, rng: Rng) -> FloatArray:
    case = rng.random()
    if case < 0.2:
        return rgb[..., rng.permutation(3)]
    if case < 0.4:
        gray = rgb.mean(axis=2, keepdims=True)
        return np.repeat(gray, 3, axis=2)
    if case < 0.5:
        tint = rng.uniform(0, 1, 3).astype(np.float32)
        gray = rgb.mean(axis=2, keepdims=True)
        return np.asarray(gray * (tint / tint.max()), np.float32)
    if case < 0.7:
        mixing = np.eye(3) + 0.2 * rng.standard_normal((3, 3))
        return np.asarray(rgb @ mixing.astype(np.float32), np.float32)
    return rgb


def _restained(rgb: FloatArray, rng: Rng) -> FloatArray:
    """Change how much haematoxylin and eosin a section took up, everywhere and in places."""
    density = -np.log((rgb + 1) / 256)
    stains = density @ hed_from_rgb.astype(np.float32)
    stains[..., :2] *= np.exp(rng.normal(0, 0.35, 2)).astype(np.float32)
    # deeply stained tissue leaves no white between nuclei
    stains[..., :2] += rng.uniform(0, (0.1, 0.3)).astype(np.float32)
    density = np.maximum(stains @ rgb_from_hed.astype(np.float32), 0)
    return np.asarray(256 * np.exp(-density) - 1, np.float32)


def _blurred(rgb: FloatArray, rng: Rng) -> FloatArray:
    case = rng.random()
    if case < 0.25:
        sigma = rng.uniform(0.3, 1.4)
        return np.asarray(ndimage.gaussian_filter(rgb, (sigma, sigma, 0)), np.float32)
    if case < 0.35:
        soft = ndimage.gaussian_filter(rgb, (1, 1, 0))
        return np.asarray(rgb + rng.uniform(0.3, 1.5) * (rgb - soft), np.float32)
    return rgb


def _shaded(rgb: FloatArray, rng: Rng) -> FloatArray:
    if rng.random() > 0.2:
        return rgb
    ramp = np.linspace(-1, 1, rgb.shape[0], dtype=np.float32)
    slope = rng.uniform(-0.4, 0.4, 2)
    shade = 1 + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    return np.asarray(rgb * shade[..., None], np.float32)


def _noise(rgb: FloatArray, rng: Rng) -> FloatArray:
    channels = rgb.shape[2] if rng.random() < 0.3 else 1
    noise = rng.standard_normal((*rgb.shape[:2], channels)).astype(np.float32)
    if rng.random() < 0.5:
        noise *= np.sqrt(np.maximum(rgb.mean(axis=2, keepdims=True), 1) / 12)
    strength = 14 if rng.random() < 0.3 else 5
    return np.asarray(noise * np.float32(rng.uniform(0, strength)), np.float32)
