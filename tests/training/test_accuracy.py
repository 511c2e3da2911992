"""What is measured, against what, and how it is told."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.draw import disk

from benchmarks import accuracy, baselines
from benchmarks.composed import KINDS, Composed, composed_measures, iter_composed
from benchmarks.contenders import ENGINE, Asked, Builtin, Contenders
from benchmarks.measuring import OBJECT, Measure, measured
from benchmarks.prompting import click_in, correction, loose_box, median_diameter, random_objects
from benchmarks.scoring import best_overlaps, iou, match, overlaps
from benchmarks.sources import iter_pairs
from benchmarks.tables import as_json, figures_of, markdown
from napari_sam3 import Box, Point, create_engine
from training.data import Sample
from training.evaluate import reliability, reliability_curves

SHAPE = (120, 150)
DISCS = [((30, 30), 11), ((30, 75), 12), ((35, 120), 10), ((85, 40), 12), ((90, 105), 13)]


def drawn_discs(dark=False, seed=0):
    """Draw five noisy blurred discs, neither touching nor in a row."""
    labels = np.zeros(SHAPE, np.int32)
    for number, (centre, radius) in enumerate(DISCS, start=1):
        labels[disk(centre, radius, shape=SHAPE)] = number
    light = 40 + 150 * ndimage.gaussian_filter((labels > 0).astype(float), 1.2)
    light += np.random.default_rng(seed).normal(0, 4, SHAPE)
    gray = np.clip(255 - light if dark else light, 0, 255).astype(np.uint8)
    return Sample(f"discs-{seed}", "fluo", np.repeat(gray[..., None], 3, axis=2), labels)


@pytest.fixture(scope="module", params=[False, True], ids=["bright", "dark"])
def sample(request):
    return drawn_discs(request.param)


@pytest.fixture(scope="module")
def measures():
    image = drawn_discs()
    return measured(image, Contenders(image.image, Builtin(image.image)), 3, (0, 1))


# --- scoring --------------------------------------------------------------------------


def test_a_perfect_answer_scores_one_whatever_its_numbers():
    truth = drawn_discs().labels
    renamed = np.where(truth > 0, 40 - 3 * truth, 0)
    assert match(renamed, truth) == match(truth, truth)
    assert (match(truth, truth).f1, match(truth, truth).precision) == (1, 1)


def test_nothing_found_where_nothing_is_is_right():
    nothing = np.zeros((6, 8), np.int32)
    something = np.pad(np.ones((2, 3), np.int32), 2)
    assert match(nothing, nothing).f1 == 1
    assert match(something, np.zeros_like(something)).f1 == 0
    assert match(np.zeros_like(something), something).precision == 0


def test_f1_and_precision_count_misses_and_false_alarms():
    truth = np.zeros((20, 30), np.int32)
    truth[:10, :10], truth[:10, 15:25] = 1, 2
    found = np.zeros_like(truth)
    found[:10, :8] = 5
    found[15:, 20:] = 6
    result = match(found, truth)
    assert result.f1 == pytest.approx(2 * 1 / 4)
    # 80 of 100 pixels: right at 0.5, 0.6, 0.7 and 0.8, wrong at 0.9
    assert result.precision == pytest.approx(4 / 5 * (1 / 3))


def test_two_halves_are_no_two_hits():
    truth = np.ones((10, 10), np.int32)
    found = np.ones((10, 10), np.int32)
    found[:, 5:] = 2
    assert overlaps(found, truth).tolist() == [[0.5], [0.5]]
    assert match(found, truth).f1 == pytest.approx(2 / 3)


def test_an_object_is_compared_with_the_true_one_that_it_overlaps_most():
    truth = np.zeros((6, 8), np.int32)
    truth[:, :4], truth[:, 4:] = 1, 2
    found = np.zeros((6, 8), np.int32)
    found[:, 3:8] = 1
    assert best_overlaps(found, truth, 2).tolist() == [pytest.approx(24 / 30), 0]


# --- prompts --------------------------------------------------------------------------


def test_a_hurried_box_is_near_the_object():
    mask = drawn_discs().labels == 2
    rng = np.random.default_rng(0)
    for _ in range(20):
        box = loose_box(mask, rng)
        assert Box(14, 59, 47, 92).intersection(box) == box
        assert iou(mask[box.slices], np.ones(box.shape, bool)) > 0.55


def test_a_click_falls_well_inside():
    mask = drawn_discs().labels == 4
    depth = ndimage.distance_transform_edt(mask)
    for seed in range(10):
        assert depth[click_in(mask, np.random.default_rng(seed))] >= 0.55 * depth.max()


def test_a_correction_shows_what_is_missing_or_too_much():
    truth = np.zeros((20, 30), bool)
    truth[5:15, 5:25] = True
    half, twice = truth.copy(), truth.copy()
    half[:, 15:] = False
    twice[:, :] = True
    rng = np.random.default_rng(0)
    assert correction(half, truth, rng).positive
    assert not correction(twice, truth, rng).positive
    assert correction(truth, truth, rng) is None


# --- baselines ------------------------------------------------------------------------


@pytest.mark.parametrize("name", baselines.BOX)
def test_every_baseline_finds_a_disc_in_a_box(sample, name):
    gray = baselines.gray_of(sample.image)
    for mask in random_objects(sample.labels, 5, np.random.default_rng(1)):
        crop = baselines.Crop(gray, loose_box(mask, np.random.default_rng(2)))
        found = baselines.BOX[name](crop)
        assert iou(found, mask[crop.window.slices]) > 0.7


@pytest.mark.parametrize("name", baselines.CLICK)
def test_every_baseline_finds_a_disc_at_a_click(sample, name):
    gray = baselines.gray_of(sample.image)
    for mask in random_objects(sample.labels, 5, np.random.default_rng(1)):
        click = Point(*click_in(mask, np.random.default_rng(2)))
        assert iou(baselines.CLICK[name](gray, [click]), mask) > 0.7


@pytest.mark.parametrize("name", baselines.EVERYTHING)
@pytest.mark.parametrize("given", [True, False])
def test_every_baseline_finds_all_discs(sample, name, given):
    gray = baselines.gray_of(sample.image)
    diameter = median_diameter(sample.labels) if given else None
    assert match(baselines.EVERYTHING[name](gray, diameter), sample.labels).f1 == 1


def test_a_baseline_is_given_the_corrections_of_the_others(sample):
    gray = baselines.gray_of(sample.image)
    wanted = (sample.labels == 1) | (sample.labels == 2)
    apart = [Point(30, 30), Point(30, 75)]
    for call in baselines.CLICK.values():
        assert not call(gray, [Point(30, 30), Point(30, 75, positive=False)])[30, 75]
        assert call(gray, apart)[30, 75]
        assert wanted[30, 75]


@pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(0, 0, 120, 150), Box(119, 40, 120, 90)])
def test_baselines_answer_any_box(sample, box):
    crop = baselines.Crop(baselines.gray_of(sample.image), box)
    for call in baselines.BOX.values():
        assert call(crop).shape == crop.window.shape


@pytest.mark.parametrize("level", [0, 128, 255])
def test_baselines_answer_a_blank_image(level):
    gray = baselines.gray_of(np.full((40, 50, 3), level, np.uint8))
    assert all(not call(gray, None).any() for call in baselines.EVERYTHING.values())
    assert all(call(gray, [Point(9, 9)]).shape == (40, 50) for call in baselines.CLICK.values())
    crop = baselines.Crop(gray, Box(5, 5, 20, 30))
    assert all(call(crop).any() for call in baselines.BOX.values())


# --- measuring ------------------------------------------------------------------------


def test_every_task_is_measured_for_everybody(measures):
    tasks = {(one.task, one.who) for one in measures}
    for who in [ENGINE, *baselines.BOX]:
        assert ("box", who) in tasks
    for who in [ENGINE, *baselines.CLICK]:
        for task in ("click", "+ 1 corrective", "+ 3 corrective"):
            assert (task, who) in tasks
    # a baseline has one answer to a click
    assert [who for task, who in tasks if task == "best of three"] == [ENGINE]
    for who in [ENGINE, *baselines.EVERYTHING]:
        assert {("everything, F1", who), ("diameter given, AP", who)} <= tasks
    assert {("exemplars, 1, F1", ENGINE), ("exemplars, 3, AP", ENGINE)} <= tasks


def test_the_same_seed_gives_the_same_values(measures):
    image = drawn_discs()
    again = measured(image, Contenders(image.image, Builtin(image.image)), 3, (0, 1))
    assert [one.value for one in again] == [one.value for one in measures]


def test_the_best_of_three_is_no_worse_than_the_likeliest(measures):
    values = {task: np.mean([m.value for m in measures if (m.task, m.who) == (task, ENGINE)])
              for task in ("click", "best of three")}  # fmt: skip
    assert values["best of three"] >= values["click"]


def test_any_engine_can_be_measured():
    image = drawn_discs()
    engine = create_engine("builtin")
    asked = measured(image, Contenders(image.image, Asked(engine, image.image)), 1, (0, 1))
    assert {one.task for one in asked} >= {"box", "click", "everything, F1", "exemplars, 3, F1"}
    assert np.mean([m.value for m in asked if (m.task, m.who) == ("box", ENGINE)]) > 0.7


# --- composed images ------------------------------------------------------------------


def composed():
    samples = [drawn_discs(seed=seed) for seed in (1, 2)]
    wide = [
        Sample(
            one.name,
            "fluo",
            np.pad(one.image, ((0, 140), (0, 130), (0, 0)), mode="reflect"),
            np.pad(one.labels, ((0, 140), (0, 130))),
        )
        for one in samples
    ]
    # what lies beyond the labels must be dark: only labelled objects count
    for one in wide:
        one.image[120:], one.image[:, 150:] = 40, 40
        one.labels[200:220, 200:215], one.labels[200:215, 50:70] = 6, 7
        one.image[one.labels > 5] = 190
    return list(iter_composed(wide, 2, 0))


def test_each_mix_has_two_kinds_that_do_not_touch():
    mixed = composed()
    assert {one.kind for one in mixed} == set(KINDS)
    for one in mixed:
        mine, theirs = one.labels
        assert not ((mine > 0) & (theirs > 0)).any()
        assert min(mine.max(), theirs.max()) >= 6
        assert one.image.shape[:2] == mine.shape


def test_the_two_kinds_differ_as_they_say():
    by_kind = {one.kind: one for one in composed()}
    sizes = [median_diameter(labels) for labels in by_kind["two sizes"].labels]
    assert max(sizes) / min(sizes) > 1.6
    bright = by_kind["two brightnesses"]
    levels = [bright.image[labels > 0].mean() for labels in bright.labels]
    assert max(levels) / min(levels) > 1.8


def test_what_is_found_of_the_other_kind_is_wrong():
    image = drawn_discs()
    few = np.where(image.labels <= 2, image.labels, 0)
    many = np.where(image.labels > 2, image.labels - 2, 0)
    mixed = Composed("mix", image.image, (few, many))
    found = list(composed_measures(mixed, Builtin, (0, 0)))
    everything = [m.value for m in found if (m.task, m.who) == ("everything, F1", ENGINE)]
    assert everything == [pytest.approx(4 / 7), pytest.approx(6 / 8)]
    assert {"exemplars, 3 and 1 negative, F1"} <= {m.task for m in found}
    assert OBJECT not in {m.task for m in found}


# --- sources, tables ------------------------------------------------------------------


def test_stacks_and_folders_of_pairs_are_read(tmp_path):
    import tifffile

    one = drawn_discs()
    gray = one.image[..., 0]
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    tifffile.imwrite(tmp_path / "images" / "b.tif", np.stack([gray, gray // 2]).astype(np.uint16))
    tifffile.imwrite(tmp_path / "masks" / "b_labels.tif", np.stack([one.labels * 7] * 2))
    Image.fromarray(one.image).save(tmp_path / "images" / "a.png")
    Image.fromarray(one.labels.astype(np.uint16)).save(tmp_path / "masks" / "a_labels.png")
    found = list(iter_pairs(tmp_path / "images", tmp_path / "masks"))
    assert [sample.kind for sample in found] == ["images"] * 3
    assert len({sample.name for sample in found}) == 3
    assert all(np.array_equal(sample.labels, one.labels) for sample in found)
    assert np.array_equal(found[0].image, one.image)
    assert all(sample.image.shape == one.image.shape for sample in found)


def test_the_tables_show_the_best_baseline_in_brackets(measures):
    text = markdown(figures_of(measures))
    box = next(line for line in text.splitlines() if line.startswith("| box |"))
    best = max(
        np.mean([m.value for m in measures if (m.task, m.who) == ("box", who)])
        for who in baselines.BOX
    )
    assert f"({best:.3f})".replace("(0", "(") in box
    assert "| box: polar |" in text
    assert OBJECT not in text
    widths = {line.count("|") for line in text.splitlines() if line}
    assert len(widths) == 1


def test_composed_images_have_a_table_of_their_own(measures):
    mixed = [Measure(KINDS[0], one.task, one.who, 0.0) for one in measures if one.task != "box"]
    alone, both = (markdown(figures_of(part)) for part in (measures, [*measures, *mixed]))
    assert both.startswith(alone.partition("\n\n")[0])
    assert both.count("\n\n") == alone.count("\n\n") + 1
    assert both.count(KINDS[0]) == 1


def test_the_figures_are_written_as_json(measures):
    told = json.loads(json.dumps(as_json(measures), allow_nan=False))
    assert {"kind", "task", "who", "mean", "count", "milliseconds"} == set(told["figures"][0])
    assert all(0 <= score <= 1 for _, _, score, _ in told["scores"])


def test_the_benchmark_prints_tables_and_writes_json(tmp_path, monkeypatch, capsys):
    for name in ("one", "two"):
        one = drawn_discs(seed=len(name))
        Image.fromarray(one.image).save(tmp_path / f"{name}.png")
        Image.fromarray(one.labels.astype(np.uint16)).save(tmp_path / f"{name}_labels.png")
    (tmp_path / "index.csv").write_text("name,kind,suspect\none,fluo,0\ntwo,he_white,0\n")
    out = tmp_path / "out.json"
    words = [str(tmp_path), "--images", "1", "--objects", "1", "--kinds", "fluo", "--json", out]
    monkeypatch.setattr(sys, "argv", ["accuracy", *map(str, words)])
    accuracy.main()
    printed = capsys.readouterr().out
    assert printed.startswith("| task | fluo (1) | mean | ms |")
    assert "he_white" not in printed
    assert {one["kind"] for one in json.loads(out.read_text())["figures"]} == {"fluo"}


def test_only_what_was_held_out_is_measured_on_if_asked_for():
    samples = [Sample(name, "fluo", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.int32))
               for name in ("00071198d059", "elsewhere")]  # fmt: skip
    kept = {sample.name for sample in accuracy.chosen(samples, None, held_out=True)}
    assert "elsewhere" in kept
    assert not list(accuracy.chosen(samples, ["dapi"], held_out=False))


def test_the_reliability_is_that_of_answers_of_similar_score():
    (low, high) = reliability([(0.72, 0.7), (0.78, 0.8), (1.0, 0.9)])
    assert low == (pytest.approx(0.75), pytest.approx(0.75), 2)
    assert high == (1.0, 0.9, 1)
    assert reliability([]) == []


def test_answers_without_a_score_do_not_count_in_the_reliability(measures):
    curves = reliability_curves(as_json(measures))
    counts = {name: sum(count for *_, count in curve) for name, curve in curves.items()}
    assert counts["box"] <= 3
    assert counts["click"] <= 3
    assert counts["everything"] >= 5


def test_the_reliability_is_plotted_small(measures, tmp_path):
    pytest.importorskip("matplotlib", reason="only measuring needs it")
    from training.plot import plot_reliability

    path = tmp_path / "reliability.svg"
    plot_reliability(reliability_curves(as_json(measures)), path)
    text = path.read_text()
    assert path.stat().st_size < 60_000
    assert "everything" in text
    plot_reliability(reliability_curves(as_json(measures)), path)
    assert path.read_text() == text
