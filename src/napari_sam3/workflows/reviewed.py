"""What a review did to the objects of a record: which are shown, and what to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_sam3.core.geometry import Box
from napari_sam3.core.labels import labels_dtype
from napari_sam3.core.objects import ReviewState
from napari_sam3.core.painting import PaintRule
from napari_sam3.core.viewing import View
from napari_sam3.workflows.object_records import stored_objects

STATE_WORDS: dict[ReviewState, str] = {
    "accepted": "accepted",
    "rejected": "rejected",
    "edited": "corrected",
}


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of the objects of a record.

    Parameters
    ----------
    found, hidden : frozenset of int
        Labels of objects that an engine found, and of those that show no pixel.
    sentences : tuple of str
        For a methods section.
    rule : {"", "score", "smallest", "first"}
        By which the labels are shown where objects overlap; empty where the runs decided.
    """

    found: frozenset[int] = frozenset()
    hidden: frozenset[int] = frozenset()
    sentences: tuple[str, ...] = ()
    rule: PaintRule = ""


def reviewed(record: Mapping[str, Any]) -> Reviewed:
    """Tell what a review did to the objects of a record.

    Raises
    ------
    ProvenanceError
        If the objects cannot be read.
    """
    store = stored_objects(record)
    if store is None:
        return Reviewed()
    objects = store.objects.values()
    found = frozenset(one.label for one in objects if any(p.source for p in one.parts.values()))
    visible: set[int] = set()
    dtype = labels_dtype(store.highest_label)
    for index in store.planes:
        whole = Box.of_shape(store.plane_shape(index))
        visible |= set(np.unique(store.view_of(index).paint(whole, dtype)).tolist())
    hidden = frozenset(store.objects.keys() - visible)
    sentences = (*_decided(Counter(one.state for one in objects)), *_shown(store.view))
    return Reviewed(found, hidden, sentences, store.view.rule)


def _decided(states: Counter[ReviewState]) -> list[str]:
    parts = [f"{states[state]} {word}" for state, word in STATE_WORDS.items() if states[state]]
    if not parts:
        return []
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return [f"Objects were reviewed by hand: of {states.total()}, {listed}."]


def _shown(view: View) -> list[str]:
    conditions = (
        (view.min_score > 0, f"a score of at least {view.min_score:g}"),
        (view.min_area > 0, f"at least {view.min_area} pixels"),
        (view.max_area is not None, f"at most {view.max_area} pixels"),
        (view.without_border, "no contact with the image border"),
        (
            view.max_iom < 1,
            f"no more than {view.max_iom:g} of the smaller one in common with a better object",
        ),
    )
    kept = [words for holds, words in conditions if holds]
    return [f"Only objects with {', '.join(kept)} were kept."] if kept else []
