"""Files that only this user may read, and that one process at a time changes.

They tell what was segmented and paid; the folders of other programs beside them are often
open to everybody on a computer that is shared.  What the user saves somewhere has the rights
that the system gives it, as with any program.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 15.0

_FOR_THIS_USER = 0o600
_FOLDER_FOR_THIS_USER = 0o700


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user may enter, and those above it; existing ones stay."""
    missing = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        missing.append(path)
    for path in reversed(missing):
        path.mkdir(_FOLDER_FOR_THIS_USER, exist_ok=True)
    # where it is a file, that is an error all the same
    folder.mkdir(exist_ok=True)


def open_private(path: str | Path, flags: int) -> int:
    """Open a file as `os.open` does, made for this user only; an `opener` of `open`."""
    return os.open(path, flags, _FOR_THIS_USER)


def make_private_file(path: Path) -> None:
    """Make an empty file that only this user may read, unless there is one."""
    try:
        os.close(open_private(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return


@contextmanager
def alone(path: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Keep other processes and threads that do the same from going on until this one is done.

    Parameters
    ----------
    path : Path
        A file for this purpose only; it stays.
    wait_s : float
        How long others are waited for.

    Raises
    ------
    sqlite3.OperationalError
        If others are not done by then, or the disk knows no locks.
    OSError
        If the file cannot be made.
    """
    make_private_file(path)
    # SQLite's locks hold between processes and threads, on each system, and end with a process
    lock = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        lock.close()
