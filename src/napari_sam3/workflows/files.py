"""Image files in, label files out, without a window."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import Array
from napari_sam3.core.labels import labels_dtype
from napari_sam3.errors import ImageError, reason_of
from napari_sam3.workflows.paths import behind_links, require_file, require_place

if TYPE_CHECKING:
    from napari_sam3.workflows.tiff_stacks import TiffPixels

Axes = Sequence[tuple[str, int]]
Tell = Callable[[str], object]
"""Is given sentences about what a file holds beside what was asked for."""

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")

_ORIENTATION = 0x0112
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NPY_MAGIC = b"\x93NUMPY"


def ignore(_sentence: str) -> None:
    """Tell nobody."""


def open_image(
    path: str | Path,
    plane: Sequence[int] | None = None,
    tell: Tell = ignore,
    *,
    upright: bool = True,
) -> Array:
    """Read one picture from a file.

    Parameters
    ----------
    path : str or Path
        A TIFF, an NPY file, or whatever Pillow opens (PNG, JPEG, BMP, …); which one is
        told by its content.
    plane : sequence of int, optional
        Index along every axis besides rows, columns and colours, in the file's order,
        counted from 0.  Axes of length 1 may be left out.
    tell : callable, optional
        Is given a sentence about whatever else the user should know: that the picture was
        turned, that there are others in the file.
    upright : bool
        Whether the picture is turned as the file says (its EXIF orientation).

    Returns
    -------
    ndarray, shape (rows, cols) or (rows, cols, 3 or 4)
        Gray in the file's own type, or RGB(A).  Of a TIFF only the chosen plane is
        decoded where the file allows it.

    Raises
    ------
    ImageError
        If there is no such file, it is no image, or it is not clear which plane is meant.
    """
    path = Path(path)
    head = first_bytes(path)
    if head.startswith(NPY_MAGIC):
        pixels = _open_npy(path, plane)
    elif head[:4] in TIFF_MAGIC:
        pixels = read_tiff(path, plane, tell, upright=upright).pixels
    else:
        pixels = open_pillow(path, plane, tell, _pillow_pixels, upright=upright)
    if pixels.ndim < 2 or pixels.size == 0:
        raise ImageError(f"{path} holds no picture: its shape is {pixels.shape}.")
    return pixels


def save_labels(path: str | Path, labels: npt.NDArray[np.integer[Any]]) -> None:
    """Write a label image, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Ends in ``.tif``, ``.tiff`` (compressed), ``.png`` or ``.npy``; an existing file
        is replaced.
    labels : ndarray of int, shape (…, rows, cols)
        0 is background.  Written as uint16, or uint32 where a label needs it.  A PNG
        holds one plane.

    Raises
    ------
    ImageError
        If the file cannot be written, or the format cannot hold the labels.
    """
    path = Path(path)
    write = _label_writer(path)
    stored = storable(labels)
    if path.suffix.lower() == ".png":
        _refuse_png(stored)
    replace_file(path, lambda file: write(file, stored))


def storable(labels: Array) -> Array:
    """Return labels as unsigned numbers of 16 bits, or of 32 where one needs them."""
    smallest, largest = int(labels.min(initial=0)), int(labels.max(initial=0))
    if smallest < 0 or largest > np.iinfo(np.uint32).max:
        raise ImageError(
            f"The labels go down to {smallest} and up to {largest}, but a label image holds whole "
            "numbers from 0 to 4294967295."
        )
    return labels.astype(labels_dtype(largest), copy=False)


def _refuse_png(labels: Array) -> None:
    if labels.ndim != 2:
        raise ImageError(
            f"A PNG holds one plane, but the labels have the shape {labels.shape}; "
            "save them as .tif."
        )
    if labels.dtype != np.uint16:
        raise ImageError(
            f"A PNG holds labels up to 65535, but the largest is {labels.max()}; save it as .tif."
        )


def save_picture(path: str | Path, rgb: npt.NDArray[np.uint8]) -> None:
    """Write an 8-bit RGB picture of shape (rows, cols, 3) as PNG, whole or not at all."""
    replace_file(Path(path), lambda file: _write_png(file, rgb))


def save_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; an existing file is replaced."""
    # a file's name may hold what UTF-8 may not
    content = text.encode("utf-8", "replace")
    replace_file(Path(path), lambda file: file.write(content))


def check_label_path(path: str | Path) -> None:
    """Raise `ImageError` if labels cannot be written under this name, whatever they are."""
    path = Path(path)
    _label_writer(path)
    require_place(path)
    try:
        # asked of the disk itself: permissions do not tell of a share that is read-only
        with tempfile.TemporaryFile(dir=behind_links(path).parent):
            pass
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror}.") from error


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there, and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"The folder {folder} cannot be made: {error.strerror}.") from error


def first_bytes(path: Path, count: int = 8) -> bytes:
    """Return so many bytes of a file, or all that it has; the first few tell its kind."""
    require_file(path)
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error


def all_bytes(path: Path, most: int) -> bytes:
    """Return what a file holds, unless it is longer."""
    content = first_bytes(path, most + 1)
    if len(content) > most:
        raise ImageError(f"{path} is longer than {most >> 20} MB.")
    return content


def map_npy(path: Path) -> Array:
    """Return what an NPY file holds, without reading it: its head may claim any size."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # a damaged file makes decoders raise anything
        raise unreadable(path, error) from error


def _open_npy(path: Path, plane: Sequence[int] | None) -> Array:
    array = map_npy(path)
    # without names for the axes, the number of indices tells planes from colours
    is_rgb = array.ndim > 2 and array.shape[-1] in (3, 4)
    if is_rgb and plane is not None and len(plane) == array.ndim - 2:
        is_rgb = False
    leading = array.shape[: array.ndim - (3 if is_rgb else 2)]
    index = choose_plane([(f"axis {i}", n) for i, n in enumerate(leading)], plane)
    return np.array(array[index])


def open_pillow(
    path: Path,
    plane: Sequence[int] | None,
    tell: Tell,
    pixels_of: Callable[[Any], Array],
    *,
    upright: bool = True,
) -> Array:
    """Read a picture of one of Pillow's kinds as `open_image` does; `pixels_of` takes its array."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # a warning is for servers that are sent files by strangers; scans are this large
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except Exception as error:  # a damaged file makes decoders raise anything
        raise unreadable(path, error) from error
    with image:
        try:
            frames = getattr(image, "n_frames", 1)
            index = choose_plane([("frame", frames)] if frames > 1 else [], plane)
            image.seek(index[0] if index else 0)
            pixels = pixels_of(image)
            orientation = image.getexif().get(_ORIENTATION, 1)
        except ImageError:
            raise
        except Exception as error:  # likewise
            raise unreadable(path, error) from error
    return _turned(pixels, orientation, path, tell) if upright else pixels


def _turned(pixels: Array, orientation: Any, path: Path, tell: Tell, rows: int = 0) -> Array:
    """Return pixels as whoever took the picture saw them; ``rows`` is the axis of rows."""
    if orientation not in range(2, 9):
        return pixels
    tell(
        f"{path} was turned as its EXIF orientation says. Programs that do not heed that, napari "
        "among them, show it otherwise."
    )
    if orientation > 4:
        pixels = pixels.swapaxes(rows, rows + 1)
    mirrored = (rows,) * (orientation in (3, 4, 7, 8)) + (rows + 1,) * (orientation in (2, 3, 6, 7))
    return np.ascontiguousarray(np.flip(pixels, mirrored))


def _pillow_pixels(image: Any) -> Array:
    if image.mode in ("1", "L", "I", "F", "RGB", "RGBA") or image.mode.startswith("I;16"):
        return np.array(image)
    has_alpha = image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info
    return np.array(image.convert("RGBA" if has_alpha else "RGB"))


def read_tiff(
    path: Path,
    plane: Sequence[int] | None,
    tell: Tell,
    *,
    whole: bool = False,
    upright: bool = True,
    has_colours: bool = True,
) -> TiffPixels:
    """Read one plane of a TIFF, or all of it; values are as they are stored.

    Parameters
    ----------
    path, plane, tell, upright
        As in `open_image`.
    whole : bool
        Whether all planes are read; ``plane`` is left out then.
    has_colours : bool
        As in `TiffStack`.
    """
    import tifffile

    from napari_sam3.workflows.tiff_stacks import CutOffError, TiffStack

    try:
        tiff = tifffile.TiffFile(path)
    except Exception as error:  # a damaged file makes decoders raise anything
        raise unreadable(path, error) from error
    with tiff:
        try:
            stack = TiffStack(tiff, has_colours=has_colours)
            for reason in stack.oddities():
                tell(f"{path} {reason}")
            found = stack.whole() if whole else stack.plane(choose_plane(stack.choices, plane))
            orientation = stack.orientation
        except ImageError:
            raise
        except CutOffError as error:
            raise ImageError(f"{path} was cut off, {error}.") from error
        except Exception as error:  # likewise
            raise unreadable(path, error) from error
    rows = "".join(found.names).find("YX")
    if not upright or rows < 0:
        return found
    return found._replace(pixels=_turned(found.pixels, orientation, path, tell, rows))


def choose_plane(axes: Axes, plane: Sequence[int] | None) -> tuple[int, ...]:
    """Return one index for each leading axis, or say how to choose it.

    Parameters
    ----------
    axes : sequence of (str, int)
        Name and size of each axis before rows and columns.
    plane : sequence of int, optional
        What was chosen; axes of length 1 may be left out.
    """
    long = [(name, size) for name, size in axes if size != 1]
    if plane is None and not long:
        return (0,) * len(axes)
    if plane is not None and len(plane) == len(axes):
        chosen = axes
    elif plane is not None and len(plane) == len(long):
        chosen = long
    else:
        raise ImageError(_advice(long, plane))
    for (name, size), position in zip(chosen, plane, strict=True):
        if not 0 <= position < size:
            raise ImageError(
                f"There is no plane {position} along {name}: it has the planes 0 to {size - 1}."
            )
    rest = iter(plane)
    return tuple(next(rest) if chosen is axes or size != 1 else 0 for _, size in axes)


def _advice(long: Axes, plane: Sequence[int] | None) -> str:
    if not long:
        return "The image has only one plane: leave --plane out."
    sizes = ", ".join(f"{name}={size}" for name, size in long)
    example = ",".join(str(size // 2) for _, size in long)
    count = "one number" if len(long) == 1 else f"{len(long)} numbers"
    but = "" if plane is None else f", but --plane has {len(plane)}"
    return (
        f"The image has the axes {sizes}, Y, X{but}: choose a plane by {count}, counted from 0, "
        f"e.g. --plane {example}."
    )


def unreadable(path: Path, error: Exception) -> ImageError:
    """Return the error about a file that a decoder gave up on, for whatever reason."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return ImageError(
            f"{path} is not an image that can be read; use TIFF, PNG, JPEG, BMP or NPY."
        )
    return ImageError(f"{path} is damaged or of an unknown kind: {reason_of(error)}.")


def _label_writer(path: Path) -> Callable[[BinaryIO, Array], None]:
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise ImageError(
            f"Labels cannot be saved as {path.name!r}; end its name in "
            f"{', '.join(LABEL_SUFFIXES[:-1])} or {LABEL_SUFFIXES[-1]}."
        )
    return {".png": _write_png, ".npy": _write_npy}.get(suffix, _write_tiff)


def _write_tiff(file: BinaryIO, labels: Array) -> None:
    import tifffile

    # what the first axes are is not known here; the format's letter for that is Q
    axes = "Q" * (labels.ndim - 2) + "YX"[-labels.ndim :]
    # or three labels side by side would be taken for a colour
    tifffile.imwrite(
        file, labels, compression="zlib", photometric="minisblack", metadata={"axes": axes}
    )


def _write_png(file: BinaryIO, pixels: Array) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(file, "PNG")


def _write_npy(file: BinaryIO, labels: Array) -> None:
    np.save(file, labels, allow_pickle=False)


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, whole or not at all; an existing one is replaced, a link to it is kept.

    Who may read an existing one may read the new one, and nobody else.
    """
    require_place(path)
    target = behind_links(path)
    # beside its place, as only a move within one disk happens at once; not named after it,
    # as its name may be as long as names can be
    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        rights = _rights(target)
        with open(partial, "xb", opener=lambda name, how: os.open(name, how, rights)) as file:
            write(file)
        if target.exists():
            # the umask takes from those that it was opened with
            partial.chmod(rights)
        partial.replace(target)
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _rights(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0o666
