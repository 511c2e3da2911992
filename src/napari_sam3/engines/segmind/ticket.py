"""What remains of a question once it was accepted: enough to collect its answer, even later."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from typing import Literal

from napari_sam3.core.schema import Schema
from napari_sam3.engines.segmind.json_values import checked_request_id
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.engines.segmind.payload import Sent
from napari_sam3.engines.segmind.wire import Reply
from napari_sam3.errors import PromptError, ResponseError


@dataclass(frozen=True, slots=True, eq=False)
class SegmindTicket:
    """A question that was accepted, and so is paid for.

    Parameters
    ----------
    sent : Sent
        What was sent, and how to read the answer.
    request_id : str, optional
        Under which the answer can be collected, for an hour; None on v1.
    reply : Reply, optional
        The answer itself, where it came at once.
    since : float, optional
        When it was accepted, by `time.monotonic`; None if that was in another session.
    """

    sent: Sent = field(repr=False)
    request_id: str | None = None
    reply: Reply | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class PackedReply:
    """An answer whose body is base64."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Packed:
    """A ticket as JSON, without the key and without the picture that was sent."""

    format: Literal[1]
    options: SegmindOptions
    request_id: str | None
    sent: Sent
    reply: PackedReply | None


PACKED = Schema[Packed](Packed)


def pack_ticket(ticket: SegmindTicket, options: SegmindOptions) -> bytes:
    """Return a ticket as bytes, without the key and without the picture that was sent."""
    fields = {name: value for name, value in ticket.sent.body.items() if name != "image"}
    sent, reply = replace(ticket.sent, body=fields, picture=b""), None
    if ticket.reply is not None:
        body = base64.b64encode(ticket.reply.body).decode("ascii")
        reply = PackedReply(ticket.reply.status, ticket.reply.headers, body)
    return json.dumps(PACKED.to_json(Packed(1, options, ticket.request_id, sent, reply))).encode()


def unpack_ticket(packed: bytes) -> tuple[SegmindOptions, SegmindTicket]:
    """Return what `pack_ticket` was given, as far as it is still needed.

    Raises
    ------
    ResponseError
        If these are no such bytes.
    """
    try:
        read, reply = PACKED.read_text(packed), None
        if read.reply is not None:
            body = base64.b64decode(read.reply.body, validate=True)
            reply = Reply(read.reply.status, read.reply.headers, body)
    except (ValueError, PromptError) as error:
        raise ResponseError(
            "What was noted of this paid request cannot be read, so its answer cannot be "
            "collected; it was noted by another version, or the file is damaged."
        ) from error
    return read.options, SegmindTicket(read.sent, checked_request_id(read.request_id), reply)
