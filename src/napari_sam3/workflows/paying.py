"""What a run would cost, and that it is agreed to before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy.typing as npt

from napari_sam3.core.pictures import Picture
from napari_sam3.core.prompts import Prompt
from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import BilledEngine, Engine
from napari_sam3.engines.creating import create_engine
from napari_sam3.errors import CancelledError
from napari_sam3.jobs.consent import Consent
from napari_sam3.jobs.estimate import Estimate
from napari_sam3.jobs.estimate import estimate as estimate_questions
from napari_sam3.jobs.fingerprint import Fingerprint
from napari_sam3.jobs.paid import PaidEngine
from napari_sam3.jobs.records import Records, open_records
from napari_sam3.workflows.run import SegmentRun
from napari_sam3.workflows.segment import advised_flatness, new_request, to_prompts


def questions_of(engine: Engine, run: SegmentRun) -> list[Fingerprint]:
    """Read the picture of a run, and return what the engine would be asked about it.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    """
    return [Fingerprint.of(engine, request) for request in run.requests()]


def estimate_run(
    engine: Engine, run: SegmentRun, records: Records, *, newer_than: float = 0.0
) -> Estimate:
    """Say what a run would take, without sending anything.

    Parameters
    ----------
    engine : Engine
    run : SegmentRun
    records : Records
    newer_than : float
        As in `napari_sam3.workflows.accounted.iter_accounted`.

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
    questions = questions_of(engine, run)
    found = estimate_questions(
        engine, questions, records, in_flight=run.in_flight, newer_than=newer_than
    )
    flatness = run.picture.find_flatness()
    return found if flatness is None else replace(found, remarks=(flatness.reason,))


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
    questions = [Fingerprint.of(chosen, request) for request in requests]
    found = estimate_questions(chosen, questions, opened)
    flatness = advised_flatness(picture)
    return found if flatness is None else replace(found, remarks=(flatness.reason,))


@contextmanager
def paid_engine(
    engine: BilledEngine,
    run: SegmentRun,
    records: Records,
    confirm: Callable[[Estimate], bool],
    remarks: tuple[str, ...] = (),
    newer_than: float = 0.0,
) -> Iterator[PaidEngine]:
    """Ask whether a run may cost what it would, and then yield who may be asked for that.

    Parameters
    ----------
    engine, run, records, confirm, newer_than
        As in `napari_sam3.workflows.accounted.iter_accounted`.
    remarks : tuple of str
        As in `Estimate`.

    Raises
    ------
    CancelledError
        If `confirm` said no.
    """
    questions = questions_of(engine, run)
    expected = estimate_questions(
        engine, questions, records, in_flight=run.in_flight, newer_than=newer_than
    )
    if expected.calls:
        records.accounts().require_limits()
        if not confirm(replace(expected, remarks=remarks)):
            raise CancelledError("Nothing was sent.")
    consent = Consent(
        frozenset(question.key for question in expected.calls),
        frozenset(entry.key for entry in expected.unknown),
    )
    paid = PaidEngine(engine, records, consent, newer_than=newer_than, about=run.about)
    with paid.planned(expected.calls):
        yield paid
