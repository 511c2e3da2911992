"""A stand-in for the hosted service Segmind sam3-image, for tests, demos and teaching.

.. code-block:: python

    with SegmindServer(credits=1.0) as server:
        ...  # a client with server.url and server.key
        assert server.ledger.billed == 1
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from napari_sam3.testing._behaviour import REQUEST_KINDS, Behaviour, RequestKind
from napari_sam3.testing._clock import Clock
from napari_sam3.testing._gateway import Service
from napari_sam3.testing._jobs import Jobs
from napari_sam3.testing._ledger import Books, Ledger
from napari_sam3.testing._model import Model, builtin_model
from napari_sam3.testing._reception import Reception
from napari_sam3.testing._storage import Storage
from napari_sam3.testing._wire import Origin

TEST_KEY = "SG_" + "5eed" * 4
"""The key that the stand-in takes; it opens nothing else."""

_LOOK_AGAIN_S = 0.002


class SegmindServer:
    """The hosted service on this computer: faithful where it is known, wicked on request.

    Two origins on 127.0.0.1: the *api*, which wants the key, and the *cdn*, which keeps
    outputs and must never see it.  To be used in a ``with`` statement.

    Parameters
    ----------
    behaviour : Behaviour, optional
        How it behaves; may be set at any time.  All switches stand in `Behaviour`.
    credits, free_credits : float
        Of the account; the free ones are spent first.
    key : str
        The only key that is taken.
    model : callable
        Picture, shape (rows, cols, 3), and `Fields` → list of masks.
    port : int
        Of the api; 0 for any that is free.

    Notes
    -----
    *Documented* by the vendor, some of it read second-hand: the addresses, the parameters
    with types, ranges and defaults, the key's header, status codes and their envelopes,
    "only 200 is billed", the accounting headers, submit and poll with its four statuses, a
    submit that takes invalid fields, FAILED under 422, records kept for an hour and outputs
    for seven days, the balance with its hyphen, uploads, no Retry-After.

    *Observed* by clients of the service: a v1 answer of raw image bytes that is read as gray
    and cut at 127, calls of many minutes, bare base64 and data URIs as pictures,
    ``file_urls`` as the answer to an upload, outputs as lists and dicts.

    *Invented*: the mask's mode and size; what return_masks, several flags or none give; what
    is answered if nothing is found; that unknown fields are refused; how strict labels and
    boxes are read; the words of errors; which prompt wins over which; a cost that does not
    depend on the picture; how often a job says QUEUED; the order of the checks; every trap.
    One paid call for each would settle most; `Behaviour` marks each switch.

    The order of checks: address, verb, size, key, content type, credits, JSON, image,
    faults, rate, traps; then the fields: on v1 at once, on v2 when the job runs.

    Jobs run and are billed by the clock, whether somebody asks for them or not; so does a v1
    call whose client has gone.  `advance` turns the clock.

    Examples
    --------
    >>> with SegmindServer(credits=1.0) as server:
    ...     server.ledger.balance
    1.0
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        credits: float = 5.0,  # noqa: A002 - the service's word
        free_credits: float = 0.0,
        key: str = TEST_KEY,
        model: Model = builtin_model,
        port: int = 0,
    ) -> None:
        self._port = port
        self._clock = clock = Clock()
        self._books = books = Books(key, credits, free_credits)
        self._jobs = jobs = Jobs(clock, books.charge)
        self._service = Service(key, clock, books, jobs, Storage(clock), model)
        self._reception = Reception(self._service, behaviour or Behaviour())
        self._origins: tuple[Origin, ...] = ()

    # ------------------------------------------------------------------ life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None and self._service.failures:
            raise RuntimeError("the stand-in itself failed") from self._service.failures[0]

    def start(self) -> None:
        """Begin to answer; does nothing if it does already.

        Raises
        ------
        OSError
            If the port is taken.
        """
        if self._origins:
            return
        answer, wait = self._reception.answer, self._clock.wait
        # the one that can fail comes first: its port may be taken
        api = Origin(lambda request: answer("api", request), wait, self._port)
        cdn = Origin(lambda request: answer("cdn", request), wait)
        self._origins = (api, cdn)
        self._service.api_url, self._service.cdn_url = api.url, cdn.url
        for origin in self._origins:
            origin.start()

    def close(self) -> None:
        """Stop answering; what is still running is dropped and not billed."""
        self._jobs.settle()
        self._clock.stop()
        for origin in self._origins:
            origin.close()
            self._service.failures += origin.failures
        self._origins = ()
        self._jobs.close()

    # ------------------------------------------------------------------ what a test looks at

    @property
    def url(self) -> str:
        """Base address of the api, without a version."""
        return self._service.api_url

    @property
    def cdn_url(self) -> str:
        """Base address of the origin that must not see the key."""
        return self._service.cdn_url

    @property
    def key(self) -> str:
        """The key that is taken."""
        return self._service.key

    @property
    def ledger(self) -> Ledger:
        """The account and the requests as they are now."""
        self._jobs.settle()
        return self._books.snapshot()

    @property
    def leaked_keys(self) -> int:
        """How often a key came to where it must not: the cdn, or an address."""
        return self.ledger.leaked_keys

    def wait_until(self, condition: Callable[[Ledger], bool], timeout_s: float = 10.0) -> Ledger:
        """Wait for something to be in the ledger, e.g. a request, and return the ledger.

        Raises
        ------
        TimeoutError
            If it does not come.
        """
        deadline = time.monotonic() + timeout_s
        while not condition(ledger := self.ledger):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s} s in vain; the ledger is {ledger}")
            time.sleep(_LOOK_AGAIN_S)
        return ledger

    # ------------------------------------------------------------------ what a test turns

    @property
    def behaviour(self) -> Behaviour:
        """How it behaves from now on."""
        return self._reception.behaviour

    @behaviour.setter
    def behaviour(self, value: Behaviour) -> None:
        self._reception.behaviour = value

    def script(self, behaviours: Iterable[Behaviour], step: RequestKind | None = None) -> None:
        """Say how it behaves for the next requests, one after the other.

        Parameters
        ----------
        behaviours : iterable of Behaviour
            Added to those not used yet.
        step : str, optional
            Each is for one request of this step.  By default each is for one request to run
            the model (v1 or submit), and then also for all that is asked about its job.

        Raises
        ------
        ValueError
            If there is no such step.
        """
        if step is not None and step not in REQUEST_KINDS:
            raise ValueError(f"step is {step!r}, but must be one of {REQUEST_KINDS}")
        self._reception.script(behaviours, step)

    def advance(self, seconds: float) -> None:
        """Let time pass: for latencies, and for records and files that expire."""
        self._clock.advance(seconds)

    def refill(self, credits: float) -> None:  # noqa: A002 - the service's word
        """Set the account's paid credits."""
        self._books.refill(credits)
