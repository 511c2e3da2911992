"""What was asked, what it cost, and where the key turned up."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

KEY_MARKER = "<key>"
_KEY_LIKE = re.compile(r"SG_[0-9A-Za-z]+")
_MICRO = 1_000_000
_MINUTE_S = 60.0

Place = Literal["api", "cdn"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request, as it arrived.

    Parameters
    ----------
    origin : {"api", "cdn"}
        Which of the two origins it came to.
    method, path : str
        As sent, query included; a key in it is replaced by a marker.
    step : str
        What it was: ``v1``, ``submit``, ``status``, ``result``, ``download``, ``credits``,
        ``upload``, or ``""`` for none of them.
    headers : mapping
        With lower-case names; keys are replaced by a marker.
    fields : mapping
        The JSON body without its pictures.
    image_shape : tuple of int, optional
        (rows, cols) of the picture that was sent.
    image_format : str
        ``PNG``, ``JPEG``, …; empty without a picture.
    status : int, optional
        Of the answer; None if there is none (yet).
    """

    origin: Place
    method: str
    path: str
    step: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    image_shape: tuple[int, int] | None = None
    image_format: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The account and the traffic at one moment.

    Parameters
    ----------
    posts : int
        Requests to run the model that reached the service, whatever became of them.
    billed : int
        How many answers were paid.
    balance, spent : float
        Credits left, free ones included, and credits paid.
    leaked_keys : int
        How often a key, or an Authorization header, came to where it must not.
    requests : tuple of Recorded
        In the order of their arrival, at both origins.
    """

    posts: int
    billed: int
    balance: float
    spent: float
    leaked_keys: int
    requests: tuple[Recorded, ...] = field(repr=False)

    def of(self, step: str) -> tuple[Recorded, ...]:
        """Return the requests of one step."""
        return tuple(request for request in self.requests if request.step == step)


class Books:
    """Keeps the account; may be used from several threads.  Free credits are spent first."""

    def __init__(self, key: str, credits: float, free_credits: float) -> None:  # noqa: A002 - the service's word
        self._key = key
        self._lock = threading.Lock()
        # whole millionths: sums of prices are then exact
        self._credits, self._free = _micro(credits), _micro(free_credits)
        self._spent = self._posts = self._billed = self._leaked = 0
        self._requests: list[Recorded] = []
        self._recent: deque[float] = deque()

    def arrive(self, request: Recorded, *, leaks: bool) -> int:
        """Write down a request; return its number."""
        with self._lock:
            self._posts += request.method == "POST" and request.step in ("v1", "submit")
            self._leaked += leaks
            self._requests.append(request)
            return len(self._requests) - 1

    def answered(self, number: int, status: int | None) -> None:
        """Write down what a request was answered with."""
        with self._lock:
            self._requests[number] = replace(self._requests[number], status=status)

    def charge(self, price: float) -> None:
        """Take the price of one answer from the account."""
        with self._lock:
            amount = _micro(price)
            free = min(self._free, amount)
            self._free -= free
            self._credits -= amount - free
            self._spent += amount
            self._billed += 1

    def refill(self, credits: float) -> None:  # noqa: A002 - the service's word
        """Set the paid credits."""
        with self._lock:
            self._credits = _micro(credits)

    def credits_left(self) -> tuple[float, float]:
        """Return paid and free credits."""
        with self._lock:
            return self._credits / _MICRO, self._free / _MICRO

    def allows(self, rpm: int, now: float) -> bool:
        """Count a post against the limit of posts per minute; return whether it may pass."""
        with self._lock:
            while self._recent and self._recent[0] <= now - _MINUTE_S:
                self._recent.popleft()
            if len(self._recent) >= rpm:
                return False
            self._recent.append(now)
            return True

    def snapshot(self) -> Ledger:
        """Return the books as they are now."""
        with self._lock:
            return Ledger(
                self._posts,
                self._billed,
                (self._credits + self._free) / _MICRO,
                self._spent / _MICRO,
                self._leaked,
                tuple(self._requests),
            )

    def redacted(self, text: str) -> str:
        """Return a text without keys."""
        return _KEY_LIKE.sub(KEY_MARKER, text.replace(self._key, KEY_MARKER))

    def redacted_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers without keys."""
        secret = ("x-api-key", "authorization")
        shown = {
            name: KEY_MARKER if name in secret else self.redacted(value)
            for name, value in headers.items()
        }
        return MappingProxyType(shown)

    def leaks_key(self, origin: Place, target: str, headers: Mapping[str, str]) -> bool:
        """Whether a request carries a key to where it must not."""
        if self._key in target or _KEY_LIKE.search(target):
            return True
        if origin == "api":
            return False
        named = "x-api-key" in headers or "authorization" in headers
        return named or any(self._key in value for value in headers.values())


def _micro(amount: float) -> int:
    return round(amount * _MICRO)
