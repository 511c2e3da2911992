"""The hosted engine: a question, one paid call, its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import (
    NEVER,
    Price,
    RawPart,
    SegmentationRequest,
    SegmentationResult,
    raise_if_stopped,
)
from napari_sam3.engines.segmind import CAPABILITIES
from napari_sam3.engines.segmind.decode import Decoded, decode
from napari_sam3.engines.segmind.failures import (
    FAILED,
    MAYBE_BILLED,
    NOT_BILLED,
    detail_of,
    job_failed,
    words_of,
)
from napari_sam3.engines.segmind.http import SegmindHttp
from napari_sam3.engines.segmind.json_answer import DONE, OUTPUT_KEYS
from napari_sam3.engines.segmind.json_values import (
    balance,
    checked_request_id,
    json_object,
    status_of,
)
from napari_sam3.engines.segmind.key import ENVIRONMENT_VARIABLE, ApiKey, find_key, redacted
from napari_sam3.engines.segmind.options import (
    DEFAULT_URL,
    MODEL,
    PRICE_RANGE,
    TYPICAL_S,
    SegmindOptions,
    set_url,
)
from napari_sam3.engines.segmind.payload import Sent, build_payload
from napari_sam3.engines.segmind.results import make_result, usage_of
from napari_sam3.engines.segmind.ticket import SegmindTicket, pack_ticket, unpack_ticket
from napari_sam3.engines.segmind.wire import Reply
from napari_sam3.errors import (
    AuthenticationError,
    CancelledError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    RequestRejectedError,
    ResponseError,
)

POLL_S = 1.0
LONGEST_POLL_S = 10.0
POLLS_PER_ELAPSED = 10
"""A job that has run for a minute is asked about every six seconds."""

KEPT_S = 3600.0
"""The service forgets a request an hour after it was submitted (its documents)."""

UNKNOWN_API = (404, 405)
"""Answers that mean: there is no such address, or not for this verb."""


class SegmindEngine:
    """SAM3 as the hosted service.

    Parameters
    ----------
    options : SegmindOptions
        How the service is called.
    key : ApiKey, optional
        By default the one that `napari_sam3.engines.segmind.key.find_key` finds,
        looked for at each call.

    Attributes
    ----------
    state : str
        What it waits for, in a word, for whoever shows it: ``queued``, ``running``,
        ``downloading`` …
    credits_left : float or None
        The balance, as far as the last answer told it.
    """

    name = "segmind"
    capabilities = CAPABILITIES
    model = MODEL
    price = Price(*PRICE_RANGE, TYPICAL_S)
    kept_s = KEPT_S

    def __init__(self, options: SegmindOptions | None = None, key: ApiKey | None = None) -> None:
        self.options = options or SegmindOptions()
        self.state = ""
        self.credits_left: float | None = None
        self._key = key
        self._v2_is_missing = False

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What of the options changes the answer; the way it is fetched does not."""
        return {
            "answer": self.options.answer,
            "image_format": self.options.image_format,
            "max_side": self.options.max_side,
            "service": urlsplit(self.options.url).netloc,
        }

    @property
    def billed_as(self) -> str:
        """The model; with the address of a service that is not the vendor's own."""
        service = urlsplit(self.options.url).netloc
        return MODEL if service == urlsplit(DEFAULT_URL).netloc else f"{MODEL} at {service}"

    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Ask, wait, and read the answer; see `napari_sam3.engines.base.Engine.segment`."""
        return self.collect(self.submit(request, stop), stop)

    def payload(self, request: SegmentationRequest) -> Sent:
        """Return exactly what a request would send, without sending it."""
        refuse_unsupported(self.name, self.capabilities, request.prompt)
        return build_payload(request, self.options)

    def submit(self, request: SegmentationRequest, stop: threading.Event = NEVER) -> SegmindTicket:
        """Send one question; once this returns it is paid for.

        Raises
        ------
        OutcomeUnknownError
            If it was sent and its answer was lost; it is not sent again.
        AuthenticationError, CreditsError, RateLimitError, RequestRejectedError
            As the service refuses it; nothing was billed.
        """
        sent = self.payload(request)
        raise_if_stopped(stop)
        http = self._http(self.options.deadline_s, stop)
        self.state = "sending"
        if self.options.api == "v1" or (self.options.api == "auto" and self._v2_is_missing):
            return self._submit_v1(http, sent)
        try:
            reply = http.post("v2", sent.body)
        except RequestRejectedError as error:
            if self.options.api == "v2" or error.status not in UNKNOWN_API:
                raise
            # 404 and 405 are never billed, so asking the other way costs nothing
            self._v2_is_missing = True
            return self._submit_v1(http, sent)
        return self._accepted(sent, reply)

    def _submit_v1(self, http: SegmindHttp, sent: Sent) -> SegmindTicket:
        self.state = "running"
        reply = http.post("v1", sent.body)
        return SegmindTicket(sent, checked_request_id(reply.headers.get("x-request-id")), reply)

    def _accepted(self, sent: Sent, reply: Reply) -> SegmindTicket:
        value = json_object(reply.body)
        request_id = checked_request_id(value.get("request_id"))
        if request_id is not None:
            return SegmindTicket(sent, request_id, since=time.monotonic())
        if value and not value.keys() & set(OUTPUT_KEYS):
            said = words_of(value)
            told = f" It said: “{redacted(said, self._key)}”." if said else ""
            raise OutcomeUnknownError(
                "The service took the request but gave no usable request id, so its answer cannot "
                f"be collected.{told} {MAYBE_BILLED} Look at the service's console."
            )
        # an answer at once, as v1 gives it
        return SegmindTicket(sent, None, reply)

    def collect(self, ticket: SegmindTicket, stop: threading.Event = NEVER) -> SegmentationResult:
        """Wait for the answer of a ticket; costs nothing, and may be repeated for an hour.

        Raises
        ------
        RequestRejectedError
            If the job failed; nothing was billed.
        OutcomeUnknownError
            If no answer came before the deadline.
        CancelledError
            If stopped; the answer can still be collected.
        """
        http = self._http(self.options.deadline_s, stop)
        with self._explained(ticket):
            reply, answer = self._outcome(http, ticket)
            if answer.kind != "pending":
                outputs = self._downloads(http, answer, ticket)
                answers = [answer, *self._read(outputs, ticket)]
        if answer.kind == "pending":
            # v1 gave a receipt
            return self.collect(SegmindTicket(ticket.sent, answer.usage.request_id), stop)
        usage, self.credits_left = usage_of(reply, answer, ticket.request_id)
        result = make_result(ticket.sent, self.options.answer, answers, usage)
        raw = tuple(RawPart(part.content_type, part.body) for part in (reply, *outputs))
        return replace(result, raw=raw)

    def pack(self, ticket: SegmindTicket) -> bytes:
        """Return all that is needed to collect a ticket's answer later: no key, no picture."""
        return pack_ticket(ticket, self.options)

    def _outcome(self, http: SegmindHttp, ticket: SegmindTicket) -> tuple[Reply, Decoded]:
        if ticket.reply is not None:
            return ticket.reply, self._decoded(ticket.reply, ticket.sent)
        self.state = "queued"
        since = time.monotonic() - POLL_S if ticket.since is None else ticket.since
        # not asked at once: nothing is done so soon, and each question may count
        due = since + POLL_S
        while http.wait_until(due):
            if self._is_done(http, ticket):
                reply = self._completed(http, ticket)
                answer = self._decoded(reply, ticket.sent)
                if answer.kind != "pending":
                    return reply, answer
            now = time.monotonic()
            due = now + min(LONGEST_POLL_S, max(POLL_S, (now - since) / POLLS_PER_ELAPSED))
        raise OutcomeUnknownError(f"The service is not done after {self.options.deadline_s:.0f} s.")

    def _downloads(self, http: SegmindHttp, answer: Decoded, ticket: SegmindTicket) -> list[Reply]:
        outputs = []
        for url in answer.urls:
            self.state = "downloading"
            outputs.append(http.download(url, ticket.request_id))
        return outputs

    def _read(self, outputs: list[Reply], ticket: SegmindTicket) -> list[Decoded]:
        found = [self._decoded(output, ticket.sent) for output in outputs]
        if any(one.urls or one.kind == "pending" for one in found):
            raise ResponseError("The output's address leads to another address, not to a picture.")
        return found

    def _is_done(self, http: SegmindHttp, ticket: SegmindTicket) -> bool:
        reply = http.get("status", f"v2/requests/{ticket.request_id}/status", ticket.request_id)
        status = _refused_if_failed(reply, ticket)
        if status == "PROCESSING":
            self.state = "running"
        return status in DONE

    def _completed(self, http: SegmindHttp, ticket: SegmindTicket) -> Reply:
        self.state = "downloading"
        reply = http.get("result", f"v2/requests/{ticket.request_id}", ticket.request_id)
        _refused_if_failed(reply, ticket)
        return reply

    def _decoded(self, reply: Reply, sent: Sent) -> Decoded:
        overlay = self.options.answer == "overlay"
        try:
            return decode(reply.body, reply.content_type, sent.sent_shape, overlay=overlay)
        except RequestRejectedError as error:
            # an error inside of an answer of 200, which is what the service bills
            rejected = RequestRejectedError(str(error).replace(NOT_BILLED, MAYBE_BILLED))
            rejected.maybe_billed = True
            raise rejected from None

    @contextmanager
    def _explained(self, ticket: SegmindTicket) -> Iterator[None]:
        """Add to errors what was paid, and how to come to the answer; take out the key."""
        try:
            yield
        except CancelledError:
            raise CancelledError(f"Cancelled. {_what_remains(ticket)}") from None
        except EngineError as error:
            text = str(error)
            if "billed" not in text:
                text = f"{text} {_what_remains(ticket, error.status)}"
            error.args = (redacted(text, self._key),)
            error.request_id = error.request_id or ticket.request_id
            # what it was made of may repeat the answer, and with it the key
            error.__cause__ = None
            raise
        finally:
            self.state = ""

    def credits(self, stop: threading.Event = NEVER) -> float | None:
        """Return the account's balance, in US dollars; costs nothing.

        Returns
        -------
        float or None
            None if the service does not tell.

        Raises
        ------
        AuthenticationError
            If the key is not accepted.
        EngineError
            If the service cannot be asked.
        """
        http = self._http(self.options.read_timeout_s, stop)
        try:
            reply = http.get("credits", "v1/get-user-credits")
        except RequestRejectedError as error:
            if error.status in UNKNOWN_API:
                return None
            raise
        value = json_object(reply.body)
        known = [balance(value.get(name)) for name in ("credits", "free-credits")]
        amounts = [amount for amount in known if amount is not None]
        self.credits_left = sum(amounts) if amounts else None
        return self.credits_left

    def _http(self, within_s: float, stop: threading.Event) -> SegmindHttp:
        return SegmindHttp(self.options, self._key or _found_key(), within_s, stop)


def resume(packed: bytes, url: str | None = None) -> tuple[SegmindEngine, SegmindTicket]:
    """Return an engine and a ticket that it can collect, of what `SegmindEngine.pack` gave.

    Parameters
    ----------
    url : str, optional
        An address that the user names; else only the vendor's and the one in the settings
        are asked, whatever the ticket says: the key goes there.

    Raises
    ------
    ResponseError
        If it is no such thing.
    EngineUnavailableError
        If the question was sent to another address.
    """
    options, ticket = unpack_ticket(packed)
    known = (DEFAULT_URL, set_url())
    if options.url != url and (url is not None or options.url not in known):
        raise EngineUnavailableError(
            f"It was sent to {options.url}, which is not the address in the settings, so the key "
            f"was not sent there. If it is yours: napari-sam3 collect --url {options.url}",
            request_id=ticket.request_id,
        )
    return SegmindEngine(options), ticket


def _refused_if_failed(reply: Reply, ticket: SegmindTicket) -> str:
    """Return how far a job is, or raise its error."""
    status = status_of(json_object(reply.body))
    if status in FAILED:
        raise job_failed(detail_of(reply.body)[0], ticket.request_id)
    return status


def _what_remains(ticket: SegmindTicket, status: int | None = None) -> str:
    if ticket.request_id is None or ticket.reply is not None:
        return f"{MAYBE_BILLED} Asking anew is billed again; look at your credits before."
    if status == 404:
        return f"{MAYBE_BILLED} Look at the service's console."
    return (
        "The request may have been billed; its answer can be collected for an hour, at no cost, "
        f"under the request id {ticket.request_id} (“Collect” in the panel, or: "
        "napari-sam3 collect)."
    )


def _found_key() -> ApiKey:
    found = find_key()
    if found is None:
        raise AuthenticationError(
            "The Segmind engine needs an API key: set the environment variable "
            f"{ENVIRONMENT_VARIABLE}, or enter the key in the panel. "
            "The built-in engine needs none."
        )
    return found[0]
