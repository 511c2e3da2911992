"""Answers that were paid for and came late → Labels layers of their own."""

from __future__ import annotations

from collections.abc import Sequence

from napari.components import ViewerModel

from napari_sam3.jobs.collecting import Collected
from napari_sam3.layers.output import METADATA_KEY
from napari_sam3.workflows.collected import labels_of, record_of


def add_collected(viewer: ViewerModel, done: Sequence[Collected]) -> list[str]:
    """Add a Labels layer for each answer that came, and say what became of all.

    Which image an answer belongs to is not known for certain after a restart; the same
    question about it is answered from what is stored now.

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
        labels = labels_of(one.result)
        metadata = {METADATA_KEY: record_of(one.result, one.question, labels)}
        name = f"collected: {one.entry.question}"
        layer = viewer.add_labels(labels, name=name, metadata=metadata)
        objects = f"{count} object{'' if count == 1 else 's'}"
        said.append(f"“{one.entry.question}”: {objects} → “{layer.name}”; asking again is free.")
    return said
