"""What was measured was never learned from, and near-duplicates stay together."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from training.data import Sample
from training.split import (
    WHOLE_SOURCES,
    alike_groups,
    divided,
    group,
    held_out,
    iter_crops,
    may_be_learned_from,
    read_split,
    was_held_out,
    write_split,
)

SILENT = {"report": lambda _: None}


@pytest.fixture(scope="module")
def split():
    return read_split()


def field(name, image, kind="fluo"):
    labels, _ = label(image > 40)
    image = np.clip(image, 0, 255).astype(np.uint8)
    return Sample(name, kind, np.repeat(image[..., None], 3, axis=2), labels.astype(np.int32))


@pytest.fixture(scope="module")
def fields():
    """Two crops of one specimen, the second shifted and a little noisier, and a stranger."""
    rng = np.random.default_rng(1)
    specimen = np.zeros((400, 400), np.float64)
    for row, col in rng.integers(10, 390, (90, 2)):
        specimen[row - 6 : row + 6, col - 6 : col + 6] = rng.integers(60, 220)
    stranger = specimen[::-1].T[:256, 60:316]
    noisy = specimen[90:346, 70:326] + rng.normal(0, 4, (256, 256))
    images = {"one": specimen[:256, :256], "other": noisy, "stranger": stranger}
    return [field(name, image) for name, image in images.items()]


def nuclei(places, rng):
    """Draw smooth bright nuclei on black, with fresh noise."""
    image = np.zeros((256, 256))
    image[tuple(np.transpose(places))] = 1
    image = gaussian_filter(image, 14)
    return 5 + 200 * image / image.max() + rng.normal(0, 2, image.shape)


def test_every_image_is_in_exactly_one_group(split):
    names = [name for members in split["groups"] for name in members]
    assert len(names) == len(set(names))
    assert set(names) == set(split["kinds"])


def test_a_group_is_never_divided(split):
    kept, dropped = set(split["held_out"]), set(split["dropped"])
    for members in split["groups"]:
        assert len(kept & set(members)) in (0, len(set(members) - dropped))


def test_a_group_of_the_same_field_lies_within_a_group_of_what_is_alike(split):
    home = {name: tuple(members) for members in alike_groups(split) for name in members}
    assert all(len({home[name] for name in members}) == 1 for members in split["groups"])


def test_the_held_out_part_follows_from_the_groups_alone(split):
    chosen = held_out(alike_groups(split), split["kinds"])
    assert split["dropped"] == divided(split["groups"], chosen)
    assert split["held_out"] == sorted(set(chosen) - set(split["dropped"]))


def test_about_a_fifth_of_each_kind_with_more_than_one_group_is_held_out(split):
    kinds = split["kinds"]
    for kind in ("fluo", "he_white"):
        own = [name for name in kinds if kinds[name] == kind]
        kept = [name for name in split["held_out"] if kinds[name] == kind]
        assert 0.15 < len(kept) / len(own) < 0.3


def test_nothing_of_a_source_that_is_held_out_as_a_whole_is_learned_from(split):
    own = [name for name, kind in split["kinds"].items() if kind in WHOLE_SOURCES]
    assert len(own) == 30
    assert not any(may_be_learned_from(name) for name in own)
    assert set(own) <= {*split["held_out"], *split["dropped"]}


def test_no_image_is_both_learned_from_and_measured_on(split):
    for name in split["kinds"]:
        assert not (may_be_learned_from(name) and was_held_out(name))
        assert (may_be_learned_from(name) or was_held_out(name)) != (name in split["dropped"])


def test_an_image_of_another_source_may_be_measured_on():
    assert was_held_out("images/plane-0")


def test_a_held_out_image_that_shares_a_field_with_one_learned_from_is_dropped():
    assert divided([["a", "b"], ["c", "d"], ["e"]], ["b", "c", "d"]) == ["b"]


def test_crops_of_one_field_of_view_are_one_group(fields):
    groups = group(fields, **SILENT)
    assert groups.alike == [["one", "other"], ["stranger"]]
    assert groups.same == groups.alike


def test_one_nucleus_like_any_other_makes_no_same_field():
    rng = np.random.default_rng(3)
    one = field("one", nuclei([(64, 64), (200, 90), (180, 210), (90, 180)], rng))
    two = field("two", nuclei([(64, 64), (140, 120), (230, 40), (60, 220)], rng))
    groups = group([one, two], **SILENT)
    assert groups.alike == [["one", "two"]]
    assert groups.same == [["one"], ["two"]]


def test_the_same_nuclei_recorded_again_are_the_same_field():
    rng = np.random.default_rng(3)
    places = [(64, 64), (200, 90), (180, 210), (90, 180)]
    twice = [field(name, nuclei(places, rng)) for name in ("one", "two")]
    assert group(twice, **SILENT).same == [["one", "two"]]


def test_the_same_noise_is_the_same_field_whatever_it_shows():
    rng = np.random.default_rng(5)
    recorded = gaussian_filter(rng.normal(0, 1, (320, 256)), 1)
    recorded = 30 + 30 * recorded / recorded.max()
    images = {"one": recorded[:256], "two": 1.2 * recorded[40:296]}
    samples = [
        Sample(sample.name, "fluo", sample.image, np.zeros_like(sample.labels))
        for sample in (field(name, image) for name, image in images.items())
    ]
    assert group(samples, **SILENT).same == [["one", "two"]]


def test_the_split_is_written_as_it_is_read(fields, tmp_path):
    path = tmp_path / "groups.json"
    other = Sample("away", "dapi", fields[2].image, fields[2].labels)
    written = write_split([*fields, other], path)
    assert json.loads(path.read_text()) == written
    assert "away" in written["held_out"] + written["dropped"]
    assert ["one", "other"] in alike_groups(written)
    assert sorted(name for members in alike_groups(written) for name in members) == sorted(
        written["kinds"]
    )


def test_the_grid_of_crops_reaches_the_last_row_and_column():
    crops = list(iter_crops((100, 70), 32, 32))
    assert max(rows.stop for rows, _ in crops) == 100
    assert max(cols.stop for _, cols in crops) == 70
    assert all(rows.stop - rows.start == 32 for rows, _ in crops)
