"""What the panel asks, and how often it reads the image for that."""

import gc
import weakref


def test_a_further_live_click_sends_what_was_read_and_hashed_for_the_first(
    viewer, panel, click, engine
):
    click(20, 30)
    click(40, 50)
    first, second = (request.pixels for request in engine.requests)
    assert second is first
    viewer.layers["cells"].gamma = 0.5
    click(44, 52)
    assert engine.requests[-1].pixels is not first


def test_what_was_changed_and_refreshed_is_read_again(viewer, panel, click, engine):
    click(20, 30)
    image = viewer.layers["cells"]
    image.data[3:9, 5:20] = image.data.max()
    image.refresh()
    click(40, 50)
    before, after = (request.image for request in engine.requests)
    assert (before[3:9, 5:20] < 250).any()
    assert (after[3:9, 5:20] > 250).all()


def test_nothing_of_an_image_is_kept_once_its_layer_is_removed(viewer, panel, click, run, engine):
    click(20, 30)
    run("everything")
    pixels = weakref.ref(engine.requests[-1].pixels)
    engine.requests.clear()
    gc.collect()
    assert pixels() is not None
    viewer.layers.remove("cells")
    gc.collect()
    assert pixels() is None
