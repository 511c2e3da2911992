"""For tests, demos and teaching: a stand-in for the hosted service.

Never imported by the package itself, except by the command ``napari-sam3 standin``.
"""

from napari_sam3.testing._behaviour import Behaviour, Fault
from napari_sam3.testing._fields import Fields
from napari_sam3.testing._ledger import Ledger, Recorded
from napari_sam3.testing._model import VOCABULARY, Model, builtin_model
from napari_sam3.testing.segmind_server import TEST_KEY, SegmindServer

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
