"""Whose time it is: this package's own, or napari's, or an engine's that costs nothing.

Counted is CPU time, thread by thread, so that a busy machine tells the same as an idle one.
Time belongs to the package while a function of its own runs, and whatever that calls: NumPy,
hashing, packing, Qt.  It does not while napari runs, even if called from here.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Literal, Self, TypeVar

import napari
import vispy
from qtpy.QtWidgets import QApplication

import napari_sam3

Owner = Literal["package", "others", "benchmark", "uncounted"]
F = TypeVar("F", bound=Callable[..., Any])


def _folder(of: Any) -> str:
    return str(Path(of.__file__).parent) + "/"


_OWNERS: dict[str, Owner] = {
    str(Path(napari_sam3.__file__).parent / "widgets" / "demo.py"): "benchmark",
    _folder(napari_sam3): "package",
    _folder(napari): "others",
    _folder(vispy): "others",
    str(Path(__file__).parent) + "/": "benchmark",
}
_CALLS = 5_000
TIMEOUT_S = 300.0
_uncounted: set[CodeType] = set()


def uncounted(function: F) -> F:
    """Leave out what this function of a benchmark does, and all that it calls."""
    _uncounted.add(function.__code__)
    return function


@dataclass(eq=False)
class _Thread:
    """What runs in one thread."""

    frames: list[tuple[FrameType, Owner | None]] = field(default_factory=list)
    last_s: float = field(default_factory=time.thread_time)
    event_s: float = 0.0


class OwnTime:
    """Sums up this package's own time while it is entered; in all threads that Python starts.

    An event is what the event loop, or the benchmark, calls: a click, a slot of a signal.

    Attributes
    ----------
    total_s : float
        In all threads.
    window_s, longest_s : float
        In the window's thread: altogether, and in its longest event.
    calls : dict of str to int
        How often functions of the package were called, by file.
    """

    def __init__(self) -> None:
        self._owners: dict[CodeType, Owner | None] = {}
        self._window = threading.get_ident()
        self._lock = threading.Lock()
        self._threads: dict[int, _Thread] = {}
        self._watching_s = (0.0, 0.0)
        self.total_s = self.window_s = self.longest_s = 0.0
        self.calls: dict[str, int] = {}

    @classmethod
    def calibrated(cls) -> Self:
        """Return one that knows what watching costs, and leaves it out."""
        watch, cost_s = cls(), []
        for statement in ("call()", "len(())"):
            program = f"def call():\n    pass\nfor _ in range({_CALLS}):\n    {statement}"
            code = compile(program, napari_sam3.__file__, "exec")
            # a loop of calls that seem to be the package's
            bare = time.thread_time()
            exec(code, {})
            bare = time.thread_time() - bare
            with cls() as seen:
                exec(code, {})
            cost_s.append(max(0.0, seen.total_s - bare) / _CALLS / 2)
        watch._watching_s = (cost_s[0], cost_s[1])
        return watch

    def __enter__(self) -> Self:
        threading.setprofile(self._on_call)
        sys.setprofile(self._on_call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        self._threads.clear()

    @property
    def called(self) -> str:
        """How much was called, in words."""
        return f"{sum(self.calls.values()):,} calls through {len(self.calls)} files"

    def _on_call(self, frame: FrameType, what: str, _: object) -> None:
        ident = threading.get_ident()
        thread = self._threads.get(ident)
        if thread is None:
            thread = self._threads[ident] = _Thread()
        if what not in {"call", "return"}:
            thread.last_s += self._watching_s[1]
            return
        now = max(thread.last_s, time.thread_time() - self._watching_s[0])
        owner = thread.frames[-1][1] if thread.frames else None
        if owner == "package":
            self._add(thread, ident, now - thread.last_s)
        if what == "call":
            self._enter_frame(thread, frame, owner)
        else:
            self._leave_frame(thread, ident, frame)
        thread.last_s = time.thread_time()

    def _enter_frame(self, thread: _Thread, frame: FrameType, caller: Owner | None) -> None:
        code = frame.f_code
        if code not in self._owners:
            self._owners[code] = _owner_of(code)
        own = self._owners[code]
        if caller == "uncounted":
            own = caller
        elif own == "package":
            with self._lock:
                self.calls[code.co_filename] = self.calls.get(code.co_filename, 0) + 1
        thread.frames.append((frame, own or caller))

    def _leave_frame(self, thread: _Thread, ident: int, frame: FrameType) -> None:
        # frames that were entered before this began are not among them
        while thread.frames and thread.frames[-1][0] is not frame:
            if all(one is not frame for one, _ in thread.frames):
                return
            thread.frames.pop()
        if thread.frames:
            thread.frames.pop()
        below = thread.frames[-1][1] if thread.frames else None
        if ident == self._window and below in {None, "benchmark"}:
            self.longest_s = max(self.longest_s, thread.event_s)
            thread.event_s = 0.0

    def _add(self, thread: _Thread, ident: int, taken_s: float) -> None:
        with self._lock:
            self.total_s += taken_s
            if ident == self._window:
                self.window_s += taken_s
                thread.event_s += taken_s


def _owner_of(code: CodeType) -> Owner | None:
    if code in _uncounted:
        return "uncounted"
    return next((own for start, own in _OWNERS.items() if code.co_filename.startswith(start)), None)


@uncounted
def is_busy(*panels: Any) -> bool:
    """Whether one of the panels still has something to do."""
    return any(panel.is_busy for panel in panels)


def settle(*panels: Any, seen: Callable[[], bool] = lambda: True) -> tuple[float, float]:
    """Let the window live until the panels are idle and something is seen.

    Returns
    -------
    seen_s, idle_s : float
        After which time each was so.

    Raises
    ------
    TimeoutError
    """
    start = time.perf_counter()
    seen_s: float | None = None
    idle_turns = 0
    while idle_turns < 3 or seen_s is None:
        QApplication.processEvents()
        if seen_s is None and seen():
            seen_s = time.perf_counter() - start
        idle_turns = 0 if is_busy(*panels) else idle_turns + 1
        if time.perf_counter() - start > TIMEOUT_S:
            raise TimeoutError(f"not seen, or not idle, after {TIMEOUT_S:.0f} s")
        time.sleep(0.001)
    return seen_s, time.perf_counter() - start


@dataclass(slots=True)
class Memory:
    """What was allocated meanwhile, in bytes: at most, and still held at the end."""

    most: int = 0
    held: int = 0


@contextmanager
def watch_memory() -> Iterator[Memory]:
    """Count what NumPy and Python allocate; all of it takes longer meanwhile."""
    found = Memory()
    gc.collect()
    tracemalloc.start()
    try:
        yield found
        found.most = tracemalloc.get_traced_memory()[1]
        gc.collect()
        found.held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
