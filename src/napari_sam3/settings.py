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
CACHE_FOLDER = "cache_folder"
CACHE_MAX_MB = "cache_max_mb"
CACHE_USED = "cache_used"
CONFIRM_ABOVE = "confirm_above"
CAP_PER_RUN = "cap_per_run"
CAP_PER_DAY = "cap_per_day"
PROJECT = "project"

CACHE_VARIABLE = "NAPARI_SAM3_CACHE"
DATA_VARIABLE = "NAPARI_SAM3_DATA"


def settings_path() -> Path:
    """Return where the settings lie; the file need not exist."""
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    if folder:
        return Path(folder) / FILE_NAME
    from platformdirs import user_config_path

    return user_config_path("napari-sam3", appauthor=False) / FILE_NAME


def cache_folder() -> Path:
    """Return where answers are stored; the folder need not exist.

    That is what ``NAPARI_SAM3_CACHE`` says, else the setting, else the platform's cache folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE) or read_setting(CACHE_FOLDER)
    if isinstance(chosen, str) and chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("napari-sam3", appauthor=False)


def data_folder() -> Path:
    """Return where the ledger lies: ``NAPARI_SAM3_DATA``, or the platform's data folder."""
    chosen = os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_data_path

    return user_data_path("napari-sam3", appauthor=False)


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
