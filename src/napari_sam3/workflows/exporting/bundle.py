"""What is exported, and what an import returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from napari_sam3.core.arrays import Array
from napari_sam3.core.calibration import PixelSize
from napari_sam3.core.objects import LabelledObject, PlaneObject
from napari_sam3.core.painting import paint_objects
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.errors import ImageError
from napari_sam3.workflows.files import storable

Planes: TypeAlias = Mapping[tuple[int, ...], tuple[PlaneObject, ...]]

_AXES = "TCZYX"


def letters_of(count: int) -> str:
    """Return the letters that so many axes besides rows and columns usually have.

    Examples
    --------
    >>> [letters_of(count) for count in range(5)]
    ['', 'Z', 'TZ', 'TCZ', '']
    """
    return {1: "Z", 2: "TZ", 3: "TCZ"}.get(count, "")


def place_along(at: tuple[int, ...], letters: str = "") -> dict[str, int]:
    """Return a position by the letters of its axes, or by the usual ones; empty if unknown."""
    letters = letters or letters_of(len(at))
    is_known = len(letters) == len(at) and set(letters) <= set("TCZ")
    return dict(zip(letters, at, strict=True)) if is_known else {}


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """The objects of a plane, what is known about it, and the label image that shows them.

    Parameters
    ----------
    objects : tuple of PlaneObject
        All of them; the rejected ones are written nowhere.
    image_shape : tuple of int
        (rows, cols) of the plane.
    pixel_size : PixelSize
        Of the plane.
    image_name : str
        The name of the image's file.
    labels : ndarray of int, shape (…, rows, cols), optional
        The label image as it is shown, perhaps of more planes than this one; what is masked in
        a masked array is background.  By default, it
        is painted from the objects: of two that share a pixel, the one of smaller depth shows.
    scale : tuple of float, optional
        The step along each axis of `labels`, in the pixels' unit.  By default 1, and the
        pixels' sides along the last two.  Below 0, where the axis runs backwards.
    translate : tuple of float, optional
        Where the centre of the first pixel lies, along each axis of `labels`.  By default 0.
    units : tuple of str, optional
        Of `scale` and `translate`.  By default the pixels' unit for lengths.
    axes : str, optional
        One letter for each axis of `labels`, of T, C, Z, Y and X.  By default the last of
        these.
    intensity : ndarray, shape (rows, cols), optional
        The image's own values.
    notices : tuple of str
        What an import had to leave out, one sentence each.
    plane : tuple of int, optional
        Where the plane lies along the other axes of the stack that it is from.
    plane_axes : str
        A letter for each of these axes, of T, C and Z; the usual ones (`letters_of`) if empty.
    first_along : str
        The letters of axes along which all of them are said to lie on the first plane, also if
        the image has no such axis.
    planes : mapping
        Of a file about several planes: the objects of each, by its place along the first axes
        of `labels`.  Then `objects` is empty.  What has one label on several planes is one
        object, of one state and depth.
    to_world : ndarray of float, shape (2, 3), optional
        Takes (row, col, 1) of the plane to world coordinates.  By default as `pixel_size` and
        `translate` say.
    has_edges : bool
        Whether the image is known to end where `image_shape` says, and not only to reach so far.
    is_turned : bool
        Whether the labels are rotated, sheared or mirrored, so that `scale` and `translate` do
        not tell where they lie.

    Raises
    ------
    ValueError
        If these do not fit together.
    """

    objects: tuple[PlaneObject, ...]
    image_shape: tuple[int, int]
    pixel_size: PixelSize = field(default_factory=PixelSize)
    image_name: str = ""
    labels: Array | None = None
    scale: tuple[float, ...] | None = None
    axes: str | None = None
    intensity: Array | None = None
    notices: tuple[str, ...] = ()
    plane: tuple[int, ...] | None = None
    plane_axes: str = ""
    planes: Planes = field(default_factory=dict)
    translate: tuple[float, ...] | None = None
    units: tuple[str, ...] | None = None
    to_world: Array | None = None
    has_edges: bool = True
    is_turned: bool = False
    first_along: str = ""

    def __post_init__(self) -> None:
        rows, cols = self.image_shape
        object.__setattr__(self, "image_shape", (int(rows), int(cols)))
        object.__setattr__(self, "objects", tuple(self.objects))
        if np.ma.isMaskedArray(self.labels):
            object.__setattr__(self, "labels", np.ma.filled(self.labels, 0))
        for one in self.everything:
            box = one.instance.box
            if box.top < 0 or box.left < 0 or box.bottom > rows or box.right > cols:
                raise ValueError(f"{box} lies outside an image of shape {self.image_shape}")
        if self.intensity is not None and self.intensity.shape != self.image_shape:
            raise ValueError(f"an intensity of shape {self.intensity.shape} for {rows} × {cols}")
        ndim = 2 if self.labels is None else self.labels.ndim
        for name in ("scale", "axes", "translate", "units"):
            value = getattr(self, name)
            if value is not None and len(value) != ndim:
                raise ValueError(f"{name} {value!r} for {ndim} axes")

    def __repr__(self) -> str:
        (rows, cols), count = self.image_shape, len(self.labelled)
        of = f" of {self.image_name!r}" if self.image_name else ""
        stack = "" if self.labels is None or not self.is_stack else f" of {self.labels.shape}"
        nouns = f"{count} object{'' if count == 1 else 's'}{of}"
        return f"Exported({nouns}, {rows} × {cols} pixels{stack})"

    @property
    def everything(self) -> tuple[PlaneObject, ...]:
        """The objects of the plane, or of all planes."""
        return self.objects + tuple(one for objects in self.planes.values() for one in objects)

    @property
    def world(self) -> Array:
        """What takes (row, col, 1) of the plane to world coordinates, shape (2, 3).

        Where rows and columns have different units, these are pixels.
        """
        if self.units is not None and self.units[-2] != self.units[-1]:
            return np.eye(2, 3)
        if self.to_world is not None:
            return self.to_world
        size, first = self.pixel_size, (self.translate or (0.0, 0.0))[-2:]
        return np.array([[size.row, 0, first[0]], [0, size.col, first[1]]])

    @property
    def kept(self) -> tuple[PlaneObject, ...]:
        """Of `everything`, the objects that were not rejected."""
        return tuple(one for one in self.everything if one.state != "rejected")

    @property
    def labelled(self) -> tuple[LabelledObject, ...]:
        """`everything`, each object once: what has one label on several planes is one."""
        planes = self.planes or {(): self.objects}
        by_label: dict[int, dict[PlaneIndex, PlaneObject]] = {}
        for at, objects in planes.items():
            index = PlaneIndex((len(at), len(at) + 1), at)
            for one in objects:
                by_label.setdefault(one.label, {})[index] = one
        return tuple(LabelledObject.of(parts) for parts in by_label.values())

    def by_plane(self) -> Iterator[Exported]:
        """Yield what there is of each plane, if there are several; else itself."""
        if not self.planes:
            yield self
        letters = (self.axes or "")[:-2]
        for at, objects in self.planes.items():
            yield Exported(
                objects,
                self.image_shape,
                self.pixel_size,
                self.image_name,
                plane=at,
                plane_axes=letters,
            )

    @property
    def place(self) -> dict[str, int]:
        """The plane's position by the letters of its axes; empty where those are not known."""
        return place_along(self.plane or (), self.plane_axes)

    @property
    def is_stack(self) -> bool:
        """Whether the label image has more planes than one."""
        rows, cols = self.image_shape
        return self.labels is not None and self.labels.size > rows * cols


@dataclass(frozen=True, slots=True, eq=False)
class PlacedLabels:
    """A label image whose axes have names and steps.

    Parameters
    ----------
    pixels : ndarray of uint16 or uint32, shape (…, rows, cols)
    axes : str
        One letter for each axis, of T, C, Z, Y and X, in the order that was asked for.
    scale : tuple of float
        The step along each axis.
    translate : tuple of float
        Where the centre of the first pixel lies.
    units : tuple of str
        Of both; empty where there is none.
    """

    pixels: Array = field(repr=False)
    axes: str
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]


def label_image(exported: Exported, order: str = _AXES) -> PlacedLabels:
    """Return the label image that is to be written, its axes in a format's order.

    Parameters
    ----------
    exported : Exported
    order : str
        In which order the format has its axes, of T, C, Z, Y and X.

    Raises
    ------
    ImageError
        If it has negative or huge labels, or more axes than the format.
    """
    labels = exported.labels
    if labels is None:
        labels = paint_objects(exported.objects, exported.image_shape)
    axes = _axes(exported.axes, labels.ndim)
    size = exported.pixel_size
    scale = exported.scale or _usual_scale(size, axes)
    translate = exported.translate or (0.0,) * labels.ndim
    units = exported.units or tuple(size.unit if axis in "ZYX" else "" for axis in axes)
    ranks = sorted(range(len(axes)), key=lambda at: order.index(axes[at]))
    return PlacedLabels(
        storable(labels).transpose(ranks),
        "".join(axes[at] for at in ranks),
        tuple(float(scale[at]) for at in ranks),
        tuple(float(translate[at]) for at in ranks),
        tuple(units[at] for at in ranks),
    )


def _axes(named: str | None, ndim: int) -> str:
    if named is not None:
        axes = named.upper()
        if set(axes) <= set(_AXES) and len(set(axes)) == len(axes) and {"Y", "X"} <= set(axes):
            return axes
    if ndim == 3:
        return "ZYX"
    if ndim == 4:
        return "TZYX"
    if not 2 <= ndim <= len(_AXES):
        raise ImageError(
            f"The labels have {ndim} axes, but a file holds 2 to {len(_AXES)}; save one plane."
        )
    return _AXES[-ndim:]


def _usual_scale(size: PixelSize, axes: str) -> tuple[float, ...]:
    return tuple({"Y": size.row, "X": size.col}.get(name, 1.0) for name in axes)
