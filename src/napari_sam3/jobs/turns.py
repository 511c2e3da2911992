"""Whose turn it is, of the threads that ask a run's paid questions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from napari_sam3.engines.base import raise_if_stopped

LOOK_AGAIN_S = 0.25
"""How often it is looked whether the wait is over: for a turn, or for another process."""


class Turns:
    """Lets the same question be asked once at a time, and the first alone while no price is known.

    Parameters
    ----------
    knows_price : callable
        Whether there are answers enough to tell what one costs: the caps go by it.

    Attributes
    ----------
    highest : float
        What the run's dearest answer cost so far, in US dollars.
    """

    def __init__(self, knows_price: Callable[[], bool]) -> None:
        self._knows_price = knows_price
        self._lock, self._first = threading.Lock(), threading.Lock()
        self._of_key: dict[str, threading.Lock] = {}
        self._has_price = False
        self.highest = 0.0

    @contextmanager
    def taken(self, key: str, stop: threading.Event) -> Iterator[None]:
        """Wait until a question may be asked; it may be for as long as this is entered."""
        with self._lock:
            lock = self._of_key.setdefault(key, threading.Lock())
        _acquire(lock, stop)
        try:
            with self._priced(stop):
                yield
        finally:
            lock.release()

    def note_price(self, dollars: float | None) -> None:
        """Note what an answer cost, as far as it is known."""
        with self._lock:
            self._has_price = True
            self.highest = max(self.highest, dollars or 0.0)

    @contextmanager
    def _priced(self, stop: threading.Event) -> Iterator[None]:
        if not self._has_price:
            _acquire(self._first, stop)
            try:
                if not self._has_price and not self._knows_price():
                    yield
                    return
                self._has_price = True
            finally:
                self._first.release()
        yield


def _acquire(lock: threading.Lock, stop: threading.Event) -> None:
    while not lock.acquire(timeout=LOOK_AGAIN_S):
        raise_if_stopped(stop)
