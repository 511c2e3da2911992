"""Promptable segmentation in napari: name, click or box a thing, get labels.

The library works without a window.  Importing it loads neither napari nor Qt
nor torch.

Examples
--------
>>> import numpy as np
>>> import napari_sam3 as sam3
>>> image = np.zeros((40, 60), np.uint8)
>>> image[10:20, 30:45] = 200

One object by a click, all objects of a kind by their name, or several prompts at once:

>>> sam3.segment(image, sam3.ObjectPrompt(points=[(15, 37)])).instances[0].box
Box(top=10, left=30, bottom=20, right=45)
>>> found = sam3.segment(image, "cells")
>>> int(found.instances.to_labels().sum())
150
>>> sam3.segment(image, ["bright", "cells"]).found_words
'1 bright, 1 cells'

What was found is measured, compared and written for other programs:

>>> sam3.measure(found, image)[["area_px", "intensity_mean"]]
   area_px  intensity_mean
0      150           200.0
>>> sam3.evaluate(found, image > 0)
Evaluation(1 image, 1 predicted, 1 true, AP50 1.0000, mean AP 1.0000, F1 1.0000)
>>> sam3.export(found, folder / "cells.geojson").name
'cells.geojson'
"""

import importlib
from typing import TYPE_CHECKING, Any

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import (
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines.base import (
    Capabilities,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    Usage,
)
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import (
    AuthenticationError,
    CacheError,
    CancelledError,
    CapReachedError,
    ConsentError,
    CreditsError,
    EngineError,
    EngineUnavailableError,
    ImageError,
    LedgerError,
    OutcomeUnknownError,
    PromptError,
    ProvenanceError,
    RateLimitError,
    RequestRejectedError,
    ResponseError,
    Sam3Error,
    UnsupportedPromptError,
)
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.segment import segment

if TYPE_CHECKING:
    from napari_sam3.workflows.paying import estimate
    from napari_sam3.workflows.scripting import evaluate, export, measure

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "Box",
    "CacheError",
    "CancelledError",
    "CapReachedError",
    "Capabilities",
    "ConceptPrompt",
    "ConsentError",
    "CreditsError",
    "Engine",
    "EngineError",
    "EngineUnavailableError",
    "Everything",
    "Exemplar",
    "ImageError",
    "Instance",
    "Instances",
    "LedgerError",
    "ObjectPrompt",
    "OutcomeUnknownError",
    "Pixels",
    "Point",
    "PromptError",
    "ProvenanceError",
    "RateLimitError",
    "RequestRejectedError",
    "ResponseError",
    "Sam3Error",
    "SegmentAnswer",
    "SegmentationRequest",
    "SegmentationResult",
    "UnsupportedPromptError",
    "Usage",
    "__version__",
    "create_engine",
    "estimate",
    "evaluate",
    "export",
    "measure",
    "segment",
]


_LATER = {
    "estimate": "paying",
    "evaluate": "scripting",
    "export": "scripting",
    "measure": "scripting",
}


def __getattr__(name: str) -> Any:
    """Load what only some need: the ledger's database, tables, files of other programs."""
    if name in _LATER:
        return getattr(importlib.import_module(f"napari_sam3.workflows.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name also what is loaded later."""
    return [*globals(), *_LATER]
