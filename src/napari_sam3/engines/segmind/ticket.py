"""What remains of a question once it was accepted: enough to collect its answer, even later."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from napari_sam3.engines.segmind.json_values import checked_request_id
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.engines.segmind.payload import Sent
from napari_sam3.engines.segmind.wire import Reply
from napari_sam3.errors import PromptError, ResponseError

FORMAT = 1


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


def pack_ticket(ticket: SegmindTicket, options: SegmindOptions) -> bytes:
    """Return a ticket as bytes, without the key and without the picture that was sent."""
    sent, reply = ticket.sent, ticket.reply
    value = {
        "format": FORMAT,
        "options": asdict(options),
        "request_id": ticket.request_id,
        "sent": {
            "fields": {name: field for name, field in sent.body.items() if name != "image"},
            "image_shape": sent.image_shape,
            "sent_shape": sent.sent_shape,
            "is_one_object": sent.is_one_object,
            "concept": sent.concept,
            "notices": sent.notices,
        },
        "reply": None
        if reply is None
        else {
            "status": reply.status,
            "headers": reply.headers,
            "body": base64.b64encode(reply.body).decode("ascii"),
        },
    }
    return json.dumps(value).encode()


def unpack_ticket(packed: bytes) -> tuple[SegmindOptions, SegmindTicket]:
    """Return what `pack_ticket` was given, as far as it is still needed.

    Raises
    ------
    ResponseError
        If these are no such bytes.
    """
    try:
        value = json.loads(packed)
        if value["format"] != FORMAT:
            raise ValueError("another format")
        sent, options = value["sent"], SegmindOptions(**value["options"])
        read = Sent(
            dict(sent["fields"]),
            _shape(sent["image_shape"]),
            _shape(sent["sent_shape"]),
            bool(sent["is_one_object"]),
            str(sent["concept"]),
            b"",
            tuple(map(str, sent["notices"])),
        )
        request_id = checked_request_id(value["request_id"])
        return options, SegmindTicket(read, request_id, _reply(value["reply"]))
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error, PromptError) as error:
        raise ResponseError(
            "What was noted of this paid request cannot be read, so its answer cannot be "
            "collected; it was noted by another version, or the file is damaged."
        ) from error


def _shape(value: list[Any]) -> tuple[int, int]:
    rows, cols = (int(side) for side in value)
    return rows, cols


def _reply(value: dict[str, Any] | None) -> Reply | None:
    if value is None:
        return None
    headers = {str(name): str(text) for name, text in value["headers"].items()}
    return Reply(int(value["status"]), headers, base64.b64decode(value["body"], validate=True))
