"""What needs no training: the textbook algorithms that the engine has to beat.

They see gray: of a stained section the haematoxylin, else the mean of the channels.
Objects are bright, or dark where the prompt or the smaller class of pixels says so.
"""
# scikit-image's functions are untyped
# mypy: disallow-untyped-calls=False

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.color import rgb2hed
from skimage.draw import ellipse, polygon
from skimage.feature import peak_local_max
from skimage.filters import gaussian, sobel, threshold_otsu
from skimage.measure import regionprops
from skimage.morphology import convex_hull_image
from skimage.segmentation import flood, watershed

from benchmarks.scoring import LabelImage
from napari_sam3 import Box, Point

FloatArray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
ClickSolver = Callable[[FloatArray, Sequence[Point]], Mask]
AllSolver = Callable[[FloatArray, float | None], LabelImage]

_MARGIN = 0.3
_COLOURFUL = 12.0
_BRIGHT = 110.0
_TOLERANCES = np.geomspace(0.02, 0.6, 16)
_LEVELS = 20
_MOST_SHARE = 0.3
_RAYS = 48
_RADII = 40
_FITS = 0.95
_SIGMAS = tuple(2.0 * 1.35**step for step in range(8))
_LEAST_AREA = 12
_LEAST_RESPONSE = 0.15


def gray_of(rgb: npt.NDArray[np.uint8]) -> FloatArray:
    """Return the plane that the baselines see, 0–1."""
    values = rgb.astype(np.float32)
    colourful = float(np.ptp(values, axis=2).mean()) > _COLOURFUL
    if colourful and float(values.mean()) > _BRIGHT:
        gray = -rgb2hed(rgb)[..., 0]
    else:
        gray = values.mean(axis=2)
    low, high = np.percentile(gray, (0.1, 99.9))
    return np.asarray(np.clip((gray - low) / max(high - low, 1e-6), 0, 1), np.float32)


# --- a box ----------------------------------------------------------------------------


class Crop:
    """A box with some surroundings; objects are bright in it.

    Parameters
    ----------
    gray : ndarray of float32, shape (rows, cols)
        The whole image.
    box : Box
    """

    def __init__(self, gray: FloatArray, box: Box) -> None:
        rows, cols = (max(2, round(_MARGIN * side)) for side in box.shape)
        frame = Box.of_shape((gray.shape[0], gray.shape[1]))
        wide = Box(box.top - rows, box.left - cols, box.bottom + rows, box.right + cols)
        self.window = wide.intersection(frame) or frame
        self.box = box.shifted(-self.window.top, -self.window.left)
        self.inside = np.zeros(self.window.shape, bool)
        self.inside[self.box.slices] = True
        own = gray[self.window.slices]
        around = own[~self.inside] if not self.inside.all() else own
        dark = own[self.ellipse(0.6)].mean() < np.median(around)
        self.gray: FloatArray = 1 - own if dark else own

    def ellipse(self, share: float = 1.0) -> Mask:
        """Return the ellipse inscribed in the box, or a smaller one in its middle."""
        rows, cols = self.box.shape
        mask = np.zeros(self.window.shape, bool)
        middle = (self.box.top + (rows - 1) / 2, self.box.left + (cols - 1) / 2)
        # a thin box still has pixels on its axis
        radii = (max(share * rows / 2, 0.6), max(share * cols / 2, 0.6))
        mask[ellipse(*middle, *radii, shape=mask.shape)] = True
        return mask


def inscribed_ellipse(crop: Crop) -> Mask:
    """Return the ellipse that touches the box."""
    return crop.ellipse()


def otsu_in_box(crop: Crop) -> Mask:
    """Return the largest part of the box above Otsu's threshold."""
    mask = (crop.gray > _otsu(crop.gray)) & crop.inside
    return _largest(mask) if mask.any() else crop.ellipse()


def marker_watershed(crop: Crop) -> Mask:
    """Flood the gradient from the middle of the box and from outside of it."""
    markers = np.where(crop.inside, 0, 2).astype(np.int32)
    markers[crop.ellipse(0.5)] = 1
    parts = watershed(sobel(gaussian(crop.gray, 1)), markers)
    return np.asarray(parts == 1)


def polar(crop: Crop) -> Mask:
    """Return the closed outline with the strongest edge among those seen along rays.

    Notes
    -----
    Radii are in units of the inscribed ellipse; from ray to ray they differ by one step at
    most, which dynamic programming makes best.  Two turns close the outline.
    """
    angles = np.linspace(0, 2 * np.pi, _RAYS, endpoint=False)
    radii = np.linspace(0.2, 1.4, _RADII)
    rows, cols = crop.box.shape
    middle = crop.box.top + (rows - 1) / 2, crop.box.left + (cols - 1) / 2
    down = middle[0] + np.outer(np.sin(angles) * rows / 2, radii)
    right = middle[1] + np.outer(np.cos(angles) * cols / 2, radii)
    seen = ndimage.map_coordinates(gaussian(crop.gray, 1), [down, right], order=1, mode="nearest")
    edge = -np.gradient(seen, axis=1)
    # a box is drawn around the object, so its outline is near the ellipse
    edge = edge / max(float(edge.max()), 1e-6) - 4.0 * np.square(radii - _FITS)
    steps = _best_path(np.concatenate([edge, edge]))[_RAYS // 2 : _RAYS // 2 + _RAYS]
    steps = np.roll(steps, _RAYS // 2)
    ray = np.arange(_RAYS)
    mask = np.zeros(crop.window.shape, bool)
    mask[polygon(down[ray, steps], right[ray, steps], mask.shape)] = True
    return mask if mask.any() else crop.ellipse()


def _best_path(worth: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return one column for each row, neighbours at most one apart, of the greatest sum."""
    total = worth.copy()
    came = np.zeros(worth.shape, np.intp)
    cols = np.arange(worth.shape[1])
    for row in range(1, len(worth)):
        padded = np.pad(total[row - 1], 1, constant_values=-np.inf)
        choices = np.stack([padded[:-2], padded[1:-1], padded[2:]])
        came[row] = cols + choices.argmax(axis=0) - 1
        total[row] += choices.max(axis=0)
    path = np.empty(len(worth), np.intp)
    path[-1] = int(total[-1].argmax())
    for row in range(len(worth) - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


# --- clicks ---------------------------------------------------------------------------


def flooded(gray: FloatArray, points: Sequence[Point]) -> Mask:
    """Flood from the first click with the tolerance that gives the clearest region."""
    smooth = np.asarray(gaussian(gray, 1), np.float32)
    regions = (flood(smooth, points[0].pixel, tolerance=level) for level in _TOLERANCES)
    return _clearest(smooth, [_filled(one) for one in regions if _is_usable(one)], points)


def threshold_tree(gray: FloatArray, points: Sequence[Point]) -> Mask:
    """Of the components that hold the first click, whole or divided, return the clearest."""
    smooth = np.asarray(gaussian(gray, 1), np.float32)
    dark = smooth[points[0].pixel] < _otsu(smooth)
    return _clearest(smooth, list(_branch(-smooth if dark else smooth, points[0].pixel)), points)


def _is_usable(mask: Mask) -> bool:
    # no object is a large part of the picture, and none is a few pixels
    return bool(_LEAST_AREA <= np.count_nonzero(mask) <= _MOST_SHARE * mask.size)


def _clearest(gray: FloatArray, masks: Sequence[Mask], points: Sequence[Point]) -> Mask:
    """Return the clearest of the masks that agree with most clicks, corrected by the others."""
    if not masks:
        return corrected(gray, np.zeros(gray.shape, bool), points)
    edges = sobel(gray)
    clearness = np.array([_clearness(mask, edges) for mask in masks])
    best = int(np.where(_best_held(masks, points), clearness, -1).argmax())
    return corrected(gray, masks[best], points)


def _best_held(masks: Sequence[Mask], points: Sequence[Point]) -> npt.NDArray[np.bool_]:
    """Return which of the masks agree with as many clicks as any of them."""
    held = np.array([sum(mask[p.pixel] == p.positive for p in points) for mask in masks])
    return np.asarray(held == held.max())


def _branch(gray: FloatArray, pixel: tuple[int, int]) -> Iterator[Mask]:
    low, high = float(np.percentile(gray, 2)), float(gray[pixel])
    for level in low + (high - low) * (np.arange(_LEVELS) + 0.5) / _LEVELS:
        labels, _ = ndimage.label(gray > level)
        own = labels == labels[pixel]
        if labels[pixel] and _is_usable(own):
            near = _surroundings(own)
            whole = own.copy()
            whole[near] = _filled(own[near])
            yield whole
            pieces = np.zeros(own.shape, np.int32)
            pieces[near] = divided(whole[near])
            if pieces.max() > 1 and pieces[pixel]:
                yield pieces == pieces[pixel]


def _surroundings(mask: Mask) -> tuple[slice, slice]:
    rows, cols = ndimage.find_objects(mask.astype(np.int8))[0]
    return (
        slice(max(rows.start - 1, 0), rows.stop + 1),
        slice(max(cols.start - 1, 0), cols.stop + 1),
    )


def _clearness(mask: Mask, edges: FloatArray) -> float:
    """Return mean gradient at the outline × solidity."""
    near = _surroundings(mask)
    own = mask[near]
    rim = own & ~ndimage.binary_erosion(own)
    solidity = np.count_nonzero(own) / max(int(np.count_nonzero(convex_hull_image(own))), 1)
    return float(edges[near][rim].mean() * solidity**2)


def corrected(gray: FloatArray, found: Mask, points: Sequence[Point]) -> Mask:
    """Let all clicks hold: a watershed of the gradient between what each of them claims."""
    if len(points) == 1 or _holds(found, points):
        return found
    core = ndimage.distance_transform_edt(found)
    markers = np.zeros(gray.shape, np.int32)
    markers[(core > 0) & (core >= 0.6 * core.max())] = 1
    markers[~ndimage.binary_dilation(found, iterations=_reach(found))] = 2
    for point in points:
        markers[point.pixel] = 1 if point.positive else 2
    return np.asarray(watershed(sobel(gray), markers) == 1)


def _holds(mask: Mask, points: Sequence[Point]) -> bool:
    return all(mask[point.pixel] == point.positive for point in points)


def _reach(found: Mask) -> int:
    return max(3, round(0.5 * float(np.sqrt(np.count_nonzero(found) / np.pi))))


# --- everything -----------------------------------------------------------------------


def otsu_and_distance(gray: FloatArray, diameter: float | None = None) -> LabelImage:
    """Otsu's threshold, divided at the ridges of the distance transform."""
    return divided(foreground(gray), diameter)


def log_and_watershed(gray: FloatArray, diameter: float | None = None) -> LabelImage:
    """Otsu's threshold, divided around the maxima of the Laplacian of a Gaussian.

    Without a diameter the scale is the one that answers most strongly.
    """
    mask = foreground(gray)
    if not mask.any():
        return mask.astype(np.int32)
    bright = gray if gray[mask].mean() >= gray[~mask].mean() else 1 - gray
    scales = [diameter / (2 * np.sqrt(2))] if diameter else _SIGMAS
    answers = [-(sigma**2) * ndimage.gaussian_laplace(bright, sigma) for sigma in scales]
    seeds = [_peaks(own, sigma, mask) for own, sigma in zip(answers, scales, strict=True)]
    heights = [
        own[at > 0].mean() if at.any() else 0 for own, at in zip(answers, seeds, strict=True)
    ]
    best = int(np.argmax(heights))
    return _numbered(watershed(-answers[best], seeds[best], mask=mask))


def _peaks(values: FloatArray, sigma: float, mask: Mask) -> LabelImage:
    found = peak_local_max(
        values, min_distance=max(1, round(sigma)), threshold_rel=_LEAST_RESPONSE, labels=mask * 1
    )
    seeds = np.zeros(values.shape, np.int32)
    seeds[tuple(found.T)] = np.arange(1, len(found) + 1)
    return seeds


def foreground(gray: FloatArray) -> Mask:
    """Return the smaller of Otsu's two classes, smoothed, without specks."""
    smooth = gaussian(gray, 1)
    mask = smooth > _otsu(smooth)
    mask = mask if mask.mean() <= 0.5 else ~mask
    parts, _ = ndimage.label(mask)
    return _filled(mask & (np.bincount(parts.ravel()) >= _LEAST_AREA)[parts])


def divided(mask: Mask, diameter: float | None = None) -> LabelImage:
    """Label a mask, divided by a watershed of its distance transform."""
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    radius = diameter / 2 if diameter else _typical_depth(distance, mask)
    seeds = np.zeros(mask.shape, np.int32)
    found = peak_local_max(distance, min_distance=max(2, round(0.7 * radius)), labels=mask * 1)
    seeds[tuple(found.T)] = np.arange(1, len(found) + 1)
    return _numbered(watershed(-distance, seeds, mask=mask))


def _typical_depth(distance: FloatArray, mask: Mask) -> float:
    labels, count = ndimage.label(mask)
    depths = ndimage.maximum(distance, labels, np.arange(1, count + 1)) if count else [0.0]
    return float(np.median(depths))


def _numbered(labels: npt.NDArray[np.int32]) -> LabelImage:
    kept = [region for region in regionprops(labels) if region.area >= _LEAST_AREA]
    numbers = np.zeros(int(labels.max()) + 1, np.int32)
    numbers[[region.label for region in kept]] = np.arange(1, len(kept) + 1)
    return np.asarray(numbers[labels], np.int32)


def _otsu(gray: FloatArray) -> float:
    return float(threshold_otsu(gray)) if np.ptp(gray) > 0 else np.inf


def _largest(mask: Mask) -> Mask:
    labels, _ = ndimage.label(mask)
    return _filled(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))


def _filled(mask: Mask) -> Mask:
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


BoxSolver = Callable[[Crop], Mask]

BOX: dict[str, BoxSolver] = {
    "ellipse": inscribed_ellipse,
    "Otsu": otsu_in_box,
    "watershed": marker_watershed,
    "polar": polar,
}
CLICK: dict[str, ClickSolver] = {
    "flood": flooded,
    "threshold tree": threshold_tree,
}
EVERYTHING: dict[str, AllSolver] = {
    "Otsu + distance": otsu_and_distance,
    "LoG + watershed": log_and_watershed,
}
