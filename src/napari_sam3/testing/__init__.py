"""For tests, demos and teaching: a stand-in for the hosted service.

Never imported by the package itself, except by the command ``napari-sam3 standin``.
"""

from napari_sam3.testing.segmind_server import (
    TEST_KEY,
    VOCABULARY,
    Behaviour,
    Fault,
    Fields,
    Ledger,
    Model,
    Recorded,
    SegmindServer,
    builtin_model,
)

__all__ = [
    "TEST_KEY",
    "VOCABULARY",
    "Behaviour",
    "Fault",
    "Fields",
    "Ledger",
    "Model",
    "Recorded",
    "SegmindServer",
    "builtin_model",
]
