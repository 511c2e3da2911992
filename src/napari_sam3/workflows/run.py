"""How a run goes: every question about a picture is asked, and what it finds told as it comes.

What is asked about several pictures, be they tiles, planes or files, will be this run once for
each of their regions, one after the other, so that nothing waits for the last of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any, cast

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.overlaps import count_overlapping
from napari_sam3.core.pictures import Picture
from napari_sam3.core.plane_index import PlaneIndex, Region
from napari_sam3.core.progress import Progress
from napari_sam3.core.prompts import Prompt
from napari_sam3.engines.base import (
    NEVER,
    AnswerRecord,
    BatchEngine,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    raise_if_stopped,
)
from napari_sam3.errors import Sam3Error
from napari_sam3.workflows.answer import SegmentAnswer, named
from napari_sam3.workflows.software import software

_TOGETHER = 50


@dataclass(frozen=True, slots=True, eq=False)
class SegmentRun:
    """Everything that one run needs, frozen: it may cross to another thread.

    Parameters
    ----------
    picture : Picture
        What to segment.
    prompts : tuple of prompt
        Each is one question to the engine; the answers are put together.
    min_score : float
        As in `SegmentationRequest`.
    max_masks : int
        As in `SegmentationRequest`, for each question.
    in_flight : int
        How many questions are asked at the same time.
    region : Region, optional
        Where the picture lies, if it is not the whole of a plane that is all there is.
    about : dict
        JSON values that whoever collects a late answer should know: the image's name, and
        where the picture lies in the world.  Never sent.
    """

    picture: Picture
    prompts: tuple[Prompt, ...]
    min_score: float = 0.0
    max_masks: int = 0
    in_flight: int = 1
    region: Region | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def requests(self) -> Generator[SegmentationRequest]:
        """Read the picture and yield the engine's requests, one per prompt."""
        pixels = self.picture.read()
        for prompt in self.prompts:
            yield SegmentationRequest(pixels, prompt, self.min_score, self.max_masks)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What one question found.

    Parameters
    ----------
    region : Region
        What it was asked about.
    question : int
        Which of the run's it is.
    result : SegmentationResult
        In pixels of the region.
    concept : str
        What was asked for by name; empty if nothing was.
    """

    region: Region
    question: int
    result: SegmentationResult
    concept: str = ""

    @property
    def instances(self) -> Instances:
        """The objects, each with what it was asked for as."""
        found = self.result.instances
        return Instances(found.image_shape, named(found, self.concept))

    @property
    def record(self) -> AnswerRecord | None:
        """What identifies the answer, if it went through `napari_sam3.jobs`."""
        return self.result.record


RunEvent = Progress | Found
"""What is told of a run while it goes."""


def iter_run(
    engine: Engine, run: SegmentRun, stop: threading.Event = NEVER
) -> Generator[RunEvent, None, SegmentAnswer]:
    """Ask the engine every question of a run.

    Parameters
    ----------
    engine : Engine
    run : SegmentRun
    stop : threading.Event
        Set by another thread to cancel.

    Yields
    ------
    Progress or Found
        How far it is, and what each question found, as it comes.

    Returns
    -------
    SegmentAnswer

    Raises
    ------
    Sam3Error
        As the engine raises it; `CancelledError` if stopped.  What a billed
        engine answered before that is paid, and so returned instead.
    """
    start = time.perf_counter()
    total = len(run.prompts)
    yield Progress(0, total, "reading the image")
    requests = list(run.requests())
    answer = yield from iter_answered(engine, requests, run.in_flight, stop, run.region)
    # for the record, which is made where looking it up for the first time would take too long
    software()
    seconds = time.perf_counter() - start
    return replace(answer, picture=run.picture.describe(), seconds=seconds)


def iter_answered(
    engine: Engine,
    requests: Sequence[SegmentationRequest],
    in_flight: int = 1,
    stop: threading.Event = NEVER,
    region: Region | None = None,
) -> Generator[RunEvent, None, SegmentAnswer]:
    """Ask the engine some questions about one picture, as `iter_run` does."""
    start = time.perf_counter()
    asking = _Asking(engine, requests, stop, region)
    yield from asking.iter_found(in_flight)
    answer = SegmentAnswer(
        asking.kept(),
        requests[0].shape if requests else (0, 0),
        unanswered=asking.unanswered,
        concepts=tuple(_concept(request) for request in requests),
    )
    overlapping = count_overlapping(answer.instances.items)
    return replace(answer, overlapping=overlapping, seconds=time.perf_counter() - start)


class _Asking:
    """Asks a run's questions, several at a time, and keeps what was paid for."""

    def __init__(
        self,
        engine: Engine,
        requests: Sequence[SegmentationRequest],
        stop: threading.Event,
        region: Region | None,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._stop = stop
        self._region = region
        self._results: dict[int, SegmentationResult] = {}
        self._error: Exception | None = None

    def iter_found(self, in_flight: int) -> Generator[RunEvent]:
        """Ask all; after the first failure those under way end, and no more begin."""
        total = len(self._requests)
        if in_flight == 1:
            step = _TOGETHER if self._asks_together else 1
            for first in range(0, total, step):
                yield Progress(first, total, "segmenting")
                yield from self._ask(range(first, min(first + step, total)))
                if self._error is not None:
                    return
            return
        with ThreadPoolExecutor(in_flight, thread_name_prefix="sam3-ask") as threads:
            asked = [threads.submit(self._ask, [index]) for index in range(total)]
            try:
                for done, future in enumerate(as_completed(asked), start=1):
                    yield from future.result()
                    yield Progress(done, total, "segmenting")
            finally:
                # nobody reads on: what has not begun need not be paid for
                for future in asked:
                    future.cancel()

    @property
    def _asks_together(self) -> bool:
        # what costs money is asked one by one, so that each answer is kept as it comes
        return hasattr(self._engine, "segment_many") and not self._engine.capabilities.billed

    def _ask(self, indices: Sequence[int]) -> list[Found]:
        if self._error is not None:
            return []
        try:
            raise_if_stopped(self._stop)
            requests = [self._requests[index] for index in indices]
            if len(requests) == 1:
                answers = [self._engine.segment(requests[0], self._stop)]
            else:
                answers = cast(BatchEngine, self._engine).segment_many(requests, self._stop)
            self._results.update(zip(indices, answers, strict=True))
            return [self._found(index) for index in indices]
        except Exception as error:  # noqa: BLE001 - raised again, unless a paid answer would be lost
            self._error = self._error or error
            return []

    def _found(self, index: int) -> Found:
        request = self._requests[index]
        region = self._region or Region(PlaneIndex(), Box.of_shape(request.shape))
        return Found(region, index, self._results[index], _concept(request))

    @property
    def unanswered(self) -> int:
        """How many questions have no answer."""
        return len(self._requests) - len(self._results)

    def kept(self) -> tuple[SegmentationResult, ...]:
        """Return one result per question; raise if nothing that was paid for is lost by it."""
        billed = self._engine.capabilities.billed
        if not billed:
            raise_if_stopped(self._stop)
        if self._error is not None and not (self._results and billed):
            raise self._error
        empty = SegmentationResult(Instances(self._requests[0].shape)) if self._requests else None
        listed = [self._results.get(i, empty) for i in range(len(self._requests))]
        results = [result for result in listed if result is not None]
        if self._error is not None:
            answered = len(self._results)
            is_known = isinstance(self._error, Sam3Error)
            why = str(self._error) if is_known else f"Then a bug ended it: {self._error!r}."
            notice = f"Only {answered} of {len(listed)} requests were answered. {why}"
            last = results[-1]
            results[-1] = replace(last, notices=(*last.notices, notice))
        return tuple(results)


def _concept(request: SegmentationRequest) -> str:
    text: str = getattr(request.prompt, "text", "")
    return text
