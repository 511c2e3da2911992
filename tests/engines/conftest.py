"""Every engine that can be created without a key, weights or a network, for the contract suite."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from napari_sam3.engines.builtin.engine import BuiltinEngine


@contextmanager
def _hosted(api, answer):
    """Make the hosted engine, and the service that it asks."""
    from napari_sam3.engines.segmind import engine
    from napari_sam3.engines.segmind.key import ApiKey
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.testing import Behaviour, SegmindServer

    quick = Behaviour(queued_polls=0, processing_polls=0)
    with SegmindServer(quick, credits=100.0) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "POLL_S", 0.002)
        options = SegmindOptions(url=server.url, api=api, answer=answer)
        yield engine.SegmindEngine(options, ApiKey(server.key))
        assert server.leaked_keys == 0


# an engine that joins the package joins this list, with a factory that needs nothing
ENGINE_FACTORIES = {
    "builtin": lambda: nullcontext(BuiltinEngine()),
    "segmind v1": lambda: _hosted("v1", "mask"),
    "segmind v2, separate masks": lambda: _hosted("v2", "separate masks"),
}


@pytest.fixture(params=sorted(ENGINE_FACTORIES))
def engine(request):
    with ENGINE_FACTORIES[request.param]() as made:
        yield made


@pytest.fixture
def wide_image():
    """Three bright shapes of different size on a wide picture, none where another mirrors it."""
    image = np.full((48, 90, 3), 20, np.uint8)
    image[6:16, 70:84] = 200
    image[30:42, 10:18] = 170
    image[24:30, 40:58] = 230
    return image
