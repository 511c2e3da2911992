"""What is remembered between sessions: a small JSON file, and never a key.

It lies in the platform's configuration folder, or where the environment variable
``NAPARI_SAM3_CONFIG`` points.  A file that cannot be read counts as empty, and one
that cannot be written is no reason to stop.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

ENVIRONMENT_VARIABLE = "NAPARI_SAM3_CONFIG"
FILE_NAME = "settings.json"

UPLOAD_NOTICE_SEEN = "segmind_upload_notice_seen"
UPLOAD_NOTICE_PRINTED = "segmind_upload_notice_printed"
SEGMIND_URL = "segmind_url"


def settings_path() -> Path:
    """Return where the settings lie; the file need not exist."""
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    if folder:
        return Path(folder) / FILE_NAME
    from platformdirs import user_config_path

    return user_config_path("napari-sam3", appauthor=False) / FILE_NAME


def read_setting(name: str, otherwise: Any = None) -> Any:
    """Return a setting, or `otherwise` if it was never made."""
    return _read().get(name, otherwise)


def write_setting(name: str, value: Any) -> bool:
    """Remember a setting; return whether that worked."""
    path = settings_path()
    text = json.dumps({**_read(), name: value}, indent=2, sort_keys=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError:
        return False
    return True


def _read() -> dict[str, Any]:
    try:
        value = json.loads(settings_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
