"""A request comes in: it is written down, gets its behaviour, its answer, and its mishap."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from napari_sam3.testing._behaviour import Behaviour, RequestKind
from napari_sam3.testing._desk import answer_at_api, answer_at_cdn
from napari_sam3.testing._faults import error_reply
from napari_sam3.testing._fields import InvalidError, image_bytes, read_header
from napari_sam3.testing._gateway import Call, Route, Service, find_route, refusal
from napari_sam3.testing._ledger import Place, Recorded
from napari_sam3.testing._wire import Reply, Request

_PICTURE_FIELDS = ("image", "data_urls")
_FILE_FOLDERS = ("/generations/", "/assets/", "/moved/")


class Reception:
    """Takes requests of both origins; may be used from several threads.

    Parameters
    ----------
    behaviour : Behaviour
        Unless a script says otherwise; may be set at any time.
    """

    def __init__(self, service: Service, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._service = service
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
        call = Call(self._service, request, route, payload, behaviour, is_scripted)
        is_keyed = place == "api"
        reply = (refusal(call) or answer_at_api(call)) if is_keyed else answer_at_cdn(call)
        sent = _on_its_way(reply, call)
        is_lost = (sent.trap or "").startswith("reset")
        self._service.books.answered(number, None if is_lost else sent.status)
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
            path = request.target.partition("?")[0].removeprefix("/moved")
            stored = self._service.storage.get(path)
            scripted = stored.behaviour if stored else None
        elif route.request_id:
            job = self._service.jobs.find(route.request_id)
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
        books, image = self._service.books, (payload or {}).get("image")
        shape, form = None, ""
        if isinstance(image, str):
            with contextlib.suppress(InvalidError):
                shape, form = read_header(image_bytes(image, self._service.asset))
        shown = {n: v for n, v in (payload or {}).items() if n not in _PICTURE_FIELDS}
        recorded = Recorded(
            place,
            request.method,
            books.redacted(request.target),
            route.step if route else "",
            books.redacted_headers(request.headers),
            MappingProxyType(shown),
            shape,
            form,
        )
        leaks = books.leaks_key(place, request.target, request.headers)
        return books.arrive(recorded, leaks=leaks)


def _on_its_way(reply: Reply, call: Call) -> Reply:
    """Let happen to an answer what the behaviour says happens to its step."""
    step, behaviour = call.step, call.behaviour
    if step is None:
        return reply
    if call.fault is not None and call.fault.billed and reply.status < 300:
        reply = error_reply(call.fault)
    call.service.clock.wait(behaviour.delays_s.get(step, 0.0))
    if reply.status == 200 and step in ("v1", "download") and behaviour.content_type is not None:
        reply = replace(reply, content_type=behaviour.content_type or None)
    sent = replace(reply, trap=reply.trap or call.trap, pause_s=behaviour.trickle_s)
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
