"""The fault catalogue: whatever goes wrong, what it cost, and what the user is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from napari_sam3.core.pictures import Pixels
from napari_sam3.engines.segmind import wire
from napari_sam3.errors import (
    AuthenticationError,
    CreditsError,
    EngineError,
    EngineUnavailableError,
    OutcomeUnknownError,
    RateLimitError,
    RequestRejectedError,
    ResponseError,
)
from napari_sam3.testing import Behaviour, Fault

FREE = "Nothing was billed."
MAYBE = "may have been billed"
COLLECT = "can be collected for an hour"


@dataclass(frozen=True)
class Case:
    """One mishap: on which version, how the service behaves, and what must come of it.

    `once` is for the first request of one step only.  Without `error` the answer must come.
    """

    name: str
    api: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    error: type[Exception] | None = None
    says: tuple[str, ...] = ()
    billed: int = 0
    posts: int = 1
    once: str = ""
    options: dict = field(default_factory=dict)
    account: dict = field(default_factory=dict)
    found: int = 1


CASES: list[Case] = []


def add(name, api, error=None, *says, billed=None, **more):
    switches = more.pop("switches", {})
    billed = (
        (0 if FREE in says or error in (AuthenticationError,) else 1) if billed is None else billed
    )
    CASES.append(Case(name, api, Behaviour(**switches), error, says, billed, **more))


STEPS = {"v1": "v1", "v2": "submit"}

# ------------------------------------------------------------------ every status, v1 and v2

REFUSED, DENIED = RequestRejectedError, AuthenticationError
STATUSES = [
    ("400 for a malformed request", Fault(400), REFUSED, "check prompts"),
    ("401 because no key arrived", Fault(401, message="No API key found"), DENIED, "API key"),
    ("401 because the key is refused", Fault(401, "oauth"), DENIED, "check it"),
    ("403 because the team may not use the model", Fault(403), DENIED, "ask whoever manages"),
    ("406 for a lost content type", Fault(406, message="Invalid content type"), REFUSED, "proxy"),
    ("406 for missing credits", Fault(406), CreditsError, "add some"),
    (
        "406 for a refused value",
        Fault(406, message="threshold over the limit"),
        REFUSED,
        "thresholds",
    ),
    ("406 for the team's limit", Fault(406, message="Team spend limit"), CreditsError, "raise it"),
    ("406 that says nothing", Fault(406, "empty"), REFUSED, "Check the balance"),
    ("410 for a retired model", Fault(410), EngineUnavailableError, "another engine"),
    ("413 for a picture that is too large", Fault(413, "html"), REFUSED, "send JPEG"),
    ("422 for a value", Fault(422, "detail"), REFUSED, "check prompts"),
    ("418 that nobody documents", Fault(418, "text"), REFUSED, "check prompts"),
]
for version, step in STEPS.items():
    for what, fault, kind, advice in STATUSES:
        add(f"{what} on {version}", version, kind, advice, FREE, switches={"faults": {step: fault}})
    for what, fault in {
        "500 as a web page": Fault(500, "html"),
        "502 of a gateway": Fault(502),
        "503 as a web page": Fault(503, "html"),
        "504 of a gateway": Fault(504),
        "524 of a gateway": Fault(524, "empty"),
    }.items():
        says = OutcomeUnknownError, MAYBE, "not sent again by itself", "Look at your credits"
        add(f"{what} on {version}", version, *says, billed=0, switches={"faults": {step: fault}})
    add(
        f"504 that hides a finished job on {version}",
        version,
        OutcomeUnknownError,
        MAYBE,
        switches={"faults": {step: Fault(504, billed=True)}},
    )
    for form in ("iso", "epoch s", "epoch ms", "rfc 1123", "garbage", None):
        fault = Fault(429, reset=form, reset_in_s=0.0)
        add(
            f"429 once, with the reset as {form}, on {version}",
            version,
            posts=2,
            once=step,
            switches={"faults": {step: fault}},
        )
    for form in ("iso", "epoch s", "epoch ms", "rfc 1123"):
        fault = Fault(429, reset=form, reset_in_s=120.0)
        says = RateLimitError, "try again in about", FREE
        add(
            f"429 for longer than the deadline, with the reset as {form}, on {version}",
            version,
            *says,
            switches={"faults": {step: fault}},
        )
    add(
        f"429 for ever on {version}",
        version,
        RateLimitError,
        "in a minute",
        FREE,
        posts=5,
        switches={"faults": {step: Fault(429)}},
    )

    # -------------------------------------------------------------- connections of the submit
    for trap, billed in {
        "reset before": 0,
        "reset after": 1,
        "reset in body": 1,
        "truncate": 1,
    }.items():
        says = OutcomeUnknownError, MAYBE, "the connection broke off", "not sent again"
        add(f"{trap} on {version}", version, *says, billed=billed, switches={"traps": {step: trap}})
    add(f"drop after the answer on {version}", version, switches={"traps": {step: "drop"}})
    for trap in ("redirect 302", "redirect 307", "redirect loop", "redirect away"):
        says = EngineError, "redirects", "Check the address", FREE
        add(f"{trap} of the {step}", version, *says, switches={"traps": {step: trap}})
    add(
        f"an answer that trickles past the deadline on {version}",
        version,
        OutcomeUnknownError,
        "it took too long",
        MAYBE,
        options={"deadline_s": 1.0},
        switches={"traps": {step: "trickle"}, "trickle_s": 0.4},
    )
    add(
        f"a balance below the price on {version}",
        version,
        CreditsError,
        "add some",
        FREE,
        account={"credits": 0.001},
    )
    add(
        f"nothing detected, as a black mask, on {version}",
        version,
        account={"model": "blind"},
        found=0,
    )
    add(
        f"nothing detected, as an empty list, on {version}",
        version,
        account={"model": "blind"},
        found=0,
        switches={"nothing_found": "empty list"},
    )
    add(
        f"nothing detected, as 422, on {version}",
        version,
        REFUSED,
        "No objects detected",
        FREE,
        account={"model": "blind"},
        switches={"nothing_found": "422"},
    )
    add(
        f"a compressed answer on {version}",
        version,
        switches={"gzip": True},
    )

add("500 as JSON on v1 is not sent again", "v1", EngineError, "an error of its own", FREE,
    switches={"faults": {"v1": Fault(500)}})  # fmt: skip
add("500 as JSON on v2 once is sent again, as documented", "v2", posts=2, once="submit",
    switches={"faults": {"submit": Fault(500)}})  # fmt: skip
add("500 as JSON on v2 twice is told", "v2", EngineError, "try again later", FREE, posts=2,
    switches={"faults": {"submit": Fault(500)}})  # fmt: skip
add("404 for the model on v1", "v1", REFUSED, "check the address", FREE,
    switches={"faults": {"v1": Fault(404)}})  # fmt: skip
add("404 for the model on v2, where v2 was chosen", "v2", REFUSED, "another version", FREE,
    switches={"v2_missing": 404})  # fmt: skip
add("405 as a web page on v1", "v1", REFUSED, "check the address", FREE,
    switches={"faults": {"v1": Fault(405)}})  # fmt: skip
add("405 as a web page on v2, where v2 was chosen", "v2", REFUSED, FREE,
    switches={"v2_missing": 405})  # fmt: skip
for status in (404, 405):
    add(f"{status} for v2 falls back to v1", "auto", posts=2, switches={"v2_missing": status})
for status in (400, 403, 410, 413, 422, 500, 504):
    name = f"{status} for v2 does not fall back to v1"
    fault = Fault(status, "html")
    error = OutcomeUnknownError if status >= 500 else EngineError
    add(name, "auto", error, billed=0, switches={"faults": {"submit": fault}})
add("a timeout of v2 does not fall back to v1", "auto", OutcomeUnknownError, MAYBE,
    options={"read_timeout_s": 0.15}, switches={"delays_s": {"submit": 30.0}})  # fmt: skip
add("v1 that computes for longer than anybody waits", "v1", OutcomeUnknownError, MAYBE, billed=0,
    options={"block_timeout_s": 0.2}, switches={"latency_s": math.inf})  # fmt: skip
add("a job that computes past the deadline", "v2", OutcomeUnknownError, COLLECT,
    billed=0, options={"deadline_s": 1.0}, switches={"latency_s": math.inf})  # fmt: skip

# ------------------------------------------------------------------ collecting costs nothing

KEPT = OutcomeUnknownError, MAYBE, COLLECT, "request id"
for step in ("status", "result"):
    for once in (True, False):
        often = "once" if once else "for ever"
        for what, switch in {
            "500": {"faults": {step: Fault(500)}},
            "502 as a web page": {"faults": {step: Fault(502)}},
            "reset": {"traps": {step: "reset before"}},
            "truncate": {"traps": {step: "truncate"}},
            "reset in body": {"traps": {step: "reset in body"}},
        }.items():
            says = () if once else KEPT
            add(f"{what} {often} for the {step}", "v2", *says, switches=switch,
                once=step if once else "")  # fmt: skip
    add(f"429 once for the {step}", "v2", once=step, switches={"faults": {step: Fault(429)}})
    add(f"429 for ever for the {step}", "v2", RateLimitError, MAYBE, COLLECT,
        switches={"faults": {step: Fault(429)}})  # fmt: skip
    add(f"401 for the {step}", "v2", AuthenticationError, "API key", MAYBE, COLLECT, billed=1,
        switches={"faults": {step: Fault(401)}})  # fmt: skip
    add(f"404 for the {step}", "v2", REFUSED, "no longer", MAYBE, "console",
        switches={"faults": {step: Fault(404)}})  # fmt: skip
    add(f"redirect 307 of the {step}", "v2", EngineError, "redirects", MAYBE, COLLECT,
        switches={"traps": {step: "redirect 307"}})  # fmt: skip
add("a status that trickles past the deadline", "v2", *KEPT, options={"deadline_s": 1.0},
    switches={"traps": {"status": "trickle"}, "trickle_s": 0.4})  # fmt: skip
add("a result that is not there yet though the status says so", "v2", once="result",
    switches={"queued_polls": 99})  # fmt: skip
add("a status that is no JSON, once", "v2", once="status",
    switches={"faults": {"status": Fault(200, "html")}})  # fmt: skip

for what, switch, says in [
    ("404", {"faults": {"download": Fault(404)}}, (ResponseError, "(404)", MAYBE, COLLECT)),
    ("403", {"faults": {"download": Fault(403)}}, (ResponseError, "(403)", MAYBE, COLLECT)),
    ("500", {"faults": {"download": Fault(500)}}, (ResponseError, "(500)", MAYBE, COLLECT)),
    ("reset", {"traps": {"download": "reset before"}}, KEPT),
    ("truncate", {"traps": {"download": "truncate"}}, KEPT),
]:
    add(f"{what} for ever for the download", "v2", *says, switches=switch)
    add(f"{what} once for the download", "v2", *(says if what[0] == "4" else ()),
        once="download", switches=switch)  # fmt: skip
for trap in ("redirect 302", "redirect 307"):
    add(f"{trap} of the download to where it is", "v2", switches={"traps": {"download": trap}})
add("a download that redirects in circles", "v2", ResponseError, "too often", MAYBE,
    switches={"traps": {"download": "redirect loop"}})  # fmt: skip
add("a download that redirects to a foreign host", "v2", ResponseError, "files.example.com", MAYBE,
    switches={"traps": {"download": "redirect away"}})  # fmt: skip
add("a download that trickles past the deadline", "v2", *KEPT, options={"deadline_s": 1.0},
    switches={"traps": {"download": "trickle"}, "trickle_s": 0.4})  # fmt: skip
for host in ("foreign", "http", "private", "file"):
    add(f"an output at a {host} address", "v2", ResponseError, MAYBE, COLLECT,
        switches={"output_host": host})  # fmt: skip

# ------------------------------------------------------------------ jobs

for status in (422, 200, 500):
    add(f"a job that failed, told under {status}", "v2", REFUSED, "out of memory", FREE,
        switches={"job_error": "CUDA out of memory", "failed_status": status})  # fmt: skip
add("a job that failed with the word ERROR", "v2", REFUSED, "could not do", FREE,
    switches={"job_error": "no", "failed_status": 200, "words": {"FAILED": "ERROR"}})  # fmt: skip
add("a failed job on v1", "v1", EngineError, "out of memory", FREE,
    switches={"job_error": "CUDA out of memory"})  # fmt: skip
add("words for waiting that nobody knows", "v2",
    switches={"words": {"QUEUED": "WARMING_UP", "PROCESSING": "THINKING"}})  # fmt: skip
add("the word SUCCESS for a finished job", "v2", switches={"words": {"COMPLETED": "success"}})
add("a word for a finished job that nobody knows", "v2", *KEPT, options={"deadline_s": 1.0},
    switches={"words": {"COMPLETED": "RIPE"}})  # fmt: skip
add("a submit answered 202", "v2", switches={"submit_status": 202})
add("a submit without addresses", "v2",
    switches={"urls_in_submit": False, "urls_in_status": False})  # fmt: skip
add("addresses that would give the key to the cdn", "v2", switches={"urls_on_cdn": True})
for odd in ("..", ".", "a/b", "x" * 300, "a b", "a?b", "é", "../../v1/get-user-credits"):
    add(f"the request id {odd[:12]!r} of {len(odd)}", "v2", OutcomeUnknownError, MAYBE, "console",
        switches={"request_id": odd})  # fmt: skip
add("an odd but harmless request id", "v2", switches={"request_id": "a.B_9-..x"})

# ------------------------------------------------------------------ bodies

for form in ("json image", "json url", "json string", "data uri", "submission"):
    add(f"v1 answered as {form}", "v1", switches={"answer": form})
for form, words in {"html": "web page", "video": "video", "empty": "nothing at all"}.items():
    add(f"v1 answered 200 with {form}", "v1", ResponseError, words, MAYBE, "look at your credits",
        switches={"answer": form})  # fmt: skip
add("v1 answered 200 with an error inside", "v1", REFUSED, "could not be loaded", MAYBE,
    switches={"answer": "error json"})  # fmt: skip
add("v1 with a content type that lies", "v1", switches={"content_type": "text/html"})
add("v1 without content type", "v1", switches={"content_type": ""})
for accounting in ("absent", "garbage"):
    add(f"headers of cost {accounting}", "v1", switches={"accounting": accounting})
for metrics in ("no cost", "none"):
    add(f"metrics with {metrics}", "v2", switches={"metrics": metrics})
for output in ("list", "dict", "base64", "data uri", "json text", "none", "image body"):
    add(f"v2 with its output as {output}", "v2", switches={"output": output})
add("a submit answered 200 with nothing", "v2", ResponseError, "nothing at all", MAYBE, billed=0,
    switches={"faults": {"submit": Fault(200, "empty")}})  # fmt: skip
add("a submit answered 200 with a web page", "v2", ResponseError, "web page", MAYBE, billed=0,
    switches={"faults": {"submit": Fault(200, "html")}})  # fmt: skip
add("a submit answered 200 with an error inside", "v2", OutcomeUnknownError, "It said", MAYBE,
    billed=0, switches={"faults": {"submit": Fault(200, "error", "odd")}})  # fmt: skip
KEY_ECHO = "the key SG_5eed5eed5eed5eed is odd"
for version, step in STEPS.items():
    add(f"an error that repeats the key on {version}", version, REFUSED, "the key", FREE,
        switches={"faults": {step: Fault(400, message=KEY_ECHO)}})  # fmt: skip
add("a failed job that repeats the key", "v2", REFUSED, "the key", FREE,
    switches={"job_error": KEY_ECHO})  # fmt: skip
add("a web page that repeats the key, as an answer", "v2", ResponseError, MAYBE, billed=0,
    switches={"faults": {"submit": Fault(200, "html", KEY_ECHO)}})  # fmt: skip
add("a plain text that repeats the key, as an answer", "v2", ResponseError, MAYBE, billed=0,
    switches={"faults": {"submit": Fault(200, "text", KEY_ECHO)}})  # fmt: skip
add("the key as request id", "v2", OutcomeUnknownError, MAYBE,
    switches={"request_id": "SG_5eed5eed5eed5eed"})  # fmt: skip


def test_the_catalogue_is_no_shorter_than_promised():
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_fault(case, start, engine_for, kit):
    account = dict(case.account)
    if account.pop("model", None):
        account["model"] = kit.blind_model
    server = start(Behaviour() if case.once else case.behaviour, **account)
    if case.once:
        server.script([case.behaviour], case.once)
    engine = engine_for(server, api=case.api, **case.options)
    if case.error is None:
        check_answer(engine.segment(kit.question()), case, kit)
    else:
        with pytest.raises(case.error) as caught:
            engine.segment(kit.question())
        check_sentence(caught.value, case, server, kit)
    ledger = server.ledger
    assert (ledger.posts, ledger.billed) == (case.posts, case.billed)
    assert ledger.leaked_keys == 0
    assert engine.state in ("", "sending", "running")


def check_answer(result, case, kit):
    assert len(result.instances) == case.found
    assert result.instances.image_shape == kit.SHAPE
    for item in result.instances:
        assert item.box.slices == kit.CORNER
        assert item.mask.all()


def check_sentence(error, case, server, kit):
    text = str(error)
    for words in case.says:
        assert words in text
    assert text.endswith((".", "…")) or "”" in text
    # whatever it says, it says what may have been paid, and never that nothing was if it was
    assert "billed" in text
    assert not (FREE in text and server.ledger.billed)
    assert text.count("billed") <= 2
    assert server.key not in kit.told(error)
    if COLLECT in case.says:
        assert error.request_id
        assert error.request_id in text


def test_an_answer_that_is_too_large_is_not_read_to_its_end(start, engine_for, kit, monkeypatch):
    monkeypatch.setattr(wire, "MAX_BODY", 60)
    server = start()
    with pytest.raises(ResponseError, match=r"too large.*may have been billed"):
        engine_for(server, api="v1").segment(kit.question())
    assert server.ledger.billed == 1


def test_a_download_that_is_too_large_is_not_read_to_its_end(start, engine_for, kit, monkeypatch):
    noise = np.random.default_rng(0).random((110, 140)) > 0.5
    server = start(model=lambda image, fields: [noise])
    engine = engine_for(server)
    request = replace(kit.question(), pixels=Pixels(np.zeros((110, 140, 3), np.uint8)))
    ticket = engine.submit(request)
    monkeypatch.setattr(wire, "MAX_BODY", 1500)
    with pytest.raises(ResponseError, match=r"too large.*may have been billed") as caught:
        engine.collect(ticket)
    assert caught.value.request_id == ticket.request_id
    monkeypatch.setattr(wire, "MAX_BODY", 10**6)
    assert len(engine.collect(ticket).instances) > 1
    assert server.ledger.posts == server.ledger.billed == 1


def test_a_submit_that_was_lost_is_never_sent_twice_whatever_is_asked_of_it(start, engine_for, kit):
    server = start(Behaviour(traps={"submit": "reset after"}))
    engine = engine_for(server)
    for count in (1, 2):
        with pytest.raises(OutcomeUnknownError):
            engine.segment(kit.question())
        # one call of ours, one post of its own
        assert server.ledger.posts == server.ledger.billed == count


def test_the_same_mask_comes_from_both_versions(start, engine_for, kit):
    server = start()
    masks = [
        np.concatenate(
            [i.mask for i in engine_for(server, api=api).segment(kit.question()).instances]
        )
        for api in ("v1", "v2", "auto")
    ]
    for mask in masks[1:]:
        np.testing.assert_array_equal(mask, masks[0])


def test_a_job_whose_result_alone_tells_that_it_failed(start, engine_for, kit):
    quick = {"queued_polls": 0, "processing_polls": 0}
    server = start(Behaviour(job_error="no memory", **quick))
    done = Behaviour(words={"FAILED": "COMPLETED"}, failed_status=200, **quick)
    server.script([done], "status")
    with pytest.raises(RequestRejectedError, match=r"no memory.*Nothing was billed") as caught:
        engine_for(server).segment(kit.question())
    assert caught.value.request_id
    assert (server.ledger.posts, server.ledger.billed) == (1, 0)
