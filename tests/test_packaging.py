"""What a person installs: the manifest, the wheel and the sdist."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path

import npe2
import pytest
import yaml
from npe2.manifest.contributions import ContributionPoints
from npe2.manifest.schema import Category
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import napari_sam3

ROOT = Path(__file__).parent.parent
IN_PACKAGE = "napari_sam3/napari.yaml"


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def address():
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    return hatch["metadata"]["hooks"]["custom"]["repository"]


@pytest.fixture(scope="module")
def manifest():
    """The top-level manifest as written, before npe2 fills in or drops anything."""
    return yaml.safe_load((ROOT / "napari.yaml").read_text())


# --- the manifest -----------------------------------------------------------------------


def test_the_installed_manifest_is_the_top_level_one():
    installed = Path(napari_sam3.__file__).with_name("napari.yaml")
    assert installed.exists(), "run ./scripts/test once: it links the manifest into the package"
    assert installed.read_bytes() == (ROOT / "napari.yaml").read_bytes()


def test_napari_finds_the_plugin_by_its_distribution():
    found = npe2.PluginManifest.from_distribution("napari-sam3")
    assert found.display_name == "SAM3"
    assert [w.display_name for w in found.contributions.widgets] == ["Segment", "Objects"]


def test_the_manifest_is_named_like_the_distribution(manifest, project):
    assert manifest["name"] == project["name"] == distribution("napari-sam3").metadata["Name"]


def test_the_manifest_is_valid():
    npe2.PluginManifest.from_file(ROOT / "napari.yaml")


def test_the_manifest_has_no_key_that_npe2_would_drop_silently(manifest):
    assert set(manifest) <= set(npe2.PluginManifest.model_fields)
    assert set(manifest["contributions"]) <= set(ContributionPoints.model_fields)
    kept = npe2.PluginManifest(**manifest).model_dump(exclude_unset=True)
    for kind, items in manifest["contributions"].items():
        assert _keys(items) == _keys(kept["contributions"][kind]), kind


def _keys(value):
    """The keys of nested dicts and lists, without the values."""
    if isinstance(value, dict):
        return {key: _keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_keys(item) for item in value]
    return None


def test_every_command_that_is_shown_somewhere_is_defined(manifest):
    contributions = manifest["contributions"]
    kinds = ("widgets", "readers", "writers", "sample_data")
    shown = [item["command"] for kind in kinds for item in contributions[kind]]
    shown += [item["command"] for menu in contributions["menus"].values() for item in menu]
    # the palette shows all of them
    shown += [c["id"] for c in contributions["commands"] if ".commands:" in c["python_name"]]
    assert set(shown) == {command["id"] for command in contributions["commands"]}


def test_no_command_has_an_icon_which_napari_would_fetch_from_the_network(manifest):
    assert not [c["id"] for c in manifest["contributions"]["commands"] if "icon" in c]


def test_every_python_name_in_the_manifest_can_be_called(manifest):
    for command in manifest["contributions"]["commands"]:
        module, _, name = command["python_name"].partition(":")
        assert callable(getattr(importlib.import_module(module), name)), command["id"]


# --- the metadata -----------------------------------------------------------------------


def test_one_version_is_told_everywhere(project):
    assert napari_sam3.__version__ == project["version"] == version("napari-sam3")


def test_the_choice_of_a_qt_binding_is_left_to_the_person_who_installs(project):
    bindings = ("pyqt", "pyside", "napari[")
    assert not [d for d in project["dependencies"] if d.lower().startswith(bindings)]


def test_ome_zarr_needs_zarr_and_no_client_of_a_cloud(project):
    extras = project["optional-dependencies"]
    for name in ("ome-zarr", "all"):
        needs = {need.partition(">")[0].partition("[")[0] for need in extras[name]}
        assert needs - {"napari"} == {"zarr"}


def test_the_plugin_hub_can_find_the_package(project, manifest):
    assert "Framework :: napari" in project["classifiers"]
    assert set(manifest["categories"]) <= {category.value for category in Category}
    assert "Segmentation" in manifest["categories"]


def _imported(*, inside_functions):
    """The third-party packages that the package imports; for types only does not count."""
    own = {"napari_sam3", "__future__", *sys.stdlib_module_names}
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for statement in _imports(ast.parse(path.read_text()), inside_functions):
            names = [alias.name for alias in statement.names]
            found.update([statement.module] if isinstance(statement, ast.ImportFrom) else names)
    return {name.partition(".")[0] for name in found} - own


def _imports(tree, inside_functions):
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif inside_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, inside_functions)


def _undeclared(modules, requirements):
    declared = {canonicalize_name(Requirement(one).name) for one in requirements}
    providers = packages_distributions()
    return [
        name
        for name in sorted(modules)
        if not declared & {canonicalize_name(one) for one in providers.get(name, [name])}
    ]


def test_everything_that_is_imported_is_declared(project):
    optional = project["optional-dependencies"]
    everything = [*project["dependencies"], *optional["ome-zarr"], *optional["keyring"]]
    assert {"PIL", "urllib3", "skimage"} <= _imported(inside_functions=True)
    assert _undeclared(_imported(inside_functions=True), everything) == []


def test_nothing_optional_is_imported_before_it_is_needed(project):
    assert _undeclared(_imported(inside_functions=False), project["dependencies"]) == []


def test_every_requirement_has_a_lower_bound(project):
    optional = project["optional-dependencies"]
    requirements = [Requirement(one) for one in sum(optional.values(), project["dependencies"])]
    # napari[all] is the same napari, whose bound stands above
    unbounded = [str(one) for one in requirements if not one.specifier and one.name != "napari"]
    assert unbounded == []


def test_every_licence_in_the_expression_is_in_the_files(project):
    texts = "".join((ROOT / name).read_text() for name in project["license-files"])
    named = {"BSD-3-Clause": "BSD 3-Clause License", "CC0-1.0": "CC0 1.0 Universal"}
    assert project["license"] == " AND ".join(named)
    assert [words for words in named.values() if words not in texts] == []


def test_every_sample_image_has_a_licence_of_the_expression():
    samples = ROOT / "src/napari_sam3/samples"
    _, *sections = re.split(r"^## ", (samples / "LICENSES.md").read_text(), flags=re.M)
    told = {re.match(r"`data/(.+?)`", section)[1]: section for section in sections}
    assert set(told) == {path.name for path in (samples / "data").iterdir()}
    assert [name for name, section in told.items() if "CC0 1.0" not in section] == []


def test_the_citation_is_of_this_version_and_place(project, address):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"].partition(":")[0], citation["version"]) == (
        project["name"],
        project["version"],
    )
    assert citation["repository-code"] == address
    assert " AND ".join(citation["license"]) == project["license"]
    assert citation["authors"] == project["authors"]


def test_the_address_of_the_project_stands_in_two_files_only(address):
    naming = [name for name in _tracked_and_new_files() if address.encode() in _read(name)]
    assert naming == ["CITATION.cff", "pyproject.toml"]


def _read(name):
    return (ROOT / name).read_bytes()


# --- what is built ----------------------------------------------------------------------


def _tracked_and_new_files():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("these files were not cloned by git")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, built from a copy that has the link of an editable install."""
    source = tmp_path_factory.mktemp("source")
    for name in _tracked_and_new_files():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    # a build must survive the link: a second file under one name is an error to it
    shutil.copyfile(ROOT / "napari.yaml", source / "src" / IN_PACKAGE)
    build = (
        "import json, sys; from hatchling import build;"
        "print(json.dumps([build.build_wheel('dist'), build.build_sdist('dist')]))"
    )
    (source / "dist").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    wheel, sdist = json.loads(done.stdout.splitlines()[-1])
    return source / "dist" / wheel, source / "dist" / sdist


@pytest.fixture(scope="module")
def wheel_files(built):
    with zipfile.ZipFile(built[0]) as wheel:
        return wheel.namelist()


@pytest.fixture(scope="module")
def sdist_files(built):
    with tarfile.open(built[1]) as sdist:
        return [name.partition("/")[2] for name in sdist.getnames()]


def test_the_wheel_has_the_manifest_once_where_npe2_looks_for_it(built, wheel_files):
    assert [name for name in wheel_files if name.endswith("napari.yaml")] == [IN_PACKAGE]
    with zipfile.ZipFile(built[0]) as wheel:
        assert wheel.read(IN_PACKAGE) == (ROOT / "napari.yaml").read_bytes()


def test_the_sdist_has_the_manifest_once_at_its_top_level(sdist_files):
    assert [name for name in sdist_files if name.endswith("napari.yaml")] == ["napari.yaml"]


def test_the_wheel_has_every_file_of_the_package(wheel_files):
    package = {
        name.removeprefix("src/")
        for name in _tracked_and_new_files()
        if name.startswith("src/napari_sam3/")
    }
    assert {"napari_sam3/py.typed", "napari_sam3/samples/__init__.py"} <= package
    assert package <= set(wheel_files)


def test_the_wheel_has_nothing_but_the_package(wheel_files):
    tops = {name.partition("/")[0] for name in wheel_files}
    assert tops == {"napari_sam3", f"napari_sam3-{napari_sam3.__version__}.dist-info"}


def test_the_sdist_can_be_tested_and_built_again(sdist_files):
    needed = {"pyproject.toml", "hatch_build.py", "tests/conftest.py", "scripts/test", "LICENSE"}
    needed |= {"CITATION.cff", ".github/workflows/ci.yml", ".pre-commit-config.yaml"}
    assert needed <= set(sdist_files)


@pytest.fixture(scope="module")
def metadata(built):
    with zipfile.ZipFile(built[0]) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(wheel.read(name))


def test_the_wheel_says_where_the_project_lives(metadata, address):
    urls = dict(one.split(", ") for one in metadata.get_all("Project-URL"))
    assert {"Source Code", "Bug Tracker", "Documentation", "User Support"} <= set(urls)
    assert [url for url in urls.values() if not url.startswith(address)] == []
    assert metadata["Author"] == "napari-sam3 contributors"


def test_every_link_of_the_readme_can_be_followed_from_anywhere(metadata, address):
    shown = metadata.get_payload(decode=True).decode()
    written = (ROOT / "README.md").read_text()
    link = re.compile(r"(!?)\[[^\[\]]*\]\(([^()\s]*)\)")
    targets = link.findall(shown)
    assert len(targets) == len(link.findall(written)) > 10
    assert [target for _, target in targets if not target.startswith("https://")] == []
    version = napari_sam3.__version__
    for is_picture, target in targets:
        if target.startswith(address):
            kind, tag, file = target.removeprefix(f"{address}/").split("/", 2)
            assert (kind, tag) == ("raw" if is_picture else "blob", f"v{version}")
            assert (ROOT / file.partition("#")[0]).is_file(), target


def test_what_is_no_link_of_the_readme_is_left_as_it_is(metadata, address):
    shown = metadata.get_payload(decode=True).decode()
    added = re.compile(re.escape(address) + r"/(raw|blob)/v[^/]+/(README\.md(?=#))?")
    assert added.sub("", shown).strip() == (ROOT / "README.md").read_text().strip()


def test_the_wheel_has_the_licences(wheel_files, metadata):
    named = metadata.get_all("License-File")
    folder = f"napari_sam3-{napari_sam3.__version__}.dist-info/licenses/"
    assert {folder + name for name in named} <= set(wheel_files)
    assert metadata["License-Expression"] == "BSD-3-Clause AND CC0-1.0"


# --- what is done elsewhere ---------------------------------------------------------------


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_publishing_needs_no_password_and_runs_nobody_elses_newest_code():
    jobs = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text())["jobs"]
    used = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)] == []
    assert "permissions" not in jobs["build"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["needs"] == "build"
    assert "secrets." not in (ROOT / ".github/workflows/publish.yml").read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_it_says_so(path):
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_every_python_that_is_promised_is_tested(project):
    promised = {c.rpartition(" :: ")[2] for c in project["classifiers"] if ":: 3." in c}
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["include"]
    assert promised <= {one["python"] for one in tested if one["os"] == "ubuntu-latest"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_an_issue_form_asks_for_something(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    asked = [one for one in form["body"] if one["type"] != "markdown"]
    assert all(one["id"] and one["attributes"]["label"] for one in asked)
    assert any(one.get("validations", {}).get("required") for one in asked)


def test_a_commit_is_checked_by_the_programs_that_the_tests_use():
    [repo] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    tested = (ROOT / "scripts/test").read_text()
    for hook in repo["hooks"]:
        program, *words = hook["entry"].removeprefix(".venv/bin/").split()
        assert hook["language"] == "system"
        assert " ".join(["step", program, *words[:1]]) in tested
