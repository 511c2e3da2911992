import socket
from importlib import resources

import numpy as np
import pytest

from napari_sam3 import samples

NAMES = ("fluorescence", "histology", "stack")
LICENCES = (resources.files(samples) / "LICENSES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("load", "shape", "dtype"),
    [
        (samples.fluorescence, (520, 696), np.uint8),
        (samples.histology, (256, 320, 3), np.uint8),
        (samples.stack, (14, 200, 256), np.uint16),
    ],
)
def test_a_sample_is_an_image_with_something_in_it(load, shape, dtype):
    [(pixels, options, kind)] = load()
    assert (pixels.shape, pixels.dtype, kind) == (shape, dtype, "image")
    assert options["rgb"] is (pixels.shape[-1] == 3)
    assert np.percentile(pixels, 99) - np.percentile(pixels, 1) > 50


def test_samples_load_without_any_socket(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a sample must not need the network")

    monkeypatch.setattr(socket, "socket", refuse)
    assert all(load() for load in (samples.fluorescence, samples.histology, samples.stack))


def test_every_sample_has_a_file_whose_licence_is_stated():
    for name in NAMES:
        path = samples.sample_path(name)
        assert path.is_file()
        assert f"`data/{path.name}`" in LICENCES
        [(_, options, _)] = getattr(samples, name)()
        assert options["metadata"]["licence"].startswith("CC0")
        assert options["metadata"]["source"]


def test_no_image_is_there_without_a_licence():
    shipped = {entry.name for entry in (resources.files(samples) / "data").iterdir()}
    assert shipped == {samples.sample_path(name).name for name in NAMES}


def test_all_samples_together_stay_small():
    assert sum(samples.sample_path(n).stat().st_size for n in NAMES) < 1.5e6


def test_the_stack_knows_its_voxel_size_in_micrometres():
    [(_, options, _)] = samples.stack()
    assert options["scale"] == (0.58, 0.26, 0.26)
    assert options["units"] == "micrometer"


def test_napari_takes_every_sample_as_a_layer():
    layers = pytest.importorskip("napari.layers")
    for load in (samples.fluorescence, samples.histology, samples.stack):
        [(pixels, options, kind)] = load()
        layer = layers.Layer.create(pixels, options, kind)
        assert layer.data.shape == pixels.shape


def test_an_unknown_sample_is_an_error():
    with pytest.raises(KeyError):
        samples.sample_path("camera")
