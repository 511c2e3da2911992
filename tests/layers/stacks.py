"""Stacks whose pixels tell where they are, and which count what is read of them."""

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel

ignore_turned = pytest.mark.filterwarnings(
    # napari says of itself that it shows such planes without the turn out of the plane
    "ignore:Non-orthogonal slicing:UserWarning"
)


def numbered(*shape, dtype=np.uint16):
    """Every pixel has a value of its own."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def show(*layers, at=None, order=None):
    viewer = ViewerModel()
    for layer in layers:
        viewer.add_layer(layer)
    if order is not None:
        viewer.dims.order = order
    for axis, position in (at or {}).items():
        viewer.dims.set_point(axis, position)
    return viewer


class Counted:
    """A dask or zarr-like stack that counts what is read of it."""

    def __init__(self, planes=200, shape=(8, 9)):
        self.read = []
        self.data = numbered(planes, *shape)

    def dask(self):
        def load(block, block_info=None):
            self.read.append(block_info[0]["chunk-location"])
            return block

        chunks = (1, *self.data.shape[1:])
        return da.from_array(self.data, chunks=chunks).map_blocks(load, dtype=self.data.dtype)


class CountingStore(zarr.storage.MemoryStore):
    """Counts the chunks that are fetched."""

    fetched = 0

    async def get(self, key, prototype, byte_range=None):
        self.fetched += "/" in key or key.startswith("c")
        return await super().get(key, prototype, byte_range)
