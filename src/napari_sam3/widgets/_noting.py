"""What a review adds to the record of how labels were made, and takes back."""

from __future__ import annotations

from collections.abc import Collection

from napari.layers import Labels

from napari_sam3.layers.describing import describe_image, describe_plane
from napari_sam3.layers.output import METADATA_KEY, find_output_place
from napari_sam3.widgets._refining import Refined
from napari_sam3.workflows.provenance import (
    append_run,
    is_record,
    new_record,
    run_record,
    without_runs,
)


def note_refined(refined: Refined) -> None:
    """Append the run that refined an object to its layer's record."""
    place = find_output_place(refined.image, refined.plane)
    source, former = refined.after.source, refined.before.source
    label = refined.after.label
    run = run_record(
        refined.run,
        refined.answer,
        engine=refined.engine,
        plane=describe_plane(refined.plane),
        image=describe_image(refined.image),
        labels={} if source is None else {source[2]: label},
        replaced={} if source is None else {source[2]: label},
        former=[] if former is None else [former],
        run_id=refined.run_id,
        crop=refined.crop,
    )
    metadata = refined.layer.metadata
    entry = metadata.get(METADATA_KEY)
    if not is_record(entry):
        # labels from elsewhere: nothing is known of how they began
        entry = new_record(place.image, place.describe(), "labels")
    metadata[METADATA_KEY] = append_run(entry, run)


def forget_runs(layer: Labels, ids: Collection[str]) -> None:
    """Take runs off a layer's record, since what they wrote was taken back."""
    entry = layer.metadata.get(METADATA_KEY)
    if ids and is_record(entry):
        layer.metadata[METADATA_KEY] = without_runs(entry, ids)
