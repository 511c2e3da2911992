"""A run on the command line: its progress on a terminal, and its end by Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from napari_sam3.core.progress import Progress, drain
from napari_sam3.errors import CancelledError

if TYPE_CHECKING:
    from napari_sam3.workflows.answer import SegmentAnswer
    from napari_sam3.workflows.run import RunEvent


def follow(workflow: Generator[RunEvent, None, SegmentAnswer], about: str = "") -> SegmentAnswer:
    """Run a workflow to its end; a terminal shows how far it is, and with what."""
    if not sys.stderr.isatty():
        return drain(workflow)
    from rich import progress

    console = Console(stderr=True)
    columns = progress.TextColumn("{task.description}"), progress.BarColumn()
    with progress.Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)

        def show(step: RunEvent) -> None:
            if not isinstance(step, Progress):
                return
            # a single question has no known end: the bar only shows that it runs
            total = step.total if step.total > 1 else None
            bars.update(
                task, description=f"{about}{step.message}", completed=step.done, total=total
            )

        return drain(workflow, show)


def unless_interrupted(work: Callable[[threading.Event], None], stopped: Callable[[], str]) -> None:
    """Do some work; the first Ctrl-C ends it in good order, a second one at once.

    The work is given the event that is set by Ctrl-C; what `stopped` returns is said then, and the
    program ends with 130.
    """
    stop = threading.Event()
    try:
        with _stopped_by_interrupt(stop):
            work(stop)
        if not stop.is_set():
            return
    except KeyboardInterrupt:
        stop.set()
    except CancelledError:
        if not stop.is_set():
            raise
    typer.echo(stopped(), err=True)
    raise typer.Exit(130)


@contextmanager
def _stopped_by_interrupt(stop: threading.Event) -> Iterator[None]:
    def on_interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    try:
        usual = signal.signal(signal.SIGINT, on_interrupt)
    except ValueError:
        # not the main thread: whoever runs this there has its own way to stop it
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
