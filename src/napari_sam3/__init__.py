"""Promptable segmentation in napari: name, click or box a thing, get labels.

The library works without a window.  Importing it loads neither napari nor Qt
nor torch.

Examples
--------
>>> import numpy as np
>>> import napari_sam3
>>> image = np.zeros((40, 60), np.uint8)
>>> image[10:20, 30:45] = 200
>>> prompt = napari_sam3.ObjectPrompt(points=(napari_sam3.Point(15, 37),))
>>> result = napari_sam3.segment(image, prompt)
>>> int(result.instances.to_labels().sum())
150
"""

from typing import TYPE_CHECKING, Any

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.prompts import (
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
)
from napari_sam3.engines import create_engine
from napari_sam3.engines.base import (
    Capabilities,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    Usage,
)
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
from napari_sam3.workflows.segment import segment

if TYPE_CHECKING:
    from napari_sam3.workflows.accounted import estimate

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
    "Point",
    "PromptError",
    "ProvenanceError",
    "RateLimitError",
    "RequestRejectedError",
    "ResponseError",
    "Sam3Error",
    "SegmentationRequest",
    "SegmentationResult",
    "UnsupportedPromptError",
    "Usage",
    "__version__",
    "create_engine",
    "estimate",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Load what only some need: an estimate brings the ledger's database along."""
    if name == "estimate":
        from napari_sam3.workflows.accounted import estimate

        return estimate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
