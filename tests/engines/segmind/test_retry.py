"""The policy as a table: what may be asked again, after how long, and what never."""

from typing import get_args

import pytest

from napari_sam3.engines.segmind.failures import PAID, Failure, RequestKind, retry_delay
from napari_sam3.errors import EngineError

BACKOFF = (1.0, 2.0, 4.0, 8.0)
POSTS = ("v1", "submit")
LOOKS = ("status", "result", "download", "credits")


@pytest.fixture(autouse=True)
def real_waits(at_once, monkeypatch):
    """The waits of the real thing: nothing sleeps here."""
    monkeypatch.undo()


def delays(step, kind, **more):
    failure = Failure(kind, EngineError("x"), **more)
    return tuple(retry_delay(step, failure, attempt) for attempt in range(1, 6))


NEVER = (None,) * 5
BACKED_OFF = (*BACKOFF, None)
TWICE = (1.0, 2.0, None, None, None)
ONCE = (1.0, None, None, None, None)

TABLE = [
    *[(step, "not sent", {}, TWICE) for step in (*POSTS, *LOOKS)],
    *[(step, "refused", {}, NEVER) for step in (*POSTS, *LOOKS)],
    *[(step, "broken", {}, NEVER) for step in POSTS],
    *[(step, "broken", {"is_clean": True}, NEVER) for step in POSTS],
    *[(step, "broken", {}, BACKED_OFF) for step in LOOKS],
    *[(step, "server", {}, BACKED_OFF) for step in LOOKS],
    *[(step, "server", {"is_clean": True}, BACKED_OFF) for step in LOOKS],
    ("v1", "server", {}, NEVER),
    ("v1", "server", {"is_clean": True}, NEVER),
    ("submit", "server", {}, NEVER),
    ("submit", "server", {"is_clean": True}, ONCE),
]
for each in (*POSTS, *LOOKS):
    TABLE += [
        (each, "rate limit", {}, (60.0, 60.0, 60.0, 60.0, None)),
        (each, "rate limit", {"retry_after": 0.0}, BACKED_OFF),
        (each, "rate limit", {"retry_after": 5.0}, (5.0, 5.0, 5.0, 8.0, None)),
        (each, "rate limit", {"retry_after": 300.0}, (300.0, 300.0, 300.0, 300.0, None)),
        (each, "rate limit", {"retry_after": 300.1}, NEVER),
    ]


@pytest.mark.parametrize(("step", "kind", "more", "expected"), TABLE, ids=repr)
def test_policy(step, kind, more, expected):
    assert delays(step, kind, **more) == expected


def test_all_kinds_of_requests_stand_in_the_table():
    assert set(POSTS) == PAID
    assert {*POSTS, *LOOKS} == set(get_args(RequestKind))
