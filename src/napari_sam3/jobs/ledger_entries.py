"""Entries of the ledger: what they hold, how they are read, and how their state may change."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from napari_sam3.errors import LedgerError
from napari_sam3.jobs.ledger_file import COLUMNS

State = Literal["planned", "submitted", "answered", "failed", "unknown", "cancelled"]


class Entry(NamedTuple):
    """One paid question.

    Attributes
    ----------
    id : int
        Later entries have higher ones, whatever the clock said.
    key : str
        What identifies the question: SHA-256 of pixels, prompt, parameters, engine and model.
    state : {"planned", "submitted", "answered", "failed", "unknown", "cancelled"}
    engine, model : str
        Who is asked.
    question : str
        In words, for a table.
    run, session, project : str
        On whose behalf.
    planned_at, submitted_at, ended_at : float
        Unix time; None for what has not happened.
    request_id : str or None
        Under which the engine knows the question.
    expected, cost : float
        US dollars; the cost is None until it is known.
    seconds : float or None
        How long the engine took.
    message : str
        What went wrong, if something did.
    owner : str
        Which process asks: host, process id, and when that was created.
    """

    id: int
    key: str
    state: State
    engine: str
    model: str
    question: str
    run: str
    session: str
    project: str
    planned_at: float
    submitted_at: float | None
    ended_at: float | None
    request_id: str | None
    expected: float
    cost: float | None
    seconds: float | None
    message: str
    owner: str


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf something is asked.

    Parameters
    ----------
    run, session, project : str
        One press of Run, one start of the program, and what the user calls the work.
    """

    run: str
    session: str
    project: str = ""


class InFlightError(LedgerError):
    """The same question is under way already, so it was not sent again.

    Parameters
    ----------
    entry : Entry
        The one that is under way.
    """

    def __init__(self, entry: Entry) -> None:
        super().__init__(
            f"The same request ({entry.question or 'no words'}) is under way already, so it was "
            "not sent again. Wait for its answer, or collect it."
        )
        self.entry = entry


def insert(db: sqlite3.Connection, values: dict[str, Any]) -> int:
    """Add a planned question and return its id."""
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    inserted = db.execute(
        f"INSERT INTO entries (state, {names}) VALUES ('planned', {marks})", values
    )
    entry_id = inserted.lastrowid
    assert entry_id is not None
    return entry_id


def move(
    db: sqlite3.Connection, entry_id: int, allowed: tuple[State, ...], state: State, **values: Any
) -> None:
    """Change the state of an entry, if it is in one of those that allow it."""
    changes = {"state": state, **values}
    assignments = ", ".join(f"{name} = ?" for name in changes)
    marks = ", ".join("?" * len(allowed))
    moved = db.execute(
        f"UPDATE entries SET {assignments} WHERE id = ? AND state IN ({marks})",
        (*changes.values(), entry_id, *allowed),
    )
    if not moved.rowcount:
        raise impossible(find(db, entry_id), state)


def impossible(entry: Entry, state: str) -> LedgerError:
    """Return the error for a change that a question in this state cannot make."""
    return LedgerError(
        f"Request {entry.id} of the ledger is {entry.state} and cannot become {state}; "
        "nothing was changed."
    )


def find(db: sqlite3.Connection, entry_id: int) -> Entry:
    """Return an entry, which must exist."""
    found = select(db, "WHERE id = ?", (entry_id,))
    if not found:
        raise LedgerError(
            f"The ledger has no request {entry_id}; perhaps its file was replaced meanwhile."
        )
    return found[0]


def newest(db: sqlite3.Connection, key: str, state: State) -> Entry | None:
    """Return the newest entry of a key that is in this state."""
    # the plus chooses the index of keys: few entries share one, while nearly all are answered
    found = select(db, "WHERE key = ? AND +state = ? ORDER BY id DESC LIMIT 1", (key, state))
    return found[0] if found else None


def answered_with_ticket(db: sqlite3.Connection, key: str) -> Entry | None:
    """Return the newest entry of a key whose answer came, and can be collected once more."""
    found = select(
        db,
        "WHERE key = ? AND +state = 'answered' AND id IN (SELECT entry FROM tickets) "
        "ORDER BY id DESC LIMIT 1",
        (key,),
    )
    return found[0] if found else None


def delivered(db: sqlite3.Connection, key: str, request_id: str | None) -> list[Entry]:
    """Return the entries of a key that an answer with this request id may be the answer of."""
    # where the service gave no id, one that was lost must not be taken for it
    return select(
        db,
        "WHERE key = ? AND ((state = 'answered' AND request_id IS ?) "
        "OR (state IN ('submitted', 'unknown') AND request_id = ?))",
        (key, request_id, request_id),
    )


def has_ticket(db: sqlite3.Connection, entry_id: int) -> bool:
    """Return whether there is what collects the answer of an entry."""
    found = db.execute("SELECT 1 FROM tickets WHERE entry = ?", (entry_id,)).fetchone()
    return found is not None


def drop_ticket(db: sqlite3.Connection, entry_id: int) -> None:
    """Drop what would collect the answer of an entry."""
    db.execute("DELETE FROM tickets WHERE entry = ?", (entry_id,))


def select(db: sqlite3.Connection, clause: str, values: tuple[Any, ...] = ()) -> list[Entry]:
    """Return the entries that a clause chooses: WHERE, ORDER BY, LIMIT."""
    rows = db.execute(f"SELECT {COLUMNS} FROM entries {clause}", values)
    return [*map(Entry._make, rows)]
