"""Making labels again and citing them, on the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_sam3 import cli
from napari_sam3.engines.segmind import engine as segmind_engine
from napari_sam3.settings import SEGMIND_URL, write_setting
from napari_sam3.testing import SegmindServer
from napari_sam3.workflows import replay
from napari_sam3.workflows.files import save_labels
from napari_sam3.workflows.label_files import open_labels
from napari_sam3.workflows.provenance import check_record
from napari_sam3.workflows.sidecars import read_sidecar, write_sidecar

SHAPE = (60, 90)


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    """Answers and costs of this test alone."""
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"NAPARI_SAM3_{name}", str(tmp_path / name.lower()))


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def image(work):
    pixels = np.full(SHAPE, 20, np.uint16)
    pixels[10:25, 30:52] = 900
    pixels[35:50, 60:80] = 700
    path = work / "cells.tif"
    tifffile.imwrite(path, pixels)
    return path


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def segmented(image):
    """The labels of two clicks, and their record."""
    done = run("segment", image, "--point", "15,40", "--point", "42,70")
    assert done.exit_code == 0, done.output
    return image.with_name("cells_labels.tif")


@pytest.fixture
def record(segmented):
    return segmented.with_suffix(".json")


def clear_cache():
    assert run("cache", "clear", "--yes").exit_code == 0


def reseal(said):
    """Give the questions of a record the SHA-256 that they would have."""
    for run in said["runs"]:
        for question in run["questions"]:
            question["question_sha256"] = replay._question_sha256(run, question)


def add_run(record, text):
    """Put a second run on record, which asked for something else."""
    said = json.loads(record.read_text())
    [first] = said["runs"][0]["questions"]
    other = {**first, "prompt": {**first["prompt"], "text": text}}
    said["runs"].append({**said["runs"][0], "id": "second", "questions": [other]})
    reseal(said)
    record.write_text(json.dumps(said))


def move_to(service, record):
    """Make a record one of another service's answers."""
    said = json.loads(record.read_text())
    said["runs"][0]["engine"]["parameters"]["service"] = service
    reseal(said)
    record.write_text(json.dumps(said))


class TestDemo:
    @pytest.mark.parametrize("is_kept", [True, False])
    def test_its_labels_can_be_made_again_and_cited(self, work, is_kept, tmp_path):
        if not is_kept:
            (tmp_path / "cache").write_text("no folder")
        done = run("demo", "--no-window", "--output-dir", work)
        assert done.exit_code == 0, done.output
        assert f"Wrote {work / 'nuclei_labels.json'}" in done.stdout
        options = () if is_kept else ("--image", work / "nuclei.png")
        again = run("replay", work / "nuclei_labels.json", *options)
        assert again.exit_code == 0, again.output
        assert "identical" in again.stdout
        said = run("cite", work / "nuclei_labels.tif").stdout
        assert "Objects in “nuclei.png” were segmented" in said
        assert "edited" not in said

    def test_it_can_be_asked_again_as_the_readme_says(self, work):
        assert run("demo", "--no-window", "--output-dir", work).exit_code == 0
        record, image = work / "nuclei_labels.json", work / "nuclei.png"
        again = run("replay", record, "--image", image, "--fresh")
        assert again.exit_code == 0, again.output


class TestSegment:
    def test_labels_are_saved_with_their_record(self, segmented, record):
        said = read_sidecar(record)
        assert said["image"] == {"name": "cells.tif", "shape": [60, 90]}
        assert said["labels"]["file"] == "cells_labels.tif"
        [each] = said["runs"]
        assert [q["labels"] for q in each["questions"]] == [{"0": 1}, {"0": 2}]
        assert each["picture"]["contrast_limits"] == [20.0, 900.0]
        assert str(segmented.parent) not in record.read_text()

    def test_the_plane_of_a_stack_is_on_record(self, work):
        stack = np.zeros((2, 3, *SHAPE), np.uint8)
        stack[1, 2, 10:20, 30:50] = 200
        tifffile.imwrite(work / "s.tif", stack, photometric="minisblack")
        assert run("segment", work / "s.tif", "--point", "15,40", "--plane", "1,2").exit_code == 0
        assert read_sidecar(work / "s_labels.json")["image"]["plane"] == [1, 2]
        clear_cache()
        again = run("replay", work / "s_labels.json", "--image", work / "s.tif")
        assert again.exit_code == 0, again.output
        clear_cache()
        other = run("replay", work / "s_labels.json", "--image", work / "s.tif", "--plane", "0,0")
        assert other.exit_code == 1
        assert "is not the image" in other.stderr

    def test_an_existing_record_is_not_replaced_unasked(self, image):
        record = image.with_name("cells_labels.json")
        assert run("segment", image, "--everything").exit_code == 0
        image.with_name("cells_labels.tif").unlink()
        refused = run("segment", image, "--everything")
        assert refused.exit_code == 1
        assert "cells_labels.json exists already" in refused.stderr
        assert not image.with_name("cells_labels.tif").exists()
        assert run("segment", image, "--everything", "--overwrite").exit_code == 0
        assert not image.with_name("cells_labels.tif.json").exists()
        check_record(json.loads(record.read_text()))


class TestReplay:
    def test_stored_answers_give_identical_labels(self, record, segmented, work):
        again = run("replay", record, "--output", work / "again.tif")
        assert again.exit_code == 0, again.output
        assert "identical" in again.stdout
        np.testing.assert_array_equal(open_labels(work / "again.tif"), open_labels(segmented))
        assert run("replay", segmented).exit_code == 0

    def test_requests_that_were_never_answered_are_left_out_and_told_of(self, record, image):
        said = json.loads(record.read_text())
        said["runs"][0]["questions"][1] |= {"answered": False, "objects": 0, "labels": {}}
        record.write_text(json.dumps(said))
        again = run("replay", record, "--image", image, "--fresh")
        assert "1 of 2 requests were never answered, and are left out." in again.stdout
        assert len(re.findall("1 \\+ point", again.stdout)) == 1

    def test_an_output_is_not_replaced(self, record, segmented):
        refused = run("replay", record, "--output", segmented)
        assert refused.exit_code == 1
        assert "exists already" in refused.stderr

    def test_a_file_changed_after_it_was_saved_is_told_of(self, record, segmented):
        labels = open_labels(segmented).copy()
        labels[10:12] = 0
        save_labels(segmented, labels)
        again = run("replay", record)
        assert again.exit_code == 3
        assert "The rebuilt labels are identical to those on record." in again.stdout
        assert re.search(r"But \S*cells_labels\.tif was changed since", again.stdout)
        assert run("replay", segmented).exit_code == 3
        assert run("replay", record, "--tolerance", "0.5").exit_code == 0

    def test_what_was_edited_before_it_was_saved_is_told_of(self, record, segmented):
        labels = open_labels(segmented).copy()
        labels[0:3, 0:5] = 9
        save_labels(segmented, labels)
        write_sidecar(record, read_sidecar(record), labels, segmented.name)
        again = run("replay", record)
        assert again.exit_code == 3
        assert "edited" in again.stdout
        assert re.search(r"labels\s+2\s+1\.0000\s+1\.0000\s+0\s+0\s+1", again.stdout)

    def test_without_stored_answers_the_image_is_needed(self, record, image):
        clear_cache()
        refused = run("replay", record)
        assert refused.exit_code == 1
        assert "2 of 2 results are not in the cache" in refused.stderr
        assert "--image" in refused.stderr
        again = run("replay", record, "--image", image)
        assert again.exit_code == 0, again.output
        assert "identical" in again.stdout

    def test_a_model_that_answers_otherwise_is_seen(self, record, image, monkeypatch):
        from napari_sam3.engines.builtin.engine import BuiltinEngine

        answer = BuiltinEngine.segment

        def shrunken(self, request, stop=None):
            from dataclasses import replace

            from napari_sam3.core.instances import Instance, Instances

            result = answer(self, request)
            items = []
            for item in result.instances:
                mask = np.zeros(request.shape, bool)
                mask[item.box.slices] = item.mask
                mask[item.box.top] = False
                items.append(Instance.from_mask(mask, item.score))
            return replace(result, instances=Instances(request.shape, tuple(items)))

        monkeypatch.setattr(BuiltinEngine, "segment", shrunken)
        monkeypatch.setattr(BuiltinEngine, "model", "classical-2")
        again = run("replay", record, "--image", image, "--fresh")
        assert again.exit_code == 3
        assert re.search(r"of the model \S+; now it is classical-2", again.stderr)
        assert re.search(r"1 \+ point\s+1\s+0\.9333\s+0\.9333\s+1\s+0\s+0", again.stdout)
        assert re.search(r"all\s+2\s+0\.9333", again.stdout)
        assert (
            run("replay", record, "--image", image, "--fresh", "--tolerance", "0.9").exit_code == 0
        )

    def test_labels_that_were_there_before_are_kept(self, record, segmented):
        labels = open_labels(segmented).copy()
        labels[0:3, 0:5] = 9
        save_labels(segmented, labels)
        said = read_sidecar(record) | {"began": "labels"}
        write_sidecar(record, said, labels, segmented.name)
        again = run("replay", record)
        assert again.exit_code == 0
        assert "were there before the first run cannot be checked" in again.stdout
        segmented.unlink()
        refused = run("replay", record)
        assert refused.exit_code == 1
        assert "labels before the first run" in refused.stderr

    def test_what_is_painted_over_objects_is_seen_though_there_were_labels_before(
        self, record, segmented
    ):
        labels = open_labels(segmented).copy()
        labels[10:14, 30:52] = 9
        save_labels(segmented, labels)
        said = read_sidecar(record) | {"began": "labels"}
        write_sidecar(record, said, labels, segmented.name)
        again = run("replay", record)
        assert again.exit_code == 3, again.output
        assert "88 pixels of the record's objects lie under other labels" in again.stdout
        assert re.search(r"objects\s+2\s+0\.7333", again.stdout)
        assert run("replay", record, "--tolerance", "0.7").exit_code == 0

    def test_labels_that_came_after_the_saving_do_not_pass_as_former_ones(self, record, segmented):
        labels = open_labels(segmented).copy()
        said = read_sidecar(record) | {"began": "labels"}
        write_sidecar(record, said, labels, segmented.name)
        assert run("replay", record).exit_code == 0
        labels[0:3, 0:5] = 9
        save_labels(segmented, labels)
        again = run("replay", record)
        assert again.exit_code == 3, again.output
        assert "was changed since" in again.stdout

    @pytest.mark.parametrize("shape", [[1 << 20, 1 << 20], [10**18, 10**18]])
    def test_labels_that_no_memory_holds_are_told_of(self, record, segmented, shape):
        segmented.unlink()
        said = json.loads(record.read_text())
        [each] = said["runs"]
        each["questions"] = [q | {"objects": 0, "labels": {}} for q in each["questions"]]
        each["plane"]["shape"] = said["layer"]["shape"] = shape
        reseal(said)
        record.write_text(json.dumps(said))
        refused = run("replay", record)
        assert refused.exit_code == 1
        assert "put it beside the record" in refused.stderr

    def test_a_record_by_its_second_name_is_replayed_and_cited(self, record, segmented):
        record.rename(f"{segmented}.json")
        record.write_text("another's")
        for name in (segmented, f"{segmented}.json"):
            assert run("replay", name).exit_code == 0
            assert "edited" not in run("cite", name).stdout
        assert "no record" in run("replay", record).stderr

    def test_without_the_label_image_the_record_is_enough(self, record, segmented):
        segmented.unlink()
        again = run("replay", record)
        assert again.exit_code == 0
        assert "only the record was compared" in again.stdout

    def test_a_record_whose_prompt_was_altered_is_refused(self, record, image):
        said = json.loads(record.read_text())
        said["runs"][0]["questions"][1]["prompt"]["points"][0] = [15.0, 42.0, True]
        record.write_text(json.dumps(said))
        for options in ((), ("--image", image, "--fresh")):
            refused = run("replay", record, *options)
            assert refused.exit_code == 1
            assert "altered after it was written: what it says of 1 of" in refused.stderr
            assert refused.stdout == ""
        assert "altered" in run("cite", record).stderr

    def test_another_image_in_the_place_of_the_labels_is_refused(self, record, segmented):
        save_labels(segmented, np.zeros((9, 9), np.uint8))
        refused = run("replay", record)
        assert refused.exit_code == 1
        assert "not the label image" in refused.stderr

    def test_what_is_no_record_is_refused_with_a_sentence(self, work):
        (work / "x.json").write_text("{}")
        for name in ("x.json", "gone.json"):
            refused = run("replay", work / name)
            assert refused.exit_code == 1
            assert refused.stderr.count("\n") == 1

    def test_a_record_without_a_run_has_nothing_to_replay(self, record):
        said = json.loads(record.read_text()) | {"runs": []}
        record.write_text(json.dumps(said))
        assert "holds no run" in run("replay", record).stderr


class TestCite:
    def test_methods_and_references_are_printed(self, record):
        said = run("cite", record)
        assert said.exit_code == 0
        assert "“cells.tif”" in said.stdout
        assert "2 requests, by 2 positive clicks" in said.stdout
        assert "edited" not in said.stdout
        assert "SAM 3" not in said.stdout

    def test_labels_that_were_edited_in_their_file_are_told_of(self, record, segmented):
        labels = open_labels(segmented).copy()
        labels[0:3, 0:5] = 9
        save_labels(segmented, labels)
        said = run("cite", segmented)
        assert "afterwards edited by hand" in said.stdout
        assert "3 objects were labelled" in said.stdout
        segmented.unlink()
        assert "2 objects were labelled" in run("cite", record).stdout

    def test_the_plane_of_a_stack_is_cited(self, work):
        stack = np.zeros((2, 3, *SHAPE), np.uint8)
        stack[1, 2, 10:20, 30:50] = 200
        tifffile.imwrite(work / "s.tif", stack, photometric="minisblack")
        assert run("segment", work / "s.tif", "--point", "15,40", "--plane", "1,2").exit_code == 0
        assert "plane 1, 2 of “s.tif”" in run("cite", work / "s_labels.json").stdout


class TestHosted:
    @pytest.fixture
    def hosted(self, image, monkeypatch):
        """A service that finds the upper left of what it is asked about, and a run there."""

        def upper_left(pixels, fields):
            mask = np.zeros(pixels.shape[:2], bool)
            mask[: self.rows, :27] = True
            return [mask]

        self.rows = 20
        monkeypatch.setattr(segmind_engine, "POLL_S", 0.01)
        with SegmindServer(model=upper_left, credits=1.0) as server:
            monkeypatch.setenv("SEGMIND_API_KEY", server.key)
            options = ("--engine", "segmind", "--url", server.url, "--api", "v1")
            done = run("segment", image, "--text", "nucleus", *options)
            assert done.exit_code == 0, done.output
            yield server

    def test_a_paid_answer_is_on_record_with_its_cost_and_without_the_key(self, hosted, image):
        text = image.with_name("cells_labels.json").read_text()
        [question] = json.loads(text)["runs"][0]["questions"]
        assert question["cost"] == pytest.approx(0.006)
        assert hosted.key not in text

    def test_making_the_labels_again_costs_nothing(self, hosted, image):
        assert run("replay", image.with_name("cells_labels.json")).exit_code == 0
        assert hosted.ledger.billed == 1

    def test_a_silent_change_of_the_model_is_seen(self, hosted, image):
        self.rows = 18
        record = image.with_name("cells_labels.json")
        again = run("replay", record, "--image", image, "--fresh", "--url", hosted.url)
        assert again.exit_code == 3, again.output
        assert re.search(r"nucleus\s+1\s+0\.9000", again.stdout)
        assert hosted.ledger.billed == 2
        # its answer is stored now beside the one on record, which is still there
        later = run("replay", record)
        assert later.exit_code == 0, later.output
        assert "identical" in later.stdout
        assert hosted.ledger.billed == 2

    def test_an_answer_on_record_is_taken_where_another_one_is_asked_for_again(
        self, hosted, image, tmp_path
    ):
        record = image.with_name("cells_labels.json")
        self.rows = 18
        fresh = run("replay", record, "--image", image, "--fresh", "--url", hosted.url)
        assert fresh.exit_code == 3, fresh.output
        # a second question, which was never asked
        add_run(record, "cell")
        again = run("replay", record, "--image", image, "--url", hosted.url)
        assert re.search(r"nucleus\s+1\s+1\.0000", again.stdout), again.output

    @pytest.mark.parametrize("value", ["abc", None, [1], {}, True, 1.5])
    def test_a_size_that_is_none_is_told_of(self, hosted, image, value):
        record = image.with_name("cells_labels.json")
        said = json.loads(record.read_text())
        said["runs"][0]["engine"]["parameters"]["max_side"] = value
        reseal(said)
        record.write_text(json.dumps(said))
        refused = run("replay", record, "--image", image, "--fresh", "--url", hosted.url)
        assert refused.exit_code == 1
        assert "max_side" in refused.stderr
        assert hosted.ledger.billed == 1

    @pytest.mark.parametrize("name", ["title", "model", "service", "name", "image_format"])
    def test_nothing_on_record_moves_the_cursor(self, hosted, image, name):
        record = image.with_name("cells_labels.json")
        said = json.loads(record.read_text())
        said["image"]["name"] = "a\x1b[2J\a"
        [each] = said["runs"]
        engine = each["engine"]
        (engine if name in engine else engine["parameters"])[name] = "localhost\x1b[2J\a:1"
        reseal(said)
        record.write_text(json.dumps(said))
        for typed in (("cite",), ("replay",), ("replay", "--image", image, "--fresh", "--yes")):
            done = run(typed[0], record, *typed[1:])
            assert not {"\x1b", "\a"} & set(done.output), (typed, done.output)
            assert isinstance(done.exception, SystemExit | None), typed

    def test_nothing_is_paid_for_without_consent(self, hosted, image):
        assert run("limits", "--confirm-above", "0.001").exit_code == 0
        record = image.with_name("cells_labels.json")
        options = ("--image", image, "--fresh", "--url", hosted.url)
        refused = run("replay", record, *options)
        assert refused.exit_code == 1
        assert "--yes" in refused.stderr
        assert hosted.ledger.billed == 1
        assert run("replay", record, *options, "--yes").exit_code == 0

    def test_another_service_than_on_record_is_told_of(self, hosted, image):
        record = image.with_name("cells_labels.json")
        move_to("elsewhere.example", record)
        again = run("replay", record, "--image", image, "--fresh", "--url", hosted.url)
        assert "not elsewhere.example" in again.stderr
        assert hosted.ledger.billed == 2

    def test_without_an_address_the_one_that_is_set_is_asked(self, hosted, image):
        write_setting(SEGMIND_URL, hosted.url)
        record = image.with_name("cells_labels.json")
        again = run("replay", record, "--image", image, "--fresh", "--project", "check")
        assert again.exit_code == 0, again.output
        assert "other options" not in again.stderr
        assert f"Sent to {hosted.url}" in again.stderr
        assert hosted.ledger.billed == 2
        assert "check" in run("costs", "--by", "project").stdout

    @pytest.mark.parametrize("usual", ["the vendor's", "one of this computer"])
    def test_a_record_does_not_decide_to_which_stranger_the_key_goes(self, hosted, image, usual):
        record = image.with_name("cells_labels.json")
        with SegmindServer(credits=1.0) as stranger:
            if usual == "one of this computer":
                write_setting(SEGMIND_URL, hosted.url)
            for host in ("elsewhere.example", stranger.url.removeprefix("http://")):
                move_to(host, record)
                refused = run("replay", record, "--image", image, "--fresh", "--yes")
                assert refused.exit_code == 1
                assert f"from the service at {host}" in refused.stderr
            assert stranger.ledger.requests == ()
        assert hosted.ledger.billed == 1

    def test_a_record_does_not_send_the_key_of_a_proxy_to_the_vendor(self, hosted, image):
        write_setting(SEGMIND_URL, hosted.url)
        record = image.with_name("cells_labels.json")
        move_to("api.segmind.com", record)
        refused = run("replay", record, "--image", image, "--fresh", "--yes")
        assert refused.exit_code == 1
        assert f"--url {hosted.url}" in refused.stderr
        assert hosted.ledger.billed == 1

    def test_a_cap_is_for_all_that_is_asked_again(self, hosted, image):
        record = image.with_name("cells_labels.json")
        add_run(record, "cell")
        options = ("--image", image, "--fresh", "--url", hosted.url, "--cap", "0.01")
        refused = run("replay", record, *options)
        assert refused.exit_code == 1
        assert "cap of $0.01" in refused.stderr
        assert hosted.ledger.billed == 2

    def test_it_is_agreed_once_to_what_all_runs_cost_together(self, hosted, image):
        assert run("limits", "--confirm-above", "0.01").exit_code == 0
        record = image.with_name("cells_labels.json")
        add_run(record, "cell")
        options = ("--image", image, "--fresh", "--url", hosted.url)
        refused = run("replay", record, *options)
        assert refused.exit_code == 1
        assert "2 requests, 2 calls" in refused.stderr
        assert "--yes" in refused.stderr
        assert hosted.ledger.billed == 1
        done = run("replay", record, *options, "--yes")
        assert "2 requests, 2 calls" in done.stderr
        assert hosted.ledger.billed == 3

    def test_the_options_on_record_are_those_that_are_asked_with(self, hosted, image):
        options = ("--image-format", "jpeg", "--max-side", "64", "--url", hosted.url, "--api", "v1")
        target = image.with_name("small.tif")
        done = run(
            "segment", image, "--text", "nucleus", "--engine", "segmind", "--output", target,
            *options,
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        clear_cache()
        again = run("replay", target, "--image", image, "--url", hosted.url)
        assert again.exit_code == 0, again.output
        assert "other options" not in again.stderr
        assert "identical" in again.stdout

    def test_a_stand_in_is_not_cited_as_the_model(self, hosted, image):
        said = run("cite", image.with_name("cells_labels.json")).stdout
        assert "must not be published" in said
        assert "2511.16719" not in said
        assert "SAM License" not in said

    def test_the_model_and_its_licence_are_cited(self, hosted, image):
        move_to("api.segmind.com", image.with_name("cells_labels.json"))
        said = run("cite", image.with_name("cells_labels.json")).stdout
        assert "“nucleus”" in said
        assert "2511.16719" in said
        assert "SAM License" in said

    def test_a_picture_has_a_record_beside_it(self, hosted, image):
        target = image.with_name("seen.png")
        options = ("--engine", "segmind", "--url", hosted.url, "--api", "v1")
        done = run("segment", image, "--text", "nucleus", "--overlay", target, *options)
        assert done.exit_code == 0, done.output
        said = read_sidecar(target)
        assert "labels" not in said
        assert said["runs"][0]["engine"]["parameters"]["answer"] == "overlay"
        refused = run("segment", image, "--text", "x", "--overlay", target, *options)
        assert "exists already" in refused.stderr
        for options in ((), ("--image", image, "--fresh", "--yes")):
            refused = run("replay", target, *options)
            assert refused.exit_code == 1
            assert "overlay pictures only" in refused.stderr
            assert refused.stdout == ""
