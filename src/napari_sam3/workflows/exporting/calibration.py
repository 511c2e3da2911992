"""Names of units, and what a TIFF says about the size of its pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3.core.calibration import PixelSize

if TYPE_CHECKING:
    import tifffile

METERS = {
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "meter": 1.0,
}
"""Lengths by their full names, which are those of OME-Zarr, in metres."""

SECONDS = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
"""Times by their full names, which are those of OME-Zarr, in seconds."""

_FULL = {
    "å": "angstrom",
    "a": "angstrom",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "\\u00b5m": "micrometer",
    "micron": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "px": "pixel",
    "": "pixel",
}

_SHORT = {
    "angstrom": "angstrom",
    "nanometer": "nm",
    "micrometer": "micron",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
}

# of a TIFF's resolution
_CENTIMETER, _NO_UNIT = 3, 1


def full_name(unit: str) -> str:
    """Return the full name of a unit, such as ``"micrometer"``; itself where it is not known.

    Examples
    --------
    >>> full_name("µm"), full_name("microns"), full_name("parsec")
    ('micrometer', 'micrometer', 'parsec')
    """
    name = unit.strip().lower()
    for candidate in (name, name.removesuffix("s"), name.replace("metre", "meter")):
        singular = candidate.removesuffix("s")
        if candidate in _FULL:
            return _FULL[candidate]
        if singular in METERS or singular == "pixel":
            return singular
    return unit.strip()


def imagej_name(unit: str) -> str:
    """Return the unit as ImageJ calls it, without letters that a TIFF cannot hold."""
    name = _SHORT.get(full_name(unit), unit)
    return name.encode("ascii", "replace").decode()


@dataclass(frozen=True, slots=True)
class Calibration:
    """The steps of an image along its axes, and where its first pixel's centre lies.

    There is one letter, step, place and unit for each axis; each is empty where it is not known.
    """

    pixel_size: PixelSize = field(default_factory=PixelSize)
    axes: str = ""
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    units: tuple[str, ...] = ()


def read_calibration(path: str | Path) -> Calibration:
    """Return what a TIFF of ImageJ, of OME or of this program says about its pixels.

    It is without a unit where the file has none, is no TIFF or cannot be read.  Resolutions in
    inches count as none: they tell of printers.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return _calibration(tiff)
    except Exception:  # noqa: BLE001 - a damaged file makes decoders raise anything
        return Calibration()


def _calibration(tiff: tifffile.TiffFile) -> Calibration:
    axes = tiff.series[0].axes
    if tiff.is_imagej:
        size, steps = _of_imagej(tiff)
    elif tiff.is_ome:
        size, steps = _of_ome(tiff.ome_metadata or "")
    else:
        shaped = (tiff.shaped_metadata or ({},))[0]
        size, steps = _of_tags(tiff, str(shaped.get("unit", "")), shaped.get("spacing"))
    steps |= {"Y": size.row, "X": size.col}
    return Calibration(size, axes, tuple(steps.get(name, 1.0) for name in axes))


def _of_imagej(tiff: tifffile.TiffFile) -> tuple[PixelSize, dict[str, float]]:
    said = tiff.imagej_metadata or {}
    unit = full_name(str(said.get("unit", "")))
    # by ImageJ, a resolution without a unit is that of the pixel itself
    size = PixelSize() if unit == "pixel" else _pixel_size(tiff, unit, 1.0)
    return size, _positive({"Z": said.get("spacing"), "T": said.get("finterval")})


def _of_tags(
    tiff: tifffile.TiffFile, unit: str, spacing: Any
) -> tuple[PixelSize, dict[str, float]]:
    kind = tiff.pages.first.tags.get("ResolutionUnit")
    if kind is not None and int(kind.value) == _CENTIMETER:
        known = full_name(unit) if unit else "micrometer"
        per_cm = METERS["centimeter"] / METERS.get(known, METERS["micrometer"])
        return _pixel_size(tiff, known, per_cm), _positive({"Z": spacing})
    if unit and kind is not None and int(kind.value) == _NO_UNIT:
        return _pixel_size(tiff, full_name(unit), 1.0), _positive({"Z": spacing})
    return PixelSize(), {}


def _pixel_size(tiff: tifffile.TiffFile, unit: str, factor: float) -> PixelSize:
    sides = []
    for name in ("YResolution", "XResolution"):
        above, below = tiff.pages.first.tags[name].value
        sides.append(factor * below / above)
    return PixelSize(sides[0], sides[1], unit)


def _of_ome(text: str) -> tuple[PixelSize, dict[str, float]]:
    # by a search and not by a parser: the file may come from a stranger
    sizes = dict(re.findall(r'\bPhysicalSize([XYZ])="([\d.eE+-]{1,40})"', text[: 1 << 20]))
    units = dict(re.findall(r'\bPhysicalSize([XYZ])Unit="([^"]{1,20})"', text[: 1 << 20]))
    if not {"X", "Y"} <= set(sizes):
        return PixelSize(), {}
    # micrometers are OME's default
    unit, other = (full_name(units.get(name, "µm")) for name in "XY")
    if unit != other:
        return PixelSize(), {}
    size = PixelSize(float(sizes["Y"]), float(sizes["X"]), unit)
    return size, _positive({"Z": sizes.get("Z")})


def _positive(steps: dict[str, Any]) -> dict[str, float]:
    """Return the steps that are any."""
    found = {}
    for name, step in steps.items():
        try:
            PixelSize(float(step), 1.0)
        except (TypeError, ValueError):
            continue
        found[name] = float(step)
    return found
