"""The hosted engine: a question, one paid call, its answer."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_sam3.core.instances import BoolArray, Instance, Instances
from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import (
    NEVER,
    Capabilities,
    SegmentationRequest,
    SegmentationResult,
    Usage,
    raise_if_stopped,
)
from napari_sam3.engines.segmind import CAPABILITIES
from napari_sam3.engines.segmind.bodies import UnreadableError
from napari_sam3.engines.segmind.decode import (
    Decoded,
    DecodeLimits,
    decode,
    fit_mask,
    split_into_instances,
)
from napari_sam3.engines.segmind.failures import detail_of, job_failed
from napari_sam3.engines.segmind.http import (
    Reply,
    SegmindHttp,
    checked_request_id,
)
from napari_sam3.engines.segmind.json_values import number, parse_json
from napari_sam3.engines.segmind.key import ENVIRONMENT_VARIABLE, ApiKey, find_key
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.engines.segmind.payload import Sent, build_payload
from napari_sam3.errors import (
    AuthenticationError,
    OutcomeUnknownError,
    RequestRejectedError,
    ResponseError,
)

POLL_S = (1.0, 1.0, 2.0, 3.0, 5.0, 5.0, 8.0, 10.0)

MAX_CONTROL_BODY = 2**20
"""Bytes of an answer that holds no picture: larger ones are not parsed for a request id."""

UNKNOWN_API = (404, 405)
"""Answers that mean: there is no such address, or not for this verb."""

SPLIT_NOTICE = (
    "instances: split from one mask. The service gave one mask for all objects, so those that "
    "touch are one; “separate masks” asks for each by itself."
)
COMBINED_NOTICE = (
    "Text, examples and clicks were sent together; the model may have left one kind out of account."
)


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A question that was accepted, and so is paid for.

    Parameters
    ----------
    sent : Sent
        What was sent, and how to read the answer.
    request_id : str, optional
        Under which the answer can be collected, for an hour; None on v1.
    reply : Reply, optional
        The answer itself, where it came at once.
    """

    sent: Sent = field(repr=False)
    request_id: str | None = None
    reply: Reply | None = None


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

    def __init__(self, options: SegmindOptions | None = None, key: ApiKey | None = None) -> None:
        self.options = options or SegmindOptions()
        self.state = ""
        self.credits_left: float | None = None
        self._key = key
        self._v2_is_missing = False

    @property
    def capabilities(self) -> Capabilities:
        """What the service can answer."""
        return CAPABILITIES

    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Ask, wait, and read the answer; see `napari_sam3.engines.base.Engine.segment`."""
        return self.collect(self.submit(request, stop), stop)

    def payload(self, request: SegmentationRequest) -> Sent:
        """Return exactly what a request would send, without sending it."""
        refuse_unsupported(self.name, self.capabilities, request.prompt)
        return build_payload(request, self.options)

    def submit(self, request: SegmentationRequest, stop: threading.Event = NEVER) -> Ticket:
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
        http, deadline = self._http(), self._deadline()
        self.state = "sending"
        if self.options.api == "v1" or (self.options.api == "auto" and self._v2_is_missing):
            return self._submit_v1(http, sent, stop, deadline)
        try:
            reply = http.post("v2", sent.body, stop, deadline)
        except RequestRejectedError as error:
            if self.options.api == "v2" or error.status not in UNKNOWN_API:
                raise
            # 404 and 405 are never billed, so asking the other way costs nothing
            self._v2_is_missing = True
            return self._submit_v1(http, sent, stop, deadline)
        return self._accepted(sent, reply)

    def _submit_v1(
        self, http: SegmindHttp, sent: Sent, stop: threading.Event, deadline: float
    ) -> Ticket:
        self.state = "running"
        reply = http.post("v1", sent.body, stop, deadline)
        return Ticket(sent, checked_request_id(reply.headers.get("x-request-id")), reply)

    def _accepted(self, sent: Sent, reply: Reply) -> Ticket:
        value = _json_object(reply)
        request_id = checked_request_id(value.get("request_id"))
        if request_id is not None:
            return Ticket(sent, request_id)
        if value:
            raise OutcomeUnknownError(
                "The service took the request but gave no usable request id, so its answer cannot "
                "be collected. It may have been billed; look at the service's console."
            )
        # an answer at once, as v1 gives it
        return Ticket(sent, None, reply)

    def collect(self, ticket: Ticket, stop: threading.Event = NEVER) -> SegmentationResult:
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
        http, deadline = self._http(), self._deadline()
        reply = ticket.reply
        if reply is None:
            reply = self._wait(http, ticket, stop, deadline)
        answer = self._decoded(reply, ticket.sent)
        if answer.kind == "pending" and ticket.reply is not None:
            return self.collect(replace(ticket, request_id=answer.request_id, reply=None), stop)
        answers = [answer, *self._downloaded(http, answer, ticket.sent, stop, deadline)]
        self.state = ""
        return self._result(ticket, reply, answers)

    def _wait(
        self, http: SegmindHttp, ticket: Ticket, stop: threading.Event, deadline: float
    ) -> Reply:
        request_id = ticket.request_id or ""
        self.state, polls = "queued", 0
        while True:
            path = f"v2/requests/{request_id}/status"
            value = _json_object(http.get("status", path, stop, deadline, request_id))
            status = str(value.get("status", "")).upper()
            if status == "FAILED":
                raise job_failed(detail_of(json.dumps(value).encode())[0], request_id)
            if status == "COMPLETED":
                self.state = "downloading"
                return self._completed(http, request_id, stop, deadline)
            self.state = "running" if status == "PROCESSING" else self.state
            wait = POLL_S[min(polls, len(POLL_S) - 1)]
            if time.monotonic() + wait > deadline:
                raise OutcomeUnknownError(
                    f"The service is not done after {self.options.deadline_s:.0f} s. The request "
                    "may still be billed; its answer can be collected for an hour under the "
                    f"request id {request_id}.",
                    request_id=request_id,
                )
            polls += 1
            stop.wait(wait)
            raise_if_stopped(stop)

    def _completed(
        self, http: SegmindHttp, request_id: str, stop: threading.Event, deadline: float
    ) -> Reply:
        reply = http.get("result", f"v2/requests/{request_id}", stop, deadline, request_id)
        value = _json_object(reply)
        if str(value.get("status", "")).upper() == "FAILED":
            raise job_failed(detail_of(reply.body)[0], request_id)
        return reply

    def _decoded(self, reply: Reply, sent: Sent) -> Decoded:
        overlay = self.options.answer == "overlay"
        return decode(reply.body, reply.content_type, sent.sent_shape, overlay=overlay)

    def _downloaded(
        self,
        http: SegmindHttp,
        answer: Decoded,
        sent: Sent,
        stop: threading.Event,
        deadline: float,
    ) -> list[Decoded]:
        found = []
        for url in answer.urls:
            self.state = "downloading"
            found.append(self._decoded(http.download(url, stop, deadline), sent))
        if any(one.urls or one.kind == "pending" for one in found):
            raise ResponseError("The output's address leads to another address, not to a picture.")
        return found

    def _result(self, ticket: Ticket, reply: Reply, answers: list[Decoded]) -> SegmentationResult:
        sent = ticket.sent
        masks = [fit_mask(m, sent.image_shape) for answer in answers for m in answer.masks]
        pictures = tuple(picture for answer in answers for picture in answer.pictures)
        is_separate = any(answer.kind == "masks" for answer in answers)
        items, notices = self._instances(sent, masks, is_separate)
        notices += [notice for answer in answers for notice in answer.notices]
        if "points_input" in sent.body and len(sent.body.keys() & _CONCEPT_FIELDS):
            notices.append(COMBINED_NOTICE)
        usage = self._usage(ticket, reply, answers[0])
        return SegmentationResult(
            Instances(sent.image_shape, tuple(items)),
            usage,
            tuple(dict.fromkeys([*sent.notices, *notices])),
            pictures,
        )

    def _instances(
        self, sent: Sent, masks: list[BoolArray], is_separate: bool
    ) -> tuple[list[Instance], list[str]]:
        if sent.is_one_object and masks:
            whole = Instance.from_mask(np.logical_or.reduce(masks), None, sent.concept)
            return ([whole] if whole else []), []
        if is_separate or len(masks) != 1 or self.options.answer == "separate masks":
            found = (Instance.from_mask(mask, None, sent.concept) for mask in masks)
            return [item for item in found if item is not None], []
        items = [replace(i, concept=sent.concept) for i in split_into_instances(masks[0])]
        return items, [SPLIT_NOTICE]

    def _usage(self, ticket: Ticket, reply: Reply, answer: Decoded) -> Usage:
        headers = reply.headers
        cost = answer.credits if answer.credits is not None else number(headers.get("x-cost"))
        seconds = answer.seconds
        if seconds is None:
            seconds = number(headers.get("x-generation-time"))
        left = answer.credits_left
        self.credits_left = left if left is not None else number(headers.get("x-remaining-credits"))
        return Usage(cost, seconds, ticket.request_id)

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
        http = self._http()
        deadline = time.monotonic() + self.options.read_timeout_s
        try:
            reply = http.get("credits", "v1/get-user-credits", stop, deadline)
        except RequestRejectedError as error:
            if error.status in UNKNOWN_API:
                return None
            raise
        value = _json_object(reply)
        known = [number(value.get(name)) for name in ("credits", "free-credits")]
        amounts = [amount for amount in known if amount is not None]
        self.credits_left = sum(amounts) if amounts else None
        return self.credits_left

    def _http(self) -> SegmindHttp:
        return SegmindHttp(self.options, self._key or _found_key())

    def _deadline(self) -> float:
        return time.monotonic() + self.options.deadline_s


_CONCEPT_FIELDS = {"text_prompt", "boxes_input"}


def _found_key() -> ApiKey:
    found = find_key()
    if found is None:
        raise AuthenticationError(
            "The Segmind engine needs an API key: set the environment variable "
            f"{ENVIRONMENT_VARIABLE}, or enter the key in the panel. "
            "The built-in engine needs none."
        )
    return found[0]


def _json_object(reply: Reply) -> dict[str, Any]:
    """Return a JSON object, or an empty one where the answer is none."""
    if len(reply.body) > MAX_CONTROL_BODY:
        return {}
    try:
        value = parse_json(reply.body.decode("utf-8", "replace"), DecodeLimits())
    except UnreadableError:
        return {}
    return value if isinstance(value, dict) else {}
