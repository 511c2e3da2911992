"""The few words of the built-in engine: what each of them keeps, and what is refused."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk, ellipse

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import ConceptPrompt, Everything, Exemplar
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin import WORDS
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.engines.builtin.words import parsed
from napari_sam3.errors import PromptError, UnsupportedPromptError

SHAPE = (180, 300)
# name: centre, (row radius, column radius), gray level on a background of 110
BODIES = {
    "small bright disc": ((40, 40), (9, 9), 200),
    "large bright disc": ((50, 110), (20, 20), 190),
    "small dark disc": ((40, 180), (9, 9), 30),
    "large dark disc": ((55, 245), (20, 20), 40),
    "bright rod": ((140, 60), (8, 26), 210),
    "dark rod": ((140, 160), (8, 26), 25),
}


def mask(name):
    (row, col), (down, right), _ = BODIES[name]
    found = np.zeros(SHAPE, bool)
    found[ellipse(row, col, down, right, shape=SHAPE)] = True
    return found


@pytest.fixture(scope="module")
def image():
    gray = np.full(SHAPE, 110.0)
    for name, (_, _, level) in BODIES.items():
        gray[mask(name)] = level
    rng = np.random.default_rng(0)
    gray = ndimage.gaussian_filter(gray, 0.8) + rng.normal(0, 2, SHAPE)
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def engine():
    return BuiltinEngine()


def ask(engine, image, prompt, min_score=0.5):
    return engine.segment(SegmentationRequest(image, prompt, min_score))


def names(result):
    """Return the bodies that were found, each at an overlap of one half."""
    found = set()
    for item in result.instances:
        full = np.zeros(SHAPE, bool)
        full[item.box.slices] = item.mask
        for name in BODIES:
            own = mask(name)
            if np.count_nonzero(full & own) > 0.5 * np.count_nonzero(full | own):
                found.add(name)
    return found


def test_all_bodies_are_there_to_be_told_apart(engine, image):
    assert names(ask(engine, image, Everything())) == set(BODIES)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("bright cells", "bright"),
        ("dark cells", "dark"),
        ("elongated cells", "rod"),
        ("round cells", "disc"),
        ("Bright, ROUND nuclei", "bright disc"),
        ("elongated dark", "dark rod"),
    ],
)
def test_words_keep_what_they_say_and_nothing_else(engine, image, text, word):
    found = names(ask(engine, image, ConceptPrompt(text)))
    assert found == {name for name in BODIES if all(part in name for part in word.split())}


def test_large_and_small_divide_all_there_is(engine, image):
    large = names(ask(engine, image, ConceptPrompt("large round")))
    small = names(ask(engine, image, ConceptPrompt("small round")))
    assert large == {"large bright disc", "large dark disc"}
    assert small == {"small bright disc", "small dark disc"}


def test_examples_and_words_narrow_each_other(engine, image):
    exemplar = Exemplar(Box(132, 34, 149, 87))
    found = names(ask(engine, image, ConceptPrompt("bright", (exemplar,))))
    assert found <= {name for name in BODIES if "bright" in name}
    assert "bright rod" in found


def test_what_a_word_found_carries_it(engine, image):
    result = ask(engine, image, ConceptPrompt("dark cells"))
    assert {item.concept for item in result.instances} == {"dark cells"}


def test_a_kind_is_not_known_and_this_is_said(engine, image):
    said = ask(engine, image, ConceptPrompt("bacteria")).notices[0]
    assert "no kinds of things" in said
    assert "SAM3" in said


def test_that_nothing_fits_is_said(engine, image):
    empty = np.full_like(image, 110)
    assert ask(engine, empty, ConceptPrompt("bright cells")).notices == (
        "Nothing here fits “bright cells”.",
    )


def test_spots_are_small_even_beside_large_objects(engine):
    rng = np.random.default_rng(1)
    gray = np.full(SHAPE, 30.0)
    gray[disk((90, 220), 40)] = 150
    places = [(row, col) for row in range(20, 170, 25) for col in range(20, 150, 25)]
    for row, col in places:
        gray[disk((row, col), 3.5)] = 220
    gray = ndimage.gaussian_filter(gray, 0.8) + rng.normal(0, 3, SHAPE)
    image = np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    found = ask(engine, image, ConceptPrompt("bright spots")).instances.to_labels()
    assert np.mean([found[place] > 0 for place in places]) > 0.9
    assert found[90, 220] == 0


def test_of_one_size_all_are_large(engine):
    gray = np.full((60, 200), 20, np.uint8)
    for col in (30, 90, 150):
        gray[20:40, col : col + 20] = 200
    image = np.repeat(gray[..., None], 3, axis=2)
    assert len(ask(engine, image, ConceptPrompt("large")).instances) == 3
    assert len(ask(engine, image, ConceptPrompt("small")).instances) == 3


@pytest.mark.parametrize("word", ["bright", "small", "round", "nuclei"])
def test_words_for_an_image_without_objects_find_nothing(engine, word):
    image = np.full((40, 70, 3), 90, np.uint8)
    assert len(ask(engine, image, ConceptPrompt(word)).instances) == 0


@pytest.mark.parametrize("text", ["mitochondria", "bright mitochondria", "core", "größe"])
def test_any_other_word_is_refused_with_the_list_and_who_understands_it(engine, image, text):
    with pytest.raises(UnsupportedPromptError) as refused:
        ask(engine, image, ConceptPrompt(text))
    said = str(refused.value)
    assert text.split()[-1] in said
    assert "Segmind SAM3" in said
    assert all(word in said for word in WORDS)


@pytest.mark.parametrize(
    ("text", "why"),
    [("bright dark", "bright and dark"), ("small large cells", "large and small"),
     ("nuclei cells", "more than one kind")],
)  # fmt: skip
def test_words_that_contradict_each_other_are_refused(engine, image, text, why):
    with pytest.raises(PromptError, match=why):
        ask(engine, image, ConceptPrompt(text))


@pytest.mark.parametrize("text", [",", ". ;"])
def test_a_text_without_a_word_is_refused(engine, image, text):
    with pytest.raises(PromptError, match="no word"):
        ask(engine, image, ConceptPrompt(text))


def test_one_word_in_two_forms_is_one_word():
    assert parsed("nuclei, nucleus  Bright bright") == ("nucleus", "bright")
