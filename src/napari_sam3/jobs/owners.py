"""Which process stands behind an entry of the ledger, and whether it still lives."""

from __future__ import annotations

import os
import socket
from functools import cache

_SAME_START_S = 1.0


def here() -> str:
    """Return the name of this process: host, id and when it was created."""
    return _name(os.getpid())


def lives(owner: str) -> bool | None:
    """Return whether a process still lives; None if it ran on another computer."""
    if owner == here():
        return True
    try:
        host, pid, created = owner.rsplit(" ", 2)
        process_id, created_at = int(pid), float(created)
    except ValueError:
        return False
    if host != socket.gethostname():
        return None
    return _is_running(process_id, created_at)


@cache
def _name(pid: int) -> str:
    import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

    return f"{socket.gethostname()} {pid} {psutil.Process(pid).create_time()!r}"


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
