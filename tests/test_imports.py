"""The library works where no window can be made, and loads little."""

import subprocess
import sys

BLOCK = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    names = {"napari", "qtpy", "magicgui", "superqt", "torch",
             "PyQt5", "PyQt6", "PySide2", "PySide6"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_segmenting_needs_neither_napari_nor_qt_nor_torch():
    program = f"""{BLOCK}
import numpy as np
import napari_sam3 as sam3
import napari_sam3.samples
image = np.zeros((40, 60), np.uint8)
image[10:20, 30:45] = 200
for question in (
    sam3.ObjectPrompt(points=[(15, 37)]),
    sam3.ObjectPrompt(box=(8, 28, 22, 47)),
    "cells",
    sam3.ConceptPrompt(exemplars=(sam3.Exemplar(sam3.Box(8, 28, 22, 47)),)),
    sam3.Everything(),
):
    print(sam3.segment(image, question).instances.to_labels()[15, 37] > 0)
"""
    assert run(program).split() == ["True"] * 5


def test_importing_the_package_loads_only_what_its_types_need():
    program = """
import sys
import napari_sam3
heavy = {"napari", "qtpy", "magicgui", "superqt", "torch", "scipy", "skimage", "requests",
         "PIL", "tifffile", "pandas", "pydantic", "sqlite3", "typer", "rich", "PyQt6", "PySide6"}
print(*sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    assert run(program).split() == []


def test_the_command_line_works_without_a_window():
    program = f"{BLOCK}\nfrom napari_sam3.cli import app\napp(['engines'], standalone_mode=False)"
    assert "builtin" in run(program)
