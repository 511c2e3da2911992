"""What somebody else did to the objects of a plane, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Changes:
    """What somebody else did to a plane's objects.

    Parameters
    ----------
    renumbered : dict
        Old label to new.
    edited, erased, added, returned : tuple of int
        Labels as they are now, in rising order.  No label is in two of them, but what was
        renumbered may be edited or erased as well.  What has returned is no longer hidden;
        what a filter hides and shows in part only, is.
    """

    renumbered: dict[int, int] = field(default_factory=dict)
    edited: tuple[int, ...] = ()
    erased: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the record was in step."""
        return not self._counts

    @property
    def words(self) -> tuple[str, ...]:
        """Sentences for the user; none where nothing changed."""
        counts = self._counts
        if not counts:
            return ()
        them = "it" if sum(count for count, _ in counts) == 1 else "them"
        sentences = [f"{_list_up(counts)}; the record follows {them}."]
        if self.erased:
            sentences.append("What was erased is kept as rejected and can be brought back.")
        return tuple(sentences)

    @property
    def _counts(self) -> list[tuple[int, str]]:
        counts = [
            (len(self.renumbered), "renumbered"),
            (len(self.edited), "changed"),
            (len(self.erased), "erased"),
            (len(self.returned), "brought back"),
            (len(self.added), "added"),
        ]
        return [(count, verb) for count, verb in counts if count]


def _list_up(counts: Sequence[tuple[int, str]]) -> str:
    (count, verb), *others = counts
    parts = [f"{'1 object was' if count == 1 else f'{count} objects were'} {verb}"]
    parts += [f"{count} {verb}" for count, verb in others]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if others else parts)
