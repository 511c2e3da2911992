"""The stand-in as a program."""

from __future__ import annotations

import base64
import re
import socket
import threading
import time

import pytest
import requests

from napari_sam3.errors import EngineUnavailableError
from napari_sam3.testing import TEST_KEY
from napari_sam3.testing._cli import run_standin


@pytest.fixture
def running(monkeypatch):
    said, stop = [], threading.Event()
    monkeypatch.setattr("napari_sam3.testing._cli.typer.echo", said.append)
    monkeypatch.setattr("napari_sam3.testing._cli._LOOK_AGAIN_S", 0.001)
    thread = threading.Thread(
        target=run_standin, args=(0, 0.0, 2.0), kwargs={"stop": stop}, daemon=True
    )
    thread.start()
    while not said:
        time.sleep(0.001)
    yield said, stop, thread
    stop.set()
    thread.join()


def test_it_says_how_to_use_it_what_was_asked_and_what_is_left(running, picture, dumps):
    said, stop, thread = running
    url = re.search(r"--url (http://127\.0\.0\.1:\d+)", said[0])[1]
    assert f"SEGMIND_API_KEY={TEST_KEY} napari-sam3 segment" in said[0]
    assert "--engine segmind" in said[0]
    from io import BytesIO

    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    body = {"image": base64.b64encode(buffer.getvalue()).decode(), "text_prompt": "nucleus"}
    headers = {"x-api-key": TEST_KEY}
    assert requests.post(f"{url}/v1/sam3-image", json=body, headers=headers, timeout=10).ok
    stop.set()
    thread.join()
    assert said[1] == "200 POST /v1/sam3-image 48 × 72   1.994 credits"
    assert said[-1] == "Stopped after 1 paid answers; 1.994 credits are left."


def test_a_port_that_is_taken_is_said_so():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(EngineUnavailableError, match=f"Port {port} cannot be used"):
            run_standin(port, 0.0, 1.0)
