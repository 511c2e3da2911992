"""Objects → a Labels layer: the right place, the right plane, one undo step.

Nothing that is labelled already is overwritten.  A layer is written in small
steps, so that the window never stalls, and only where something changes.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Image, Labels

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.labels import OverlapRule
from napari_sam3.errors import ImageError
from napari_sam3.layers.describing import describe_image, describe_placement
from napari_sam3.layers.planes import Plane, is_plain
from napari_sam3.layers.transforms import LayerTransform, transform_kwargs

PIXELS_PER_STEP = 80_000
"""Written in one go: a few milliseconds of the window's thread."""

CELLS_PER_STEP = 1 << 20
"""Looked at in one go."""

KNOWN_PER_STEP = 200
"""Objects that are looked at in one go where none is written."""

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
    image : dict
        What is known of the image, as JSON values.
    """

    name: str
    shape: tuple[int, ...]
    transform: LayerTransform
    kwargs: dict[str, Any]
    plane: Plane
    image: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Return the shape of the labels and where they lie, as JSON values."""
        return describe_placement(self.shape, self.kwargs)

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
        if layer.multiscale or not is_plain(layer.data):
            return f"“{layer.name}” cannot be edited, since its data are not a plain array"
        if not (layer.data.flags.writeable and layer.editable):
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
        # a coarse pixel's centre lies amid the fine ones, not on the first of them
        first = np.append(transform.linear @ centre + transform.offset, 1)
        translate = (np.linalg.inv(image.affine.affine_matrix) @ first)[:-1]
        kwargs |= {"scale": np.asarray(image.scale) * factors, "translate": translate}
        transform = LayerTransform(
            transform.linear * factors, transform.linear @ centre + transform.offset
        )
    name = f"{image.name} objects"
    return OutputPlace(name, shape, transform, kwargs, plane, describe_image(image))


def picture_kwargs(place: OutputPlace, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the keyword arguments that lay a picture of the plane over the plane.

    Parameters
    ----------
    place : OutputPlace
    shape : tuple of int
        (rows, cols, …) of the picture, which may have fewer pixels than the plane.
    """
    factors = np.asarray(place.plane.shape) / np.asarray(shape[:2])
    pixels = np.array([(0, 0), (1, 0), (0, 1)])
    first, *others = place.plane.to_canvas((pixels + 0.5) * factors - 0.5)
    matrix = np.eye(3)
    matrix[:2] = np.stack([*(other - first for other in others), first], axis=1)
    return {"affine": matrix}


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
    covered : dict
        Index of the instance to its label, for those that others of the same run hide.
    unseen : int
        How many are on record, but rejected or filtered out, and so left out.
    """

    labels: dict[int, int] = field(default_factory=dict)
    areas: dict[int, int] = field(default_factory=dict)
    known: int = 0
    hidden: int = 0
    covered: dict[int, int] = field(default_factory=dict)
    unseen: int = 0


def write_instances(
    layer: Labels,
    plane: Plane,
    instances: Instances,
    *,
    rule: OverlapRule = "score",
    replaced: Mapping[int, int] | None = None,
    former: Collection[Instance] | None = None,
    skip_known: bool = False,
    is_known: Callable[[Instance], bool] | None = None,
    first_label: int | None = None,
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
    former : collection of Instance, optional
        What the replaced labels were written with: only there are they taken away, so
        that what was painted by hand with such a label stays.  Default is everywhere.
    skip_known : bool
        Leave out objects of which more than half is labelled already.
    is_known : callable, optional
        With `skip_known`, leave out these objects, too.
    first_label : int, optional
        New labels are not lower than this; default is the `next_free_label`.

    Yields
    ------
    None

    Returns
    -------
    Written
    """
    replaced = replaced or {}
    first_new = next_free_label(layer, plane) if first_label is None else first_label
    make_room(layer, first_new + len(instances) - len(replaced) - 1)
    writer = _PlaneWriter(layer, plane, replaced.values(), former)
    labels: dict[int, int] = {}
    areas: dict[int, int] = {}
    left_out: Counter[str] = Counter()
    covered, next_label = list[int](), first_new
    # closed and not left: what is written can be undone even if the run is broken off
    with closing(ExitStack()) as one_undo_step:
        one_undo_step.enter_context(layer.block_history())
        for index in instances.top_first(rule):
            item = instances[index]
            own = replaced.get(index)
            is_new = own is None and skip_known
            why_not = _why_not(writer, item, first_new, is_known) if is_new else None
            if why_not is not None:
                left_out[why_not] += 1
                if left_out.total() % KNOWN_PER_STEP == 0:
                    yield
                continue
            label = next_label if own is None else own
            area = yield from writer.paint(item, label)
            if area:
                labels[index], areas[label] = label, area
                next_label += own is None
            else:
                covered.append(index)
        yield from writer.finish()
    # what earlier runs hide is there already; what its own run hides is an object all the same
    own_labels = itertools.count(next_label)
    hidden = {index: next(own_labels) for index in covered} if skip_known else {}
    shown = dict(sorted(labels.items()))
    known, unseen = left_out["known"], left_out["unseen"]
    return Written(shown, areas, known, len(covered), hidden, unseen)


def _why_not(
    writer: _PlaneWriter,
    item: Instance,
    first_new: int,
    is_unseen: Callable[[Instance], bool] | None,
) -> str | None:
    if writer.knows(item, first_new):
        return "known"
    return "unseen" if is_unseen is not None and is_unseen(item) else None


class _PlaneWriter:
    """Collects changed pixels of one plane and writes them step by step.

    Free for new objects is what carries no label, or one that is replaced.
    """

    def __init__(
        self,
        layer: Labels,
        plane: Plane,
        replaced: Collection[int],
        former: Collection[Instance] | None,
    ) -> None:
        self.layer = layer
        self.plane = plane
        self._former = np.full(self.view.shape, former is None)
        for item in former or ():
            self._former[item.box.slices] |= item.mask
        self._replaced = np.asarray(list(replaced), dtype=int)
        # what is planned but not yet written, so that objects of one run respect each other
        self._taken = np.zeros(self.view.shape, dtype=bool)
        # rows, columns and values, each of shape (3, n)
        self._planned: deque[npt.NDArray[np.intp]] = deque()
        self._waiting = 0

    @property
    def view(self) -> IntArray:
        """The plane as it is now."""
        plane: IntArray = self.plane.cut(self.layer.data)
        return plane

    def knows(self, item: Instance, first_new: int) -> bool:
        """Whether most of an object carries labels of earlier runs that stay."""
        shown = self.view[item.box.slices][item.mask]
        former = self._former[item.box.slices][item.mask]
        earlier = ~self._is_free(shown, former) & (shown < first_new)
        return bool(np.count_nonzero(earlier) > COVERED * shown.size)

    def paint(self, item: Instance, label: int) -> Generator[None, None, int]:
        """Paint an object on free pixels; return how many it gets."""
        area = 0
        for band in _bands(item.box):
            inner = band.shifted(-item.box.top, -item.box.left)
            pixels = item.mask[inner.slices] & ~self._taken[band.slices]
            pixels &= self._is_free(self.view[band.slices], self._former[band.slices])
            self._taken[band.slices] |= pixels
            area += self._plan(pixels, label, band)
            yield from self._write_full_steps()
        return area

    def finish(self) -> Generator[None, None, None]:
        """Erase what is left of the replaced labels, and write all that is planned."""
        if self._replaced.size:
            for band in _bands(Box.of_shape(self.view.shape)):
                old = np.isin(self.view[band.slices], self._replaced)
                self._plan(old & ~self._taken[band.slices], 0, band)
                yield from self._write_full_steps()
        while self._waiting:
            self._write_step()
            yield

    def _is_free(self, values: IntArray, former: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        free = np.asarray(values == 0)
        if self._replaced.size:
            free |= former & np.isin(values, self._replaced)
        return free

    def _plan(self, pixels: npt.NDArray[np.bool_], value: int, box: Box) -> int:
        rows, cols = np.nonzero(pixels)
        self._planned.append(np.stack([rows + box.top, cols + box.left, np.full_like(rows, value)]))
        self._waiting += rows.size
        return rows.size

    def _write_full_steps(self) -> Generator[None, None, None]:
        while self._waiting >= PIXELS_PER_STEP:
            self._write_step()
            yield

    def _write_step(self) -> None:
        rows, cols, values = self._next_step()
        # the user may have painted there since
        still = self._is_free(self.view[rows, cols], self._former[rows, cols])
        values = values[still].astype(self.layer.data.dtype)
        self.layer.data_setitem(self._indices(rows[still], cols[still]), values)

    def _next_step(self) -> npt.NDArray[np.intp]:
        parts: list[npt.NDArray[np.intp]] = []
        room = min(self._waiting, PIXELS_PER_STEP)
        self._waiting -= room
        while room:
            part = self._planned.popleft()
            if part.shape[1] > room:
                self._planned.appendleft(part[:, room:])
                part = part[:, :room]
            parts.append(part)
            room -= part.shape[1]
        return np.concatenate(parts, axis=1)

    def _indices(
        self, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.intp], ...]:
        shown = dict(zip(self.plane.shown, (rows, cols), strict=True))
        fixed = self.plane.level_index()
        return tuple(
            shown[axis] if axis in shown else np.full(rows.size, fixed[axis])
            for axis in range(self.plane.ndim)
        )


def _bands(box: Box) -> Iterator[Box]:
    """Cut a box into bands of rows of no more than about `CELLS_PER_STEP` pixels."""
    step = max(1, CELLS_PER_STEP // box.shape[1])
    for top in range(box.top, box.bottom, step):
        yield Box(top, box.left, min(box.bottom, top + step), box.right)


def iter_is_empty(layer: Labels) -> Generator[None, None, bool]:
    """Look, some milliseconds at a time, whether a layer holds no label; return that."""
    data = layer.data
    blocks = data if data.ndim > 2 else [data]
    looked_at = 0
    for block in blocks:
        for rows in np.array_split(block, -(-block.size // CELLS_PER_STEP) or 1):
            if rows.any():
                return False
            looked_at += rows.size
            if looked_at >= CELLS_PER_STEP:
                looked_at = 0
                yield
    return True


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
    in_plane = plane.cut(layer.data).max(initial=0)
    index = pd.to_numeric(_indexed(layer)["index"], errors="coerce").fillna(0)
    in_features = index.max() if len(index) else 0
    return max(int(in_plane), int(in_features), highest) + 1


def _indexed(layer: Labels) -> pd.DataFrame:
    """Return the features with a column for the label."""
    features = layer.features
    # without it, napari takes the row's number for the label
    return features if "index" in features else features.assign(index=np.arange(len(features)))


def make_room(layer: Labels, highest: int) -> None:
    """Widen the layer's type where labels up to this one do not fit in it."""
    own = layer.data.dtype
    # signed ones stay signed, as there may be negative labels
    for dtype in (own, *(np.dtype(f"{own.kind}{size}") for size in (2, 4, 8))):
        if highest <= np.iinfo(dtype).max:
            if dtype != own:
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
        Label to column to value; other columns of a label that has a row already stay.
    removed : tuple of int
        Labels whose rows are dropped.
    """
    old = _indexed(layer)
    if not pd.api.types.is_numeric_dtype(old["index"]):
        # a table about something else than labels; it is not ours to change
        return
    kept = old[~old["index"].isin([*rows, *removed])]
    new = pd.DataFrame([{"index": label, **values} for label, values in rows.items()])
    earlier = old[old["index"].isin([*rows])]
    if len(earlier):
        others = ["index", *old.columns.difference(new.columns, sort=False)]
        new = new.merge(earlier[others], on="index", how="left")
    parts = [part for part in (kept, new) if len(part)]
    if not parts:
        layer.features = kept
        return
    joined = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    layer.features = joined.sort_values("index", ignore_index=True)
