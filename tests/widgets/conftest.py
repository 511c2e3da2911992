"""An engine that does what a test tells it, and a panel that asks it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from napari.layers import Labels

from napari_sam3 import engines
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.prompts import ConceptPrompt, ObjectPrompt
from napari_sam3.engines import EngineInfo
from napari_sam3.engines.base import (
    NEVER,
    NO_PARAMETERS,
    Capabilities,
    Price,
    SegmentationResult,
    Usage,
    raise_if_stopped,
)
from napari_sam3.settings import CACHE_USED, write_setting
from napari_sam3.widgets import _consent

SHAPE = (60, 90)
LIMIT_S = 20
REAL_ENGINES = engines.ENGINES
FREE = Capabilities(
    exemplars=True,
    negative_exemplars=True,
    points=True,
    object_box=True,
    everything=True,
    scores=True,
    settings=frozenset({("concept", "threshold"), ("everything", "max_masks")}),
)
PAID = Capabilities(text=True, exemplars=True, points=True, everything=True, billed=True)


def solid(box, score=0.9):
    """Return an object that fills its box."""
    return Instance(np.ones(box.shape, dtype=bool), box, score)


def fill_what_is_marked(request):
    """Answer with solid boxes: around the clicks, the box itself, or two fixed ones."""
    prompt, whole = request.prompt, Box.of_shape(request.shape)
    if isinstance(prompt, ConceptPrompt):
        boxes = [e.box for e in prompt.exemplars if e.positive] or [Box(1, 2, 5, 8)]
    elif not isinstance(prompt, ObjectPrompt):
        boxes = [Box(2, 3, 12, 23), Box(30, 40, 45, 75)]
    elif prompt.box is not None:
        boxes = [prompt.box]
    else:
        pixels = np.array([p.pixel for p in prompt.points if p.positive])
        (top, left), (bottom, right) = pixels.min(axis=0) - 2, pixels.max(axis=0) + 3
        boxes = [Box(int(top), int(left), int(bottom), int(right))]
    clipped = [box.intersection(whole) for box in boxes]
    return Instances(request.shape, tuple(solid(box) for box in clipped if box))


@dataclass(eq=False)
class FakeTicket:
    """What a fake engine gives for a request; it knows of no id."""

    request: object
    request_id: str | None = None


@dataclass
class FakeEngine:
    """Answers at once, or when it is let to; remembers all that it was asked."""

    name: str
    capabilities: Capabilities
    answer: object = fill_what_is_marked
    error: BaseException | None = None
    heeds_stop: bool = True
    requests: list = field(default_factory=list)
    threads: set = field(default_factory=set)
    most_at_once: int = 0
    running: int = 0

    def __post_init__(self):
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()

    def hold(self):
        self._open.clear()

    def release(self):
        self._open.set()

    model = "fake-1"
    parameters = NO_PARAMETERS
    price = Price(0.005, 0.007, 4.8)
    kept_s = 3600.0

    def submit(self, request, stop=NEVER):
        return FakeTicket(request)

    def collect(self, ticket, stop=NEVER):
        result = self.segment(ticket.request, stop)
        return replace(result, usage=Usage(self.price.high, 1.0, ticket.request_id))

    def pack(self, ticket):
        return b"a fake ticket"

    def segment(self, request, stop=NEVER):
        with self._lock:
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
            self.threads.add(threading.get_ident())
            self.requests.append(request)
        try:
            self._wait(stop)
            if self.error is not None:
                raise self.error
            return SegmentationResult(self.answer(request))
        finally:
            with self._lock:
                self.running -= 1

    def _wait(self, stop):
        for _ in range(LIMIT_S * 100):
            if self._open.wait(0.01):
                break
            if self.heeds_stop:
                raise_if_stopped(stop)
        if self.heeds_stop:
            raise_if_stopped(stop)


@pytest.fixture
def engine():
    """The free engine, under the name of the one that a panel opens with."""
    engine = FakeEngine("builtin", FREE)
    yield engine
    engine.release()


@pytest.fixture
def paid_engine():
    engine = FakeEngine("paid", PAID)
    yield engine
    engine.release()


@pytest.fixture(autouse=True)
def registry(monkeypatch, engine, paid_engine):
    """There are a free engine, a paid one, and one that is missing."""
    infos = (
        EngineInfo("builtin", "Built-in", "here, free", FREE, lambda _options: engine),
        EngineInfo("paid", "Paid SAM3", "costs money", PAID, lambda _options: paid_engine),
        EngineInfo("absent", "Absent SAM3", "elsewhere", PAID),
    )
    monkeypatch.setattr(engines, "ENGINES", infos)
    return infos


@pytest.fixture(autouse=True)
def agreed_to_upload(monkeypatch):
    """The question before the first upload is tested by itself; here it was answered long ago."""
    monkeypatch.setattr(_consent, "upload_was_agreed", lambda _parent: True)


@pytest.fixture(autouse=True)
def nothing_stored(own_records):
    """Each question is asked; what is stored is tested by itself."""
    write_setting(CACHE_USED, False)


@pytest.fixture
def real_engines(monkeypatch, registry):
    monkeypatch.setattr(engines, "ENGINES", REAL_ENGINES)


def picture(shape=SHAPE):
    """Return an image without any symmetry."""
    return np.random.default_rng(7).integers(0, 255, shape, dtype=np.uint8)


@pytest.fixture
def viewer(make_napari_viewer, request):
    """A viewer with one image; its window is on the screen if the test is marked so."""
    viewer = make_napari_viewer(show=hasattr(request, "param") and request.param)
    viewer.add_image(picture(), name="cells")
    return viewer


@pytest.fixture
def open_panel(qtbot):
    """Open the panel as the menu does."""

    def open_in(viewer):
        return viewer.window.add_plugin_dock_widget("napari-sam3", "Segment")[1]

    return open_in


@pytest.fixture
def panel(viewer, open_panel):
    return open_panel(viewer)


@pytest.fixture
def settle(qtbot, panel):
    """Wait until nothing is left to be asked, answered or written."""

    def settle(panel=panel):
        qtbot.waitUntil(lambda: not panel.is_busy, timeout=LIMIT_S * 1000)

    return settle


@pytest.fixture
def run(panel, settle):
    """Press Run, wait for the end, and return what the panel says."""

    def run(question=None):
        if question is not None:
            panel.form.question.value = question
        panel.form.run.native.click()
        settle()
        return panel.form.result.text()

    return run


on_screen = pytest.mark.parametrize("viewer", [True], indirect=True, ids=["on screen"])
"""For tests of keys, of showing and of hiding: those need a window that has the focus."""


def labels_layers(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def only_labels(viewer):
    (layer,) = labels_layers(viewer)
    return layer
