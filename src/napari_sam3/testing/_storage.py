"""Files at public addresses: outputs and uploads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from napari_sam3.testing._behaviour import Behaviour
from napari_sam3.testing._clock import Clock

LIFETIME_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class File:
    """A picture, or an archive of some, as a file; its suffix begins with the dot."""

    body: bytes = field(repr=False)
    content_type: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A file, when it was stored, and the behaviour of the request that made it, if scripted."""

    file: File
    since: float
    behaviour: Behaviour | None


class Storage:
    """Keeps files for seven days; may be used from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[str, Stored] = {}
        self._uploads = 0

    def put(self, path: str, file: File, behaviour: Behaviour | None = None) -> None:
        """Store a file under a path, e.g. ``/generations/1.png``."""
        with self._lock:
            self._files[path] = Stored(file, self._clock.now(), behaviour)

    def get(self, path: str) -> Stored | None:
        """Return a file, or None if there is none (any more)."""
        with self._lock:
            found = self._files.get(path)
        if found is None or self._clock.now() - found.since > LIFETIME_S:
            return None
        return found

    def upload(self, file: File) -> str:
        """Store a file that a client sent; return its path."""
        with self._lock:
            self._uploads += 1
            path = f"/assets/{self._uploads:06d}{file.suffix}"
        self.put(path, file)
        return path

    def asset(self, url: str, base: str) -> bytes | None:
        """Return an uploaded file by its address, or None if it is not one of ours."""
        parts = urlsplit(url)
        if f"{parts.scheme}://{parts.netloc}" != base or not parts.path.startswith("/assets/"):
            return None
        found = self.get(parts.path)
        return None if found is None else found.file.body
