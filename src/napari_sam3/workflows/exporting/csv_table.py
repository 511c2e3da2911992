"""Measurements as CSV."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from napari_sam3.core.progress import Progress
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.files import save_text
from napari_sam3.workflows.measuring import iter_measure


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write one row per object; cells of what is not known are empty.

    Of a stack, the last column is ``plane``, the position along the other axes, e.g. ``1,3``.
    """
    import pandas as pd

    tables = []
    for each in exported.by_plane():
        table = yield from iter_measure(
            each.kept,
            each.image_shape,
            each.pixel_size,
            each.intensity,
            to_world=exported.world,
            has_edges=exported.has_edges,
        )
        if each.plane is not None:
            table["plane"] = ",".join(map(str, each.plane))
        tables.append(table)
    table = tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
    # RFC 4180: lines end in CR LF
    save_text(path, table.to_csv(index=False, lineterminator="\r\n"))
