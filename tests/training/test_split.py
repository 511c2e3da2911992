"""What was measured was never learned from, and near-duplicates stay together."""

import numpy as np
import pytest

from training.data import Sample
from training.split import group, held_out, iter_crops, read_split


@pytest.fixture(scope="module")
def split():
    return read_split()


def field(name, image):
    rgb = np.repeat(image[..., None], 3, axis=2)
    return Sample(name, "fluo", rgb, np.zeros(image.shape, np.int32))


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
    return [field(name, np.clip(image, 0, 255).astype(np.uint8)) for name, image in images.items()]


def test_every_image_is_in_exactly_one_group(split):
    names = [name for members in split["groups"] for name in members]
    assert len(names) == len(set(names))
    assert set(names) == set(split["kinds"])


def test_a_group_is_never_divided(split):
    kept = set(split["held_out"])
    for members in split["groups"]:
        assert len(kept & set(members)) in (0, len(members))


def test_the_held_out_part_follows_from_the_groups_alone(split):
    assert split["held_out"] == held_out(split["groups"], split["kinds"])


def test_about_a_fifth_of_each_kind_with_more_than_one_group_is_held_out(split):
    kinds = split["kinds"]
    for kind in ("fluo", "he_white"):
        own = [name for name in kinds if kinds[name] == kind]
        kept = [name for name in split["held_out"] if kinds[name] == kind]
        assert 0.15 < len(kept) / len(own) < 0.3


def test_crops_of_one_field_of_view_are_one_group(fields):
    assert group(fields, lambda _: None) == [["one", "other"], ["stranger"]]


def test_the_grid_of_crops_reaches_the_last_row_and_column():
    crops = list(iter_crops((100, 70), 32, 32))
    assert max(rows.stop for rows, _ in crops) == 100
    assert max(cols.stop for _, cols in crops) == 70
    assert all(rows.stop - rows.start == 32 for rows, _ in crops)
