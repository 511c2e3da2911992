"""The gateway, the strictness, the account and the pictures, asked by a raw client."""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import itertools
import json
import socket
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
import requests
from PIL import Image

from napari_sam3.core.geometry import Box
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, Everything, Exemplar, ObjectPrompt, Point
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.testing import TEST_KEY, Behaviour, Fault, SegmindServer

# ------------------------------------------------------------------ order of the checks

# from the first check to the last: each spoils one thing, and says what is answered then
SPOILERS = [
    ("address", 404, "No such model or path"),
    ("verb", 405, "Method Not Allowed"),
    ("key", 401, "No API key found in request"),
    ("content type", 406, "Invalid content type"),
    ("credits", 406, "Insufficient credits"),
    ("json", 400, "Invalid JSON"),
    ("image", 400, "Missing required field: image"),
    ("fault", 410, "retired"),
]


def ask_with(client, spoiled):
    """Ask with some things wrong at once."""
    headers = {"x-api-key": client.server.key, "Content-Type": "application/json"}
    body = b"{" if "json" in spoiled else b'{"image": ""}'
    if "image" not in spoiled and "json" not in spoiled:
        body = json.dumps({"image": client.picture}).encode()
    if "key" in spoiled:
        del headers["x-api-key"]
    if "content type" in spoiled:
        headers["Content-Type"] = "text/plain"
    client.server.refill(0.001 if "credits" in spoiled else 1.0)
    client.server.behaviour = Behaviour(faults={"v1": Fault(410)} if "fault" in spoiled else {})
    path = "/v1/sam4-image" if "address" in spoiled else "/v1/sam3-image"
    method = "GET" if "verb" in spoiled else "POST"
    return requests.request(
        method, client.server.url + path, data=body, headers=headers, timeout=10
    )


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(SPOILERS, 2)))
def test_of_two_wrongs_the_earlier_check_answers(client, first, second):
    answer = ask_with(client, {first[0], second[0]})
    assert (answer.status_code, first[2] in answer.text) == (first[1], True)
    assert client.server.ledger.billed == 0


@pytest.mark.parametrize(("name", "status", "words"), SPOILERS)
def test_each_check_answers_for_itself(client, name, status, words):
    answer = ask_with(client, {name})
    assert (answer.status_code, words in answer.text) == (status, True)


def test_with_nothing_wrong_the_model_runs(client):
    assert ask_with(client, set()).status_code == 200


def test_a_wrong_verb_is_answered_in_html(client):
    answer = client.get("/v1/sam3-image")
    assert answer.status_code == 405
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "No API key found"),
        ({"Authorization": f"Bearer {TEST_KEY}"}, "No API key found"),
        ({"x-api-key": "SG_0000000000000000"}, "Invalid API key"),
    ],
)
def test_only_the_key_in_its_own_header_is_taken(client, headers, words):
    answer = client.post(headers=headers)
    assert answer.status_code == 401
    assert words in answer.text


def test_the_two_refusals_of_a_key_have_two_envelopes(client):
    assert set(client.post(headers={}).json()) == {"error"}
    wrong = client.post(headers={"x-api-key": "no"}).json()
    assert wrong["status_code"] == 401
    assert wrong["error_description"] == "Invalid API key"


@pytest.mark.parametrize(
    "path", ["/v1/get-user-credits", "/v2/requests/x", "/v2/requests/x/status"]
)
def test_looking_needs_the_key_too(client, path):
    assert requests.get(client.server.url + path, timeout=10).status_code == 401


def test_missing_credits_are_named_with_numbers(start):
    answer = start(credits=0.005).post()
    assert answer.json() == {
        "error": "Insufficient credits: the balance is 0.005000, this call needs 0.006000"
    }


def test_a_body_that_is_too_large_is_refused(start):
    assert start(max_body=100).post().status_code == 413


def test_a_chunked_body_is_refused(client):
    answer = requests.post(
        client.server.url + "/v1/sam3-image",
        data=iter([b"{}"]),
        headers=client.headers(),
        timeout=10,
    )
    assert answer.status_code == 411


# ------------------------------------------------------------------ strictness


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"points_input": [[3, 4]]}, "points_input: JSON input should be string"),
        ({"point_labels_input": [[1]]}, "point_labels_input: JSON input should be string"),
        ({"boxes_input": [[1, 2, 3, 4]]}, "boxes_input: JSON input should be string"),
        ({"text_prompt": 7}, "text_prompt: Input should be a valid string"),
        ({"points_input": "3, 4"}, "points_input: Invalid JSON"),
        ({"points_input": "[3, 4]"}, "points_input.0: "),
        ({"points_input": '[["3", "4"]]'}, "points_input.0.0: Input should be a valid number"),
        ({"points_input": "[[true, 4]]"}, "points_input.0.0: Input should be a valid number"),
        ({"points_input": "[[1, 2, 3]]"}, "at most 2 items"),
        ({"points_input": "[]"}, "at least 1 item"),
        ({"points_input": "{}"}, "points_input: Input should be a valid "),
        ({"points_input": "[[NaN, 4]]"}, "points_input.0.0: Input should be a finite number"),
        ({"points_input": "[[72, 4]]"}, "outside of the 72 x 48 image"),
        ({"points_input": "[[4, 48]]"}, "outside of the 72 x 48 image"),
        ({"points_input": "[[-1, 4]]"}, "outside"),
        ({"points_input": "[[3, 4]]", "point_labels_input": "[1]"}, "valid list"),
        ({"points_input": "[[3, 4]]", "point_labels_input": "[[1], [0]]"}, "at most 1 item"),
        ({"points_input": "[[3, 4]]", "point_labels_input": "[[1, 0]]"}, "2 labels for 1"),
        ({"points_input": "[[3, 4], [5, 6]]", "point_labels_input": "[[1]]"}, "1 labels for 2"),
        ({"points_input": "[[3, 4], [5, 6]]"}, "1 labels for 2"),
        ({"points_input": "[[3, 4]]", "point_labels_input": "[[2]]"}, "equal to 1"),
        ({"points_input": "[[3, 4]]", "point_labels_input": "[[true]]"}, "valid integer"),
        ({"boxes_input": "[[5, 5, 5, 9]]"}, "x1 < x2"),
        ({"boxes_input": "[[5, 9, 8, 9]]"}, "y1 < y2"),
        ({"boxes_input": "[[50, 5, 73, 9]]"}, "outside of the 72 x 48 image"),
        ({"boxes_input": "[[5, 5, 9, 49]]"}, "outside"),
        ({"boxes_input": "[[-1, 5, 9, 9]]"}, "outside"),
        ({"boxes_input": "[[1, 2, 3]]"}, "boxes_input.0.3: Field required"),
        ({"threshold": 0.05}, "threshold: Input should be greater than or equal to 0.1"),
        ({"threshold": 1.1}, "threshold: Input should be less than or equal to 1"),
        ({"threshold": "0.5"}, "threshold: Input should be a valid number"),
        ({"threshold": True}, "threshold: Input should be a valid number"),
        ({"threshold": None}, "threshold: Input should be a valid number"),
        ({"points_per_side": 129}, "equal to 128"),
        ({"points_per_side": -1}, "equal to 0"),
        ({"points_per_side": 32.0}, "valid integer"),
        ({"pred_iou_thresh": 0.4}, "equal to 0.5"),
        ({"max_masks": 101}, "equal to 100"),
        ({"max_masks": 1.5}, "valid integer"),
        ({"return_masks": "true"}, "return_masks: Input should be a valid boolean"),
        ({"return_overlay": 1}, "return_overlay: Input should be a valid boolean"),
        ({"prompt": "nucleus"}, "prompt: Extra inputs are not permitted"),
        ({"image": 7}, "image: Input should be a valid string"),
        ({"image": "%%%"}, "neither base64 nor an address"),
        ({"image": "aGVsbG8="}, "no PNG, JPEG or WebP"),
        ({"image": "data:image/png,abc"}, "must be base64"),
        ({"image": "https://example.com/a.png"}, "cannot be fetched"),
        ({"return_preview": False}, "nothing to return"),
    ],
)
def test_what_the_documents_do_not_allow_is_refused(client, fields, words):
    answer = client.post(**fields)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert client.server.ledger.billed == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"text_prompt": None, "points_input": None},  # null is the documented default
        {"point_labels_input": "[[1]]", "text_prompt": "cell"},  # the vendor's own example
        {"points_input": "[[71, 47]]", "point_labels_input": "[[1]]"},
        {"points_input": "[[71.6, 0]]"},
        {"boxes_input": "[[0, 0, 72, 48]]"},
        {"threshold": 1, "points_per_side": 128, "pred_iou_thresh": 1, "max_masks": 100},
    ],
)
def test_what_the_documents_allow_is_taken(client, fields):
    assert client.post(**fields).status_code == 200


def test_a_swapped_box_fails_on_an_image_that_is_not_square(client):
    left, top, right, bottom = 50, 30, 66, 42
    assert client.post(boxes_input=f"[[{left}, {top}, {right}, {bottom}]]").status_code == 200
    assert client.post(boxes_input=f"[[{top}, {left}, {bottom}, {right}]]").status_code == 400


@pytest.mark.parametrize("status", [400, 406, 422, 500])
def test_a_refused_value_may_have_several_statuses(start, status):
    assert start(invalid=Fault(status, "detail")).post(threshold=2).status_code == status


def test_numbers_that_are_not_json_are_refused(client):
    body = '{"image": "x", "threshold": NaN}'
    headers = client.headers(**{"Content-Type": "application/json; charset=utf-8"})
    url = client.server.url + "/v1/sam3-image"
    answer = requests.post(url, data=body, headers=headers, timeout=10)
    assert answer.json() == {"error": "Invalid JSON"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_a_picture_may_come_bare_or_as_a_mislabelled_data_uri(client, picture, form, prefix):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form)
    answer = client.post(image=prefix + base64.b64encode(buffer.getvalue()).decode())
    assert answer.status_code == 200
    recorded = client.server.ledger.requests[-1]
    assert (recorded.image_shape, recorded.image_format) == ((48, 72), form)


def test_a_damaged_picture_is_refused(client):
    cut = base64.b64decode(client.picture)[:-30]
    answer = client.post(image=base64.b64encode(cut).decode())
    assert answer.json() == {"error": "the image is damaged"}


# ------------------------------------------------------------------ the account


def test_only_what_is_answered_with_200_is_billed(client, change):
    client.post()
    client.post(threshold=7)
    client.post(headers={})
    change(client, faults={"v1": Fault(500)})
    client.post()
    ledger = client.server.ledger
    assert (ledger.posts, ledger.billed) == (4, 1)
    assert (ledger.balance, ledger.spent) == (0.994, 0.006)


def test_the_account_is_exact_after_many_calls(client):
    for _ in range(30):
        client.post()
    assert client.server.ledger.balance == 0.82


def test_free_credits_are_spent_first(start):
    client = start(credits=1.0, free_credits=0.008)
    client.post()
    assert client.credits() == {"credits": 1.0, "free-credits": 0.002}
    client.post()
    assert client.credits() == {"credits": 0.996, "free-credits": 0.0}


def test_asking_for_the_balance_is_free(client):
    assert client.credits() == {"credits": 1.0, "free-credits": 0.0}
    assert client.server.ledger.posts == client.server.ledger.billed == 0


def test_an_account_may_have_no_record(start):
    client = start(faults={"credits": Fault(404, message="No credits found for the user")})
    answer = client.get("/v1/get-user-credits")
    assert answer.status_code == 404
    assert answer.json() == {"error": "No credits found for the user"}


def test_the_price_may_be_by_the_second(start):
    client = start(price=None, rate_per_s=0.001, generation_s=261.0)
    assert client.post().headers["x-cost"] == "0.261000"
    assert client.server.ledger.balance == 0.739


def test_an_answer_says_what_it_cost(client):
    headers = client.post().headers
    assert headers["x-remaining-credits"] == "0.994000"
    assert headers["x-cost"] == "0.006000"
    assert headers["x-generation-time"] == "0.000"
    assert headers["x-request-id"].count("-") == 4
    assert {"x-rate-limit-remaining", "x-rate-limit-reset-at-utc"} <= {h.lower() for h in headers}
    assert "Retry-After" not in headers


@pytest.mark.parametrize(("accounting", "cost"), [("absent", None), ("garbage", "")])
def test_the_accounting_headers_may_be_missing_or_senseless(start, accounting, cost):
    assert start(accounting=accounting).post().headers.get("x-cost") == cost


def test_running_out_of_credits_stops_the_next_call_only(start):
    client = start(credits=0.013)
    assert [client.post().status_code for _ in range(3)] == [200, 200, 406]
    client.server.refill(1.0)
    assert client.post().status_code == 200


def test_posts_per_minute_are_limited_by_the_clock(start):
    client = start(rpm=2)
    answers = [client.post() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "x-rate-limit-reset-at-utc" in answers[-1].headers
    client.server.advance(60)
    assert client.post().status_code == 200


def test_many_clients_at_once_keep_the_account_exact(client):
    threads = [threading.Thread(target=client.post) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = client.server.ledger
    assert (ledger.posts, ledger.billed, ledger.balance) == (12, 12, 0.928)


def test_the_ledger_is_a_snapshot(client):
    before = client.server.ledger
    client.post()
    assert (before.posts, client.server.ledger.posts) == (0, 1)
    with pytest.raises(AttributeError):
        before.posts = 7


# ------------------------------------------------------------------ what is written down


def test_a_request_is_written_down_without_key_and_picture(client):
    client.post(text_prompt="cell", return_masks=True)
    (request,) = client.server.ledger.requests
    assert (request.origin, request.method, request.path) == ("api", "POST", "/v1/sam3-image")
    assert (request.step, request.status) == ("v1", 200)
    assert dict(request.fields) == {"text_prompt": "cell", "return_masks": True}
    assert request.image_shape == (48, 72)
    assert request.headers["x-api-key"] == "<key>"
    assert TEST_KEY not in repr(client.server.ledger.requests)


def test_requests_of_one_step_can_be_picked_out(client):
    client.post()
    client.credits()
    assert [r.path for r in client.server.ledger.of("credits")] == ["/v1/get-user-credits"]


# ------------------------------------------------------------------ the key must not leak


@pytest.mark.parametrize("name", ["x-api-key", "X-API-KEY", "Authorization"])
def test_a_key_at_the_cdn_is_counted(client, name):
    requests.get(client.server.cdn_url + "/generations/x.png", headers={name: "a"}, timeout=10)
    assert client.server.leaked_keys == 1


@pytest.mark.parametrize("origin", ["url", "cdn_url"])
def test_a_key_in_an_address_is_counted_and_not_shown(client, origin):
    url = f"{getattr(client.server, origin)}/v1/get-user-credits?api_key={TEST_KEY}"
    requests.get(url, headers={}, timeout=10)
    assert client.server.leaked_keys == 1
    assert client.server.ledger.requests[0].path.endswith("api_key=<key>")


def test_a_key_in_another_header_of_the_cdn_is_counted(client):
    headers = {"Referer": f"http://x/?k={TEST_KEY}"}
    requests.get(client.server.cdn_url + "/a", headers=headers, timeout=10)
    assert client.server.leaked_keys == 1


def test_a_proper_download_leaks_nothing(client):
    url = client.result().json()["output"]
    assert client.fetch(url).status_code == 200
    assert client.server.leaked_keys == 0
    assert "x-api-key" not in client.server.ledger.of("download")[0].headers


@pytest.mark.parametrize("status", [302, 307])
def test_a_client_that_follows_redirects_is_caught_and_not_billed(start, status):
    client = start(traps={"v1": f"redirect {status}"})
    answer = requests.post(
        client.server.url + "/v1/sam3-image",
        json={"image": client.picture},
        headers=client.headers(),
        timeout=10,
    )
    assert answer.history[0].status_code == status
    assert answer.headers["Content-Type"] == "image/png"  # as tempting as can be
    ledger = client.server.ledger
    assert (ledger.posts, ledger.billed, ledger.leaked_keys) == (1, 0, 1)


# ------------------------------------------------------------------ pixels


def union(instances, shape=(48, 72)):
    mask = np.zeros(shape, bool)
    for item in instances:
        mask[item.box.slices] |= item.mask
    return mask


@pytest.mark.parametrize(
    ("fields", "prompt", "min_score"),
    [
        ({"text_prompt": "nuclei"}, Everything(), 0.5),
        ({"text_prompt": " Cell "}, Everything(), 0.5),
        ({"text_prompt": "bright objects"}, Everything(), 0.5),
        ({"text_prompt": "spot", "threshold": 0.96}, Everything(), 0.96),
        ({}, Everything(), 0.5),
        ({"points_per_side": 1, "pred_iou_thresh": 0.5}, Everything(), 0.12),
        ({"points_input": "[[10, 7]]"}, ObjectPrompt((Point(7, 10),)), 0),
        (
            {"points_input": "[[60, 35], [10, 7]]", "point_labels_input": "[[1, 0]]"},
            ObjectPrompt((Point(35, 60), Point(7, 10, positive=False))),
            0,
        ),
        (
            {"boxes_input": "[[4, 4, 21, 16]]"},
            ConceptPrompt(exemplars=(Exemplar(Box(4, 4, 16, 21)),)),
            0.5,
        ),
    ],
)
def test_the_answer_is_the_builtin_engines_own_to_the_pixel(
    real, picture, mask_of, fields, prompt, min_score
):
    expected = (
        BuiltinEngine().segment(SegmentationRequest(Pixels(picture), prompt, min_score)).instances
    )
    assert len(expected) > 0
    np.testing.assert_array_equal(mask_of(real.post(**fields).content), union(expected))


def test_both_versions_give_the_same_pixels(real, mask_of):
    fields = {"text_prompt": "nucleus"}
    url = real.result(**fields).json()["output"]
    assert real.fetch(url).content == real.post(**fields).content


@pytest.mark.parametrize(
    "fields",
    [
        {"text_prompt": "mitochondrion"},
        {"text_prompt": "dark nuclei"},
        {"text_prompt": "bright"},
        {"points_per_side": 0},
        {"points_input": "[[10, 7]]", "point_labels_input": "[[0]]"},
    ],
)
def test_what_is_not_there_or_not_known_is_not_found(real, mask_of, fields):
    answer = real.post(**fields)
    assert answer.status_code == 200
    assert not mask_of(answer.content).any()


def test_text_wins_over_boxes_and_boxes_over_points(real, mask_of):
    first_only = {"points_input": "[[10, 7]]"}
    box = {"boxes_input": "[[4, 4, 21, 16]]", **first_only}
    assert mask_of(real.post(**box).content)[35, 60]
    assert not mask_of(real.post(text_prompt="bird", **box).content).any()


def test_masks_come_in_scan_order_and_the_first_are_kept(real, mask_of):
    fields = {"return_preview": False, "return_masks": True}
    images = real.post(**fields).json()["images"]
    tops = [np.argwhere(mask_of(real.fetch(i["url"]).content))[0].tolist() for i in images]
    assert tops == [[5, 5], [20, 30], [30, 50]]
    assert len(real.post(max_masks=2, **fields).json()["images"]) == 2


def test_a_model_can_be_put_in_its_place(client, corner, mask_of):
    np.testing.assert_array_equal(mask_of(client.post().content), corner)


def test_a_broken_model_is_reported_when_the_server_ends(picture):
    def broken(image, fields):
        raise ZeroDivisionError

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    body = {"image": base64.b64encode(buffer.getvalue()).decode()}

    def ask():
        with SegmindServer(model=broken) as server:
            url, headers = server.url + "/v1/sam3-image", {"x-api-key": server.key}
            assert requests.post(url, json=body, headers=headers, timeout=10).status_code == 500

    with pytest.raises(RuntimeError, match="stand-in itself"):
        ask()


# ------------------------------------------------------------------ forms of a v1 answer


@pytest.mark.parametrize(
    ("image", "mode", "form"),
    [
        ("L", "L", "PNG"),
        ("1", "1", "PNG"),
        ("P", "P", "PNG"),
        ("RGB", "RGB", "PNG"),
        ("RGBA", "RGBA", "PNG"),
        ("alpha", "RGBA", "PNG"),
        ("colours", "RGB", "PNG"),
        ("JPEG", "L", "JPEG"),
        ("WebP", "RGB", "WEBP"),
    ],
)
def test_a_mask_may_have_any_mode(real, change, image, mode, form):
    expected = np.array(Image.open(io.BytesIO(real.post().content)))
    change(real, image=image)
    answer = real.post()
    assert answer.headers["Content-Type"] == f"image/{form.lower()}"
    with Image.open(io.BytesIO(answer.content)) as shown:
        assert (shown.mode, shown.format, shown.size) == (mode, form, (72, 48))
        gray = shown.getchannel("A") if image == "alpha" else shown.convert("L")
    threshold = 0 if image == "colours" else 127
    found = np.array(gray) > threshold
    assert np.count_nonzero(found != (expected > 127)) <= (20 if form != "PNG" else 0)


def test_a_jpeg_rings(real, change):
    change(real, image="JPEG")
    values = np.array(Image.open(io.BytesIO(real.post().content)))
    assert len(np.unique(values)) > 2


@pytest.mark.parametrize(
    ("factor", "size"), [(0.5, (36, 24)), (2.0, (144, 96)), ((1.0, 0.5), (36, 48))]
)
def test_a_mask_may_have_another_size_than_the_picture(start, factor, size):
    with Image.open(io.BytesIO(start(size_factor=factor).post().content)) as shown:
        assert shown.size == size


def test_an_overlay_is_the_picture_with_tinted_objects(client, picture, corner):
    answer = client.post(return_preview=False, return_overlay=True)
    shown = np.array(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(shown[~corner], picture[~corner])
    assert (shown[corner] != picture[corner]).any(axis=1).all()


def test_a_single_answer_may_be_wrapped_in_many_ways(client, change):
    plain = client.post().content
    text = base64.b64encode(plain).decode()
    forms = {}
    for form in ("json image", "json string", "data uri", "json url"):
        change(client, answer=form)
        forms[form] = client.post()
    assert forms["json image"].json() == {"image": text}
    assert forms["json string"].json() == text
    assert forms["data uri"].text == f"data:image/png;base64,{text}"
    assert client.fetch(forms["json url"].json()["output"]).content == plain


@pytest.mark.parametrize(
    ("answer", "content_type", "head"),
    [
        ("error json", "application/json", b'{"error"'),
        ("html", "text/html", b"<!DOCTYPE"),
        ("empty", "image/png", b""),
        ("video", "video/mp4", b"\x00\x00\x00\x18ftyp"),
    ],
)
def test_a_200_may_be_a_lie_and_is_billed_all_the_same(start, answer, content_type, head):
    client = start(answer=answer)
    reply = client.post()
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, content_type)
    assert reply.content.startswith(head)
    assert client.server.ledger.billed == 1


def test_v1_may_answer_like_a_submit(start):
    client = start(answer="submission", queued_polls=0, processing_polls=0)
    job = client.post().json()
    assert client.get(job["response_url"]).json()["status"] == "COMPLETED"
    assert client.server.ledger.billed == 1


SEPARATE = {"return_preview": False, "return_masks": True}


def unpacked(client, reply):
    """Return the pictures of any form."""
    if reply.headers["Content-Type"] == "application/zip":
        with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
            return [archive.read(name) for name in archive.namelist()]
    if reply.headers["Content-Type"] == "image/png":
        return [reply.content]
    value = reply.json()
    if isinstance(value, list):
        return [base64.b64decode(text) for text in value]
    return [client.fetch(entry["url"]).content for entry in value["images"]]


@pytest.mark.parametrize(("form", "count"), [("single", 1), ("base64", 3), ("urls", 3), ("zip", 3)])
def test_separate_masks_come_in_every_form(real, change, mask_of, form, count):
    everything = mask_of(real.post().content)
    change(real, masks_form=form)
    masks = [mask_of(data) for data in unpacked(real, real.post(**SEPARATE))]
    assert len(masks) == count
    np.testing.assert_array_equal(np.any(masks, axis=0), everything)


@pytest.mark.parametrize(("form", "count"), [("single", 1), ("base64", 5), ("urls", 5), ("zip", 5)])
def test_several_flags_come_in_every_form(real, change, form, count):
    change(real, flags_form=form)
    reply = real.post(return_overlay=True, return_masks=True)
    assert len(unpacked(real, reply)) == count


def test_members_of_a_zip_must_be_sorted_by_number(start):
    masks = [np.eye(48, 72, k, dtype=bool) for k in range(12)]
    client = start(lambda image, fields: masks, masks_form="zip")
    with zipfile.ZipFile(io.BytesIO(client.post(**SEPARATE).content)) as archive:
        names = archive.namelist()
    assert names[10] == "mask_10.png"
    assert sorted(names) != names


@pytest.mark.parametrize(
    ("form", "body"), [("urls", {"images": []}), ("base64", []), ("zip", {"images": []})]
)
def test_nothing_found_may_be_an_empty_list(start, form, body):
    client = start(lambda image, fields: [], masks_form=form, nothing_found="empty list")
    assert client.post(**SEPARATE).json() == body
    assert client.server.ledger.billed == 1


def test_nothing_found_may_be_a_422_that_costs_nothing(start):
    client = start(lambda image, fields: [], nothing_found="422")
    assert client.post().status_code == 422
    assert client.server.ledger.billed == 0


def test_nothing_found_leaves_the_overlay_as_the_picture(start, picture):
    client = start(lambda image, fields: [])
    reply = client.post(return_preview=False, return_overlay=True)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(reply.content))), picture)


def test_no_flag_may_be_answered_with_an_empty_json(start):
    assert start(no_flag="json").post(return_preview=False).json() == {"images": []}


def test_a_failing_model_costs_nothing(start):
    client = start(job_error="CUDA out of memory")
    reply = client.post()
    assert (reply.status_code, reply.json()) == (500, {"error": "CUDA out of memory"})
    assert client.server.ledger.billed == 0


# ------------------------------------------------------------------ uploads


@pytest.mark.parametrize("form", ["file_urls", "urls", "list"])
def test_an_uploaded_picture_can_be_asked_about_by_its_address(start, form):
    client = start(upload_form=form)
    uri = f"data:image/png;base64,{client.picture}"
    url = client.server.url + "/upload-asset"
    reply = requests.post(
        url, json={"data_urls": [uri, uri]}, headers=client.headers(), timeout=10
    ).json()
    urls = reply if form == "list" else reply[form]
    assert len(set(urls)) == 2
    assert client.post(image=urls[0]).status_code == 200
    recorded = client.server.ledger.of("v1")[0]
    assert recorded.image_shape == (48, 72)
    assert client.fetch(urls[1]).content == base64.b64decode(client.picture)
    assert client.server.ledger.posts == 1


@pytest.mark.parametrize(
    "body", [{}, {"data_urls": "x"}, {"data_urls": ["x"]}, {"data_urls": ["data:a;base64,AAAA"]}]
)
def test_a_senseless_upload_is_refused(client, body):
    url = client.server.url + "/upload-asset"
    assert requests.post(url, json=body, headers=client.headers(), timeout=10).status_code == 400


# ------------------------------------------------------------------ switches


@pytest.mark.parametrize(
    "switches",
    [
        {"image": "l"},
        {"output": "urls"},
        {"traps": {"v1": "explode"}},
        {"faults": {"v3": Fault(500)}},
        {"delays_s": {"poll": 1.0}},
        {"outputs": "url"},
    ],
)
def test_a_misspelt_switch_is_refused(switches):
    with pytest.raises(ValueError, match=r"Input should be |Unexpected"):
        Behaviour(**switches)


def test_a_misspelt_step_or_body_is_refused():
    with pytest.raises(ValueError, match="Input should be "):
        Fault(500, "xml")
    with pytest.raises(ValueError, match="must be one of"):
        SegmindServer().script([Behaviour()], "poll")


def test_a_behaviour_is_not_changed_by_changing_what_it_was_made_of():
    faults = {"v1": Fault(500)}
    behaviour = Behaviour(faults=faults)
    faults.clear()
    assert behaviour.faults == {"v1": Fault(500)}


def test_a_script_is_used_up_one_request_after_the_other(client):
    broken = Behaviour(faults={"v1": Fault(500), "submit": Fault(500)})
    client.server.script([broken, Behaviour(), broken])
    statuses = [client.post(version).status_code for version in ("v1", "v1", "v2", "v1")]
    assert statuses == [500, 200, 500, 200]


def test_a_wrong_verb_does_not_use_a_script_up(client):
    client.server.script([Behaviour(faults={"v1": Fault(503)})])
    client.get("/v1/sam3-image")
    assert client.post().status_code == 503


# ------------------------------------------------------------------ beginning and end


def test_each_server_has_its_own_ports(start):
    first, second = start().server, start().server
    assert len({first.url, first.cdn_url, second.url, second.cdn_url}) == 4
    assert first.url.startswith("http://127.0.0.1:")


def test_after_the_end_nobody_answers_and_the_ledger_stays(start):
    client = start()
    client.post()
    client.server.close()
    assert client.server.ledger.billed == 1
    with pytest.raises(requests.ConnectionError):
        client.post()


def test_the_end_does_not_wait_for_a_kept_connection_or_a_slow_model(start):
    client = start(latency_s=float("inf"))
    port = int(client.server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        thread = threading.Thread(target=lambda: _ignore(client.post))
        thread.start()
        client.server.wait_until(lambda ledger: ledger.posts == 1)
        client.server.close()
        thread.join()
    gc.collect()
    assert client.server.ledger.billed == 0


def _ignore(call):
    with contextlib.suppress(requests.RequestException):
        call()


def test_waiting_in_vain_is_an_error(client):
    with pytest.raises(TimeoutError, match="in vain"):
        client.server.wait_until(lambda ledger: ledger.posts == 1, timeout_s=0.01)


def test_the_package_itself_does_not_import_the_stand_in():
    program = (
        "import sys, napari_sam3, napari_sam3.cli, napari_sam3.workflows.segment\n"
        "assert not any(name.startswith('napari_sam3.testing') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_stand_in_needs_neither_napari_nor_qt():
    program = (
        "import sys\n"
        "for name in ('napari', 'qtpy', 'PyQt6', 'PySide6', 'magicgui', 'torch', 'requests'):\n"
        "    sys.modules[name] = None\n"
        "from napari_sam3.testing import SegmindServer\n"
        "with SegmindServer() as server:\n"
        "    assert server.ledger.posts == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
