"""Classical promptable segmentation: offline, free, and there right after install.

Only what the engine can do stands here, so that listing the engines loads
neither SciPy nor scikit-image.
"""

from napari_sam3.engines.base import Capabilities

CAPABILITIES = Capabilities(
    exemplars=True,
    negative_exemplars=True,
    points=True,
    object_box=True,
    everything=True,
    scores=True,
    settings=frozenset(
        {
            ("concept", "threshold"),
            ("concept", "max_masks"),
            ("everything", "threshold"),
            ("everything", "max_masks"),
        }
    ),
)
