"""What can go wrong on the line, and with error answers."""

from __future__ import annotations

import http.client
import json
import threading
import time
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest
import requests

from napari_sam3.testing import Behaviour, Fault

DONE = {"queued_polls": 0, "processing_polls": 0}
BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


@pytest.mark.parametrize(
    ("trap", "billed"),
    [("reset before", 0), ("reset after", 1), ("reset in body", 1), ("truncate", 1)],
)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_lost_answer_may_have_been_billed(start, trap, billed, version):
    client = start(traps={"v1": trap, "submit": trap}, **DONE)
    with pytest.raises(BROKEN):
        client.post(version)
    ledger = client.server.ledger
    assert (ledger.posts, ledger.billed) == (1, billed)
    assert ledger.requests[0].status == (None if trap.startswith("reset") else 200)


@pytest.mark.parametrize("step", ["status", "result", "credits"])
@pytest.mark.parametrize("trap", ["reset before", "reset in body", "truncate"])
def test_looking_can_break_off_too(start, step, trap):
    client = start(**DONE)
    job = client.submit()
    path = {"status": job["status_url"], "result": job["response_url"]}
    client.server.script([Behaviour(traps={step: trap}, **DONE)], step)
    with pytest.raises(BROKEN):
        client.get(path.get(step, "/v1/get-user-credits"))
    assert client.get(path.get(step, "/v1/get-user-credits")).status_code == 200


@pytest.mark.parametrize("trap", ["reset after", "reset in body", "truncate"])
def test_a_download_can_break_off(start, trap):
    client = start(traps={"download": trap}, **DONE)
    url = client.result().json()["output"]
    with pytest.raises(BROKEN):
        client.fetch(url)


@pytest.mark.parametrize("trap", ["redirect 302", "redirect 307", "redirect loop", "redirect away"])
def test_a_keyed_call_may_be_redirected(start, trap):
    client = start(traps={"credits": trap})
    reply = client.get("/v1/get-user-credits")
    assert reply.status_code == (307 if trap == "redirect 307" else 302)
    assert reply.headers["Location"].endswith("/v1/get-user-credits")


@pytest.mark.parametrize(
    ("trap", "location"),
    [
        ("redirect 307", "/moved/generations/"),
        ("redirect loop", "/generations/"),
        ("redirect away", "https://files.example.com/generations/"),
    ],
)
def test_a_download_may_be_redirected(start, trap, location):
    client = start(traps={"download": trap}, **DONE)
    reply = client.fetch(client.result().json()["output"])
    assert reply.headers["Location"].startswith(location)


def test_a_trickling_answer_comes_piece_by_piece(start):
    client = start(traps={"v1": "trickle"}, trickle_s=0.0, **DONE)
    whole = client.post().content
    assert whole.startswith(b"\x89PNG")
    assert client.server.ledger.billed == 1


def test_a_server_that_ends_stops_trickling(start):
    client = start(traps={"v1": "trickle"}, trickle_s=float("inf"))
    errors = []

    def ask():
        try:
            client.post()
        except requests.RequestException as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    client.server.wait_until(lambda ledger: ledger.billed == 1 and ledger.requests[0].status == 200)
    client.server.close()
    thread.join()
    assert len(errors) == 1


def connected(client):
    return http.client.HTTPConnection(urlsplit(client.server.url).netloc, timeout=10)


def balance_over(connection, client):
    connection.request("GET", "/v1/get-user-credits", headers=client.headers())
    return json.loads(connection.getresponse().read())


def test_a_connection_is_kept(client):
    connection = connected(client)
    balance_over(connection, client)
    kept = connection.sock
    balance_over(connection, client)
    assert connection.sock is kept is not None
    connection.close()


def test_a_kept_connection_may_be_dropped(start):
    client = start(traps={"credits": "drop"})
    connection = connected(client)
    assert balance_over(connection, client)["credits"] == 1.0
    with pytest.raises((http.client.HTTPException, OSError)):
        balance_over(connection, client)
    connection.close()


@pytest.mark.parametrize(("given", "shown"), [("text/plain", "text/plain"), ("", None)])
def test_the_content_type_may_be_wrong_or_missing(start, given, shown):
    client = start(content_type=given, **DONE)
    assert client.post().headers.get("Content-Type") == shown
    reply = client.fetch(client.result().json()["output"])
    assert reply.headers.get("Content-Type") == shown
    assert reply.content.startswith(b"\x89PNG")


def test_an_answer_may_be_compressed(start):
    client = start(gzip=True)
    reply = client.post()
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.content.startswith(b"\x89PNG")


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("step", ["v1", "submit", "status", "result", "credits", "download"])
@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_every_step_may_answer_with_an_error(start, step, status):
    client = start(faults={step: Fault(status)}, **DONE)
    server = client.server
    job = {} if step == "submit" else client.submit()
    ask = {
        "v1": client.post,
        "submit": lambda: client.post("v2"),
        "status": lambda: client.get(job["status_url"]),
        "result": lambda: client.get(job["response_url"]),
        "credits": lambda: client.get("/v1/get-user-credits"),
        "download": lambda: client.fetch(client.get(job["response_url"]).json()["output"]),
    }[step]
    assert ask().status_code == status
    assert server.ledger.billed == (0 if step == "submit" else 1)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        ("error", "application/json", '{"error": "Oh"}'),
        ("oauth", "application/json", '"error_description": "Oh", "status_code": 500'),
        ("message", "application/json", '{"message": "Oh"}'),
        ("detail", "application/json", '"msg": "Oh"'),
        ("text", "text/plain", "Oh"),
        ("html", "text/html; charset=utf-8", "<h1>500 Oh</h1>"),
        ("empty", "application/json", ""),
    ],
)
def test_an_error_has_every_form(start, body, content_type, words):
    reply = start(faults={"v1": Fault(500, body, "Oh")}).post()
    assert reply.headers["Content-Type"] == content_type
    assert words in reply.text
    assert bool(reply.text) == (body != "empty")


@pytest.mark.parametrize("status", [405, 502, 504])
def test_gateways_answer_in_html(start, status):
    assert start(faults={"v1": Fault(status)}).post().text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_gateways_timeout_may_hide_a_paid_answer(start, version):
    fault = Fault(504, billed=True)
    client = start(faults={"v1": fault, "submit": fault})
    assert client.post(version).status_code == 504
    assert client.server.ledger.billed == 1


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("iso", lambda text: datetime.fromisoformat(text).timestamp()),
        ("epoch s", float),
        ("epoch ms", lambda text: float(text) / 1000),
        ("rfc 1123", lambda text: parsedate_to_datetime(text).timestamp()),
    ],
)
def test_the_moment_of_a_reset_has_every_format(start, form, read):
    client = start(faults={"v1": Fault(429, reset=form, reset_in_s=1000.0)})
    before = time.time()
    headers = client.post().headers
    assert before + 998 < read(headers["x-rate-limit-reset-at-utc"]) < time.time() + 1002
    assert "Retry-After" not in headers


def test_the_moment_of_a_reset_may_be_senseless_or_missing(start, change):
    client = start(faults={"v1": Fault(429, reset="garbage")})
    assert client.post().headers["x-rate-limit-reset-at-utc"] == "soon"
    change(client, faults={"v1": Fault(429)})
    assert "x-rate-limit-reset-at-utc" not in client.post().headers


# ------------------------------------------------------------------ slowness


def test_a_slow_model_runs_to_its_end_and_is_billed_though_the_client_is_gone(start):
    client = start(latency_s=100.0)
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            client.server.url + "/v1/sam3-image",
            json={"image": client.picture},
            headers=client.headers(),
            timeout=0.05,
        )
    assert client.server.ledger.billed == 0
    client.server.advance(101)
    assert client.server.wait_until(lambda ledger: ledger.billed == 1).balance == 0.994


def test_a_late_submit_has_been_billed(start):
    client = start(delays_s={"submit": 100.0}, **DONE)
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            client.server.url + "/v2/sam3-image",
            json={"image": client.picture},
            headers=client.headers(),
            timeout=0.05,
        )
    assert client.server.ledger.billed == 1
