"""What our side adds to the hosted service's own time, beside floors measured in the same run.

    python -m benchmarks.hosted_speed --side 2048 --latency 2

Nothing leaves this computer: the service is the stand-in, with a model that costs nothing.  As
other programs slow everything down, read the ratios.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import numpy as np
import numpy.typing as npt
import requests
from PIL import Image
from scipy import ndimage

from benchmarks.timing import best, heading, middle, report, sizes_asked_for
from napari_sam3.core.arrays import BoolArray
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.segmind.engine import LONGEST_POLL_S, POLL_S, SegmindEngine
from napari_sam3.engines.segmind.key import ApiKey
from napari_sam3.engines.segmind.options import Api, SegmindOptions
from napari_sam3.engines.segmind.payload import build_payload, encode_picture
from napari_sam3.testing import Behaviour, Fields, SegmindServer

UInt8Array = npt.NDArray[np.uint8]
QUESTION = ConceptPrompt("nucleus")


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the latency is the service's own, in seconds."""

    side: int = 2048
    latency: float = 2.0
    rounds: int = 7
    calls: int = 3


SMALL = Sizes(side=96, latency=0.01, rounds=1, calls=1)


def micrograph(side: int) -> UInt8Array:
    """Return gray as RGB: soft blobs with the noise of a camera."""
    rng = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter((rng.random((side, side)) > 0.999).astype(np.float32), 6)
    plane = 20 + 180 * blobs / blobs.max() + rng.normal(0, 5, (side, side))
    gray: UInt8Array = np.clip(plane, 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def coloured(side: int) -> UInt8Array:
    """Return a picture whose three colours have their own noise, as of a stained section."""
    rng = np.random.default_rng(1)
    tinted = micrograph(side) * np.array([1.0, 0.7, 0.9]) + rng.normal(0, 6, (side, side, 3))
    picture: UInt8Array = np.clip(tinted, 0, 255).astype(np.uint8)
    return picture


def by_pillow(image: UInt8Array) -> bytes:
    """Encode as the common library does it at its fastest."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def show_encoding(sizes: Sizes) -> None:
    """Print how long it takes to make a picture ready, and what it weighs."""
    side = sizes.side
    for name, image in {"micrograph": micrograph(side), "coloured": coloured(side)}.items():
        plain, asked = image.tobytes(), SegmentationRequest(Pixels(image), QUESTION)
        png, pillow = encode_picture(image, "png"), by_pillow(image)
        body = build_payload(asked, SegmindOptions())
        print(
            f"{name}, {side} × {side} RGB: {len(plain) / 2**20:.1f} MB of pixels; our PNG "
            f"{len(png) / 2**20:.1f} MB, Pillow's {len(pillow) / 2**20:.1f} MB, "
            f"the payload {len(body.body['image']) / 2**20:.1f} MB"
        )
        works: dict[str, Callable[[], object]] = {
            "one copy": image.copy,
            "our PNG": partial(encode_picture, image, "png"),
            "Pillow's PNG": partial(by_pillow, image),
            "JPEG": partial(encode_picture, image, "jpeg"),
            "base64 of our PNG": partial(base64.b64encode, png),
            "the whole payload": partial(build_payload, asked, SegmindOptions()),
        }
        floor, *taken = best(sizes.rounds, partial(zlib.compress, plain, 1), *works.values())
        for what, each in zip(works, taken, strict=True):
            promise = 0.15 if what == "the whole payload" else None
            report(f"  {what} (zlib level 1, one pass)", floor, each, within_s=promise)


def one_spot(image: UInt8Array, fields: Fields) -> Sequence[BoolArray]:
    """Find something in no time."""
    mask = np.zeros(image.shape[:2], bool)
    mask[: len(fields.flags) + 9, :9] = True
    return [mask]


def bare_post(server: SegmindServer, body: bytes) -> None:
    """Post a body that is ready, and read the answer: what the service itself takes."""
    headers = {"x-api-key": server.key, "Content-Type": "application/json"}
    url = f"{server.url}/v1/sam3-image"
    requests.post(url, data=body, headers=headers, timeout=60).raise_for_status()


def show_overhead(sizes: Sizes) -> None:
    """Print what a call takes beside the service's own seconds."""
    behaviour = Behaviour(latency_s=sizes.latency, queued_polls=0, processing_polls=0)
    apis: tuple[Api, ...] = ("v1", "v2")
    with SegmindServer(behaviour, model=one_spot) as server:
        for edge in (64, sizes.side // 2, sizes.side):
            question = SegmentationRequest(Pixels(micrograph(edge)), QUESTION)
            body = json.dumps(build_payload(question, SegmindOptions()).body).encode()
            floor = middle(sizes.calls, partial(bare_post, server, body))
            for api in apis:
                engine = SegmindEngine(SegmindOptions(url=server.url, api=api), ApiKey(server.key))
                whole = middle(sizes.calls, partial(engine.segment, question))
                promise = 1.05 if api == "v1" else None
                report(f"{edge}² by {api} (a body that is ready)", floor, whole, within=promise)


def found_at(finished_s: float, cadence: Callable[[float], float]) -> float:
    """Return when a job that ends at `finished_s` is found out, with waits by elapsed time."""
    now = cadence(0.0)
    while now < finished_s:
        now += cadence(now)
    return now


def show_cadence() -> None:
    """Print, by arithmetic alone, what each way of polling adds to jobs of each length."""
    former = iter_former()
    cadences: dict[str, Callable[[float], float]] = {
        "ours: 1 s, then a tenth": lambda t: min(LONGEST_POLL_S, max(POLL_S, t / 10)),
        "1 s always (vendor)": lambda _: 1.0,
        "0, 1, 2, 4, 7, 12, 17, 25 … s": former,
        "0.5 s, then a tenth": lambda t: min(LONGEST_POLL_S, max(0.5, t / 10)),
    }
    print("polling: mean delay until an answer is noticed, and questions asked")
    for low, high in ((1.0, 3.0), (4.0, 6.0), (20.0, 60.0), (150.0, 280.0)):
        print(f"  jobs of {low:g} to {high:g} s")
        jobs = np.linspace(low, high, 400, endpoint=False)
        for name, cadence in cadences.items():
            delays = [found_at(job, cadence) - job for job in jobs]
            polls = mean(asked(job, cadence) for job in jobs)
            share = 100 * mean(delays) / mean(jobs)
            print(f"    {name:30} {mean(delays):5.2f} s, {share:4.1f} %, {polls:5.1f} questions")


def iter_former() -> Callable[[float], float]:
    """Return the schedule of fixed steps that was used before."""
    times = [0.0, 1.0, 2.0, 4.0, 7.0, 12.0, 17.0, 25.0]

    def cadence(elapsed: float) -> float:
        later = [moment for moment in times if moment > elapsed]
        return later[0] - elapsed if later else 10.0

    return cadence


def asked(finished_s: float, cadence: Callable[[float], float]) -> int:
    """Return how many questions that takes."""
    now, count = cadence(0.0), 1
    while now < finished_s:
        now += cadence(now)
        count += 1
    return count


def main() -> None:
    """Print the figures."""
    sizes = sizes_asked_for(__doc__, Sizes(), SMALL)
    heading()
    show_encoding(sizes)
    show_overhead(sizes)
    show_cadence()


if __name__ == "__main__":
    main()
