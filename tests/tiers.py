"""The tests' two forms: a short one for each change, and a long one, `pytest --long`.

Both hold every promise.  The long one looks for what breaks it in more places: more examples,
more seeds, more processes that are killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from hypothesis import settings

T = TypeVar("T")

USUAL = 100
"""Examples of a property test that names no number."""
SHARE, FEWEST = 4, 20

_is_long = False


def choose(*, long: bool) -> None:
    """Say which form it is, before any test is imported."""
    global _is_long
    _is_long = long
    # the same examples on every run, and no deadline: a busy machine is no failure
    settings.register_profile(
        "tier", max_examples=some(USUAL), deadline=None, derandomize=True, print_blob=True
    )
    settings.load_profile("tier")


def some(of: int, *, fewest: int = FEWEST) -> int:
    """Return how many of the long form's cases the short form has."""
    return of if _is_long else min(of, max(fewest, of // SHARE))


def some_of(cases: Iterable[T], start: int = 0) -> list[T]:
    """Return all cases in the long form, and every fourth in the short one."""
    return list(cases) if _is_long else list(cases)[start % SHARE :: SHARE]


def examples(count: int, *, fewest: int = FEWEST, **others: Any) -> settings:
    """Return the settings of a property test that has so many examples in its long form."""
    return settings(max_examples=some(count, fewest=fewest), **others)
