"""A few paid calls that settle what the service's documents leave open.

The picture is drawn here, so nothing of the user's is sent, and the report holds
neither the key nor the picture.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from napari_sam3.engines.segmind.decode import decode
from napari_sam3.engines.segmind.failures import FAILED
from napari_sam3.engines.segmind.http import SegmindHttp
from napari_sam3.engines.segmind.json_answer import DONE
from napari_sam3.engines.segmind.json_values import checked_request_id, json_object, status_of
from napari_sam3.engines.segmind.key import ApiKey, redacted
from napari_sam3.engines.segmind.options import PRICE_RANGE, SegmindOptions
from napari_sam3.engines.segmind.payload import encode_picture
from napari_sam3.engines.segmind.wire import Reply
from napari_sam3.errors import Sam3Error

SHAPE = (240, 320)
DISC_BOX = [30, 40, 90, 100]
"""Around one of four discs, as [x1, y1, x2, y2]."""

SHOWN_HEADERS = (
    "content-type",
    "content-length",
    "x-cost",
    "x-remaining-credits",
    "x-generation-time",
    "x-rate-limit-reset-at-utc",
    "x-rate-limit-remaining",
    "retry-after",
)
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class ProbeCall:
    """One paid call and the open question that it settles."""

    question: str
    version: str
    fields: dict[str, Any]


def _flags(*names: str) -> dict[str, bool]:
    return {f"return_{n}": n in names for n in ("preview", "overlay", "masks")}


CALLS: tuple[ProbeCall, ...] = (
    ProbeCall(
        "the preview: binary or coloured, and of the picture's size?",
        "v1",
        {"text_prompt": "disc"} | _flags("preview"),
    ),
    ProbeCall("separate masks on v1: which form?", "v1", {"text_prompt": "disc"} | _flags("masks")),
    ProbeCall("separate masks on v2: which form?", "v2", {"text_prompt": "disc"} | _flags("masks")),
    ProbeCall(
        "two flags at once: one picture, or several?",
        "v1",
        {"text_prompt": "disc"} | _flags("preview", "overlay"),
    ),
    ProbeCall(
        "a box: one object, or all that are alike?",
        "v2",
        {"boxes_input": json.dumps([DISC_BOX])} | _flags("preview"),
    ),
    ProbeCall(
        "no prompt: all objects, or an error?", "v2", {"points_per_side": 16} | _flags("preview")
    ),
)


def probe_price() -> str:
    """Return what the probe costs at the most, as far as the service says."""
    return f"at most {len(CALLS)} calls, about ${len(CALLS) * PRICE_RANGE[1]:.2f}"


def probe_picture() -> npt.NDArray[np.uint8]:
    """Return the picture: four discs and two bars on a dim ground, shape (240, 320, 3)."""
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    gray = np.full(SHAPE, 30, np.uint8)
    for y, x in ((70, 60), (60, 160), (170, 90), (180, 230)):
        gray[(row - y) ** 2 + (col - x) ** 2 <= 24**2] = 200
    gray[40:60, 230:300] = 200
    gray[120:140, 20:50] = 200
    return np.repeat(gray[..., np.newaxis], 3, axis=2)


def iter_probe(options: SegmindOptions, key: ApiKey) -> Iterator[str]:
    """Make the calls one by one and yield the lines of the report.

    A failed call is reported as such, and the next one follows; a refused key or missing
    credits end the probe.
    """
    picture = base64.b64encode(encode_picture(probe_picture(), "png")).decode("ascii")
    for number, call in enumerate(CALLS, start=1):
        yield f"{number}. {call.question} ({call.version}, {_told(call.fields)})"
        try:
            http = SegmindHttp(options, key, options.deadline_s)
            reply = _asked(http, call, {"image": picture, **call.fields})
            yield from (redacted(f"   {line}", key) for line in _findings(reply, options, key))
        except Sam3Error as error:
            yield redacted(f"   failed: {type(error).__name__}: {error}", key)
            if getattr(error, "status", None) in (401, 403, 406):
                return


def _told(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in fields.items() if value is not False)


def _asked(http: SegmindHttp, call: ProbeCall, body: dict[str, Any]) -> Reply:
    reply = http.post(call.version, body)
    request_id = checked_request_id(json_object(reply.body).get("request_id"))
    if call.version == "v1" or request_id is None:
        return reply
    path, due = f"v2/requests/{request_id}", time.monotonic()
    while http.wait_until(due):
        if status_of(json_object(http.get("status", f"{path}/status").body)) in DONE | FAILED:
            break
        due = time.monotonic() + POLL_S
    return http.get("result", path)


def _findings(reply: Reply, options: SegmindOptions, key: ApiKey) -> Iterator[str]:
    yield f"status {reply.status}, {len(reply.body)} bytes, begins {_magic(reply.body)}"
    headers = {name: reply.headers[name] for name in SHOWN_HEADERS if name in reply.headers}
    yield f"headers: {json.dumps(headers)}"
    value = json_object(reply.body)
    if value:
        yield f"JSON: {json.dumps(_outline(value))}"
    yield from _picture_lines("body", reply.body)
    answer = decode(reply.body, reply.content_type, SHAPE)
    yield f"read as: {answer.kind}, {len(answer.masks)} masks, {len(answer.urls)} addresses"
    for url in answer.urls[:3]:
        output = SegmindHttp(options, key, options.read_timeout_s).download(url)
        yield f"output: {output.content_type}, {len(output.body)} bytes, {_magic(output.body)}"
        yield from _picture_lines("output", output.body)


def _picture_lines(name: str, body: bytes) -> Iterator[str]:
    try:
        with Image.open(io.BytesIO(body)) as picture:
            values = len(picture.getcolors(maxcolors=1 << 16) or ())
            same = "as sent" if picture.size == SHAPE[::-1] else f"sent was {SHAPE[::-1]}"
            yield (
                f"{name}: {picture.format} {picture.mode} {picture.size} ({same}), "
                f"{values or 'over 65,536'} colours"
            )
    except Exception:  # noqa: BLE001 - Pillow raises anything; what it is was told above
        return


def _outline(value: Any, depth: int = 3) -> Any:
    """Return a JSON value with long texts cut, so that it shows its form only."""
    if isinstance(value, dict) and depth:
        return {name: _outline(item, depth - 1) for name, item in list(value.items())[:30]}
    if isinstance(value, list) and depth:
        return [*(_outline(item, depth - 1) for item in value[:3]), f"{len(value)} in all"]
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:60]}… ({len(value)} characters)"
    return value if value is None or isinstance(value, int | float) else type(value).__name__


def _magic(body: bytes) -> str:
    return body[:8].hex(" ") or "with nothing"
