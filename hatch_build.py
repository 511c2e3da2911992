"""What is not in ``pyproject.toml`` as it stands: where npe2 finds the manifest, and addresses.

npe2 reads ``<package folder>/napari.yaml`` and nothing else.  A built wheel gets
a copy; an editable install gets a link beside the sources, so that edits of the
top-level file are seen at once (a copy where links are not allowed).

The package index shows the README away from the files beside it, so there its links and
pictures get the whole address, at the version that is built.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

README = "README.md"
# a picture, or a link, to anything that is not an address already
RELATIVE_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\((?![a-z]+:)([^()\s]*)\)")
MANIFEST = "napari.yaml"
IN_PACKAGE = Path("src", "napari_sam3", MANIFEST)


class ManifestBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Registers the manifest for wheels and for editable installs."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the manifest to what is built; hatchling calls this before each build."""
        if self.target_name != "wheel":
            return
        if version == "editable":
            self._link()
        else:
            build_data["force_include"][MANIFEST] = f"napari_sam3/{MANIFEST}"

    def _link(self) -> None:
        target = Path(self.root) / IN_PACKAGE
        target.unlink(missing_ok=True)
        source = Path(self.root) / MANIFEST
        try:
            target.symlink_to(os.path.relpath(source, target.parent))
        except OSError:
            shutil.copyfile(source, target)


class AddressMetadataHook(MetadataHookInterface):
    """Derives the project's addresses, and those in the README, from the repository's."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add what is dynamic; hatchling calls this with the ``[project]`` table."""
        repository: str = self.config["repository"]
        metadata["urls"] = {
            "Homepage": repository,
            "Source Code": repository,
            "Documentation": f"{repository}#readme",
            "Bug Tracker": f"{repository}/issues",
            "User Support": f"{repository}/issues",
            "Changelog": f"{repository}/blob/main/CHANGELOG.md",
        }
        text = Path(self.root, README).read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_addresses(text, repository, f"v{metadata['version']}"),
        }


def with_addresses(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose links to files of the repository can be followed from anywhere."""

    def complete(link: re.Match[str]) -> str:
        is_picture, words, target = link.groups()
        file = f"{README}{target}" if target.startswith("#") else target
        return f"{is_picture}[{words}]({repository}/{'raw' if is_picture else 'blob'}/{tag}/{file})"

    return RELATIVE_LINK.sub(complete, text)
