"""Open both panels in a real napari window and let the built-in engine answer once.

Needs a screen, real or virtual, and no more than what a user installs.  Ends with an error if
anything on the way fails, so that it can be run with any versions of what the package needs::

    QT_API=pyside6 xvfb-run -a python scripts/open_panels.py
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari import Viewer


def main(home: Path) -> None:
    """Say what is tried, and try it with settings and answers of its own."""
    # read when napari is imported
    os.environ["NAPARI_CONFIG"] = str(home / "settings.yaml")
    import napari
    import numpy as np
    import qtpy

    from napari_sam3.widgets.demo import own_records

    print(f"Python {sys.version.split()[0]}, napari {napari.__version__}, NumPy {np.__version__}")
    print(f"{qtpy.API_NAME} {qtpy.PYQT_VERSION or qtpy.PYSIDE_VERSION}, Qt {qtpy.QT_VERSION}")
    with own_records():
        use_both(napari.Viewer(), home)


def use_both(viewer: Viewer, home: Path) -> None:
    """Segment, look through the objects, save them, and open what was saved."""
    import numpy as np
    from napari.layers import Image

    from napari_sam3.samples import fluorescence
    from napari_sam3.widgets.demo import segment_everything, wait_for

    viewer.window.resize(1400, 900)
    viewer.add_layer(Image.create(*fluorescence()[0]))
    _, panel = viewer.window.add_plugin_dock_widget("napari-sam3", "Segment")
    labels = segment_everything(viewer, panel)
    _, objects = viewer.window.add_plugin_dock_widget("napari-sam3", "Objects")
    wait_for(objects)
    print(panel.form.result.text())
    painted, listed = len(np.unique(labels.data)) - 1, len(labels.features)
    if not 20 < painted == listed:
        raise SystemExit(f"{painted} labels were painted, and {listed} objects are listed.")
    for decide in (objects.next, objects.accept, objects.reject):
        decide()
        wait_for(objects)
    for name in ("labels.tif", "objects.geojson"):
        if not labels.save(str(home / name), plugin="napari-sam3"):
            raise SystemExit(f"{name} was not saved.")
    if not viewer.open(str(home / "objects.geojson"), plugin="napari-sam3"):
        raise SystemExit("The saved objects could not be opened.")
    wait_for(objects)
    viewer.close()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(folder))
