import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_sam3
from napari_sam3 import cli, engines
from napari_sam3.cli import demo, following
from napari_sam3.cli.options import EngineName
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Picture
from napari_sam3.core.prompts import ConceptPrompt, Everything, Exemplar, ObjectPrompt
from napari_sam3.engines import creating
from napari_sam3.engines.base import NEVER, NO_PARAMETERS, Capabilities, SegmentationResult
from napari_sam3.samples import sample_path
from napari_sam3.workflows.files import open_image, save_labels
from napari_sam3.workflows.object_records import record_beside, shown_on_record
from napari_sam3.workflows.run import SegmentRun, iter_run

SHAPE = (60, 90)


class FakeEngine:
    """Remembers what it is asked, and finds two overlapping squares each time."""

    name, model, parameters = "builtin", "fake 1", NO_PARAMETERS
    capabilities = Capabilities(
        exemplars=True,
        negative_exemplars=True,
        points=True,
        object_box=True,
        outline=True,
        proposal=True,
        diameter=True,
        everything=True,
    )

    def __init__(self):
        self.requests = []
        self.notices = ()

    @property
    def prompts(self):
        return [request.prompt for request in self.requests]

    def segment(self, request, stop=NEVER):
        self.requests.append(request)
        boxes = [Box(2, 3, 12, 15), Box(8, 9, 20, 30)]
        items = tuple(Instance(np.ones(box.shape, bool), box) for box in boxes)
        return SegmentationResult(Instances(request.shape, items), notices=self.notices)


@pytest.fixture
def fake(monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr(creating, "create_engine", lambda name="builtin", options=None: engine)
    return engine


@pytest.fixture
def image(tmp_path):
    pixels = np.full(SHAPE, 20, np.uint16)
    pixels[10:25, 30:52] = 900
    pixels[35:50, 60:80] = 700
    path = tmp_path / "cells.npy"
    np.save(path, pixels)
    return path


@pytest.fixture
def run(image):
    def invoke(*options):
        return CliRunner().invoke(cli.app, ["segment", str(image), *options])

    return invoke


def labels_of(image):
    return open_image(image.with_name("cells_labels.tif"))


class TestQuestions:
    def test_each_point_and_each_box_is_an_object(self, run, fake):
        assert run("--point", "3,4", "--point", "5.5,6").exit_code == 0
        assert [prompt.points[0].position for prompt in fake.prompts] == [(3, 4), (5.5, 6)]
        assert run("--box", "1,2,4,8", "--box", "5,6,9,9", "--overwrite").exit_code == 0
        assert [prompt.box for prompt in fake.prompts[2:]] == [Box(1, 2, 4, 8), Box(5, 6, 9, 9)]

    def test_with_one_box_all_points_describe_its_object(self, run, fake):
        run("--box", "1,2,4,8", "--point", "2,3", "--negative-point", "30,40")
        [prompt] = fake.prompts
        assert prompt.box == Box(1, 2, 4, 8)
        assert [(p.position, p.positive) for p in prompt.points] == [
            ((2, 3), True), ((30, 40), False),
        ]  # fmt: skip

    def test_exemplars_and_text_ask_for_a_concept(self, run, fake):
        run("--exemplar", "1,2,4,8", "--negative-exemplar", "5,6,9,9")
        [prompt] = fake.prompts
        assert isinstance(prompt, ConceptPrompt)
        assert [(e.box, e.positive) for e in prompt.exemplars] == [
            (Box(1, 2, 4, 8), True), (Box(5, 6, 9, 9), False),
        ]  # fmt: skip

    def test_each_text_is_asked_in_one_run_and_counted(self, run, fake):
        fake.capabilities = replace(fake.capabilities, text=True)
        done = run("--text", "nucleus", "--text", " Nucleus", "--text", "cell")
        assert fake.prompts == [ConceptPrompt("nucleus"), ConceptPrompt("cell")]
        assert done.stdout.startswith("2 nucleus, 2 cell, 4 overlap, ")

    def test_one_text_goes_with_exemplars(self, run, fake):
        fake.capabilities = replace(fake.capabilities, text=True)
        run("--text", "nucleus", "--text", "NUCLEUS", "--exemplar", "1,2,4,8")
        assert fake.prompts == [ConceptPrompt("nucleus", (Exemplar(Box(1, 2, 4, 8)),))]

    def test_outlines_are_objects_and_a_click_inside_belongs_to_one(self, run, fake):
        run("--outline", "1,2,1,20,15,9", "--outline", "20,30,20,44,28,37", "--point", "4,9")
        first, second = fake.prompts
        assert first.outline == ((1, 2), (1, 20), (15, 9))
        assert [point.position for point in first.points] == [(4, 9)]
        assert second == ObjectPrompt(outline=((20, 30), (20, 44), (28, 37)))

    def test_a_proposal_is_for_clicks_on_their_own(self, run, fake):
        run("--point", "3,4", "--box", "5,6,9,9", "--box", "10,12,19,20", "--proposal", "large")
        assert [prompt.proposal for prompt in fake.prompts] == ["", "", "large"]

    def test_the_width_of_the_objects_is_for_everything(self, run, fake):
        run("--everything", "--diameter", "12.5")
        assert fake.prompts == [Everything(diameter=12.5)]

    def test_everything_takes_its_two_numbers(self, run, fake):
        run("--everything", "--points-per-side", "0", "--pred-iou-thresh", "0.5")
        assert fake.prompts == [Everything(0, 0.5)]

    def test_the_minimum_score_is_for_all_but_single_objects(self, run, fake):
        run("--everything", "--min-score", "0.7", "--max-masks", "9")
        run("--exemplar", "1,2,4,8", "--overwrite")
        run("--point", "3,4", "--overwrite")
        assert [(r.min_score, r.max_masks) for r in fake.requests] == [(0.7, 9), (0.5, 0), (0, 0)]

    def test_contrast_limits_decide_what_is_sent(self, run, fake):
        run("--everything", "--contrast-limits", "20,700")
        picture = fake.requests[0].image
        assert (picture.min(), picture.max(), picture[12, 32, 0]) == (0, 255, 255)

    @pytest.mark.parametrize(("dtype", "white"), [(np.uint16, 4000), (np.float32, 255)])
    def test_colours_of_any_type_are_shown_with_contrast(self, tmp_path, fake, dtype, white):
        colours = np.zeros((*SHAPE, 3), dtype)
        colours[10:25, 30:52] = white
        colours[35:50, 60:80, 1] = white / 2
        np.save(tmp_path / "colours.npy", colours)
        arguments = ["segment", str(tmp_path / "colours.npy"), "--everything", "--overwrite"]
        assert CliRunner().invoke(cli.app, arguments).exit_code == 0
        limits = ["--contrast-limits", f"0,{white * 2}"]
        assert CliRunner().invoke(cli.app, [*arguments, *limits]).exit_code == 0
        found, given = (request.image for request in fake.requests)
        assert (found[12, 40].tolist(), found[40, 70].tolist()) == ([255] * 3, [0, 128, 0])
        assert (given[12, 40].tolist(), given[40, 70].tolist()) == ([128] * 3, [0, 64, 0])

    def test_a_plane_is_chosen_of_a_stack(self, tmp_path, fake):
        stack = np.zeros((2, 3, *SHAPE), np.uint8)
        stack[1, 2] = 77
        np.save(tmp_path / "stack.npy", stack)
        arguments = ["segment", str(tmp_path / "stack.npy"), "--everything"]
        refused = CliRunner().invoke(cli.app, arguments)
        assert refused.exit_code == 1
        assert "--plane" in refused.stderr
        assert CliRunner().invoke(cli.app, [*arguments, "--plane", "1,2"]).exit_code == 0
        assert (fake.requests[0].image == 77).all()


class TestResult:
    def test_one_line_on_stdout_and_the_labels_beside_the_image(self, run, fake, image):
        done = run("--everything")
        target = image.with_name("cells_labels.tif")
        assert re.fullmatch(r"2 objects, 2 overlap, \d+\.\d s → (.*)\n", done.stdout)[1] == str(
            target
        )
        assert done.stderr == ""
        labels = labels_of(image)
        assert (labels.shape, labels.max()) == (SHAPE, 2)

    def test_notices_go_to_stderr(self, run, fake):
        fake.notices = ("Two tiles were skipped.",)
        done = run("--everything")
        assert done.stderr == "Two tiles were skipped.\n"
        assert done.stdout.count("\n") == 1

    def test_limits_that_show_nothing_are_named_beside_better_ones(self, run, fake):
        done = run("--everything", "--contrast-limits", "0,65535")
        assert done.exit_code == 0
        assert done.stderr.splitlines() == [
            (
                "Nearly all of the picture is one grey level: the contrast limits are 0 and 65535, "
                "but nearly all values lie between 20 and 900."
            ),
            "Try --contrast-limits 20,900.",
        ]

    def test_an_image_without_anything_in_it_is_told_of(self, tmp_path, fake):
        np.save(tmp_path / "void.npy", np.full(SHAPE, np.nan))
        done = CliRunner().invoke(cli.app, ["segment", str(tmp_path / "void.npy"), "--everything"])
        assert done.exit_code == 0
        assert "nearly all values are no numbers" in done.stderr
        assert "Try" not in done.stderr

    def test_an_existing_file_is_replaced_on_demand_only(self, run, fake, image):
        target = image.with_name("cells_labels.tif")
        target.write_bytes(b"precious")
        refused = run("--everything")
        assert refused.exit_code == 1
        assert "--overwrite" in refused.stderr
        assert target.read_bytes() == b"precious"
        assert fake.requests == []
        assert run("--everything", "--overwrite").exit_code == 0
        assert labels_of(image).max() == 2

    def test_the_image_itself_is_never_replaced(self, run, fake, image):
        refused = run("--everything", "--overwrite", "--output", str(image))
        assert refused.exit_code == 1
        assert "the image itself" in refused.stderr

    def test_the_output_may_be_anywhere(self, run, fake, tmp_path):
        assert run("--everything", "--output", str(tmp_path / "out.png")).exit_code == 0
        assert open_image(tmp_path / "out.png").max() == 2

    @pytest.mark.parametrize("name", ["out.jpg", "gone/out.tif"])
    def test_an_output_that_cannot_be_written_is_refused_before_anything_is_asked(
        self, run, fake, tmp_path, name
    ):
        refused = run("--everything", "--output", str(tmp_path / name))
        assert (refused.exit_code, fake.requests) == (1, [])
        assert refused.stderr.count("\n") == 1


class TestUsageErrors:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ([], "say what to find"),
            (["--everything", "--point", "1,2"], "choose one: all of a kind"),
            (["--exemplar", "1,2,4,8", "--box", "1,2,4,8"], "choose one: all of a kind"),
            (["--text", "nucleus", "--point", "1,2"], "choose one: all of a kind"),
            (["--text", "a", "--text", "b", "--exemplar", "1,2,4,8"], "single --text"),
            (["--text", "a", "--text", "b", "--negative-exemplar", "1,2,4,8"], "single --text"),
            (["--text", "a", "--text", "b", "--combine"], "single --text"),
            (["--text", " "], "say what to find"),
            (["--outline", "1,2,3,4"], "is no outline"),
            (["--outline", "1,2,3,4,5"], "is no outline"),
            (["--outline", "1,1,2,2,3,3"], "is no outline"),
            (["--point", "1,2", "--proposal", "huge"], "is not one of 'small', 'medium', 'large'"),
            (["--box", "1,2,3,4", "--proposal", "small"], "goes with --point"),
            (["--point", "1,2", "--diameter", "9"], "goes with --everything"),
            (["--everything", "--diameter", "0"], "pixels"),
            (["--negative-point", "1,2"], "--negative-point alone"),
            (["--negative-exemplar", "1,2,4,8"], "--negative-exemplar alone"),
            (["--point", "12"], "'12' is not row,col: give 2 numbers"),
            (["--point", "a,b"], "e.g. 12,40"),
            (["--point", "nan,3"], "must lie somewhere"),
            (["--box", "1,2,3"], "give 4 whole numbers"),
            (["--box", "1,2,3.5,8"], "e.g. 10,20,50,80"),
            (["--box", "4,2,1,8"], "holds no pixel"),
            (["--everything", "--plane", "x"], "is no plane"),
            (["--everything", "--plane", "-1"], "is no plane"),
            (["--everything", "--contrast-limits", "9,9"], "must exceed"),
            (["--everything", "--contrast-limits", "9"], "e.g. 100,4000"),
            (["--everything", "--min-score", "0.05"], "--min-score"),
            (["--everything", "--points-per-side", "129"], "--points-per-side"),
            (["--everything", "--pred-iou-thresh", "0.4"], "--pred-iou-thresh"),
            (["--everything", "--max-masks", "101"], "--max-masks"),
            (["--everything", "--engine", "nonsense"], "'builtin', 'segmind'"),
            (["--nonsense"], "--nonsense"),
        ],
    )
    def test_exit_with_2_and_say_what_is_wrong(self, run, fake, options, words):
        done = run(*options)
        assert done.exit_code == 2
        assert words in done.stderr
        assert done.stdout == ""
        assert fake.requests == []


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--point", "60,4"], "60 rows and 90 columns"),
            (["--point", "-1,4"], "outside"),
            (["--box", "0,0,61,9"], "reaches beyond"),
            (["--exemplar", "0,80,9,91"], "reaches beyond"),
            (["--everything", "--plane", "0"], "leave --plane out"),
        ],
    )
    def test_exit_with_1_and_one_sentence(self, run, fake, options, words):
        done = run(*options)
        assert done.exit_code == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert (done.stdout, fake.requests) == ("", [])

    def test_an_engine_that_cannot_answer_refuses_and_names_one_that_can(self, run):
        done = run("--text", "mitochondrion")
        assert done.exit_code == 1
        assert re.search(r"Built-in engine does not know the word “mito.*nuclei.*SAM3", done.stderr)

    def test_an_engine_that_is_not_there_is_refused(self, run):
        done = run("--everything", "--engine", "local")
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)

    def test_a_bug_keeps_its_traceback(self, run, fake, monkeypatch):
        def broken(*args):
            raise ZeroDivisionError

        monkeypatch.setattr(fake, "segment", broken)
        assert isinstance(run("--everything").exception, ZeroDivisionError)


class TestProgress:
    def test_a_terminal_shows_it_and_the_answer_is_the_same(self, fake, monkeypatch, image):
        terminal = SimpleNamespace(isatty=lambda: True, write=len, flush=lambda: None)
        monkeypatch.setattr(following.sys, "stderr", terminal)
        prompts = (ObjectPrompt(box=Box(1, 2, 4, 8)), ObjectPrompt(box=Box(5, 6, 9, 9)))
        answer = following.follow(
            iter_run(fake, SegmentRun(Picture.from_array(np.load(image)), prompts))
        )
        assert len(answer.instances) == 4
        assert fake.prompts == list(prompts)


class TestEngines:
    def test_each_is_listed_with_its_state_the_ready_ones_first(self):
        lines = CliRunner().invoke(cli.app, ["engines"]).stdout.splitlines()
        heads = [line for line in lines if not line.startswith(" ")]
        assert heads[0] == "builtin (Built-in): ready"
        assert {head.partition(" ")[0] for head in heads} == {i.name for i in engines.ENGINES}

    def test_the_list_fits_a_terminal_of_80_columns_and_loses_no_word(self):
        shown = CliRunner().invoke(cli.app, ["engines"]).stdout
        assert max(map(len, shown.splitlines())) <= 80
        assert all(info.summary in " ".join(shown.split()) for info in engines.ENGINES)

    def test_the_choices_of_segment_are_the_engines_that_there_are(self):
        assert get_args(EngineName) == tuple(info.name for info in engines.ENGINES)


class TestDemo:
    def test_without_a_window_it_writes_labels_and_a_picture(self, tmp_path):
        folder = tmp_path / "made" / "here"
        done = CliRunner().invoke(cli.app, ["demo", "--no-window", "--output-dir", str(folder)])
        assert done.exit_code == 0, done.stderr
        assert {path.name for path in folder.iterdir()} == {
            "nuclei_labels.tif",
            "nuclei_labels.json",
            "demo.png",
            "nuclei.png",
        }
        sample = open_image(sample_path("fluorescence"))
        labels = open_image(folder / "nuclei_labels.tif")
        assert labels.shape == sample.shape
        assert 25 < labels.max() < 100
        assert open_image(folder / "demo.png").shape == (520, 2 * 696, 3)
        assert str(folder / "demo.png") in done.stdout
        assert "1 object," in done.stdout

    def test_with_a_window_it_leaves_the_rest_to_it(self, monkeypatch, tmp_path):
        asked = []

        def show_demo(folder, keep_open):
            asked.append((folder, keep_open))
            return [folder / "demo.png"]

        monkeypatch.setattr(
            demo.importlib, "import_module", lambda name: SimpleNamespace(show_demo=show_demo)
        )
        arguments = ["demo", "--window", "--output-dir", str(tmp_path)]
        done = CliRunner().invoke(cli.app, [*arguments, "--close"])
        assert done.stdout == f"Wrote {tmp_path / 'demo.png'}\n"
        CliRunner().invoke(cli.app, arguments)
        assert asked == [(tmp_path, False), (tmp_path, True)]

    @pytest.mark.parametrize(
        ("platform", "variables", "binding", "expected"),
        [
            ("linux", {"DISPLAY": ":0"}, True, True),
            ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True, True),
            ("linux", {}, True, False),
            ("linux", {"DISPLAY": ":0"}, False, False),
            ("darwin", {}, True, True),
            ("win32", {}, False, False),
        ],
    )
    def test_there_is_a_window_where_a_screen_and_qt_are(
        self, monkeypatch, platform, variables, binding, expected
    ):
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(demo.sys, "platform", platform)
        monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: binding or None)
        assert demo._can_show_window() is expected

    def test_a_folder_that_cannot_be_made_is_an_error(self, tmp_path):
        (tmp_path / "taken").touch()
        arguments = ["demo", "--no-window", "--output-dir", str(tmp_path / "taken")]
        done = CliRunner().invoke(cli.app, arguments)
        assert done.exit_code == 1
        assert "cannot be made" in done.stderr


class TestOutlines:
    def test_only_the_outermost_pixels_of_objects_are_coloured(self):
        labels = np.zeros((7, 9), np.uint16)
        labels[1:6, 2:7] = 4
        gray = np.broadcast_to(np.full((7, 9, 1), 50, np.uint8), (7, 9, 3))
        shown = demo.with_outlines(gray, labels)
        coloured = (shown != 50).any(axis=2)
        expected = labels > 0
        expected[2:5, 3:6] = False
        np.testing.assert_array_equal(coloured, expected)

    def test_touching_objects_are_told_apart(self):
        labels = np.zeros((4, 8), np.uint16)
        labels[:, :4], labels[:, 4:] = 1, 2
        shown = demo.with_outlines(np.zeros((4, 8, 3), np.uint8), labels)
        assert (shown[:, 3] != shown[:, 4]).any(axis=1).all()
        assert not shown[:, [0, 7]].any()


class TestProgram:
    """The program as users start it."""

    def start(self, *arguments, **options):
        return subprocess.run(
            [sys.executable, "-c", "from napari_sam3.cli import main; main()", *arguments],
            capture_output=True,
            check=False,
            encoding=options.pop("encoding", "utf-8"),
            **options,
        )

    def test_segments_a_real_image(self, tmp_path):
        target = tmp_path / "labels.tif"
        arguments = ["--point", "199,343", "--output", str(target)]
        done = self.start("segment", str(sample_path("fluorescence")), *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(r"1 object, \d+\.\d s → .*labels\.tif\n", done.stdout)
        labels = open_image(target)
        assert labels[199, 343] == 1
        assert 1500 < (labels == 1).sum() < 4500

    def test_says_in_one_sentence_what_went_wrong(self, tmp_path):
        done = self.start("segment", str(tmp_path / "gone.tif"), "--everything")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"There is no file {tmp_path / 'gone.tif'}.\n"

    def test_tells_wrong_usage_from_failure(self, tmp_path):
        done = self.start("segment", str(tmp_path / "gone.tif"))
        assert (done.returncode, done.stdout) == (2, "")
        assert "say what to find" in done.stderr

    def test_tells_its_version(self):
        assert self.start("--version").stdout == f"napari-sam3 {napari_sam3.__version__}\n"

    def test_works_on_a_terminal_that_has_no_arrows(self, tmp_path):
        save_labels(tmp_path / "plain.tif", np.ones((40, 50), np.uint16))
        done = self.start(
            "segment", str(tmp_path / "plain.tif"), "--point", "9,9",
            env={**os.environ, "PYTHONIOENCODING": "latin-1"}, encoding="latin-1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "? " in done.stdout

    def test_starts_without_what_only_some_commands_need(self):
        program = (
            "import sys, napari_sam3.cli\n"
            "heavy = {'napari', 'qtpy', 'scipy', 'skimage', 'PIL', 'tifffile', 'requests'}\n"
            "heavy.add('pydantic')\n"
            "sys.exit(sorted(heavy & set(sys.modules)) or None)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=False, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_overlapping_objects_are_kept_whole_beside_the_labels(fake, image, run):
    result = run("--everything")
    assert result.exit_code == 0, result.output
    objects = shown_on_record(record_beside(image.with_name("cells_labels.tif"))).objects
    assert [one.instance.area for one in objects] == [120, 252]
    assert (labels_of(image) == 1).sum() + (labels_of(image) == 2).sum() < 120 + 252
