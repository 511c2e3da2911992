"""When to ask again: a pure function, so that it can be tested as a table.

Questions that only look (polls, downloads, the balance) may be repeated.  A submit
may be repeated only when it certainly was not accepted: every accepted one is billed.
"""

from __future__ import annotations

from typing import Literal

from napari_sam3.engines.segmind.failures import Failure

RequestKind = Literal["v1", "submit", "status", "result", "download", "credits"]

LOOKING: frozenset[RequestKind] = frozenset({"status", "result", "download", "credits"})
BACKOFF_S = (1.0, 2.0, 4.0, 8.0)
NOT_SENT_RETRIES = 2
"""The user waits meanwhile, and a network that is down stays down for longer than that."""
RATE_LIMIT_WAIT_S = 60.0
LONGEST_WAIT_S = 300.0


def retry_delay(step: RequestKind, failure: Failure, attempt: int) -> float | None:
    """Return after how many seconds to try again, or None for never.

    Parameters
    ----------
    step : str
        What failed.
    failure : Failure
        How it failed.
    attempt : int
        How often this step has failed so far, from 1.

    Returns
    -------
    float or None
    """
    if attempt > len(BACKOFF_S):
        return None
    backoff = BACKOFF_S[attempt - 1]
    if failure.kind == "rate limit":
        wait = RATE_LIMIT_WAIT_S if failure.retry_after is None else failure.retry_after
        return max(backoff, wait) if wait <= LONGEST_WAIT_S else None
    if failure.kind == "not sent":
        return backoff if attempt <= NOT_SENT_RETRIES else None
    if step in LOOKING:
        return backoff if failure.kind in ("broken", "server") else None
    if step == "submit" and failure.kind == "server" and failure.is_clean and attempt == 1:
        # the vendor's documents allow this one: a clean 5xx of a v2 submit is no accepted job
        return backoff
    return None
