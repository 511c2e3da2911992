"""Reading, drawing and cropping keep image and truth together."""

import numpy as np
from PIL import Image

from training.augment import View, depth, looked_up, prepare, random_turn, seen
from training.batches import Drawer, add_clicks, dense_batch, prompt_batch
from training.data import Sample, iter_samples, without_specks
from training.synthetic import LOOKS, SHAPES, draw

IDENTITY = np.eye(2, dtype=np.float32)


def square_sample():
    labels = np.zeros((80, 120), np.int32)
    labels[20:40, 70:100] = 1
    labels[60:75, 5:25] = 2
    image = np.repeat((labels > 0)[..., None] * np.uint8(200), 3, axis=2)
    return Sample("squares", "fluo", image, labels)


def test_suspect_images_are_left_out(tmp_path):
    (tmp_path / "index.csv").write_text("name,kind,suspect\na,fluo,0\nb,fluo,1\n")
    for name in "ab":
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / f"{name}.png")
        Image.fromarray(np.full((4, 6), 300, np.uint16)).save(tmp_path / f"{name}_labels.png")
    (sample,) = iter_samples(tmp_path)
    assert sample.name == "a"
    assert sample.image.shape == (4, 6, 3)
    assert sample.labels.max() == 300


def test_specks_of_the_brush_are_no_objects():
    codes = np.zeros((10, 10), np.int64)
    codes[:5, :5] = 7
    codes[8, 8] = 9
    assert without_specks(codes).max() == 1


def test_the_same_index_draws_the_same_picture():
    one, two, other = draw(3), draw(3), draw(4)
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.labels, two.labels)
    assert not np.array_equal(one.image, other.image)


def test_pictures_of_every_shape_and_look_are_drawn():
    names = {tuple(draw(index, side=64).name.split("-")[-2:]) for index in range(120)}
    assert {shape for shape, _ in names} == set(SHAPES)
    assert {look for _, look in names} == set(LOOKS)


def test_a_view_at_full_scale_is_the_image_itself():
    prepared = prepare(square_sample())
    view = View((40.0, 60.0), 1.0, IDENTITY, 32)
    assert np.allclose(seen(prepared, view), prepared.sample.image[24:56, 44:76], atol=1e-3)
    labels, valid = looked_up(prepared.sample.labels, view)
    assert np.array_equal(labels, prepared.sample.labels[24:56, 44:76])
    assert valid.all()


def test_image_and_labels_are_turned_alike():
    prepared = prepare(square_sample())
    rng = np.random.default_rng(0)
    for _ in range(5):
        view = View((40.0, 60.0), 1.3, random_turn(rng), 48)
        labels, valid = looked_up(prepared.sample.labels, view)
        bright = seen(prepared, view)[..., 0] > 100
        assert np.mean(bright[valid] == (labels > 0)[valid]) > 0.97


def test_positions_in_a_view_go_there_and_back():
    view = View((40.0, 60.0), 0.7, random_turn(np.random.default_rng(2)), 64)
    rows, cols = view.positions()
    cells = view.to_cells(np.array([[rows[5, 9], cols[5, 9]]], np.float32))
    assert np.allclose(cells, [[5, 9]], atol=1e-3)


def test_an_object_cut_by_the_picture_is_deepest_where_it_is_cut():
    labels = np.zeros((20, 20), np.int32)
    labels[:6, 5:15] = 1
    distance = prepare(Sample("cut", "fluo", np.zeros((20, 20, 3), np.uint8), labels)).distance
    assert distance[0, 10] == 255


def test_depth_is_one_at_the_innermost_pixel():
    mask = np.pad(np.ones((5, 5), bool), 1)
    assert depth(mask)[2, 2] == 1


def test_batches_hold_what_they_say():
    drawer = Drawer([prepare(draw(index)) for index in range(2)])
    rng = np.random.default_rng(0)
    batch = prompt_batch(drawer, 6, rng)
    assert batch.planes().shape == (6, 6, 64, 64)
    assert (batch.area >= batch.target.sum(axis=(1, 2)) - 1e-3).all()
    add_clicks(batch, np.zeros((6, 64, 64), np.float32), 1.0, rng)
    # nothing was answered, so what is missing is shown
    assert all(
        clicks[-1, 2] == 1
        for clicks, target in zip(batch.clicks, batch.target, strict=True)
        if target.sum() >= 3
    )
    tiles = dense_batch(drawer, 2, rng)
    assert tiles.planes.shape == (2, 4, 128, 128)
    assert tiles.distance.max() <= 1
