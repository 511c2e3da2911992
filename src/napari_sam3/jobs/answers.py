"""Answers as bytes, and back: nothing is lost, and nothing in the bytes is trusted.

An answer is a zip archive that any tool opens:

.. code-block:: text

    answer.json    what was asked, and all that is no pixel and no raw part
    masks/0 …      packed bits of some consecutive objects, each beginning with a byte
    raw/0 …        the answer as it came
    pictures/0 …   bytes of a (rows, cols, 3) array

The bytes may come from a drive that others write to.  So every size is known and bounded
before anything of that size is allocated, names in the archive never become paths, the
objects are those that the record speaks of, and no text moves a terminal's cursor.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.schema import Schema, printable, printable_json
from napari_sam3.engines.base import AnswerRecord, RawPart, SegmentationResult, Usage
from napari_sam3.errors import CacheError

FORMAT, VERSION = "napari-sam3 answer", 1

MAX_BYTES = 1 << 29
"""A longer file is no answer."""
MAX_MASK_PIXELS = 1 << 30
"""Packed bits deflate a thousandfold, so a small file may unfold to so many bytes."""
MAX_JSON_BYTES = 1 << 24
MAX_PARTS = 4096
MAX_TIME = 1e11
"""No answer was given later, in Unix time."""
_MAX_SIDE = 1 << 31

# Few large arrays come from huge pages, many small ones do not: unpacking into groups
# takes half the time.  A mask that is kept alone keeps no more than its group in memory.
_GROUP_PIXELS = 1 << 24
_THREADS = 4

# What zipfile, zlib, json and the constructors below raise when bytes are not what they were
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, TypeError,
    LookupError, ArithmeticError, AttributeError, RuntimeError,
)  # fmt: skip

_SCORE = struct.Struct("<?d")
_BOX = struct.Struct("<4q")
_HEADER = struct.Struct("<3q")
_LENGTH = struct.Struct("<q")
_ZIP_END = struct.Struct("<4s4H2LH")
_ZIP64_END, _ZIP64_END_AT = b"PK\x06\x07", slice(-42, -38)


@dataclass(frozen=True, slots=True, eq=False)
class StoredAnswer:
    """An answer as it was stored.

    Parameters
    ----------
    result : SegmentationResult
        With a record, the usage of the first answer, raw parts and pictures.
    question : mapping
        What was asked, as JSON values; for whoever looks into the file.
    """

    result: SegmentationResult
    question: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Document:
    """What ``answer.json`` holds."""

    format: Literal["napari-sam3 answer"]
    version: Literal[1]
    question: dict[str, Any]
    image_shape: tuple[int, int]
    boxes: tuple[Box, ...]
    # JSON has no other word for the last ones
    scores: tuple[float | Literal["nan", "inf", "-inf"] | None, ...]
    concepts: tuple[str, ...]
    mask_groups: tuple[int, ...]
    usage: Usage
    notices: tuple[str, ...]
    record: AnswerRecord
    raw: tuple[str, ...]
    pictures: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class _Version:
    format: Literal["napari-sam3 answer"]
    version: int


_DOCUMENT, _VERSION = Schema[_Document](_Document), Schema[_Version](_Version)


def encode_answer(result: SegmentationResult, question: Mapping[str, Any]) -> bytes:
    """Return an answer as bytes; equal answers give equal bytes.

    Parameters
    ----------
    result : SegmentationResult
        With the record of its objects.
    question : mapping
        What was asked; JSON values.

    Returns
    -------
    bytes

    Raises
    ------
    CacheError
        If it is too large, it has no record or another answer's, or the question or the
        record's parameters are no JSON values.
    """
    flaw = _flaw(result)
    if flaw:
        raise CacheError(f"The result cannot be stored: {flaw}.")
    instances = result.instances
    groups = list(_grouped([item.box for item in instances]))
    try:
        text = _to_json(_document(result, question, [len(group) for group in groups]))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CacheError(f"The result cannot be stored: {error}.") from error
    _refuse_too_large(result, len(text), len(groups))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "answer.json", text)
        position = 0
        for index, group in enumerate(groups):
            members = instances.items[position : position + len(group)]
            bits = b"".join(np.packbits(item.mask).tobytes() for item in members)
            _add(archive, f"masks/{index}", bits, zipfile.ZIP_DEFLATED)
            position += len(group)
        for index, part in enumerate(result.raw):
            _add(archive, f"raw/{index}", part.body)
        for index, picture in enumerate(result.pictures):
            _add(archive, f"pictures/{index}", picture.tobytes())
    if buffer.tell() > MAX_BYTES:
        raise CacheError(_TOO_LARGE)
    return buffer.getvalue()


def decode_answer(data: bytes) -> StoredAnswer:
    """Return the answer that `encode_answer` made the bytes of.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    StoredAnswer
        The masks are writable; neighbours share memory, but no pixel.  Texts have spaces
        in place of control characters.

    Raises
    ------
    CacheError
        If the bytes are damaged, no answer, or of a newer version, or the objects are
        not those that the record speaks of.
    """
    try:
        with _open(data) as archive:
            stored = _read(archive)
        flaw = _flaw(stored.result)
        if flaw:
            _damaged(flaw)
        return replace(stored, result=_with_printable_concepts(stored.result))
    except _DAMAGE as error:
        raise CacheError(
            "A stored result cannot be read: it is damaged, or no answer at all."
        ) from error


def digest(instances: Instances) -> str:
    """Return the SHA-256 of objects; the same for equal ones, however they lie in memory.

    Parameters
    ----------
    instances : Instances

    Returns
    -------
    str
        64 hexadecimal digits.

    Notes
    -----
    All numbers are little-endian and of 8 bytes: rows, columns, number of objects; then for
    each object its box (top, left, bottom, right), a byte that says whether it has a score,
    the score or 0, the length of its concept in UTF-8 and the concept, and the mask's bits,
    row by row, the first pixel in the highest bit, filled up with zeros to whole bytes.
    """
    sha = hashlib.sha256(_HEADER.pack(*instances.image_shape, len(instances)))
    for item in instances:
        box, score = item.box, item.score
        concept = item.concept.encode("utf-8", "replace")
        sha.update(_BOX.pack(box.top, box.left, box.bottom, box.right))
        sha.update(_SCORE.pack(score is not None, _plain_score(score)))
        sha.update(_LENGTH.pack(len(concept)) + concept)
        sha.update(np.packbits(item.mask).tobytes())
    return sha.hexdigest()


def _plain_score(score: float | None) -> float:
    if score is None:
        return 0.0
    # one NaN for all, and no negative zero: what compares equal gives the same bytes
    return math.nan if math.isnan(score) else float(score) + 0.0


_TOO_LARGE = "The result is too large to be stored."


def _refuse_too_large(result: SegmentationResult, json_bytes: int, groups: int) -> None:
    parts = 1 + groups + len(result.raw) + len(result.pictures)
    body = sum(len(part.body) for part in result.raw) + sum(p.nbytes for p in result.pictures)
    if (
        parts > MAX_PARTS
        or body > MAX_BYTES
        or json_bytes > MAX_JSON_BYTES
        or max(result.instances.image_shape) > _MAX_SIDE
        or sum(item.box.area for item in result.instances) > MAX_MASK_PIXELS
    ):
        raise CacheError(_TOO_LARGE)


def _grouped(boxes: Sequence[Box]) -> Iterator[list[Box]]:
    group: list[Box] = []
    pixels = 0
    for box in boxes:
        if group and pixels + box.area > _GROUP_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(box)
        pixels += box.area
    if group:
        yield group


def _flaw(result: SegmentationResult) -> str:
    """Return what is wrong with the record of an answer; empty if nothing is."""
    record = result.record
    if record is None:
        return "it has no record"
    # what is no number at all compares as false
    if not 0 <= record.answered_at <= MAX_TIME:
        return "no answer was ever given at that time"
    if record.answer_sha256 != digest(result.instances):
        return "its record is that of another answer"
    return ""


def _with_printable_concepts(result: SegmentationResult) -> SegmentationResult:
    instances = result.instances
    if all(printable(item.concept) == item.concept for item in instances):
        return result
    items = tuple(replace(item, concept=printable(item.concept)) for item in instances)
    return replace(result, instances=Instances(instances.image_shape, items))


def _document(
    result: SegmentationResult, question: Mapping[str, Any], groups: list[int]
) -> dict[str, Any]:
    instances = result.instances
    return {
        "format": FORMAT,
        "version": VERSION,
        "question": question,
        "image_shape": instances.image_shape,
        "boxes": [(i.box.top, i.box.left, i.box.bottom, i.box.right) for i in instances],
        "scores": [_from_number(item.score) for item in instances],
        "concepts": [item.concept for item in instances],
        "mask_groups": groups,
        "usage": asdict(result.usage),
        "notices": result.notices,
        "record": {each.name: getattr(result.record, each.name) for each in fields(AnswerRecord)},
        "raw": [part.content_type for part in result.raw],
        "pictures": [_picture_shape(picture) for picture in result.pictures],
    }


def _picture_shape(picture: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError(f"a picture of {picture.dtype} and shape {picture.shape}")
    return picture.shape


def _from_number(value: float | None) -> float | str | None:
    if value is None:
        return None
    number = float(value)
    # JSON has no word for these; repr is what float() reads back
    return number if math.isfinite(number) else repr(number)


def _to_json(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, default=_plain)
    # half of a character is a poor text, but no reason to lose an answer that was paid for
    return text.encode("utf-8", "replace")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _add(
    archive: zipfile.ZipFile, name: str, data: bytes, method: int = zipfile.ZIP_STORED
) -> None:
    info = zipfile.ZipInfo(name)
    # else it differs between systems
    info.create_system = 3
    info.external_attr = 0o644 << 16
    archive.writestr(info, data, method, 1)


def _damaged(what: str) -> NoReturn:
    raise ValueError(what)


def _open(data: bytes) -> zipfile.ZipFile:
    if not _ZIP_END.size <= len(data) <= MAX_BYTES:
        _damaged("length")
    # zipfile allocates as many entries as the end of the archive speaks of
    mark, _, _, _, count, size, _, comment = _ZIP_END.unpack(data[-_ZIP_END.size :])
    if mark != b"PK\x05\x06" or comment or data[_ZIP64_END_AT] == _ZIP64_END:
        _damaged("end")
    if count > MAX_PARTS or size > MAX_PARTS * 128:
        _damaged("number of parts")
    archive = zipfile.ZipFile(io.BytesIO(data))
    parts = archive.infolist()
    # parts that overlap in the file could add up to any size
    if sum(part.compress_size for part in parts) > len(data):
        _damaged("sizes of parts")
    if len({part.filename for part in parts}) != len(parts):
        _damaged("names of parts")
    return archive


def _read(archive: zipfile.ZipFile) -> StoredAnswer:
    document = _document_of(_part(archive, "answer.json", None))
    groups = _groups(document.boxes, document.mask_groups)
    parts = (groups, document.raw, document.pictures)
    if len(archive.namelist()) != 1 + sum(map(len, parts)):
        _damaged("number of parts")
    result = SegmentationResult(
        _instances(archive, document, groups),
        Usage(**printable_json(asdict(document.usage))),
        tuple(map(printable, document.notices)),
        tuple(_picture(archive, i, shape) for i, shape in enumerate(document.pictures)),
        tuple(
            RawPart(printable(kind), _part(archive, f"raw/{i}", None))
            for i, kind in enumerate(document.raw)
        ),
        AnswerRecord(**printable_json(asdict(document.record))),
    )
    return StoredAnswer(result, printable_json(document.question))


def _document_of(text: bytes) -> _Document:
    try:
        return _DOCUMENT.read_text(text)
    except ValueError:
        found = _VERSION.read_text(text).version
        if found <= VERSION:
            raise
    raise CacheError(
        f"A stored result was written by a newer napari-sam3 (its format is {found}, "
        f"this one reads {VERSION}), so it is not used."
    )


def _part(archive: zipfile.ZipFile, name: str, size: int | None) -> bytes:
    """Read a part of known size, or one that is as long as it is in the file."""
    info = archive.getinfo(name)
    if size is None:
        size = info.compress_size
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _damaged("packing")
    if info.file_size != size or (name == "answer.json" and size > MAX_JSON_BYTES):
        _damaged("size")
    with archive.open(info) as file:
        # read() without a size would unpack whatever is in there
        data = file.read(size)
    if len(data) != size:
        _damaged("size")
    return data


def _groups(boxes: Sequence[Box], sizes: Iterable[int]) -> list[Sequence[Box]]:
    if sum(box.area for box in boxes) > MAX_MASK_PIXELS:
        _damaged("number of pixels")
    groups, position = list[Sequence[Box]](), 0
    for size in sizes:
        if size < 1:
            _damaged("mask_groups")
        groups.append(boxes[position : position + size])
        position += size
    if position != len(boxes):
        _damaged("mask_groups")
    return groups


def _instances(
    archive: zipfile.ZipFile, document: _Document, groups: list[Sequence[Box]]
) -> Instances:
    rows, cols = document.image_shape
    if not (0 <= rows <= _MAX_SIDE and 0 <= cols <= _MAX_SIDE):
        _damaged("image_shape")
    boxes = document.boxes
    if any(b.top < 0 or b.left < 0 or b.bottom > rows or b.right > cols for b in boxes):
        _damaged("boxes")
    scores = [None if score is None else float(score) for score in document.scores]

    def unpack(index: int) -> list[BoolArray]:
        return _masks(archive, index, groups[index])

    masks = [mask for group in _in_parallel(unpack, len(groups)) for mask in group]
    # the concepts as they are: the digest is that of these
    columns = zip(masks, boxes, scores, document.concepts, strict=True)
    return Instances((rows, cols), tuple(Instance(*column) for column in columns))


def _in_parallel(work: Callable[[int], list[BoolArray]], count: int) -> Iterable[list[BoolArray]]:
    if count < 2:
        return [work(index) for index in range(count)]
    try:
        with ThreadPoolExecutor(min(count, _THREADS)) as threads:
            return list(threads.map(work, range(count)))
    except RuntimeError:
        # no thread can be started, as while Python shuts down: that is no damage
        return [work(index) for index in range(count)]


def _masks(archive: zipfile.ZipFile, index: int, boxes: Sequence[Box]) -> list[BoolArray]:
    lengths = [-(-box.area // 8) for box in boxes]
    bits = _part(archive, f"masks/{index}", sum(lengths))
    pixels = np.unpackbits(np.frombuffer(bits, np.uint8)).view(np.bool_)
    masks, start = [], 0
    for box, length in zip(boxes, lengths, strict=True):
        masks.append(pixels[start : start + box.area].reshape(box.shape))
        start += 8 * length
    return masks


def _picture(
    archive: zipfile.ZipFile, index: int, shape: tuple[int, int, int]
) -> npt.NDArray[np.uint8]:
    if min(shape) < 0:
        _damaged("shape of a picture")
    data = _part(archive, f"pictures/{index}", math.prod(shape))
    return np.frombuffer(data, np.uint8).reshape(shape).copy()
