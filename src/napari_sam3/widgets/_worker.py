"""Runs workflows in a thread of their own, and tells the window how they go.

A free engine keeps only the newest question of each lane: an older one that
still runs is stopped and its answer dropped.  A billed engine has one call under
way, and what it answers is always delivered: a dropped answer is dropped money.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_sam3.core.progress import Progress, drain
from napari_sam3.errors import CancelledError, Sam3Error

Workflow = Callable[[threading.Event], Generator[object, None, Any]]


@dataclass(eq=False, slots=True)
class Job:
    """One run of a workflow.

    Parameters
    ----------
    workflow : callable
        Given the stop event, makes the generator; called in the worker's thread.
    context : object
        What the job is about; the worker does not look at it.
    lane : hashable
        A newer job of the same lane takes the place of an older one.
    billed : bool
        Whether the answer costs money.
    question : hashable
        While a job runs, another of the same question is not started again;
        None is a question of its own.
    done : callable, optional
        Given the answer, in the window's thread.
    """

    workflow: Workflow
    context: Any = None
    lane: Hashable = None
    billed: bool = False
    question: Hashable = None
    done: Callable[[Any], object] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    is_stale: bool = False
    error: BaseException | None = None


class Runner(QObject):
    """Runs one job at a time.

    Parameters
    ----------
    parent : QObject, optional
    say : callable, optional
        Shows why a job failed; what is no sentence for the user is raised again as well.

    Signals
    -------
    started(Job), progressed(Job, Progress), found(Job, Found), returned(Job, answer),
    failed(Job, exception), cancelled(Job)
        All arrive in the window's thread; exactly one of the last three ends a
        job that is not stale, and nothing more is heard of stale ones.
    idle()
        Nothing runs and nothing waits.
    """

    started = Signal(object)
    progressed = Signal(object, object)
    found = Signal(object, object)
    returned = Signal(object, object)
    failed = Signal(object, object)
    cancelled = Signal(object)
    idle = Signal()

    _event = Signal(object, str, object)

    def __init__(
        self, parent: QObject | None = None, say: Callable[[str], object] | None = None
    ) -> None:
        super().__init__(parent)
        self._say = say
        self._running: Job | None = None
        self._waiting: list[Job] = []
        self._event.connect(self._on_event)

    @property
    def current(self) -> Job | None:
        """The job that runs now."""
        return self._running

    @property
    def is_busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._running is not None or bool(self._waiting)

    @property
    def is_paid(self) -> bool:
        """Whether a billed job runs."""
        return self._running is not None and self._running.billed

    def start(self, job: Job) -> bool:
        """Run a job now, or as soon as the one before it ends.

        Returns
        -------
        bool
            False if the job was refused, since it is billed and another billed one
            runs or waits.
        """
        if job.billed and any(other.billed for other in self._unended()):
            return False
        if self._is_asked(job):
            return True
        self.drop(job.lane)
        self._waiting.append(job)
        self._start_next()
        return True

    def is_waiting(self, job: Job) -> bool:
        """Whether a job waits for another one to end."""
        return job in self._waiting

    def drop(self, lane: Hashable) -> None:
        """Forget the free jobs of a lane without a word: their answers are out of date."""
        self._waiting = [job for job in self._waiting if job.billed or job.lane != lane]
        running = self._running
        if running is not None and not running.billed and running.lane == lane:
            running.is_stale = True
            running.stop.set()

    def _unended(self) -> list[Job]:
        return [*([self._running] if self._running is not None else []), *self._waiting]

    def _is_asked(self, job: Job) -> bool:
        asked = (other for other in self._unended() if not other.is_stale)
        return job.question is not None and any(job.question == o.question for o in asked)

    def cancel(self) -> None:
        """Stop what runs and forget what waits."""
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            self.cancelled.emit(job)
        running = self._running
        if running is None or running.stop.is_set():
            return
        running.stop.set()
        if not running.billed:
            # its thread may take a while to notice; for the user it is over
            running.is_stale = True
            self.cancelled.emit(running)

    def _start_next(self) -> None:
        if self._running is not None or not self._waiting:
            return
        job = self._running = self._waiting.pop(0)
        self.started.emit(job)
        threading.Thread(target=self._work, args=(job,), daemon=True, name="sam3-run").start()

    def _work(self, job: Job) -> None:
        try:
            answer = drain(job.workflow(job.stop), lambda step: self._tell(job, "progressed", step))
        except CancelledError as error:
            self._tell(job, "cancelled", error)
        except BaseException as error:  # noqa: BLE001 - shown or raised again in the window's thread
            self._tell(job, "failed", error)
        else:
            self._tell(job, "returned", answer)

    def _tell(self, job: Job, what: str, value: object) -> None:
        try:
            self._event.emit(job, what, value)
        except RuntimeError:
            # the window is gone, and nobody is left to tell
            job.stop.set()

    def _on_event(self, job: Job, what: str, value: object) -> None:
        if what == "progressed":
            if not job.is_stale:
                tell = self.progressed if isinstance(value, Progress) else self.found
                tell.emit(job, value)
            return
        self._running = None
        try:
            if not job.is_stale:
                self._end(job, what, value)
        finally:
            self._start_next()
            if not self.is_busy:
                self.idle.emit()

    def _end(self, job: Job, what: str, value: object) -> None:
        if what == "returned":
            self.returned.emit(job, value)
            if job.done is not None:
                job.done(value)
        elif isinstance(value, BaseException):
            self._end_without(job, what, value)

    def _end_without(self, job: Job, what: str, error: BaseException) -> None:
        if what == "cancelled":
            job.error = error
            self.cancelled.emit(job)
            return
        self.failed.emit(job, error)
        if self._say is not None:
            self._say(str(error))
            if not isinstance(error, Sam3Error):
                raise error
