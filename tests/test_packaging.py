"""What a person installs: the manifest, the wheel and the sdist."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import npe2
import pytest
import yaml
from npe2.manifest.contributions import ContributionPoints

import napari_sam3

ROOT = Path(__file__).parent.parent
IN_PACKAGE = "napari_sam3/napari.yaml"


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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


def test_the_plugin_hub_can_find_the_package(project):
    assert "Framework :: napari" in project["classifiers"]


# --- what is built ----------------------------------------------------------------------


def _tracked_and_new_files():
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
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("these files were not cloned by git")
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
    assert needed <= set(sdist_files)
