"""How far a workflow is, and a workflow run to its end.

A workflow is a generator that yields how far it is and returns its result: a script, a worker
and a test drive it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

StepT = TypeVar("StepT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a workflow is.

    Parameters
    ----------
    done, total : int
        Steps; `total` is 0 where it is not known.
    message : str
        What is going on, for the user.
    """

    done: int
    total: int
    message: str = ""


def drain(
    workflow: Generator[StepT, None, ResultT], on_step: Callable[[StepT], object] | None = None
) -> ResultT:
    """Run a workflow to its end and return its result.

    Parameters
    ----------
    workflow : generator
        It is closed, also where `on_step` raises.
    on_step : callable, optional
        Given what the workflow yields.

    Examples
    --------
    A script that shows no progress: ``answer = drain(iter_run(engine, run))``.
    """
    with closing(workflow):
        while True:
            try:
                step = next(workflow)
            except StopIteration as end:
                result: ResultT = end.value
                return result
            if on_step is not None:
                on_step(step)
