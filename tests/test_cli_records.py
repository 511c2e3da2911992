"""Money and stored answers on the command line, against the stand-in."""

import csv
import io
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.cli import hosted
from napari_sam3.engines.segmind import engine as segmind_engine
from napari_sam3.jobs.accounts import open_ledger, read_limits
from napari_sam3.jobs.records import open_cache, open_records
from napari_sam3.settings import (
    CACHE_USED,
    UPLOAD_NOTICE_SEEN,
    data_folder,
    settings_path,
    write_setting,
)
from napari_sam3.testing import Behaviour, SegmindServer

SHAPE = (40, 64)


def half(image, fields):
    """Return one mask that is neither square nor centred."""
    mask = np.zeros(image.shape[:2], bool)
    mask[: mask.shape[0] // 2, : mask.shape[1] // 3] = True
    return [mask]


@pytest.fixture
def server(monkeypatch):
    quick = Behaviour(queued_polls=0, processing_polls=0)
    meanwhile = []

    def model(image, fields):
        while meanwhile:
            meanwhile.pop()()
        return half(image, fields)

    with SegmindServer(quick, model=model, credits=1.0) as server:
        # what happens once while the service computes
        server.meanwhile = meanwhile
        monkeypatch.setenv("SEGMIND_API_KEY", server.key)
        monkeypatch.setattr(segmind_engine, "POLL_S", 0.002)
        yield server


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE))
    return path


def invoke(*arguments, **kwargs):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], **kwargs)


@pytest.fixture
def segment(server, image):
    def run(*arguments):
        fixed = ["--engine", "segmind", "--url", server.url, "--overwrite"]
        return invoke("segment", image, *fixed, *arguments)

    return run


POINTS = ("--point", "3,4", "--point", "30,50", "--point", "8,9")


class TestStoredAnswers:
    def test_the_same_question_again_is_free_and_gives_the_same_labels(
        self, segment, server, image
    ):
        first = segment("--text", "nucleus")
        before = tifffile.imread(image.with_name("cells_labels.tif"))
        second = segment("--text", "nucleus")
        assert "$0.0060" in first.stdout
        assert "$0.0000, from cache" in second.stdout
        assert server.ledger.billed == 1
        assert (tifffile.imread(image.with_name("cells_labels.tif")) == before).all()

    def test_what_is_only_partly_stored_is_counted(self, segment):
        segment("--point", "3,4")
        assert "$0.0120, 1 from cache" in segment(*POINTS).stdout

    def test_it_needs_neither_key_nor_service(self, segment, server, monkeypatch):
        segment("--text", "nucleus")
        server.close()
        monkeypatch.delenv("SEGMIND_API_KEY")
        done = segment("--text", "nucleus")
        assert done.exit_code == 0, done.stderr
        assert "from cache" in done.stdout

    @pytest.mark.parametrize("option", ["--no-cache", "--fresh"])
    def test_it_is_asked_again_if_that_is_wanted(self, segment, server, option):
        segment("--text", "nucleus")
        assert "from cache" not in segment("--text", "nucleus", option).stdout
        assert server.ledger.billed == 2

    def test_info_and_clear(self, segment):
        segment("--text", "nucleus")
        told = invoke("cache", "info").stdout
        assert re.search(r"results\s+1\b", told)
        assert "MB of at most 2048 MB" in told
        assert invoke("cache", "clear").exit_code == 1
        assert open_cache().info().answers == 1
        assert "Deleted 1 stored result." in invoke("cache", "clear", "--yes").stdout
        assert open_cache().info().answers == 0

    def test_a_folder_and_a_size_can_be_set(self, segment, tmp_path, monkeypatch):
        monkeypatch.delenv("NAPARI_SAM3_CACHE")
        shared = tmp_path / "shared"
        assert invoke("cache", "set", "--folder", shared).exit_code == 2
        shared.mkdir()
        assert "only you" in invoke("cache", "info").stdout
        done = invoke("cache", "set", "--folder", shared, "--max-mb", 64)
        assert "anyone who may read" in done.stdout
        assert done.exit_code == 0, done.stderr
        assert str(shared) in done.stdout
        assert "at most 64 MB" in done.stdout
        segment("--text", "nucleus")
        assert list(shared.rglob("*.answer"))
        again = invoke("cache", "set", "--default-folder")
        assert (again.exit_code, str(shared) in again.stdout) == (0, False)


class TestEstimate:
    def test_it_says_what_would_be_sent_and_sends_nothing(self, segment, server, image):
        done = segment(*POINTS, "--estimate")
        assert done.stdout == "3 requests, 3 calls, about $0.015–0.021, about 14 s.\n"
        assert server.ledger.posts == 0
        assert not image.with_name("cells_labels.tif").exists()

    def test_an_output_that_exists_does_not_matter(self, image, server):
        image.with_name("cells_labels.tif").write_bytes(b"mine")
        done = invoke(
            "segment", image, "--engine", "segmind", "--url", server.url, *POINTS, "--estimate"
        )
        assert done.exit_code == 0, done.stderr

    def test_it_warns_of_what_may_be_billed_twice(self, segment):
        lose_an_answer(segment)
        assert "would be billed again" in segment("--text", "nucleus", "--estimate").stderr

    def test_what_is_stored_is_left_out(self, segment):
        segment("--point", "3,4")
        assert "3 requests, 1 from cache, 2 calls" in segment(*POINTS, "--estimate").stdout

    def test_a_free_engine_has_no_price(self, image):
        done = invoke("segment", image, "--everything", "--estimate")
        assert done.stdout == "1 request.\n"


class TestConsent:
    def test_above_the_threshold_nothing_is_sent_without_a_word(self, segment, server):
        invoke("limits", "--confirm-above", 0.01)
        done = segment(*POINTS)
        assert done.exit_code == 1
        assert "may cost more than $0.01" in done.stderr
        assert "--yes" in done.stderr
        assert server.ledger.posts == 0
        assert segment(*POINTS, "--yes").exit_code == 0
        assert server.ledger.billed == 3

    @pytest.mark.parametrize("agreed", [True, False])
    def test_in_a_terminal_it_is_asked_once(self, segment, server, monkeypatch, agreed):
        invoke("limits", "--confirm-above", 0)
        write_setting(UPLOAD_NOTICE_SEEN, True)
        asked = []
        monkeypatch.setattr(hosted, "is_terminal", lambda: True)
        monkeypatch.setattr(
            hosted.typer, "confirm", lambda *words, **_: asked.append(words) or agreed
        )
        done = segment(*POINTS)
        assert len(asked) == 1
        assert server.ledger.billed == (3 if agreed else 0)
        assert (done.exit_code == 0) is agreed

    def test_a_cap_keeps_what_was_answered(self, segment, server, image):
        done = segment(*POINTS, "--cap", 0.015)
        # for a script it must not look complete
        assert done.exit_code == 4, done.stderr
        assert "stops it before its end" in done.stderr or "may stop it" in done.stderr
        assert "Only 2 of 3 requests were answered" in done.stderr
        assert server.ledger.billed == 2
        assert tifffile.imread(image.with_name("cells_labels.tif")).any()

    @pytest.mark.parametrize("agreed", [(), ("--yes",)], ids=["", "--yes"])
    def test_a_lost_answer_is_sent_again_only_with_a_word_of_its_own(self, segment, server, agreed):
        lose_an_answer(segment)
        done = segment("--text", "nucleus", *agreed)
        assert done.exit_code == 1
        assert "may have been billed before; agree to it with --pay-again." in done.stderr
        assert server.ledger.billed == 1
        assert segment("--text", "nucleus", "--pay-again").exit_code == 0
        assert server.ledger.billed == 2

    def test_who_agrees_to_pay_again_has_not_agreed_to_any_price(self, segment, server):
        invoke("limits", "--confirm-above", 0.001)
        lose_an_answer(segment, "--yes")
        done = segment("--text", "nucleus", "--pay-again")
        assert "may cost more than $0.001; agree to it with --yes." in done.stderr
        done = segment("--text", "nucleus")
        assert "agree to it with --yes --pay-again." in done.stderr
        assert server.ledger.billed == 1
        assert segment("--text", "nucleus", "--pay-again", "--yes").exit_code == 0

    def test_a_ledger_that_was_emptied_is_no_leave_to_pay_again(self, segment, server):
        segment("--text", "nucleus", "--no-cache")
        ledger = open_ledger()
        ledger.close()
        ledger.path.write_bytes(b"")
        done = segment("--text", "nucleus", "--no-cache", "--yes")
        assert done.exit_code == 1
        assert "was damaged (it is empty)" in done.stderr
        assert "--pay-again" in done.stderr
        assert server.ledger.billed == 1

    def test_yes_is_not_offered_where_a_cap_stops_the_run_anyway(self, segment, server):
        invoke("limits", "--confirm-above", 0.001)
        done = segment(*POINTS, "--cap", 0.006)
        assert done.exit_code == 1
        assert "The cap of $0.006 for a run stops it before its end. Raise it with --cap" in (
            done.stderr
        )
        assert "--yes" not in done.stderr
        assert server.ledger.posts == 0

    @pytest.mark.parametrize(
        ("typed", "set_before", "says"),
        [
            (("--cap", 0.006), (), "Raise it with --cap USD."),
            ((), ("--per-run", 0.006), "napari-sam3 limits --per-run USD"),
            ((), ("--per-day", 0.006), "napari-sam3 limits --per-day USD"),
        ],
    )
    def test_a_cap_that_is_reached_says_what_raises_it(
        self, segment, server, typed, set_before, says
    ):
        if set_before:
            invoke("limits", *set_before)
        done = segment("--text", "nucleus", *typed)
        assert done.exit_code == 1
        refusal = done.stderr.splitlines()[-1]
        assert "above the cap of $0.006 per" in refusal
        assert refusal.endswith(says)
        assert server.ledger.posts == 0

    def test_a_damaged_stored_answer_is_called_damaged(self, segment, server):
        segment("--text", "nucleus")
        (stored,) = open_cache().folder.rglob("*.answer")
        stored.write_bytes(stored.read_bytes()[:-30])
        done = segment("--text", "nucleus")
        assert done.exit_code == 1
        assert "it is damaged" in done.stderr
        assert "run it again to see the price" in done.stderr
        assert "is gone" not in done.stderr
        assert server.ledger.billed == 1
        assert segment("--text", "nucleus").exit_code == 0


def lose_an_answer(segment, *options):
    """Leave the ledger as if a program had ended between sending a question and its answer."""
    ledger = open_ledger()
    segment("--text", "nucleus", "--no-cache", *options)
    (entry,) = ledger.entries()
    asked = [(entry.key, entry.question)]
    (lost,) = ledger.plan(
        open_records().accounts().origin(), entry.engine, entry.model, asked, 0.007
    )
    ledger.submit(lost)
    ledger.lose(lost, "gone")


def test_half_an_answer_does_not_take_the_place_of_a_whole_one(segment, image):
    segment(*POINTS)
    whole = image.with_name("cells_labels.tif").read_bytes()
    invoke("cache", "clear", "--yes")
    done = segment(*POINTS, "--cap", 0.01)
    assert done.exit_code == 4
    assert image.with_name("cells_labels.tif").read_bytes() == whole
    assert image.with_name("cells_labels_partial.tif").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent in another way there")
@pytest.mark.parametrize("in_flight", [1, 3])
def test_ctrl_c_ends_at_once_and_says_what_can_be_collected(image, monkeypatch, in_flight):
    with SegmindServer(Behaviour(latency_s=600), model=half, credits=1.0) as server:
        monkeypatch.setenv("SEGMIND_API_KEY", server.key)
        options = ["--engine", "segmind", "--url", server.url, "--in-flight", str(in_flight)]
        command = [sys.executable, "-m", "napari_sam3.cli", "segment", str(image), *options]
        with subprocess.Popen([*command, *POINTS], stderr=subprocess.PIPE, text=True) as process:
            server.wait_until(lambda seen: len(seen.of("status")) >= 1, 60)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        # while no price is known, one goes alone
        assert "1 result may still be computed and billed" in said
        assert "napari-sam3 collect" in said


@pytest.mark.parametrize("text", ['{"cap_per_day": 0.0', '{"cap_per_day": "0.0"}'])
def test_limits_that_cannot_be_read_are_no_licence_to_spend(segment, server, text):
    invoke("limits", "--per-day", 0.01)
    settings_path().write_text(text)
    assert "limits on what may be spent are not known" in invoke("limits").stderr
    done = segment("--text", "nucleus")
    assert done.exit_code == 1
    assert "limits on what may be spent are not known" in done.stderr
    assert server.ledger.posts == 0
    invoke("limits", "--per-run", 1, "--per-day", 1)
    assert segment("--text", "nucleus").exit_code == 0


class TestCosts:
    def test_nothing_was_paid_yet(self):
        assert invoke("costs").stdout == "Nothing has been paid for yet.\n"

    @pytest.mark.parametrize("by", ["run", "session", "day", "project"])
    def test_a_table_by_run_session_day_and_project(self, segment, by):
        segment("--text", "nucleus", "--project", "mitosis paper")
        done = invoke("costs", "--by", by)
        assert by in done.stdout
        assert "0.0060" in done.stdout
        assert ("mitosis paper" in done.stdout) is (by == "project")
        assert "Today: $0.0060" in done.stdout

    def test_comma_separated_values_can_be_read_by_a_program(self, segment):
        segment("--text", "nucleus", "--project", 'a "quoted", one')
        segment("--text", "cell")
        done = invoke("costs", "--by", "project", "--csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert {row["project"]: float(row["usd"]) for row in rows} == {
            'a "quoted", one': 0.006,
            "": 0.006,
        }

    def test_each_request_can_be_listed(self, segment):
        segment("--text", "nucleus", "--project", "p")
        segment("--text", "cell")
        rows = list(csv.DictReader(io.StringIO(invoke("costs", "--by=request", "--csv").stdout)))
        assert [(row["prompt"], row["state"], row["usd"]) for row in rows] == [
            ("cell", "answered", "0.0060"),
            ("nucleus", "answered", "0.0060"),
        ]

    def test_a_piped_list_is_never_cut(self, segment):
        text = "the dark granules in the middle of the very large cells " * 3
        segment("--text", text.strip(), "--project", "a project with quite a long name")
        told = invoke("costs", "--by", "request").stdout
        (line,) = (line for line in told.splitlines() if "segmind" in line)
        assert text.strip() in line
        assert "a project with quite a long name" in line
        assert open_ledger().entries()[0].request_id in line

    def test_requests_add_up_to_the_sums(self, segment):
        lose_an_answer(segment)
        rows = list(csv.DictReader(io.StringIO(invoke("costs", "--by=request", "--csv").stdout)))
        (day,) = csv.DictReader(io.StringIO(invoke("costs", "--csv").stdout))
        assert sum(float(row["usd"]) for row in rows) == pytest.approx(float(day["usd"]))
        counted = sum(int(day[n]) for n in ("answered", "failed", "unknown", "under way"))
        assert counted == int(day["requests"]) == len(rows)
        assert all(row["request id"] for row in rows if row["state"] == "answered")

    @pytest.mark.parametrize("price", [-1000.0, 1e300])
    def test_what_no_answer_costs_is_counted_as_expected_and_lifts_no_cap(
        self, image, monkeypatch, price
    ):
        behaviour = Behaviour(queued_polls=0, processing_polls=0, price=price)
        monkeypatch.setattr(segmind_engine, "POLL_S", 0.002)
        with SegmindServer(behaviour, model=half, credits=1e301) as server:
            monkeypatch.setenv("SEGMIND_API_KEY", server.key)
            asked = ["segment", image, "--engine=segmind", "--url", server.url, "--overwrite"]
            done = invoke(*asked, "--text", "nucleus")
            again = invoke(*asked, "--text", "cell", "--cap", "0.001")
        assert done.exit_code == 0, done.stderr
        assert "$" not in done.stdout
        assert (again.exit_code, server.ledger.posts) == (1, 1)
        assert "$0.00" in again.stderr
        (row,) = csv.DictReader(io.StringIO(invoke("costs", "--by=request", "--csv").stdout))
        assert row["usd"] == "0.0070"

    def test_no_cell_is_a_formula(self, segment):
        segment("--text", "=HYPERLINK(1)")
        told = invoke("costs", "--by=request", "--csv").stdout
        assert "'=HYPERLINK(1)" in told

    def test_another_grouping_is_refused_with_the_list(self):
        done = invoke("costs", "--by", "hour")
        assert done.exit_code == 2
        assert "'request', 'run', 'session', 'day', 'project'" in done.stderr


class TestLimits:
    def test_they_are_shown_and_set(self):
        assert "$0.10" in invoke("limits").stdout
        invoke("limits", "--confirm-above", 0.5, "--per-run", 3, "--project", " mitosis ")
        told = invoke("limits").stdout
        for part in ("$0.50", "$3.00", "mitosis"):
            assert part in told
        assert read_limits().caps.per_run == 3.0

    @pytest.mark.parametrize("amount", ["inf", "nan", "-1", "-inf", "two"])
    @pytest.mark.parametrize("option", ["--per-day", "--per-run", "--confirm-above"])
    def test_what_is_no_amount_is_refused_and_not_remembered(self, option, amount):
        before = read_limits()
        done = invoke("limits", option, amount)
        assert done.exit_code == 2
        assert "no amount of US dollars" in done.stderr
        assert read_limits() == before

    @pytest.mark.parametrize("amount", ["inf", "nan", "-1"])
    def test_what_is_no_amount_is_no_cap_of_a_run(self, segment, server, amount):
        assert segment("--text", "nucleus", "--cap", amount).exit_code == 2
        assert server.ledger.posts == 0

    @pytest.mark.parametrize(("amount", "shown"), [("0.006", "$0.006"), ("0.0005", "$0.0005")])
    def test_a_small_amount_is_not_rounded_away(self, amount, shown):
        for option, line in (("--per-run", "per run"), ("--confirm-above", "asks above")):
            told = invoke("limits", option, amount).stdout
            assert re.search(rf"{line} +{re.escape(shown)}\n", told)

    def test_caps_can_be_taken_away(self):
        invoke("limits", "--no-caps")
        caps = read_limits().caps
        assert (caps.per_run, caps.per_day) == (None, None)
        assert invoke("limits", "--no-caps", "--per-run", 1).exit_code == 2


def test_a_call_refused_for_credits_that_others_reserve_says_so(segment, server):
    # once the price is known, calls are made at the same time
    assert segment(*POINTS).exit_code == 0
    server.behaviour = replace(server.behaviour, latency_s=6.0, reserved=0.99)
    more = ("--point", "5,6", "--point", "20,30", "--in-flight", 2)
    done = segment(*more)
    assert done.exit_code == 4, done.stderr
    assert "Insufficient credits" in done.stderr
    assert "another request is under way, and the service may reserve credits" in done.stderr
    assert server.ledger.billed == 4
    # one after the other they are answered
    server.behaviour = replace(server.behaviour, latency_s=0.0)
    assert segment(*more[:4]).exit_code == 0
    assert server.ledger.billed == 5


@pytest.mark.parametrize("moment", [1e300, float("inf"), "x"])
def test_a_moment_that_is_none_ends_no_list(segment, moment):
    assert segment(*POINTS[:2]).exit_code == 0
    with closing(sqlite3.connect(data_folder() / "ledger.sqlite")) as db, db:
        db.execute("UPDATE entries SET submitted_at = ?", (moment,))
    for by in ("request", "session"):
        done = invoke("costs", "--by", by, "--json")
        assert done.exit_code == 0, done.output
        json.loads(done.stdout)


@pytest.fixture
def full_disk(tmp_path, monkeypatch):
    """Where neither answers nor labels can be stored, once the service answers; make room."""
    cache, outputs = tmp_path / "full", tmp_path / "outputs"
    cache.write_text("a file where the folder should be")
    outputs.mkdir()
    monkeypatch.setenv("NAPARI_SAM3_CACHE", str(cache))

    def fill():
        outputs.rmdir()
        outputs.write_text("a file where the folder should be")

    def make_room():
        cache.unlink()
        outputs.unlink()
        outputs.mkdir()

    return SimpleNamespace(output=outputs / "cells.tif", fill=fill, make_room=make_room)


class TestNoRoomForAnAnswer:
    @pytest.fixture(params=["v1", "v2"])
    def api(self, request):
        return "--api", request.param

    @pytest.fixture
    def failed(self, segment, server, full_disk, api):
        """What is said where nothing can be saved after the service has answered."""
        server.meanwhile.append(full_disk.fill)
        done = segment("--text", "nucleus", *api, "--output", full_disk.output)
        assert done.exit_code == 1
        assert server.ledger.billed == 1
        return done

    def test_it_is_said_before_saving_and_kept(self, failed):
        kept, unsaved = failed.stderr.splitlines()[-2:]
        assert "could not be stored" in kept
        assert "napari-sam3 collect" in kept
        assert "outputs" in unsaved
        assert "not lost" in unsaved

    def test_it_is_collected_at_no_cost(self, failed, server, full_disk, segment):
        full_disk.make_room()
        done = invoke("collect", "--url", server.url)
        assert done.exit_code == 0, done.stderr
        assert "nucleus: 1 object" in done.stdout
        assert "from cache" in segment("--text", "nucleus").stdout
        assert server.ledger.billed == 1

    def test_the_next_run_fetches_it_at_no_cost(self, failed, server, full_disk, segment, api):
        full_disk.make_room()
        done = segment("--text", "nucleus", *api, "--output", full_disk.output)
        assert done.exit_code == 0, done.stderr
        assert "$0.0000" in done.stdout
        assert tifffile.imread(full_disk.output).sum() == 20 * 21
        assert invoke("collect").stdout == "There is nothing to collect.\n"
        assert server.ledger.billed == 1
        assert "$0.0060" in invoke("costs").stdout


def test_labels_that_are_saved_settle_an_answer_that_could_not_be_stored(
    segment, server, tmp_path, monkeypatch
):
    blocked = tmp_path / "full"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("NAPARI_SAM3_CACHE", str(blocked))
    done = segment("--text", "nucleus")
    assert done.exit_code == 0
    assert "could not be stored" in done.stderr
    assert open_ledger().unfinished() == []
    assert invoke("collect", "--url", server.url).stdout == "There is nothing to collect.\n"


class TestCollect:
    def lose_the_wait(self, segment, monkeypatch):
        """Break off right after the service took the question."""

        def broken_off(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(segmind_engine.SegmindEngine, "collect", broken_off)
            return segment("--text", "nucleus")

    def test_there_is_nothing(self):
        assert invoke("collect").stdout == "There is nothing to collect.\n"

    def test_a_broken_off_wait_is_collected_stored_and_saved(
        self, segment, server, monkeypatch, tmp_path
    ):
        stopped = self.lose_the_wait(segment, monkeypatch)
        assert stopped.exit_code == 130
        assert "napari-sam3 collect" in stopped.stderr
        done = invoke("collect", "--output-dir", tmp_path / "new", "--url", server.url)
        tmp_path /= "new"
        assert done.exit_code == 0, done.stderr
        assert "nucleus: 1 object" in done.stdout
        (saved,) = tmp_path.glob("cells_tif_nucleus_*_labels.tif")
        assert tifffile.imread(saved).sum() == 20 * 21
        again = invoke("replay", saved.with_suffix(".json"))
        assert again.exit_code == 0, again.stderr
        assert "identical" in again.stdout
        cited = invoke("cite", saved.with_suffix(".json")).stdout
        assert "nucleus" in cited
        assert "cells.tif" in cited
        assert "from cache" in segment("--text", "nucleus").stdout
        assert server.ledger.billed == 1

    def test_a_ticket_of_another_address_gets_no_key(self, segment, server, monkeypatch):
        self.lose_the_wait(segment, monkeypatch)
        refused = invoke("collect")
        assert refused.exit_code == 1
        assert f"--url {server.url}" in refused.stdout
        assert invoke("collect", "--url", server.url).exit_code == 0
        assert server.ledger.billed == 1

    def test_what_cannot_be_stored_stays_to_be_collected(
        self, segment, server, monkeypatch, tmp_path
    ):
        self.lose_the_wait(segment, monkeypatch)
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where the folder should be")
        monkeypatch.setenv("NAPARI_SAM3_CACHE", str(blocked))
        done = invoke("collect", "--url", server.url)
        assert done.exit_code == 1
        assert "stays to be collected" in done.stderr
        assert open_ledger().entries()[0].state == "submitted"
        saved = invoke("collect", "--url", server.url, "--output-dir", tmp_path / "here")
        assert saved.exit_code == 0, saved.stderr
        assert list((tmp_path / "here").glob("*_labels.tif"))
        assert open_ledger().entries()[0].state == "answered"

    def test_with_stored_answers_switched_off_it_is_stored_all_the_same(
        self, segment, server, monkeypatch
    ):
        self.lose_the_wait(segment, monkeypatch)
        write_setting(CACHE_USED, False)
        assert invoke("collect", "--url", server.url).exit_code == 0
        assert open_cache().info().answers == 1

    def test_the_next_paid_run_mentions_it(self, segment, server, monkeypatch):
        self.lose_the_wait(segment, monkeypatch)
        assert "1 paid result was never fetched" in segment("--text", "cell").stderr

    def test_what_the_service_forgot_is_told_and_not_offered_again(
        self, segment, server, monkeypatch
    ):
        self.lose_the_wait(segment, monkeypatch)
        server.advance(4000)
        ledger = open_ledger()
        assert invoke("collect", "--url", server.url).exit_code == 1
        # so early it may be a service that lags
        assert ledger.entries()[0].state == "submitted"
        monkeypatch.setattr(ledger, "_clock", lambda: time.time() + 4000)
        done = invoke("collect", "--url", server.url)
        assert done.exit_code == 1
        assert "keeps its record no longer" in done.stdout
        assert invoke("collect").stdout == "There is nothing to collect.\n"
        assert open_ledger().entries()[0].state == "unknown"
