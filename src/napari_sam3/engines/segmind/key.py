"""The API key: where it comes from, and that it is never seen.

Looked for in the environment variable ``SEGMIND_API_KEY``, then in the system's
keyring (optional extra ``keyring``), then in this session's memory.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Any

from napari_sam3.errors import AuthenticationError

ENVIRONMENT_VARIABLE = "SEGMIND_API_KEY"
KEYRING_SERVICE = "napari-sam3"
KEYRING_USER = "segmind"

KEY_SHAPE = re.compile(r"SG_[0-9A-Za-z]+")


class ApiKey:
    """A key that does not show itself in a repr, a log or a traceback.

    Parameters
    ----------
    text : str
        Surrounding white space is dropped.

    Raises
    ------
    AuthenticationError
        If it cannot be sent as a header; the message does not contain it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        text = text.strip()
        if not text or not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
            raise AuthenticationError(
                "This is not an API key: it must be one word of plain letters, digits and signs. "
                "Copy it again from the service's console."
            )
        self._text = text

    def reveal(self) -> str:
        """Return the key itself, for the header of a request and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __reduce__(self) -> Any:
        raise TypeError("an API key is not pickled")


_session: list[ApiKey] = []


def find_key() -> tuple[ApiKey, str] | None:
    """Return the key and where it was found, or None.

    Raises
    ------
    AuthenticationError
        If the environment variable holds something that cannot be a key.
    """
    text = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if text.strip():
        return ApiKey(text), f"the environment variable {ENVIRONMENT_VARIABLE}"
    stored = _from_keyring()
    if stored:
        return ApiKey(stored), "the system's keyring"
    return (_session[-1], "this session only") if _session else None


def remember_key(key: ApiKey) -> str:
    """Keep a key in the keyring, or in this session's memory; return where."""
    _session[:] = [key]
    # each keyring fails in its own way; memory is enough
    with suppress(Exception):
        import keyring

        keyring.set_password(KEYRING_SERVICE, KEYRING_USER, key.reveal())
    kept = _from_keyring() == key.reveal()
    return "the system's keyring" if kept else "this session only"


def forget_key() -> None:
    """Remove the key from this session's memory and from the keyring."""
    _session.clear()
    with suppress(Exception):
        import keyring

        keyring.delete_password(KEYRING_SERVICE, KEYRING_USER)


def redacted(text: str, key: ApiKey | None = None) -> str:
    """Return a text with everything replaced that is, or looks like, a key."""
    if key is not None:
        text = text.replace(key.reveal(), "…")
    return KEY_SHAPE.sub("SG_…", text)


def _from_keyring() -> str | None:
    with suppress(Exception):
        import keyring

        stored = keyring.get_password(KEYRING_SERVICE, KEYRING_USER)
        return stored if isinstance(stored, str) and stored.strip() else None
    return None
