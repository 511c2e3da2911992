"""A run by an engine that remembers, and is accounted for where it costs money."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from napari_sam3.core.progress import Progress
from napari_sam3.engines import refuse_unsupported
from napari_sam3.engines.base import NEVER, BilledEngine, Engine, raise_if_stopped
from napari_sam3.jobs.cached import CachedEngine
from napari_sam3.jobs.records import Records
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.run import RunEvent, SegmentRun, iter_run

if TYPE_CHECKING:
    from napari_sam3.jobs.estimate import Estimate

Confirm = Callable[["Estimate"], bool]


def iter_accounted(
    engine: Engine,
    run: SegmentRun,
    records: Records,
    confirm: Confirm,
    stop: threading.Event = NEVER,
    *,
    newer_than: float = 0.0,
) -> Generator[RunEvent, None, SegmentAnswer]:
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
    newer_than : float
        Unix time: ask although answers are stored that are as old as that, and store the new
        ones instead.

    Yields
    ------
    Progress or Found

    Returns
    -------
    SegmentAnswer
        Each of its results carries its `record`.

    Raises
    ------
    CancelledError
        If `confirm` said no, or as in `iter_run`.
    LedgerError
        If something would be paid for and cannot be written down.
    Sam3Error
        As in `iter_run`.
    """
    for prompt in run.prompts:
        refuse_unsupported(engine.name, engine.capabilities, prompt)
    yield Progress(0, len(run.prompts), "reading the image")
    flatness = run.picture.find_flatness()
    raise_if_stopped(stop)
    asked: AbstractContextManager[Engine]
    if engine.capabilities.billed:
        # nothing that is free comes near what costs are counted in
        from napari_sam3.workflows.paying import paid_engine

        billed, remarks = cast(BilledEngine, engine), (flatness.reason,) if flatness else ()
        asked = paid_engine(billed, run, records, confirm, remarks, newer_than)
    else:
        asked = nullcontext(CachedEngine(engine, records.cache, newer_than=newer_than))
    with asked as able:
        answer = yield from iter_run(able, run, stop)
    return replace(answer, flatness=flatness)
