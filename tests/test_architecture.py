"""The promises about the code as a whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# in pieces, so that this file names no host either
REGISTRIES = [
    b".".join(pieces)
    for pieces in (
        (b"pythonhosted", b"org"),
        (b"pypi", b"org/simple"),
        (b"registry", b"npmjs", b"org"),
        (b"deb", b"debian", b"org"),
        (b"archive", b"ubuntu", b"com"),
    )
]
# Folders of one machine, and addresses that packages are fetched from: both make a file
# work in one place only.
PRIVATE = re.compile(
    rb"(?<![\w.~-])/(?:home/[\w.-]+|Users/[\w.-]+|root|work|opt)/"
    rb"|[A-Za-z]:\\+Users\\"
    rb"|" + b"|".join(rb"\b" + re.escape(host) for host in REGISTRIES)
)
TEXT = {".cfg", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}


def test_imports_run_one_way():
    lint_imports = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", lint_imports, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_importing_the_library_needs_neither_napari_nor_qt_nor_torch():
    program = (
        "import sys\n"
        "for name in ('napari', 'qtpy', 'PyQt6', 'PySide6', 'magicgui', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "import napari_sam3, napari_sam3.workflows, napari_sam3.samples\n"
        "napari_sam3.create_engine('builtin')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture(scope="module")
def text_files():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("these files were not cloned by git")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and path.suffix in TEXT]


def test_no_file_names_a_folder_of_one_machine_or_a_package_registry(text_files):
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in text_files
        if path != Path(__file__)
        for match in PRIVATE.finditer(path.read_bytes())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        b"cd /" + b"home/ann/data",
        b"'/" + b"root/.cache'",
        b"C:" + rb"\Users\ann",
        *(b"https://" + host for host in REGISTRIES),
        b"https://files." + REGISTRIES[0],
    ],
)
def test_a_folder_of_one_machine_would_be_found(line):
    assert PRIVATE.search(line)


@pytest.mark.parametrize(
    # put together, so that none of them stands in a file
    "line",
    [b"/".join(parts) for parts in ((b"~", b"work", b"a"), (b"docs", b"root", b"a"))]
    + [b"https://a.example/" + b"home/x/"],
)
def test_an_ordinary_path_or_address_is_left_alone(line):
    assert not PRIVATE.search(line)


@pytest.mark.parametrize("name", ["test", "demo"])
def test_the_two_commands_of_the_readme_can_be_run(name):
    script = ROOT / "scripts" / name
    assert script.stat().st_mode & 0o111 or sys.platform == "win32"
    assert f"./scripts/{name}" in (ROOT / "README.md").read_text()
