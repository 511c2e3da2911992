"""Answers that came late, as layers."""

from types import SimpleNamespace

from napari.components import ViewerModel

from napari_sam3.core.instances import Instances
from napari_sam3.engines.base import SegmentationResult
from napari_sam3.jobs.collecting import Collected
from napari_sam3.widgets._collected import add_collected

from .objects_room import SHAPE


def test_what_found_nothing_is_said_and_makes_no_layer():
    viewer = ViewerModel()
    entry = SimpleNamespace(question="cell")
    done = Collected(entry, SegmentationResult(Instances(SHAPE)))
    assert add_collected(viewer, [done]) == ["“cell”: nothing found; running it again is free."]
    assert len(viewer.layers) == 0
