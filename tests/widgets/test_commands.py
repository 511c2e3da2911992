"""The commands in napari's palette, run as the palette runs them, in a real window."""

from __future__ import annotations

import pytest
from napari._app_model import get_app_model
from napari._qt.widgets.qt_command_palette import _enabled
from napari.utils.notifications import notification_manager
from npe2 import PluginManager

from napari_sam3.widgets._dock import docked
from napari_sam3.widgets.objects_panel import ObjectsPanel
from napari_sam3.widgets.panel import SegmentPanel

from .conftest import on_screen, only_labels, said
from .objects_room import LIMIT_MS, labels_on_record, states, wait

IDS = (
    *("open_segment", "open_objects", "segment_everything"),
    *("next_object", "accept", "reject", "next_doubtful"),
)
NEED_A_FILE = ("read_objects", "write_objects", "write_labels")


@pytest.fixture
def told():
    """Return what napari notified of since."""
    before = len(notification_manager.records)
    return lambda: [str(one.message) for one in notification_manager.records[before:]]


@pytest.fixture
def command(plugins, viewer):
    """Run a command as the palette does."""

    def run(name):
        get_app_model().commands.execute_command(f"napari-sam3.{name}").result()

    return run


@pytest.fixture
def segmenting(viewer):
    return lambda: docked(viewer, SegmentPanel)


@pytest.fixture
def reviewing(viewer, qtbot):
    """Return the panel of the objects, in step."""

    def find():
        panel = docked(viewer, ObjectsPanel)
        wait(panel, qtbot)
        return panel

    return find


def palette():
    """Return the palette's commands of ours, by id."""
    app = get_app_model()
    items = app.menus.get_menu(app.menus.COMMAND_PALETTE_ID)
    found = {item.command.id: item.command for item in items}
    return {name: one for name, one in found.items() if name.startswith("napari-sam3.")}


@pytest.mark.usefixtures("plugins", "viewer")
class TestPalette:
    def test_it_offers_them_all_by_a_title(self):
        shown = palette()
        for name in IDS:
            assert shown[f"napari-sam3.{name}"].title.endswith("(SAM3)")

    def test_it_runs_nothing_that_needs_a_file(self):
        off = {name for name, one in palette().items() if not _enabled(one, {})}
        assert off == {f"napari-sam3.{name}" for name in NEED_A_FILE}

    def test_npe2_runs_them_too(self, viewer):
        PluginManager.instance().commands.execute("napari-sam3.open_segment")
        assert docked(viewer, SegmentPanel) is not None


class TestPanels:
    def test_they_are_opened_once_and_found_again(self, command, viewer, segmenting, reviewing):
        for _ in range(2):
            command("open_segment")
            command("open_objects")
        docks = list(viewer.window.dock_widgets.values())
        assert sum(isinstance(one, SegmentPanel) for one in docks) == 1
        assert sum(isinstance(one, ObjectsPanel) for one in docks) == 1

    def test_one_that_is_hidden_is_shown_again(self, command, segmenting):
        command("open_segment")
        segmenting()._dock_widget().hide()
        command("open_segment")
        assert not segmenting()._dock_widget().isHidden()

    def test_without_a_window_that_is_said(self, plugins, told):
        get_app_model().commands.execute_command("napari-sam3.accept").result()
        assert told() == ["Open a napari window first."]


class TestSegment:
    def test_everything_becomes_labels_without_a_click(self, command, viewer, segmenting, qtbot):
        command("segment_everything")
        wait(segmenting(), qtbot)
        assert segmenting().question == "everything"
        assert only_labels(viewer).data.max() == 2

    def test_without_an_image_that_is_said(self, command, viewer, segmenting, told):
        viewer.layers.clear()
        command("segment_everything")
        command("next_object")
        assert told() == [said(segmenting())] * 2
        assert "image" in told()[0]

    def test_what_is_drawn_next_is_another_object(self, command, segmenting, told):
        command("open_segment")
        panel = segmenting()
        panel.draw("points")
        panel.prompts.get("points").add((20, 20))
        before = panel.prompts.current_object
        command("next_object")
        assert panel.prompts.current_object == before + 1
        assert told() == []


class TestReview:
    @pytest.fixture
    def layer(self, viewer):
        return viewer.add_layer(labels_on_record())

    def test_the_next_doubtful_one_is_found_though_the_panel_was_closed(
        self, command, layer, reviewing, qtbot, told
    ):
        command("next_doubtful")
        qtbot.waitUntil(lambda: reviewing().review.current == (3,), timeout=LIMIT_MS)
        assert told() == []

    @pytest.mark.parametrize(("name", "state"), [("accept", "accepted"), ("reject", "rejected")])
    def test_the_current_object_is_decided_on(self, command, layer, reviewing, name, state):
        command("open_objects")
        reviewing().review.choose((2,))
        command(name)
        reviewing()
        assert states(layer)[2] == state
        assert states(layer)[1] == "unreviewed"

    @pytest.mark.parametrize("name", ["accept", "reject"])
    def test_without_a_current_object_that_is_said(
        self, command, layer, reviewing, told, qtbot, name
    ):
        command(name)
        qtbot.waitUntil(lambda: bool(told()), timeout=LIMIT_MS)
        assert told() == [said(reviewing())]
        assert "Select an object" in told()[0]
        assert set(states(layer).values()) == {"unreviewed"}

    def test_without_labels_that_is_said(self, command, reviewing, told, qtbot):
        command("next_doubtful")
        qtbot.waitUntil(lambda: bool(told()), timeout=LIMIT_MS)
        assert "no Labels layer" in told()[0]

    @on_screen
    def test_behind_another_tab_it_decides_nothing_and_shows_the_panel(
        self, command, viewer, layer, reviewing, segmenting, qtbot, told
    ):
        command("open_segment")
        command("open_objects")
        panel = reviewing()
        qtbot.waitUntil(
            lambda: segmenting()._dock_widget() in _beside(viewer, panel), timeout=LIMIT_MS
        )
        panel.review.choose((2,))
        command("open_segment")
        qtbot.waitUntil(lambda: not panel.is_seen, timeout=LIMIT_MS)
        command("accept")
        assert states(layer)[2] == "unreviewed"
        assert "in front now" in told()[0]
        qtbot.waitUntil(lambda: panel.is_seen, timeout=LIMIT_MS)
        command("accept")
        assert states(layer)[2] == "accepted"


def _beside(viewer, panel):
    return viewer.window._qt_window.tabifiedDockWidgets(panel._dock_widget())
