"""Objects → a Labels layer: the right place, the right plane, one undo step.

Nothing that is labelled already is overwritten.  A layer is written in small
steps, so that the window never stalls, and only where something changes.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Image, Labels

from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OverlapRule, bottom_to_top
from napari_sam3.errors import ImageError
from napari_sam3.layers.planes import Plane
from napari_sam3.layers.transforms import LayerTransform, transform_kwargs

PIXELS_PER_STEP = 40_000
"""Written in one go: a few milliseconds of the window's thread."""

COVERED = 0.5
"""An object is known already once this part of it carries labels of earlier runs."""

METADATA_KEY = "napari_sam3"
FEATURES = ("score", "area", "prompt", "engine")

IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class OutputPlace:
    """Where the objects of an image belong, kept even if the image is removed.

    Parameters
    ----------
    name : str
        For a new layer.
    shape : tuple of int
        Of the image's whole extent, at the plane's level.
    transform : LayerTransform
        Of that level.
    kwargs : dict
        Scale, translate and so on, for a new layer.
    plane : Plane
        The plane that is written.
    """

    name: str
    shape: tuple[int, ...]
    transform: LayerTransform
    kwargs: dict[str, Any]
    plane: Plane

    def new_layer(self) -> Labels:
        """Make an empty Labels layer over the whole image; not yet in a viewer.

        Raises
        ------
        ImageError
            If the image is too large for a label image in memory.
        """
        try:
            # 16 bits: a 32-bit layer takes napari four times as long to show
            data = np.zeros(self.shape, np.uint16)
        except (MemoryError, ValueError) as error:
            raise ImageError(
                f"A Labels layer of shape {self.shape} does not fit in memory; "
                "crop the image, or segment a multiscale one."
            ) from error
        return Labels(data, name=self.name, metadata={METADATA_KEY: {}}, **self.kwargs)

    def misfit(self, layer: Labels) -> str:
        """Return why a layer cannot take these objects; empty if it can."""
        if layer.multiscale or not isinstance(layer.data, np.ndarray):
            return f"“{layer.name}” cannot be edited, since its data are not a plain array"
        if not layer.data.flags.writeable:
            return f"“{layer.name}” is read-only"
        if layer.data.shape != self.shape:
            return f"“{layer.name}” has the shape {layer.data.shape}, not {self.shape}"
        if not LayerTransform.of(layer).matches(self.transform):
            return f"“{layer.name}” lies in another place than the image"
        return ""


def find_output_place(image: Image, plane: Plane) -> OutputPlace:
    """Find where the objects on a plane of an image belong."""
    kwargs = transform_kwargs(image)
    data = image.data[plane.level] if image.multiscale else image.data
    shape = tuple(data.shape[: image.ndim])
    transform = plane.transform
    if plane.level:
        factors = np.asarray(plane.factors)
        centre = (factors - 1) / 2
        own = np.asarray(image.scale) * factors
        # a coarse pixel's centre lies amid the fine ones, not on the first of them
        flat = Image(np.zeros((1,) * image.ndim), **{**kwargs, "affine": np.eye(image.ndim + 1)})
        kwargs |= {"scale": own, "translate": np.asarray(flat.data_to_world(centre))}
        transform = LayerTransform(
            transform.linear * factors, transform.linear @ centre + transform.offset
        )
    return OutputPlace(f"{image.name} objects", shape, transform, kwargs, plane)


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What a run left in the layer.

    Parameters
    ----------
    labels : dict
        Index of the instance to its label, for those that can be seen.
    areas : dict
        Label to the number of pixels that it got.
    known : int
        How many were labelled already, and so left as they are.
    hidden : int
        How many have no pixel of their own, under others.
    """

    labels: dict[int, int] = field(default_factory=dict)
    areas: dict[int, int] = field(default_factory=dict)
    known: int = 0
    hidden: int = 0


def write_instances(
    layer: Labels,
    plane: Plane,
    instances: Instances,
    *,
    rule: OverlapRule = "score",
    replaced: Mapping[int, int] | None = None,
    skip_known: bool = False,
    first_label: int = 1,
) -> Generator[None, None, Written]:
    """Write objects into a plane of a Labels layer as one undo step.

    Each step of the generator takes a few milliseconds; between two of them the
    window may live.  Pixels that carry another label are left alone.

    Parameters
    ----------
    layer : Labels
        Fitting, as `OutputPlace.misfit` tells.
    plane : Plane
    instances : Instances
        In pixels of the plane.
    rule : {"score", "smallest", "first"}
        Which of the new objects shows where they overlap.
    replaced : mapping, optional
        Index of an instance to the label that it takes the place of.
    skip_known : bool
        Leave out objects of which more than half is labelled already.
    first_label : int
        New labels are not lower than this.

    Yields
    ------
    None

    Returns
    -------
    Written
    """
    replaced = replaced or {}
    _make_room(layer, first_label + len(instances))
    writer = _PlaneWriter(layer, plane)
    labels: dict[int, int] = {}
    areas: dict[int, int] = {}
    known, hidden, next_label = 0, 0, first_label
    before = _BeforeRun(writer.view)
    with ExitStack() as one_undo_step:
        one_undo_step.enter_context(layer.block_history())
        for index in reversed(bottom_to_top(instances, rule)):
            item = instances[index]
            own = replaced.get(index)
            if own is None and skip_known and before.is_known(item, first_label):
                known += 1
                continue
            label = next_label if own is None else own
            area = writer.paint(item, label, erase=own is not None)
            if area:
                labels[index], areas[label] = label, area
                next_label += own is None
            else:
                hidden += 1
            while writer.flush():
                yield
        while writer.flush(rest=True):
            yield
    return Written(dict(sorted(labels.items())), areas, known, hidden)


@dataclass(frozen=True, slots=True, eq=False)
class _BeforeRun:
    """Tells what was labelled before this run, whose labels are all new."""

    view: IntArray

    def is_known(self, item: Instance, first_new: int) -> bool:
        shown = self.view[item.box.slices][item.mask]
        earlier = np.count_nonzero((shown > 0) & (shown < first_new))
        return bool(earlier > COVERED * shown.size)


class _PlaneWriter:
    """Collects changed pixels of one plane and writes them step by step."""

    def __init__(self, layer: Labels, plane: Plane) -> None:
        self.layer = layer
        self.plane = plane
        self.view: IntArray = plane.cut(layer.data)
        # what is planned but not yet written, so that objects of one run respect each other
        self._taken = np.zeros(self.view.shape, dtype=bool)
        self._rows: list[npt.NDArray[np.intp]] = []
        self._cols: list[npt.NDArray[np.intp]] = []
        self._values: list[IntArray] = []
        self._waiting = 0

    def paint(self, item: Instance, label: int, *, erase: bool) -> int:
        """Plan to paint an object on free pixels; return how many it gets."""
        slices = item.box.slices
        shown = self.view[slices]
        free = item.mask & ~self._taken[slices]
        free &= (shown == 0) | (shown == label) if erase else shown == 0
        count = int(np.count_nonzero(free))
        if erase:
            self._erase_outside(label, item, free)
        if count:
            self._taken[slices] |= free
            self._plan(free, label, slices)
        return count

    def _erase_outside(self, label: int, item: Instance, free: npt.NDArray[np.bool_]) -> None:
        old = self.view == label
        old[item.box.slices] &= ~free
        self._plan(old, 0, (slice(0, None), slice(0, None)))

    def _plan(self, pixels: npt.NDArray[np.bool_], value: int, slices: tuple[slice, slice]) -> None:
        rows, cols = np.nonzero(pixels)
        self._rows.append(rows + slices[0].start)
        self._cols.append(cols + slices[1].start)
        self._values.append(np.full(rows.size, value, self.view.dtype))
        self._waiting += rows.size

    def flush(self, *, rest: bool = False) -> bool:
        """Write one step's worth; return whether anything was written."""
        if not self._waiting or (self._waiting < PIXELS_PER_STEP and not rest):
            return False
        rows, cols = np.concatenate(self._rows), np.concatenate(self._cols)
        values = np.concatenate(self._values)
        now, later = slice(0, PIXELS_PER_STEP), slice(PIXELS_PER_STEP, None)
        self._rows, self._cols, self._values = [rows[later]], [cols[later]], [values[later]]
        self._waiting = max(0, rows.size - PIXELS_PER_STEP)
        self.layer.data_setitem(self._indices(rows[now], cols[now]), values[now])
        return True

    def _indices(
        self, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.intp], ...]:
        shown = dict(zip(self.plane.shown, (rows, cols), strict=True))
        fixed = self.plane.level_index()
        return tuple(
            shown[axis] if axis in shown else np.full(rows.size, fixed[axis])
            for axis in range(self.plane.ndim)
        )


def next_free_label(layer: Labels, plane: Plane, highest: int = 0) -> int:
    """Return a label that neither the plane, nor the features, nor `highest` use.

    Parameters
    ----------
    layer : Labels
    plane : Plane
        The plane that will be written; others are not read.
    highest : int
        The highest label known to be used elsewhere.
    """
    view = plane.cut(layer.data)
    features = layer.features.get("index")
    in_features = 0 if features is None or not len(features) else int(np.max(features))
    return max(int(view.max(initial=0)), in_features, highest) + 1


def _make_room(layer: Labels, highest: int) -> None:
    """Widen the layer's type where the new labels do not fit in it."""
    for dtype in (layer.data.dtype, np.dtype(np.uint16), np.dtype(np.uint32)):
        if highest <= np.iinfo(dtype).max:
            if dtype != layer.data.dtype:
                layer.data = layer.data.astype(dtype)
            return


def add_features(
    layer: Labels, rows: Mapping[int, Mapping[str, Any]], removed: tuple[int, ...] = ()
) -> None:
    """Note something about labels in the layer's features table.

    Parameters
    ----------
    layer : Labels
    rows : mapping
        Label to column to value; a label that has a row already gets a new one.
    removed : tuple of int
        Labels whose rows are dropped.
    """
    old = layer.features
    if "index" not in old:
        old = pd.DataFrame({"index": np.empty(0, int)})
    kept = old[~old["index"].isin([*rows, *removed])]
    new = pd.DataFrame([{"index": label, **values} for label, values in rows.items()])
    parts = [part for part in (kept, new) if len(part)]
    if not parts:
        layer.features = kept
        return
    joined = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    layer.features = joined.sort_values("index", ignore_index=True)
