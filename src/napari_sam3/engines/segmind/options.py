"""How the hosted service is called: everything but the question itself."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from napari_sam3.errors import PromptError
from napari_sam3.settings import read_settings

DEFAULT_URL = "https://api.segmind.com"
MODEL = "sam3-image"

Api = Literal["auto", "v1", "v2"]
AnswerKind = Literal["mask", "separate masks", "overlay"]
ImageFormat = Literal["png", "jpeg"]

TYPICAL_S = 4.8
"""How long an answer takes as the vendor states it (average, 2026-11)."""

PRICE_RANGE = (0.005, 0.007)
"""US dollars per call as the vendor states them (averages, 2026-11); a cold start may cost more."""


# no backslash: some programs read it as the end of the host
HOST = re.compile(r"[a-z0-9._:-]+")


def set_url() -> str:
    """Return the service's address that the user has set; the vendor's if none is."""
    return read_settings().segmind_url or DEFAULT_URL


@dataclass(frozen=True, slots=True)
class SegmindOptions:
    """How the service is called.

    Parameters
    ----------
    url : str
        Scheme and host of the API; https, or http on this computer only.
    api : {"auto", "v1", "v2"}
        ``v2`` submits and polls; ``v1`` blocks; ``auto`` tries v2 and falls back to
        v1 where the service does not know it.
    answer : {"mask", "separate masks", "overlay"}
        One combined mask, which is split into connected parts; one mask per object
        (its form is not documented by the service); or a picture for the eye.
    image_format : {"png", "jpeg"}
        PNG is exact; JPEG is smaller, and so faster on a slow line.
    max_side : int
        Longest side, in pixels, of the picture as sent; larger ones are shrunk and
        the masks mapped back.
    deadline_s : float
        All in all, for one call.
    connect_timeout_s, read_timeout_s, block_timeout_s : float
        For a connection, for an answer of v2, for an answer of v1 that computes meanwhile.

    Raises
    ------
    PromptError
        If a value makes no sense, or the URL could give the key away.
    """

    # one that a file names and that is unknown here may be what its answer depends on
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    url: str = DEFAULT_URL
    api: Api = "auto"
    answer: AnswerKind = "mask"
    image_format: ImageFormat = "png"
    max_side: int = 2048
    deadline_s: float = 600.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    block_timeout_s: float = 420.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.strip().rstrip("/"))
        _check_url(self.url)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise PromptError(
                    f"{name} must be one of {', '.join(choices)}, but it is {getattr(self, name)}."
                )
        if self.max_side < 64:
            raise PromptError("The longest side as sent must be at least 64 pixels.")
        for name in _SECONDS:
            if not 0 < getattr(self, name) < math.inf:
                raise PromptError(f"{name} must be a number of seconds above 0.")


_CHOICES = {
    "api": get_args(Api),
    "answer": get_args(AnswerKind),
    "image_format": get_args(ImageFormat),
}
_SECONDS = ("deadline_s", "connect_timeout_s", "read_timeout_s", "block_timeout_s")


def _check_url(url: str) -> None:
    parts = split_address(url)
    if parts is None or parts.port == 0 or any(mark in url for mark in "?#@ "):
        raise PromptError("The service's address must be a plain one, like https://host.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise PromptError(
            "The service's address must begin with https://, so that nobody on the way "
            "can read your key (http:// is allowed on this computer only)."
        )


def split_address(url: str) -> SplitResult | None:
    """Split an address, or return None where programs may differ in what its host is."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_plain = parts.username is None and parts.password is None
    return parts if is_plain and HOST.fullmatch(parts.hostname or "") else None


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this computer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


UPLOAD_NOTICE = (
    "The picture of the plane, as 8-bit colours, and the prompts leave this computer and go to the "
    "hosted service Segmind. Each request costs money. The masks, and an overlay if you ask for "
    "one, then lie for about 7 days at a web address that is not listed anywhere, but that "
    "anybody who has it can open. Do not send what must not leave your institution."
)


def price_of(calls: int) -> str:
    """Return what so many calls cost, as far as the service says.

    Examples
    --------
    >>> price_of(3)
    '3 calls, about $0.018'
    """
    low, high = (calls * price for price in PRICE_RANGE)
    words = "1 call" if calls == 1 else f"{calls} calls"
    return f"{words}, about ${(low + high) / 2:.3f}"
