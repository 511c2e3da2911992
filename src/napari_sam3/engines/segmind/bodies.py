"""What some bytes are, and how they are unpacked: within limits, whatever they claim.

Nothing here believes a content type, a file name or a declared size.
"""

from __future__ import annotations

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

Kind = Literal[
    "PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF",
    "zip", "gzip", "json", "html", "text", "foreign", "nothing",
]  # fmt: skip

PICTURES: frozenset[Kind] = frozenset({"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"})

MAGICS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
)
FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (8, b"WAVE", "a sound"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x93NUMPY", "a NumPy file"),
)
"""Known, and of no use here: offset, first bytes, what to call it."""

# PNG, JPEG, RIFF (WebP), PK (ZIP), GIF, BM (BMP), II* and MM (TIFF), gzip
BASE64_HEADS = ("iVBOR", "/9j/", "_9j_", "UklGR", "UEsDB", "R0lG", "Qk", "SUkq", "TU0A", "H4sI")
URL = re.compile(r"https?://[\x21-\x7e]{1,4096}", re.IGNORECASE)
PLAIN_DATA_URI_MAX = 2**20
BOM = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"

# deflate cannot do better than 1032:1, so more than this is a lie
MAX_RATIO = 1100


class UnreadableError(Exception):
    """Carries the sentence for the user to where type and length of the answer are known."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """How much an answer may take.

    Parameters
    ----------
    max_bytes : int
        Of the answer; and again of all that is unpacked from it.
    max_pixels : int
        Of one picture.
    max_total_pixels : int
        Of all pictures and masks of one answer.
    max_items : int
        Pictures, addresses, members of an archive.
    max_depth : int
        How deep JSON may be nested, down to a picture.
    max_values : int
        Of JSON, all in all.
    """

    max_bytes: int = 256 * 2**20
    max_pixels: int = 64 * 2**20
    max_total_pixels: int = 512 * 2**20
    max_items: int = 1000
    max_depth: int = 6
    max_values: int = 200_000


class Budget:
    """What is left of the limits, for one answer."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits = limits
        self.bytes_left = limits.max_bytes
        self.pixels_left = limits.max_total_pixels
        self.items_left = limits.max_items

    def take_bytes(self, count: int) -> None:
        """Take so many unpacked bytes."""
        if count > self.bytes_left:
            raise UnreadableError("The answer unpacks to more than can be read safely.")
        self.bytes_left -= count

    def take_pixels(self, count: int) -> None:
        """Take so many pixels."""
        if count > self.pixels_left:
            raise UnreadableError(
                "The answer's pictures have more pixels together than can be read safely "
                f"({self.limits.max_total_pixels:,}). Ask for fewer masks, or send a smaller "
                "picture."
            )
        self.pixels_left -= count

    def take_item(self) -> None:
        """Take one picture or address."""
        if self.items_left == 0:
            raise UnreadableError(
                f"The answer holds more than {self.limits.max_items:,} pictures. "
                "Ask for fewer masks."
            )
        self.items_left -= 1


def sniff(data: bytes) -> Kind:
    """Return what the bytes are, judged by the first of them."""
    for magic, kind in MAGICS:
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if name_of_foreign(data):
        return "foreign"
    text = without_blanks(data)
    if not text:
        return "nothing"
    if text[:1] in (b"{", b"[", b'"'):
        return "json"
    return "html" if text[:1] == b"<" else "text"


def name_of_foreign(data: bytes) -> str:
    """Return what to call bytes that are known and of no use here; empty for all others."""
    return next((name for at, magic, name in FOREIGN if data.startswith(magic, at)), "")


def without_blanks(data: bytes) -> bytes:
    """Return text without a byte order mark and blanks around it."""
    return data.strip(BLANK).removeprefix(BOM).strip(BLANK)


def gunzip(data: bytes, budget: Budget) -> bytes:
    """Unpack gzip, at most as much as the budget allows.

    Raises
    ------
    UnreadableError
        If it is damaged, cut off or too large.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, budget.bytes_left + 1)
    except zlib.error as error:
        raise UnreadableError("The answer is compressed (gzip), and damaged.") from error
    budget.take_bytes(len(unpacked))
    if not unpacker.eof:
        raise UnreadableError("The answer is compressed (gzip), and cut off.")
    return unpacked


def unzip(data: bytes, budget: Budget) -> Iterator[bytes]:
    """Read an archive's members in natural order, in memory only.

    Parameters
    ----------
    budget : Budget
        Members are read only as far as it allows.

    Yields
    ------
    bytes
        Member by member, whatever it is.

    Raises
    ------
    UnreadableError
        If the archive is damaged, encrypted, compressed unusually, or too large.
    """
    # each listed member takes memory, before a single one is read
    if data.count(b"PK\x01\x02") > 2 * budget.limits.max_items:
        raise UnreadableError("The answer is an archive with more members than can be read safely.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if not _is_clutter(member)]
            # names give the order and nothing else
            for member in sorted(members, key=lambda member: natural_key(member.filename)):
                yield _read_member(archive, member, budget)
    except UnreadableError:
        raise
    except Exception as error:  # a damaged archive makes zipfile raise anything
        raise UnreadableError("The answer is a ZIP archive, and damaged or cut off.") from error


def _is_clutter(member: zipfile.ZipInfo) -> bool:
    name = member.filename
    return member.is_dir() or name.startswith("__MACOSX/") or name.rpartition("/")[2][:1] == "."


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, budget: Budget) -> bytes:
    if member.flag_bits & 1:
        raise UnreadableError("The answer is an encrypted archive, which cannot be read.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableError(
            "The answer is an archive that is compressed in a way that is not read here."
        )
    if member.file_size > MAX_RATIO * max(1, member.compress_size):
        raise UnreadableError("The answer is an archive that unpacks to more than it can hold.")
    budget.take_bytes(member.file_size)
    with archive.open(member) as stream:
        # zipfile never gives more than the size it was declared with
        return stream.read(member.file_size)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key under which ``mask_2`` comes before ``mask_10``."""
    # by the number of digits, then by the digits: int() refuses very long numbers
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [
        (0, len(digits.lstrip("0")), digits.lstrip("0")) if digits else (1, 0, text)
        for digits, text in parts
    ]


def read_text(text: str) -> bytes | str | None:
    """Read text that stands for a picture.

    Parameters
    ----------
    text : str
        An address, a data URI, or base64 of a picture or an archive.

    Returns
    -------
    bytes, str or None
        The bytes; or the address as it is; or None if it is none of these.

    Raises
    ------
    UnreadableError
        If it is one of these, but damaged.
    """
    text = text.strip()
    if URL.fullmatch(text):
        return text
    if text[:5].lower() == "data:":
        return _read_data_uri(text)
    return from_base64(text) if text.startswith(BASE64_HEADS) else None


def _read_data_uri(text: str) -> bytes:
    head, comma, payload = text.partition(",")
    if not comma:
        raise UnreadableError("The answer holds a data URI without data.")
    if head.rstrip().lower().endswith(";base64"):
        decoded = from_base64(payload)
        if decoded is None:
            raise UnreadableError("The answer holds a data URI with damaged data.")
        return decoded
    if len(payload) > PLAIN_DATA_URI_MAX:
        raise UnreadableError("The answer holds a data URI that is too long to be read.")
    return unquote_to_bytes(payload.encode("utf-8", "replace"))


def from_base64(text: str) -> bytes | None:
    """Decode base64 of either alphabet, line breaks and missing padding allowed; None if bad."""
    for blank in "\n\r\t ":
        text = text.replace(blank, "")
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
