"""The switches: how the stand-in behaves, and how it misbehaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Literal, get_args

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

RequestKind = Literal["v1", "submit", "status", "result", "download", "credits", "upload"]
BodyKind = Literal["error", "oauth", "message", "detail", "text", "html", "empty"]
ResetFormat = Literal["iso", "epoch s", "epoch ms", "rfc 1123", "garbage"]
Trap = Literal[
    "reset before", "reset after", "reset in body", "truncate", "trickle", "drop",
    "redirect 302", "redirect 307", "redirect loop", "redirect away",
]  # fmt: skip
ImageKind = Literal["L", "1", "P", "RGB", "RGBA", "alpha", "colours", "JPEG", "WebP"]
Wrapping = Literal[
    "bytes", "json image", "json url", "data uri", "json string", "submission",
    "error json", "html", "video", "empty",
]  # fmt: skip
Several = Literal["single", "base64", "urls", "zip"]
NothingFound = Literal["black", "empty list", "422"]
OutputForm = Literal["url", "list", "dict", "base64", "data uri", "json text", "none", "image body"]
OutputHost = Literal["cdn", "foreign", "http", "private", "file"]

REQUEST_KINDS: tuple[RequestKind, ...] = get_args(RequestKind)

# a slip of the pen would otherwise be a test that passes
_CHECKED = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, config=_CHECKED)
class Fault:
    """An error as an answer.

    Parameters
    ----------
    status : int
        Of the answer.
    body : str, optional
        ``error`` (the service's envelope), ``oauth``, ``message``, ``detail`` (a list as
        FastAPI makes it), ``text``, ``html`` or ``empty``; by default what is usual for
        the status: HTML for 405, 502 and 504, else ``error``.
    message : str
        What it says; by default what is usual for the status.
    reset : str, optional
        Format of ``x-rate-limit-reset-at-utc``; None leaves the header out.
    reset_in_s : float
        How far away that moment is.
    billed : bool
        Whether the work was done and billed before this answer, as a gateway's timeout
        may hide.
    """

    status: int
    body: BodyKind | None = None
    message: str = ""
    reset: ResetFormat | None = None
    reset_in_s: float = 2.0
    billed: bool = False


@dataclass(frozen=True, slots=True, config=_CHECKED)
class Behaviour:
    """How the stand-in behaves; the defaults are the service as documented.

    Marks: D documented, C seen by clients of the service, I inferred, X invented here.
    *Steps* are ``v1``, ``submit``, ``status``, ``result``, ``download``, ``credits`` and
    ``upload``.

    .. code-block:: text

        time and money
          latency_s           C  how long the model runs; inf: for ever
          delays_s            X  step → seconds by which the answer itself is late
          price               D  credits per call; None: by time (I)
          rate_per_s          I  credits per second of the model
          reserved            I  credits that a v2 job withholds from other calls until
                                 it is done
          generation_s        C  the model's seconds as told; None: latency_s
          rpm                 D  posts per minute; more are 429
          max_body            I  bytes; larger posts are 413
        errors
          faults              D  step → Fault, at the end of the gateway's checks
          traps               X  step → what happens to the connection or answer:
                                 "reset before" it is processed, "reset after" it is
                                 processed and billed, "reset in body", "truncate"
                                 (Content-Length is larger), "trickle", "drop" (whole
                                 answer, then the kept connection dies), "redirect 302"
                                 and "redirect 307" (keyed: to the cdn; download: to
                                 where it is), "redirect loop", "redirect away"
          trickle_s           X  pause after each 16 bytes
          invalid             D  Fault for a field that is refused; says which
          job_error           D  the model fails with these words
          failed_status       D  HTTP status of a FAILED job: 422 or 200
          v2_missing          D  404 or 405: v2 does not know the model
          validates_at_submit X  v2 refuses at once, not by a FAILED job
        how an answer of pictures looks
          image               X  L, 1, P, RGB, RGBA (opaque), alpha (mask in the
                                 alpha channel), colours (one per object), JPEG, WebP
          size_factor         X  or (rows, cols); mask size over image size
          content_type        X  instead of the right one; "" for none
          gzip                X  whether answers are compressed
          masks_form          X  return_masks: single, base64 (list), urls, zip
          flags_form          X  several flags: the same; single: the first only
          no_flag             X  all flags false: error (400) or json
          nothing_found       X  black mask, empty list, 422
        v1
          answer              C  bytes; X: json image, json url, data uri, json string,
                                 submission (as v2), error json, html, video, empty
          accounting          D  headers with costs: full, absent, garbage
        v2
          queued_polls        D  polls answered QUEUED
          processing_polls    D  polls answered PROCESSING
          words               C  e.g. {"PROCESSING": "WARMING_UP"}, said instead
          submit_status       I  200, or e.g. 202
          request_id          X  this id instead of a UUID
          urls_in_submit      D  whether the submit's answer has its three URLs
          urls_in_status      D  whether waiting answers have them
          urls_on_cdn         X  these URLs point to the un-keyed origin
          output              I  url (D), list (C), dict (C), base64, data uri,
                                 json text, none (images only), image body (C)
          output_host         X  cdn, or outputs that must be refused: foreign,
                                 http, private, file
          images_list         D  whether ``images`` is there
          file_size_text      C  file_size as string
          metrics             D  full, no cost, none
        storage
          upload_form         D  file_urls, urls, list

    What concerns the picture is settled when the request arrives; what concerns an answer
    to a later step, by the behaviour at that time (that of the script, if the request was
    scripted; see `SegmindServer.script`).
    """

    latency_s: float = 0.0
    delays_s: Mapping[RequestKind, float] = field(default_factory=dict)
    price: float | None = 0.006
    rate_per_s: float = 0.00145
    reserved: float = 0.0
    generation_s: float | None = None
    rpm: int | None = None
    max_body: int = 64 * 2**20

    faults: Mapping[RequestKind, Fault] = field(default_factory=dict)
    traps: Mapping[RequestKind, Trap] = field(default_factory=dict)
    trickle_s: float = 0.002
    invalid: Fault = Fault(400)
    job_error: str | None = None
    failed_status: int = 422
    v2_missing: int | None = None
    validates_at_submit: bool = False

    image: ImageKind = "L"
    size_factor: float | tuple[float, float] = 1.0
    content_type: str | None = None
    gzip: bool = False
    masks_form: Several = "urls"
    flags_form: Several = "urls"
    no_flag: Literal["error", "json"] = "error"
    nothing_found: NothingFound = "black"

    answer: Wrapping = "bytes"
    accounting: Literal["full", "absent", "garbage"] = "full"

    queued_polls: int = 1
    processing_polls: int = 1
    words: Mapping[str, str] = field(default_factory=dict)
    submit_status: int = 200
    request_id: str | None = None
    urls_in_submit: bool = True
    urls_in_status: bool = True
    urls_on_cdn: bool = False
    output: OutputForm = "url"
    output_host: OutputHost = "cdn"
    images_list: bool = True
    file_size_text: bool = True
    metrics: Literal["full", "no cost", "none"] = "full"

    upload_form: Literal["file_urls", "urls", "list"] = "file_urls"

    @property
    def model_s(self) -> float:
        """The model's seconds, as told to the client."""
        if self.generation_s is not None:
            return self.generation_s
        return self.latency_s if math.isfinite(self.latency_s) else 0.0

    @property
    def cost(self) -> float:
        """Credits that one answer costs."""
        return self.rate_per_s * self.model_s if self.price is None else self.price
