"""Answers that were paid for and came late → Labels layers of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam3.core.arrays import Float64Array
from napari_sam3.jobs.collecting import Collected
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.workflows.collected import labels_of, record_of


def add_collected(viewer: ViewerModel, done: Sequence[Collected]) -> list[str]:
    """Add a Labels layer for each answer that found something, and say what became of all.

    It lies where the picture lay that was asked about.  Which layer that was is not known
    for certain after a restart; the same question about it is answered from what is stored.

    Returns
    -------
    list of str
        One sentence for each question.
    """
    said = []
    for one in done:
        if one.result is None:
            said.append(f"“{one.entry.question}”: {one.error}")
            continue
        count = len(one.result.instances)
        if not count:
            said.append(f"“{one.entry.question}”: nothing found; running it again is free.")
            continue
        labels = labels_of(one.result)
        image = str(one.about.get("image", ""))
        metadata = {METADATA_KEY: record_of(one.result, one.question, labels, image)}
        name = f"collected: {one.entry.question}"
        layer = Labels(labels, name=name, metadata=metadata, affine=_affine(one.about))
        viewer.add_layer(layer)
        objects = f"{count} object{'' if count == 1 else 's'}"
        done_with = f"“{one.entry.question}”: {objects} → “{layer.name}”; running it again is free."
        said.append(" ".join((done_with, *one.result.notices)))
    return said


def _affine(about: Mapping[str, Any]) -> Float64Array | None:
    """Return where the picture lay in the world, or None if that cannot be used."""
    try:
        matrix = np.asarray(about["affine"], dtype=float)
    except (KeyError, TypeError, ValueError):
        return None
    is_usable = matrix.shape == (3, 3) and np.isfinite(matrix).all()
    return matrix if is_usable and abs(np.linalg.det(matrix)) > 0 else None
