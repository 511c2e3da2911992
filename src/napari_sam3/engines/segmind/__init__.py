"""SAM3 as the hosted service Segmind sam3-image.

Only what the engine can do stands here, so that listing the engines loads no
HTTP library.
"""

from napari_sam3.engines.base import Capabilities

CAPABILITIES = Capabilities(
    text=True,
    # the service takes no negative boxes, and reads a box as an example, never as one object
    exemplars=True,
    points=True,
    everything=True,
    combined=True,
    billed=True,
    settings=frozenset(
        {
            ("concept", "min_score"),
            ("concept", "max_masks"),
            ("object", "min_score"),
            ("everything", "points_per_side"),
            ("everything", "pred_iou_thresh"),
            ("everything", "max_masks"),
        }
    ),
)
