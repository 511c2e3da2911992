"""Whatever is in a file, reading it ends in a result or in a sentence."""

import contextlib
import gzip
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from napari_sam3.errors import Sam3Error
from napari_sam3.workflows.exporting import export, read_objects
from napari_sam3.workflows.files import open_image
from napari_sam3.workflows.label_files import open_labels
from tests.tiers import examples

from .exported import exported

ENDS = (".tif", ".png", ".npy", ".json", ".geojson", ".geojson.gz", ".zip", ".roi", ".jpg", "")
LABELS = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9) // 20


def read_in_all_ways(path):
    for read in (
        open_image,
        open_labels,
        read_objects,
        lambda path: open_image(path, (1,)),
        lambda path: read_objects(path, (6, 9), plane=(1, 0)),
    ):
        with warnings.catch_warnings(), contextlib.suppress(Sam3Error):
            warnings.simplefilter("ignore")
            read(path)


def _valid_files(folder):
    for end in (".json", ".geojson", ".zip", ".tif"):
        yield export(folder / f"exported{end}", exported())[0].read_bytes()
    for number, options in enumerate(
        ({"imagej": True}, {"ome": True}, {"compression": "zlib"}, {"metadata": None})
    ):
        path = folder / f"{number}.tif"
        stack = np.stack([LABELS] * 3)
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
        yield path.read_bytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("x.png", "x.jpg", "x.gif", "x.bmp"):
        picture = Image.fromarray(LABELS)
        palette = picture.convert("P") if name == "x.png" else picture
        palette.save(folder / name, exif=exif)
        yield (folder / name).read_bytes()
    for number, values in enumerate((LABELS, LABELS.astype(float), {"masks": LABELS})):
        np.save(folder / f"{number}.npy", values, allow_pickle=True)
        yield (folder / f"{number}.npy").read_bytes()
    shape = {"type": "Polygon", "coordinates": [[[1, 1], [5, 1], [5, 4], [1, 1]]]}
    feature = {"type": "Feature", "geometry": shape, "properties": {}}
    yield gzip.compress(json.dumps([feature]).encode())


with tempfile.TemporaryDirectory() as _folder:
    VALID = list(_valid_files(Path(_folder)))


@st.composite
def damaged(draw):
    content = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content) - 1))
        content[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(content[: draw(st.integers(0, len(content)))])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


FUZZ = examples(150, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(content=damaged() | st.binary(max_size=200), end=st.sampled_from(ENDS))
def test_what_is_damaged_ends_in_a_result_or_a_sentence(folder, content, end):
    path = folder / f"x{end}"
    path.write_bytes(content)
    read_in_all_ways(path)


@pytest.mark.parametrize("number", range(len(VALID)))
@pytest.mark.filterwarnings("ignore")
def test_what_is_cut_off_ends_in_a_result_or_a_sentence(tmp_path, number):
    content = VALID[number]
    for keep in range(0, len(content), max(1, len(content) // 25)):
        for end in (".tif", ".json", ".zip", ".npy"):
            (tmp_path / f"x{end}").write_bytes(content[:keep])
            read_in_all_ways(tmp_path / f"x{end}")
