"""The button that saves a Labels layer and the record of how it was made."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from magicgui.widgets import PushButton
from napari.layers import Labels
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam3.core.progress import Progress
from napari_sam3.widgets._worker import Job, Runner
from napari_sam3.widgets.saving import ToSave, capture_labels, save_layer_data

LONGEST_S = 60.0
FORMATS = "Label images (*.tif *.tiff *.png *.npy)"


class SaveButton(QObject):
    """Asks where to save, and saves in a thread.

    Parameters
    ----------
    parent : QWidget
    find_layer : callable
        Returns the layer to save, or None.
    say : callable
        Shows a sentence.
    """

    def __init__(
        self,
        parent: QWidget,
        find_layer: Callable[[], Labels | None],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(parent)
        self.button = PushButton(
            text="Save labels …",
            tooltip="Save the objects as a label image, and beside it how they were made (.json).",
        )
        self._find_layer, self._say = find_layer, say
        self._widget = parent
        self._runner = Runner(self, say)
        self._written: list[threading.Event] = []
        self.button.changed.connect(self._on_pressed)

    @property
    def is_busy(self) -> bool:
        """Whether something is being saved."""
        return self._runner.is_busy

    def save(self, layer: Labels, path: str) -> None:
        """Save a layer as it is now; what is drawn later is not in the file."""
        if self.is_busy:
            self._say("Something is being saved already; press again when it is done.")
            return
        captured = capture_labels(layer)
        self._say(f"saving “{layer.name}” …")
        written = threading.Event()
        self._written = [written]
        self._runner.start(Job(_saving(path, captured, written), done=self._on_saved))

    def finish(self) -> None:
        """Wait for what is being written, at most a minute: the program is about to end."""
        while self._written:
            self._written.pop().wait(LONGEST_S)

    def _on_pressed(self) -> None:
        layer = self._find_layer()
        if layer is None:
            self._say("There are no objects to save yet: press Run, or select a Labels layer.")
            return
        name = re.sub(r"[^\w.-]+", "_", layer.name).strip("_") or "labels"
        path, _ = QFileDialog.getSaveFileName(self._widget, "Save labels", f"{name}.tif", FORMATS)
        if path:
            self.save(layer, path if Path(path).suffix else f"{path}.tif")

    def _on_saved(self, files: list[str]) -> None:
        names = " and ".join(Path(file).name for file in files)
        self._say(f"Saved {names}.")


def _saving(
    path: str, captured: ToSave, written: threading.Event
) -> Callable[[threading.Event], Generator[Progress, None, list[str]]]:
    def workflow(_stop: threading.Event) -> Generator[Progress, None, list[str]]:
        yield Progress(0, 0, "saving")
        try:
            return save_layer_data(path, captured)
        finally:
            written.set()

    return workflow
