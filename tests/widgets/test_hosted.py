"""The panel against the stand-in: key, consent, price, waiting, what is kept."""

import json
import threading

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog, QPushButton

from napari_sam3.engines.segmind import engine as segmind_engine
from napari_sam3.engines.segmind import key as keys
from napari_sam3.settings import read_settings, settings_path
from napari_sam3.testing import Behaviour, SegmindServer
from napari_sam3.widgets import _consent, _hosted
from napari_sam3.widgets.panel import SegmentPanel

SHAPE = (60, 90)
LIMIT_MS = 20_000


def upper_left(image, fields):
    """Answer with one mask that is neither square nor centred."""
    mask = np.zeros(image.shape[:2], bool)
    mask[: mask.shape[0] // 2, : mask.shape[1] // 3] = True
    return [mask]


@pytest.fixture
def server():
    with SegmindServer(Behaviour(), credits=1.0, model=upper_left) as server:
        yield server


@pytest.fixture
def panel(make_napari_viewer, qtbot, real_engines, server, monkeypatch, tmp_path):
    monkeypatch.delenv(keys.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("NAPARI_SAM3_CONFIG", str(tmp_path))
    monkeypatch.setattr(segmind_engine, "POLL_S", 0.01)
    keys.forget_key()
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros(SHAPE, np.uint8), name="cells", contrast_limits=(0, 255))
    panel = SegmentPanel(viewer)
    viewer.window.add_dock_widget(panel)
    panel.show()
    panel.form.engine.value = "segmind"
    panel.hosted.url.value = server.url
    yield panel
    panel.close_down()
    keys.forget_key()


@pytest.fixture
def wait(qtbot, panel):
    def until_done():
        qtbot.waitUntil(lambda: not panel.is_busy and not panel.hosted.is_busy, timeout=LIMIT_MS)

    return until_done


@pytest.fixture
def with_key(panel, server, wait):
    panel.hosted.key.value = server.key
    panel.hosted.use_key.native.click()
    wait()
    return panel


def labels_of(panel):
    return [layer for layer in panel._viewer.layers if isinstance(layer, Labels)]


def test_without_a_key_the_panel_says_what_to_do_and_nothing_is_sent(panel, server, wait):
    wait()
    assert "needs an API key" in panel.hosted.state.text()
    panel.form.run.native.click()
    wait()
    assert "SEGMIND_API_KEY" in panel.form.result.text()
    assert server.ledger.posts == 0


def test_testing_the_key_shows_the_balance_and_costs_nothing(panel, server, wait):
    panel.hosted.key.value = f"  {server.key} "
    panel.hosted.test_key.native.click()
    wait()
    assert "$1.00 left" in panel.hosted.state.text()
    assert "The key works" in panel.hosted.state.text()
    assert server.ledger.billed == 0


def test_a_wrong_key_is_said_and_the_field_is_emptied(panel, server, wait):
    panel.hosted.key.value = "SG_00000000deadbeef"
    panel.hosted.test_key.native.click()
    wait()
    assert "does not accept the API key" in panel.hosted.state.text()
    assert panel.hosted.key.value == ""


def test_what_is_no_key_is_refused_at_once(panel, wait):
    wait()
    panel.hosted.key.value = "two words"
    panel.hosted.use_key.native.click()
    assert "not an API key" in panel.hosted.state.text()


def test_text_becomes_labels_and_the_cost_is_counted(with_key, server, wait):
    panel = with_key
    panel.form.question.value = "concept"
    panel.form.text.value = "nucleus"
    panel.form.run.native.click()
    wait()
    [layer] = labels_of(panel)
    assert layer.data[:30, :30].all()
    assert layer.data.sum() == 30 * 30
    assert "$0.0060" in panel.form.result.text()
    assert "$0.006 spent" in panel.hosted.state.text()
    assert "$0.99 left" in panel.hosted.state.text()
    assert layer.features["prompt"].tolist() == ["nucleus"]
    assert server.ledger.billed == 1


def test_the_key_is_in_no_layer_no_setting_no_repr_and_on_no_other_host(with_key, server, wait):
    panel = with_key
    panel.form.run.native.click()
    wait()
    seen = [repr(panel), repr(panel.__dict__), repr(panel._engines), settings_path().read_text()]
    seen += [repr(layer.metadata) + layer.features.to_json() for layer in labels_of(panel)]
    assert server.key not in json.dumps(seen)
    assert server.leaked_keys == 0


def test_while_it_waits_the_panel_says_for_what_and_how_long(with_key, server, qtbot, wait):
    panel = with_key
    server.behaviour = Behaviour(latency_s=float("inf"))
    panel.form.run.native.click()
    qtbot.waitUntil(
        lambda: panel.form.result.text().startswith(("queued", "running")), timeout=LIMIT_MS
    )
    assert panel.form.cancel.enabled
    assert not panel.form.run.enabled
    panel.cancel()
    wait()
    assert panel.form.run.enabled
    assert labels_of(panel) == []


def test_a_failure_changes_no_layer_and_is_said_once(with_key, server, wait):
    panel = with_key
    server.behaviour = Behaviour(nothing_found="422")
    panel._viewer.layers[0].data = np.zeros(SHAPE, np.uint8)
    before = list(panel._viewer.layers)
    panel.form.question.value = "concept"
    panel.form.text.value = "x" * 5
    server.refill(-1.0)
    panel.form.run.native.click()
    wait()
    assert "Nothing was billed" in panel.form.result.text()
    assert list(panel._viewer.layers) == before


def test_several_objects_show_their_price_before_run(with_key, server, wait):
    panel = with_key
    panel.draw("points")
    points = panel.prompts.get("points")
    for place in ((5, 5), (20, 20), (25, 70)):
        points.add(place)
        panel.next_object()
    assert (
        panel.form.price.text()
        == "Run makes at most 3 calls, about $0.018; stored results are free."
    )
    assert panel.form.price.isVisibleTo(panel)
    assert server.ledger.posts == 0
    panel.form.engine.value = "builtin"
    assert not panel.form.price.isVisibleTo(panel)


def test_clicks_are_never_answered_live_by_an_engine_that_costs_money(with_key, server, qtbot):
    panel = with_key
    panel.draw("points")
    panel.prompts.get("points").add((5, 5))
    qtbot.wait(50)
    assert server.ledger.posts == 0
    assert not panel.form.live.enabled


def test_combined_prompts_are_a_choice_of_the_hosted_engine_only(with_key, server, wait):
    panel = with_key
    panel.form.question.value = "concept"
    assert not panel.form.tools.point.enabled
    panel.form.combine.value = True
    assert panel.form.tools.point.enabled
    panel.draw("points")
    assert panel.question == "concept"
    panel.prompts.get("points").add((5, 6))
    panel.form.text.value = "nucleus"
    panel.run()
    wait()
    [request] = server.ledger.of("submit")
    assert request.fields["points_input"] == "[[6, 5]]"
    assert request.fields["text_prompt"] == "nucleus"
    assert "left one kind out of account" in panel.form.result.text()
    panel.form.engine.value = "builtin"
    assert not panel.form.combine.native.isVisibleTo(panel)
    assert not panel.form.tools.point.enabled


def test_an_overlay_is_an_image_and_never_labels(with_key, wait):
    panel = with_key
    panel._viewer.layers[0].scale = (2, 3)
    panel.hosted.answer.value = "overlay"
    panel.run()
    wait()
    overlay = panel._viewer.layers["overlay"]
    assert isinstance(overlay, Image)
    assert overlay.rgb
    assert labels_of(panel) == []
    assert np.allclose(overlay.data_to_world((1, 1)), (2, 3))


def test_what_will_be_sent_can_be_seen_and_is_not_sent(with_key, server, wait, qtbot):
    panel = with_key
    panel.hosted.preview.native.click()
    wait()
    [dialog] = [w for w in QApplication.topLevelWidgets() if _is_dialog(w)]
    assert server.ledger.posts == 0
    dialog.close()
    qtbot.waitUntil(lambda: not any(_is_dialog(w) for w in QApplication.topLevelWidgets()))


def _is_dialog(widget):
    return isinstance(widget, QDialog) and widget.isVisible()


@pytest.mark.parametrize("agreed", [True, False])
def test_the_first_upload_is_asked_for_and_the_answer_remembered(
    with_key, server, wait, monkeypatch, agreed
):
    panel = with_key
    monkeypatch.setattr(_consent, "upload_was_agreed", _hosted.upload_was_agreed)
    asked = []

    def press(dialog):
        asked.append(dialog)
        words = "Send" if agreed else "Don't send"
        [button] = [b for b in dialog.findChildren(QPushButton) if b.text() == words]
        button.click()
        return dialog.result()

    monkeypatch.setattr(QDialog, "exec", press)
    panel.run()
    wait()
    assert server.ledger.posts == int(agreed)
    assert read_settings().segmind_upload_notice_seen is agreed
    panel.form.text.value = "again"
    panel.run()
    wait()
    assert len(asked) == (1 if agreed else 2)


def test_the_service_is_asked_off_the_windows_thread(with_key, server, wait, monkeypatch):
    threads = []
    original = segmind_engine.SegmindEngine.submit

    def submit(self, request, stop):
        threads.append(threading.current_thread())
        return original(self, request, stop)

    monkeypatch.setattr(segmind_engine.SegmindEngine, "submit", submit)
    with_key.run()
    wait()
    assert threads
    assert threading.main_thread() not in threads


def test_an_address_that_could_give_the_key_away_is_refused_before_anything_is_sent(
    with_key, server, wait
):
    with_key.hosted.url.value = "http://example.org"
    with_key.run()
    wait()
    assert "https://" in with_key.form.result.text()
    assert server.ledger.posts == 0


def test_nothing_is_queued_behind_a_free_run_without_consent(with_key, server, wait, monkeypatch):
    panel = with_key
    asked = []
    monkeypatch.setattr(_consent, "upload_was_agreed", lambda _p: asked.append(1))
    panel.form.engine.value = "builtin"
    panel.form.run.native.click()
    panel.form.engine.value = "segmind"
    panel.run()
    wait()
    assert asked == [1]
    assert server.ledger.posts == 0


def test_a_mistyped_key_does_not_take_the_place_of_one_that_works(with_key, server, wait):
    panel = with_key
    panel.hosted.key.value = "SG_00000000deadbeef"
    panel.hosted.test_key.native.click()
    wait()
    assert keys.find_key()[0].reveal() == server.key


def test_a_cancelled_paid_call_says_that_it_may_be_billed(with_key, server, qtbot, wait):
    panel = with_key
    server.behaviour = Behaviour(latency_s=float("inf"))
    panel.run()
    qtbot.waitUntil(lambda: bool(server.ledger.of("status")), timeout=LIMIT_MS)
    panel.cancel()
    wait()
    assert "billed" in panel.form.result.text()
    assert "Nothing was changed" in panel.form.result.text()


@pytest.mark.parametrize("url", ["SG_5eed5eed5eed5eed", "https://u:SG_5eed@x.org", "http://x.org"])
def test_an_address_that_is_none_is_not_remembered(with_key, url):
    before = settings_path().read_text()
    with_key.hosted.url.value = url
    assert settings_path().read_text() == before


def test_a_box_cannot_be_made_negative_by_the_key(with_key):
    panel = with_key
    panel.form.engine.value = "builtin"
    panel.draw("boxes")
    panel.toggle_polarity()
    assert "only points, scribbles and examples can be negative" in panel.form.result.text()
    assert panel.prompts.get("boxes").feature_defaults["polarity"].iloc[0] == "positive"


def test_further_clicks_in_a_layer_without_numbers_refine_the_same_object(with_key, server, wait):
    panel = with_key
    panel.form.engine.value = "builtin"
    image = np.zeros(SHAPE, np.uint8)
    image[10:40, 20:60] = 200
    panel._viewer.layers[0].data = image
    points = panel._viewer.add_points(np.zeros((0, 2)))
    panel.form.question.value = "object"
    panel.form.points.value = points
    for place in ((20, 30), (30, 50)):
        points.add(place)
        wait()
    [layer] = labels_of(panel)
    assert np.unique(layer.data).tolist() == [0, 1]


def test_names_and_what_a_server_says_are_shown_as_they_are_and_not_as_markup(panel, wait):
    wait()
    labels = [panel.form.result, panel.form.status, panel.form.price, panel.hosted.state]
    assert {label.textFormat() for label in labels} == {Qt.TextFormat.PlainText}
