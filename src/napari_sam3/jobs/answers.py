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
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
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

# control characters, turns of the direction of writing, and halves of characters
_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

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
        return replace(stored, result=_with_clean_concepts(stored.result))
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
        concept = item.concept.encode("utf-8", "surrogatepass")
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


def _with_clean_concepts(result: SegmentationResult) -> SegmentationResult:
    instances = result.instances
    if not any(_UNSEEN.search(item.concept) for item in instances):
        return result
    items = tuple(replace(item, concept=_clean(item.concept)) for item in instances)
    return replace(result, instances=Instances(instances.image_shape, items))


def _clean(text: str) -> str:
    return _UNSEEN.sub(" ", text)


def _document(
    result: SegmentationResult, question: Mapping[str, Any], groups: list[int]
) -> dict[str, Any]:
    instances, usage = result.instances, result.usage
    return {
        "format": FORMAT,
        "version": VERSION,
        "question": question,
        "image_shape": instances.image_shape,
        "boxes": [(i.box.top, i.box.left, i.box.bottom, i.box.right) for i in instances],
        "scores": [_from_number(item.score) for item in instances],
        "concepts": [item.concept for item in instances],
        "mask_groups": groups,
        "usage": {
            "credits": _from_number(usage.credits),
            "seconds": _from_number(usage.seconds),
            "request_id": usage.request_id,
            "cached": usage.cached,
        },
        "notices": result.notices,
        "record": _from_record(result.record),
        "raw": [part.content_type for part in result.raw],
        "pictures": [_picture_shape(picture) for picture in result.pictures],
    }


def _picture_shape(picture: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise ValueError(f"a picture of {picture.dtype} and shape {picture.shape}")
    return picture.shape


def _from_record(record: AnswerRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    texts = {name: getattr(record, name) for name in _RECORD_TEXTS}
    answered_at = _from_number(record.answered_at)
    return {**texts, "parameters": record.parameters, "answered_at": answered_at}


_RECORD_TEXTS = ("key", "image_sha256", "answer_sha256", "engine", "model")


def _from_number(value: float | None) -> float | str | None:
    if value is None:
        return None
    number = float(value)
    # JSON has no word for these; repr is what float() reads back
    return number if math.isfinite(number) else repr(number)


def _to_json(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, default=_plain)
    # a lone surrogate is a poor text, but no reason to lose an answer that was paid for
    return text.encode("utf-8", "surrogatepass")


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
    text = _part(archive, "answer.json", None)
    document = json.loads(text.decode("utf-8", "surrogatepass"), parse_constant=_damaged)
    _refuse_other_format(document)
    boxes = [Box(*_integers(box, 4)) for box in document["boxes"]]
    groups = _groups(boxes, document["mask_groups"])
    parts = (groups, document["raw"], document["pictures"])
    if len(archive.namelist()) != 1 + sum(map(len, parts)):
        _damaged("number of parts")
    result = SegmentationResult(
        _instances(archive, document, groups),
        _usage(document["usage"]),
        tuple(_texts(document["notices"])),
        tuple(_picture(archive, i, shape) for i, shape in enumerate(document["pictures"])),
        tuple(
            RawPart(kind, _part(archive, f"raw/{i}", None))
            for i, kind in enumerate(_texts(document["raw"]))
        ),
        _record(document["record"]),
    )
    return StoredAnswer(result, _mapping(document["question"]))


def _refuse_other_format(document: Mapping[str, Any]) -> None:
    if document["format"] != FORMAT:
        _damaged("format")
    version = document["version"]
    if type(version) is int and version > VERSION:
        raise CacheError(
            f"A stored result was written by a newer napari-sam3 (its format is {version}, "
            f"this one reads {VERSION}), so it is not used."
        )
    if version != VERSION:
        _damaged("version")


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


def _groups(boxes: list[Box], sizes: Iterable[int]) -> list[list[Box]]:
    if sum(box.area for box in boxes) > MAX_MASK_PIXELS:
        _damaged("number of pixels")
    groups, position = [], 0
    for size in sizes:
        if type(size) is not int or size < 1:
            _damaged("mask_groups")
        groups.append(boxes[position : position + size])
        position += size
    if position != len(boxes):
        _damaged("mask_groups")
    return groups


def _instances(
    archive: zipfile.ZipFile, document: Mapping[str, Any], groups: list[list[Box]]
) -> Instances:
    rows, cols = _integers(document["image_shape"], 2)
    if not (0 <= rows <= _MAX_SIDE and 0 <= cols <= _MAX_SIDE):
        _damaged("image_shape")
    boxes = [box for group in groups for box in group]
    if any(b.top < 0 or b.left < 0 or b.bottom > rows or b.right > cols for b in boxes):
        _damaged("boxes")
    scores = [_number(score) for score in document["scores"]]
    # as they are: the digest is that of these
    concepts = [_as_is(concept) for concept in document["concepts"]]

    def unpack(index: int) -> list[npt.NDArray[np.bool_]]:
        return _masks(archive, index, groups[index])

    masks = [mask for group in _in_parallel(unpack, len(groups)) for mask in group]
    return Instances(
        (rows, cols),
        tuple(map(Instance, *_same_length(masks, boxes, scores, concepts))),
    )


def _same_length(*columns: Sequence[Any]) -> tuple[Sequence[Any], ...]:
    if len({len(column) for column in columns}) != 1:
        _damaged("number of objects")
    return columns


def _in_parallel(
    work: Callable[[int], list[npt.NDArray[np.bool_]]], count: int
) -> Iterable[list[npt.NDArray[np.bool_]]]:
    if count < 2:
        return [work(index) for index in range(count)]
    try:
        with ThreadPoolExecutor(min(count, _THREADS)) as threads:
            return list(threads.map(work, range(count)))
    except RuntimeError:
        # no thread can be started, as while Python shuts down: that is no damage
        return [work(index) for index in range(count)]


def _masks(archive: zipfile.ZipFile, index: int, boxes: list[Box]) -> list[npt.NDArray[np.bool_]]:
    lengths = [-(-box.area // 8) for box in boxes]
    bits = _part(archive, f"masks/{index}", sum(lengths))
    pixels = np.unpackbits(np.frombuffer(bits, np.uint8)).view(np.bool_)
    masks, start = [], 0
    for box, length in zip(boxes, lengths, strict=True):
        masks.append(pixels[start : start + box.area].reshape(box.shape))
        start += 8 * length
    return masks


def _picture(archive: zipfile.ZipFile, index: int, shape: object) -> npt.NDArray[np.uint8]:
    sides = _integers(shape, 3)
    if min(sides) < 0:
        _damaged("shape of a picture")
    data = _part(archive, f"pictures/{index}", math.prod(sides))
    return np.frombuffer(data, np.uint8).reshape(sides).copy()


def _usage(value: Mapping[str, Any]) -> Usage:
    return Usage(
        _number(value["credits"]),
        _number(value["seconds"]),
        None if value["request_id"] is None else _text(value["request_id"]),
        _flag(value["cached"]),
    )


def _record(value: Mapping[str, Any] | None) -> AnswerRecord | None:
    if value is None:
        return None
    answered_at = _number(value["answered_at"])
    if answered_at is None:
        _damaged("answered_at")
    texts = {name: _text(value[name]) for name in _RECORD_TEXTS}
    parameters = _mapping(value["parameters"])
    return AnswerRecord(**texts, parameters=parameters, answered_at=answered_at)


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        _damaged("a number")
    return float(value)


def _integers(value: object, count: int) -> list[int]:
    if not isinstance(value, list) or len(value) != count:
        _damaged("a list of numbers")
    if any(type(number) is not int for number in value):
        _damaged("a whole number")
    return value


def _as_is(value: object) -> str:
    if not isinstance(value, str):
        _damaged("a text")
    return value


def _text(value: object) -> str:
    return _clean(_as_is(value))


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        _damaged("a list of texts")
    return [_text(text) for text in value]


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        _damaged("a flag")
    return value


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        _damaged("a mapping")
    return {_clean(name): _clean_json(inner) for name, inner in value.items()}


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list):
        return [_clean_json(inner) for inner in value]
    return _mapping(value) if isinstance(value, dict) else value
