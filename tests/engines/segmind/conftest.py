"""Stand-ins that misbehave, and an engine that does not wait long for them."""

from __future__ import annotations

import traceback
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.segmind import engine as engine_module
from napari_sam3.engines.segmind import failures, probe
from napari_sam3.engines.segmind import key as key_module
from napari_sam3.engines.segmind.engine import SegmindEngine
from napari_sam3.engines.segmind.key import ENVIRONMENT_VARIABLE, ApiKey
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.testing import Behaviour, SegmindServer

SHAPE = (30, 44)
CORNER = (slice(2, 7), slice(30, 41))


def corner_model(image, fields):
    """One object, known beforehand."""
    mask = np.zeros(image.shape[:2], bool)
    mask[CORNER] = True
    return [mask]


def blind_model(image, fields):
    return []


def question(text="nucleus", **limits):
    return SegmentationRequest(
        Pixels(np.full((*SHAPE, 3), 9, np.uint8)), ConceptPrompt(text), **limits
    )


def told(error):
    """Everything that an error says anywhere, the variables of its frames included."""
    # without the frame of the test itself, whose variables are the test's
    frames = error.__traceback__.tb_next
    trace = traceback.TracebackException(type(error), error, frames, capture_locals=True)
    return "\n".join([str(error), repr(error), repr(vars(error)), *trace.format()])


@pytest.fixture
def kit():
    """The helpers above, for tests that cannot import this file."""
    return SimpleNamespace(
        SHAPE=SHAPE,
        CORNER=CORNER,
        corner_model=corner_model,
        blind_model=blind_model,
        question=question,
        told=told,
    )


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Nothing waits for its own sake, and no key of the person who runs the tests is used."""
    monkeypatch.setattr(engine_module, "POLL_S", 0.002)
    monkeypatch.setattr(engine_module, "LONGEST_POLL_S", 0.002)
    monkeypatch.setattr(probe, "POLL_S", 0.002)
    monkeypatch.setattr(failures, "BACKOFF_S", (0.002, 0.002, 0.002, 0.002))
    monkeypatch.setattr(failures, "RATE_LIMIT_WAIT_S", 0.004)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(key_module, "_session", [])
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def start():
    """Make stand-ins that end with the test."""
    running = []

    def make(behaviour=None, *, model=corner_model, **account):
        server = SegmindServer(behaviour or Behaviour(), model=model, **account)
        server.__enter__()
        running.append(server)
        return server

    yield make
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def engine_for():
    def make(server, **options):
        options = {"deadline_s": 10.0, "read_timeout_s": 5.0, **options}
        return SegmindEngine(SegmindOptions(url=server.url, **options), ApiKey(server.key))

    return make
