"""A JSON answer → the pictures and addresses in it, and what it says beside them.

The service documents no fixed set of keys, so known ones are searched in a fixed
order, the first that yields something wins, and unknown ones are kept as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_sam3.engines.segmind.bodies import Budget, DecodeLimits, UnreadableError, read_text
from napari_sam3.engines.segmind.failures import detail_of, job_failed
from napari_sam3.engines.segmind.json_values import (
    JSON,
    balance,
    looks_like_json,
    parse_json,
    price,
    printable,
    seconds,
    without_pictures,
)

OUTPUT_KEYS = (
    "masks", "images", "output", "image", "mask", "preview", "overlay", "url", "result", "data",
    "image_url", "b64", "b64_json", "base64",
)  # fmt: skip
OWN_KEYS = frozenset({*OUTPUT_KEYS, "error", "request_id", "metrics"})
"""What is read here; everything else is `extra`."""

FAILED = frozenset({"FAILED", "FAILURE", "ERROR", "CANCELLED", "CANCELED"})
DONE = frozenset({"COMPLETED", "SUCCESS", "SUCCEEDED", "DONE", "OK"})

REQUEST_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,128}")
MAX_TEXTS = 1

OVERLAY_ONLY = (
    "The service answered with an overlay where a mask was asked for; a mask read from it is a "
    "guess."
)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What the service says that a call took; None where it does not say.

    Parameters
    ----------
    credits, credits_left : float, optional
        The price, and what is left.
    seconds : float, optional
        The model's own time.
    """

    credits: float | None = None
    credits_left: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class JsonAnswer:
    """What a JSON answer holds.

    Parameters
    ----------
    outputs : tuple of bytes or str
        Encoded pictures or archives, and addresses, in their order.
    is_pending : bool
        Whether it is a receipt for a job that still runs.
    request_id : str, optional
        Safe to be put into an address.
    metrics : Metrics
    notices : tuple of str
    extra : dict
        The unknown keys, without pictures.
    """

    outputs: tuple[bytes | str, ...]
    is_pending: bool = False
    request_id: str | None = None
    metrics: Metrics = field(default_factory=Metrics)
    notices: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict)


def read_json(text: str, budget: Budget, *, overlay: bool = False) -> JsonAnswer:
    """Read a JSON answer.

    Parameters
    ----------
    text : str
    budget : Budget
    overlay : bool
        Whether a picture for the eye was asked for; the key of that name goes first then.

    Returns
    -------
    JsonAnswer

    Raises
    ------
    RequestRejectedError
        If it tells of a failed job.
    UnreadableError
        If it is no JSON, holds no output, or more than can be read safely.
    """
    limits = budget.limits
    value, texts = parse_json(text, limits), 0
    if isinstance(value, str) and looks_like_json(value):
        value, texts = parse_json(value, limits), MAX_TEXTS
    search = _Search(budget, overlay)
    outputs = search.outputs(value, texts=texts)
    if not isinstance(value, dict):
        if outputs is None:
            raise UnreadableError("The service answered with JSON that holds no picture.")
        return JsonAnswer(tuple(outputs), notices=search.notices)
    request_id = checked_id(value.get("request_id"))
    is_pending = not outputs and request_id is not None and _is_waiting(value)
    if outputs is None and not is_pending:
        raise UnreadableError(_nothing_to_read(value))
    return JsonAnswer(
        tuple(outputs or ()),
        is_pending,
        request_id,
        _metrics(value.get("metrics")),
        search.notices,
        {
            printable(key): without_pictures(item, limits)
            for key, item in value.items()
            if key not in OWN_KEYS
        },
    )


def _nothing_to_read(value: dict[str, Any]) -> str:
    said = _detail(value)
    told = f" It says: “{said}”." if said else ""
    if value.get("request_id") is not None and checked_id(value["request_id"]) is None:
        return f"The service answered with a request id that cannot be used.{told}"
    return f"The service answered with JSON that holds no picture.{told}"


def _is_waiting(value: dict[str, Any]) -> bool:
    """Whether an answer with a request id, but without output, is a receipt."""
    status = _status(value)
    named = [value[key] for key in OUTPUT_KEYS if key in value]
    if status in DONE:
        return not named
    # a state that is not known counts as still running
    return bool(status) or all(item is None for item in named)


def _status(value: dict[str, Any]) -> str:
    status = value.get("status")
    return status.strip().upper() if isinstance(status, str) else ""


# ---------------------------------------------------------------------- searching


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
        _refuse_failure(value)
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


def _refuse_failure(value: dict[str, Any]) -> None:
    error = value.get("error")
    if error or _status(value) in FAILED:
        raise job_failed(_detail(value), checked_id(value.get("request_id")))


def _detail(value: dict[str, Any]) -> str:
    """Return what an answer says in words, from where its errors are told."""
    told: dict[str, JSON] = {}
    for name in ("error_description", "error", "message", "detail", "msg"):
        item = value.get(name)
        if isinstance(item, int | float | str) and not isinstance(item, bool):
            told[name] = printable(str(item))
        elif item:
            told[name] = without_pictures(item, DecodeLimits(), 3)
    detail, _ = detail_of(json.dumps(told).encode())
    return detail


# ---------------------------------------------------------------------- the rest


def checked_id(value: object) -> str | None:
    """Return a request id that is safe inside an address, or None."""
    return value if isinstance(value, str) and REQUEST_ID.fullmatch(value) else None


def _metrics(value: Any) -> Metrics:
    if not isinstance(value, dict):
        return Metrics()
    return Metrics(
        price(value.get("cost")),
        balance(value.get("remaining_credits")),
        seconds(value.get("inference_time")),
    )
