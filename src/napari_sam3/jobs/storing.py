"""Answers go to disk behind the back of whoever asked, once nobody asks for more.

What cost nothing is handed on at once: packing it and waiting for the disk takes longer than
many an engine does.  It is stored in order, by one thread, and before anything reads what is
stored under its name; whatever still waits when the process ends is stored then.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from napari_sam3.errors import CacheError

_LOG = logging.getLogger("napari_sam3")

IDLE_S = 0.25
"""How long nothing new must have come."""

MOST = 32
"""How many answers may wait; whoever brings another one waits, too."""


class Storing:
    """What waits to be stored, and the thread that stores it; for any number of threads."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked process does: what waits is stored by its parent."""
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Path, Callable[[], None]]] = deque()
        self._problems: list[str] = []
        self._is_running = False
        self._hurried = 0
        self._last = 0.0

    def later(self, path: Path, store: Callable[[], None]) -> None:
        """Have an answer stored as soon as nobody asks for more.

        Parameters
        ----------
        path : Path
            Where it will lie.
        store : callable
            Stores it; a `CacheError` that it raises is told by `problems`.
        """
        with self._changed:
            self._waiting.append((path, store))
            self._last = time.monotonic()
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._work, daemon=True, name="sam3-store").start()
            self._changed.notify_all()
            self._wait_while(lambda: len(self._waiting) > MOST)

    def settle(self, place: Path) -> None:
        """Wait until nothing that lies in a folder, or is that file, is still to be stored."""
        with self._changed:
            self._wait_while(
                lambda: any(path == place or place in path.parents for path, _ in self._waiting)
            )

    def finish(self) -> tuple[str, ...]:
        """Store all that waits, and return what went wrong, as `problems` does."""
        with self._changed:
            self._wait_while(lambda: bool(self._waiting))
        return self.problems()

    def problems(self) -> tuple[str, ...]:
        """Return why answers could not be stored, each sentence once; nobody is told twice."""
        with self._changed:
            told, self._problems = tuple(dict.fromkeys(self._problems)), []
        return told

    def _wait_while(self, is_so: Callable[[], bool]) -> None:
        if not is_so():
            return
        self._hurried += 1
        self._changed.notify_all()
        try:
            while is_so():
                self._changed.wait()
        finally:
            self._hurried -= 1

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._is_running = False
                    return
                while not self._hurried and (left_s := self._last + IDLE_S - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                store = self._waiting[0][1]
            problem = _problem(store)
            with self._changed:
                # only now: until it is there, whoever reads it waits
                self._waiting.popleft()
                self._problems += [problem] if problem else []
                self._changed.notify_all()


def _problem(store: Callable[[], None]) -> str:
    try:
        store()
    except CacheError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - told; the others are stored all the same, and waited for
        _LOG.exception("A result could not be stored.")
    return ""


STORING = Storing()
"""This process's."""


def _finish_at_exit() -> None:
    for problem in STORING.finish():
        _LOG.warning(problem)


atexit.register(_finish_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=STORING.forget)
