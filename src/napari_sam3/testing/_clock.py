"""A clock that tests can turn on."""

from __future__ import annotations

import threading
import time


class Clock:
    """Seconds that go by by themselves, and faster on request."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ahead = 0.0
        self._is_stopped = False

    def now(self) -> float:
        """Return the seconds since an arbitrary moment."""
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        with self._changed:
            self._ahead += seconds
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait so long (for ever if infinite); return False if the clock was stopped."""
        if seconds <= 0:
            return not self._is_stopped
        target = self.now() + seconds
        with self._changed:
            while not self._is_stopped and self.now() < target:
                # a wait cannot be longer than what the platform's locks take
                self._changed.wait(min(target - self.now(), 3600.0))
            return not self._is_stopped

    def stop(self) -> None:
        """End all waits."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
