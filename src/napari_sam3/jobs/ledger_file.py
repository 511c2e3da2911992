"""The ledger as a file: opened, understood, or set aside and begun anew.

Beside a ledger that was begun lies an empty file ``ledger.begun``.  With it a ledger that is
empty or gone is one that was lost, and not one that nobody has made yet.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from napari_sam3.errors import LedgerError
from napari_sam3.private_files import alone, make_private_file, make_private_folder
from napari_sam3.settings import DATA_VARIABLE

VERSION = 1
APPLICATION_ID = int.from_bytes(b"SAM3", "big")
BUSY_S = 15.0

NOTHING_SENT = "nothing was sent or billed"
SENT_BEFORE = "what became of a request that was sent could not be written down"

_LEDGER = "The ledger of paid requests"
_EMPTY = "was damaged (it is empty)"
_JOURNAL_LIMIT = 4 << 20
# so many that two never coincide, and all of them are exact in JSON and JavaScript
_FIRST_IDS = 1 << 48

_SCHEMA = (
    # AUTOINCREMENT: entries are ordered by id, and an id is never given twice
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('planned', 'submitted', 'answered', 'failed', 'unknown', 'cancelled')),
        engine TEXT NOT NULL,
        model TEXT NOT NULL,
        question TEXT NOT NULL,
        run TEXT NOT NULL,
        session TEXT NOT NULL,
        project TEXT NOT NULL,
        planned_at REAL NOT NULL,
        submitted_at REAL,
        ended_at REAL,
        request_id TEXT,
        expected REAL NOT NULL,
        cost REAL,
        seconds REAL,
        message TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL
    )
    """,
    "CREATE TABLE tickets (entry INTEGER PRIMARY KEY, packed BLOB NOT NULL)",
    # whatever a program does wrong, a question is never under way twice
    "CREATE UNIQUE INDEX entries_under_way ON entries (key) WHERE state = 'submitted'",
    "CREATE INDEX entries_key ON entries (key)",
    "CREATE INDEX entries_state ON entries (state)",
    "CREATE INDEX entries_session ON entries (session)",
    # these hold all that a cap needs: it is checked before every question
    "CREATE INDEX entries_run ON entries (run, state, cost, expected)",
    "CREATE INDEX entries_submitted_at ON entries (submitted_at, state, cost, expected)",
)

COLUMNS = (
    "id, key, state, engine, model, question, run, session, project, planned_at, submitted_at, "
    "ended_at, request_id, expected, cost, seconds, message, owner"
)


class _NotALedgerError(Exception):
    """The file is damaged or another program's; the text completes 'it was …'."""


class _Head(NamedTuple):
    tables: int
    application_id: int
    version: int


def open_ledger(path: Path, notices: list[str]) -> sqlite3.Connection:
    """Open the ledger, and make it if there is none.

    Parameters
    ----------
    path : Path
    notices : list of str
        Gets what the user should know: that a file was set aside, and where it is kept.

    Returns
    -------
    sqlite3.Connection
        In autocommit mode; may be used by any thread, one at a time.

    Raises
    ------
    LedgerError
        If there is no way to write it, or a newer napari-sam3 wrote it.
    """
    try:
        make_private_folder(path.parent)
        return _open_or_replace(path, notices)
    except (sqlite3.Error, OSError) as error:
        raise explain(error, path, NOTHING_SENT) from error


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error means that the file is no sound database."""
    # a locked, full or unreadable one says something else, and is never replaced
    return _code(error) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def identify(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one at the same path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def explain(error: sqlite3.Error | OSError, path: Path, consequence: str) -> LedgerError:
    """Return the sentence for the user: what happened, what it means, what to do."""
    what, remedy = (
        _explain_os(error, path) if isinstance(error, OSError) else _diagnose(error, path)
    )
    return LedgerError(f"{_LEDGER} {what}, so {consequence}. {remedy}")


def _explain_os(error: OSError, path: Path) -> tuple[str, str]:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _FULL
    return _not_writable(path)


def _not_writable(path: Path) -> tuple[str, str]:
    return (
        f"cannot be written at {path}",
        f"Set the environment variable {DATA_VARIABLE} to a folder that you may write to.",
    )


_FULL = (
    "cannot be written because the disk is full or failing",
    f"Make room on it, or set the environment variable {DATA_VARIABLE} to a folder elsewhere.",
)


def _diagnose(error: sqlite3.Error, path: Path) -> tuple[str, str]:
    code = _code(error)
    if is_damage(error):
        return "is damaged", "Try again: it will be set aside and a new one begun."
    if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}:
        return (
            "is in use by another program and did not become free",
            "Try again, or close other windows of napari.",
        )
    if code & 0xFF == sqlite3.SQLITE_FULL or code in {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }:
        return _FULL
    if code & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return _not_writable(path)
    return (
        f"cannot be used ({error})",
        f"Set the environment variable {DATA_VARIABLE} to another folder.",
    )


def _code(error: sqlite3.Error) -> int:
    # errors that the module raises by itself carry none
    return getattr(error, "sqlite_errorcode", 0)


def _open_or_replace(path: Path, notices: list[str]) -> sqlite3.Connection:
    try:
        return _open(path)
    except _NotALedgerError:
        pass
    except sqlite3.OperationalError as error:
        if not _is_being_moved(error):
            raise
    with alone(path.with_suffix(".lock"), BUSY_S):
        # judged again: another process may have replaced it while this one waited
        try:
            return _open(path)
        except _NotALedgerError as reason:
            kept = _set_aside(path)
            where = f"It is kept as {kept}, and a" if kept.exists() else "A"
            notices.append(
                f"{_LEDGER} {reason}. {where} new one was begun: costs and caps count from now "
                "on, and what was sent before may be billed again if it is sent once more."
            )
        return _open(path, is_new=True)


def _is_being_moved(error: sqlite3.Error) -> bool:
    """Whether an error may come of another process that sets the file aside right now."""
    code = _code(error)
    return code & 0xFF == sqlite3.SQLITE_IOERR or code == sqlite3.SQLITE_READONLY_DBMOVED


def _open(path: Path, *, is_new: bool = False) -> sqlite3.Connection:
    was_begun = not is_new and _was_begun(path)
    if was_begun:
        # before it is opened: SQLite removes the journal of an empty file
        _refuse_lost(path)
    before = identify(path)
    db = _connect(path, was_begun)
    if before not in (None, identify(path)):
        db.close()
        raise _NotALedgerError("was replaced")
    # a ledger that can only be read is of use without it
    with suppress(OSError):
        make_private_file(_mark(path))
    return db


def _was_begun(path: Path) -> bool:
    journal = Path(f"{path}-wal")
    return _mark(path).exists() or (journal.exists() and journal.stat().st_size > 0)


def _refuse_lost(path: Path) -> None:
    try:
        is_empty = path.stat().st_size == 0
    except FileNotFoundError:
        raise _NotALedgerError("was removed") from None
    if is_empty:
        raise _NotALedgerError(_EMPTY)


def _mark(path: Path) -> Path:
    return path.with_suffix(".begun")


def _connect(path: Path, was_begun: bool) -> sqlite3.Connection:
    # SQLite gives the files beside it the rights of this one
    make_private_file(path)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, was_begun)
    except sqlite3.DatabaseError as error:
        db.close()
        if is_damage(error):
            raise _NotALedgerError("was damaged") from error
        raise
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, was_begun: bool) -> None:
    with db:
        db.execute("BEGIN")
        head = _judge(db)
    if not head.tables and was_begun:
        raise _NotALedgerError(_EMPTY)
    if not head.tables:
        _create(db)
    else:
        _check(db)
    _use_wal(db)
    db.execute(f"PRAGMA journal_size_limit={_JOURNAL_LIMIT}")
    # a row that says "submitted" must outlive a power cut, for the bill does
    db.execute("PRAGMA synchronous=FULL")


def _judge(db: sqlite3.Connection) -> _Head:
    """Read whose file it is, in one transaction: another process may be making it."""
    head = _Head(
        *(
            int(db.execute(query).fetchone()[0])
            for query in (
                "SELECT count(*) FROM sqlite_master",
                "PRAGMA application_id",
                "PRAGMA user_version",
            )
        )
    )
    if head.tables and head.application_id != APPLICATION_ID:
        raise _NotALedgerError("was another program's file")
    if head.version > VERSION:
        raise LedgerError(
            f"{_LEDGER} was written by a newer napari-sam3, so it was left alone and "
            f"{NOTHING_SENT}. Update napari-sam3, or set the environment variable "
            f"{DATA_VARIABLE} to another folder."
        )
    return head


def _create(db: sqlite3.Connection) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _judge(db).tables:
            return
        for statement in _SCHEMA:
            db.execute(statement)
        # an id of a file that was here before, and that a process may remember, must not mean
        # another question in this one; the clock is no help, since it may be set back
        first = secrets.randbelow(_FIRST_IDS)
        db.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (first,))
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={VERSION}")


def _check(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise _NotALedgerError("was damaged")
    try:
        db.execute(f"SELECT {COLUMNS} FROM entries, tickets LIMIT 0")
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_ERROR:
            raise
        raise _NotALedgerError("lacked a part") from error


def _use_wal(db: sqlite3.Connection) -> None:
    """Let readers and a writer work side by side, where the disk can do that."""
    deadline = time.monotonic() + BUSY_S
    while time.monotonic() < deadline:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself here, to be safe from deadlocks
            if _code(error) & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                return
            time.sleep(0.01)
        else:
            return


def _set_aside(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(_aside_name(path, str(number)))).exists():
        number += 1
    # the journal first: beside a new file it would be taken for that one's
    for ending in ("-wal", "-shm", "-journal", ""):
        # whoever had it open until now may take its journal away at any moment
        with suppress(FileNotFoundError):
            os.replace(f"{path}{ending}", f"{kept}{ending}")  # noqa: PTH105  (they are no paths)
    return kept


def _aside_name(path: Path, number: str) -> str:
    return f"{path.stem}.set-aside-{number}{path.suffix}"
