"""How the hosted service is called: everything but the question itself."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from napari_sam3.errors import PromptError

DEFAULT_URL = "https://api.segmind.com"
MODEL = "sam3-image"

Api = Literal["auto", "v1", "v2"]
Answer = Literal["mask", "separate masks", "overlay"]
ImageFormat = Literal["png", "jpeg"]

PRICE_RANGE = (0.005, 0.007)
"""US dollars per call as the vendor states them (averages, 2026-11); a cold start may cost more."""


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

    url: str = DEFAULT_URL
    api: Api = "auto"
    answer: Answer = "mask"
    image_format: ImageFormat = "png"
    max_side: int = 2048
    deadline_s: float = 600.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    block_timeout_s: float = 420.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", self.url.rstrip("/"))
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise PromptError(
                "The service's address must begin with https://, so that nobody on the way "
                "can read your key (http:// is allowed on this computer only)."
            )
        if parts.username or parts.query or not parts.hostname:
            raise PromptError("The service's address must be a plain one, like https://host.")
        if self.max_side < 64:
            raise PromptError("The longest side as sent must be at least 64 pixels.")


def is_loopback(host: str | None) -> bool:
    """Whether a host name means this computer."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
