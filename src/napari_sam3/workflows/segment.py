"""One run on one picture: from a frozen question to all its objects."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast, overload

import numpy.typing as npt

from napari_sam3.core.contrast import Limits
from napari_sam3.core.flatness import Flatness
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.overlaps import count_overlapping
from napari_sam3.core.pictures import Picture, Pixels
from napari_sam3.core.progress import Progress, drain
from napari_sam3.core.prompts import ObjectPrompt, Prompt, to_prompt
from napari_sam3.engines.base import (
    NEVER,
    BatchEngine,
    BilledEngine,
    Engine,
    SegmentationRequest,
    SegmentationResult,
    Usage,
    raise_if_stopped,
)
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import EngineError, ImageError, PromptError, Sam3Error
from napari_sam3.workflows.software import software

if TYPE_CHECKING:
    from napari_sam3.jobs.records import Records

_TOGETHER = 50

DEFAULT_MIN_SCORE = 0.5
"""Least score of what a concept finds, unless another is asked for."""


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
    about : dict
        JSON values that whoever collects a late answer should know: the image's name, and
        where the picture lies in the world.  Never sent.
    """

    picture: Picture
    prompts: tuple[Prompt, ...]
    min_score: float = 0.0
    max_masks: int = 0
    in_flight: int = 1
    about: dict[str, Any] = field(default_factory=dict)

    def requests(self) -> Generator[SegmentationRequest]:
        """Read the picture and yield the engine's requests, one per prompt."""
        pixels = self.picture.read()
        for prompt in self.prompts:
            yield SegmentationRequest(pixels, prompt, self.min_score, self.max_masks)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentAnswer:
    """What a run found.

    Parameters
    ----------
    results : tuple of SegmentationResult
        One per prompt, in the run's order.
    image_shape : tuple of int
        (rows, cols) of the picture.
    seconds : float
        Wall time from start to end.
    overlapping : int
        How many objects share a pixel with another.
    picture : dict
        What the picture's `describe` said once it was read.
    unanswered : int
        Questions of a billed engine that got no answer; those that did are kept.
    concepts : tuple of str
        What each prompt asked for by name, "" where it did not.
    flatness : Flatness, optional
        Why nearly all of the picture is one grey level, if it is.
    """

    results: tuple[SegmentationResult, ...]
    image_shape: tuple[int, int]
    seconds: float = 0.0
    overlapping: int = 0
    picture: dict[str, Any] = field(default_factory=dict)
    unanswered: int = 0
    concepts: tuple[str, ...] = ()
    flatness: Flatness | None = None

    def __repr__(self) -> str:
        rows, cols = self.image_shape
        parts = [self.found_words, f"{rows} × {cols} pixels", f"{len(self.results)} prompts"]
        parts += [f"{self.unanswered} without result"] if self.unanswered else []
        return f"SegmentAnswer({', '.join([*parts, *self.usage.words])})"

    @property
    def instances(self) -> Instances:
        """All objects, in the order of the prompts, each with what it was asked for as.

        The results stay as they came: their records vouch for them.
        """
        items: list[Instance] = []
        concepts = self.concepts or ("",) * len(self.results)
        for result, concept in zip(self.results, concepts, strict=True):
            items += _named(result.instances, concept)
        return Instances(self.image_shape, tuple(items))

    @property
    def found_words(self) -> str:
        """Say how many objects there are, and how many of each of several concepts.

        Examples
        --------
        ``"12 objects"``, ``"7 nucleus, 5 cell"``
        """
        counts = [len(result.instances) for result in self.results]
        if len(self.concepts) > 1 and all(self.concepts):
            pairs = zip(counts, self.concepts, strict=True)
            return ", ".join(f"{count} {concept}" for count, concept in pairs)
        return f"{sum(counts)} object{'' if sum(counts) == 1 else 's'}"

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should read, each sentence once."""
        sentences = [notice for result in self.results for notice in result.notices]
        flat = [self.flatness.reason] if self.flatness is not None else []
        return tuple(dict.fromkeys(flat + sentences))

    @property
    def cached(self) -> int:
        """How many answers came from the cache."""
        return sum(result.usage.cached for result in self.results)

    @property
    def cached_words(self) -> str:
        """Say how many answers came from the cache; empty if none did."""
        count, is_all = self.cached, self.cached == len(self.results)
        return "" if not count else "from cache" if is_all else f"{count} from cache"

    @property
    def usage(self) -> Usage:
        """The sum over all questions; unknown parts stay unknown."""
        usages = [result.usage for result in self.results]
        ids = [usage.request_id for usage in usages if usage.request_id]
        return Usage(
            credits=_sum_known([usage.credits for usage in usages]),
            seconds=_sum_known([usage.seconds for usage in usages]),
            request_id=ids[-1] if len(ids) == 1 else None,
            cached=bool(usages) and all(usage.cached for usage in usages),
        )


def iter_segment(
    engine: Engine, run: SegmentRun, stop: threading.Event = NEVER
) -> Generator[Progress, None, SegmentAnswer]:
    """Ask the engine every question of a run.

    Parameters
    ----------
    engine : Engine
    run : SegmentRun
    stop : threading.Event
        Set by another thread to cancel.

    Yields
    ------
    Progress
        Before each question.

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
    answer = yield from _iter_answered(engine, list(run.requests()), run.in_flight, stop)
    # for the record, which is made where looking it up for the first time would take too long
    software()
    seconds = time.perf_counter() - start
    return replace(answer, picture=run.picture.describe(), seconds=seconds)


def _iter_answered(
    engine: Engine,
    requests: Sequence[SegmentationRequest],
    in_flight: int,
    stop: threading.Event,
) -> Generator[Progress, None, SegmentAnswer]:
    start = time.perf_counter()
    answers = _Answers(engine, requests, stop)
    yield from answers.iter_asked(in_flight)
    answer = SegmentAnswer(
        answers.kept(),
        requests[0].shape if requests else (0, 0),
        unanswered=answers.unanswered,
        concepts=tuple(getattr(request.prompt, "text", "") for request in requests),
    )
    overlapping = count_overlapping(answer.instances.items)
    return replace(answer, overlapping=overlapping, seconds=time.perf_counter() - start)


class _Answers:
    """Asks a run's questions, several at a time, and keeps what was paid for."""

    def __init__(
        self, engine: Engine, requests: Sequence[SegmentationRequest], stop: threading.Event
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._stop = stop
        self._results: dict[int, SegmentationResult] = {}
        self._error: Exception | None = None

    def iter_asked(self, in_flight: int) -> Generator[Progress]:
        """Ask all; after the first failure those under way end, and no more begin."""
        total = len(self._requests)
        if in_flight == 1:
            step = _TOGETHER if self._asks_together else 1
            for first in range(0, total, step):
                yield Progress(first, total, "segmenting")
                self._ask(range(first, min(first + step, total)))
                if self._error is not None:
                    return
            return
        with ThreadPoolExecutor(in_flight, thread_name_prefix="sam3-ask") as threads:
            asked = [threads.submit(self._ask, [index]) for index in range(total)]
            try:
                for done, future in enumerate(as_completed(asked), start=1):
                    future.result()
                    yield Progress(done, total, "segmenting")
            finally:
                # nobody reads on: what has not begun need not be paid for
                for future in asked:
                    future.cancel()

    @property
    def _asks_together(self) -> bool:
        # what costs money is asked one by one, so that each answer is kept as it comes
        return hasattr(self._engine, "segment_many") and not self._engine.capabilities.billed

    def _ask(self, indices: Sequence[int]) -> None:
        if self._error is not None:
            return
        try:
            raise_if_stopped(self._stop)
            requests = [self._requests[index] for index in indices]
            if len(requests) == 1:
                answers = [self._engine.segment(requests[0], self._stop)]
            else:
                answers = cast(BatchEngine, self._engine).segment_many(requests, self._stop)
            self._results.update(zip(indices, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - raised again, unless a paid answer would be lost
            self._error = self._error or error

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


@overload
def segment(  # type: ignore[overload-overlap]  # a text is a sequence of texts, but one prompt
    image: npt.ArrayLike,
    prompt: str | Prompt,
    engine: str | Engine = ...,
    min_score: float | None = ...,
    *,
    max_masks: int = ...,
    contrast_limits: tuple[float, float] | None = ...,
    stop: threading.Event = ...,
    records: Records | None = ...,
    remember: bool = ...,
    ask_again: bool = ...,
) -> SegmentationResult: ...


@overload
def segment(
    image: npt.ArrayLike,
    prompt: Sequence[str | Prompt],
    engine: str | Engine = ...,
    min_score: float | None = ...,
    *,
    max_masks: int = ...,
    contrast_limits: tuple[float, float] | None = ...,
    stop: threading.Event = ...,
    records: Records | None = ...,
    remember: bool = ...,
    ask_again: bool = ...,
) -> SegmentAnswer: ...


def segment(
    image: npt.ArrayLike,
    prompt: str | Prompt | Sequence[str | Prompt],
    engine: str | Engine = "builtin",
    min_score: float | None = None,
    *,
    max_masks: int = 0,
    contrast_limits: tuple[float, float] | None = None,
    stop: threading.Event = NEVER,
    records: Records | None = None,
    remember: bool = True,
    ask_again: bool = False,
) -> SegmentationResult | SegmentAnswer:
    """Segment one image.

    A result that is in the cache is returned as it is, at no cost.  A request to an
    engine that costs money is written into the ledger before it is sent, and sent only
    within the limits.

    Parameters
    ----------
    image : array_like, shape (rows, cols) or (rows, cols, 3 or 4)
        Gray of any real type, or RGB(A).
    prompt : str, ConceptPrompt, ObjectPrompt or Everything, or a list of them
        What to find; a text finds all objects called so.  Coordinates are (row, col)
        pixels of `image`.
    engine : str or Engine
        A name that `create_engine` knows, or an engine that exists already:
        it may keep what it computed for an image, so that more requests
        about the same one are answered faster.
    min_score : float, optional
        Objects with a lower score are left out, 0–1.  By default 0.5, but 0 for an
        `ObjectPrompt`.
    max_masks : int
        At most so many objects for each prompt, the best; 0 means all.
    contrast_limits : tuple of float, optional
        Values shown as black and white, in colours too; by default found from the image.
    stop : threading.Event
        Set by another thread to cancel.
    records : Records, optional
        Cache, ledger and limits; by default those that the settings name, see
        `napari_sam3.jobs.records.open_records`.
    remember : bool
        Whether results are looked up and stored.  The ledger is kept in any case.  A paid
        result that is not stored can be fetched again for an hour once this process has ended
        (``napari-sam3 collect``), until `napari_sam3.jobs.ledger.Ledger.settle` is told that
        it is saved.
    ask_again : bool
        Whether to send a paid request although it was sent before and its result lost,
        so that it may be billed twice.

    Returns
    -------
    SegmentationResult, or SegmentAnswer for a list of prompts
        Both have the objects as `instances`, and `notices` and `usage`.  The `results` of
        the latter are one for each prompt.

    Raises
    ------
    ImageError
        If the image cannot be segmented.
    PromptError
        If a number is out of range, or the engine cannot answer such a prompt.
    EngineError
        If the engine is missing or fails; `OutcomeUnknownError` if a paid request may
        have been billed and has no result.
    CapReachedError
        If a paid request might cost more than is allowed; it was not sent.
    LedgerError
        If a paid request cannot be written down; it was not sent.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((40, 60), np.uint8)
    >>> image[10:20, 30:45] = 200
    >>> segment(image, ObjectPrompt(points=[(15, 37)])).instances
    Instances(1 object, 40 × 60 pixels)
    """
    from napari_sam3.jobs.records import open_records

    prompts = to_prompts(prompt)
    chosen = create_engine(engine) if isinstance(engine, str) else engine
    if not hasattr(chosen, "segment"):
        raise EngineError(
            "An engine is a name, such as “builtin”, or what create_engine returns, not "
            f"{engine!r:.60}."
        )
    _refuse_one_limit(contrast_limits)
    picture = Picture.from_array(image, contrast_limits)
    requests = [new_request(picture.read(), one, min_score, max_masks) for one in prompts]
    flatness = advised_flatness(picture)
    records = records or open_records()
    if not remember:
        records = replace(records, cache=None)
    asked = _remembering(chosen, records, ask_again=ask_again)
    if isinstance(prompt, str | Prompt):
        result = asked.segment(requests[0], stop)
        said = () if flatness is None else (flatness.reason,)
        return replace(result, notices=(*said, *result.notices))
    answer = drain(_iter_answered(asked, requests, 1, stop))
    return replace(answer, flatness=flatness)


def _remembering(engine: Engine, records: Records, *, ask_again: bool) -> Engine:
    from napari_sam3.jobs.cached import CachedEngine

    if not engine.capabilities.billed:
        return CachedEngine(engine, records.cache)
    from napari_sam3.jobs.consent import Consent
    from napari_sam3.jobs.paid import PaidEngine

    consent = Consent(None, None if ask_again else frozenset())
    return PaidEngine(cast(BilledEngine, engine), records, consent)


def _refuse_one_limit(limits: Limits | None) -> None:
    if limits is not None and len(limits) == 2 and limits[0] == limits[1]:
        raise ImageError(
            f"The contrast limits must be two rising numbers, but both are {limits[0]!r:.60}."
        )


def advised_flatness(picture: Picture) -> Flatness | None:
    """Return why nearly all of a picture is one grey level, and what a script may try; or None."""
    flatness = picture.find_flatness()
    if flatness is None:
        return None
    advice = (
        f" Try contrast_limits=({low:g}, {high:g})." for low, high in flatness.better.values()
    )
    return replace(flatness, reason="".join([flatness.reason, *advice]))


def to_prompts(prompt: str | Prompt | Sequence[str | Prompt]) -> tuple[Prompt, ...]:
    """Return one prompt, or several, as prompts.

    Raises
    ------
    PromptError
        If there is none, or something else.
    """
    listed = (
        [prompt] if isinstance(prompt, str | Prompt) or not isinstance(prompt, Sequence) else prompt
    )
    if not listed:
        raise PromptError("There is nothing to find: the list of prompts is empty.")
    return tuple(to_prompt(one) for one in listed)


def new_request(
    pixels: Pixels, prompt: Prompt, min_score: float | None, max_masks: int
) -> SegmentationRequest:
    """Return a request, with the least score that is usual for its prompt where none is given."""
    if min_score is None:
        # how well a click was understood is no reason to leave its object out
        min_score = 0.0 if isinstance(prompt, ObjectPrompt) else DEFAULT_MIN_SCORE
    return SegmentationRequest(pixels, prompt, min_score, max_masks)


def _named(instances: Iterable[Instance], concept: str) -> list[Instance]:
    if not concept:
        return list(instances)
    return [item if item.concept else replace(item, concept=concept) for item in instances]


def _sum_known(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
