"""The wire: keyed calls that never redirect, key-less downloads, retries, cancelling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from napari_sam3.engines.base import NEVER, raise_if_stopped
from napari_sam3.engines.segmind import wire
from napari_sam3.engines.segmind.failures import (
    NOT_BILLED,
    PAID,
    Failure,
    Kind,
    RequestKind,
    from_status,
    retry_delay,
    says_failed,
    unknown_outcome,
)
from napari_sam3.engines.segmind.key import ApiKey, redacted
from napari_sam3.engines.segmind.options import MODEL, SegmindOptions, is_loopback, split_address
from napari_sam3.engines.segmind.wire import (
    WIRE_ERRORS,
    DeadlineError,
    KeyHeader,
    Reply,
    TooLongError,
    WireError,
    interruptible,
    new_session,
    proxies_for,
    read_body,
    was_not_sent,
)
from napari_sam3.errors import (
    CancelledError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    ResponseError,
)

MAX_REDIRECTS = 3
SHORTEST_TIMEOUT_S = 0.1
LEAST_KEY = 8
USER_AGENT = "napari-sam3"
DOWNLOAD_DOMAIN = "segmind.com"


class SegmindHttp:
    """Calls of one account, until they are stopped or their time is over.

    Parameters
    ----------
    within_s : float
        For all calls together.
    """

    def __init__(
        self,
        options: SegmindOptions,
        key: ApiKey,
        within_s: float,
        stop: threading.Event = NEVER,
    ) -> None:
        self._options = options
        self._key = key
        self._stop = stop
        self._deadline = time.monotonic() + within_s
        self._loopback = is_loopback(urlsplit(options.url).hostname)

    def __repr__(self) -> str:
        return f"SegmindHttp({self._options.url})"

    def wait_until(self, when: float) -> bool:
        """Wait for a moment of `time.monotonic`; return False if it is too late by then.

        Raises
        ------
        CancelledError
            If stopped.
        """
        if when >= self._deadline:
            return False
        self._stop.wait(max(0.0, when - time.monotonic()))
        raise_if_stopped(self._stop)
        return True

    # ------------------------------------------------------------------ keyed calls

    def post(self, version: str, body: dict[str, Any]) -> Reply:
        """Send one request that may be billed; sent again only if it was not accepted.

        Raises
        ------
        OutcomeUnknownError
            If it was sent and its answer was lost.
        """
        return self._keyed("v1" if version == "v1" else "submit", f"{version}/{MODEL}", json=body)

    def get(self, step: RequestKind, path: str, request_id: str | None = None) -> Reply:
        """Ask something that costs nothing; the word of a failed job counts as an answer."""
        return self._keyed(step, path, request_id)

    def _keyed(
        self,
        step: RequestKind,
        path: str,
        request_id: str | None = None,
        json: dict[str, Any] | None = None,
    ) -> Reply:
        def call() -> Reply:
            url = f"{self._options.url}/{path}"
            reply = self._exchange(step, url, request_id, KeyHeader(self._key), json)
            if 200 <= reply.status < 300 or (step not in PAID and says_failed(reply.body)):
                return reply
            said = redacted(reply.body[:20_000].decode("utf-8", "replace"), self._key).encode()
            raise WireError(
                from_status(
                    reply.status,
                    reply.headers,
                    said,
                    paid=step in PAID,
                    request_id=request_id,
                )
            )

        return self._ask(step, call, request_id)

    # ------------------------------------------------------------------ downloads

    def download(self, url: str, request_id: str | None = None) -> Reply:
        """Fetch an output, without the key, from hosts that the service is known to use.

        Raises
        ------
        ResponseError
            If the address is not one of those.
        """

        def call() -> Reply:
            at = url
            for _ in range(MAX_REDIRECTS + 1):
                self._refuse_foreign(at)
                reply = self._exchange("download", at, request_id)
                if not 300 <= reply.status < 400:
                    return _checked_download(reply)
                at = _next_address(at, reply)
            raise WireError(
                Failure("refused", ResponseError("The output's address redirects too often."))
            )

        return self._ask("download", call, request_id)

    def _refuse_foreign(self, url: str) -> None:
        parts = split_address(url)
        host = (parts.hostname or "").lower() if parts else ""
        scheme = parts.scheme if parts else ""
        if self._loopback and is_loopback(host) and scheme in ("http", "https"):
            return
        if scheme == "https" and f".{host}".endswith(f".{DOWNLOAD_DOMAIN}"):
            return
        sentence = (
            f"The service points to an output on {host or 'no host'}, "
            f"which is not one of its own ({scheme or 'no'} address); it was not fetched."
        )
        raise WireError(Failure("refused", ResponseError(sentence)))

    # ------------------------------------------------------------------ one exchange

    def _exchange(
        self,
        step: RequestKind,
        url: str,
        request_id: str | None,
        auth: KeyHeader | None = None,
        json: dict[str, Any] | None = None,
    ) -> Reply:
        options = self._options
        read_s = options.block_timeout_s if step == "v1" else options.read_timeout_s
        left = max(SHORTEST_TIMEOUT_S, self._deadline - time.monotonic())
        try:
            with (
                new_session() as session,
                session.request(
                    "POST" if step in PAID else "GET",
                    url,
                    headers={"User-Agent": USER_AGENT},
                    auth=auth,
                    json=json,
                    timeout=(min(options.connect_timeout_s, left), min(read_s, left)),
                    proxies=proxies_for(url),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                return self._reply(response, read_body(response, self._deadline))
        except WIRE_ERRORS as error:
            failure = self._broken(error, step, request_id)
        # outside of the handler: that error and its frames may hold the key
        raise WireError(failure)

    def _reply(self, response: requests.Response, body: bytes) -> Reply:
        """Return an answer without the key, should the service repeat it."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        if len(self._key.reveal()) >= LEAST_KEY:
            headers = {name: redacted(value, self._key) for name, value in headers.items()}
            body = body.replace(self._key.reveal().encode(), "…".encode())
        return Reply(response.status_code, headers, body)

    def _broken(self, error: Exception, step: RequestKind, request_id: str | None) -> Failure:
        # the text of these errors may hold headers: only their kind is told
        is_collecting = bool(request_id) or step == "download"
        if was_not_sent(error):
            host = urlsplit(self._options.url).hostname
            cost = "" if is_collecting else " Nothing was sent, and nothing was billed."
            return Failure(
                "not sent",
                EngineUnavailableError(
                    f"The service cannot be reached ({host}): check the network, the proxy and "
                    f"the address.{cost}",
                    request_id=request_id,
                ),
            )
        if isinstance(error, TooLongError):
            cost = " It may have been billed." if step in PAID else ""
            size = f"over {wire.MAX_BODY // 2**20} MB"
            too_long = ResponseError(f"The answer is too large to be read safely ({size}).{cost}")
            too_long.maybe_billed = step in PAID
            return Failure("refused", too_long)
        is_late = isinstance(error, requests.Timeout | TimeoutError)
        what = "it took too long" if is_late else "the connection broke off"
        if step in PAID:
            return Failure("broken", unknown_outcome(what))
        if is_collecting:
            lost = f"The answer could not be fetched: {what}."
            return Failure("broken", OutcomeUnknownError(lost, request_id=request_id))
        return Failure(
            "broken", EngineError(f"Asking the service failed: {what}; try again. {NOT_BILLED}")
        )

    def _ask(self, step: RequestKind, call: Callable[[], Reply], request_id: str | None) -> Reply:
        attempt = 0
        while True:
            raise_if_stopped(self._stop)
            try:
                return interruptible(call, self._stop, self._deadline)
            except WireError as error:
                failure = error.failure
            except DeadlineError as error:
                failure = self._broken(error, step, request_id)
            except CancelledError:
                was_sent = step in PAID
                cost = " The request had been sent already, so it may still be billed."
                raise CancelledError(
                    f"Cancelled.{cost if was_sent else ''}", was_sent=was_sent
                ) from None
            attempt += 1
            delay = retry_delay(step, failure, attempt)
            if delay is None or time.monotonic() + delay > self._deadline:
                raise failure.error
            self._stop.wait(delay)


def _next_address(at: str, reply: Reply) -> str:
    try:
        return urljoin(at, reply.headers.get("location", ""))
    except ValueError:
        return ""


def _checked_download(reply: Reply) -> Reply:
    if 200 <= reply.status < 300:
        return reply
    kind: Kind = "server" if reply.status >= 500 or reply.status == 429 else "refused"
    sentence = (
        f"The answer was computed, but its output cannot be downloaded ({reply.status}); "
        "it is kept at the service for some days."
    )
    raise WireError(Failure(kind, ResponseError(sentence)))
