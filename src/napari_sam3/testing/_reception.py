"""A request comes in: it is written down, gets its behaviour, its answer, and its mishap."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from napari_sam3.testing._behaviour import Behaviour, RequestKind
from napari_sam3.testing._clock import Clock
from napari_sam3.testing._desk import Desk
from napari_sam3.testing._faults import error_reply
from napari_sam3.testing._gateway import Call, Route, find_route, refusal
from napari_sam3.testing._images import ImageRefusedError, image_bytes, read_header
from napari_sam3.testing._jobs import Jobs
from napari_sam3.testing._ledger import Books, Place, Recorded
from napari_sam3.testing._storage import Storage
from napari_sam3.testing._wire import Reply, Request

_PICTURE_FIELDS = ("image", "data_urls")
_FILE_FOLDERS = ("/generations/", "/assets/", "/moved/")


class Reception:
    """Takes requests of both origins; may be used from several threads.

    Parameters
    ----------
    behaviour : Behaviour
        Unless a script says otherwise; may be set at any time.
    key : str
    clock, books, jobs, storage, desk
        What a request needs.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        key: str,
        clock: Clock,
        books: Books,
        jobs: Jobs,
        storage: Storage,
        desk: Desk,
    ) -> None:
        self.behaviour = behaviour
        self._key, self._clock, self._books = key, clock, books
        self._jobs, self._storage, self._desk = jobs, storage, desk
        self._scripts: dict[RequestKind | None, deque[Behaviour]] = {}
        self._lock = threading.Lock()

    def script(self, behaviours: Iterable[Behaviour], step: RequestKind | None) -> None:
        """Add to the behaviours of the next requests; see `SegmindServer.script`."""
        with self._lock:
            self._scripts.setdefault(step, deque()).extend(behaviours)

    def answer(self, place: Place, request: Request) -> Reply:
        """Answer a request at one of the two origins."""
        route = _route(place, request)
        behaviour, is_scripted = self._behaviour_for(route, request)
        payload = _payload(request.body)
        number = self._record(place, request, route, payload)
        call = Call(
            request,
            route,
            payload,
            behaviour,
            is_scripted,
            self._key,
            self._balance,
            self._may_post,
            self._desk.cdn_url,
        )
        is_keyed = place == "api"
        reply = (refusal(call) or self._desk.api(call)) if is_keyed else self._desk.cdn(call)
        sent = self._on_its_way(reply, call)
        self._books.answered(number, None if (sent.trap or "").startswith("reset") else sent.status)
        return sent

    def _behaviour_for(self, route: Route | None, request: Request) -> tuple[Behaviour, bool]:
        if route is None or request.method != route.method:
            return self.behaviour, False
        own = self._next(route.step)
        if own is not None:
            return own, route.step in ("v1", "submit")
        scripted: Behaviour | None = None
        if route.step in ("v1", "submit"):
            scripted = self._next(None)
        elif route.step == "download":
            file = self._storage.get(request.target.partition("?")[0].removeprefix("/moved"))
            scripted = file.behaviour if file else None
        elif route.request_id:
            job = self._jobs.find(route.request_id)
            scripted = job.behaviour if job and job.is_scripted else None
        return scripted or self.behaviour, scripted is not None

    def _next(self, step: RequestKind | None) -> Behaviour | None:
        with self._lock:
            waiting = self._scripts.get(step)
            return waiting.popleft() if waiting else None

    def _record(
        self,
        place: Place,
        request: Request,
        route: Route | None,
        payload: Mapping[str, Any] | None,
    ) -> int:
        shape, form = self._picture_of(payload)
        shown = {n: v for n, v in (payload or {}).items() if n not in _PICTURE_FIELDS}
        recorded = Recorded(
            place,
            request.method,
            self._books.redacted(request.target),
            route.step if route else "",
            self._books.redacted_headers(request.headers),
            MappingProxyType(shown),
            shape,
            form,
        )
        leaks = self._books.leaks_key(place, request.target, request.headers)
        return self._books.arrive(recorded, leaks=leaks)

    def _picture_of(self, payload: Mapping[str, Any] | None) -> tuple[tuple[int, int] | None, str]:
        given = (payload or {}).get("image")
        if not isinstance(given, str):
            return None, ""
        try:
            return read_header(
                image_bytes(given, lambda url: self._storage.asset(url, self._desk.cdn_url))
            )
        except ImageRefusedError:
            return None, ""

    def _balance(self) -> float:
        self._jobs.settle()
        return sum(self._books.credits_left()) - self._jobs.reserved()

    def _may_post(self, behaviour: Behaviour) -> bool:
        return behaviour.rpm is None or self._books.allows(behaviour.rpm, self._clock.now())

    def _on_its_way(self, reply: Reply, call: Call) -> Reply:
        """Let happen to an answer what the behaviour says happens to its step."""
        step, behaviour = call.step, call.behaviour
        if step is None:
            return reply
        fault = behaviour.faults.get(step)
        if fault is not None and fault.billed and reply.status < 300:
            reply = error_reply(fault)
        self._clock.wait(behaviour.delays_s.get(step, 0.0))
        content_type = reply.content_type
        if (
            reply.status == 200
            and step in ("v1", "download")
            and behaviour.content_type is not None
        ):
            content_type = behaviour.content_type or None
        trap = reply.trap or behaviour.traps.get(step)
        sent = Reply(
            reply.status, reply.body, content_type, reply.headers, trap, behaviour.trickle_s
        )
        return sent.compressed() if behaviour.gzip and sent.status == 200 else sent


def _route(place: Place, request: Request) -> Route | None:
    if place == "cdn" and request.target.startswith(_FILE_FOLDERS):
        return Route("download", "GET")
    route = find_route(request.target)
    # the model is not at the cdn: such a request followed a redirect
    is_lost = place == "cdn" and route is not None and not route.request_id
    return None if is_lost else route


def _payload(body: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(body, parse_constant=_refuse_constant) if body else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
