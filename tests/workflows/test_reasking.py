"""Questions on record, asked again: of the same picture only, and what became of the objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sam3.core.drift import Drift
from napari_sam3.core.geometry import Box
from napari_sam3.core.images import to_rgb8, to_uint8
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.pictures import Picture, Pixels
from napari_sam3.core.progress import Progress
from napari_sam3.core.prompts import Everything, ObjectPrompt, Point
from napari_sam3.engines.base import AnswerRecord, SegmentationResult
from napari_sam3.errors import ImageError, ProvenanceError
from napari_sam3.jobs.answers import digest
from napari_sam3.workflows import accounted
from napari_sam3.workflows.answer import SegmentAnswer
from napari_sam3.workflows.provenance import (
    append_run,
    check_record,
    new_record,
    record_of_file,
    run_record,
)
from napari_sam3.workflows.reasking import iter_asked_again, match_answers, picture_of
from napari_sam3.workflows.replay import rebuild
from napari_sam3.workflows.run import SegmentRun

STACK = np.random.default_rng(3).integers(0, 4000, (4, 20, 30)).astype(np.uint16)
MAPPING = {"kind": "gray", "contrast_limits": [200.0, 3100.0], "gamma": 0.7, "inverted": True}
COLOURS = {"kind": "rgb", "contrast_limits": [0.0, 255.0], "gamma": 1.0}


def shown_as_recorded(plane):
    return to_rgb8(to_uint8(plane, (200, 3100), 0.7, inverted=True))


def run_on(pixels, shown=(1, 2), index=(2, 0, 0), level=0, picture=MAPPING):
    """A record's run on a plane of the stack, and the record."""
    plane = {
        "index": list(index), "shown": list(shown), "shape": list(pixels.shape[:2]),
        "level": level, "factors": [1.0] * 3,
    }  # fmt: skip
    answer_record = AnswerRecord(
        "a" * 64, Pixels(pixels).sha256, "c" * 64, "builtin", "classical-1", {}, 1.7e9
    )
    shape = pixels.shape[:2]
    result = SegmentationResult(Instances(shape), record=answer_record)
    image = {"name": "stack.tif", "shape": [4, 20, 30]}
    run = run_record(
        SegmentRun(None, (Everything(),)), SegmentAnswer((result,), shape, picture=picture),
        engine="builtin", plane=plane, image=image, labels={},
    )  # fmt: skip
    record = append_run(new_record(image, {"shape": [4, 20, 30]}), run)
    return record, record["runs"][0]


@pytest.fixture
def stack_file(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": "ZYX"})
    return path


class TestPictures:
    def test_a_plane_is_shown_as_it_was(self, stack_file):
        pixels = shown_as_recorded(STACK[2])
        picture = picture_of(*run_on(pixels), stack_file)
        np.testing.assert_array_equal(picture.read().rgb, pixels)
        assert picture.describe() == MAPPING

    @pytest.mark.parametrize(
        ("shown", "index", "plane"),
        [
            ((2, 1), (2, 0, 0), STACK[2].T),
            ((0, 2), (0, 7, 0), STACK[:, 7, :]),
            ((1, 0), (0, 0, 11), STACK[:, :, 11].T),
        ],
    )
    def test_a_plane_of_a_turned_view_is_put_together(self, stack_file, shown, index, plane):
        pixels = shown_as_recorded(plane)
        picture = picture_of(*run_on(pixels, shown, index), stack_file)
        np.testing.assert_array_equal(picture.read().rgb, pixels)

    @pytest.mark.parametrize(
        ("shown", "index", "ranges", "planes"),
        [
            ((1, 2), (2, 0, 0), (1, 4), STACK[1:4].max(axis=0)),
            ((2, 1), (2, 0, 0), (0, 3), STACK[:3].max(axis=0).T),
            ((0, 2), (0, 7, 0), (5, 9), STACK[:, 5:9].max(axis=1)),
            # one plane, but not that of the labels
            ((1, 2), (2, 0, 0), (1, 2), STACK[1]),
        ],
    )
    def test_the_planes_of_a_thick_slice_are_projected_again(
        self, stack_file, shown, index, ranges, planes
    ):
        projection = "max" if ranges[1] > ranges[0] + 1 else "none"
        picture = MAPPING | {"slab": {"projection": projection, "ranges": [list(ranges)]}}
        pixels = shown_as_recorded(planes)
        again = picture_of(*run_on(pixels, shown, index, picture=picture), stack_file)
        np.testing.assert_array_equal(again.read().rgb, pixels)
        assert again.describe() == picture

    @pytest.mark.parametrize(
        "slab",
        [
            {"projection": "max", "ranges": [[3, 2]]},
            {"projection": "max", "ranges": []},
            {"projection": "none", "ranges": [[0, 3]]},
        ],
    )
    def test_a_slab_that_is_none_is_refused_with_the_record(self, slab):
        record, _ = run_on(shown_as_recorded(STACK[2]), picture=MAPPING | {"slab": slab})
        with pytest.raises(ProvenanceError, match=r"at runs\[0\]\.picture\.slab: "):
            check_record(record)

    @pytest.mark.parametrize(
        "slab",
        [
            {"projection": "max", "ranges": [[0, 2], [0, 2]]},
            {"projection": "max", "ranges": [[2, 99]]},
            {"projection": "max", "ranges": [[0, 10**30]]},
        ],
    )
    def test_a_slab_that_cannot_be_is_refused_with_a_sentence(self, stack_file, slab):
        record, run = run_on(shown_as_recorded(STACK[2]), picture=MAPPING | {"slab": slab})
        check_record(record)
        with pytest.raises(ProvenanceError, match="is not the image that was asked about"):
            picture_of(record, run, stack_file)

    def test_another_plane_can_be_named(self, stack_file):
        record, run = run_on(shown_as_recorded(STACK[3]), index=(2, 0, 0))
        with pytest.raises(ProvenanceError, match="is not the image"):
            picture_of(record, run, stack_file)
        assert picture_of(record, run, stack_file, (3,)).read().rgb.shape == (20, 30, 3)

    @pytest.mark.parametrize(("limits", "gamma"), [((0, 255), 1.0), ((20, 90), 0.5)])
    def test_colours_are_shown_as_they_were(self, tmp_path, limits, gamma):
        colours = np.random.default_rng(1).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(colours).save(tmp_path / "x.png")
        said = {"kind": "rgb", "contrast_limits": list(limits), "gamma": gamma}
        answer = SegmentAnswer((), (20, 30), picture=said)
        record = record_of_file("x.png", SegmentRun(None, ()), answer, engine="builtin")
        pixels = to_rgb8(colours, limits, gamma)
        record["runs"][0]["picture"]["sha256"] = Pixels(pixels).sha256
        picture = picture_of(record, record["runs"][0], tmp_path / "x.png", ())
        np.testing.assert_array_equal(picture.read().rgb, pixels)

    @pytest.mark.parametrize("turn", [lambda pixels: pixels, lambda pixels: np.rot90(pixels, -1)])
    def test_a_turned_picture_is_known_as_napari_and_as_the_command_line_show_it(
        self, tmp_path, turn
    ):
        exif = Image.Exif()
        exif[0x0112] = 6
        stored = to_rgb8(to_uint8(STACK[1], (0, 4000)))
        Image.fromarray(stored).save(tmp_path / "x.png", exif=exif)
        pixels = np.ascontiguousarray(turn(stored))
        record, run = run_on(pixels, picture=COLOURS)
        np.testing.assert_array_equal(
            picture_of(record, run, tmp_path / "x.png", ()).read().rgb, pixels
        )

    def test_a_gray_picture_that_was_saved_as_colours_is_known_again(self, tmp_path):
        pixels = shown_as_recorded(STACK[2])
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "sent.png")
        picture = picture_of(*run_on(pixels), tmp_path / "sent.png")
        np.testing.assert_array_equal(picture.read().rgb, pixels)

    def test_another_image_is_refused(self, tmp_path, stack_file):
        record, run = run_on(shown_as_recorded(STACK[2]))
        tifffile.imwrite(stack_file, STACK + 1, photometric="minisblack", metadata={"axes": "ZYX"})
        with pytest.raises(ProvenanceError, match=r"stack\.tif is not the image"):
            picture_of(record, run, stack_file)

    @pytest.mark.parametrize(
        ("level", "picture", "words"),
        [
            (0, {"kind": "composed", "shape": [20, 30], "layers": []}, "several layers"),
            (2, MAPPING, "level 2 of a multiscale"),
        ],
    )
    def test_what_a_file_cannot_give_is_taken_from_the_picture_itself(
        self, tmp_path, stack_file, level, picture, words
    ):
        colours = np.random.default_rng(1).integers(0, 255, (20, 30, 3)).astype(np.uint8)
        record, run = run_on(colours, level=level, picture=picture)
        with pytest.raises(ProvenanceError, match=words):
            picture_of(record, run, stack_file)
        Image.fromarray(colours).save(tmp_path / "sent.png")
        np.testing.assert_array_equal(
            picture_of(record, run, tmp_path / "sent.png").read().rgb, colours
        )

    def test_a_missing_file_is_told_of(self, tmp_path):
        record, run = run_on(shown_as_recorded(STACK[2]))
        with pytest.raises((ProvenanceError, ImageError), match="There is no file"):
            picture_of(record, run, tmp_path / "gone.tif")

    def test_what_has_no_hash_cannot_be_asked_about_again(self, stack_file):
        record, run = run_on(shown_as_recorded(STACK[2]))
        run["picture"]["sha256"] = None
        with pytest.raises(ProvenanceError, match="does not tell which picture"):
            picture_of(record, run, stack_file)


# --- what became of the objects ---------------------------------------------------------


def solid(*box):
    return Instance(np.ones(Box(*box).shape, bool), Box(*box), 0.9)


OLD = (solid(2, 3, 8, 13), solid(10, 3, 16, 9), solid(10, 20, 14, 28))


def recorded(*answers):
    """A record of one run with one question for each of the answers."""
    results, shape = [], (20, 30)
    for items in answers:
        found = Instances(shape, items)
        said = AnswerRecord("a" * 64, "b" * 64, digest(found), "builtin", "m", {}, 1.7e9)
        results.append(SegmentationResult(found, record=said))
    prompts = (ObjectPrompt((Point(1, 2),)),) * len(answers)
    answer = SegmentAnswer(
        tuple(results), shape, picture=Picture.from_array(np.zeros(shape, np.uint8)).describe()
    )
    labels = answer.instances.to_labels()
    record = record_of_file(
        "x.png", SegmentRun(None, prompts), answer, engine="builtin", labels=labels
    )
    run_id = record["runs"][0]["id"]
    old = {(run_id, index): result.instances for index, result in enumerate(results)}
    return json.loads(json.dumps(record)), old, labels


def asked(old, *answers):
    return dict(zip(old, (Instances((20, 30), items) for items in answers), strict=True))


def only(drifts):
    (drift,) = drifts.values()
    return drift


def test_the_same_answers_are_the_same_whatever_is_stored():
    record, old, labels = recorded(OLD)
    followed = match_answers(record, {}, old)
    assert only(followed.drifts) == Drift((1.0, 1.0, 1.0))
    np.testing.assert_array_equal(rebuild(followed.record, old), labels)


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "from the label image"])
def test_objects_are_followed_in_whatever_order_they_come(is_stored):
    record, old, labels = recorded(OLD)
    new = asked(old, (solid(10, 20, 14, 27), solid(0, 25, 3, 29), solid(2, 3, 8, 13)))
    followed = match_answers(record, old if is_stored else {}, new, None if is_stored else labels)
    drift = only(followed.drifts)
    assert sorted(drift.ious) == [7 / 8, 1.0]
    assert (drift.vanished, drift.appeared) == (1, 1)
    rebuilt = rebuild(followed.record, new)
    assert rebuilt[4, 5] == labels[4, 5]
    assert rebuilt[12, 24] == labels[12, 24]
    assert rebuilt[1, 26] == 4
    assert rebuilt[12, 5] == 0


def test_with_nothing_to_compare_with_nothing_is_claimed():
    record, old, _ = recorded(OLD)
    new = asked(old, OLD[:2])
    followed = match_answers(record, {}, new)
    assert only(followed.drifts) is None
    assert set(np.unique(rebuild(followed.record, new))) == {0, 1, 2}


def test_what_lay_under_other_labels_is_no_new_object():
    record, old, labels = recorded((solid(2, 3, 12, 13),), (solid(14, 3, 18, 9),))
    new = asked(old, (solid(2, 3, 12, 12), solid(14, 3, 18, 9)), (solid(14, 3, 18, 9),))
    first, second = match_answers(record, {}, new, labels).drifts.values()
    assert first == Drift((0.9,))
    assert second == Drift((1.0,))


def test_a_refined_object_is_followed_through_both_of_its_runs():
    record, old, _ = recorded((OLD[0],))
    first = record["runs"][0]
    wide = Instances((20, 30), (solid(2, 3, 8, 17),))
    second = json.loads(json.dumps(first)) | {"id": "second", "former": [[first["id"], 0, 0]]}
    second["questions"][0] |= {"replaced": {"0": 1}, "answer_sha256": digest(wide)}
    record = append_run(record, second)
    old["second", 0] = wide
    new = asked(old, (solid(2, 3, 8, 12),), (solid(2, 3, 8, 16),))
    followed = match_answers(record, old, new)
    rebuilt = rebuild(followed.record, new)
    assert np.array_equal(rebuilt == 1, rebuild(record, old)[:, :] == 1) is False
    assert (rebuilt[2:8, 3:16] == 1).all()
    assert np.count_nonzero(rebuilt) == 6 * 13


def asked_again(monkeypatch, results, lost=()):
    """Ask a record of two questions again, of an engine that answers so."""
    record, old, _ = recorded(OLD[:1], OLD[1:2])
    for index in lost:
        record["runs"][0]["questions"][index] |= {"answered": False, "objects": 0, "labels": {}}

    def answering(engine, run, records, confirm, *, newer_than):
        yield Progress(0, 2)
        count = 2 - len(lost)
        expected = (ObjectPrompt((Point(1, 2),)),) * count
        assert (engine, newer_than, run.prompts) == ("engine", 9.0, expected)
        return SegmentAnswer(tuple(results), (20, 30))

    monkeypatch.setattr(accounted, "iter_accounted", answering)
    steps = iter_asked_again(
        record, lambda _: None, lambda _: "engine", None, lambda _: True, newer_than=9.0
    )
    next(steps)
    with pytest.raises(StopIteration) as end:
        next(steps)
    return old, end.value.value


def answered(items):
    said = AnswerRecord("a" * 64, "b" * 64, "c" * 64, "builtin", "m", {}, 1.7e9)
    return SegmentationResult(Instances((20, 30), items), record=said)


def test_each_question_on_record_is_asked_with_its_thresholds(monkeypatch):
    old, new = asked_again(monkeypatch, [answered(OLD[:1]), answered(())])
    assert list(new) == list(old)
    assert [len(found) for found in new.values()] == [1, 0]


def test_where_a_question_was_not_answered_nothing_is_compared(monkeypatch):
    lost = SegmentationResult(Instances((20, 30)), notices=("Only 1 of 2 was answered.",))
    with pytest.raises(ProvenanceError, match=r"nothing is compared\. Only 1 of 2"):
        asked_again(monkeypatch, [answered(OLD[:1]), lost])


@pytest.mark.parametrize("lost", [0, 1])
def test_a_question_that_was_never_answered_is_not_asked_now(monkeypatch, lost):
    old, new = asked_again(monkeypatch, [answered(OLD[:1])], [lost])
    assert set(new) == set(old)
    assert [len(found) for found in new.values()] == [lost, 1 - lost]
