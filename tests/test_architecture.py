"""The promises about the code as a whole."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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


def _modules(folder: Path) -> dict[str, Path]:
    """Return all modules below a folder by their full names."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(source: str, known: set[str]) -> Iterator[str]:
    """Yield what a module imports anywhere: in functions, for types only, or by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports of ours are absolute"
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in known else str(node.module) for name in inner)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from _by_name(node.args[0], known)


def _by_name(name: ast.expr, known: set[str]) -> Iterator[str]:
    if isinstance(name, ast.JoinedStr):
        # of what is put together, all that it may become
        start = str(ast.literal_eval(name.values[0]))
        yield from (one for one in known if one.startswith(start))
    else:
        yield str(ast.literal_eval(name))


def _circle(sources: dict[str, str]) -> list[str]:
    """Return the names of modules that import each other in a circle, empty if none do."""
    known = set(sources)
    graph = {
        name: (set(_imports(source, known)) & known) - {name} for name, source in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle():
    modules = _modules(ROOT / "src")
    assert "napari_sam3.widgets.panel" in modules
    assert _circle({name: path.read_text("utf-8") for name, path in modules.items()}) == []


@pytest.mark.parametrize(
    "back",
    [
        "import a.one",
        "from a import one",
        "from a.one import f",
        "def g():\n    from a.one import f",
        "if TYPE_CHECKING:\n    from a.one import f",
        "def g():\n    importlib.import_module('a.one').f()",
        "def g(name):\n    importlib.import_module(f'a.{name}')",
    ],
)
def test_a_circle_is_found_however_it_is_closed(back):
    sources = {"a": "", "a.one": "from a.two import f", "a.two": back}
    assert set(_circle(sources)) == {"a.one", "a.two"}
    assert _circle({**sources, "a.two": "from a import three"}) == []


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
