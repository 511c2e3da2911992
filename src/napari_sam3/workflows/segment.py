"""One image segmented by one call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast, overload

import numpy.typing as npt

from napari_sam3.core.contrast import Limits
from napari_sam3.core.flatness import Flatness
from napari_sam3.core.pictures import Picture, Pixels
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import ObjectPrompt, Prompt, to_prompt
from napari_sam3.engines.base import (
    NEVER,
    BilledEngine,
    Engine,
    SegmentationRequest,
    SegmentationResult,
)
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import EngineError, ImageError, PromptError
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.run import iter_answered

if TYPE_CHECKING:
    from napari_sam3.jobs.records import Records

DEFAULT_MIN_SCORE = 0.5
"""Least score of what a concept finds, unless another is asked for."""


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
    answer = drain(iter_answered(asked, requests, stop=stop))
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
