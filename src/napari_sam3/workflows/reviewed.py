"""What a review did to the objects of a record: which are shown, and what to say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_sam3.core.painting import PaintRule, paint_objects
from napari_sam3.core.viewing import View, hidden_labels
from napari_sam3.workflows.object_records import stored_objects

STATE_WORDS = {"accepted": "accepted", "rejected": "rejected", "edited": "corrected"}


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
    stored = stored_objects(record)
    if stored is None:
        return Reviewed()
    found: set[int] = set()
    labels: set[int] = set()
    visible: set[int] = set()
    states: Counter[str] = Counter()
    for plane in stored.planes:
        objects = list(plane.objects.values())
        found |= {one.label for one in objects if one.source is not None}
        hidden = hidden_labels(objects, plane.shape, stored.view)
        painted = paint_objects(objects, plane.shape, rule=stored.view.rule, hidden=hidden)
        visible |= set(np.unique(painted).tolist())
        labels |= {one.label for one in objects}
        states.update(one.state for one in objects)
    sentences = (*_decided(states), *_shown(stored.view))
    return Reviewed(frozenset(found), frozenset(labels - visible), sentences, stored.view.rule)


def _decided(states: Counter[str]) -> list[str]:
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
