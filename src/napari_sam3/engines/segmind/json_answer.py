"""A JSON answer → the pictures and addresses in it, and what it says beside them.

The service documents no fixed set of keys, so known ones are searched in a fixed
order, and the first that yields something wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from napari_sam3.engines.base import Usage
from napari_sam3.engines.segmind.bodies import Budget, UnreadableError, read_text
from napari_sam3.engines.segmind.failures import FAILED, job_failed, words_of
from napari_sam3.engines.segmind.json_values import (
    balance,
    checked_request_id,
    looks_like_json,
    number,
    parse_json,
    status_of,
)

OUTPUT_KEYS = (
    "masks", "images", "output", "image", "mask", "preview", "overlay", "url", "result", "data",
    "image_url", "b64", "b64_json", "base64",
)  # fmt: skip

DONE = frozenset({"COMPLETED", "SUCCESS", "SUCCEEDED", "DONE", "OK"})

MAX_TEXTS = 1
"""How often JSON may stand as a text within JSON."""

OVERLAY_ONLY = (
    "The service answered with an overlay where a mask was asked for; a mask read from it is a "
    "guess."
)


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """What an answer holds, before it is decoded.

    Parameters
    ----------
    outputs : tuple of bytes or str
        Encoded pictures or archives, and addresses, in their order.
    is_pending : bool
        Whether it is a receipt for a job that still runs.
    usage : Usage
        What the service says that it took, and its id if that is safe inside an address.
    credits_left : float, optional
        The balance, if it is told.
    """

    outputs: tuple[bytes | str, ...]
    is_pending: bool = False
    usage: Usage = field(default_factory=Usage)
    credits_left: float | None = None
    notices: tuple[str, ...] = ()


def read_json(text: str, budget: Budget, *, overlay: bool = False) -> Envelope:
    """Read a JSON answer.

    Parameters
    ----------
    overlay : bool
        Whether a picture for the eye was asked for; the key of that name goes first then.

    Raises
    ------
    RequestRejectedError
        If it tells of a failed job.
    UnreadableError
        If it is no JSON, holds no output, or more than can be read safely.
    """
    value, texts = parse_json(text, budget.limits), 0
    if isinstance(value, str) and looks_like_json(value):
        value, texts = parse_json(value, budget.limits), MAX_TEXTS
    search = _Search(budget, overlay)
    outputs = search.outputs(value, texts=texts)
    said = value if isinstance(value, dict) else {}
    request_id = checked_request_id(said.get("request_id"))
    is_pending = not outputs and request_id is not None and _is_waiting(said)
    if outputs is None and not is_pending:
        raise UnreadableError(_nothing_to_read(said))
    metrics = said.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    usage = Usage(number(metrics.get("cost")), number(metrics.get("inference_time")), request_id)
    left = balance(metrics.get("remaining_credits"))
    return Envelope(tuple(outputs or ()), is_pending, usage, left, search.notices)


def _nothing_to_read(value: dict[str, Any]) -> str:
    said = words_of(value)
    told = f" It says: “{said}”." if said else ""
    request_id = value.get("request_id")
    if request_id is not None and checked_request_id(request_id) is None:
        return f"The service answered with a request id that cannot be used.{told}"
    return f"The service answered with JSON that holds no picture.{told}"


def _is_waiting(value: dict[str, Any]) -> bool:
    """Whether an answer with a request id, but without output, is a receipt."""
    status = status_of(value)
    named = [value[key] for key in OUTPUT_KEYS if key in value]
    if status in DONE:
        return not named
    # a state that is not known counts as still running
    return bool(status) or all(item is None for item in named)


class _Search:
    """Finds outputs; counts what it had to leave out."""

    def __init__(self, budget: Budget, overlay: bool) -> None:
        self._budget = budget
        self._overlay = overlay
        self._skipped = 0
        self._used_overlay = False

    @property
    def notices(self) -> tuple[str, ...]:
        notices = []
        if self._skipped:
            notices.append(f"{self._skipped} entries of the answer are no pictures; left out.")
        if self._used_overlay and not self._overlay:
            notices.append(OVERLAY_ONLY)
        return tuple(notices)

    def outputs(self, value: Any, depth: int = 0, texts: int = 0) -> list[bytes | str] | None:
        """Return what is in there; empty if it says “nothing”, None if it says neither."""
        if depth > self._budget.limits.max_depth:
            raise UnreadableError("The service answered with JSON that is nested too deep.")
        if isinstance(value, dict):
            return self._of_dict(value, depth, texts)
        if isinstance(value, list):
            return self._of_list(value, depth, texts)
        return self._of_text(value, depth, texts) if isinstance(value, str) else None

    def _of_dict(self, value: dict[str, Any], depth: int, texts: int) -> list[bytes | str] | None:
        if value.get("error") or status_of(value) in FAILED:
            raise job_failed(words_of(value), checked_request_id(value.get("request_id")))
        nothing: list[bytes | str] | None = None
        # the picture for the eye, where that was asked for, goes before all masks
        keys = sorted(OUTPUT_KEYS, key=lambda key: key != "overlay" or not self._overlay)
        for key in keys:
            if key not in value:
                continue
            found = self.outputs(value[key], depth + 1, texts)
            if found:
                self._used_overlay |= key == "overlay"
                return found
            if found is not None or value[key] is None:
                nothing = []
        return nothing

    def _of_list(self, value: list[Any], depth: int, texts: int) -> list[bytes | str] | None:
        if len(value) > self._budget.limits.max_items:
            raise UnreadableError(
                f"The answer lists {len(value):,} entries, which is more than can be read safely."
            )
        outputs: list[bytes | str] = []
        unknown = 0
        for item in value:
            found = self.outputs(item, depth + 1, texts)
            outputs += found or []
            unknown += found is None and item is not None
        if unknown and not outputs:
            return None
        self._skipped += unknown
        return outputs

    def _of_text(self, text: str, depth: int, texts: int) -> list[bytes | str] | None:
        if texts < MAX_TEXTS and looks_like_json(text):
            return self.outputs(parse_json(text, self._budget.limits), depth + 1, texts + 1)
        output = read_text(text)
        if output is None:
            return None
        self._budget.take_item()
        return [output]
