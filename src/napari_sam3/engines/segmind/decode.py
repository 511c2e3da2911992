"""An answer's bytes → masks.

The service answers with a picture, an archive of pictures, JSON that holds or points to
them, or an error page, and documents little of it.  So the bytes decide what they are,
the content type is only told in errors, and everything is bounded by `DecodeLimits`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray
from napari_sam3.engines.base import Usage
from napari_sam3.engines.segmind.bodies import (
    PICTURES,
    Budget,
    DecodeLimits,
    Kind,
    UnreadableError,
    gunzip,
    name_of_foreign,
    read_text,
    sniff,
    unzip,
    without_blanks,
)
from napari_sam3.engines.segmind.failures import detail_of
from napari_sam3.engines.segmind.json_answer import Envelope, read_json
from napari_sam3.engines.segmind.pixels import read_masks, read_rgb
from napari_sam3.errors import ResponseError

DEFAULT_LIMITS = DecodeLimits()
HEAD = 64
MAX_TYPE = 100
ASPECT_TOLERANCE = 0.02

AnswerKind = Literal["mask", "masks", "overlay", "urls", "pending", "empty"]


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What an answer holds.

    Parameters
    ----------
    kind : str
        ``mask``: one, of all objects together.  ``masks``: separate ones, even if only
        one of them is not empty.  ``overlay``: pictures for the eye.  ``urls``: outputs
        that must still be downloaded, maybe beside some that came along.  ``pending``:
        a receipt for a job under `request_id`.  ``empty``: nothing was found.
    masks : tuple of ndarray of bool, shape (rows, cols)
        None empty, each of the size it came in.
    pictures : tuple of ndarray of uint8, shape (rows, cols, 3)
        Only where an overlay was asked for.
    urls : tuple of str
        In their order, unchecked.
    usage : Usage
        What it took, as far as the answer says.
    credits_left : float, optional
        The balance, if it is told.
    notices : tuple of str
        Sentences that the user should read beside the result.
    """

    kind: AnswerKind
    masks: tuple[BoolArray, ...] = ()
    pictures: tuple[npt.NDArray[np.uint8], ...] = ()
    urls: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    credits_left: float | None = None
    notices: tuple[str, ...] = ()


def decode(
    body: bytes,
    content_type: str,
    sent_shape: tuple[int, int],
    *,
    overlay: bool = False,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Decoded:
    """Read an answer of the service, or an output downloaded from it.

    Parameters
    ----------
    content_type : str
        What the answer says it is; told in errors, and not believed.
    sent_shape : tuple of int
        (rows, cols) of the picture as sent.
    overlay : bool
        Whether a picture for the eye was asked for, not a mask.

    Raises
    ------
    ResponseError
        If the answer cannot be read.
    RequestRejectedError
        If it tells of a failed job.
    """
    try:
        return _Decoder(sent_shape, overlay, limits).decode(body)
    except UnreadableError as problem:
        called = content_type[:MAX_TYPE] or "no content type"
        raise ResponseError(
            f"{problem} (The answer came as {called}, {len(body):,} bytes.)",
            content_type=content_type,
            length=len(body),
            head=body[:HEAD],
        ) from problem


class _Decoder:
    def __init__(self, sent_shape: tuple[int, int], overlay: bool, limits: DecodeLimits) -> None:
        self._sent_shape = sent_shape
        self._overlay = overlay
        self._budget = Budget(limits)
        self._masks: list[BoolArray] = []
        self._pictures: list[npt.NDArray[np.uint8]] = []
        self._notices: list[str] = []
        self._is_separate = False
        self._count = 0

    def decode(self, body: bytes) -> Decoded:
        if len(body) > self._budget.limits.max_bytes:
            raise UnreadableError("The answer is too large to be read safely.")
        data, kind = self._unpacked(body)
        answer = self._answer(data, kind)
        urls = tuple(output for output in answer.outputs if isinstance(output, str))
        for output in answer.outputs:
            if isinstance(output, bytes):
                self._read_output(output)
        return Decoded(
            self._kind(urls, answer.is_pending),
            tuple(self._masks),
            tuple(self._pictures),
            urls,
            answer.usage,
            answer.credits_left,
            tuple(dict.fromkeys([*answer.notices, *self._notices])),
        )

    def _unpacked(self, data: bytes) -> tuple[bytes, Kind]:
        kind = sniff(data)
        if kind == "gzip":
            data = gunzip(data, self._budget)
            kind = sniff(data)
        return data, kind

    def _answer(self, data: bytes, kind: Kind) -> Envelope:
        if kind in PICTURES or kind == "zip":
            self._budget.take_item()
            return Envelope((data,))
        if kind == "nothing":
            raise UnreadableError("The service answered with nothing at all.")
        if kind == "html":
            said, _ = detail_of(data)
            raise UnreadableError(
                f"The service answered with a web page instead of a picture: “{said}”."
            )
        if kind in ("json", "text"):
            text = without_blanks(data).decode("utf-8", "replace")
            if kind == "json":
                return read_json(text, self._budget, overlay=self._overlay)
            output = read_text(text)
            if output is not None:
                return Envelope((output,))
        raise _no_picture(data)

    def _read_output(self, data: bytes) -> None:
        data, kind = self._unpacked(data)
        if kind in PICTURES:
            self._read_picture(data, kind)
        elif kind == "zip":
            self._is_separate = True
            self._read_members(unzip(data, self._budget))
        else:
            raise _no_picture(data)

    def _read_members(self, members: Iterable[bytes]) -> None:
        left_out = count = 0
        for member in members:
            kind = sniff(member)
            if kind in PICTURES:
                self._budget.take_item()
                self._read_picture(member, kind)
                count += 1
            else:
                left_out += 1
        if left_out and not count:
            raise UnreadableError("The service answered with an archive that holds no picture.")
        if left_out:
            self._notices.append(f"{left_out} files of the answer's archive are no pictures.")

    def _read_picture(self, data: bytes, kind: Kind) -> None:
        self._count += 1
        if self._overlay:
            picture = read_rgb(data, kind, self._budget)
            self._pictures.append(picture)
            self._compare((picture.shape[0], picture.shape[1]))
            return
        reading = read_masks(data, kind, self._budget)
        self._masks += reading.masks
        self._notices += reading.notices
        self._compare(reading.shape)

    def _compare(self, shape: tuple[int, int]) -> None:
        """Note where an answer cannot be the picture as sent, only scaled."""
        rows, cols = self._sent_shape
        straight, crossed = shape[0] * cols, shape[1] * rows
        if abs(straight - crossed) > ASPECT_TOLERANCE * min(straight, crossed):
            self._notices.append(
                f"The answer has {shape[0]} × {shape[1]} pixels where {rows} × {cols} were sent: "
                "other proportions. It was stretched to fit; check that it lies right."
            )

    def _kind(self, urls: tuple[str, ...], is_pending: bool) -> AnswerKind:
        if is_pending:
            return "pending"
        if urls:
            return "urls"
        if self._pictures:
            return "overlay"
        if not self._masks:
            return "empty"
        is_one = len(self._masks) == 1 and self._count == 1
        return "mask" if is_one and not self._is_separate else "masks"


def _no_picture(data: bytes) -> UnreadableError:
    name = name_of_foreign(data)
    if name:
        return UnreadableError(f"The service answered with {name} instead of a picture.")
    return UnreadableError(
        f"The service answered with something that is no picture; it begins with {data[:HEAD]!r}."
    )
