"""Promptable segmentation on this computer: offline, free, and there right after install.

Only what the engine can do stands here, so that listing the engines loads
neither SciPy nor scikit-image.
"""

from napari_sam3.engines.base import Capabilities

WORDS = (
    "nucleus",
    "nuclei",
    "cell",
    "cells",
    "bacterium",
    "bacteria",
    "spot",
    "spots",
    "bright",
    "dark",
    "large",
    "small",
    "round",
    "elongated",
)
"""All the words that it knows; `napari_sam3.engines.builtin.words` says what they keep."""

CAPABILITIES = Capabilities(
    text=True,
    exemplars=True,
    negative_exemplars=True,
    points=True,
    object_box=True,
    outline=True,
    proposal=True,
    everything=True,
    diameter=True,
    scores=True,
    settings=frozenset(
        {
            ("concept", "min_score"),
            ("concept", "max_masks"),
            ("everything", "min_score"),
            ("everything", "max_masks"),
            ("everything", "diameter"),
        }
    ),
    words=WORDS,
)
