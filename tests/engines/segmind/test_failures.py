"""Statuses, headers and bodies → typed errors and their sentences."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.engines.segmind.failures import (
    NOT_BILLED,
    detail_of,
    from_status,
    job_failed,
    says_failed,
)
from napari_sam3.errors import (
    CreditsError,
    EngineError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
)

RESET = "x-rate-limit-reset-at-utc"


def wait_of(**headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return from_status(429, named, b"", paid=True).retry_after


def moment(seconds):
    return datetime.now(UTC) + timedelta(seconds=seconds)


FORMS = {
    "iso": lambda when: when.isoformat(),
    "iso z": lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    "iso without zone": lambda when: when.replace(tzinfo=None).isoformat(),
    "epoch s": lambda when: str(when.timestamp()),
    "epoch ms": lambda when: str(round(when.timestamp() * 1000)),
    "rfc 1123": lambda when: format_datetime(when, usegmt=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_format_of_the_reset_is_read(form):
    wait = wait_of(**{RESET: FORMS[form](moment(100))})
    assert wait == pytest.approx(100, abs=3)


@pytest.mark.parametrize("form", FORMS)
def test_a_moment_just_past_means_now(form):
    assert wait_of(**{RESET: FORMS[form](moment(-20))}) == 0


@pytest.mark.parametrize("seconds", [-500, 4000, 10**6])
def test_a_moment_far_away_is_a_clock_that_differs(seconds):
    assert wait_of(**{RESET: moment(seconds).isoformat()}) is None


@pytest.mark.parametrize(
    "text", ["", "soon", "nan", "inf", "-1e400", "²", "9" * 5000, "0001-01-01"]
)
def test_a_reset_that_is_no_moment_is_ignored(text):
    assert wait_of(**{RESET: text}) is None


@pytest.mark.parametrize(
    ("text", "wait"),
    [("7", 7), ("2.5", 2.5), ("0", 0), ("²", None), ("-3", None), ("x", None), ("1e300", None)],
)
def test_retry_after_is_honoured(text, wait):
    assert wait_of(retry_after=text) == wait


def test_retry_after_as_a_date_is_read_too():
    assert wait_of(retry_after=format_datetime(moment(50), usegmt=True)) == pytest.approx(50, abs=3)


@given(
    st.integers(300, 599),
    st.text(max_size=60),
    st.binary(max_size=200),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_service_answers_it_is_an_error_with_a_sentence(
    status, header, body, paid, is_known
):
    request_id = "r-1" if is_known else None
    headers = {RESET: header, "retry-after": header}
    failure = from_status(status, headers, body, paid=paid, request_id=request_id)
    error = failure.error
    assert isinstance(error, EngineError)
    assert error.status == status
    assert error.request_id == request_id
    text = str(error)
    assert text.isprintable()
    assert len(text) < 800
    if paid or not is_known:
        assert "billed" in text
    else:
        # what it cost is said by who knows: see the catalogue
        assert NOT_BILLED not in text
    assert (failure.kind == "broken") == isinstance(error, OutcomeUnknownError) or not paid


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": "a"}, "a"),
        ({"error": "code", "error_description": "words", "status_code": 401}, "words"),
        ({"message": "m"}, "m"),
        ({"detail": [{"loc": ["body"], "msg": "one"}, {"msg": "two"}]}, "one; two"),
        ({"error": {"message": "deep"}}, "deep"),
        ({"error": None, "message": "m"}, "m"),
        ({"error": 7}, "7"),
        ([{"msg": "x"}], "x"),
        ("text", "text"),
        ({}, ""),
        (None, ""),
    ],
)
def test_what_an_error_says_is_found_in_each_envelope(body, said):
    assert detail_of(json.dumps(body).encode()) == (said, True)


def test_a_web_page_is_told_as_plain_text():
    page = b"<html><style>h1 {color: red}</style><script>x()</script><h1>502  Bad\nGateway</h1>"
    assert detail_of(page) == ("502 Bad Gateway", False)


def test_what_it_says_is_cut_and_cannot_move_a_cursor():
    said, _ = detail_of(json.dumps({"error": "\x1b[2J\x07" + "x" * 999}).encode())
    assert said.isprintable()
    assert len(said) < 310


def test_a_page_of_broken_marks_is_read_soon():
    assert detail_of(b"<script" * 3000)[1] is False
    assert detail_of(b"<" * 20000)[1] is False


def test_json_without_end_is_no_crash():
    assert detail_of(b"[" * 20000)[1] is False
    assert says_failed(b"[" * 200_000) is False


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b'{"status": "FAILED"}', True),
        (b'{"status": " failed "}', True),
        (b'{"status": "COMPLETED", "error": "\\"FAILED\\""}', False),
        (b'{"error": "FAILED"}', False),
        (b'["FAILED"]', False),
        (b"FAILED", False),
        (b"", False),
        (b'{"status": "FAILED"' + b" " * 2**20 + b"}", False),
    ],
)
def test_only_a_status_is_the_word_of_a_failed_job(body, failed):
    assert says_failed(body) is failed


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Insufficient credits: balance 0.001", CreditsError),
        ("Your balance is too low", CreditsError),
        ("Team spend limit reached", CreditsError),
        ("points_per_side is over the limit of 128", RequestRejectedError),
        ("Invalid content type", RequestRejectedError),
        ("", RequestRejectedError),
    ],
)
def test_the_causes_of_406_are_told_apart(words, kind):
    body = json.dumps({"error": words}).encode()
    assert type(from_status(406, {}, body, paid=True).error) is kind


def test_a_limit_that_tells_no_time_says_in_a_minute():
    error = from_status(429, {}, b"", paid=True).error
    assert isinstance(error, RateLimitError)
    assert "in a minute" in str(error)
    assert error.retry_after is None


def test_a_failed_job_names_its_request_and_what_it_said():
    error = job_failed("no memory", "r-1")
    assert error.request_id == "r-1"
    assert "“no memory”" in str(error)
    assert "“" not in str(job_failed("", None))
