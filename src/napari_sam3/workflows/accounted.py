"""A run that looks first at what is stored, says what it costs, and is written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import cast

import numpy.typing as npt

from napari_sam3.core.flatness import Flatness
from napari_sam3.core.pictures import Picture
from napari_sam3.core.progress import Progress
from napari_sam3.core.prompts import Prompt
from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import NEVER, BilledEngine, Engine, raise_if_stopped
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import CancelledError, LedgerError
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.estimate import Estimate
from napari_sam3.jobs.estimate import estimate as estimate_questions
from napari_sam3.jobs.ledger import Origin
from napari_sam3.jobs.paid import expected_price
from napari_sam3.jobs.question import Question
from napari_sam3.jobs.recorded import RecordedEngine
from napari_sam3.jobs.records import Records, open_records
from napari_sam3.workflows.segment import (
    SegmentAnswer,
    SegmentRun,
    advised_flatness,
    iter_segment,
    new_request,
    to_prompts,
)

Confirm = Callable[[Estimate], bool]


def questions_of(engine: Engine, run: SegmentRun) -> list[Question]:
    """Read the picture of a run, and return what the engine would be asked about it.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    """
    return [Question.of(engine, request) for request in run.requests()]


def estimate_run(
    engine: Engine, run: SegmentRun, records: Records, *, fresh: bool = False
) -> Estimate:
    """Say what a run would take, without sending anything.

    Parameters
    ----------
    engine : Engine
    run : SegmentRun
    records : Records
    fresh : bool
        As in `iter_accounted`.

    Returns
    -------
    Estimate

    Raises
    ------
    ImageError
        If the picture cannot be read.
    LedgerError
        If the engine is billed and the ledger cannot be read.
    """
    return _prepare(engine, run, records, fresh)[0]


def estimate(
    image: npt.ArrayLike,
    prompts: str | Prompt | Sequence[str | Prompt],
    engine: str | Engine,
    min_score: float | None = None,
    *,
    max_masks: int = 0,
    contrast_limits: tuple[float, float] | None = None,
    records: Records | None = None,
) -> Estimate:
    """Say what `napari_sam3.segment` would take for some prompts, without sending anything.

    Parameters
    ----------
    image, engine, min_score, max_masks, contrast_limits, records
        As in `napari_sam3.segment`.
    prompts : str or prompt, or a list of them

    Returns
    -------
    Estimate
        Its `words` say it in one line; `high` is the most that it should cost, in US dollars.

    Raises
    ------
    Sam3Error
        As in `napari_sam3.segment`.
    """
    chosen = create_engine(engine) if isinstance(engine, str) else engine
    asked, opened = to_prompts(prompts), records or open_records()
    picture = Picture.from_array(image, contrast_limits)
    requests = [new_request(picture.read(), prompt, min_score, max_masks) for prompt in asked]
    for request in requests:
        refuse_unsupported(chosen.name, chosen.capabilities, request.prompt)
    questions = [Question.of(chosen, request) for request in requests]
    found = estimate_questions(chosen, questions, opened)
    flatness = advised_flatness(picture)
    return found if flatness is None else replace(found, remarks=(flatness.reason,))


def iter_accounted(
    engine: Engine,
    run: SegmentRun,
    records: Records,
    confirm: Confirm,
    stop: threading.Event = NEVER,
    *,
    fresh: bool = False,
) -> Generator[Progress, None, SegmentAnswer]:
    """Ask the engine every question of a run that no stored answer answers.

    Parameters
    ----------
    engine : Engine
    run : SegmentRun
    records : Records
    confirm : callable
        Given the estimate, once and before anything is sent, if something would be:
        whether to go on.  Called in the thread that runs this.
    stop : threading.Event
        Set by another thread to cancel.
    fresh : bool
        Ask although answers are stored, and store the new ones instead.

    Yields
    ------
    Progress

    Returns
    -------
    SegmentAnswer
        Each of its results carries its `record`.

    Raises
    ------
    CancelledError
        If `confirm` said no, or as in `iter_segment`.
    LedgerError
        If something would be paid for and cannot be written down.
    Sam3Error
        As in `iter_segment`.
    """
    for prompt in run.prompts:
        refuse_unsupported(engine.name, engine.capabilities, prompt)
    yield Progress(0, len(run.prompts), "reading the image")
    expected, flatness = _prepare(engine, run, records, fresh)
    raise_if_stopped(stop)
    if expected.calls:
        records.require_limits()
        if not confirm(expected):
            raise CancelledError("Nothing was sent.")
    consent = Consent(
        frozenset(question.key for question in expected.calls),
        frozenset(entry.key for entry in expected.unknown),
    )
    origin = records.origin()
    planned = _plan(engine, expected, records, origin)
    recorded = RecordedEngine(
        engine,
        records,
        consent,
        origin=origin,
        planned=planned,
        fresh=fresh,
        about=run.about,
    )
    try:
        answer = yield from iter_segment(recorded, run, stop)
        return replace(answer, flatness=flatness)
    finally:
        if planned:
            _drop_planned(records, origin.run)


def _prepare(
    engine: Engine, run: SegmentRun, records: Records, fresh: bool
) -> tuple[Estimate, Flatness | None]:
    questions = questions_of(engine, run)
    found = estimate_questions(engine, questions, records, in_flight=run.in_flight, fresh=fresh)
    flatness = run.picture.find_flatness()
    if flatness is not None:
        found = replace(found, remarks=(flatness.reason,))
    return found, flatness


def _plan(engine: Engine, expected: Estimate, records: Records, origin: Origin) -> dict[str, int]:
    calls: Sequence[Question] = expected.calls
    if not calls:
        return {}
    asked = [(question.key, question.words) for question in calls]
    billed = cast(BilledEngine, engine)
    price = expected_price(billed, records)
    ids = records.ledger.plan(origin, engine.name, billed.billed_as, asked, price)
    return {question.key: entry_id for question, entry_id in zip(calls, ids, strict=True)}


def _drop_planned(records: Records, run: str) -> None:
    try:
        records.ledger.cancel_run(run)
    except LedgerError:
        # they were never sent; the next start drops them
        return
