"""What lies at a path, told in sentences: names come from users and from files of strangers."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from napari_sam3.errors import ImageError

PathKind = Literal["nothing", "file", "folder", "other"]


def kind_at(path: Path) -> PathKind:
    """Return what lies at a path, links followed; a pipe or a device is ``other``.

    Raises `ImageError` if the name is none, or nobody may look.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except OSError as error:
        raise ImageError(f"{path} cannot be used: {error.strerror}.") from error
    except ValueError as error:
        # what no file is called: a zero byte, half of a letter
        raise ImageError(f"{str(path)!r} is no name of a file.") from error
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def is_file(path: Path) -> bool:
    """Return whether a file lies at a path; False too where that cannot be told."""
    return os.path.isfile(path)  # noqa: PTH113 - pathlib's raises for a name that is too long


def is_folder(path: Path) -> bool:
    """Return whether a folder lies at a path; False too where that cannot be told."""
    return os.path.isdir(path)  # noqa: PTH112 - likewise


def are_same(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file; False where one leads to none."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def require_file(path: Path) -> None:
    """Refuse what cannot be read as a file: a pipe would be waited for without end."""
    kind = kind_at(path)
    if kind == "nothing" and str(path) == "-":
        raise ImageError("Standard input cannot be read: save it to a file, and name that.")
    if kind == "nothing":
        raise ImageError(f"There is no file {path}.")
    if kind == "folder":
        raise ImageError(f"{path} is a folder; name one image file in it.")
    if kind == "other":
        raise ImageError(f"{path} is a pipe or a device, not a file; save its content to a file.")


def kind_in_place(path: Path) -> PathKind:
    """Return what lies where something is to be saved; refuse where there is no folder for it."""
    if kind_at(path.parent) != "folder":
        raise ImageError(f"There is no folder {path.parent} to save {path.name} in.")
    return kind_at(path)


def require_place(path: Path) -> None:
    """Refuse where no file can be written: in no folder, or in the place of what is no file."""
    kind = kind_in_place(path)
    if kind == "folder":
        raise ImageError(f"{path} is a folder; name a file to save.")
    if kind == "other":
        raise ImageError(f"{path} is a pipe or a device; name a file to save.")


def behind_links(path: Path) -> Path:
    """Return where a file or folder is really written, so that a link to it stays one."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if kind_at(target.parent) != "folder":
        raise ImageError(f"{path} is a link to {target}, and there is no such folder.")
    return target
