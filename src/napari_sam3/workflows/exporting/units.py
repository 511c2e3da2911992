"""Names of units: each program has its own for the same."""

from __future__ import annotations

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
