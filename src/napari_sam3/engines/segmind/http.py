"""The wire: keyed calls that never redirect, key-less downloads, deadlines, cancelling.

What `requests` does by itself and must not here: it sends ``x-api-key`` to another
host on a redirect, posts again on a 307, adds netrc's credentials, and measures its
timeout per read, so that a trickling answer never ends.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from napari_sam3.engines.segmind.failures import Failure, Kind, from_status, unknown_outcome
from napari_sam3.engines.segmind.key import ApiKey, redacted
from napari_sam3.engines.segmind.options import MODEL, SegmindOptions, is_loopback
from napari_sam3.engines.segmind.retry import Step, retry_delay
from napari_sam3.errors import (
    CancelledError,
    EngineError,
    EngineUnavailableError,
    ResponseError,
)

MAX_BODY = 256 * 2**20
MAX_REDIRECTS = 3
CHUNK = 2**16
# never "." or "..": that would lead to another address
REQUEST_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,128}")
USER_AGENT = "napari-sam3"
DOWNLOAD_DOMAIN = "segmind.com"
STOP_CHECK_S = 0.05

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """A whole answer.

    Parameters
    ----------
    status : int
    headers : dict
        With lower-case names.
    body : bytes
    """

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """What the answer says it is."""
        return self.headers.get("content-type", "")


class WireError(Exception):
    """Carries a `Failure` to the retry loop."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.kind)
        self.failure = failure


class SegmindHttp:
    """Calls of one account.

    Parameters
    ----------
    options : SegmindOptions
    key : ApiKey
    """

    def __init__(self, options: SegmindOptions, key: ApiKey) -> None:
        self._options = options
        self._key = key
        self._loopback = is_loopback(urlsplit(options.url).hostname)

    def __repr__(self) -> str:
        return f"SegmindHttp({self._options.url})"

    # ------------------------------------------------------------------ keyed calls

    def post(
        self, version: str, body: dict[str, Any], stop: threading.Event, deadline: float
    ) -> Reply:
        """Send one request that may be billed; sent again only if it was not accepted.

        Raises
        ------
        OutcomeUnknownError
            If it was sent and its answer was lost.
        """
        step: Step = "v1" if version == "v1" else "submit"
        read_s = self._options.block_timeout_s if step == "v1" else self._options.read_timeout_s
        url = f"{self._options.url}/{version}/{MODEL}"

        def call() -> Reply:
            return self._keyed("POST", url, read_s, deadline, json=body)

        return self._ask(step, call, stop, deadline)

    def get(
        self, step: Step, path: str, stop: threading.Event, deadline: float, request_id: str = ""
    ) -> Reply:
        """Ask something that costs nothing; a failed job's 422 counts as an answer."""
        url = f"{self._options.url}/{path}"

        def call() -> Reply:
            return self._keyed("GET", url, self._options.read_timeout_s, deadline, request_id)

        return self._ask(step, call, stop, deadline)

    def _keyed(
        self,
        method: str,
        url: str,
        read_s: float,
        deadline: float,
        request_id: str = "",
        json: dict[str, Any] | None = None,
    ) -> Reply:
        headers = {"x-api-key": self._key.reveal(), "User-Agent": USER_AGENT}
        paid = method == "POST"
        with _session() as session:
            reply = self._exchange(
                lambda timeout: session.request(
                    method,
                    url,
                    headers=headers,
                    json=json,
                    timeout=timeout,
                    proxies=requests.utils.get_environ_proxies(url),
                    allow_redirects=False,
                    stream=True,
                ),
                read_s,
                deadline,
                paid=paid,
                request_id=request_id,
            )
        if 200 <= reply.status < 300 or (not paid and _is_failed_job(reply)):
            return reply
        raise WireError(
            from_status(
                reply.status,
                reply.headers,
                redacted(reply.body[:20_000].decode("utf-8", "replace"), self._key).encode(),
                paid=paid,
                request_id=request_id or None,
            )
        )

    # ------------------------------------------------------------------ downloads

    def download(self, url: str, stop: threading.Event, deadline: float) -> Reply:
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
                reply = self._fetch(at, deadline)
                if not 300 <= reply.status < 400:
                    return self._checked_download(reply)
                at = urljoin(at, reply.headers.get("location", ""))
            raise WireError(
                Failure("refused", ResponseError("The output's address redirects too often."))
            )

        return self._ask("download", call, stop, deadline)

    def _fetch(self, url: str, deadline: float) -> Reply:
        with _session() as session:
            return self._exchange(
                lambda timeout: session.get(
                    url,
                    headers={"User-Agent": USER_AGENT},
                    timeout=timeout,
                    proxies=requests.utils.get_environ_proxies(url),
                    allow_redirects=False,
                    stream=True,
                ),
                self._options.read_timeout_s,
                deadline,
                paid=False,
            )

    def _checked_download(self, reply: Reply) -> Reply:
        if 200 <= reply.status < 300:
            return reply
        kind: Kind = "server" if reply.status >= 500 or reply.status == 429 else "refused"
        sentence = (
            f"The answer was computed, but its output cannot be downloaded ({reply.status}); "
            "it is kept at the service for some days."
        )
        raise WireError(Failure(kind, ResponseError(sentence)))

    def _refuse_foreign(self, url: str) -> None:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if self._loopback and is_loopback(host) and parts.scheme in ("http", "https"):
            return
        known = host == DOWNLOAD_DOMAIN or host.endswith(f".{DOWNLOAD_DOMAIN}")
        if parts.scheme == "https" and known and parts.username is None:
            return
        raise WireError(
            Failure(
                "refused",
                ResponseError(
                    f"The service points to an output on {host or 'no host'}, "
                    f"which is not one of its own ({parts.scheme or 'no'} address); "
                    "it was not fetched.",
                ),
            )
        )

    # ------------------------------------------------------------------ one exchange

    def _exchange(
        self,
        send: Callable[[tuple[float, float]], requests.Response],
        read_s: float,
        deadline: float,
        *,
        paid: bool,
        request_id: str = "",
    ) -> Reply:
        left = max(0.1, deadline - time.monotonic())
        timeout = (min(self._options.connect_timeout_s, left), min(read_s, left))
        try:
            with send(timeout) as response:
                body = _read(response, deadline)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status_code, headers, body)
        except requests.RequestException as error:
            raise WireError(self._broken(error, paid, request_id)) from None
        except (OSError, ValueError) as error:
            raise WireError(self._broken(error, paid, request_id)) from None

    def _broken(self, error: Exception, paid: bool, request_id: str) -> Failure:
        # the text of these errors may hold headers: only their kind is told
        if _was_not_sent(error):
            host = urlsplit(self._options.url).hostname
            return Failure(
                "not sent",
                EngineUnavailableError(
                    f"The service cannot be reached ({host}): check the network, the proxy and "
                    "the address. Nothing was sent, and nothing was billed."
                ),
            )
        if isinstance(error, _TooLongError):
            return Failure("refused", ResponseError("The answer is too large to be read safely."))
        what = "it took too long" if _is_timeout(error) else "the connection broke off"
        if paid:
            return Failure("broken", unknown_outcome(what))
        sentence = f"Asking the service failed: {what}. Asking costs nothing; try again."
        return Failure("broken", EngineError(sentence, request_id=request_id or None))

    def _ask(
        self, step: Step, call: Callable[[], Reply], stop: threading.Event, deadline: float
    ) -> Reply:
        attempt = 0
        while True:
            try:
                return interruptible(call, stop)
            except WireError as error:
                attempt += 1
                failure = error.failure
            delay = retry_delay(step, failure, attempt)
            if delay is None or time.monotonic() + delay > deadline:
                raise failure.error
            if stop.wait(delay):
                raise CancelledError("Cancelled.")


class _TooLongError(ValueError):
    pass


class _DeadlineError(requests.Timeout):
    pass


def interruptible(call: Callable[[], T], stop: threading.Event) -> T:
    """Run a blocking call so that `stop` ends the wait for it at once.

    The call itself goes on in the background and is forgotten: HTTP cannot be taken back.

    Raises
    ------
    CancelledError
    """
    result: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, daemon=True, name="sam3-http").start()
    while not done.wait(STOP_CHECK_S):
        if stop.is_set():
            raise CancelledError("Cancelled.")
    if errors:
        raise errors[0]
    return result[0]


def checked_request_id(value: object) -> str | None:
    """Return a request id that is safe inside an address, or None."""
    return value if isinstance(value, str) and REQUEST_ID.fullmatch(value) else None


def _session() -> requests.Session:
    # a new connection each time: one that the host has dropped meanwhile would leave it
    # open whether the request arrived.  No netrc: it would add credentials of another kind.
    session = requests.Session()
    session.trust_env = False
    return session


def _read(response: requests.Response, deadline: float) -> bytes:
    parts, size = [], 0
    for chunk in response.iter_content(CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise _TooLongError
        if time.monotonic() > deadline:
            raise _DeadlineError
    return b"".join(parts)


def _is_failed_job(reply: Reply) -> bool:
    return reply.status == 422 and b'"FAILED"' in reply.body


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, requests.Timeout | TimeoutError)


def _was_not_sent(error: Exception) -> bool:
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    reason: object = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    never = NewConnectionError | NameResolutionError | ConnectTimeoutError | SSLError
    return isinstance(error, requests.exceptions.SSLError) or isinstance(reason, never)
