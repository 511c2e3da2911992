"""What the ledger says about money: sums, caps and what an answer costs lately."""

from __future__ import annotations

import math
import sqlite3
import statistics
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

from napari_sam3.engines.base import MAX_PRICE, BilledEngine
from napari_sam3.errors import CapReachedError, PromptError
from napari_sam3.jobs.ledger_entries import State

Grouping = Literal["run", "session", "day", "project"]

Period = Literal["run", "day"]
_PERIODS: tuple[Period, ...] = ("run", "day")

_RECENT, _ENOUGH = 50, 3
# sums of cents in binary are off by less than this, which nobody can pay
_ROUNDING = 1e-9

_BILLABLE = "state IN ('submitted', 'answered', 'unknown')"
_HAS_PRICE = f"(typeof(cost) IN ('real', 'integer') AND cost BETWEEN 0 AND {MAX_PRICE})"
"""What no answer can cost is not believed, whoever wrote it into the ledger."""

_AMOUNT = f"CASE WHEN {_HAS_PRICE} THEN cost ELSE expected END"

Line = tuple[float, str, str, State, str, str | None, float]
"""What a list shows of a question: see `LINE`.  A plain tuple, since there may be very many."""

LINE = (
    *("submitted_at", "question", "engine", "state", "project", "request_id"),
    f"CASE WHEN {_BILLABLE} THEN {_AMOUNT} ELSE 0.0 END",
)
_GROUP_NAMES: dict[Grouping, str] = {
    "run": "run",
    "session": "session",
    "day": "date(submitted_at, 'unixepoch', 'localtime')",
    "project": "project",
}


@dataclass(frozen=True, slots=True)
class Caps:
    """How much may be spent; None means no cap.

    Parameters
    ----------
    per_run, per_day : float, optional
        US dollars.
    raised_by : str
        What raises the cap of a run, where that is not the setting.

    Raises
    ------
    PromptError
        If a cap is negative or not finite: it would not stop anything.
    """

    per_run: float | None = None
    per_day: float | None = None
    raised_by: str = ""

    def __post_init__(self) -> None:
        for cap in (self.per_run, self.per_day):
            if cap is not None and not 0 <= cap < math.inf:
                raise PromptError(
                    f"A cap must be an amount of money, 0 dollars or more, but it is {cap}."
                )

    def of(self, period: Period) -> float | None:
        """Return the cap for a run or for a day."""
        return self.per_run if period == "run" else self.per_day

    def how_to_raise(self, period: Period) -> str:
        """Return the sentence that says how to raise a cap."""
        if period == "run" and self.raised_by:
            return f"Raise it with {self.raised_by}."
        return f"Raise it under “Spending limits”, or: napari-sam3 limits --per-{period} USD"


@dataclass(frozen=True, slots=True)
class Rate:
    """What answers of an engine have cost lately.

    Parameters
    ----------
    low, high : float
        US dollars; one answer in ten cost less, one in ten more.
    seconds : float
        Half of the answers took longer; 0 if the engine never said.
    answers : int
        How many answers this is drawn from.
    """

    low: float
    high: float
    seconds: float
    answers: int


def expected_price(engine: BilledEngine, rate: Rate | None) -> float:
    """Return what one question may cost, in US dollars; the caps go by it."""
    return max(engine.price.high, rate.high) if rate else engine.price.high


class CostRow(NamedTuple):
    """What was asked and spent in one run, session, day or project.

    Attributes
    ----------
    name : str
        Of the run, session or project, or the day as an ISO date of local time.
    first_at : float
        When its first question was sent, Unix time.
    questions, answered, failed, unknown : int
        How many were sent, and what became of them.
    cost : float
        US dollars; the expected price where the true one is not known.
    """

    name: str
    first_at: float
    questions: int
    answered: int
    failed: int
    unknown: int
    cost: float


def spent(
    db: sqlite3.Connection,
    *,
    since: float | None = None,
    run: str | None = None,
    session: str | None = None,
) -> float:
    """Return what was spent, in US dollars, on the questions that fit."""
    terms = {"submitted_at >=": since, "run =": run, "session =": session}
    chosen = {term: value for term, value in terms.items() if value is not None}
    # the plus keeps the index of states out of it: nearly all entries are answered ones
    where = " AND ".join([f"+{_BILLABLE}", *(f"{term} ?" for term in chosen)])
    query = f"SELECT total({_AMOUNT}) FROM entries WHERE {where}"
    amount: float = db.execute(query, tuple(chosen.values())).fetchone()[0]
    return amount


def midnight(now: float) -> float:
    """Return when the local day of a moment began, in Unix time."""
    moment = datetime.fromtimestamp(now)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def refuse_above_cap(
    db: sqlite3.Connection, run: str, expected: float, caps: Caps, now: float
) -> None:
    """Raise `CapReachedError` if one more question may cost more than was allowed."""
    for period in _PERIODS:
        cap = caps.of(period)
        if cap is None:
            continue
        so_far = spent(db, run=run) if period == "run" else spent(db, since=midnight(now))
        if so_far + expected > cap + _ROUNDING:
            whose = "This run has cost" if period == "run" else "Today you have spent"
            raise CapReachedError(
                f"{whose} {dollars(so_far)} so far, and the next request may cost "
                f"{dollars(expected)} more: that is above the cap of {dollars(cap)} per {period}, "
                f"so it was not sent. {caps.how_to_raise(period)}"
            )


def dollars(amount: float) -> str:
    """Return an amount as it is, in whole cents or with as many digits as it has.

    Examples
    --------
    >>> dollars(2), dollars(0.006), dollars(0.1 + 0.2)
    ('$2.00', '$0.006', '$0.30')
    """
    # sums of cents in binary are off by less than this, and a smaller amount is none of them
    exact = Decimal(repr(round(amount, 6) or amount))
    whole, _, digits = f"{exact:f}".partition(".")
    return f"${whole}.{digits.rstrip('0').ljust(2, '0')}"


def rate(db: sqlite3.Connection, engine: str, model: str) -> Rate | None:
    """Return what the latest answers have cost; None while there are too few."""
    rows = db.execute(
        "SELECT cost, seconds FROM entries WHERE state = 'answered' AND engine = ? AND model = ? "
        f"AND {_HAS_PRICE} ORDER BY id DESC LIMIT {_RECENT}",
        (engine, model),
    ).fetchall()
    if len(rows) < _ENOUGH:
        return None
    tenths = statistics.quantiles((cost for cost, _ in rows), n=10, method="inclusive")
    known = [seconds for _, seconds in rows if isinstance(seconds, int | float)]
    return Rate(tenths[0], tenths[-1], statistics.median(known or [0.0]), len(rows))


def summarise(db: sqlite3.Connection, by: Grouping) -> list[CostRow]:
    """Return what was asked and spent by run, session, day or project, newest first."""
    rows = db.execute(
        f"""
        SELECT {_GROUP_NAMES[by]} AS name, min(submitted_at), count(*),
               total(state = 'answered'), total(state = 'failed'), total(state = 'unknown'),
               total(CASE WHEN {_BILLABLE} THEN {_AMOUNT} END)
        FROM entries WHERE submitted_at IS NOT NULL GROUP BY 1 ORDER BY max(id) DESC
        """
    )
    return [
        CostRow(name, first, n, int(a), int(f), int(u), cost)
        for name, first, n, a, f, u, cost in rows
    ]


def known_amount(value: float | None) -> float | None:
    """Return an amount that can be counted, or None for what is no price."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def list_lines(db: sqlite3.Connection) -> list[Line]:
    """Return what a list shows of all questions that were sent, newest first."""
    return db.execute(
        f"SELECT {', '.join(LINE)} FROM entries WHERE submitted_at IS NOT NULL ORDER BY id DESC"
    ).fetchall()
