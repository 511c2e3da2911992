"""An answer that came late → labels, and the record of how they were made."""

from __future__ import annotations

from contextlib import suppress

from napari_sam3.core.arrays import LabelImage
from napari_sam3.core.pictures import Picture
from napari_sam3.core.prompts import Prompt, prompt_from_json
from napari_sam3.engines.base import SegmentationResult
from napari_sam3.errors import PromptError
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import Record, record_of_file
from napari_sam3.workflows.run import SegmentRun


def labels_of(result: SegmentationResult) -> LabelImage:
    """Return the labels of an answer, shape (rows, cols), the highest score on top."""
    return result.instances.to_labels()


def record_of(
    result: SegmentationResult, question: Fingerprint | None, labels: LabelImage, name: str = ""
) -> Record:
    """Return the record of labels that were made of a collected answer.

    Parameters
    ----------
    result : SegmentationResult
    question : Fingerprint, optional
        What was asked, as far as the ledger knows it.
    labels : ndarray of int, shape (rows, cols)
        As `labels_of` made them.
    name : str
        Of the image, as far as it is known.
    """
    fields = {} if question is None else question.fields
    prompts: tuple[Prompt, ...] = ()
    # the answer is worth more than what is known of it
    with suppress(KeyError, PromptError):
        prompts = (prompt_from_json(fields["prompt"]),)
    # it is known by its hash alone
    shape, said = result.instances.image_shape, {"kind": "unknown"}
    run = SegmentRun(
        Picture(shape, said=said),
        prompts,
        float(fields.get("min_score", 0.0)),
        int(fields.get("max_masks", 0)),
    )
    results = (result,) if prompts else ()
    answer = SegmentAnswer(results, shape, picture=said)
    engine = result.record.engine if result.record is not None else "unknown"
    return record_of_file(name, run, answer, engine=engine, labels=labels)
