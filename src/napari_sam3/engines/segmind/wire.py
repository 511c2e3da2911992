"""One exchange over HTTP: nothing here knows the service, or whether it costs money.

What `requests` does by itself and must not here: it adds netrc's credentials, measures its
timeout per read, so that a trickling answer never ends, and keeps the key in what it raises.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    SSLError,
)

from napari_sam3.engines.segmind.failures import Failure
from napari_sam3.engines.segmind.key import ApiKey
from napari_sam3.engines.segmind.options import is_loopback
from napari_sam3.errors import CancelledError

MAX_BODY = 256 * 2**20
CHUNK = 2**16
STOP_CHECK_S = 0.05
WIRE_ERRORS = (requests.RequestException, HTTPError, OSError, ValueError)
HANDSHAKE = frozenset({"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"})
"""What TLS says before anything was sent; its other errors may come later."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """A whole answer; its headers have lower-case names."""

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


class TooLongError(ValueError):
    """More bytes than can be read safely."""


class DeadlineError(requests.Timeout):
    """The whole exchange takes too long, however often something comes."""


class KeyHeader(AuthBase):
    """Puts the key on a request at the last moment, so that no variable of ours holds it."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["x-api-key"] = self._key.reveal()
        return request


class _Session(requests.Session):
    """One that never looks where a redirect leads, and so never goes there."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - requests'
        """Return nowhere; `requests` would also read such an answer's whole body at once."""
        return None


def new_session() -> requests.Session:
    """Return a session for one exchange, without credentials of any kind."""
    # a new connection each time: one that the host has dropped meanwhile would leave it
    # open whether the request arrived
    session = _Session()
    session.trust_env = False
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    session.verify = bundle or True
    return session


def proxies_for(url: str) -> dict[str, str]:
    """Return the system's proxies, but none to this computer: the key would leave it in clear."""
    if is_loopback(urlsplit(url).hostname):
        return {}
    return dict(requests.utils.get_environ_proxies(url))


def read_body(response: requests.Response, deadline: float) -> bytes:
    """Read an answer's body, within `MAX_BODY` and until the deadline."""
    parts, size = [], 0
    # whatever is there: a full chunk of a trickle may take for ever
    for chunk in iter(partial(response.raw.read1, CHUNK, decode_content=True), b""):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise TooLongError
        if time.monotonic() > deadline:
            raise DeadlineError
    return b"".join(parts)


def interruptible(call: Callable[[], T], stop: threading.Event, deadline: float) -> T:
    """Run a blocking call so that `stop` and the deadline end the wait for it at once.

    The call itself goes on in the background and is forgotten: HTTP cannot be taken back.
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
        if time.monotonic() > deadline:
            raise DeadlineError
    if errors:
        raise errors[0]
    return result[0]


def was_not_sent(error: Exception) -> bool:
    """Whether an error proves that the request did not reach the service."""
    never = requests.ConnectTimeout | requests.exceptions.InvalidURL
    if isinstance(error, never | requests.exceptions.InvalidSchema):
        return True
    reason: object = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    if isinstance(reason, ProxyError):
        # by itself it proves nothing: a connection lost behind the proxy is called so too
        reason = reason.original_error
        if isinstance(reason, OSError) and str(reason).startswith("Tunnel connection failed"):
            return True
    if isinstance(reason, SSLError):
        cause = reason.args[0] if reason.args else None
        return isinstance(cause, ssl.SSLError) and cause.reason in HANDSHAKE
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)
