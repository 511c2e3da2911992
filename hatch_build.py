"""Put the top-level ``napari.yaml`` where npe2 looks for it: inside the package.

npe2 reads ``<package folder>/napari.yaml`` and nothing else.  A built wheel gets
a copy; an editable install gets a link beside the sources, so that edits of the
top-level file are seen at once (a copy where links are not allowed).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

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
