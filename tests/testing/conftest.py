"""A stand-in, and a raw client that knows nothing of our own engine."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import requests
from PIL import Image

from napari_sam3.testing import Behaviour, SegmindServer

PRICE = 0.006
CREDITS = 1.0


def make_picture() -> np.ndarray:
    """Three blobs; neither square nor symmetric, so that a swapped axis shows."""
    picture = np.full((48, 72, 3), 20, np.uint8)
    picture[5:15, 5:20] = 200
    picture[30:42, 50:66] = 180
    picture[20:26, 30:38] = 220
    return picture


def encoded(picture: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form)
    return buffer.getvalue()


def as_text(picture: np.ndarray, form: str = "PNG") -> str:
    return base64.b64encode(encoded(picture, form)).decode()


def corner_model(image, fields):
    """One mask, one pixel larger than nothing: cheap, and known beforehand."""
    mask = np.zeros(image.shape[:2], bool)
    mask[:2, :3] = True
    return [mask]


@dataclass
class Client:
    """Asks as a program would that was written from the service's documents."""

    server: SegmindServer
    picture: str

    def headers(self, **more):
        return {"x-api-key": self.server.key, **more}

    def post(self, version="v1", *, headers=None, **fields):
        return requests.post(
            f"{self.server.url}/{version}/sam3-image",
            json={"image": self.picture, **fields},
            headers=self.headers() if headers is None else headers,
            allow_redirects=False,
            timeout=10,
        )

    def submit(self, **fields):
        return self.post("v2", **fields).json()

    def get(self, path):
        url = path if path.startswith("http") else self.server.url + path
        return requests.get(url, headers=self.headers(), allow_redirects=False, timeout=10)

    def fetch(self, url):
        return requests.get(url, allow_redirects=False, timeout=10)

    def result(self, **fields):
        """Submit, and ask until it is done."""
        job = self.submit(**fields)
        while self.get(job["status_url"]).json()["status"] in ("QUEUED", "PROCESSING"):
            pass
        return self.get(job["response_url"])

    def credits(self):
        return self.get("/v1/get-user-credits").json()


@pytest.fixture
def picture():
    return make_picture()


@pytest.fixture
def start():
    """Make servers that end with the test."""
    running = []

    def make(model=corner_model, *, credits=CREDITS, free_credits=0.0, **switches):  # noqa: A002
        server = SegmindServer(
            Behaviour(**switches), credits=credits, free_credits=free_credits, model=model
        )
        server.__enter__()
        running.append(server)
        return Client(server, as_text(make_picture()))

    yield make
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def client(start):
    return start()


@pytest.fixture
def real(start):
    """With the model that users meet."""
    from napari_sam3.testing import builtin_model

    return start(builtin_model, queued_polls=0, processing_polls=0)


@pytest.fixture
def change():
    def set_behaviour(client, **switches):
        client.server.behaviour = replace(client.server.behaviour, **switches)

    return set_behaviour


@pytest.fixture
def mask_of():
    def read(data, threshold=127):
        with Image.open(io.BytesIO(data)) as picture:
            return np.array(picture.convert("L")) > threshold

    return read


@pytest.fixture
def corner():
    mask = np.zeros((48, 72), bool)
    mask[:2, :3] = True
    return mask


@pytest.fixture
def dumps():
    return json.dumps
