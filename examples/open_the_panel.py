"""Open an image with the panel beside it, ready to be prompted."""

from __future__ import annotations

import napari
from skimage.data import coins


def main() -> napari.Viewer:
    """Return the viewer; `napari.run()` then lets it live."""
    viewer = napari.Viewer()
    viewer.add_image(coins(), name="coins")
    viewer.window.add_plugin_dock_widget("napari-sam3", "Segment")
    return viewer


if __name__ == "__main__":
    main()
    napari.run()
