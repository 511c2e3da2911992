"""Drawn micrographs with exact truth, for modalities of which there is no free annotated data.

Bodies are ellipses, rods and irregular cells.  They are rendered as fluorescence, hollow
membranes, phase contrast with halos, stained tissue or bright field, in any colour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, sobel

from training.data import LabelImage, Sample

FloatArray = npt.NDArray[np.float32]
Rng = np.random.Generator

SHAPES = ("round", "rod", "irregular")
LOOKS = ("fluorescence", "hollow", "phase", "stained", "bright_field")
_SIDE = 288


def draw(
    index: int, seed: int = 0, side: int = _SIDE, *, shape: str = "", look: str = ""
) -> Sample:
    """Draw one micrograph.

    Parameters
    ----------
    index : int
        Each index gives another picture, always the same for a seed.
    seed, side : int
    shape, look : str
        Of `SHAPES` and `LOOKS`; random if not given.

    Returns
    -------
    Sample
        Of kind "synthetic".
    """
    rng = np.random.default_rng((seed, index))
    # drawn in any case, so that the rest of the picture does not depend on what was given
    any_shape = SHAPES[rng.choice(3, p=(0.3, 0.4, 0.3))]
    any_look = LOOKS[rng.choice(5, p=(0.15, 0.15, 0.35, 0.2, 0.15))]
    shape, look = shape or any_shape, look or any_look
    labels = _bodies(side, shape, rng)
    image = _photographed(_RENDERERS[look](labels, rng), rng)
    return Sample(f"synthetic-{seed}-{index}-{shape}-{look}", "synthetic", image, labels)


def _bodies(side: int, shape: str, rng: Rng) -> LabelImage:
    diameter = float(np.exp(rng.uniform(np.log(9), np.log(60))))
    filling = rng.uniform(0.08, 0.65)
    wanted = int(np.clip(filling * side**2 / (0.8 * diameter**2), 3, 400))
    labels = np.zeros((side, side), np.int32)
    spread = rng.uniform(0.05, 0.35)
    # colonies lie side by side, so their neighbours have nearly the same direction
    common = rng.uniform(0, np.pi) if rng.random() < 0.5 else None
    number = 0
    for _ in range(3 * wanted):
        own = float(diameter * np.exp(spread * rng.standard_normal()))
        angle = rng.uniform(0, np.pi) if common is None else common + 0.3 * rng.standard_normal()
        number += _place(labels, number + 1, _OUTLINES[shape](own, float(angle), rng), rng)
        if number >= wanted:
            break
    return labels


def _place(labels: LabelImage, number: int, body: npt.NDArray[np.bool_], rng: Rng) -> bool:
    """Put a body somewhere, unless too much of it would lie on others."""
    side, half = labels.shape[0], body.shape[0] // 2
    row, col = rng.integers(-half // 2, side + half // 2, 2)
    top, left = max(row - half, 0), max(col - half, 0)
    bottom, right = min(row - half + body.shape[0], side), min(col - half + body.shape[1], side)
    if bottom <= top or right <= left:
        return False
    part = body[top - row + half : bottom - row + half, left - col + half : right - col + half]
    under = labels[top:bottom, left:right]
    area = int(np.count_nonzero(part))
    if area < 12 or np.count_nonzero(part & (under > 0)) > 0.12 * area:
        return False
    # the later body lies below: the earlier one stays whole
    under[part & (under == 0)] = number
    return True


def _grid(half: int, angle: float) -> tuple[FloatArray, FloatArray]:
    rows, cols = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    along = rows * np.cos(angle) + cols * np.sin(angle)
    return along, cols * np.cos(angle) - rows * np.sin(angle)


def _wavy(diameter: float, angle: float, rng: Rng, stretch: float, wave: float) -> Any:
    half = int(diameter * stretch) + 2
    along, across = _grid(half, angle)
    radius = np.hypot(along / stretch, across * stretch)
    theta = np.arctan2(across, along)
    edge = np.full_like(radius, diameter / 2)
    for order in range(2, 7):
        size = wave * rng.standard_normal() / order
        edge += diameter / 2 * size * np.cos(order * theta + rng.uniform(0, 2 * np.pi))
    return radius < edge


def _round(diameter: float, angle: float, rng: Rng) -> Any:
    return _wavy(diameter, angle, rng, float(rng.uniform(1, 1.35)), 0.06)


def _irregular(diameter: float, angle: float, rng: Rng) -> Any:
    return _wavy(1.15 * diameter, angle, rng, float(rng.uniform(1, 1.5)), 0.35)


def _rod(diameter: float, angle: float, rng: Rng) -> Any:
    width = max(diameter * rng.uniform(0.4, 0.6), 4.0)
    length = width * rng.uniform(1.5, 6)
    along, across = _grid(int(length / 2 + width) + 2, angle)
    bent = across - rng.normal(0, 0.25) * along**2 / length
    return np.maximum(np.abs(along) - (length - width) / 2, 0) ** 2 + bent**2 < (width / 2) ** 2


def _noise(side: int, sigma: float, rng: Rng) -> FloatArray:
    """Return smooth noise of mean 0 and deviation 1."""
    values = gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
    return np.asarray(values / max(float(values.std()), 1e-6), np.float32)


def _per_body(labels: LabelImage, spread: float, rng: Rng) -> FloatArray:
    values = np.exp(spread * rng.standard_normal(int(labels.max()) + 1)).astype(np.float32)
    values[0] = 0
    return np.asarray(values[labels])


def _rim(labels: LabelImage) -> FloatArray:
    edge = np.hypot(sobel(labels.astype(np.float32), 0), sobel(labels.astype(np.float32), 1)) > 0
    return edge.astype(np.float32)


def _coloured(amount: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    return low + amount[..., None] * (high - low)


def _fluorescence(labels: LabelImage, rng: Rng) -> FloatArray:
    side = labels.shape[0]
    light = _per_body(labels, rng.uniform(0.05, 0.6), rng)
    light *= 1 + rng.uniform(0, 0.35) * _noise(side, rng.uniform(0.8, 4), rng)
    light = gaussian_filter(light, rng.uniform(0.4, 2.0))
    light += rng.uniform(0, 0.25) * np.abs(_noise(side, rng.uniform(8, 40), rng))
    return _coloured(light * rng.uniform(0.15, 0.9), np.zeros(3, np.float32), _tint(rng))


def _hollow(labels: LabelImage, rng: Rng) -> FloatArray:
    rim = gaussian_filter(_rim(labels), rng.uniform(0.5, 1.8))
    body = gaussian_filter((labels > 0).astype(np.float32), 1.0)
    light = rim / max(float(rim.max()), 1e-6) + rng.uniform(-0.1, 0.4) * body
    light *= 1 + 0.25 * _noise(labels.shape[0], 10, rng)
    light = np.asarray(light * rng.uniform(0.3, 0.9) + 0.1, np.float32)
    return _coloured(light, np.zeros(3, np.float32), _tint(rng))


def _phase(labels: LabelImage, rng: Rng) -> FloatArray:
    body = gaussian_filter(_per_body(labels, rng.uniform(0, 0.3), rng), rng.uniform(0.4, 1.2))
    wide = rng.uniform(1.5, 7)
    outside = (labels == 0).astype(np.float32)
    halo = gaussian_filter(body, wide) * gaussian_filter(outside, 0.7)
    inner = rng.uniform(0, 0.6) * _noise(labels.shape[0], rng.uniform(0.8, 3), rng) * (labels > 0)
    depth = rng.choice([-1, 1], p=(0.85, 0.15)) * rng.uniform(0.1, 0.4)
    gray = 0.5 + depth * (body + 0.5 * inner) - 1.5 * np.sign(depth) * rng.uniform(0, 0.5) * halo
    gray += 0.03 * _noise(labels.shape[0], rng.uniform(5, 40), rng)
    return np.asarray(np.repeat(gray[..., None], 3, axis=2), np.float32)


def _stained(labels: LabelImage, rng: Rng) -> FloatArray:
    """Two dyes absorb light: one in the bodies, one in the tissue between them."""
    side = labels.shape[0]
    own, other = rng.uniform(0.2, 1.4, 3), rng.uniform(0.05, 0.5, 3)
    body = _per_body(labels, rng.uniform(0.1, 0.4), rng)
    body *= 1 + rng.uniform(0, 0.4) * _noise(side, rng.uniform(0.8, 3), rng)
    body = np.maximum(gaussian_filter(body, rng.uniform(0.5, 1.5)), 0)
    tissue = np.maximum(1 + _noise(side, rng.uniform(3, 15), rng), 0) * (labels == 0)
    fibres = np.abs(gaussian_filter(rng.standard_normal((side, side)), (1, rng.uniform(2, 9))))
    tissue = gaussian_filter(tissue + 3 * fibres, rng.uniform(0.5, 1.5))
    absorbed = body[..., None] * own * rng.uniform(0.5, 1.2) + tissue[..., None] * other
    return np.asarray(rng.uniform(0.8, 1.0, 3) * np.exp(-absorbed), np.float32)


def _bright_field(labels: LabelImage, rng: Rng) -> FloatArray:
    body = gaussian_filter((labels > 0).astype(np.float32), rng.uniform(0.5, 1.5))
    rim = gaussian_filter(_rim(labels), rng.uniform(0.6, 1.5))
    low, high = rng.uniform(0.05, 0.5), rng.uniform(0.6, 0.95)
    gray = high - (high - low) * (rng.uniform(0, 0.8) * body + rng.uniform(0.3, 0.9) * rim)
    gray += 0.04 * _noise(labels.shape[0], rng.uniform(2, 30), rng)
    return np.asarray(np.repeat(gray[..., None], 3, axis=2), np.float32)


def _tint(rng: Rng) -> FloatArray:
    if rng.random() < 0.6:
        return np.ones(3, np.float32)
    colour = rng.uniform(0, 1, 3)
    return np.asarray(colour / colour.max(), np.float32)


def _photographed(light: FloatArray, rng: Rng) -> npt.NDArray[np.uint8]:
    photons = float(np.exp(rng.uniform(np.log(30), np.log(2000))))
    noisy = rng.poisson(np.clip(light, 0, 1.5) * photons) / photons
    noisy = noisy + rng.uniform(0, 0.02) * rng.standard_normal(light.shape)
    if np.ptp(light, axis=2).max() < 1e-3:
        noisy = np.repeat(noisy[..., :1], 3, axis=2)
    return np.asarray((np.clip(noisy, 0, 1) * 255).round(), np.uint8)


_OUTLINES: dict[str, Callable[[float, float, Rng], Any]] = {
    "round": _round,
    "rod": _rod,
    "irregular": _irregular,
}
_RENDERERS: dict[str, Callable[[LabelImage, Rng], FloatArray]] = {
    "fluorescence": _fluorescence,
    "hollow": _hollow,
    "phase": _phase,
    "stained": _stained,
    "bright_field": _bright_field,
}
