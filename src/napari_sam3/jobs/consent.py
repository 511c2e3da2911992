"""Which questions somebody agreed to pay for, and how much of that is used up."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from napari_sam3.errors import ConsentError


@dataclass(frozen=True, slots=True)
class Consent:
    """Which questions somebody agreed to pay for, once each.

    Parameters
    ----------
    keys : frozenset of str, optional
        Of the questions; None stands for whatever is asked.
    again : frozenset of str, optional
        Those of them that may be sent although it is not known whether they were billed
        before; None stands for all.
    """

    keys: frozenset[str] | None = frozenset()
    again: frozenset[str] | None = frozenset()


class Purse:
    """Counts what of a consent is used up; may be used from several threads.

    Parameters
    ----------
    consent : Consent
    """

    def __init__(self, consent: Consent) -> None:
        self._left = None if consent.keys is None else set(consent.keys)
        self._again = consent.again
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Use up the consent to a question.

        Raises
        ------
        ConsentError
            If there is none, or it is used up.
        """
        with self._lock:
            if self._left is not None and key not in self._left:
                raise ConsentError(
                    "This request would cost money that was not agreed to, so it was not sent: "
                    "its stored result is gone, or something has changed since. Run it again to "
                    "see its price."
                )
            if self._left is not None:
                self._left.discard(key)

    def give_back(self, key: str) -> None:
        """Take back that a consent was used: the question was not billed."""
        with self._lock:
            if self._left is not None:
                self._left.add(key)

    def has_again(self, key: str) -> bool:
        """Whether a question may be sent although it was perhaps billed before."""
        with self._lock:
            is_agreed = self._again is None or key in self._again
            return is_agreed and (self._left is None or key in self._left)
