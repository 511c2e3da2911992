"""Where answers are stored, and, once something costs money, the ledger and the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

from napari_sam3.errors import LedgerError
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.settings import cache_folder, is_cache_private, read_settings

if TYPE_CHECKING:
    from napari_sam3.jobs.accounts import Accounts
    from napari_sam3.jobs.ledger import Ledger


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """The stored answers, and what costs are counted in, as one run uses them.

    Parameters
    ----------
    cache : AnswerCache, optional
        None if answers are neither looked up nor stored.
    accounts : callable
        Returns the ledger and the limits; called only where something may cost money.
    """

    cache: AnswerCache | None
    accounts: Callable[[], Accounts]

    @property
    def ledger(self) -> Ledger:
        """Every paid question."""
        return self.accounts().ledger

    def can_have_again(self, key: str) -> bool:
        """Return whether an answer that was paid for can be had again at no cost."""
        if self.cache is not None and self.cache.has(key):
            return True
        try:
            return self.ledger.can_collect(key)
        except LedgerError:
            return False

    def counted(self, change: Callable[[Accounts], Accounts]) -> Records:
        """Return the same with changed accounts: other limits, or several runs that are one."""
        accounts = self.accounts
        return replace(self, accounts=_once(lambda: change(accounts())))


def open_records(*, use_cache: bool | None = None, project: str | None = None) -> Records:
    """Return the records that the settings name; no file is opened yet.

    Parameters
    ----------
    use_cache : bool, optional
        Whether answers are looked up and stored; by default as the settings say.
    project : str, optional
        What costs are counted under; by default as the settings say.
    """

    def accounts() -> Accounts:
        from napari_sam3.jobs.accounts import open_accounts

        return open_accounts(project)

    if use_cache is None:
        use_cache = read_settings().cache_used
    return Records(open_cache() if use_cache else None, _once(accounts))


def _once(open_accounts: Callable[[], Accounts]) -> Callable[[], Accounts]:
    """Return what opens accounts when first called, in whatever thread, and then returns those."""
    lock = Lock()
    opened: list[Accounts] = []

    def accounts() -> Accounts:
        with lock:
            if not opened:
                opened.append(open_accounts())
            return opened[0]

    return accounts


def open_cache() -> AnswerCache:
    """Return the stored answers that the settings name."""
    size = int(read_settings().cache_max_mb * 2**20)
    return AnswerCache(cache_folder(), size, is_private=is_cache_private())
