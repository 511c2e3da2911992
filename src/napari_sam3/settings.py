"""What is remembered between sessions: a small JSON file, and never a key.

It lies in the platform's configuration folder, or where the environment variable
``NAPARI_SAM3_CONFIG`` points.  A file that cannot be read counts as empty, but
`settings_problem` tells of it: limits on what may be spent were perhaps in there.  It is
never overwritten, but moved aside.  One that cannot be written is no reason to stop.
Only this user may read it, and of what several processes set nothing is lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from napari_sam3.core.schema import Schema, parse
from napari_sam3.private_files import alone, make_private_folder, open_private

ENVIRONMENT_VARIABLE = "NAPARI_SAM3_CONFIG"
FILE_NAME = "settings.json"
DAMAGED_NAME = "settings.json.damaged"
LOCK_NAME = "settings.lock"

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

_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is set, under the names above; amounts are US dollars, None for no limit."""

    segmind_upload_notice_seen: bool = False
    segmind_upload_notice_printed: bool = False
    segmind_url: str = ""
    cache_folder: str = ""
    cache_max_mb: float = 2048.0
    cache_used: bool = True
    confirm_above: float = 0.1
    cap_per_run: float | None = 2.0
    cap_per_day: float | None = 10.0
    project: str = ""

    def __post_init__(self) -> None:
        for name in (CACHE_MAX_MB, CONFIRM_ABOVE, CAP_PER_RUN, CAP_PER_DAY):
            amount = getattr(self, name)
            if amount is not None and amount < 0:
                raise ValueError(f"{name} must be 0 or more, but it is {amount}")


_SCHEMA: Schema[Settings] = Schema(Settings)

_T = TypeVar("_T")


def settings_path() -> Path:
    """Return where the settings lie; the file need not exist."""
    folder = os.environ.get(ENVIRONMENT_VARIABLE)
    if folder:
        return _absolute(folder) / FILE_NAME
    from platformdirs import user_config_path

    return user_config_path("napari-sam3", appauthor=False) / FILE_NAME


def cache_folder() -> Path:
    """Return where answers are stored; the folder need not exist.

    That is what ``NAPARI_SAM3_CACHE`` says, else the setting, else the platform's cache folder.
    """
    chosen = _chosen_cache_folder()
    if chosen:
        return _absolute(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("napari-sam3", appauthor=False)


def is_cache_private() -> bool:
    """Return whether stored answers are for this user only: in a folder that nobody chose."""
    return not _chosen_cache_folder()


def _chosen_cache_folder() -> str:
    return os.environ.get(CACHE_VARIABLE) or read_settings().cache_folder


def data_folder() -> Path:
    """Return where the ledger lies: ``NAPARI_SAM3_DATA``, or the platform's data folder."""
    chosen = os.environ.get(DATA_VARIABLE)
    if chosen:
        return _absolute(chosen)
    from platformdirs import user_data_path

    return user_data_path("napari-sam3", appauthor=False)


def read_settings() -> Settings:
    """Return what is set."""
    return _SCHEMA.read(_read()[0])


def settings_problem() -> str:
    """Return why what was set is not known, and what to do; empty if it is known.

    That a damaged file was moved aside does not yet make the limits known that were in it:
    both caps must be set anew, or the damaged file removed.
    """
    values, problem = _read()
    if problem:
        return (
            f"The settings in {settings_path()} {problem}, so the limits on what may be spent "
            "are not known. Mend or remove that file, then set the limits anew: "
            "napari-sam3 limits --per-run USD --per-day USD"
        )
    aside = settings_path().with_name(DAMAGED_NAME)
    if {CAP_PER_RUN, CAP_PER_DAY} <= values.keys() or not _exists(aside):
        return ""
    return (
        f"The settings were damaged and are kept in {aside}, so the limits on what may be spent "
        "are not known. Set both anew: napari-sam3 limits --per-run USD --per-day USD; "
        "or remove that file, then the usual ones hold."
    )


def write_setting(name: str, value: Any) -> bool:
    """Remember a setting; return whether that worked.

    A file that cannot be read is moved aside before.

    Raises
    ------
    ValueError
        If the setting has no such value.
    """
    _SCHEMA.read({name: value})
    path = settings_path()
    try:
        make_private_folder(path.parent)
        with alone(path.with_name(LOCK_NAME)):
            values, problem = _read()
            if problem:
                _move(path, path.with_name(DAMAGED_NAME))
            _write(path, {**values, name: value})
    except (OSError, sqlite3.Error):
        return False
    return True


def _write(path: Path, values: dict[str, Any]) -> None:
    # a link to the settings stays one
    path = Path(os.path.realpath(path))
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with open(beside, "x", encoding="utf-8", opener=open_private) as file:
            file.write(json.dumps(values, indent=2, sort_keys=True))
            file.flush()
            # a cap that was set should outlive a power cut
            os.fsync(file.fileno())
        _move(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _move(path: Path, to: Path) -> None:
    _patiently(lambda: path.replace(to))


def _patiently(act: Callable[[], _T]) -> _T:
    """Do what Windows refuses while another process reads or replaces the file: a moment."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return act()
        except PermissionError:
            if os.name != "nt" or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _read() -> tuple[dict[str, Any], str]:
    """Return what is set, and what is wrong with the file; empty if nothing is."""
    try:
        values: dict[str, Any] = parse(_patiently(lambda: settings_path().read_bytes()))
        _SCHEMA.read(values)
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except OSError as error:
        return {}, f"cannot be read ({error.strerror or type(error).__name__})"
    except ValueError as error:
        return {}, f"are damaged ({error})"
    return values, ""


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _absolute(folder: str) -> Path:
    """Return a folder that stays the same when the program goes to another one."""
    path = Path(folder)
    # where there is no such user, or no home, it is a name like any other
    with contextlib.suppress(RuntimeError):
        path = path.expanduser()
    return path.absolute()
