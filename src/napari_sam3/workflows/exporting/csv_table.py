"""Measurements as CSV."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3.core.progress import Progress
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.files import save_text
from napari_sam3.workflows.measuring import iter_measure
from napari_sam3.workflows.measuring_stacks import measure_stack

if TYPE_CHECKING:
    import pandas as pd


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write one row per object; cells of what is not known are empty.

    Of a plane of a stack, the last column is ``plane``, the position along the other axes,
    e.g. ``1,3``.  Of all planes, an object over many is one row (`measure_stack`).
    """
    if exported.planes:
        table: pd.DataFrame = measure_stack(exported)
    else:
        table = yield from iter_measure(
            exported.kept,
            exported.image_shape,
            exported.pixel_size,
            exported.intensity,
            to_world=exported.world,
            has_edges=exported.has_edges,
        )
        if exported.plane is not None:
            table["plane"] = ",".join(map(str, exported.plane))
    # RFC 4180: lines end in CR LF
    save_text(path, table.to_csv(index=False, lineterminator="\r\n"))
