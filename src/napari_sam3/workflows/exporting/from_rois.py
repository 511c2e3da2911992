"""Objects from ImageJ's regions of interest."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.outlines import Ring
from napari_sam3.errors import ImageError
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.coco import NO_CONCEPT
from napari_sam3.workflows.exporting.entries import Entries
from napari_sam3.workflows.exporting.found import (
    MAX_BYTES,
    Found,
    NoObjectError,
    Room,
    checked_shape,
    known_shape,
    label_of,
    malformed_as_sentence,
    reach_of,
    score_of,
    state_of,
)

_MAX_REGIONS = 1_000_000
_NUMBERED = re.compile(r"(\d{1,10})(?:[ _-]+(.*))?")
# what names itself after a place in the image, as ImageJ does by default
_PLACED = re.compile(r"(?:(\d{4,5})-)?\d{4,5}-\d{4,5}")


def read_rois(
    path: Path,
    image_shape: tuple[int, int] | None = None,
    plane: Sequence[int] | None = None,
) -> Exported:
    """Return the objects that regions outline: of a ``.roi`` file, or a zip of them.

    Parameters
    ----------
    path : Path
    image_shape : tuple of int, optional
        (rows, cols) of the image; what reaches out of it is cut off.  By default the
        smallest that holds all objects.
    plane : sequence of int, optional
        Which plane of a stack, if the regions are of several.

    Raises
    ------
    ImageError
        If it is no such file, or a part of it is damaged.
    """
    entries, regions = Entries("region"), []
    for name, data in _entries(path):
        with entries.reading(f"The region {name!r:.80} of {path}"):
            regions.append((name, _Region(name, data)))
    shape = _shape([region for _, region in regions], path, image_shape)
    room = Room(shape=shape)
    for name, region in regions:
        with entries.reading(f"The region {name!r:.80} of {path}"):
            entries.add(region.object(room), region.place)
    return entries.assembled(path, shape, plane, has_edges=image_shape is not None)


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each region."""
    try:
        if path.suffix.lower() == ".roi":
            yield path.stem, _read(path)
            return
        with zipfile.ZipFile(path) as archive:
            yield from _unpacked(archive, path)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ImageError:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        reason = (str(error) or type(error).__name__).rstrip(".")
        raise ImageError(f"{path} cannot be unpacked: {reason:.200}.") from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImageError(f"{path} is longer than {MAX_BYTES >> 20} MB.")
    return data


def _unpacked(archive: zipfile.ZipFile, path: Path) -> Iterator[tuple[str, bytes]]:
    # a Mac packs a file of its own, which begins with “._”, beside each
    entries = [
        one
        for one in archive.infolist()
        if one.filename.lower().endswith(".roi") and not Path(one.filename).name.startswith("._")
    ]
    if not entries and archive.infolist():
        raise ImageError(f"{path} holds no regions of ImageJ.")
    if len(entries) > _MAX_REGIONS or sum(one.file_size for one in entries) > MAX_BYTES:
        raise ImageError(f"{path} holds more regions than can be read.")
    for entry in entries:
        with archive.open(entry) as file:
            # sizes may lie: no more is unfolded than is said, and then the sum does not match
            data = file.read(entry.file_size)
        yield Path(entry.filename).stem, data


def _shape(regions: list[_Region], path: Path, wanted: tuple[int, int] | None) -> tuple[int, int]:
    if wanted is not None:
        return known_shape(wanted)
    with malformed_as_sentence(str(path)):
        rings = [ring for region in regions for ring in region.reach]
        rows, cols = reach_of(rings) if rings else (1, 1)
    return checked_shape(rows, cols, path)


class _Region:
    """One region, and what its name and its properties say.

    Raises
    ------
    ValueError
        If it cannot be read.
    """

    def __init__(self, name: str, data: bytes) -> None:
        import roifile

        if not data:
            raise NoObjectError("an empty file")
        try:
            roi = roifile.ImagejRoi.frombytes(data)
            self.is_oval = roi.roitype == roifile.ROI_TYPE.OVAL
            self.corners: tuple[float, ...] = (roi.top, roi.left, roi.bottom, roi.right)
            if roi.subpixelrect:
                top, left = float(roi.yd), float(roi.xd)
                self.corners = (top, left, top + roi.heightd, left + roi.widthd)
            rings = self._rings(roi, roifile)
            kind = str(roi.roitype.name).lower()
            if roi.subtype in (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE):
                # rectangles by their type
                kind, rings = str(roi.subtype.name).lower(), []
        except Exception as error:  # a damaged file makes decoders raise anything
            raise ValueError(str(error) or type(error).__name__) from error
        self.rings = [np.asarray(ring, float)[:, ::-1] for ring in rings if len(ring) >= 3]
        if not self.rings and not self.is_oval:
            raise NoObjectError(f"no area ({kind})")
        self.name = name
        self.said = _properties(roi.props or "")
        self.place = self._place(roi)

    def _place(self, roi: Any) -> dict[str, int]:
        """Return on which plane the region lies; ImageJ counts from 1, and 0 stands for all."""
        said = {"T": roi.t_position, "C": roi.c_position, "Z": roi.z_position}
        if any(at > 0 for at in said.values()):
            return {letter: at - 1 for letter, at in said.items() if at > 0}
        named = _PLACED.fullmatch(self.name)
        at = roi.position or int((named and named[1]) or 0)
        return {"Z": at - 1} if at > 0 else {}

    def _rings(self, roi: Any, roifile: Any) -> list[npt.NDArray[Any]]:
        kinds = roifile.ROI_TYPE
        if roi.multi_coordinates is not None:
            rings: list[npt.NDArray[Any]] = roi.coordinates(multi=True)
            return rings
        if roi.roitype in (kinds.POLYGON, kinds.FREEHAND, kinds.TRACED):
            return [roi.coordinates()]
        if roi.roitype == kinds.RECT:
            top, left, bottom, right = self.corners
            return [np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)]
        return []

    @property
    def reach(self) -> list[Ring]:
        """Rings that reach as far as it does."""
        top, left, bottom, right = self.corners
        corners = np.array([(top, left), (bottom, left), (bottom, right)], float)
        return [corners] if self.is_oval else self.rings

    def object(self, room: Room) -> Found:
        """Return the object; NoObjectError if the region holds no pixels."""
        label, concept = self._label_and_concept()
        score = score_of(_number(self.said.get("score", "")))
        instance = self._instance(room, score, concept)
        state = state_of(self.said.get("state"))
        return Found(instance, label, self.said.get("engine", ""), state)

    def _label_and_concept(self) -> tuple[int, str]:
        numbered = None if _PLACED.fullmatch(self.name) else _NUMBERED.fullmatch(self.name)
        label, concept = numbered.groups() if numbered else ("", self.name)
        if "label" in self.said:
            # this program's own: a name was made fit to be a file's
            return label_of(self.said["label"]), self.said.get("concept", "")
        is_placed = _PLACED.fullmatch(self.name) is not None
        named = "" if is_placed or concept in (None, NO_CONCEPT) else str(concept)
        return label_of(label), named

    def _instance(self, room: Room, score: float | None, concept: str) -> Instance:
        if self.is_oval:
            return room.counted(_oval(self.corners, room, score, concept), self.reach)
        # by the rule of Java's paths: inside is what an odd number of rings goes around
        return room.ringed(self.rings, score, concept)


def _oval(
    corners: tuple[float, ...], room: Room, score: float | None, concept: str
) -> Instance | None:
    top, left, bottom, right = corners
    box = Box.of_shape(room.shape).intersection(
        Box(
            int(np.floor(top)),
            int(np.floor(left)),
            max(int(np.ceil(bottom)), int(np.floor(top)) + 1),
            max(int(np.ceil(right)), int(np.floor(left)) + 1),
        )
    )
    if box is None or bottom <= top or right <= left:
        return None
    if box.area > room.pixels:
        raise ValueError("the objects are too large")
    rows, cols = (np.arange(start, stop) + 0.5 for start, stop in _ranges(box))
    row = (rows - (top + bottom) / 2) / ((bottom - top) / 2)
    col = (cols - (left + right) / 2) / ((right - left) / 2)
    found = Instance.from_mask(row[:, np.newaxis] ** 2 + col**2 <= 1, score, concept)
    return None if found is None else found.shifted(box.top, box.left)


def _ranges(box: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    return (box.top, box.bottom), (box.left, box.right)


def _properties(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
