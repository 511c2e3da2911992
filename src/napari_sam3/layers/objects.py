"""The record behind a Labels layer: its objects whole, overlaps and hidden ones included.

A Labels layer shows one object per pixel.  The record lies in the layer's metadata and keeps
each object's whole mask, its score, and what a person said of it, so that what is shown can be
filtered, reordered and taken back without a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from napari.layers import Labels

from napari_sam3.core.instances import Instance, common_area
from napari_sam3.core.object_json import StoredObjects, StoredPlane
from napari_sam3.core.objects import PlaneObject
from napari_sam3.core.painting import PaintRule, paint_objects
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.undoing import undone_labels
from napari_sam3.core.viewing import View, hidden_labels
from napari_sam3.layers.planes import Plane, is_plain

OBJECTS_KEY = "napari_sam3_objects"

OWN_COLUMNS = ("score", "area", "concept", "engine", "state")
"""By these a table is known as one that this plugin has written."""

SAME = 0.5
"""Two objects are the same above this IoU."""

LOOKED_AT_ONCE = 500
LABEL_BYTES = 4
"""Of the widest type that label images have on disk."""

IntArray = npt.NDArray[np.integer[Any]]
Objects = dict[int, PlaneObject]
"""By label."""


def flaw_of(layer: Labels) -> str:
    """Return why the objects of a layer cannot be reviewed; empty if they can."""
    data = layer.data
    if layer.multiscale or not is_plain(data):
        return f"“{layer.name}” cannot be reviewed, since its data are not a plain array."
    if not data.flags.writeable:
        return f"“{layer.name}” cannot be reviewed, since it is read-only."
    if data.dtype.itemsize > LABEL_BYTES and data.max(initial=0) > np.iinfo(np.uint32).max:
        return f"“{layer.name}” cannot be reviewed: its labels go beyond {np.iinfo(np.uint32).max}."
    return ""


def plane_index(plane: Plane) -> PlaneIndex:
    """Return the plane of the labels that lie over a plane of an image."""
    at = plane.level_index()
    fixed = (at[axis] for axis in plane.hidden)
    return PlaneIndex(plane.shown, tuple(int(i) for i in fixed if not isinstance(i, slice)))


@dataclass(slots=True, eq=False)
class PlaneRecord:
    """The objects of one plane.

    Parameters
    ----------
    objects : dict
        By label.
    expected : ndarray of int, shape (rows, cols)
        What was painted for them; where the layer differs, somebody else painted.
    hidden : frozenset of int
        The labels that were not painted.
    rule : {"", "score", "smallest", "first"}
        By which it was painted.
    undone : dict
        By label, the objects of runs that were taken back; they come back with a redo.
    """

    objects: Objects
    expected: IntArray
    hidden: frozenset[int] = frozenset()
    rule: PaintRule = ""
    undone: Objects = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the plane."""
        rows, cols = self.expected.shape
        return rows, cols


@dataclass(slots=True, eq=False)
class ObjectRecord:
    """All objects of a layer.

    Parameters
    ----------
    planes : dict
        `PlaneIndex` to `PlaneRecord`.
    view : View
        Which of the objects are shown.
    version : int
        Counts up with every change.
    writers : int
        How many runs are just being written into the layer.
    aside : list of PlaneRecord
        Of planes that had another shape; kept as long as the layer.
    owner : hashable, optional
        Which layer it is of.
    """

    planes: dict[PlaneIndex, PlaneRecord] = field(default_factory=dict)
    view: View = field(default_factory=View)
    version: int = 0
    writers: int = 0
    aside: list[PlaneRecord] = field(default_factory=list)
    owner: Hashable = None

    @classmethod
    def of(cls, layer: Labels) -> ObjectRecord:
        """Return the record of a layer; an empty one is put there if it has none."""
        found = cls.find(layer)
        if found is None:
            found = layer.metadata[OBJECTS_KEY] = cls(owner=layer.unique_id)
        return found

    @classmethod
    def find(cls, layer: Labels) -> ObjectRecord | None:
        """Return the record of a layer, if it has one."""
        found = layer.metadata.get(OBJECTS_KEY)
        if not isinstance(found, cls):
            return None
        if found.owner not in (None, layer.unique_id):
            # a duplicated layer has the metadata of the other one, not a copy of it
            found = layer.metadata[OBJECTS_KEY] = found.copied()
        found.owner = layer.unique_id
        for index in [index for index in found.planes if index.ndim != layer.ndim]:
            found.aside.append(found.planes.pop(index))
        return found

    def copied(self) -> ObjectRecord:
        """Return a record of the same objects that can be changed by itself."""
        planes = {
            index: replace(
                plane,
                objects=dict(plane.objects),
                expected=plane.expected.copy(),
                undone=dict(plane.undone),
            )
            for index, plane in self.planes.items()
        }
        return ObjectRecord(planes, self.view, self.version)

    def plane(self, index: PlaneIndex, shape: tuple[int, int]) -> PlaneRecord:
        """Return the record of a plane of this shape; an empty one is begun if there is none."""
        known = self.planes.get(index)
        if known is not None and known.shape != shape:
            self.aside.append(self.planes.pop(index))
            known = None
        if known is None:
            known = self.planes[index] = PlaneRecord({}, np.zeros(shape, np.uint16))
        return known

    def find_index(self, index: PlaneIndex) -> PlaneIndex:
        """Return the plane as it is on record, whose rows may be the columns that are shown."""
        turned = PlaneIndex((index.shown[1], index.shown[0]), index.fixed)
        return turned if index not in self.planes and turned in self.planes else index

    def crosses(self, index: PlaneIndex) -> bool:
        """Whether a plane that is not on record runs across others that are.

        Its pixels are theirs, so that each object would be counted once more.
        """
        filled = [known for known, plane in self.planes.items() if plane.objects]
        return index not in filled and any(set(i.shown) != set(index.shown) for i in filled)

    def __len__(self) -> int:
        return sum(len(plane.objects) for plane in self.planes.values())

    def all_objects(self) -> list[PlaneObject]:
        """Return all objects of all planes."""
        return [one for plane in self.planes.values() for one in plane.objects.values()]

    def planes_of(self, label: int) -> list[PlaneIndex]:
        """Return the planes in which a label stands for an object."""
        return [index for index, plane in self.planes.items() if label in plane.objects]

    @property
    def highest_label(self) -> int:
        """The highest label in use, 0 if there is none."""
        return max((max(p.objects, default=0) for p in self.planes.values()), default=0)

    def to_stored(self) -> StoredObjects:
        """Return what of the record is kept on disk."""
        planes = (
            StoredPlane(index, plane.shape, dict(plane.objects))
            for index, plane in self.planes.items()
            if plane.objects
        )
        return StoredObjects(tuple(planes), self.view)

    @classmethod
    def from_stored(cls, stored: StoredObjects) -> ObjectRecord:
        """Return a record as it was kept, for a label image that shows it by its view."""
        planes = {}
        for plane in stored.planes:
            listed = list(plane.objects.values())
            hidden = frozenset(hidden_labels(listed, plane.shape, stored.view))
            expected = paint_objects(listed, plane.shape, rule=stored.view.rule, hidden=hidden)
            planes[plane.index] = PlaneRecord(
                dict(plane.objects), expected, hidden, stored.view.rule
            )
        return cls(planes, stored.view)

    def change(self, index: PlaneIndex, objects: Mapping[int, PlaneObject]) -> None:
        """Put objects, by label, in the place of those of a plane that is on record."""
        if index in self.planes:
            self.planes[index].objects.update(objects)
            self.version += 1


def add_written(
    layer: Labels,
    index: PlaneIndex,
    instances: Mapping[int, Instance],
    *,
    engine: str,
    former: Iterable[Instance] = (),
    sources: Mapping[int, tuple[str, int, int]] | None = None,
) -> None:
    """Add to the record what a run has just written into a plane.

    Parameters
    ----------
    layer : Labels
    index : PlaneIndex
    instances : mapping
        Label to object, those that are hidden under others included, from top to bottom.
    engine : str
        The title of what found them.
    former : iterable of Instance
        What replaced labels had been written with.
    sources : mapping, optional
        Label to the answer that the object is from.
    """
    record = ObjectRecord.of(layer)
    actual = index.cut(layer.data)
    plane = record.plane(index, actual.shape)
    _make_room(plane, actual.dtype)
    for old in former:
        area = plane.expected[old.box.slices]
        # what stands there now, if anything, was painted by somebody else
        gone = old.mask & (area != actual[old.box.slices]) & np.isin(area, list(instances))
        area[gone] = 0
    depth = max((one.depth for one in plane.objects.values()), default=0) + 1
    for place, (label, item) in enumerate(instances.items()):
        known = plane.objects.get(label)
        area = plane.expected[item.box.slices]
        area[item.mask & (actual[item.box.slices] == label)] = label
        if known is not None:
            # what was painted by hand with its label stayed
            still = _still_shown(known, actual)
            item = item if still is None else item.joined(still)
        at = depth + place if known is None else known.depth
        source = (sources or {}).get(label)
        plane.objects[label] = PlaneObject(label, item, engine, depth=at, source=source)
    record.version += 1


def _still_shown(one: PlaneObject, actual: IntArray) -> Instance | None:
    box = one.instance.box
    mask = one.instance.mask & (actual[box.slices] == one.label)
    return Instance(mask, box) if mask.any() else None


def _make_room(plane: PlaneRecord, dtype: np.dtype[Any]) -> None:
    if plane.expected.dtype != dtype:
        plane.expected = plane.expected.astype(dtype)


def iter_take_undone(layer: Labels, index: PlaneIndex) -> Generator[None, None, tuple[int, ...]]:
    """Take objects of runs that were undone off the record, before another run is written.

    Yields
    ------
    None
        Every few milliseconds.

    Returns
    -------
    tuple of int
        Their labels.
    """
    record = ObjectRecord.find(layer)
    plane = None if record is None else record.planes.get(index)
    if record is None or plane is None or plane.shape != index.cut(layer.data).shape:
        return ()
    erased, present = [], []
    for count, one in enumerate(list(plane.objects.values()), start=1):
        if count % LOOKED_AT_ONCE == 0:
            yield
        area, mask = one.instance.box.slices, one.instance.mask
        if (index.cut(layer.data)[area][mask] == one.label).any():
            present.append(one.label)
        elif (plane.expected[area][mask] == one.label).any():
            erased.append(one.label)
    undone = tuple(sorted(undone_labels(plane.objects, erased, present)))
    for label in undone:
        one = plane.undone[label] = plane.objects.pop(label)
        was = plane.expected[one.instance.box.slices]
        was[one.instance.mask & (was == label)] = 0
        record.version += 1
    return undone


def hidden_finder(layer: Labels, index: PlaneIndex) -> Callable[[Instance], bool] | None:
    """Return what tells whether an object is one that is on record but not shown.

    Returns
    -------
    callable or None
        True for an instance that has an IoU above 0.5 with an object of the plane that was
        rejected or filtered out: it need not be found again.  None if there is none.
    """
    record = ObjectRecord.find(layer)
    plane = None if record is None else record.planes.get(index)
    hidden = [] if plane is None else [plane.objects[k] for k in plane.hidden if k in plane.objects]
    if not hidden:
        return None
    items = [one.instance for one in hidden]
    sides = np.array([(i.box.top, i.box.left, i.box.bottom, i.box.right) for i in items])

    def is_hidden(item: Instance) -> bool:
        box = item.box
        meets = (sides[:, 0] < box.bottom) & (sides[:, 2] > box.top)
        meets &= (sides[:, 1] < box.right) & (sides[:, 3] > box.left)
        return any(_iou(items[i], item) > SAME for i in np.flatnonzero(meets).tolist())

    return is_hidden


def _iou(one: Instance, other: Instance) -> float:
    shared = common_area(one, other)
    return shared / (one.area + other.area - shared)


def object_rows(record: ObjectRecord, overlapping: Mapping[PlaneIndex, Iterable[int]]) -> Any:
    """Return a table of all objects, one row per label, as `Labels.features` takes it.

    Parameters
    ----------
    record : ObjectRecord
    overlapping : mapping
        Plane to the labels of objects that share a pixel with another.

    Returns
    -------
    DataFrame
        ``index`` (the label), ``score``, ``area`` in pixels of the whole object, ``concept``,
        ``engine``, ``state``, ``overlaps``; of a stack also ``plane``, the position along its
        other axes.
    """
    pairs = [
        (index, one) for index, plane in record.planes.items() for one in plane.objects.values()
    ]
    sharing = {(index, label) for index, labels in overlapping.items() for label in labels}
    scores = [one.instance.score for _, one in pairs]
    frame = pd.DataFrame(
        {
            "index": np.array([one.label for _, one in pairs], np.int64),
            "score": np.array([np.nan if s is None else round(s, 4) for s in scores], float),
            "area": np.array([one.instance.area for _, one in pairs], np.int64),
            "concept": np.array([one.instance.concept for _, one in pairs], object),
            "engine": np.array([one.engine for _, one in pairs], object),
            "state": np.array([one.state for _, one in pairs], object),
            "overlaps": np.array([(index, one.label) in sharing for index, one in pairs], bool),
        }
    )
    merged: dict[str, Any] = {"score": "min", "area": "sum", "concept": "first", "engine": "first"}
    merged |= {"state": "first", "overlaps": "any"}
    if any(index.fixed for index in record.planes):
        frame["plane"] = [",".join(map(str, index.fixed)) for index, _ in pairs]
        merged["plane"] = " ".join
    if frame["index"].duplicated().any():
        # one label on several planes is one row
        frame = frame.groupby("index", as_index=False).agg(merged)
    return frame.sort_values("index", ignore_index=True)


def write_features(
    layer: Labels, rows: pd.DataFrame, renumbered: Mapping[int, int] | None = None
) -> None:
    """Put the objects' columns into a layer's features; columns of others stay.

    Rows of labels that are no objects are dropped.  A table that is about something else
    than labels is left alone.

    Parameters
    ----------
    layer : Labels
    rows : DataFrame
        As `object_rows` returns it.
    renumbered : mapping, optional
        Former to present labels of objects that somebody else renumbered.
    """
    old = layer.features
    if "index" not in old:
        # napari then takes the row's number for the label
        old = old.assign(index=np.arange(len(old)))
    if len(old) and not pd.api.types.is_numeric_dtype(old["index"]):
        return
    if renumbered:
        old = old.assign(index=old["index"].map(lambda label: renumbered.get(label, label)))
    if not set(OWN_COLUMNS) <= set(old.columns):
        # numbers of somebody else are not replaced by ours of the same name
        taken = [name for name in rows if name != "index" and name in old]
        old = old.rename(columns={name: f"{name} (before)" for name in taken})
    others = ["index", *(name for name in old if name not in rows)]
    if len(old) and len(others) > 1:
        rows = rows.merge(old[others].drop_duplicates("index"), on="index", how="left")
    if not rows.equals(layer.features):
        layer.features = rows
