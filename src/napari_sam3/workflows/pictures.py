"""Image files as pictures: what their values mean, as image viewers show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import Array
from napari_sam3.core.contrast import Limits
from napari_sam3.core.pictures import Picture
from napari_sam3.workflows.files import Tell, choose_plane, ignore, open_image, unreadable


def open_picture(
    path: str | Path,
    plane: Sequence[int] | None = None,
    contrast_limits: Limits | None = None,
    tell: Tell = ignore,
    *,
    upright: bool = True,
) -> Picture:
    """Read one picture from a file, in the colours that it stands for.

    Parameters
    ----------
    path, plane, tell, upright
        As in `open_image`.
    contrast_limits : tuple of float, optional
        Values shown as black and white; found from the image if not given.

    Returns
    -------
    Picture
        Of a TIFF with a palette or inks the colours, and bright where values are low if the
        TIFF says so; `open_image` gives the stored values of those.

    Raises
    ------
    ImageError
        As in `open_image`.
    """
    pixels = open_image(path, plane, tell, upright=upright)
    photometric, palette = _meaning(path, plane)
    inverted, said = photometric == "MINISWHITE" and pixels.ndim == 2, ""
    if inverted:
        said = "is bright where its values are low"
    elif palette is not None and pixels.ndim == 2:
        pixels, said = _colours(pixels, palette), "has a palette"
    elif photometric == "SEPARATED" and pixels.dtype == np.uint8 and pixels.shape[2:] == (4,):
        pixels, said = _without_ink(pixels), "holds inks"
    if said:
        tell(
            f"{path} {said}; it is segmented as image viewers show it, while napari shows the "
            "stored values."
        )
    return Picture.from_array(pixels, contrast_limits, inverted=inverted)


def _meaning(
    path: str | Path, plane: Sequence[int] | None
) -> tuple[str, npt.NDArray[np.uint16] | None]:
    """Return what a plane's values in a TIFF stand for, and its palette; of other files nothing."""
    import tifffile

    from napari_sam3.workflows.tiff_stacks import TiffStack

    try:
        with tifffile.TiffFile(path) as tiff:
            stack = TiffStack(tiff)
            page = stack.page_of(choose_plane(stack.choices, plane))
            palette = page.colormap
    except tifffile.TiffFileError:
        return "", None
    except Exception as error:  # a damaged file makes decoders raise anything
        raise unreadable(Path(path), error) from error
    is_usable = palette is not None and palette.ndim == 2 and len(palette) == 3 and palette.size
    return str(getattr(page.photometric, "name", "")), palette if is_usable else None


def _colours(indices: Array, palette: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    # 16 bits a colour, unless whoever wrote it did not know
    bytes_of = (palette >> 8 if palette.max(initial=0) > 255 else palette).astype(np.uint8)
    colours: npt.NDArray[np.uint8] = np.take(bytes_of.T, indices, axis=0, mode="clip")
    return colours


def _without_ink(inks: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    light = 255 - inks.astype(np.uint16)
    return ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)
