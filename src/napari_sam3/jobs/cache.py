"""Answers in a folder, by the question they belong to: asked again, they are free.

.. code-block:: text

    <folder>/answers/v1/ab/<key>.answer            "ab" begins the key
    <folder>/answers/v1/ab/<key>.<sha>.answer      replaced by that one; its answer's SHA-256
    <folder>/answers/v1/ab/<key>.<token>.part      being written, or left by a process that died
    <folder>/answers/v1/ab/<key>.<token>.damaged   could not be read, and was set aside

Several processes on several machines may share the folder, without a lock: locks on network
drives are not to be relied on.  A file becomes an answer only by renaming a complete one.
Whatever vanishes between two steps was evicted or cleared by another.

A question that is asked afresh may get another answer.  The one before is kept beside it,
since labels were made of it: whoever has its SHA-256 still finds it.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from napari_sam3.engines.base import SegmentationResult
from napari_sam3.errors import CacheError
from napari_sam3.jobs.answers import MAX_BYTES, StoredAnswer, decode_answer, encode_answer
from napari_sam3.jobs.storing import STORING
from napari_sam3.private_files import make_private_folder, open_private

_KEY = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(
    r"[0-9a-f]{64}(?:(?:\.[0-9a-f]{16})?\.(?P<kind>answer)"
    r"|\.[0-9a-f]{16}\.(?P<other>damaged|part))"
)
_SHARD = re.compile(r"[0-9a-f]{2}")

Kind = Literal["answer", "damaged", "part"]

EVICT_TO = 0.9
STALE_S = 24 * 3600.0
PUTS_BETWEEN_SCANS = 64

_NO_MEMORY = "There is not enough memory to read a stored result."

# What a hit is newer by than the newest file known, should the clock have jumped back
_TICK_NS = 1000


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds.

    Parameters
    ----------
    folder : Path
        Where it lies; may not exist yet.
    answers : int
        Stored answers, those that were replaced included.
    bytes : int
        What they and the damaged ones take on the disk.
    max_bytes : int
        What they may take.
    damaged : int
        Files that were set aside because they could not be read.
    """

    folder: Path
    answers: int
    bytes: int
    max_bytes: int
    damaged: int


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    kind: Kind
    bytes: int
    mtime_ns: int


_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Existing:
    data: bytes
    stored: StoredAnswer
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is known of an answer before it is read."""

    key: str
    shape: tuple[int, int] | None = None
    image_sha256: str | None = None
    answer_sha256: str | None = None

    def refuse_other(self, stored: StoredAnswer) -> None:
        result = stored.result
        record = result.record
        if record is None or record.key != self.key:
            raise CacheError("A stored result belongs to another request, so it is not used.")
        is_of_other_size = self.shape not in (None, result.instances.image_shape)
        if is_of_other_size or self.image_sha256 not in (None, record.image_sha256):
            raise CacheError("A stored result belongs to another picture, so it is not used.")
        if self.answer_sha256 not in (None, record.answer_sha256):
            raise CacheError("A stored result is not the one that its name says.")


class AnswerCache:
    """Content-addressed answers in a folder that several processes, on several machines, may share.

    One object may be used by several threads.

    Parameters
    ----------
    folder : Path
        Nothing is read or written there before the first call.
    max_bytes : int
        What the answers may take; the ones used longest ago go first.
    is_private : bool
        Whether only this user may read what is stored, or whoever the system lets.
    """

    def __init__(self, folder: Path, max_bytes: int, *, is_private: bool = True) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self.is_private = is_private
        self._root = self.folder / "answers" / "v1"
        self._lock = threading.Lock()
        self._scanning = threading.Lock()
        self._bytes: int | None = None
        self._puts = 0
        self._newest_ns = 0

    def __repr__(self) -> str:
        return f"AnswerCache({str(self.folder)!r}, {self.max_bytes})"

    def get(
        self,
        key: str,
        shape: tuple[int, int] | None = None,
        image_sha256: str | None = None,
    ) -> StoredAnswer | None:
        """Return the answer stored under a key, or None if there is none.

        Parameters
        ----------
        key : str
            64 lower-case hexadecimal digits.
        shape : (rows, cols), optional
            Of the picture that is asked about: an answer about another one counts as damaged.
        image_sha256 : str, optional
            Likewise, of its pixels.

        Returns
        -------
        StoredAnswer or None
            With a record of this key.

        Raises
        ------
        CacheError
            If there is one that cannot be read.  A damaged one is set aside, so that it
            is asked for again and yet not lost to whoever wants to know what happened.
        ValueError
            If the key is none.
        """
        wanted = _Wanted(key, None if shape is None else (shape[0], shape[1]), image_sha256)
        path = self._path(key)
        STORING.settle(path)
        return self._load(path, wanted)

    def get_recorded(self, key: str, answer_sha256: str) -> StoredAnswer | None:
        """Return a certain answer to a question, be it replaced since; None if it is not stored.

        Parameters
        ----------
        key : str
            64 lower-case hexadecimal digits.
        answer_sha256 : str
            As in its record: see `napari_sam3.jobs.answers.digest`.

        Returns
        -------
        StoredAnswer or None

        Raises
        ------
        CacheError
            If it may be the one that cannot be read; see `get`.
        ValueError
            If the key is none.
        """
        problem = None
        try:
            current = self.get(key)
        except CacheError as error:
            current, problem = None, error
        if current is not None and _sha256(current) == answer_sha256:
            return current
        # it comes from a file that others may have written, and is to become a file's name
        if isinstance(answer_sha256, str) and _KEY.fullmatch(answer_sha256):
            wanted = _Wanted(key, answer_sha256=answer_sha256)
            found = self._load(self._superseded_path(key, answer_sha256), wanted)
            if found is not None:
                return found
        if problem is not None:
            raise problem
        return None

    def has(self, key: str) -> bool:
        """Whether something is stored under a key; `get` may still find it damaged."""
        path = self._path(key)
        STORING.settle(path)
        try:
            return path.is_file()
        except OSError:
            return False

    def put(
        self,
        key: str,
        result: SegmentationResult,
        question: Mapping[str, Any],
        *,
        replace: bool = True,
    ) -> None:
        """Store an answer, whole or not at all; then make room.

        Parameters
        ----------
        key : str
            64 lower-case hexadecimal digits.
        result : SegmentationResult
            With the record of its objects.
        question : mapping
            What was asked, as JSON values.
        replace : bool
            Whether it takes the place of another answer that is stored; that one can then
            be had by `get_recorded`.  One that cannot be read is always replaced.

        Raises
        ------
        CacheError
            If it cannot be stored, or has no record or another answer's.
        ValueError
            If the key is none, or not that of the result's record.
        """
        path = self._path(key)
        if result.record is not None and result.record.key != key:
            raise ValueError("the answer's record belongs to another key")
        data = encode_answer(result, question)
        existing = self._existing(path, key)
        if existing is not None and not replace:
            return
        written = len(data)
        if existing is not None and _sha256(existing.stored) != _sha256_of(result):
            written += self._keep_superseded(key, existing)
        try:
            self._write_again(path, data)
        except OSError as error:
            raise CacheError(
                f"The result could not be stored in {self.folder}: {_reason(error)}. "
                "The result itself is complete."
            ) from error
        self._make_room(written, path)

    def put_later(self, key: str, result: SegmentationResult, question: Mapping[str, Any]) -> None:
        """Store an answer as `put` does, once nobody asks for more.

        See `napari_sam3.jobs.storing`, which tells, too, what could not be stored.
        """
        STORING.later(self._path(key), partial(self.put, key, result, question))

    def info(self) -> CacheInfo:
        """Count what is stored.

        Raises
        ------
        CacheError
            If the folder cannot be read.
        """
        files = self._listed()
        kept = [file for file in files if file.kind != "part"]
        damaged = sum(file.kind == "damaged" for file in kept)
        total = sum(file.bytes for file in kept)
        return CacheInfo(self.folder, len(kept) - damaged, total, self.max_bytes, damaged)

    def clear(self) -> int:
        """Remove all answers, what was set aside, and what processes that died have left.

        Returns
        -------
        int
            How many files were removed.  Files that are no one's business here stay, and so
            do those that another process is writing or, on Windows, reading.

        Raises
        ------
        CacheError
            If the folder cannot be read, or nothing in it can be removed.
        """
        removed, failure = 0, None
        for file in self._listed():
            if file.kind == "part" and not _is_stale(file):
                continue
            try:
                os.unlink(file.path)  # noqa: PTH108  (a scan gives thousands of plain strings)
                removed += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                failure = error
        with self._lock:
            self._bytes = None
        if failure is not None and not removed:
            raise CacheError(
                f"The stored results in {self.folder} cannot be removed: {_reason(failure)}."
            ) from failure
        return removed

    def _path(self, key: str) -> Path:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(f"a key has 64 lower-case hexadecimal digits, unlike {key!r:.80}")
        return self._root / key[:2] / f"{key}.answer"

    def _superseded_path(self, key: str, answer_sha256: str) -> Path:
        return self._path(key).with_name(f"{key}.{answer_sha256[:16]}.answer")

    def _load(self, path: Path, wanted: _Wanted) -> StoredAnswer | None:
        try:
            data, stamp = _read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CacheError(
                f"A stored result in {self.folder} cannot be read: {_reason(error)}."
            ) from error
        except MemoryError as error:
            raise CacheError(_NO_MEMORY) from error
        try:
            stored = decode_answer(data)
            wanted.refuse_other(stored)
        except CacheError as error:
            _set_aside(path, stamp)
            raise CacheError(f"{error} It was set aside in {path.parent}.") from error
        except MemoryError as error:
            raise CacheError(_NO_MEMORY) from error
        with contextlib.suppress(OSError):
            self._mark_used(path, stamp[2])
        return stored

    def _existing(self, path: Path, key: str) -> _Existing | None:
        """Return what a put would replace, if it is sound."""
        try:
            data, stamp = _read(path)
            stored = decode_answer(data)
            _Wanted(key).refuse_other(stored)
        except (CacheError, OSError, MemoryError):
            return None
        return _Existing(data, stored, stamp[2])

    def _keep_superseded(self, key: str, existing: _Existing) -> int:
        """Keep an answer that is about to be replaced; return how many bytes that takes."""
        path = self._superseded_path(key, _sha256(existing.stored))
        # a copy, for there must be no moment in which the question looks as if never asked;
        # that it fails is no reason to lose the new answer
        try:
            self._write_again(path, existing.data)
            os.utime(path, ns=(existing.mtime_ns, existing.mtime_ns))
        except OSError:
            return 0
        return len(existing.data)

    def _write_again(self, path: Path, data: bytes) -> None:
        try:
            self._write(path, data)
        except FileNotFoundError:
            # someone took the folder away, or the temporary file for one of a dead process
            self._write(path, data)

    def _write(self, path: Path, data: bytes) -> None:
        if self.is_private:
            make_private_folder(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside = _beside(path, "part")
        try:
            opener = open_private if self.is_private else None
            with open(beside, "xb", opener=opener) as file:
                file.write(data)
                file.flush()
                # an answer that was paid for should outlive a power cut
                os.fsync(file.fileno())
            self._mark_used(beside)
            _rename(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    def _mark_used(self, path: Path, mtime_ns: int = 0) -> None:
        with self._lock:
            # a clock that jumped back must not make what is used now the oldest
            newest = max(self._newest_ns, mtime_ns)
            self._newest_ns = max(time.time_ns(), newest + _TICK_NS)
            stamp = self._newest_ns
        os.utime(path, ns=(stamp, stamp))

    def _make_room(self, written: int, keep: Path) -> None:
        with self._lock:
            self._puts += 1
            if self._bytes is not None:
                # too much if an answer was replaced, too little if others write: a scan tells
                self._bytes += written
                if self._bytes <= self.max_bytes and self._puts % PUTS_BETWEEN_SCANS:
                    return
        # the answer is stored: that there is no room to be made is no failure of it
        with contextlib.suppress(OSError), self._scanning:
            self._evict(list(self._scan()), str(keep))

    def _evict(self, files: list[_File], keep: str) -> None:
        for file in files:
            if file.kind == "part" and _is_stale(file):
                _remove(file.path)
        kept = [file for file in files if file.kind != "part"]
        total = sum(file.bytes for file in kept)
        goal = total if total <= self.max_bytes else EVICT_TO * self.max_bytes
        for file in sorted(kept, key=lambda file: (file.mtime_ns, file.path)):
            if total <= goal:
                break
            if file.path != keep and _remove_unless_used(file):
                total -= file.bytes
        newest = max((file.mtime_ns for file in kept if file.path != keep), default=0)
        with self._lock:
            self._bytes = total
            is_behind, self._newest_ns = newest > self._newest_ns, max(newest, self._newest_ns)
        if is_behind:
            # the first scan tells how far the clock has jumped back
            self._mark_used(Path(keep))

    def _listed(self) -> list[_File]:
        STORING.settle(self._root)
        try:
            return list(self._scan())
        except OSError as error:
            raise CacheError(
                f"The stored results in {self.folder} cannot be listed: {_reason(error)}."
            ) from error

    def _scan(self) -> Iterator[_File]:
        for shard in _entries(self._root):
            if _SHARD.fullmatch(shard.name) and shard.is_dir(follow_symlinks=False):
                for entry in _entries(shard.path):
                    yield from _known(entry)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _known(entry: os.DirEntry[str]) -> Iterator[_File]:
    name = _FILE.fullmatch(entry.name)
    if name is None or not entry.is_file(follow_symlinks=False):
        return
    kind: Any = name["kind"] or name["other"]
    with contextlib.suppress(FileNotFoundError):
        status = entry.stat(follow_symlinks=False)
        yield _File(entry.path, kind, status.st_size, status.st_mtime_ns)


def _read(path: Path) -> tuple[bytes, _Stamp]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        # what is too long to be an answer counts as damaged, without being read
        size = status.st_size if status.st_size <= MAX_BYTES else 0
        return file.read(size), _stamp(status)


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _sha256(stored: StoredAnswer) -> str:
    return _sha256_of(stored.result)


def _sha256_of(result: SegmentationResult) -> str:
    # what is stored or read has a record: no other is encoded or decoded
    return "" if result.record is None else result.record.answer_sha256


def _beside(path: Path, kind: Kind) -> Path:
    key = path.name.partition(".")[0]
    return path.with_name(f"{key}.{_token()}.{kind}")


def _set_aside(path: Path, stamp: _Stamp) -> None:
    aside = _beside(path, "damaged")
    with contextlib.suppress(OSError):
        # meanwhile another process may have put a sound one there
        if _stamp(path.stat()) != stamp:
            return
        path.replace(aside)
        if _stamp(aside.stat()) != stamp:
            aside.replace(path)


def _rename(beside: Path, path: Path) -> None:
    try:
        beside.replace(path)
    except PermissionError:
        # Windows replaces no file that is open: then the same answer is there, being read
        if not path.is_file():
            raise
        beside.unlink()


def _remove_unless_used(file: _File) -> bool:
    try:
        if os.stat(file.path).st_mtime_ns != file.mtime_ns:  # noqa: PTH116
            return False
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return _remove(file.path)


def _remove(path: str) -> bool:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_stale(file: _File) -> bool:
    return time.time() - file.mtime_ns / 1e9 > STALE_S


def _token() -> str:
    return uuid.uuid4().hex[:16]


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).rstrip(".")
