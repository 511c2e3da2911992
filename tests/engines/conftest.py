"""Every engine that can be created without a key, weights or a network, for the contract suite."""

import numpy as np
import pytest

from napari_sam3.engines.builtin.engine import BuiltinEngine

# an engine that joins the package joins this list, with a factory that needs nothing
ENGINE_FACTORIES = {"builtin": BuiltinEngine}


@pytest.fixture(params=sorted(ENGINE_FACTORIES))
def engine(request):
    return ENGINE_FACTORIES[request.param]()


@pytest.fixture
def wide_image():
    """Three bright shapes of different size on a wide picture, none where another mirrors it."""
    image = np.full((48, 90, 3), 20, np.uint8)
    image[6:16, 70:84] = 200
    image[30:42, 10:18] = 170
    image[24:30, 40:58] = 230
    return image
