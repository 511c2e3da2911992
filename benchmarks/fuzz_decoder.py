"""Feed the decoder of service answers many damaged ones: none may raise anything unforeseen.

Valid answers of every known shape are damaged in seeded, repeatable ways, and decoded.
Crashes are printed with the number that repeats them::

    python -m benchmarks.fuzz_decoder --count 100000
    python -m benchmarks.fuzz_decoder --only 4711
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import resource
import sys
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import sizes_asked_for
from napari_sam3.engines.segmind.decode import decode
from napari_sam3.engines.segmind.results import split_into_instances
from napari_sam3.errors import ResponseError, Sam3Error

SHAPE = (24, 40)
WARM_UP = 500
TYPES = ("", "image/png", "image/jpeg", "application/json", "text/html", "application/zip")
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def encoded(pixels: np.ndarray[Any, Any], file_format: str, **options: Any) -> bytes:
    """Return a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def zipped(members: list[bytes]) -> bytes:
    """Return an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, member in enumerate(members):
            archive.writestr(f"mask_{index}.png", member)
    return buffer.getvalue()


def seeds() -> list[bytes]:
    """Return valid answers, one of each shape."""
    gray = np.zeros(SHAPE, np.uint8)
    gray[3:9, 20:33] = gray[14:20, 2:7] = 255
    rgb = np.repeat(gray[..., None], 3, axis=2)
    colours = np.zeros_like(rgb)
    colours[3:9, 20:33], colours[14:20, 2:7] = (200, 0, 0), (0, 0, 200)
    rgba = np.dstack([rgb, gray])
    pictures = [
        encoded(gray, "PNG"),
        encoded(gray > 0, "PNG"),
        encoded(gray.astype(np.uint16) * 257, "PNG"),
        encoded(np.dstack([gray, gray]), "PNG"),
        encoded(rgb, "PNG"),
        encoded(rgba, "PNG"),
        encoded(colours, "PNG"),
        encoded(gray, "PNG", transparency=0),
        encoded(gray, "JPEG"),
        encoded(rgb, "JPEG", progressive=True),
        encoded(rgb, "WEBP"),
        encoded(rgba, "WEBP"),
        encoded(rgba, "WEBP", lossless=True),
        encoded(gray, "GIF"),
        encoded(colours, "GIF"),
        encoded(gray, "BMP"),
        encoded(rgb, "BMP"),
        encoded(gray, "TIFF"),
        encoded(rgb, "TIFF", compression="tiff_lzw"),
        encoded(rgb, "TIFF", compression="jpeg"),
        encoded(gray.astype(np.float32), "TIFF", compression="tiff_deflate"),
    ]
    text = base64.b64encode(pictures[0]).decode()
    url = "https://images.segmind.com/generations/one.png"
    metrics = {"cost": 0.006, "remaining_credits": 4.2, "inference_time": 4.7}
    answers = [
        {"masks": [text, text], "metrics": metrics},
        {"images": [{"url": url}, {"b64": text}], "request_id": "a-1", "status": "COMPLETED"},
        {"output": f"data:image/png;base64,{text}", "timings": {"queue": [1, 2.5, None]}},
        {"output": json.dumps({"image": text})},
        {"request_id": "a-1", "status": "QUEUED", "metrics": {}},
        {"status": "FAILED", "error": [{"msg": "no"}]},
    ]
    return [
        *pictures,
        zipped(pictures[:3]),
        gzip.compress(pictures[0]),
        text.encode(),
        f"data:image/png;base64,{text}".encode(),
        b"<html><body>504</body></html>",
        *(json.dumps(answer).encode() for answer in answers),
        json.dumps(base64.b64encode(zipped(pictures[:2])).decode()).encode(),
    ]


# ---------------------------------------------------------------------- damage

Damage = Callable[[random.Random, bytearray, list[bytes]], None]


def flip(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Change single bytes."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)


def overwrite(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Write an extreme number, as sizes and offsets are written; early bytes more often."""
    width = rng.choice((1, 2, 4))
    number = rng.choice(INTERESTING) & (256**width - 1)
    at = rng.randrange(min(len(body), rng.choice((32, 128, len(body)))))
    body[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))


def truncate(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Cut the end off."""
    del body[rng.randrange(len(body)) :]


def remove(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Take a piece out."""
    at = rng.randrange(len(body))
    del body[at : at + rng.randint(1, 16)]


def repeat(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Say a piece again, many times."""
    at = rng.randrange(len(body))
    piece = body[at : at + rng.randint(1, 16)]
    body[at:at] = piece * rng.choice((1, 3, 300))


def splice(rng: random.Random, body: bytearray, seeds: list[bytes]) -> None:
    """Put a piece of another answer in."""
    other = rng.choice(seeds)
    start = rng.randrange(len(other))
    at = rng.randrange(len(body))
    body[at : at + rng.choice((0, 8))] = other[start : start + rng.randint(1, len(other))]


def scramble(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Keep only the beginning."""
    keep = rng.randint(0, 16)
    body[keep:] = rng.randbytes(rng.randint(0, 200))


def nest(rng: random.Random, body: bytearray, _seeds: list[bytes]) -> None:
    """Wrap it, or what stands for it, in other forms."""
    for _ in range(rng.randint(1, 3)):
        form = rng.randrange(5)
        if form == 0:
            body[:] = gzip.compress(bytes(body))
        elif form == 1:
            body[:] = base64.b64encode(bytes(body))
        elif form == 2:
            body[:] = json.dumps({"image": base64.b64encode(bytes(body)).decode()}).encode()
        elif form == 3:
            body[:] = b"data:;base64," + base64.b64encode(bytes(body))
        else:
            body[:] = json.dumps({"output": body.decode("latin-1")}).encode()


DAMAGES: tuple[Damage, ...] = (flip, overwrite, truncate, remove, repeat, splice, scramble, nest)


def damaged(number: int, valid: list[bytes]) -> tuple[bytes, str, bool]:
    """Return input number so-and-so: body, content type, whether an overlay is wanted."""
    rng = random.Random(number)
    body = bytearray(rng.choice(valid))
    for _ in range(rng.choice((1, 1, 2, 4))):
        if body:
            rng.choice(DAMAGES)(rng, body, valid)
    return bytes(body), rng.choice(TYPES), rng.random() < 0.2


# ---------------------------------------------------------------------- the run


def outcome(number: int, valid: list[bytes]) -> str:
    """Decode one input; return how it went. Anything unforeseen is raised."""
    body, content_type, overlay = damaged(number, valid)
    try:
        answer = decode(body, content_type, SHAPE, overlay=overlay)
        for mask in answer.masks[:2]:
            split_into_instances(mask)
    except ResponseError as error:
        if error.length not in (0, len(body)) or not str(error):
            raise AssertionError("the error does not describe the answer") from error
        return "refused"
    except Sam3Error:
        return "failed job"
    return answer.kind


def peak_mib() -> float:
    """Return the most memory that this process ever held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_mib() -> float:
    """Return the memory that this process holds now, in MiB; 0 where the system does not tell."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return 0.0
    return int(pages.read_text().split()[1]) * resource.getpagesize() / 2**20


@dataclass(frozen=True)
class Sizes:
    """How many inputs, from which number on; or the only one, told with its traceback."""

    count: int = 100_000
    start: int = 0
    only: int = -1


SMALL = Sizes(count=200)


def main() -> int:
    """Run, print, and return the exit status."""
    options = sizes_asked_for(__doc__, Sizes(), SMALL)
    # what leaks out of the decoder as a warning is a crash
    warnings.simplefilter("error")
    valid = seeds()
    if options.only >= 0:
        print(outcome(options.only, valid))
        return 0
    for number in range(options.start, options.start + min(WARM_UP, options.count)):
        outcome_or_crash(number, valid)
    before, held, started = peak_mib(), held_mib(), time.perf_counter()
    outcomes: Counter[str] = Counter()
    slowest = (0.0, -1)
    for number in range(options.start, options.start + options.count):
        begun = time.perf_counter()
        outcomes[outcome_or_crash(number, valid)] += 1
        slowest = max(slowest, (time.perf_counter() - begun, number))
    seconds = time.perf_counter() - started
    print(f"inputs     {options.count:,} in {seconds:.0f} s")
    print(f"crashes    {outcomes['crash']}")
    for name, count in outcomes.most_common():
        print(f"  {name:<10} {count:,}")
    print(f"slowest    {slowest[0]:.2f} s (input {slowest[1]})")
    print(f"peak RSS   {before:.0f} MiB after the first {WARM_UP}, {peak_mib():.0f} MiB at the end")
    print(f"RSS held   {held:.0f} MiB after the first {WARM_UP}, {held_mib():.0f} MiB at the end")
    return 1 if outcomes["crash"] else 0


def outcome_or_crash(number: int, valid: list[bytes]) -> str:
    """Like `outcome`, but print what is raised."""
    try:
        return outcome(number, valid)
    except Exception:  # noqa: BLE001 - finding these is what this is for
        print(f"input {number}:\n{traceback.format_exc()}", file=sys.stderr)
        return "crash"


if __name__ == "__main__":
    raise SystemExit(main())
