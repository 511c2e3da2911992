"""What costs nothing meets nothing that has to do with money."""

from __future__ import annotations

import subprocess
import sys

import pytest
import tifffile

from napari_sam3.settings import cache_folder, data_folder

from .paid import IMAGE

MONEY = {
    f"napari_sam3.{name}"
    for name in (
        "jobs.accounts",
        "jobs.consent",
        "jobs.costs",
        "jobs.estimate",
        "jobs.ledger",
        "jobs.ledger_file",
        "jobs.owners",
        "jobs.paid",
        "jobs.tickets",
        "workflows.paying",
    )
}

LIBRARY = """
import tifffile, napari_sam3 as sam3
image = tifffile.imread(sys.argv[1])
sam3.segment(image, sam3.ObjectPrompt(points=[(4, 6)]))
sam3.segment(image, ["cells", "nuclei"])
"""

COMMAND_LINE = """
from napari_sam3.cli import app
app(["segment", sys.argv[1], "--point", "4,6", "--quiet"], standalone_mode=False)
"""

TELL = """
print(*(name for name in sys.modules if name.startswith("napari_sam3")))
"""


@pytest.mark.parametrize("program", [LIBRARY, COMMAND_LINE], ids=["library", "command line"])
def test_no_module_of_money_is_loaded_and_no_ledger_made(program, tmp_path):
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, IMAGE[..., 0])
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{program}\n{TELL}", str(path)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    loaded = {*told.stdout.splitlines()[-1].split()}
    assert "napari_sam3.jobs.cached" in loaded
    assert loaded & MONEY == set()
    assert not data_folder().exists()
    assert [*cache_folder().rglob("*.answer")]
