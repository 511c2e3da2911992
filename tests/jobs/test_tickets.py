"""What a failed collection means for the ledger, as a table."""

import pytest

from napari_sam3.errors import (
    AuthenticationError,
    CancelledError,
    EngineUnavailableError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
    ResponseError,
)
from napari_sam3.jobs.tickets import End, how_it_ended

from .paid import KEPT_S, Ticket

WITH_ID, AT_ONCE = Ticket("request-1"), Ticket(None, "the answer itself")


def rejected(*, maybe_billed=False, status=None):
    error = RequestRejectedError("No.", status=status)
    error.maybe_billed = maybe_billed
    return error


@pytest.mark.parametrize("ticket", [WITH_ID, AT_ONCE])
def test_a_job_that_failed_was_not_billed(ticket):
    assert how_it_ended(rejected(), ticket, 5, KEPT_S) == End("failed")


@pytest.mark.parametrize("ticket", [WITH_ID, AT_ONCE])
def test_a_refusal_inside_of_a_billed_answer_is_no_failure_for_nothing(ticket):
    assert how_it_ended(rejected(maybe_billed=True), ticket, 5, KEPT_S).state == "unknown"


@pytest.mark.parametrize(
    "error",
    [
        CancelledError("Cancelled."),
        OutcomeUnknownError("Lost."),
        EngineUnavailableError("Away."),
        RateLimitError("Slower."),
        AuthenticationError("Another key."),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_ends_only_the_wait_leaves_the_answer_to_be_collected(error):
    assert how_it_ended(error, WITH_ID, 5, KEPT_S) == End("submitted")
    # without an id nothing can be collected but the answer that is there
    assert how_it_ended(error, AT_ONCE, 5, KEPT_S) == End("unknown")


@pytest.mark.parametrize("error", [ResponseError("Unreadable."), ValueError("a bug")])
def test_what_cannot_be_read_keeps_its_ticket(error):
    assert how_it_ended(error, WITH_ID, 5, KEPT_S) == End("unknown")


@pytest.mark.parametrize(
    ("age_s", "end"),
    [
        (5, End("submitted")),
        (KEPT_S, End("submitted")),
        (KEPT_S + 1, End("unknown", keeps_ticket=False)),
        # a clock that was set back proves nothing
        (-KEPT_S, End("submitted")),
    ],
)
def test_not_found_is_forgotten_only_once_the_service_may_have_forgotten(age_s, end):
    assert how_it_ended(rejected(status=404), WITH_ID, age_s, KEPT_S) == end


def test_another_refusal_while_collecting_is_not_forgotten():
    assert how_it_ended(rejected(status=400), WITH_ID, KEPT_S + 1, KEPT_S) == End("unknown")
