"""A service that bills, all in memory, and the engine that asks it.

It is told beforehand what goes wrong; it counts what it was sent and what it billed.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, replace

import numpy as np

from napari_sam3 import engines
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, describe
from napari_sam3.engines import EngineInfo, creating
from napari_sam3.engines.base import (
    NEVER,
    Capabilities,
    Price,
    RawPart,
    SegmentationRequest,
    SegmentationResult,
    Usage,
    raise_if_stopped,
)
from napari_sam3.errors import (
    CancelledError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    RequestRejectedError,
    ResponseError,
)
from napari_sam3.jobs.accounts import Accounts, CostLimits
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.jobs.ledger import Caps, Ledger
from napari_sam3.jobs.records import Records

IMAGE = (np.arange(14 * 23 * 3) % 251).astype(np.uint8).reshape(14, 23, 3)
CAPABILITIES = Capabilities(text=True, object_box=True, billed=True)
NAME, MODEL = "paid", "paid 1"
KEPT_S = 3600.0
COST = 0.0625
"""A sum of these is exact."""

SUBMIT_MISHAPS = ("lost before", "lost after", "refused", "stopped before", "stopped after")
COLLECT_MISHAPS = ("lost", "unreachable", "unreadable", "stopped")


@dataclass(eq=False)
class Job:
    """A question that was accepted; one that fails is not billed."""

    request_id: str
    words: str
    image_shape: tuple[int, int]
    since: float
    fails: bool


@dataclass(frozen=True)
class Ticket:
    request_id: str | None
    reply: str | None = None


class Service:
    """Bills each question that it accepts, unless the job fails."""

    def __init__(self, clock=time.time):
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.sent: list[str] = []
        self.billed: Counter[str] = Counter()
        self.submit_mishaps: deque[str] = deque()
        self.collect_mishaps: deque[str] = deque()
        self.jobs_fail = False
        self.collected = 0
        # cleared: answers are waited for until it is set
        self.is_done = threading.Event()
        self.is_done.set()
        self.arrived = threading.Event()
        self._lock = threading.Lock()

    def accept(self, words, shape):
        with self._lock:
            self.sent.append(words)
            job = Job(f"request-{len(self.sent)}", words, shape, self.clock(), self.jobs_fail)
            self.jobs[job.request_id] = job
            if not job.fails:
                self.billed[words] += 1
        self.arrived.set()
        return job

    def find(self, request_id):
        job = self.jobs.get(request_id)
        return job if job is not None and self.clock() - job.since < KEPT_S else None

    @property
    def bill(self):
        return COST * self.billed.total()

    def info(self):
        """What the list of engines says of it."""
        return EngineInfo(NAME, "Paid", "bills", CAPABILITIES)

    def list(self, patch):
        """Let it be one of the engines, whose tickets can be collected."""

        def resume(packed, _url=None):
            try:
                value = json.loads(packed)
                return BillingEngine(self), Ticket(value["request_id"], value["reply"])
            except (ValueError, TypeError, KeyError) as error:
                raise ResponseError("This ticket cannot be read.") from error

        patch.setattr(engines, "ENGINES", (*engines.ENGINES, self.info()))
        patch.setitem(creating.RESUME, NAME, resume)
        patch.setitem(creating.READ_TICKET, NAME, lambda packed: resume(packed)[1])


class BillingEngine:
    """Asks the service; `at_once` gives the answer with the ticket, as v1 does."""

    name, model, capabilities = NAME, MODEL, CAPABILITIES
    billed_as = MODEL
    price, kept_s = Price(0.05, COST, 2.0), KEPT_S

    def __init__(self, service, *, at_once=False, parameters=None):
        self.service, self.at_once = service, at_once
        self.parameters = parameters or {"tone": 3}

    def segment(self, request, stop=NEVER):
        return self.collect(self.submit(request, stop), stop)

    def submit(self, request, stop=NEVER):
        raise_if_stopped(stop)
        service, words = self.service, describe(request.prompt)
        mishap = service.submit_mishaps.popleft() if service.submit_mishaps else ""
        if mishap == "refused":
            raise EngineError("The service refused it. Nothing was billed.", status=400)
        if mishap == "stopped before":
            raise CancelledError("Cancelled.")
        if mishap == "lost before":
            raise OutcomeUnknownError("The line broke. It may have been billed.")
        job = service.accept(words, request.shape)
        if mishap == "lost after":
            raise OutcomeUnknownError("The line broke. It may have been billed.")
        if mishap == "stopped after":
            raise CancelledError("Cancelled.", was_sent=True)
        if self.at_once:
            return Ticket(None, job.request_id)
        return Ticket(job.request_id)

    def collect(self, ticket, stop=NEVER):
        service = self.service
        while not service.is_done.wait(0.002):
            raise_if_stopped(stop)
        service.collected += 1
        mishap = service.collect_mishaps.popleft() if service.collect_mishaps else ""
        if mishap == "lost":
            raise OutcomeUnknownError("No answer in time.", request_id=ticket.request_id)
        if mishap == "unreachable":
            raise EngineUnavailableError("The service cannot be reached.")
        if mishap == "unreadable":
            raise ResponseError("The answer cannot be read.")
        if mishap == "stopped":
            raise CancelledError("Cancelled.")
        job = service.find(ticket.reply or ticket.request_id)
        if job is None:
            raise RequestRejectedError("The service does not know this request.", status=404)
        if job.fails:
            raise RequestRejectedError("It could not do this job. Nothing was billed.")
        return _answer(job)

    def pack(self, ticket):
        return json.dumps(dataclasses.asdict(ticket)).encode()


def _answer(job):
    mask = np.arange(5 * (2 + len(job.words))).reshape(5, -1) % 3 > 0
    box = Box(3, 1, 3 + mask.shape[0], 1 + mask.shape[1])
    item = Instance(mask, box, 0.5, job.words)
    usage = Usage(COST, 1.5, job.request_id)
    raw = (RawPart("text/plain", f"answer of {job.request_id}".encode()),)
    return SegmentationResult(Instances(job.image_shape, (item,)), usage, raw=raw)


def request_for(text, image=IMAGE, **limits):
    return SegmentationRequest(Pixels(image), ConceptPrompt(text), **limits)


def key_for(engine, text):
    return Fingerprint.of(engine, request_for(text)).key


def records_in(folder, *, caps=None, confirm_above=0.0, clock=time.time):
    """Records in a folder, as a process that has just started opens them."""
    ledger = Ledger(folder / "data" / "ledger.sqlite", clock)
    accounts = Accounts(ledger, CostLimits(confirm_above, caps or Caps()), "kidney")
    return Records(AnswerCache(folder / "cache", 1 << 30), lambda: accounts)


def limited(records, confirm_above=0.1, caps=None):
    """The same records with other limits."""
    limits = CostLimits(confirm_above, caps or Caps(2.0, 10.0))
    return records.counted(lambda accounts: replace(accounts, limits=limits))


def without_cache(records):
    return replace(records, cache=None)


def states(records):
    """The ledger's states, oldest entry first."""
    return [entry.state for entry in reversed(records.ledger.entries())]


def later(records, seconds):
    """Let time pass for the ledger."""
    now = records.ledger._clock
    records.ledger._clock = lambda: now() + seconds
