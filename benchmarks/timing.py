"""What the benchmarks of speed share: sizes that can be made tiny, turns, and a table's lines.

Seconds depend on the machine and what else it does; the ratio to a floor that was measured in
the same run, in turns with the work, is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Work = Callable[[], object]
S = TypeVar("S", bound="DataclassInstance")


def sizes_asked_for(doc: str | None, usual: S, small: S) -> S:
    """Return the sizes that the command line asks for: an option each, and ``--small`` for all.

    Parameters
    ----------
    doc : str
        Of the benchmark.
    usual, small : dataclass
        ``small`` shows that the benchmark runs, in seconds, and says nothing about speed.

    Returns
    -------
    dataclass
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="see whether it runs, in seconds")
    for field in fields(usual):
        default = getattr(usual, field.name)
        is_several = isinstance(default, tuple)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(default[0] if is_several else default),
            nargs="+" if is_several else None,
            help=f"{default} if not given, {getattr(small, field.name)} with --small",
        )
    asked = vars(parser.parse_args())
    start = small if asked.pop("small") else usual
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asked.items()
        if value is not None
    }
    return replace(start, **given)


def seconds(work: Work) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(rounds: int, *works: Work) -> list[float]:
    """Return the shortest time of each in seconds; they take turns, to see the same machine."""
    times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [min(own) for own in zip(*times, strict=True)]


def middle(rounds: int, work: Work) -> float:
    """Return the median time of some calls, in seconds."""
    return statistics.median(seconds(work) for _ in range(rounds))


def heading() -> None:
    """Print the head of the table that `report` goes on with."""
    print(f"{'work (floor)':68} {'floor':>11} {'ours':>11} {'ratio':>9}  promised")


def report(
    work: str,
    floor_s: float,
    ours_s: float,
    *,
    within_s: float | None = None,
    within: float | None = None,
) -> None:
    """Print a line of the table.

    Parameters
    ----------
    work : str
        What was done, and in brackets what the floor is.
    floor_s, ours_s : float
    within_s, within : float, optional
        What is promised: at most so many seconds, or so many floors.
    """
    ratio = ours_s / max(floor_s, 1e-9)
    promise = ""
    if within_s is not None:
        promise = f"  {1000 * within_s:.0f} ms: {verdict(ours_s <= within_s)}"
    elif within is not None:
        promise = f"  {within:g} ×: {verdict(ratio <= within)}"
    print(f"{work:68} {1000 * floor_s:8.2f} ms {1000 * ours_s:8.2f} ms {ratio:7.2f} ×{promise}")


def verdict(is_kept: bool) -> str:
    """Return what is said of a promise."""
    return "ok" if is_kept else "MISSED"
