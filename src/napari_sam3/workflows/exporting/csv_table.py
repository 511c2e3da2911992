"""Measurements as CSV."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.files import save_text
from napari_sam3.workflows.measuring import iter_measure
from napari_sam3.workflows.segment import Progress


def iter_write(path: Path, exported: Exported) -> Generator[Progress, None, None]:
    """Write one row per object; cells of what is not known are empty.

    Of a stack, the last column is ``plane``, the position along the other axes, e.g. ``1,3``.
    """
    table = yield from iter_measure(
        exported.kept, exported.image_shape, exported.pixel_size, exported.intensity
    )
    if exported.plane is not None:
        table["plane"] = ",".join(map(str, exported.plane))
    # RFC 4180: lines end in CR LF
    save_text(path, table.to_csv(index=False, lineterminator="\r\n"))
