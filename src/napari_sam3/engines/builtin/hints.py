"""What the user should know of an answer: what it rests on, and where the nets are not at home."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_sam3.core.flatness import is_flat
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import ConceptPrompt, Everything, ObjectPrompt, Prompt
from napari_sam3.engines.builtin.scene import Scene
from napari_sam3.engines.builtin.trained import (
    diameter_in,
    known_objects,
    looks_drawn,
    saw_nothing_known,
)
from napari_sam3.engines.builtin.words import parsed

_STRANGE = 0.6
"""Where objects are expected to overlap less with true ones, the nets hardly know them."""
_UNSURE = 0.5
_HUGE = 400
"""Pixels: an outline of 64 cells a window is coarse on what is wider."""

STRANGE = (
    "This image looks unlike what the built-in engine knows (nuclei and cells as compact bodies), "
    "so check the result; SAM3 (the Segmind SAM3 engine) may do better."
)
HUGE = (
    "Objects as large as this get a coarse outline; SAM3 (the Segmind SAM3 engine) may do better."
)
UNSURE = (
    "The built-in engine is unsure of this object: click once more, draw a box, "
    "or ask SAM3 (the Segmind SAM3 engine)."
)
ONE_PROPOSAL = "This click has one meaning only: small, medium and large are the same."


def hints(
    picture: Scene, prompt: Prompt, found: Sequence[Instance], proposals: int = 0
) -> tuple[str, ...]:
    """Return sentences to be read beside an answer.

    Parameters
    ----------
    picture : Scene
        As far as the answer made it known.
    found : sequence of Instance
        Before any threshold.
    proposals : int
        How many meanings the click had, where one of them was asked for.
    """
    said = []
    if isinstance(prompt, Everything) and prompt.diameter is None and found:
        said += _found_diameter(picture)
    elif isinstance(prompt, ObjectPrompt):
        is_click = prompt.proposal and len(prompt.points) == 1 and not prompt.box
        said += [ONE_PROPOSAL] if is_click and proposals == 1 else []
        said += [UNSURE] if any((item.score or 0.0) < _UNSURE for item in found) else []
    else:
        said += _meaning(getattr(prompt, "text", ""), found)
    if is_huge(found):
        said.append(HUGE)
    elif isinstance(prompt, Everything) and prompt.diameter:
        said += _other_width(picture, prompt.diameter, found)
    elif not isinstance(prompt, ObjectPrompt) and _is_beyond(picture, prompt, found):
        said.append(STRANGE)
    return tuple(said)


def _other_width(picture: Scene, diameter: float, found: Sequence[Instance]) -> list[str]:
    """Say so where hardly anything has the width that was given: that need not be the image."""
    is_doubtful = saw_nothing_known(picture, diameter) or is_strange(found)
    if looks_drawn(picture) or (found and not is_doubtful):
        return []
    wrong = f"Hardly anything here is about {diameter:.0f} pixels wide"
    return [f"{wrong}; leave the diameter out, and it is found."]


def _is_beyond(picture: Scene, prompt: Prompt, found: Sequence[Instance]) -> bool:
    """Whether a picture shows something that the nets do not know."""
    if looks_drawn(picture) or is_flat(picture.rgb):
        return False
    # a low score says that an object is unlike the examples; words leave few to judge by
    judged = known_objects(picture) if isinstance(prompt, ConceptPrompt) else found
    return saw_nothing_known(picture) or is_strange(judged)


def _found_diameter(picture: Scene) -> list[str]:
    width = None if looks_drawn(picture) else diameter_in(picture)
    if width is None:
        return []
    taken = f"Objects were taken to be about {width:.0f} pixels wide"
    return [f"{taken}. If they are not, set the diameter (under Thresholds, or --diameter)."]


def _meaning(text: str, found: Sequence[Instance]) -> list[str]:
    if text and not found:
        return [f"Nothing here fits “{text}”."]
    nouns = {"nucleus": "compact objects", "cell": "objects", "bacterium": "objects"}
    return [
        f"“{text}” found all {nouns[word]} that fit: the built-in engine knows sizes, shapes and "
        "brightness, but no kinds of things. SAM3 (the Segmind SAM3 engine) does."
        for word in (parsed(text) if text else ())
        if word in nouns
    ]


def is_strange(found: Sequence[Instance]) -> bool:
    """Whether the scores say that the image is unlike what was learned from, or empty."""
    # by area: crumbs between well-known objects are no sign of another world
    pairs = [(item.score, item.area) for item in found if item.score is not None]
    if not pairs:
        return False
    scores, areas = zip(*pairs, strict=True)
    return float(np.average(scores, weights=areas)) < _STRANGE


def is_huge(found: Sequence[Instance]) -> bool:
    """Whether the typical object is wider than what the nets outline well."""
    areas = [item.area for item in found]
    return bool(areas) and 2 * float(np.sqrt(np.median(areas) / np.pi)) > _HUGE
