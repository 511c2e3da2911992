"""What ran in this session, what it cost, and how to have it back."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtWidgets import QApplication, QDialog

from napari_sam3 import engines
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Everything, ObjectPrompt, Point
from napari_sam3.engines.segmind import engine as segmind_engine
from napari_sam3.engines.segmind import key as keys
from napari_sam3.errors import EngineError
from napari_sam3.jobs.accounts import open_ledger, read_limits
from napari_sam3.jobs.ledger import Caps
from napari_sam3.jobs.paid import COLLECTABLE
from napari_sam3.jobs.records import open_records
from napari_sam3.settings import (
    CACHE_USED,
    CAP_PER_DAY,
    CONFIRM_ABOVE,
    read_settings,
    write_setting,
)
from napari_sam3.testing import Behaviour, SegmindServer
from napari_sam3.widgets import _consent
from napari_sam3.widgets.panel import SegmentPanel
from napari_sam3.widgets.saving import capture_labels, save_layer_data
from napari_sam3.workflows.provenance import check_record

from .conftest import only_labels


def rows(panel):
    table = panel.history.table
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


def answer_of_dialog(monkeypatch, agreed):
    """Answer every question whether to pay, and remember what was asked."""
    asked = []

    def ask(_parent, title, words):
        asked.append(words)
        return agreed

    monkeypatch.setattr(_consent, "ask", ask)
    return asked


class TestList:
    def test_the_newest_run_is_on_top_with_what_it_found_and_cost(self, panel, run):
        run("everything")
        panel.form.engine.value = "paid"
        panel.form.text.value = "mitosis"
        run("concept")
        (newest, oldest) = rows(panel)
        assert newest[1:] == ["mitosis · paid", "1", "$0.0070"]
        assert oldest[1:] == ["everything · builtin", "2", "free"]

    def test_a_paid_answer_whose_price_was_not_told_is_not_called_free(
        self, panel, run, paid_engine, monkeypatch
    ):
        answer = paid_engine.segment
        monkeypatch.setattr(paid_engine, "collect", lambda t, stop: answer(t.request, stop))
        panel.form.engine.value = "paid"
        panel.form.text.value = "mitosis"
        run("concept")
        assert rows(panel)[0][3] == "unknown"

    def test_a_run_that_failed_is_not_listed(self, panel, run, engine):
        engine.error = EngineError("The engine is tired.")
        assert "tired" in run("everything")
        assert rows(panel) == []

    def test_costs_of_today_come_from_the_ledger(self, panel, run):
        panel.form.engine.value = "paid"
        panel.form.text.value = "mitosis"
        run("concept")
        assert "Today $0.0070, this session $0.0070" in panel.history.costs.text()

    def test_looking_makes_no_file_for_somebody_who_pays_nothing(self, panel, run):
        run("everything")
        assert not open_ledger().path.exists()

    def test_no_pixels_and_no_masks_are_kept(self, panel, run):
        run("everything")
        panel.history.table.selectRow(0)
        past = panel.history.selected()
        kept = [getattr(past, name) for name in past.__slots__]
        assert not any(isinstance(value, np.ndarray) for value in kept)
        assert past.prompts == (Everything(),)


class TestStoredAnswers:
    def test_the_same_question_again_is_answered_from_the_cache(self, panel, run, paid_engine):
        panel.history.use_cache.value = True
        panel.form.engine.value = "paid"
        panel.form.text.value = "mitosis"
        first, second = run("concept"), run("concept")
        assert len(paid_engine.requests) == 1
        assert "$0.0070" in first
        assert "from cache" not in first
        assert "from cache" in second
        assert rows(panel)[0][3] == "cache"

    def test_switched_off_it_is_asked_again(self, panel, run, engine):
        panel.history.use_cache.value = False
        run("everything")
        run("everything")
        assert len(engine.requests) == 2

    def test_the_switch_is_remembered(self, panel):
        panel.history.use_cache.value = True
        assert read_settings().cache_used is True
        panel.history.use_cache.value = False
        assert read_settings().cache_used is False


class TestConsent:
    @pytest.fixture
    def paid(self, panel):
        panel.form.engine.value = "paid"
        panel.form.text.value = "mitosis"
        panel.form.question.value = "concept"
        return panel

    def test_a_cheap_run_is_not_asked_about(self, paid, run, monkeypatch):
        asked = answer_of_dialog(monkeypatch, agreed=False)
        assert "1 object" in run()
        assert asked == []

    def test_above_the_threshold_it_is_asked_once_with_the_price(
        self, paid, run, monkeypatch, paid_engine
    ):
        paid.hosted.limits.confirm_above.value = 0.0
        asked = answer_of_dialog(monkeypatch, agreed=True)
        assert "1 object" in run()
        (words,) = asked
        assert "1 call" in words
        assert "$0.005–0.007" in words

    def test_who_says_no_sends_nothing(self, paid, run, monkeypatch, paid_engine):
        paid.hosted.limits.confirm_above.value = 0.0
        answer_of_dialog(monkeypatch, agreed=False)
        assert "Nothing was sent" in run()
        assert paid_engine.requests == []
        assert not paid.runner.is_busy

    def test_what_the_engine_lacks_is_said_before_anything_is_asked(
        self, paid, run, monkeypatch, registry, paid_engine
    ):
        lacking = replace(registry[1], lacks=lambda: "needs a key")
        monkeypatch.setattr(engines, "ENGINES", (registry[0], lacking))
        monkeypatch.setattr(_consent, "upload_was_agreed", lambda _: pytest.fail("asked"))
        assert "Paid SAM3 needs a key." in run()
        assert paid_engine.requests == []

    def test_a_run_that_is_stopped_while_it_asks_ends(self, paid, settle, monkeypatch, qtbot):
        paid.hosted.limits.confirm_above.value = 0.0
        monkeypatch.setattr(_consent, "ask", lambda *_: paid.cancel() or True)
        paid.run()
        settle()
        assert open_ledger().entries() == []

    def test_a_stored_answer_is_not_asked_about(self, paid, run, monkeypatch):
        paid.history.use_cache.value = True
        run()
        paid.hosted.limits.confirm_above.value = 0.0
        asked = answer_of_dialog(monkeypatch, agreed=False)
        assert "from cache" in run()
        assert asked == []

    def test_a_cap_stops_the_run_with_a_sentence(self, paid, run, paid_engine):
        paid.hosted.limits.per_day.value = 0.001
        said = run()
        assert paid_engine.requests == []
        assert "napari-sam3 limits" in said


class TestLimits:
    def test_what_is_set_is_remembered_and_no_cap_is_none(self, panel):
        limits = panel.hosted.limits
        limits.confirm_above.value = 0.5
        limits.per_run.value = 3.0
        limits.per_day.value = limits.per_day.min
        limits.project.value = "mitosis paper"
        assert read_limits().confirm_above == 0.5
        assert read_limits().caps == Caps(3.0, None)
        assert open_records().accounts().project == "mitosis paper"

    def test_a_cap_of_nothing_is_a_cap(self, panel):
        panel.hosted.limits.per_day.value = 0.0
        assert read_limits().caps.per_day == 0.0

    @pytest.mark.parametrize("usd", [20_000, 0.0004, None])
    def test_whatever_was_set_on_the_command_line_the_panel_opens(self, make_napari_viewer, usd):
        write_setting(CAP_PER_DAY, usd)
        panel = SegmentPanel(make_napari_viewer())
        shown = panel.hosted.limits.per_day
        assert (shown.native.text() == "no cap") is (usd is None)
        # looking changes nothing
        assert read_settings().cap_per_day == usd
        panel.close_down()

    def test_a_new_panel_shows_what_was_set(self, make_napari_viewer):
        write_setting(CONFIRM_ABOVE, 0.25)
        panel = SegmentPanel(make_napari_viewer())
        assert panel.hosted.limits.confirm_above.value == 0.25
        panel.close_down()


class TestRestore:
    def restore_newest(self, panel):
        panel.history.table.selectRow(0)
        panel.history.restore.native.click()

    def test_text_engine_and_thresholds_come_back(self, panel, run):
        panel.form.engine.value = "paid"
        panel.form.text.value = "mitosis"
        run("concept")
        panel.form.engine.value = "builtin"
        panel.form.text.value = "something else"
        panel.form.question.value = "everything"
        self.restore_newest(panel)
        assert panel.form.engine.value == "paid"
        assert panel.form.text.value == "mitosis"
        assert panel.question == "concept"
        assert "are back" in panel.form.result.text()

    def test_drawn_prompts_come_back_and_what_is_drawn_now_stays(self, panel, run, viewer):
        panel.form.live.value = False
        panel.draw("points")
        drawn = panel.prompts.get("points")
        drawn.add([20, 33])
        run("object")
        drawn.data = np.array([[50, 80]])
        self.restore_newest(panel)
        again = panel.prompts.get("points")
        assert again is not drawn
        assert any(layer is drawn for layer in viewer.layers)
        assert drawn.data.tolist() == [[50, 80]]
        assert panel.value().prompts == (ObjectPrompt((Point(20.0, 33.0),)),)
        assert panel.form.points.value.name == again.name

    def test_a_further_click_refines_the_object_that_the_run_found(self, panel, run, viewer):
        panel.form.live.value = False
        panel.draw("points")
        panel.prompts.get("points").add([20, 33])
        run("object")
        self.restore_newest(panel)
        panel.prompts.get("points").add([30, 50])
        run()
        labels = only_labels(viewer)
        assert np.unique(labels.data).tolist() == [0, 1]
        assert labels.data[30, 50] == 1

    def test_a_box_comes_back(self, panel, run):
        panel.form.live.value = False
        panel.draw("boxes")
        panel.prompts.get("boxes").add_rectangles([[10, 20], [30, 60]])
        asked = panel.asking.context().run.prompts if run("object") else ()
        self.restore_newest(panel)
        assert panel.value().prompts == asked
        assert isinstance(asked[0].box, Box)

    def test_an_image_that_is_gone_is_told_and_changes_nothing(self, panel, run, viewer):
        run("everything")
        panel.form.question.value = "concept"
        viewer.layers.remove("cells")
        self.restore_newest(panel)
        assert "was removed" in panel.form.result.text()
        assert panel.question == "concept"

    def test_the_plane_is_shown_again(self, make_napari_viewer, open_panel, settle, qtbot):
        viewer = make_napari_viewer()
        viewer.add_image(np.zeros((7, 30, 50)), scale=(2, 1, 1))
        panel = open_panel(viewer)
        viewer.dims.set_point(0, 6)
        panel.run()
        qtbot.waitUntil(lambda: not panel.is_busy, timeout=20_000)
        viewer.dims.set_point(0, 0)
        panel.history.table.selectRow(0)
        panel.history.restore.native.click()
        assert viewer.dims.point[0] == 6


class TestUnfinished:
    """Against the stand-in: a wait that was broken off, and a program that ended."""

    @pytest.fixture
    def server(self):
        with SegmindServer(Behaviour(queued_polls=0, processing_polls=0), credits=1.0) as server:
            yield server

    @pytest.fixture
    def panel(self, make_napari_viewer, real_engines, server, monkeypatch, wait_for):
        monkeypatch.setenv(keys.ENVIRONMENT_VARIABLE, server.key)
        monkeypatch.setattr(segmind_engine, "POLL_S", 0.01)
        write_setting(CACHE_USED, True)
        viewer = make_napari_viewer()
        image = np.zeros((60, 90), np.uint8)
        image[10:30, 20:70] = 200
        lies = {"scale": (0.5, 0.7), "translate": (100, 50)}
        viewer.add_image(image, name="cells", contrast_limits=(0, 255), **lies)
        panel = SegmentPanel(viewer)
        viewer.window.add_dock_widget(panel)
        panel.form.engine.value = "segmind"
        panel.form.question.value = "concept"
        panel.form.text.value = "cell"
        panel.hosted.url.value = server.url
        wait_for(panel)
        yield panel
        panel.close_down()
        keys.forget_key()

    @pytest.fixture
    def wait_for(self, qtbot):
        def wait(panel):
            qtbot.waitUntil(lambda: not panel.is_busy and not panel.hosted.is_busy, timeout=20_000)

        return wait

    def break_off(self, panel, wait_for, monkeypatch):
        """Stop waiting right after the service has accepted a question."""
        collect = segmind_engine.SegmindEngine.collect

        def stopped(engine, ticket, stop):
            stop.set()
            return collect(engine, ticket, stop)

        with monkeypatch.context() as patch:
            patch.setattr(segmind_engine.SegmindEngine, "collect", stopped)
            panel.run()
            wait_for(panel)

    def test_it_is_offered_and_collected_at_no_cost(self, panel, wait_for, server, monkeypatch):
        self.break_off(panel, wait_for, monkeypatch)
        assert "1 paid result was never fetched" in panel.form.unfinished.text()
        assert not panel.form._offer.isHidden()
        panel.form.collect.native.click()
        wait_for(panel)
        assert server.ledger.billed == 1
        assert panel.form._offer.isHidden()
        (layer,) = [one for one in panel._viewer.layers if isinstance(one, Labels)]
        assert layer.name == "collected: cell"
        # where the image lies, and under its name
        np.testing.assert_allclose(layer.extent.world, panel._viewer.layers["cells"].extent.world)
        assert layer.metadata["napari_sam3"]["image"]["name"] == "cells"
        (said,) = check_record(layer.metadata["napari_sam3"])["runs"]
        assert said["questions"][0]["prompt"]["text"] == "cell"
        assert "running it again is free" in panel.form.result.text()
        panel.run()
        wait_for(panel)
        assert "from cache" in panel.form.result.text()
        assert server.ledger.billed == 1

    def test_asking_again_collects_it(self, panel, wait_for, server, monkeypatch):
        self.break_off(panel, wait_for, monkeypatch)
        panel.run()
        wait_for(panel)
        assert server.ledger.billed == 1
        assert "object" in panel.form.result.text()
        assert panel.form._offer.isHidden()

    def test_restore_brings_the_services_options_back(self, panel, wait_for):
        panel.hosted.answer.value = "separate masks"
        panel.hosted.max_side.value = 1024
        panel.form.rule.value = "smallest"
        panel.run()
        wait_for(panel)
        address = panel.hosted.url.value
        panel.hosted.answer.value = "mask"
        panel.hosted.max_side.value = 2048
        panel.form.rule.value = "score"
        panel.history.table.selectRow(0)
        panel.history.restore.native.click()
        assert panel.hosted.answer.value == "separate masks"
        assert panel.hosted.max_side.value == 1024
        assert panel.form.rule.value == "smallest"
        assert panel.hosted.url.value == address

    def test_one_that_could_not_be_stored_is_offered_until_its_labels_are_saved(
        self, panel, wait_for, server, monkeypatch, tmp_path
    ):
        blocked = tmp_path / "full"
        blocked.write_text("a file where the folder should be")
        monkeypatch.setenv("NAPARI_SAM3_CACHE", str(blocked))
        panel.run()
        wait_for(panel)
        assert "1 paid result was never fetched" in panel.form.unfinished.text()
        assert COLLECTABLE in panel.form.result.text()
        panel.run()
        wait_for(panel)
        assert server.ledger.billed == 1
        (layer,) = [one for one in panel._viewer.layers if isinstance(one, Labels)]
        save_layer_data(tmp_path / "cells.tif", capture_labels(layer))
        assert panel.history.records().accounts().unfinished() == []

    def test_the_next_start_offers_it(self, panel, wait_for, monkeypatch, make_napari_viewer):
        self.break_off(panel, wait_for, monkeypatch)
        again = SegmentPanel(panel._viewer)
        wait_for(again)
        assert "1 paid result was never fetched" in again.form.unfinished.text()
        again.close_down()


def test_the_question_waits_for_no_dialog_of_a_window_that_is_gone(panel):
    stop = threading.Event()
    stop.set()
    confirm = panel.consent.confirm(stop, panel.engine_info)
    agreed = []
    thread = threading.Thread(target=lambda: agreed.append(confirm(None)))
    thread.start()
    thread.join(20)
    assert agreed == [False]
    QApplication.processEvents()


def test_the_price_dialog_says_yes_and_no(panel, monkeypatch):
    from napari_sam3.jobs.estimate import Estimate

    expected = Estimate(3, high=0.3, low=0.2, seconds=9.0)
    for code, agreed in ((QDialog.DialogCode.Accepted, True), (QDialog.DialogCode.Rejected, False)):
        monkeypatch.setattr(QDialog, "exec", lambda _self, code=code: code)
        assert _consent.price_is_agreed(panel, expected) is agreed
