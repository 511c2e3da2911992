"""Version 2 of the API: submit, poll, result."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import pytest
import requests

from napari_sam3.testing import Behaviour, Fault

DONE = {"queued_polls": 0, "processing_polls": 0}


@pytest.fixture
def quick(start):
    return start(**DONE)


def states(client, job, count):
    return [client.get(job["status_url"]).json()["status"] for _ in range(count)]


def test_a_job_goes_through_its_states(start):
    client = start(queued_polls=2, processing_polls=1)
    job = client.submit()
    assert job["status"] == "QUEUED"
    assert states(client, job, 5) == ["QUEUED", "QUEUED", "PROCESSING", "COMPLETED", "COMPLETED"]


def test_a_submit_gives_three_addresses_on_the_api(client):
    job, url = client.submit(), client.server.url
    name = job["request_id"]
    assert job["poll_url"] == f"{url}/v1/requests/{name}"
    assert job["status_url"] == f"{url}/v2/requests/{name}/status"
    assert job["response_url"] == f"{url}/v2/requests/{name}"


def test_a_waiting_job_says_where_to_ask(client):
    job = client.submit()
    body = client.get(job["status_url"]).json()
    assert body["metrics"] == {}
    assert body["response_url"] == job["response_url"]


@pytest.mark.parametrize("switch", ["urls_in_submit", "urls_in_status"])
def test_addresses_may_be_missing(start, switch):
    client = start(**{switch: False})
    job = client.submit()
    body = client.get(f"/v2/requests/{job['request_id']}/status").json()
    shown = job if switch == "urls_in_submit" else body
    assert not any(name.endswith("_url") for name in shown)


def test_a_job_is_billed_once_however_often_it_is_asked_about(quick):
    job = quick.submit()
    for _ in range(3):
        quick.get(job["status_url"])
        quick.get(job["response_url"])
        quick.get(job["poll_url"])
    ledger = quick.server.ledger
    assert (ledger.posts, ledger.billed, ledger.balance) == (1, 1, 0.994)


def test_a_job_is_billed_though_nobody_asks_for_it(quick):
    quick.submit()
    assert quick.server.ledger.billed == 1


def test_a_slow_job_is_billed_when_its_time_is_over(start):
    client = start(latency_s=120.0, **DONE)
    job = client.submit()
    assert states(client, job, 2) == ["PROCESSING", "PROCESSING"]
    assert client.server.ledger.billed == 0
    client.server.advance(121)
    assert states(client, job, 1) == ["COMPLETED"]
    assert client.server.ledger.billed == 1


def test_a_job_that_never_ends_is_never_billed(start):
    client = start(latency_s=float("inf"), **DONE)
    job = client.submit()
    client.server.advance(3000)
    assert states(client, job, 3) == ["PROCESSING"] * 3
    assert client.server.ledger.billed == 0


def test_a_result_has_everything(quick):
    body = quick.result().json()
    assert (body["status"], body["error"]) == ("COMPLETED", None)
    assert body["metrics"] == {
        "cost": 0.006,
        "remaining_credits": 0.994,
        "inference_time": 0.0,
        "queue_time": 0.0,
        "total_time": 0.0,
        "retry_count": 0,
    }
    (image,) = body["images"]
    assert body["output"] == image["url"]
    assert image["url"].startswith(quick.server.cdn_url + "/generations/")
    assert image["content_type"] == "image/png"
    assert image["file_size"] == str(len(quick.fetch(image["url"]).content))


@pytest.mark.parametrize(
    ("metrics", "names"),
    [("none", set()), ("no cost", {"inference_time", "queue_time", "total_time", "retry_count"})],
)
def test_metrics_may_be_incomplete(start, metrics, names):
    assert set(start(metrics=metrics, **DONE).result().json()["metrics"]) == names


def test_a_file_size_may_be_a_number(start):
    body = start(file_size_text=False, **DONE).result().json()
    assert isinstance(body["images"][0]["file_size"], int)


def test_a_result_that_is_not_there_yet_says_so(client):
    body = client.get(client.submit()["response_url"]).json()
    assert body["status"] == "QUEUED"
    assert "output" not in body


# ------------------------------------------------------------------ forms of the output


def test_the_output_has_every_form(quick, change):
    def output(form):
        change(quick, output=form)
        return quick.result()

    plain = quick.post().content
    text = base64.b64encode(plain).decode()

    def fetched(url):
        return quick.fetch(url).content

    assert fetched(output("url").json()["output"]) == plain
    assert [fetched(url) for url in output("list").json()["output"]] == [plain]
    assert fetched(output("dict").json()["output"]["url"]) == plain
    assert output("base64").json()["output"] == text
    assert output("data uri").json()["output"] == f"data:image/png;base64,{text}"
    assert fetched(json.loads(output("json text").json()["output"])["images"][0]["url"]) == plain
    nothing = output("none").json()
    assert nothing["output"] is None
    assert fetched(nothing["images"][0]["url"]) == plain
    assert output("image body").content == plain


def test_the_list_of_images_may_be_missing(start):
    assert "images" not in start(images_list=False, **DONE).result().json()


SEPARATE = {"return_preview": False, "return_masks": True}


@pytest.mark.parametrize("form", ["single", "base64", "urls", "zip"])
def test_separate_masks_come_in_every_form(real, change, form):
    change(real, masks_form=form)
    body = real.result(**SEPARATE).json()
    output = body["output"]
    if form in ("single", "zip"):
        data = real.fetch(output).content
    if form == "single":
        assert data.startswith(b"\x89PNG")
    elif form == "zip":
        assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 3
    elif form == "urls":
        assert output == [image["url"] for image in body["images"]]
        assert len(output) == 3
    else:
        assert [base64.b64decode(text)[:4] for text in output] == [b"\x89PNG"] * 3


def test_nothing_found_may_be_an_empty_list(start):
    client = start(lambda image, fields: [], nothing_found="empty list", **DONE)
    body = client.result().json()
    assert (body["output"], body["images"]) == ([], [])
    assert client.server.ledger.billed == 1


@pytest.mark.parametrize(
    ("host", "begin"),
    [
        ("foreign", "https://files.example.com/"),
        ("http", "http://images.segmind.com/"),
        ("private", "http://10.0.0.7/"),
        ("file", "file:///"),
    ],
)
def test_an_output_may_be_where_it_must_not_be_fetched(start, host, begin):
    body = start(output_host=host, **DONE).result().json()
    assert body["output"].startswith(begin)
    assert body["images"][0]["url"].startswith(begin)


# ------------------------------------------------------------------ failure


@pytest.mark.parametrize("status", [422, 200])
def test_invalid_fields_make_a_job_that_fails_and_costs_nothing(start, status):
    client = start(failed_status=status, **DONE)
    job = client.submit(boxes_input="[[30, 50, 42, 66]]")
    assert job["status"] == "QUEUED"
    for url in (job["status_url"], job["response_url"]):
        reply = client.get(url)
        assert reply.status_code == status
        assert reply.json()["status"] == "FAILED"
        assert "outside" in reply.json()["error"]
        assert "cost" not in reply.json()["metrics"]
    assert client.server.ledger.billed == 0


def test_invalid_fields_may_be_refused_at_once(start):
    client = start(validates_at_submit=True)
    assert client.post("v2", threshold=7).status_code == 400


def test_a_missing_picture_is_refused_at_once(client):
    assert client.post("v2", image="").status_code == 400


def test_a_job_may_fail_for_a_reason_of_its_own(start):
    client = start(job_error="CUDA out of memory", **DONE)
    assert client.result().json()["error"] == "CUDA out of memory"
    assert client.server.ledger.billed == 0


def test_nothing_found_may_fail_the_job(start):
    client = start(lambda image, fields: [], nothing_found="422", **DONE)
    assert client.get(client.submit()["status_url"]).status_code == 422


# ------------------------------------------------------------------ time


@pytest.mark.parametrize("name", ["poll_url", "status_url", "response_url"])
def test_a_record_expires_after_an_hour(quick, name):
    job = quick.submit()
    quick.server.advance(3590)
    assert quick.get(job[name]).status_code == 200
    quick.server.advance(20)
    reply = quick.get(job[name])
    assert reply.status_code == 404
    assert reply.json() == {"error": f"Request {job['request_id']} not found"}


def test_an_output_expires_after_seven_days(quick):
    url = quick.result().json()["output"]
    quick.server.advance(7 * 86400 + 1)
    assert quick.fetch(url).status_code == 404


# ------------------------------------------------------------------ oddities


def test_states_may_have_other_words(start):
    words = {"PROCESSING": "WARMING_UP", "COMPLETED": "SUCCESS", "FAILED": "ERROR"}
    client = start(words=words, queued_polls=0, processing_polls=1)
    assert states(client, client.submit(), 2) == ["WARMING_UP", "SUCCESS"]


def test_polls_may_fail_and_recover(quick):
    job = quick.submit()
    broken = Behaviour(faults={"status": Fault(500)}, **DONE)
    quick.server.script([broken, broken], "status")
    replies = [quick.get(job["status_url"]) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [500, 500, 200]


@pytest.mark.parametrize("status", [404, 405])
def test_v2_may_not_know_the_model(start, status):
    client = start(v2_missing=status)
    reply = client.post("v2")
    assert reply.status_code == status
    assert reply.headers["Content-Type"].startswith(
        "text/html" if status == 405 else "application/json"
    )
    assert client.post("v1").status_code == 200


@pytest.mark.parametrize("name", ["a b?c#d", "../../v1/get-user-credits", "ä/é", "x" * 300])
def test_an_odd_request_id_can_be_asked_about(start, name):
    client = start(request_id=name, **DONE)
    job = client.submit()
    assert job["request_id"] == name
    assert client.get(job["status_url"]).json()["status"] == "COMPLETED"
    assert client.fetch(client.get(job["response_url"]).json()["output"]).status_code == 200


def test_a_status_address_on_the_cdn_catches_the_key(start):
    client = start(urls_on_cdn=True, **DONE)
    job = client.submit()
    assert job["status_url"].startswith(client.server.cdn_url)
    assert client.get(job["status_url"]).json()["status"] == "COMPLETED"
    assert client.server.leaked_keys == 1


def test_a_submit_may_answer_202(start):
    assert start(submit_status=202).post("v2").status_code == 202


def test_a_scripted_job_keeps_its_behaviour(client):
    client.server.script([Behaviour(output="none", traps={"download": "redirect 302"}, **DONE)])
    first, second = client.submit(), client.submit()
    body = client.get(first["response_url"]).json()
    assert body["output"] is None
    moved = client.fetch(body["images"][0]["url"])
    assert moved.status_code == 302
    assert client.fetch(client.server.cdn_url + moved.headers["Location"]).status_code == 200
    assert states(client, second, 1) == ["QUEUED"]


def test_an_unknown_request_is_not_found(client):
    assert client.get("/v2/requests/nobody").status_code == 404


def test_credits_go_down_only_when_the_job_is_done(start):
    client = start(latency_s=30.0)
    client.submit()
    assert client.credits()["credits"] == 1.0
    client.server.advance(31)
    assert client.credits()["credits"] == 0.994


def test_deleting_is_not_a_verb_of_a_request(client):
    job = client.submit()
    reply = requests.delete(job["response_url"], headers=client.headers(), timeout=10)
    assert reply.status_code == 405
