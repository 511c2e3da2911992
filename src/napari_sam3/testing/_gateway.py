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
from napari_sam3.testing._faults import error_reply
from napari_sam3.testing._wire import Reply, Request

MODEL = "sam3-image"


@dataclass(frozen=True, slots=True)
class Route:
    """What an address means.

    Parameters
    ----------
    step : str
    method : str
        The only one that is taken there.
    request_id : str
        Of the job that is asked about.
    """

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


@dataclass(frozen=True, slots=True)
class Call:
    """A request with all that the checks look at.

    Parameters
    ----------
    request : Request
    route : Route, optional
        None for an unknown address.
    payload : mapping, optional
        The body, if it is a JSON object.
    behaviour : Behaviour
    is_scripted : bool
        Whether the behaviour comes from a script.
    key : str
        The account's.
    balance : callable
        → credits left to this call.
    may_post : callable
        Behaviour → whether the limit of posts per minute allows one more.
    bait_url : str
        The un-keyed origin, for redirects.
    """

    request: Request
    route: Route | None
    payload: Mapping[str, Any] | None = field(repr=False)
    behaviour: Behaviour
    is_scripted: bool
    key: str = field(repr=False)
    balance: Callable[[], float]
    may_post: Callable[[Behaviour], bool]
    bait_url: str

    @property
    def step(self) -> RequestKind | None:
        """Which step of a client's work this is."""
        return None if self.route is None else self.route.step


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
    return None if given == call.key else error_reply(Fault(401, "oauth"), "Invalid API key")


def _content_type(call: Call) -> Reply | None:
    kind = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if kind == "application/json" else error_reply(Fault(406), "Invalid content type")


def _money(call: Call) -> Reply | None:
    balance, cost = call.balance(), call.behaviour.cost
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
    fault = call.behaviour.faults.get(call.step) if call.step else None
    return None if fault is None or fault.billed else error_reply(fault)


def _rate(call: Call) -> Reply | None:
    if call.may_post(call.behaviour):
        return None
    return error_reply(Fault(429, reset="iso", reset_in_s=60.0))


def _trap(call: Call) -> Reply | None:
    trap = call.behaviour.traps.get(call.step) if call.step else None
    if trap == "reset before":
        return Reply(0, trap=trap)
    return redirect(trap, call.bait_url, call.request.target)


def redirect(trap: Trap | None, elsewhere: str, target: str) -> Reply | None:
    """Return the redirect that a trap asks for, or None if it asks for none.

    Parameters
    ----------
    trap : str, optional
    elsewhere : str
        What an address gets put before it, where the trap says nothing else.
    target : str
        What was asked for.

    Returns
    -------
    Reply or None
    """
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
    _address,
    _verb,
    _size,
    _key,
    _content_type,
    _money,
    _json,
    _image,
    _fault,
    _rate,
    _trap,
)
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
