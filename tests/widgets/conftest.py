"""An engine that does what a test tells it, and a panel that asks it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from napari.layers import Labels
from napari.plugins import _initialize_plugins
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_sam3 import engines
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instances
from napari_sam3.core.prompts import ConceptPrompt, ObjectPrompt
from napari_sam3.engines import EngineInfo, creating
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
from napari_sam3.widgets import _consent, _objects_form
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel

from .objects_room import LIMIT_MS, LIMIT_S, SHAPE, Room, labels_on_record, picture, solid, wait

REAL_ENGINES, REAL_CREATE = engines.ENGINES, dict(creating.CREATE)
FREE = Capabilities(
    exemplars=True,
    negative_exemplars=True,
    points=True,
    object_box=True,
    outline=True,
    proposal=True,
    everything=True,
    diameter=True,
    scores=True,
    settings=frozenset(
        {("concept", "min_score"), ("everything", "max_masks"), ("everything", "diameter")}
    ),
)
MARGINS = {"": 2, "small": 1, "medium": 4, "large": 6}
"""Pixels around a click, by the proposal that is wanted of it."""
PAID = Capabilities(text=True, exemplars=True, points=True, everything=True, billed=True)


def fill_what_is_marked(request):
    """Answer with solid boxes: around the clicks, the box itself, or two fixed ones."""
    prompt, whole = request.prompt, Box.of_shape(request.shape)
    if isinstance(prompt, ConceptPrompt):
        boxes = [e.box for e in prompt.exemplars if e.positive] or [Box(1, 2, 5, 8)]
    elif not isinstance(prompt, ObjectPrompt):
        boxes = [Box(2, 3, 12, 23), Box(30, 40, 45, 75)]
    elif box := prompt.box or prompt.outline_box:
        boxes = [box]
    else:
        pixels = np.array([p.pixel for p in prompt.points if p.positive])
        margin = MARGINS[prompt.proposal]
        (top, left), (bottom, right) = pixels.min(axis=0) - margin, pixels.max(axis=0) + margin + 1
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

    model = billed_as = "fake-1"
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
        EngineInfo("builtin", "Built-in", "here, free", FREE, is_there=True),
        EngineInfo("paid", "Paid SAM3", "costs money", PAID, is_there=True),
        EngineInfo("absent", "Absent SAM3", "elsewhere", PAID),
    )
    monkeypatch.setattr(engines, "ENGINES", infos)
    monkeypatch.setattr(_objects_form, "ENGINES", infos)
    monkeypatch.setitem(creating.CREATE, "builtin", lambda _options: engine)
    monkeypatch.setitem(creating.CREATE, "paid", lambda _options: paid_engine)
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
    monkeypatch.setattr(creating, "CREATE", REAL_CREATE)


@pytest.fixture
def viewer(make_napari_viewer, request):
    """A viewer with one image; its window is on the screen if the test is marked so."""
    viewer = make_napari_viewer(show=hasattr(request, "param") and request.param)
    viewer.add_image(picture(), name="cells")
    return viewer


@pytest.fixture
def plugins():
    """What napari does when its window opens."""
    # a test before this one may have opened a window, which napari's own fixture forgets
    with suppress(ValueError):
        _initialize_plugins()


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
def free_engine_can(monkeypatch, engine, registry, panel):
    """Change what the free engine can do, and choose it again."""

    def change(**changes):
        engine.capabilities = replace(FREE, **changes)
        first = replace(registry[0], capabilities=engine.capabilities)
        monkeypatch.setattr(engines, "ENGINES", (first, *registry[1:]))
        for name in ("paid", "builtin"):
            panel.form.engine.value = name

    return change


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


@pytest.fixture
def asked(qtbot):
    """Wait until an engine was asked so many times."""

    def asked(engine, count):
        qtbot.waitUntil(lambda: len(engine.requests) >= count, timeout=LIMIT_MS)

    return asked


@pytest.fixture
def click(panel, settle):
    """Click on the image as the armed Points tool does."""

    def click(row, col, *, at=None, wait=True):
        if panel.prompts.get("points") is None:
            panel.form.tools.point.native.click()
        layer = panel.prompts.get("points")
        layer.add((row, col) if at is None else (at, row, col))
        if wait:
            settle()

    return click


on_screen = pytest.mark.parametrize("viewer", [True], indirect=True, ids=["on screen"])
"""For tests of keys, of showing and of hiding: those need a window that has the focus."""


def labels_layers(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def only_labels(viewer):
    (layer,) = labels_layers(viewer)
    return layer


def said(panel):
    return panel.form.result.text()


def values(layer):
    return np.unique(layer.data).tolist()


def press(viewer, key):
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, key)


class Mouse:
    """Real mouse events on the canvas, at places in the image."""

    KINDS = QEvent.Type

    def __init__(self, viewer, qtbot):
        self.viewer, self.size = viewer, None
        self.canvas = viewer.window._qt_viewer.canvas.native
        viewer.window.resize(1200, 800)
        qtbot.waitUntil(self.is_settled, timeout=LIMIT_MS)
        viewer.reset_view()
        QApplication.processEvents()

    def is_settled(self):
        before, self.size = self.size, self.canvas.size()
        return before == self.size and self.size.width() > 300

    def at(self, row, col):
        camera = self.viewer.scene.camera
        middle = np.array([self.canvas.height(), self.canvas.width()]) / 2
        y, x = (np.array([row, col]) - np.array(camera.center)[-2:]) * camera.zoom + middle
        return QPointF(float(x), float(y))

    def send(self, kind, place, button, buttons):
        where = self.canvas.mapToGlobal(place)
        none = Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(kind, place, where, button, buttons, none)
        QApplication.sendEvent(self.canvas, event)
        QApplication.processEvents()

    def drag(self, *places):
        left, no = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        first, last = self.at(*places[0]), self.at(*places[-1])
        self.send(QEvent.Type.MouseMove, first, no, no)
        self.send(QEvent.Type.MouseButtonPress, first, left, left)
        for place in places[1:]:
            self.send(QEvent.Type.MouseMove, self.at(*place), no, left)
        self.send(QEvent.Type.MouseButtonRelease, last, left, no)

    def click(self, row, col):
        self.drag((row, col), (row, col))


@pytest.fixture
def mouse(viewer, panel, qtbot):
    return Mouse(viewer, qtbot)


@pytest.fixture
def blobs(real_engines, viewer):
    """Two bright discs on a dark ground, by the real engine."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    discs = np.zeros(SHAPE)
    for row, col, radius in ((18, 20, 9), (40, 65, 12)):
        discs[np.hypot(rows - row, cols - col) < radius] = 180
    noise = np.random.default_rng(3).normal(30, 4, SHAPE)
    viewer.layers["cells"].data = (discs + noise).clip(0, 255).astype(np.uint8)
    return viewer


# ---------------------------------------------------------------------- the panel of objects


@pytest.fixture
def room():
    return Room()


@pytest.fixture
def seen(request):
    """The viewer; a real one, with a window, for tests that are parametrized so."""
    if "viewer" not in request.fixturenames:
        return request.getfixturevalue("room").viewer
    viewer = request.getfixturevalue("viewer")
    viewer.add_layer(labels_on_record())
    return viewer


@pytest.fixture
def layer(seen):
    return seen.layers["cells objects"]


@pytest.fixture
def objects(seen, layer, qtbot, request):
    """The panel of the objects, in step."""
    if "viewer" in request.fixturenames:
        panel = seen.window.add_plugin_dock_widget("napari-sam3", "Objects")[1]
    else:
        panel = ObjectsPanel(seen)
        qtbot.addWidget(panel)
    wait(panel, qtbot)
    yield panel
    panel.close_down()


@pytest.fixture
def still(objects, qtbot):
    """Wait until the panel of the objects has nothing left to do."""
    return lambda: wait(objects, qtbot)


@pytest.fixture
def refine(objects, still):
    """Refine an object without a click; the tool stays in the hand."""

    def refine(label):
        objects.review.choose((label,))
        objects.refine()
        still()

    return refine


@pytest.fixture
def segment(seen, layer, qtbot):
    """The other panel over the same viewer, without a dock, writing into the same layer."""
    panel = SegmentPanel(seen)
    qtbot.addWidget(panel)
    panel.form.output.value = layer
    yield panel
    panel.close_down()


@pytest.fixture
def run_all(segment, qtbot):
    """Find everything, and return what that panel says."""

    def run_all():
        segment.form.question.value = "everything"
        segment.form.run.native.click()
        wait(segment, qtbot)
        return said(segment)

    return run_all
