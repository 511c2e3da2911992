"""Which process stands behind an entry of the ledger, and whether it still lives.

Ids of processes are used again, so a process is known by its start, too.  On Linux that is
counted from the start of the system, of which the text has the id: ``host 123 <boot id>/<ticks>``.
Elsewhere, and in texts of older versions, it is a Unix time, ``host 123 1700000000.5``, which
shifts with a wall clock that is set.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

_SAME_START_S = 60.0
_PROC = Path("/proc")
# of what follows the name in /proc/<pid>/stat
_STATE, _START = 0, 19


def here() -> str:
    """Return the name of this process: host, id and when it was created."""
    return _name(os.getpid())


def lives(owner: str) -> bool | None:
    """Return whether a process still lives; None if it ran on another computer."""
    if owner == here():
        return True
    try:
        host, pid, start = owner.rsplit(" ", 2)
        process_id = int(pid)
        created_at = None if "/" in start else float(start)
    except ValueError:
        return False
    if host != socket.gethostname():
        return None
    if created_at is None:
        return _is_started(process_id, start)
    return _is_running(process_id, created_at)


@cache
def _name(pid: int) -> str:
    start = _start(pid)
    if start is None:
        import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

        start = repr(psutil.Process(pid).create_time())
    return f"{socket.gethostname()} {pid} {start}"


def _start(pid: int) -> str | None:
    """Return when a process began, by no clock that can be set; None where that is not known."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{int(_status(pid)[_START])}" if boot else None
    except (OSError, ValueError, IndexError):
        return None


def _status(pid: int) -> list[bytes]:
    # the name may hold anything, parentheses and spaces, too
    return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()


def _is_started(pid: int, start: str) -> bool:
    try:
        if _status(pid)[_STATE] in {b"Z", b"X"}:
            return False
    except PermissionError:
        return True
    except (OSError, IndexError):
        return False
    return _start(pid) == start


def _is_running(pid: int, created_at: float) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # ids are used again; a clock that is being corrected shifts the time a little
        started_at: float = process.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return abs(started_at - created_at) < _SAME_START_S
