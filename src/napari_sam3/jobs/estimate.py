"""What a run would cost, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from napari_sam3.engines.base import BilledEngine, Engine
from napari_sam3.errors import CacheError
from napari_sam3.jobs.accounts import Accounts
from napari_sam3.jobs.cached import stored_answer
from napari_sam3.jobs.costs import Period, dollars, expected_price
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.jobs.ledger import Entry, Ledger
from napari_sam3.jobs.records import Records

ROUNDING = 1e-9
"""Sums of cents in binary are off by less than this."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take.

    Parameters
    ----------
    questions : int
        All that are asked.
    cached : int
        Answered from stored answers, or asked twice in the run; free.
    paid : int
        Sent and paid for before, so that the answer is only collected; free.
    calls : tuple of Fingerprint
        What would be sent.
    unknown : tuple of Entry
        Of earlier submissions of those calls that may have been billed already.
    low, high : float
        Price of the calls in US dollars; 0 at a free engine.
    seconds : float or None
        How long the calls take at the known rate; None at a free engine.
    over_cap : str
        A sentence if a cap may stop the run before its end; empty if none will.
    confirm_above : float
        What may be spent without a word.
    today : float
        What was spent today already.
    notices : tuple of str
        What is wrong with the ledger, such as that it had to begin anew.
    remarks : tuple of str
        What else to know, such as that there is nothing to see in the picture; nobody has to
        agree to that.
    """

    questions: int
    cached: int = 0
    paid: int = 0
    calls: tuple[Fingerprint, ...] = ()
    unknown: tuple[Entry, ...] = ()
    low: float = 0.0
    high: float = 0.0
    seconds: float | None = None
    over_cap: str = ""
    confirm_above: float = 0.0
    today: float = 0.0
    notices: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Estimate({self.words})"

    @property
    def is_dear(self) -> bool:
        """Whether somebody has to agree to the price."""
        return bool(self.calls) and self.high > self.confirm_above

    @property
    def may_repeat(self) -> bool:
        """Whether somebody has to agree to pay for what may have been billed before.

        That is so, too, where the ledger had to begin anew.
        """
        return bool(self.calls) and bool(self.unknown or self.notices)

    @property
    def needs_consent(self) -> bool:
        """Whether somebody has to agree before anything is sent."""
        return self.is_dear or self.may_repeat

    @property
    def words(self) -> str:
        """The estimate in one line, e.g. for a terminal or beside the Run button."""
        parts = [f"{self.questions} request{'' if self.questions == 1 else 's'}"]
        parts += [f"{self.cached} from cache"] if self.cached else []
        parts += [f"{self.paid} paid for already"] if self.paid else []
        if self.seconds is not None:
            count = len(self.calls)
            parts.append(f"{count} call{'' if count == 1 else 's'}")
            if count:
                parts.append(f"{_dollars(self.low, self.high)}, about {_time(self.seconds)}")
        return ", ".join(parts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences that belong to the question whether to go on."""
        found = [self.over_cap] if self.over_cap else []
        found += self.notices + self.remarks
        if self.unknown:
            count = len(self.unknown)
            found.append(
                f"{count} of these calls {'was' if count == 1 else 'were'} sent before and the "
                "answer lost: it may have been billed already, and would be billed again."
            )
        return tuple(found)


def estimate(
    engine: Engine,
    questions: Sequence[Fingerprint],
    records: Records,
    *,
    in_flight: int = 1,
    newer_than: float = 0.0,
) -> Estimate:
    """Estimate what asking these questions would take; nothing is sent.

    Parameters
    ----------
    engine : Engine
    questions : sequence of Fingerprint
    records : Records
    in_flight : int
        How many are asked at the same time.
    newer_than : float
        As in `napari_sam3.jobs.cached.CachedEngine`.

    Returns
    -------
    Estimate
        Prices are those of the last answers in the ledger (10 % and 90 % quantiles), but the
        higher one not below the vendor's, by which the caps go, too.

    Raises
    ------
    LedgerError
        If the engine is billed and the ledger cannot be read.
    """
    distinct = {question.key: question for question in questions}
    left = [q for q in distinct.values() if not _is_stored(q, records, newer_than)]
    cached = len(questions) - len(left)
    if not engine.capabilities.billed:
        return Estimate(len(questions), cached)
    if not left:
        # nothing would be paid, so nobody needs the ledger
        return Estimate(len(questions), cached, seconds=0.0)
    billed, accounts = cast(BilledEngine, engine), records.accounts()
    ledger = accounts.ledger
    earlier = {q.key: ledger.open_entry(q.key) for q in left}
    calls = [q for q in left if not _is_paid(earlier[q.key], ledger, billed.kept_s)]
    open_entries = [entry for q in calls if (entry := earlier[q.key]) is not None]
    unknown = [entry for entry in open_entries if entry.state != "answered"]
    low, high, seconds = _rate(billed, ledger)
    rounds = math.ceil(len(calls) / max(1, in_flight))
    return Estimate(
        len(questions),
        cached,
        len(left) - len(calls),
        tuple(calls),
        tuple(unknown),
        low * len(calls),
        high * len(calls),
        seconds * rounds,
        _over_cap(low * len(calls), high * len(calls), accounts) if calls else "",
        accounts.limits.confirm_above,
        ledger.today(),
        ledger.notices,
    )


def _is_stored(question: Fingerprint, records: Records, newer_than: float) -> bool:
    if not newer_than:
        # not read: that takes long for many
        return records.cache is not None and records.cache.has(question.key)
    try:
        return stored_answer(records.cache, question, newer_than) is not None
    except CacheError:
        return False


def _is_paid(entry: Entry | None, ledger: Ledger, kept_s: float) -> bool:
    """Whether a question's answer can be had without sending it."""
    if entry is None or entry.state == "unknown":
        # one that has a ticket was tried already; it is tried once more before it is sent
        return False
    if entry.state == "answered":
        return ledger.now() - (entry.submitted_at or 0.0) < kept_s
    return ledger.is_owned(entry) or ledger.packed(entry.id) is not None


def _rate(engine: BilledEngine, ledger: Ledger) -> tuple[float, float, float]:
    rate = ledger.rate(engine.name, engine.billed_as)
    high = expected_price(engine, rate)
    if rate is None:
        return engine.price.low, high, engine.price.seconds
    return rate.low, high, rate.seconds


def _over_cap(low: float, high: float, accounts: Accounts) -> str:
    caps = accounts.limits.caps
    periods: tuple[tuple[Period, float], ...] = (("run", 0.0), ("day", accounts.ledger.today()))
    for period, spent in periods:
        cap = caps.of(period)
        if cap is not None and spent + high > cap + ROUNDING:
            stops = "stops" if spent + low > cap else "may stop"
            words = f"; {dollars(spent)} were spent today" if period == "day" else ""
            return (
                f"The cap of {dollars(cap)} for a {period} {stops} it before its end{words}. "
                f"{caps.how_to_raise(period)}"
            )
    return ""


def _dollars(low: float, high: float) -> str:
    digits = 2 if low >= 0.1 else 3
    shown = [f"{amount:.{digits}f}" for amount in (low, high)]
    return f"about ${shown[0]}" if shown[0] == shown[1] else f"about ${shown[0]}–{shown[1]}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"
