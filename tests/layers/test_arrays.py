"""Images in arrays of all kinds that napari shows."""

import io

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_sam3.errors import ImageError
from napari_sam3.layers.objects import flaw_of
from napari_sam3.layers.output import find_output_place
from napari_sam3.layers.pictures import capture_composed, capture_picture
from napari_sam3.layers.planes import find_plane

STACK = (np.arange(4 * 6 * 9) * 7).astype(np.uint16).reshape(4, 6, 9)


class Cut:
    """An array that can be cut, and little else."""

    def __init__(self, data):
        self._data = data
        self.shape, self.ndim, self.size = data.shape, data.ndim, data.size
        self.dtype = data.dtype

    def __getitem__(self, index):
        return self._data[index]


class Lazy(Cut):
    """As those of TensorStore: a cut is read later, and types are not those of NumPy."""

    class Type:
        def __init__(self, name):
            self.name = name

        def __str__(self):
            return f'dtype("{self.name}")'

    def __init__(self, data):
        super().__init__(data)
        self.dtype = self.Type(data.dtype.name)

    def __getitem__(self, index):
        return Lazy(np.asarray(self._data[index]))

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._data, dtype)


class Torchlike(Lazy):
    """As PyTorch names its types."""

    class Type(Lazy.Type):
        def __str__(self):
            return f"torch.{self.name}"


class Own(np.ndarray):
    """A subclass that somebody made."""


def by(module, make):
    """Make an array of a package that need not be there."""
    return lambda data: make(pytest.importorskip(module), data)


KINDS = {
    "dask": da.from_array,
    "zarr": zarr.array,
    "subclass": lambda data: data.view(Own),
    "masked": lambda data: np.ma.masked_greater(data, 900),
    "byte order": lambda data: data.astype(">u2"),
    "cut only": Cut,
    "lazy": Lazy,
    "torch-like": Torchlike,
    "tensorstore": by("tensorstore", lambda module, data: module.array(data)),
    "torch": by("torch", lambda module, data: module.from_numpy(data.astype(np.int16))),
    "xarray": by("xarray", lambda module, data: module.DataArray(data)),
    "h5py": by("h5py", lambda module, data: in_file(module, data)),
}


def in_file(h5py, data):
    return h5py.File(io.BytesIO(), "w").create_dataset("stack", data=data)


def view_of(image, order=(0, 1, 2)):
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.dims.order = order
    viewer.dims.set_point(order[0], 2)
    return viewer


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plane_of_any_array_is_read_and_described(kind, order):
    image = Image(KINDS[kind](STACK), contrast_limits=(0, 2000))
    dims = view_of(image, order).dims
    plane = find_plane(image, dims)
    picture = capture_picture(image, plane)
    wanted = STACK.transpose(order)[2]
    np.testing.assert_array_equal(picture.channels[0].pixels(), wanted)
    assert picture.describe()["dtype"] in ("uint16", ">u2", "int16")
    assert find_output_place(image, plane).shape == STACK.shape
    together = capture_composed([image], plane, dims).read().rgb
    np.testing.assert_array_equal(together, picture.read().rgb)


@pytest.mark.parametrize("kind", ["lazy", "torch-like", "tensorstore"])
def test_levels_and_colours_of_any_array_are_read(kind):
    levels = [KINDS[kind](STACK[0]), KINDS[kind](STACK[0, ::2, ::2].copy())]
    image = Image(levels, multiscale=True, contrast_limits=(0, 2000))
    plane = find_plane(image, view_of(image, (0, 1)).dims, max_side=8)
    np.testing.assert_array_equal(
        capture_picture(image, plane).channels[0].pixels(), STACK[0, ::2, ::2]
    )
    colours = np.stack([STACK[1]] * 3, axis=-1)
    image = Image(KINDS[kind](colours), rgb=True, contrast_limits=(0, 2000))
    plane = find_plane(image, view_of(image, (0, 1)).dims)
    np.testing.assert_array_equal(capture_picture(image, plane).channels[0].pixels(), colours)


def test_what_fails_to_be_read_is_told_in_a_sentence():
    class Lost(Cut):
        lost = False

        def __getitem__(self, index):
            if self.lost:
                raise OSError("Host is down.\nmore")
            return super().__getitem__(index)

    data = Lost(STACK)
    image = Image(data, name="cells")
    picture = capture_picture(image, find_plane(image, view_of(image).dims))
    data.lost = True
    with pytest.raises(ImageError, match=r"^“cells” cannot be read: Host is down\.$"):
        picture.read()


def test_labels_with_a_mask_are_refused_in_a_sentence():
    layer = Labels(np.ma.masked_greater(STACK.astype(np.int64), 900), name="mine")
    assert "“mine” cannot be reviewed, since its data are not a plain array" in flaw_of(layer)
    image = Image(STACK)
    place = find_output_place(image, find_plane(image, view_of(image).dims))
    assert "“mine” cannot be edited, since its data are not a plain array" in place.misfit(layer)
