"""Jobs of v2: they run by themselves, and are billed whether anybody asks for them or not."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from napari_sam3.testing._answers import AnswerFiles
from napari_sam3.testing._behaviour import Behaviour
from napari_sam3.testing._clock import Clock

RECORD_LIFETIME_S = 3600.0

Status = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED"]


class JobFailedError(Exception):
    """The model could not do it: what the service says, and the status of a v1 answer."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, eq=False)
class Job:
    """One submitted request; its outcome is the answer, or `JobFailedError`."""

    request_id: str
    # for its files: always fit for a path
    name: str
    # as it was when the request arrived; scripted, if later steps keep to it
    behaviour: Behaviour
    is_scripted: bool
    since: float
    outcome: Future[AnswerFiles] = field(repr=False)
    polls: int = 0
    is_settled: bool = False

    @property
    def error(self) -> str | None:
        """Why it failed; None if it did not."""
        failure = self.outcome.exception()
        return None if failure is None else str(failure)


class Jobs:
    """All jobs of an account; may be used from several threads.

    Parameters
    ----------
    charge : callable
        Takes the price of one answer.
    """

    def __init__(self, clock: Clock, charge: Callable[[float], None]) -> None:
        self._clock, self._charge = clock, charge
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._count = 0
        self._is_closed = False
        self._pool = ThreadPoolExecutor(2, "sam3-stand-in-job")

    def new_id(self) -> str:
        """Return an id that looks like the service's."""
        with self._lock:
            self._count += 1
            return str(uuid.uuid5(uuid.NAMESPACE_URL, f"stand-in/{self._count}"))

    def submit(
        self, work: Callable[[], AnswerFiles], behaviour: Behaviour, *, is_scripted: bool
    ) -> Job:
        """Start a job."""
        since, name = self._clock.now(), self.new_id()
        outcome = self._pool.submit(work)
        job = Job(behaviour.request_id or name, name, behaviour, is_scripted, since, outcome)
        with self._lock:
            self._jobs[job.request_id] = job
        return job

    def find(self, request_id: str) -> Job | None:
        """Return a job, or None if there is no record (any more)."""
        job = self._jobs.get(request_id)
        if job is None or self._clock.now() - job.since > RECORD_LIFETIME_S:
            return None
        return job

    def settle(self) -> None:
        """Bill all jobs that are done by now; waits for the model where its time is over."""
        with self._lock:
            jobs = [job for job in self._jobs.values() if not job.is_settled]
        for job in jobs:
            self._settle(job)

    def reserved(self) -> float:
        """Return the credits that jobs which are not done withhold from other calls."""
        with self._lock:
            running = [job for job in self._jobs.values() if not job.is_settled]
        return sum(job.behaviour.reserved for job in running)

    def _settle(self, job: Job) -> None:
        if self._is_closed or self._clock.now() - job.since < job.behaviour.latency_s:
            return
        error = job.error  # waits for the model, so not under the lock
        with self._lock:
            if job.is_settled:
                return
            job.is_settled = True
            if error is None:
                self._charge(job.behaviour.cost)

    def poll(self, job: Job, behaviour: Behaviour) -> Status:
        """Return how far a job is; each poll brings it forward, by the behaviour of that poll."""
        self._settle(job)
        with self._lock:
            job.polls += 1
            if job.polls <= behaviour.queued_polls:
                return "QUEUED"
            is_waiting = job.polls <= behaviour.queued_polls + behaviour.processing_polls
            if is_waiting or not job.is_settled:
                return "PROCESSING"
        return "COMPLETED" if job.error is None else "FAILED"

    def close(self) -> None:
        """Bill what is done, drop what has not begun, and wait for the rest."""
        self.settle()
        self._is_closed = True
        self._pool.shutdown(cancel_futures=True)
