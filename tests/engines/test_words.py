"""The few words of the built-in engine: what each of them keeps, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import disk, ellipse

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import ConceptPrompt, Everything, Exemplar
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin import WORDS, words
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.engines.builtin.scene import Scene
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
    return engine.segment(SegmentationRequest(Pixels(image), prompt, min_score))


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


# --- each word by itself, on objects that are given ----------------------------------------


def body(*parts, minus=(), score=0.9):
    """Return an object of discs or ellipses (row, col, radii …), without others."""
    full = np.zeros(SHAPE, bool)
    for part in parts:
        full[ellipse(*(part if len(part) == 4 else (*part, part[-1])), shape=SHAPE)] = True
    for part in minus:
        full[ellipse(*(part if len(part) == 4 else (*part, part[-1])), shape=SHAPE)] = False
    return replace(Instance.from_mask(full), score=score)


@pytest.fixture
def kept(monkeypatch):
    """Return which of some objects a text keeps, by index."""

    def ask_for(text, items, gray=None, min_score=0.0):
        monkeypatch.setattr(words, "all_objects", lambda *_, **__: list(items))
        plane = np.full(SHAPE, 90, np.uint8) if gray is None else gray
        picture = Scene(np.repeat(plane[..., None], 3, axis=2))
        boxes = [item.box for item in words.segment_named(picture, text, (), min_score)]
        return [index for index, item in enumerate(items) if item.box in boxes]

    return ask_for


DISCS = [body((20, 20, 7)), body((20, 60, 7)), body((20, 110, 14)), body((20, 160, 14))]
RODS = [body((110, 70 + 150 * index, 35, 65)) for index in range(2)]


def test_large_is_large_among_those_that_are_round(kept):
    # of all objects only the rods are large
    assert kept("large", DISCS + RODS) == [4, 5]
    assert kept("large round", DISCS + RODS) == [2, 3]


def test_nuclei_have_no_deep_dents_and_round_objects_none(kept):
    crescent = body((90, 60, 20), minus=[(90, 72, 18)])
    cross = body((90, 140, 24, 5), (90, 140, 5, 24))
    lump = body((90, 230, 14), (90, 252, 9))
    whole = DISCS[0]
    assert kept("nuclei", [crescent, cross, whole]) == [2]
    assert kept("cells", [crescent, cross, whole]) == [0, 1, 2]
    assert kept("round", [cross, lump, whole]) == [2]


def test_junk_does_not_decide_what_is_large(kept):
    junk = [body((100 + 8 * index, 20, 1), score=0.1) for index in range(9)]
    assert kept("large", DISCS + junk, min_score=0.5) == [2, 3]


def test_the_threshold_reaches_the_comparison_of_sizes(monkeypatch):
    asked = []
    monkeypatch.setattr(words, "all_objects", lambda *_, **__: [])
    usual = words.segment_named

    def spied(picture, text, exemplars, min_score, stop):
        asked.append(min_score)
        return usual(picture, text, exemplars, min_score, stop)

    monkeypatch.setattr("napari_sam3.engines.builtin.engine.segment_named", spied)
    ask(BuiltinEngine(), np.zeros((9, 14, 3), np.uint8), ConceptPrompt("cells"), 0.75)
    assert asked == [0.75]


def test_a_spot_is_at_most_twelve_pixels_wide(kept):
    assert kept("spots", [body((20, 20, 6)), body((20, 60, 7))]) == [0]


def test_a_thin_halo_does_not_make_a_bright_object_dark(kept):
    gray = np.full(SHAPE, 60, np.uint8)
    gray[ellipse(60, 100, 17.5, 17.5)] = 220
    gray[ellipse(60, 100, 16, 16)] = 150
    disc = body((60, 100, 16))
    assert kept("bright", [disc], gray) == [0]


def test_neighbours_are_no_background_but_better_than_none(kept):
    gray = np.full(SHAPE, 60, np.uint8)
    gray[50:70, 50:70] = 120
    gray[50:70, 70:90] = 250
    left, right = np.zeros((2, *SHAPE), bool)
    left[50:70, 50:70], right[50:70, 70:90] = True, True
    pair = [replace(Instance.from_mask(mask), score=0.9) for mask in (left, right)]
    assert kept("bright", pair, gray) == [0, 1]
    inner, outer = np.zeros((2, *SHAPE), bool)
    inner[58:62, 58:62] = True
    outer[40:80, 40:80] = ~inner[40:80, 40:80]
    gray[outer], gray[inner] = 200, 90
    nested = [replace(Instance.from_mask(mask), score=0.9) for mask in (inner, outer)]
    assert kept("dark", nested, gray) == [0]


def test_with_examples_only_what_is_like_them_is_asked_for(engine, image):
    exemplar = Exemplar(Box(132, 34, 149, 87))
    assert names(ask(engine, image, ConceptPrompt("cells", (exemplar,)))) < set(BODIES)


# --- in the whole engine ---------------------------------------------------------------------


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
