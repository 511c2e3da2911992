"""The probe: few calls, and a report that can be shown to anybody."""

import base64

import pytest

from napari_sam3.engines.segmind.key import ApiKey
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.engines.segmind.payload import encode_picture
from napari_sam3.engines.segmind.probe import CALLS, iter_probe, probe_picture, probe_price
from napari_sam3.testing import Behaviour, Fault, builtin_model

QUICK = {"queued_polls": 0, "processing_polls": 0}


@pytest.fixture
def report_of(start):
    def run(behaviour=None, *, model=builtin_model, key="", deadline_s=10.0, **account):
        server = start(behaviour or Behaviour(**QUICK), model=model, **account)
        options = SegmindOptions(url=server.url, deadline_s=deadline_s, read_timeout_s=5.0)
        lines = list(iter_probe(options, ApiKey(key or server.key)))
        return server, "\n".join(lines)

    return run


def test_the_price_is_said_before(start):
    assert probe_price() == "at most 6 calls, about $0.04"
    assert len(CALLS) == 6


def test_it_makes_six_calls_and_tells_what_came(report_of, kit):
    server, report = report_of(Behaviour(), model=kit.corner_model)
    assert server.ledger.posts == server.ledger.billed == 6
    assert server.leaked_keys == 0
    assert len(server.ledger.of("status")) > len(server.ledger.of("submit"))
    assert {r.image_shape for r in server.ledger.requests if r.image_shape} == {(240, 320)}
    for number, call in enumerate(CALLS, 1):
        assert f"{number}. {call.question}" in report
    for words in (
        "status 200",
        "PNG L (320, 240) (as sent)",
        "read as: mask",
        "addresses",
        "x-cost",
    ):
        assert words in report


def test_the_report_holds_neither_key_nor_picture(report_of):
    server, report = report_of()
    picture = base64.b64encode(encode_picture(probe_picture(), "png")).decode()
    assert server.key not in report
    assert "SG_" not in report
    assert picture[:40] not in report
    assert max(map(len, report.splitlines())) < 1500


@pytest.mark.parametrize(
    ("behaviour", "account"),
    [
        (Behaviour(), {"key": "SG_wrong"}),
        (Behaviour(faults={"v1": Fault(403), "submit": Fault(403)}), {}),
        (Behaviour(), {"credits": 0.0}),
    ],
    ids=["401", "403", "406"],
)
def test_a_refused_key_or_an_empty_account_ends_it(report_of, behaviour, account):
    server, report = report_of(behaviour, **account)
    assert (server.ledger.posts, server.ledger.billed) == (1, 0)
    assert report.count("failed:") == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(faults={"v1": Fault(504), "submit": Fault(504)}),
        Behaviour(traps={"v1": "reset after", "submit": "reset after"}),
        Behaviour(job_error="no", **QUICK),
        Behaviour(request_id="..", **QUICK),
        Behaviour(output_host="foreign", answer="json url", **QUICK),
        Behaviour(answer="video", output="none", images_list=False, **QUICK),
        Behaviour(answer="html", masks_form="zip", flags_form="base64", gzip=True, **QUICK),
        Behaviour(answer="empty", image="colours", output="list", **QUICK),
        Behaviour(answer="data uri", image="JPEG", size_factor=0.5, **QUICK),
        Behaviour(answer="submission", output="json text", **QUICK),
    ],
)
def test_a_failed_call_is_reported_and_the_next_one_follows(report_of, behaviour):
    server, report = report_of(behaviour)
    assert server.ledger.posts <= 6
    assert server.leaked_keys == 0
    assert "6. " in report
    assert server.key not in report


def test_a_service_that_repeats_the_key_does_not_put_it_into_the_report(report_of):
    echo = Fault(400, message="your key SG_5eed5eed5eed5eed")
    server, report = report_of(Behaviour(faults={"v1": echo, "submit": echo}))
    assert "your key" in report
    assert server.key not in report


def test_a_job_that_does_not_end_is_left(report_of):
    server, report = report_of(Behaviour(queued_polls=10**9), deadline_s=0.4)
    assert server.ledger.posts <= 6
    assert "6. " in report


def test_a_picture_that_breaks_the_reader_is_no_crash(report_of):
    text = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 50).decode()
    fault = Fault(200, "text", text)
    _, report = report_of(Behaviour(faults={"v1": fault, "submit": fault}))
    assert report.count("failed:") == 6
