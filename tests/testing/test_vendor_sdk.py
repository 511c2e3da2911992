"""The vendor's own client, which was not written for the stand-in, gets valid answers."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
import requests
from PIL import Image

from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import Everything
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.testing import TEST_KEY, Behaviour, Fault

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("segmind") is None,
    reason="the vendor's SDK is not installed: pip install segmind==1.3.0 (group dev has it)",
)


@pytest.fixture
def sdk(real):
    import segmind

    client = segmind.SegmindClient(api_key=TEST_KEY, base_url=f"{real.server.url}/v1")
    yield client
    client._client.close()


@pytest.fixture
def expected(picture):
    found = (
        BuiltinEngine().segment(SegmentationRequest(Pixels(picture), Everything(), 0.5)).instances
    )
    return found.to_labels() > 0


def mask_at(url):
    return mask_in(requests.get(url, timeout=10).content)


def mask_in(data):
    with Image.open(io.BytesIO(data)) as shown:
        return np.array(shown) > 127


def test_a_blocking_call_gives_the_masks_bytes(sdk, real, expected):
    reply = sdk.run_sync("sam3-image", image=real.picture, text_prompt="nucleus")
    np.testing.assert_array_equal(mask_in(reply.content), expected)
    assert float(reply.headers["x-cost"]) == 0.006
    assert real.server.ledger.billed == 1


def test_submit_and_wait_gives_an_output_to_download(sdk, real, expected):
    body = sdk.run("sam3-image", image=real.picture, text_prompt="nucleus")
    assert body["status"] == "COMPLETED"
    np.testing.assert_array_equal(mask_at(body["output"]), expected)
    assert body["metrics"]["remaining_credits"] == 0.994
    assert real.server.leaked_keys == 0


def test_polling_goes_through_the_states(sdk, real, change):
    change(real, queued_polls=1, processing_polls=1)
    job = sdk.submit_async("sam3-image", image=real.picture)
    assert [job.status()["status"] for _ in range(2)] == ["QUEUED", "PROCESSING"]
    assert job.wait(interval=0.001)["images"][0]["content_type"] == "image/png"


def test_a_failed_job_is_told_as_such(sdk, real):
    import segmind

    with pytest.raises(segmind.InferenceFailed) as caught:
        sdk.run("sam3-image", image=real.picture, threshold=7)
    assert "less than or equal to 1" in caught.value.detail
    assert real.server.ledger.billed == 0


@pytest.mark.parametrize("status", [401, 403, 406, 410, 429, 500])
def test_an_error_of_the_gateway_keeps_status_and_words(sdk, real, change, status):
    import segmind

    change(real, faults={"submit": Fault(status, message="so it is")})
    with pytest.raises(segmind.SegmindError) as caught:
        sdk.run("sam3-image", image=real.picture)
    assert (caught.value.status, caught.value.detail) == (status, "so it is")


def test_a_deadline_names_the_request(sdk, real):
    import segmind

    real.server.behaviour = Behaviour(latency_s=float("inf"))
    job = sdk.submit_async("sam3-image", image=real.picture)
    with pytest.raises(segmind.InferenceTimeout) as caught:
        job.wait(timeout=0.0, interval=0.001)
    assert caught.value.request_id == job.request_id


def test_a_file_is_uploaded_and_used_by_its_address(sdk, real, picture, tmp_path, monkeypatch):
    from segmind.files import Files

    monkeypatch.setattr(Files, "STORAGE_BASE_URL", real.server.url)
    file = tmp_path / "cells.png"
    Image.fromarray(picture).save(file)
    (url,) = sdk.files.upload(file)["file_urls"]
    body = sdk.run("sam3-image", image=url, text_prompt="cells")
    assert mask_at(body["output"]).any()
