"""A picture as the algorithms want it: one gray plane per question, and a small cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from napari_sam3.core.arrays import RGB8, BoolArray, Float32Array, Float64Array
from napari_sam3.core.geometry import Box

_SAMPLES = 60_000
_FLAT = 0.75
_FEW_VALUES = 8


class Scene:
    """One picture and what is derived from it once, whatever is asked.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
        Only read, never written.
    """

    def __init__(self, rgb: RGB8) -> None:
        self.rgb = rgb
        self.is_gray = is_gray(rgb)
        self.box = Box.of_shape((rgb.shape[0], rgb.shape[1]))
        # what the whole-image search found: written once, equal whoever writes it
        self.memo: dict[str, Any] = {}

    @cached_property
    def spread(self) -> float:
        """Range of gray values that counts as strong contrast, ≥ 1.

        From the darkest to the brightest percent; where objects are so few that this is
        only noise, half of the whole range.
        """
        low, high = np.percentile(_sampled(self.gray), (1, 99))
        return max(float(high - low), float(np.ptp(self.gray)) / 2, 1.0)

    @cached_property
    def axis(self) -> Float32Array:
        """Weights of red, green and blue in the gray plane."""
        if self.is_gray:
            return np.array([1, 0, 0], np.float32)
        return separating_axis(_sampled(self.rgb).astype(np.float32))

    @cached_property
    def gray(self) -> Float32Array:
        """The whole picture on its `axis`, shape (rows, cols)."""
        return project(self.rgb, self.axis)

    def window(self, box: Box, axis: Float32Array | None = None) -> Float32Array:
        """Return one part of the picture as gray.

        Parameters
        ----------
        box : Box
            Inside the picture.
        axis : ndarray of float32, shape (3,), optional
            Weights of the channels; the picture's own `axis` by default.

        Returns
        -------
        ndarray of float32, shape ``box.shape``
        """
        return project(self.rgb[box.slices], self.axis if axis is None else axis)

    def contrast_axis(self, rgb: RGB8, inside: BoolArray, outside: BoolArray) -> Float32Array:
        """Return the weights of the channels that best separate two sets of pixels of a window.

        Parameters
        ----------
        rgb : ndarray of uint8, shape (rows, cols, 3)
            The window's pixels.
        inside, outside : ndarray of bool, shape (rows, cols)
            Pixels of the object and of what surrounds it.

        Returns
        -------
        ndarray of float32, shape (3,)
            Fisher's linear discriminant [1]_, with a ridge because the channels
            of a micrograph are often almost equal.

        References
        ----------
        .. [1] R. A. Fisher, "The use of multiple measurements in taxonomic
           problems", Annals of Eugenics 7 (1936).
        """
        if self.is_gray or not inside.any() or not outside.any():
            return self.axis
        pixels = rgb.astype(np.float32)
        own, other = pixels[inside], pixels[outside]
        scatter = _scatter(own) + _scatter(other)
        ridge = 0.1 * float(np.trace(scatter)) / 3 + 1.0
        axis = np.linalg.solve(scatter + ridge * np.eye(3), own.mean(axis=0) - other.mean(axis=0))
        length = float(np.abs(axis).sum())
        return (axis / length).astype(np.float32) if length > 0 else self.axis


class LastOnes(OrderedDict[Any, Any]):
    """A dict that forgets what was not wanted for longest once it holds too much.

    May be used from several threads.

    Parameters
    ----------
    size : int
        Number of entries kept.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._lock = threading.RLock()

    def __setitem__(self, key: Any, value: Any) -> None:
        with self._lock:
            super().__setitem__(key, value)
            if len(self) > self._size:
                super().__delitem__(next(iter(self)))

    def made(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return an entry, made if it is missing, which is now the one wanted last."""
        with self._lock:
            if key not in self:
                self[key] = make()
            self.move_to_end(key)
            return self[key]


def one_plane(rgb: RGB8) -> RGB8:
    """Return gray as one plane that is repeated in memory, and colours as they are."""
    if rgb.strides[2] == 0 or not is_gray(rgb):
        return rgb
    return np.broadcast_to(rgb[:, :, :1].copy(), rgb.shape)


def is_gray(rgb: RGB8) -> bool:
    """Whether the three channels are equal everywhere; free for a broadcast plane."""
    if rgb.strides[2] == 0:
        return True
    # a coarse look settles nearly every colour picture
    return _channels_equal(rgb[::16, ::16]) and _channels_equal(rgb)


def _channels_equal(rgb: RGB8) -> bool:
    first = rgb[:, :, 0]
    return np.array_equal(first, rgb[:, :, 1]) and np.array_equal(first, rgb[:, :, 2])


def project(rgb: RGB8, axis: Float32Array) -> Float32Array:
    """Return the weighted sum of the channels, shape (rows, cols), float32."""
    used = np.flatnonzero(axis)
    if used.size == 1:
        single: Float32Array = rgb[:, :, used[0]].astype(np.float32) * axis[used[0]]
        return single
    gray: Float32Array = rgb.astype(np.float32) @ axis
    return gray


def separating_axis(pixels: Float32Array) -> Float32Array:
    """Return the channel, or first principal axis, whose histogram has two clearest peaks.

    Parameters
    ----------
    pixels : ndarray of float32, shape (n, 3)

    Returns
    -------
    ndarray of float32, shape (3,)

    Notes
    -----
    Clearness is Otsu's ratio of the variance between two classes to the whole
    variance [1]_.  Stains absorb in one channel more than in the others: for
    haematoxylin that is red, which eosin lets pass.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms",
       IEEE Trans. Systems, Man and Cybernetics 9 (1979).
    """
    _, vectors = np.linalg.eigh(_scatter(pixels) + 1e-3 * np.eye(3))
    principal = vectors[:, -1] / np.abs(vectors[:, -1]).sum()
    axes = [*np.eye(3), principal * (1 if principal.sum() >= 0 else -1)]
    best = max(axes, key=lambda axis: _between_class_variance(pixels @ axis))
    return np.asarray(best, np.float32)


def _between_class_variance(values: npt.NDArray[Any]) -> float:
    if np.ptp(values) == 0:
        return 0.0
    above = values > float(threshold_otsu(values))  # type: ignore[no-untyped-call]
    share = float(above.mean())
    if share in (0.0, 1.0):
        return 0.0
    step = float(values[above].mean() - values[~above].mean())
    return share * (1 - share) * step**2


def _scatter(pixels: Float32Array) -> Float64Array:
    if len(pixels) < 2:
        return np.zeros((3, 3))
    return np.asarray(np.cov(pixels.T), np.float64)


def _sampled(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    step = max(1, int(np.sqrt(plane.shape[0] * plane.shape[1] / _SAMPLES)))
    part = plane[::step, ::step]
    return part.reshape(-1, *part.shape[2:])


def smoothed(gray: Float32Array) -> Float32Array:
    """Return gray without pixel noise; what has none keeps its corners.

    Parameters
    ----------
    gray : ndarray of float32, shape (rows, cols)

    Returns
    -------
    ndarray of float32, shape (rows, cols)
    """
    if is_drawn(gray):
        return gray
    smooth: Float32Array = gaussian_filter(gray, 1.0)
    return smooth


def is_drawn(gray: Float32Array) -> bool:
    """Whether there are few gray values and most neighbours are equal, as in no photograph."""
    flat = gray[:, 1:] == gray[:, :-1]
    if flat.size and float(flat.mean()) < _FLAT:
        return False
    return np.unique(gray).size <= _FEW_VALUES
