"""What `requests` would do by itself, and must not; and what proves that nothing was sent."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
)

from napari_sam3.engines.segmind.engine import SegmindEngine
from napari_sam3.engines.segmind.failures import NOT_SENT_RETRIES
from napari_sam3.engines.segmind.http import SegmindHttp
from napari_sam3.engines.segmind.json_values import checked_request_id
from napari_sam3.engines.segmind.key import ApiKey
from napari_sam3.engines.segmind.options import SegmindOptions, split_address
from napari_sam3.engines.segmind.wire import (
    new_session,
    proxies_for,
    was_not_sent,
)
from napari_sam3.errors import (
    CancelledError,
    EngineUnavailableError,
    OutcomeUnknownError,
    ResponseError,
)
from napari_sam3.testing import Behaviour

KEY = "SG_0123456789abcdef"
TLS = b"\x16"
BAD_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"


def engine_at(url, **options):
    return SegmindEngine(SegmindOptions(url=url, deadline_s=5.0, **options), ApiKey(KEY))


@pytest.fixture
def closed_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@contextmanager
def raw_server(answer: bytes, *, count=1):
    """Answer connections with these bytes, whatever they ask."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for _ in range(count):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # closed meanwhile
                with connection:
                    data = b""
                    while b"\r\n\r\n" not in data and not data.startswith(TLS):
                        piece = connection.recv(2**16)
                        if not piece:
                            break
                        data += piece
                    seen.append(data)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        thread.join(5)


def test_a_port_that_refuses_got_nothing(closed_port, kit):
    with pytest.raises(EngineUnavailableError, match="nothing was billed") as caught:
        engine_at(f"http://127.0.0.1:{closed_port}").segment(kit.question())
    assert "check the network" in str(caught.value)
    assert KEY not in kit.told(caught.value)


def test_a_name_that_is_not_found_got_nothing(kit, monkeypatch):
    def not_found(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    with pytest.raises(EngineUnavailableError, match="nothing was billed") as caught:
        engine_at("https://api.segmind.invalid").segment(kit.question())
    assert "api.segmind.invalid" in str(caught.value)
    assert KEY not in kit.told(caught.value)


def test_a_proxy_that_refuses_got_nothing(kit, monkeypatch, closed_port):
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port}")
    with pytest.raises(EngineUnavailableError, match=r"proxy.*nothing was billed"):
        engine_at("https://api.segmind.invalid").segment(kit.question())


def test_a_proxy_that_wants_a_password_got_nothing_and_not_the_key(kit, monkeypatch):
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with raw_server(answer, count=5) as (url, seen):
        monkeypatch.setenv("HTTPS_PROXY", url)
        with pytest.raises(EngineUnavailableError, match="nothing was billed"):
            engine_at("https://api.segmind.invalid").segment(kit.question())
    assert len(seen) == 1 + NOT_SENT_RETRIES
    assert not any(KEY.encode() in data for data in seen)


def test_a_service_on_this_computer_is_never_asked_through_a_proxy(
    start, engine_for, kit, monkeypatch, closed_port
):
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    server = start()
    assert len(engine_for(server).segment(kit.question()).instances) == 1


def test_proxies_are_used_for_the_real_service(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.lab:3128")
    assert proxies_for("https://api.segmind.com")["https"] == "http://proxy.lab:3128"
    assert proxies_for("http://localhost:8000") == {}


def test_netrc_adds_nothing(start, engine_for, kit, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = start()
    engine_for(server).segment(kit.question())
    assert not any("authorization" in r.headers for r in server.ledger.requests)


def test_the_key_is_on_every_call_but_the_download(start, engine_for, kit):
    server = start()
    engine_for(server).segment(kit.question())
    keyed = {r.step: "x-api-key" in r.headers for r in server.ledger.requests}
    assert keyed == {"submit": True, "status": True, "result": True, "download": False}
    assert server.leaked_keys == 0
    agents = {r.headers["user-agent"] for r in server.ledger.requests}
    assert agents == {"napari-sam3"}
    assert server.ledger.of("submit")[0].headers["content-type"] == "application/json"


def test_certificates_of_a_lab_are_used_as_everywhere_else(monkeypatch):
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/lab/ca.pem")
    with new_session() as session:
        assert session.verify == "/lab/ca.pem"
        assert not session.trust_env
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with new_session() as session:
        assert session.verify is True


def test_plain_http_behind_an_https_address_got_nothing(kit):
    with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n", count=5) as (url, seen):
        port = url.rpartition(":")[2]
        del seen
        with pytest.raises(EngineUnavailableError, match="nothing was billed"):
            engine_at(f"https://127.0.0.1:{port}").segment(kit.question())


@pytest.mark.parametrize(
    "answer",
    [b"", b"garbage\r\n\r\n", BAD_GZIP],
    ids=["nothing", "garbage", "bad gzip"],
)  # fmt: skip
def test_an_answer_that_is_no_http_leaves_it_open_whether_it_was_billed(kit, answer):
    with (
        raw_server(answer) as (url, seen),
        pytest.raises(OutcomeUnknownError, match="may have been billed") as caught,
    ):
        engine_at(url, api="v1").segment(kit.question())
    assert len(seen) == 1
    assert KEY not in kit.told(caught.value)


def test_a_chunked_answer_is_read_whole():
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (b'{"cred', b'its": 3}'))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_server(head + body + b"0\r\n\r\n") as (url, _):
        assert engine_at(url).credits() == 3.0


# ---------------------------------------------------------------------- what proves it


def retried(reason):
    return requests.ConnectionError(MaxRetryError(None, "/", reason))


def tls(reason):
    error = ssl.SSLError(1, "TLS")
    error.reason = reason
    return SSLError(error)


REFUSED = NewConnectionError(None, "refused")


@pytest.mark.parametrize(
    ("error", "proven"),
    [
        (requests.ConnectTimeout(), True),
        (requests.exceptions.InvalidURL(), True),
        (requests.exceptions.InvalidSchema("no SOCKS"), True),
        (retried(REFUSED), True),
        (retried(NameResolutionError("h", None, socket.gaierror())), True),
        (retried(ConnectTimeoutError()), True),
        (retried(ProxyError("p", REFUSED)), True),
        (retried(ProxyError("p", OSError("Tunnel connection failed: 403"))), True),
        (retried(tls("CERTIFICATE_VERIFY_FAILED")), True),
        (retried(tls("WRONG_VERSION_NUMBER")), True),
        # from here on it may have arrived
        (retried(ProxyError("p", ProtocolError("aborted"))), False),
        (retried(tls("UNEXPECTED_EOF_WHILE_READING")), False),
        (requests.exceptions.SSLError(tls("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")), False),
        (requests.exceptions.SSLError(), False),
        (retried(SSLError()), False),
        (requests.ConnectionError(ProtocolError("aborted")), False),
        (requests.ReadTimeout(), False),
        (requests.exceptions.ChunkedEncodingError(), False),
        (OSError(), False),
        (TimeoutError(), False),
    ],
    ids=repr,
)
def test_only_proof_lets_a_submit_be_sent_again(error, proven):
    assert was_not_sent(error) is proven


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://images.segmind.com/a.png",
        "https://evil.example/a.png",
        "https://notsegmind.com/a.png",
        "https://segmind.com.evil.example/a.png",
        "https://evil.example\\.segmind.com/a.png",
        "https://evil.example\\@images.segmind.com/a.png",
        "https://user@images.segmind.com/a.png",
        "https://images.segmind.com:x/a.png",
        "https://[::1/a.png",
        "https://127.0.0.1/a.png",
        "https://10.0.0.1/a.png",
        "https://169.254.169.254/latest/meta-data",
        "http://localhost:8000/a.png",
        "file:///etc/passwd",
        "ftp://images.segmind.com/a.png",
        "https:///a.png",
        "",
    ],
)
def test_an_output_is_fetched_from_the_service_only(url):
    http = SegmindHttp(SegmindOptions(), ApiKey(KEY), 5.0)
    with pytest.raises(ResponseError, match="not fetched"):
        http.download(url)


@pytest.mark.parametrize("url", ["http://evil.example\\@127.0.0.1/", "http://x@127.0.0.1:1/"])
def test_a_stand_in_is_no_way_around_that(start, url):
    http = SegmindHttp(SegmindOptions(url="http://127.0.0.1:9"), ApiKey(KEY), 5.0)
    with pytest.raises(ResponseError, match="not fetched"):
        http.download(url)


def test_the_service_itself_may_be_fetched_from(monkeypatch):
    asked = []

    def look_up(host, *args, **kwargs):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    http = SegmindHttp(SegmindOptions(), ApiKey(KEY), 5.0)
    for url in ("https://images.segmind.com/a.png", "https://SEGMIND.com/a?b#c"):
        with pytest.raises(EngineUnavailableError):
            http.download(url)
    assert set(asked) == {"images.segmind.com", "segmind.com"}


def test_a_redirect_to_nonsense_is_refused():
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n"
    with raw_server(answer) as (url, _):
        http = SegmindHttp(SegmindOptions(url=url), ApiKey(KEY), 5.0)
        with pytest.raises(ResponseError, match="not fetched"):
            http.download(f"{url}/a.png")


@pytest.mark.parametrize(
    "text",
    ["..", ".", "", "-", "a/b", "a\\b", "a b", "a\n", "a?", "%2e", "ä", "x" * 129, None, 7, ["a"]],
)
def test_a_request_id_that_could_lead_elsewhere_is_none(text):
    assert checked_request_id(text) is None


def test_a_usual_request_id_is_kept():
    assert checked_request_id("9b1f-4a_c.2") == "9b1f-4a_c.2"
    assert checked_request_id("x" * 128) == "x" * 128


def test_an_address_is_split_only_where_all_programs_agree():
    parts = split_address("https://images.segmind.com:443/a?b")
    assert parts is not None
    assert (parts.scheme, parts.hostname, parts.port) == ("https", "images.segmind.com", 443)
    assert split_address("http://[::1]:80/").hostname == "::1"
    assert split_address("https://a_b%2f.com/") is None


def test_a_wait_beyond_the_deadline_is_not_begun_and_a_stop_ends_one():
    stop = threading.Event()
    http = SegmindHttp(SegmindOptions(), ApiKey(KEY), 20.0, stop)
    assert http.wait_until(time.monotonic())
    assert not http.wait_until(time.monotonic() + 30)
    stop.set()
    with pytest.raises(CancelledError):
        http.wait_until(time.monotonic() + 15)


def test_it_does_not_show_the_key():
    http = SegmindHttp(SegmindOptions(), ApiKey(KEY), 5.0)
    assert repr(http) == "SegmindHttp(https://api.segmind.com)"
    assert KEY not in repr(vars(http))


def test_a_failing_stand_in_would_be_noticed(start, engine_for, kit):
    server = start(Behaviour(traps={"download": "drop"}))
    assert len(engine_for(server).segment(kit.question()).instances) == 1
