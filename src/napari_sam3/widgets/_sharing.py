"""Objects to and from files, off the window's thread."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_sam3.core.evaluation import Evaluation
from napari_sam3.core.progress import Progress
from napari_sam3.widgets._worker import Job, Runner, Workflow
from napari_sam3.workflows.evaluating import evaluate_arrays
from napari_sam3.workflows.exporting import FORMATS, iter_export
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.importing import READABLE, read_objects
from napari_sam3.workflows.exporting.writing import not_held

Exporting = Generator[Progress, None, tuple[list[Path], Exported]]


class Sharing(QObject):
    """Exports, imports and compares, one at a time.

    Signals
    -------
    said(str)
    progressed(Progress)
    imported(Exported, str)
        What a file held, and the file's name.
    compared(Evaluation)
    """

    said = Signal(str)
    progressed = Signal(object)
    imported = Signal(object, str)
    compared = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self._runner = Runner(self, self.said.emit)
        self._runner.progressed.connect(lambda _job, step: self.progressed.emit(step))

    @property
    def is_busy(self) -> bool:
        """Whether something is being written, read or compared."""
        return self._runner.is_busy

    def close(self) -> None:
        """Stop what runs; a file that is half written is no file."""
        self._runner.cancel()

    def ask_where(self, name: str) -> str:
        """Ask where to export to; empty if the user thought better of it."""
        filters = [one.pattern for one in FORMATS]
        usual = re.sub(r"[^\w.-]+", "_", name).strip("_") or "objects"
        coco = next(one for one in FORMATS if one.name == "coco")
        path, chosen = QFileDialog.getSaveFileName(
            self._widget,
            "Export objects",
            f"{usual}{coco.suffixes[0]}",
            ";;".join(filters),
            coco.pattern,
        )
        if path and not Path(path).suffix:
            path += FORMATS[filters.index(chosen) if chosen in filters else 0].suffixes[0]
        return str(path)

    def export(self, path: str, content: Callable[[], Exported]) -> None:
        """Write a file; one that exists is replaced, as the dialog has asked about that.

        Parameters
        ----------
        path : str
        content : callable
            Makes what is written; called in the worker.
        """

        def workflow(_stop: threading.Event) -> Exporting:
            yield Progress(0, 0, "reading the objects")
            exported = content()
            files = yield from iter_export(path, exported, overwrite=True)
            return files, exported

        def done(found: tuple[list[Path], Exported]) -> None:
            files, exported = found
            count = len(exported.everything)
            objects = f"{count} object{'' if count == 1 else 's'}"
            at = f" of plane {','.join(map(str, exported.plane))}" if exported.plane else ""
            names = " and ".join(file.name for file in files)
            self.said.emit(
                " ".join(
                    [f"{objects}{at} → {names}.", *exported.notices, *not_held(files[0], exported)]
                )
            )

        self._start(workflow, done, f"exporting to {Path(path).name} …")

    def bring(self) -> None:
        """Ask for a file, and read the objects in it."""
        # a dialog for files picks no folder
        patterns = " ".join(f"*{end}" for end in READABLE if not end.endswith(".zarr"))
        kinds = f"Objects and label images ({patterns})"
        path, _ = QFileDialog.getOpenFileName(self._widget, "Import objects", "", kinds)
        if path:
            self.read(path)

    def read(self, path: str, image_shape: tuple[int, int] | None = None) -> None:
        """Read the objects in a file."""

        def workflow(_stop: threading.Event) -> Generator[Progress, None, Exported]:
            yield Progress(0, 0, "reading")
            return read_objects(path, image_shape)

        def done(found: Exported) -> None:
            self.imported.emit(found, Path(path).name)

        self._start(workflow, done, f"reading {Path(path).name} …")

    def compare(self, pred: Labels, truth: Labels) -> None:
        """Compare two layers."""
        arrays = (np.array(pred.data), np.array(truth.data))
        name = pred.name

        def workflow(_stop: threading.Event) -> Generator[Progress, None, Evaluation]:
            yield Progress(0, 0, "comparing")
            return evaluate_arrays(*arrays, name)

        self._start(workflow, self.compared.emit, "comparing …")

    def _start(self, workflow: Workflow, done: Callable[[Any], object], words: str) -> None:
        if self.is_busy:
            self.said.emit("Another file is being read or written; wait until it is done.")
            return
        self.said.emit(words)
        self._runner.start(Job(workflow, done=done))
