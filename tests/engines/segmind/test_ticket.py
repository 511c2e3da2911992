"""What is kept of an accepted question: enough for its answer, no key, no picture."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.engines import creating
from napari_sam3.engines.creating import create_engine
from napari_sam3.engines.segmind import key as key_module
from napari_sam3.engines.segmind.engine import resume
from napari_sam3.engines.segmind.options import DEFAULT_URL, SegmindOptions
from napari_sam3.engines.segmind.payload import Sent
from napari_sam3.engines.segmind.ticket import SegmindTicket, pack_ticket, unpack_ticket
from napari_sam3.engines.segmind.wire import Reply
from napari_sam3.errors import AuthenticationError, EngineUnavailableError, ResponseError
from napari_sam3.settings import SEGMIND_URL, write_setting
from napari_sam3.testing import Behaviour

OPTIONS = SegmindOptions(
    "https://host.example", "v2", "separate masks", "jpeg", 640, 77.0, 5.0, 6.0, 7.0
)
SENT = Sent(
    {"image": "cGl4ZWxz", "text_prompt": "Zellkern µm 核", "threshold": 0.25, "flags": [1, None]},
    (30, 44),
    (15, 22),
    False,
    "Zellkern µm 核",
    b"pixels",
    ("Shrunk.",),
)
HEADERS = {"content-type": "image/png", "x-cost": "0.006"}
REPLY = Reply(200, HEADERS, bytes(range(256)))
TICKETS = {
    "v2": SegmindTicket(SENT, "0f8fad5b-d9cb-469f-a165-70867728950e", None, 12.5),
    "v1": SegmindTicket(SENT, "request-7", REPLY),
    "v1 without an id": SegmindTicket(SENT, None, Reply(200, {}, b"")),
}


def fields_of(sent):
    return (
        {name: value for name, value in sent.body.items() if name != "image"},
        *(sent.image_shape, sent.sent_shape, sent.is_one_object, sent.concept, sent.notices),
    )


@pytest.mark.parametrize("name", TICKETS)
def test_all_that_reading_the_answer_takes_comes_back(name):
    ticket = TICKETS[name]
    options, again = unpack_ticket(pack_ticket(ticket, OPTIONS))
    assert options == OPTIONS
    assert fields_of(again.sent) == fields_of(SENT)
    assert again.request_id == ticket.request_id
    if ticket.reply is None:
        assert again.reply is None
    else:
        kept = (again.reply.status, again.reply.headers, again.reply.body)
        assert kept == (ticket.reply.status, ticket.reply.headers, ticket.reply.body)


def test_the_moment_of_one_session_means_nothing_in_another():
    assert unpack_ticket(pack_ticket(TICKETS["v2"], OPTIONS))[1].since is None


@pytest.mark.parametrize("name", TICKETS)
def test_the_picture_that_was_sent_is_not_kept(name):
    packed = pack_ticket(TICKETS[name], OPTIONS)
    assert b"cGl4ZWxz" not in packed
    assert b"pixels" not in packed
    again = unpack_ticket(packed)[1].sent
    assert (again.picture, "image" in again.body) == (b"", False)


@given(body=st.binary(max_size=300), status=st.integers(100, 599), text=st.text(max_size=20))
def test_any_answer_and_any_text_come_back(body, status, text):
    sent = Sent({"text_prompt": text}, (3, 5), (3, 5), True, text, b"", ())
    _, again = unpack_ticket(
        pack_ticket(SegmindTicket(sent, None, Reply(status, {}, body)), OPTIONS)
    )
    assert (again.reply.body, again.reply.status) == (body, status)
    assert again.sent.concept == text


def mangled():
    value = json.loads(pack_ticket(TICKETS["v1"], OPTIONS))

    def but(*path, to=None, remove=False):
        copy = json.loads(json.dumps(value))
        inner = copy
        for name in path[:-1]:
            inner = inner[name]
        if remove:
            del inner[path[-1]]
        else:
            inner[path[-1]] = to
        return json.dumps(copy).encode()

    yield "nothing", b""
    yield "no JSON", b"\xff\x00 nonsense"
    yield "a list", b"[]"
    yield "null", b"null"
    yield "cut off", json.dumps(value).encode()[:-20]
    yield "a format of the future", but("format", to=2)
    for name in ("format", "options", "request_id", "sent", "reply"):
        yield f"no {name}", but(name, remove=True)
    for name in value["sent"]:
        yield f"no {name} in sent", but("sent", name, remove=True)
    yield "an option that is unknown", but("options", "colour", to=1)
    yield "an address that gives the key away", but("options", "url", to="http://host.example")
    yield "a shape of three", but("sent", "image_shape", to=[1, 2, 3])
    yield "a shape of words", but("sent", "sent_shape", to=["a", "b"])
    yield "a body that is no base64", but("reply", "body", to="?")
    yield "headers as a list", but("reply", "headers", to=[])
    yield "a status in words", but("reply", "status", to="fine")
    yield "a reply that is a word", but("reply", to="fine")
    yield "a body in no string", but("reply", "body", to=None)


@pytest.mark.parametrize("packed", [pytest.param(packed, id=name) for name, packed in mangled()])
def test_mangled_bytes_are_one_sentence(packed):
    with pytest.raises(ResponseError, match="cannot be read, so its answer cannot be collected"):
        unpack_ticket(packed)


@given(at=st.integers(0, 2000), by=st.integers(1, 255))
def test_a_changed_byte_is_understood_or_refused_and_never_a_bug(at, by):
    packed = bytearray(pack_ticket(TICKETS["v1"], OPTIONS))
    packed[at % len(packed)] ^= by
    try:
        unpack_ticket(bytes(packed))
    except ResponseError:
        return


@pytest.mark.parametrize("request_id", ["../credits", "a/b", "..", "", "x" * 200, "ä"])
def test_an_id_that_leads_to_another_address_is_not_taken(request_id):
    value = json.loads(pack_ticket(TICKETS["v2"], OPTIONS))
    value["request_id"] = request_id
    assert unpack_ticket(json.dumps(value).encode())[1].request_id is None


class TestResuming:
    @pytest.mark.parametrize("api", ["v1", "v2"])
    def test_another_process_collects_the_same_answer_at_no_cost(
        self, start, engine_for, kit, monkeypatch, api
    ):
        server = start()
        engine = engine_for(server, api=api)
        ticket = engine.submit(kit.question())
        packed = engine.pack(ticket)
        here = engine.collect(ticket)
        monkeypatch.setenv("SEGMIND_API_KEY", server.key)
        resumed, again = creating.resume("segmind", packed, server.url)
        there = resumed.collect(again)
        assert resumed.options == engine.options
        assert there.instances.image_shape == here.instances.image_shape == kit.SHAPE
        [one], [other] = here.instances, there.instances
        assert one.box == other.box
        np.testing.assert_array_equal(one.mask, other.mask)
        assert there.usage.request_id == here.usage.request_id
        assert (server.ledger.billed, server.ledger.posts) == (1, 1)

    @pytest.mark.parametrize("api", ["v1", "v2"])
    def test_the_key_is_not_kept_even_if_the_service_repeats_it(self, start, engine_for, kit, api):
        server = start(Behaviour(words={"QUEUED": "SG_5eed5eed5eed5eed"}))
        engine = engine_for(server, api=api)
        packed = engine.pack(engine.submit(kit.question("my SG_word")))
        assert server.key.encode() not in packed
        assert base64.b64encode(server.key.encode()) not in packed

    def test_without_a_key_nothing_is_collected_and_nothing_is_lost(
        self, start, engine_for, kit, monkeypatch
    ):
        server = start()
        engine = engine_for(server, api="v2")
        packed = engine.pack(engine.submit(kit.question()))
        monkeypatch.setattr(key_module, "_session", [])
        resumed, ticket = creating.resume("segmind", packed, server.url)
        with pytest.raises(AuthenticationError, match="needs an API key"):
            resumed.collect(ticket)
        monkeypatch.setenv("SEGMIND_API_KEY", server.key)
        assert len(resumed.collect(ticket).instances) == 1


class TestAddress:
    """The ticket does not decide where the key goes."""

    FOREIGN = "https://collect.example.org"

    def packed(self, url):
        return pack_ticket(TICKETS["v2"], SegmindOptions(url=url))

    def test_the_vendors_and_the_one_in_the_settings_are_asked(self):
        assert resume(self.packed(DEFAULT_URL))[0].options.url == DEFAULT_URL
        write_setting(SEGMIND_URL, self.FOREIGN)
        assert resume(self.packed(self.FOREIGN))[0].options.url == self.FOREIGN

    @pytest.mark.parametrize("url", [FOREIGN, "http://127.0.0.1:8765"])
    def test_any_other_is_refused_unless_the_user_names_it(self, url):
        with pytest.raises(EngineUnavailableError, match="--url"):
            resume(self.packed(url))
        assert resume(self.packed(url), url)[0].options.url == url

    def test_a_name_for_one_address_is_none_for_another(self):
        with pytest.raises(EngineUnavailableError):
            resume(self.packed(DEFAULT_URL), self.FOREIGN)


@pytest.mark.parametrize(
    ("url", "billed_as"),
    [
        ("https://api.segmind.com", "sam3-image"),
        ("http://127.0.0.1:8765", "sam3-image at 127.0.0.1:8765"),
        ("https://proxy.example.org", "sam3-image at proxy.example.org"),
    ],
)
def test_prices_are_those_of_one_service(url, billed_as):
    assert create_engine("segmind", url=url).billed_as == billed_as
