"""Ends with an error unless what is installed is exactly the lower bounds of pyproject.toml.

A bound below the version that something else asks for was never tried, and may be false.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Compare, and name the bounds that are too low."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["all"]]
    named += project["optional-dependencies"]["keyring"]
    untried = [one for one in map(Requirement, named) if not is_exactly_installed(one)]
    if untried:
        words = ", ".join(f"{one} (installed: {version(one.name)})" for one in untried)
        raise SystemExit(f"These bounds were not tried, as something else asks for more: {words}")


def is_exactly_installed(needed: Requirement) -> bool:
    """Return whether the version that is there is the lower bound."""
    return all(
        Version(one.version) == Version(version(needed.name))
        for one in needed.specifier
        if one.operator == ">="
    )


if __name__ == "__main__":
    main()
