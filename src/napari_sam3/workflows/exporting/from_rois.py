"""Objects from ImageJ's regions of interest."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.outlines import Ring
from napari_sam3.errors import ImageError, reason_of
from napari_sam3.workflows.exporting.bundle import Exported
from napari_sam3.workflows.exporting.entries import Entries
from napari_sam3.workflows.exporting.file_object import (
    MAX_BYTES,
    FileObject,
    NoObjectError,
    Room,
    Wanted,
    concept_of,
    shape_around,
)
from napari_sam3.workflows.files import all_bytes

_MAX_REGIONS = 1_000_000
_NUMBERED = re.compile(r"(\d{1,10})(?:[ _-]+(.*))?")
# what names itself after a place in the image, as ImageJ does by default
_PLACED = re.compile(r"(?:(\d{4,5})-)?\d{4,5}-\d{4,5}")


def read_rois(path: Path, wanted: Wanted) -> Exported:
    """Return the objects that regions outline: of a ``.roi`` file, or a zip of them.

    What reaches out of the image is cut off.  If it is not known how large that is, it just holds
    all objects.
    """
    entries, regions = Entries("region"), []
    for name, data in _entries(path):
        what = f"The region {name!r:.80} of {path}"
        with entries.reading(what):
            regions.append((what, _Region(name, data)))
    reach = [ring for _, region in regions for ring in region.reach]
    shape = wanted.image_shape or shape_around(reach, path)
    room = Room(shape)
    for what, region in regions:
        with entries.reading(what):
            entries.add(region.object(room), region.place)
    return entries.assembled(path, shape, wanted.plane, has_edges=wanted.image_shape is not None)


def _entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each region."""
    try:
        if path.suffix.lower() == ".roi":
            yield path.stem, all_bytes(path, MAX_BYTES)
            return
        with zipfile.ZipFile(path) as archive:
            yield from _unpacked(archive, path)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ImageError:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        raise ImageError(f"{path} cannot be unpacked: {reason_of(error)}.") from error


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


class _Region:
    """One region, and what its name and its properties say."""

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
            raise ValueError(reason_of(error)) from error
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

    def object(self, room: Room) -> FileObject:
        """Return the object; NoObjectError if the region holds no pixels."""
        label, concept = self._label_and_concept()
        return FileObject.of(
            self._instance(room),
            label,
            _number(self.said.get("score", "")),
            concept,
            self.said.get("engine"),
            self.said.get("state"),
        )

    def _label_and_concept(self) -> tuple[str, str]:
        if "label" in self.said:
            # this program's own: a name was made fit to be a file's
            return self.said["label"], self.said.get("concept", "")
        if _PLACED.fullmatch(self.name):
            return "", ""
        numbered = _NUMBERED.fullmatch(self.name)
        label, name = numbered.groups() if numbered else ("", self.name)
        return label, concept_of(name)

    def _instance(self, room: Room) -> Instance:
        if self.is_oval:
            return room.counted(_oval(self.corners, room), self.reach)
        # by the rule of Java's paths: inside is what an odd number of rings goes around
        return room.ringed(self.rings)


def _oval(corners: tuple[float, ...], room: Room) -> Instance | None:
    top, left, bottom, right = corners
    first_row, first_col = math.floor(top), math.floor(left)
    last_row, last_col = max(math.ceil(bottom), first_row + 1), max(math.ceil(right), first_col + 1)
    box = Box(first_row, first_col, last_row, last_col).intersection(Box.of_shape(room.shape))
    if box is None or bottom <= top or right <= left:
        return None
    if box.area > room.pixels:
        raise ValueError("the objects are too large")
    rows, cols = np.arange(box.top, box.bottom) + 0.5, np.arange(box.left, box.right) + 0.5
    row = (rows - (top + bottom) / 2) / ((bottom - top) / 2)
    col = (cols - (left + right) / 2) / ((right - left) / 2)
    found = Instance.from_mask(row[:, np.newaxis] ** 2 + col**2 <= 1)
    return None if found is None else found.shifted(box.top, box.left)


def _properties(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
