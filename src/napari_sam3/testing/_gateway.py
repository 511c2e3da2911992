"""What stands before the model: addresses, the key, money, the body, in this order.

Each check takes a call and returns the answer that ends it, or None to let it pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from napari_sam3.testing._behaviour import Behaviour, Fault, RequestKind, Trap
from napari_sam3.testing._clock import Clock
from napari_sam3.testing._faults import error_reply
from napari_sam3.testing._jobs import Jobs
from napari_sam3.testing._ledger import Books
from napari_sam3.testing._model import Model
from napari_sam3.testing._storage import Storage
from napari_sam3.testing._wire import Reply, Request

MODEL = "sam3-image"


@dataclass(frozen=True, slots=True)
class Route:
    """What an address means, and the only method that is taken there."""

    step: RequestKind
    method: str
    request_id: str = ""


_ROUTES: tuple[tuple[str, RequestKind, str], ...] = (
    (rf"/v1/{MODEL}", "v1", "POST"),
    (rf"/v2/{MODEL}", "submit", "POST"),
    (r"/v1/get-user-credits", "credits", "GET"),
    (r"/upload-asset", "upload", "POST"),
    (r"/v2/requests/(.+)/status", "status", "GET"),
    (r"/v[12]/requests/(.+)", "result", "GET"),
)


def find_route(target: str) -> Route | None:
    """Return what a path means, or None if there is nothing."""
    path = target.partition("?")[0]
    for pattern, step, method in _ROUTES:
        found = re.fullmatch(pattern, path)
        if found:
            return Route(step, method, unquote(found.group(1)) if found.groups() else "")
    return None


@dataclass(slots=True)
class Service:
    """What all parts of the stand-in work on.

    Parameters
    ----------
    key : str
        The account's.
    model : callable
        See `napari_sam3.testing.Model`.
    failures : list of BaseException
        Errors of the stand-in itself.
    api_url, cdn_url : str
        Of the keyed and of the un-keyed origin.
    """

    key: str = field(repr=False)
    clock: Clock
    books: Books
    jobs: Jobs
    storage: Storage
    model: Model
    failures: list[BaseException] = field(default_factory=list)
    api_url: str = ""
    cdn_url: str = ""

    def free_balance(self) -> float:
        """Return the credits that are left to another call."""
        self.jobs.settle()
        return sum(self.books.credits_left()) - self.jobs.reserved()

    def asset(self, url: str) -> bytes | None:
        """Return an uploaded file by its address, or None if it is not one of ours."""
        return self.storage.asset(url, self.cdn_url)


@dataclass(frozen=True, slots=True)
class Call:
    """A request with all that the checks look at.

    Parameters
    ----------
    route : Route, optional
        None for an unknown address.
    payload : mapping, optional
        The body, if it is a JSON object.
    is_scripted : bool
        Whether the behaviour comes from a script.
    """

    service: Service
    request: Request
    route: Route | None
    payload: Mapping[str, Any] | None = field(repr=False)
    behaviour: Behaviour
    is_scripted: bool

    @property
    def step(self) -> RequestKind | None:
        """Which step of a client's work this is."""
        return None if self.route is None else self.route.step

    @property
    def fault(self) -> Fault | None:
        """What is answered instead, if anything."""
        return self.behaviour.faults.get(self.step) if self.step else None

    @property
    def trap(self) -> Trap | None:
        """What happens to the connection or the answer, if anything."""
        return self.behaviour.traps.get(self.step) if self.step else None


Check = Callable[[Call], Reply | None]


def _address(call: Call) -> Reply | None:
    missing = call.behaviour.v2_missing
    if call.step == "submit" and missing is not None:
        return error_reply(Fault(missing))
    return None if call.route else error_reply(Fault(404), "No such model or path")


def _verb(call: Call) -> Reply | None:
    is_right = call.route is not None and call.request.method == call.route.method
    return None if is_right else error_reply(Fault(405))


def _size(call: Call) -> Reply | None:
    is_large = len(call.request.body) > call.behaviour.max_body
    return error_reply(Fault(413, "html")) if is_large else None


def _key(call: Call) -> Reply | None:
    given = call.request.headers.get("x-api-key")
    if given is None:
        return error_reply(Fault(401), "No API key found in request")
    is_right = given == call.service.key
    return None if is_right else error_reply(Fault(401, "oauth"), "Invalid API key")


def _content_type(call: Call) -> Reply | None:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if kind == "application/json" else error_reply(Fault(406), "Invalid content type")


def _money(call: Call) -> Reply | None:
    balance, cost = call.service.free_balance(), call.behaviour.cost
    if balance >= cost:
        return None
    words = f"Insufficient credits: the balance is {balance:.6f}, this call needs {cost:.6f}"
    return error_reply(Fault(406), words)


def _json(call: Call) -> Reply | None:
    return None if call.payload is not None else error_reply(Fault(400), "Invalid JSON")


def _image(call: Call) -> Reply | None:
    given = call.payload and call.payload.get("image")
    return None if given else error_reply(Fault(400), "Missing required field: image")


def _fault(call: Call) -> Reply | None:
    fault = call.fault
    return None if fault is None or fault.billed else error_reply(fault)


def _rate(call: Call) -> Reply | None:
    rpm, service = call.behaviour.rpm, call.service
    if rpm is None or service.books.allows(rpm, service.clock.now()):
        return None
    return error_reply(Fault(429, reset="iso", reset_in_s=60.0))


def _trap(call: Call) -> Reply | None:
    if call.trap == "reset before":
        return Reply(0, trap=call.trap)
    return redirect(call.trap, call.service.cdn_url, call.request.target)


def redirect(trap: Trap | None, elsewhere: str, target: str) -> Reply | None:
    """Return the redirect that a trap asks for, if any: to the target at another base."""
    bases = {
        "redirect 302": elsewhere,
        "redirect 307": elsewhere,
        "redirect loop": "",
        "redirect away": "https://files.example.com",
    }
    if trap not in bases:
        return None
    status = 307 if trap == "redirect 307" else 302
    return Reply(status, b"", None, {"Location": bases[trap] + target})


_MODEL: Sequence[Check] = (
    _address, _verb, _size, _key, _content_type, _money, _json, _image, _fault, _rate, _trap,
)  # fmt: skip
_UPLOAD: Sequence[Check] = (_address, _verb, _size, _key, _content_type, _json, _fault, _trap)
_LOOK: Sequence[Check] = (_address, _verb, _key, _fault, _trap)


def refusal(call: Call) -> Reply | None:
    """Return the answer of the first check that a call does not pass, or None."""
    checks = {"v1": _MODEL, "submit": _MODEL, "upload": _UPLOAD}.get(call.step or "", _LOOK)
    for check in checks:
        reply = check(call)
        if reply is not None:
            return reply
    return None
