"""What costs are counted in, and what may be spent; free questions never come here."""

from __future__ import annotations

import math
import secrets
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from napari_sam3.errors import LedgerError, PromptError
from napari_sam3.jobs import owners
from napari_sam3.jobs.ledger import Caps, Entry, Ledger, Origin
from napari_sam3.settings import Settings, data_folder, read_settings, settings_problem

LEDGER_NAME = "ledger.sqlite"

OFFERED_S = 86400.0
"""For how long an answer that could not be read is offered for another try."""

_USUAL = Settings()

SESSION = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {secrets.token_hex(3)}"
"""Names this process in the ledger: when it began, and something that no other has."""


@dataclass(frozen=True, slots=True)
class CostLimits:
    """What may be spent without being asked, and at all; US dollars, None for no limit.

    Parameters
    ----------
    confirm_above : float
        A run that may cost more is confirmed once before anything is sent.
    caps : Caps
        For a run and for a day: what would exceed them is not sent.

    Raises
    ------
    PromptError
        If an amount is negative or not finite.
    """

    confirm_above: float = _USUAL.confirm_above
    caps: Caps = field(default_factory=lambda: Caps(_USUAL.cap_per_run, _USUAL.cap_per_day))

    def __post_init__(self) -> None:
        for amount in (self.confirm_above, self.caps.per_run, self.caps.per_day):
            if amount is not None and not (0 <= amount < math.inf):
                raise PromptError(f"An amount of money must be 0 or more, but it is {amount}.")


@dataclass(frozen=True, slots=True, eq=False)
class Accounts:
    """The ledger, and what may be spent, as one run uses them.

    Parameters
    ----------
    ledger : Ledger
    limits : CostLimits
    project : str
        What costs are counted under, beside run, session and day.
    limits_problem : str
        Why the limits are not known; empty if they are.
    shared : Origin, optional
        On whose behalf all is asked, where several runs count as one.
    """

    ledger: Ledger
    limits: CostLimits = field(default_factory=CostLimits)
    project: str = ""
    limits_problem: str = ""
    shared: Origin | None = None

    def require_limits(self) -> None:
        """Refuse to pay for anything while it is not known what may be spent.

        Raises
        ------
        LedgerError
            If the settings are damaged, and the limits came from there.
        """
        if self.limits_problem:
            raise LedgerError(f"{self.limits_problem} Nothing was sent.")

    def origin(self) -> Origin:
        """Return on whose behalf a new run asks."""
        if self.shared is not None:
            return self.shared
        run = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {secrets.token_hex(4)}"
        return Origin(run, SESSION, self.project)

    def as_one_run(self) -> Accounts:
        """Return the same for several runs that count as one: its cap is for all of them."""
        return replace(self, shared=self.origin())

    def unfinished(self) -> list[Entry]:
        """Return paid questions whose answers may still be collected; oldest first.

        Left out are those that a run is waiting for right now, and those that failed to be
        collected and are older than a day.
        """
        own = [
            entry
            for entry in self.ledger.entries(session=SESSION, state="submitted")
            # a forked process has the session of its parent, but not its questions
            if entry.owner == owners.here()
        ]
        since = self.ledger.now() - OFFERED_S
        left = [
            entry
            for entry in self.ledger.unfinished()
            if entry.state == "submitted" or (entry.submitted_at or 0) > since
        ]
        known = {entry.id: entry for entry in (*left, *own)}
        ids = [entry_id for entry_id in sorted(known) if not is_under_way(self.ledger, entry_id)]
        return [known[entry_id] for entry_id in ids]


_ledgers: dict[Path, Ledger] = {}
_under_way: set[tuple[Path, int]] = set()
_lock = threading.Lock()


def open_accounts(project: str | None = None) -> Accounts:
    """Return the ledger and the limits that the settings name; no file of the ledger is opened yet.

    Parameters
    ----------
    project : str, optional
        By default as the settings say.
    """
    if project is None:
        project = read_settings().project
    return Accounts(open_ledger(), read_limits(), project, settings_problem())


def open_ledger() -> Ledger:
    """Return this computer's ledger; the same object for the same file."""
    path = data_folder() / LEDGER_NAME
    with _lock:
        if path not in _ledgers:
            _ledgers[path] = Ledger(path)
        return _ledgers[path]


def close_ledgers() -> None:
    """Close all ledgers' files; each opens again when it is used."""
    with _lock:
        for ledger in _ledgers.values():
            ledger.close()
        _ledgers.clear()


def read_limits() -> CostLimits:
    """Return the limits that are set."""
    found = read_settings()
    return CostLimits(found.confirm_above, Caps(found.cap_per_run, found.cap_per_day))


def is_under_way(ledger: Ledger, entry_id: int) -> bool:
    """Whether a run of this process waits for a paid question's answer."""
    with _lock:
        return (ledger.path, entry_id) in _under_way


class UnderWay:
    """While it is entered, a paid question is being waited for by this process."""

    def __init__(self, ledger: Ledger, entry_id: int) -> None:
        self._mark = (ledger.path, entry_id)

    def __enter__(self) -> None:
        with _lock:
            _under_way.add(self._mark)

    def __exit__(self, *_raised: object) -> None:
        with _lock:
            _under_way.discard(self._mark)
