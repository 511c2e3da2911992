"""The ledger: every paid question, written down before it is sent.

A question is planned, then submitted, and ends in one of four ways:

.. code-block:: text

    planned ──► submitted ──► answered
       │            │  ├────► failed      certainly not billed
       ▼            ▼  │
    cancelled    unknown ───► answered, failed
    never sent   may have been billed; never sent again by itself

What collects its answer, its ticket, is kept until something else holds the answer: the cache,
or a file that somebody has saved.  So a question that is answered may have a ticket still.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_sam3.errors import LedgerError
from napari_sam3.jobs import costs, owners
from napari_sam3.jobs.costs import Caps, CostRow, Grouping, Line, Rate
from napari_sam3.jobs.ledger_entries import (
    Entry,
    InFlightError,
    Origin,
    State,
    answered_with_ticket,
    delivered,
    drop_ticket,
    find,
    has_ticket,
    impossible,
    insert,
    move,
    newest,
    select,
)
from napari_sam3.jobs.ledger_file import (
    NOTHING_SENT,
    SENT_BEFORE,
    explain,
    identify,
    is_damage,
    open_ledger,
)

__all__ = [
    "Caps",
    "CostRow",
    "Entry",
    "Grouping",
    "InFlightError",
    "Ledger",
    "Line",
    "Origin",
    "Rate",
    "State",
]

# whether a process on another computer lives cannot be seen, so it is given this long
_ANSWER_S = 900.0
_PLAN_S = 86400.0

_NO_CAPS = Caps()

_SENT: tuple[State, ...] = ("submitted", "unknown")


class Ledger:
    """Every paid question, kept in an SQLite database.

    It is opened on first use.  Several threads may use one, and several processes the same file.
    Every method that writes has the row safely on disk when it returns.

    Parameters
    ----------
    path : Path
        The file; it need not exist, nor its folder.
    clock : callable
        Returns Unix time.

    Raises
    ------
    LedgerError
        By every method, if the file cannot be used; the message says what to do.
    """

    path: Path

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path.absolute()
        self._clock = clock
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._opened_by = 0
        self._opened_file: tuple[int, int] | None = None
        self._finalizer: Callable[[], object] = lambda: None
        self._notices: list[str] = []

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that the user should read, such as that a damaged file was set aside."""
        return tuple(self._notices)

    def plan(
        self,
        origin: Origin,
        engine: str,
        model: str,
        questions: Sequence[tuple[str, str]],
        expected: float,
    ) -> list[int]:
        """Write down what is going to be asked.

        Parameters
        ----------
        origin : Origin
        engine, model : str
        questions : sequence of (key, words)
        expected : float
            Price of each, in US dollars.

        Returns
        -------
        list of int
            The ids of the entries, in the same order.

        Raises
        ------
        ValueError
            If the price is negative or not finite.
        """
        if not (math.isfinite(expected) and expected >= 0):
            raise ValueError(f"A request cannot cost {expected} dollars.")
        shared = {
            "engine": engine,
            "model": model,
            "run": origin.run,
            "session": origin.session,
            "project": origin.project,
            "planned_at": self._clock(),
            "expected": expected,
            "owner": owners.here(),
        }
        with self._writing() as db:
            return [
                insert(db, {**shared, "key": key, "question": words}) for key, words in questions
            ]

    def submit(self, entry_id: int, caps: Caps = _NO_CAPS, at_least: float = 0.0) -> None:
        """Write down that a planned question is being sent; only then may it be.

        Parameters
        ----------
        entry_id : int
        caps : Caps
            How much the run and the day may cost, this question included.
        at_least : float
            What it may cost, where that is more than was planned, in US dollars.

        Raises
        ------
        CapReachedError
            If it may cost more than that.
        InFlightError
            If the same question is under way, or its answer can be collected.
        LedgerError
            If it is not planned, or cannot be written down.
        """
        with self._writing() as db:
            entry = find(db, entry_id)
            if entry.state != "planned":
                raise impossible(entry, "submitted")
            at_hand = self._at_hand(db, entry.key)
            if at_hand is not None:
                raise InFlightError(at_hand)
            now = self._clock()
            expected = max(entry.expected, at_least)
            costs.refuse_above_cap(db, entry.run, expected, caps, now)
            values = {"submitted_at": now, "owner": owners.here(), "expected": expected}
            move(db, entry_id, ("planned",), "submitted", **values)

    def accept(self, entry_id: int, request_id: str | None, packed: bytes) -> None:
        """Keep what collects the answer later: the service took the question.

        Parameters
        ----------
        entry_id : int
        request_id : str or None
        packed : bytes
            Whatever the engine needs; may be many megabytes.
        """
        with self._writing(SENT_BEFORE) as db:
            changed = db.execute(
                "UPDATE entries SET request_id = ? "
                "WHERE id = ? AND state IN ('submitted', 'unknown')",
                (request_id, entry_id),
            )
            if not changed.rowcount:
                raise impossible(find(db, entry_id), "accepted")
            db.execute("INSERT OR REPLACE INTO tickets VALUES (?, ?)", (entry_id, packed))

    def answer(self, entry_id: int, cost: float | None, seconds: float | None) -> None:
        """Write down that the answer is here and safe, and drop what would collect it.

        Parameters
        ----------
        entry_id : int
        cost : float or None
            US dollars; None, or no possible price, leaves what was known before to count.
        seconds : float or None
        """
        with self._writing(SENT_BEFORE) as db:
            self._arrive(db, entry_id, "answered", cost, seconds)
            drop_ticket(db, entry_id)

    def deliver(
        self, entry_id: int, cost: float | None, seconds: float | None, request_id: str | None
    ) -> None:
        """Write down that this process has the answer, and that nothing else holds it yet.

        What collects it is kept until `settle` or `answer`, and offered once this process has
        ended, or at once after `release`.  A question that has no such thing stays
        one of unknown outcome.

        Parameters
        ----------
        entry_id : int
        cost, seconds : float or None
            As in `answer`.
        request_id : str or None
            As in the answer's usage.
        """
        with self._writing(SENT_BEFORE) as db:
            state: State = "answered" if has_ticket(db, entry_id) else "unknown"
            message = "" if state == "answered" else "The answer came, but was not kept."
            self._arrive(db, entry_id, state, cost, seconds, message)
            db.execute(
                "UPDATE entries SET request_id = coalesce(request_id, ?), owner = ? WHERE id = ?",
                (request_id, owners.here(), entry_id),
            )

    def settle(self, answers: Iterable[tuple[str, str | None]]) -> None:
        """Write down that answers are saved in a file, and drop what would collect them.

        Parameters
        ----------
        answers : iterable of (key, request id)
            As in the answer's record and its usage: the same question may have been sent more
            than once.
        """
        with self._writing(SENT_BEFORE) as db:
            for key, request_id in answers:
                for entry in delivered(db, key, request_id):
                    if entry.state != "answered":
                        move(db, entry.id, _SENT, "answered", ended_at=self._clock(), message="")
                    drop_ticket(db, entry.id)

    def fail(self, entry_id: int, message: str) -> None:
        """Write down that a question got no answer and certainly was not billed.

        One that was answered before stays answered, here and in `lose`: only what was to be
        collected once more is gone.
        """
        self._end(entry_id, "failed", message, keeps_ticket=False)

    def lose(self, entry_id: int, message: str, *, keep_ticket: bool = True) -> None:
        """Write down that nobody knows what became of a question; it may have been billed.

        Parameters
        ----------
        entry_id : int
        message : str
        keep_ticket : bool
            Whether its answer may still be collected.
        """
        self._end(entry_id, "unknown", message, keeps_ticket=keep_ticket)

    def cancel(self, entry_id: int) -> None:
        """Write down that a planned question will not be sent."""
        with self._writing() as db:
            move(db, entry_id, ("planned",), "cancelled", ended_at=self._clock())

    def cancel_run(self, run: str) -> int:
        """Cancel what a run planned and did not send; return how many questions."""
        with self._writing() as db:
            return db.execute(
                "UPDATE entries SET state = 'cancelled', ended_at = ? "
                "WHERE state = 'planned' AND run = ?",
                (self._clock(), run),
            ).rowcount

    def release(self, entry_id: int) -> None:
        """Write down that any process may collect an answer: this one waits for it no longer."""
        self._set_owner(entry_id, "")

    def hold(self, entry_id: int) -> None:
        """Write down that this process waits for an answer that was released before."""
        self._set_owner(entry_id, owners.here())

    def open_entry(self, key: str) -> Entry | None:
        """Return the question of this key that is not done with.

        It is under way; or it was answered, and neither a living process nor anything else is
        known to have its answer; or it has an unknown outcome, and no later one was answered.
        """
        with self._reading() as db:
            at_hand = self._at_hand(db, key)
            if at_hand is not None:
                return at_hand
            lost, answered = newest(db, key, "unknown"), newest(db, key, "answered")
        return None if lost and answered and answered.id > lost.id else lost

    def can_collect(self, key: str) -> bool:
        """Return whether there is what collects an answer to a question once more."""
        query = "SELECT 1 FROM entries WHERE key = ? AND id IN (SELECT entry FROM tickets)"
        with self._reading() as db:
            return db.execute(query, (key,)).fetchone() is not None

    def packed(self, entry_id: int) -> bytes | None:
        """Return what collects the answer of a question, if it was accepted and is not here."""
        with self._reading() as db:
            row = db.execute("SELECT packed FROM tickets WHERE entry = ?", (entry_id,)).fetchone()
        return None if row is None else row[0]

    def is_owned(self, entry: Entry) -> bool:
        """Return whether the process that submitted it, or has its answer, still lives.

        One on another computer is believed to, for as long as an answer may take.
        """
        since = entry.planned_at if entry.submitted_at is None else entry.submitted_at
        return self._is_alive(entry.owner, since, _ANSWER_S)

    def unfinished(self) -> list[Entry]:
        """Return the questions whose answers no process has but may be collected, newest last."""
        with self._reading() as db:
            found = select(
                db,
                "WHERE state = 'submitted' OR id IN (SELECT entry FROM tickets) ORDER BY id",
            )
        return [entry for entry in found if entry.state == "unknown" or not self.is_owned(entry)]

    def under_way(self) -> list[Entry]:
        """Return the questions whose answers a living process waits for, oldest first."""
        with self._reading() as db:
            found = select(db, "WHERE state = 'submitted' ORDER BY id")
        return [entry for entry in found if self.is_owned(entry)]

    def entries(
        self,
        limit: int | None = None,
        *,
        session: str | None = None,
        state: State | None = None,
    ) -> list[Entry]:
        """Return what was asked, newest first; `lines` is faster for very many.

        Parameters
        ----------
        limit : int, optional
            At most so many.
        session, state : str, optional
            Only those of it.
        """
        terms = {"session": session, "state": state}
        chosen = {name: value for name, value in terms.items() if value is not None}
        where = " AND ".join(["true", *(f"{name} = ?" for name in chosen)])
        # SQLite reads a negative limit as none
        most = -1 if limit is None else max(limit, 0)
        with self._reading() as db:
            return select(db, f"WHERE {where} ORDER BY id DESC LIMIT ?", (*chosen.values(), most))

    def lines(self) -> list[Line]:
        """Return what a list of all that was sent shows, newest first.

        Returns
        -------
        list of tuple
            When it was sent in Unix time, the question in words, the engine, the state, the
            project, the request id or None, and what it counts for in US dollars: its cost,
            or the expected price where that is not known.
        """
        with self._reading() as db:
            return costs.list_lines(db)

    def spent(
        self, *, since: float | None = None, run: str | None = None, session: str | None = None
    ) -> float:
        """Return what was spent, in US dollars.

        That is the cost, or the expected price where the cost is not known, of all questions that
        are under way, were answered, or have an unknown outcome.

        Parameters
        ----------
        since : float, optional
            Only those sent from then on, in Unix time.
        run, session : str, optional
            Only those of it.
        """
        with self._reading() as db:
            return costs.spent(db, since=since, run=run, session=session)

    def now(self) -> float:
        """Return the Unix time that entries are dated by."""
        return self._clock()

    def today(self) -> float:
        """Return what was spent since local midnight; what is dated in the future counts, too."""
        return self.spent(since=costs.midnight(self._clock()))

    def rate(self, engine: str, model: str) -> Rate | None:
        """Return what the last 50 answers of an engine cost; None with fewer than 3."""
        with self._reading() as db:
            return costs.rate(db, engine, model)

    def costs(self, by: Grouping) -> list[CostRow]:
        """Return what was sent and spent by run, session, day or project, newest first."""
        with self._reading() as db:
            return costs.summarise(db, by)

    def forget_planned(self) -> int:
        """Cancel what was planned by processes that are gone; return how many questions."""
        with self._writing() as db:
            planned = db.execute(
                "SELECT owner, max(planned_at) FROM entries WHERE state = 'planned' GROUP BY owner"
            ).fetchall()
            gone = [owner for owner, at in planned if not self._is_alive(owner, at, _PLAN_S)]
            return sum(
                db.execute(
                    "UPDATE entries SET state = 'cancelled', ended_at = ? "
                    "WHERE state = 'planned' AND owner = ?",
                    (self._clock(), owner),
                ).rowcount
                for owner in gone
            )

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._finalizer()
            self._db = None

    def _at_hand(self, db: sqlite3.Connection, key: str) -> Entry | None:
        """Return the question of this key whose answer is on its way or can be collected."""
        under_way = newest(db, key, "submitted")
        if under_way is not None:
            return under_way
        unsaved = answered_with_ticket(db, key)
        return None if unsaved is None or self.is_owned(unsaved) else unsaved

    def _arrive(
        self,
        db: sqlite3.Connection,
        entry_id: int,
        state: State,
        cost: float | None,
        seconds: float | None,
        message: str = "",
    ) -> None:
        # one that was answered before is open only as long as it has a ticket
        allowed: tuple[State, ...] = (*_SENT, "answered") if has_ticket(db, entry_id) else _SENT
        move(db, entry_id, allowed, state, ended_at=self._clock(), message=message)
        db.execute(
            "UPDATE entries SET cost = coalesce(?, cost), seconds = coalesce(?, seconds) "
            "WHERE id = ?",
            (costs.known_amount(cost), costs.known_amount(seconds), entry_id),
        )

    def _end(self, entry_id: int, state: State, message: str, *, keeps_ticket: bool) -> None:
        with self._writing(SENT_BEFORE) as db:
            is_answered = find(db, entry_id).state == "answered" and has_ticket(db, entry_id)
            if not is_answered:
                move(db, entry_id, _SENT, state, ended_at=self._clock(), message=message)
            if not keeps_ticket:
                drop_ticket(db, entry_id)

    def _set_owner(self, entry_id: int, owner: str) -> None:
        with self._writing(SENT_BEFORE) as db:
            db.execute(
                "UPDATE entries SET owner = ? WHERE id = ? AND state IN ('submitted', 'answered')",
                (owner, entry_id),
            )

    def _is_alive(self, owner: str, since: float, patience_s: float) -> bool:
        alive = owners.lives(owner)
        return abs(self._clock() - since) < patience_s if alive is None else alive

    @contextmanager
    def _writing(self, consequence: str = NOTHING_SENT) -> Iterator[sqlite3.Connection]:
        with self._reading(consequence) as db, db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _reading(self, consequence: str = NOTHING_SENT) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection()
            except sqlite3.Error as error:
                if is_damage(error):
                    # opening is what finds out how bad it is, and sets it aside
                    self.close()
                raise explain(error, self.path, consequence) from error

    def _connection(self) -> sqlite3.Connection:
        if self._db is not None and self._opened_by != os.getpid():
            # SQLite's locks do not survive a fork: going on could damage the file
            raise LedgerError(
                "This process was forked from one that had the ledger of paid requests open, so "
                f"{NOTHING_SENT}. Start processes with multiprocessing's 'spawn' method."
            )
        if self._db is not None and identify(self.path) != self._opened_file:
            # removed or set aside meanwhile: other processes would not see what is written
            self.close()
        if self._db is None:
            before = identify(self.path)
            self._db = open_ledger(self.path, self._notices)
            self._finalizer = weakref.finalize(self, self._db.close)
            # one that was replaced meanwhile, by this process or another, is opened once more
            self._opened_by, self._opened_file = os.getpid(), before or identify(self.path)
        return self._db
