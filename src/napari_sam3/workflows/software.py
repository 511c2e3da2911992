"""The versions of what has a part in an answer."""

from __future__ import annotations

import platform
import sys
from functools import cache

_PACKAGES = ("napari-sam3", "numpy", "scipy", "scikit-image")


@cache
def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def software() -> dict[str, str]:
    """Return the versions of what has a part in an answer; napari's only where it runs."""
    names = [*_PACKAGES, *(["napari"] if "napari" in sys.modules else [])]
    return {**{name: _installed(name) for name in names}, "python": platform.python_version()}
