import json
import math

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    Exemplar,
    ObjectPrompt,
    Point,
    describe,
    prompt_from_json,
    prompt_to_json,
    to_prompt,
)
from napari_sam3.errors import PromptError

BOX = Box(1, 2, 4, 8)
TRIANGLE = ((1, 2), (1, 8.5), (6.2, 5))


@pytest.mark.parametrize("position", [(math.nan, 1), (1, math.inf)])
def test_a_point_must_lie_somewhere(position):
    with pytest.raises(PromptError, match="must lie somewhere"):
        Point(*position)


@pytest.mark.parametrize(
    ("position", "pixel"),
    [((0, 0), (0, 0)), ((0.49, 1.5), (0, 2)), ((-0.5, -0.51), (0, -1)), ((2.5, 3.5), (3, 4))],
)
def test_pixel_centres_lie_at_whole_numbers(position, pixel):
    assert Point(*position).pixel == pixel


def test_a_concept_is_a_name_without_white_space_around_it():
    assert ConceptPrompt("  cell nucleus \n").text == "cell nucleus"


@pytest.mark.parametrize(
    "parts", [{}, {"text": "  "}, {"exemplars": [Exemplar(BOX, positive=False)]}]
)
def test_a_concept_without_anything_to_find_cannot_be_built(parts):
    with pytest.raises(PromptError, match="nothing to find yet"):
        ConceptPrompt(**parts)


def test_a_concept_must_be_named_by_a_string():
    with pytest.raises(PromptError, match="must be a string"):
        ConceptPrompt(3)


def test_a_named_concept_may_have_counter_examples_only():
    assert ConceptPrompt("nucleus", [Exemplar(BOX, positive=False)]).exemplars


@pytest.mark.parametrize("points", [(), [Point(1, 2, positive=False)]])
def test_an_object_without_a_mark_on_it_cannot_be_built(points):
    with pytest.raises(PromptError, match="No object is marked"):
        ObjectPrompt(points)


def test_a_box_marks_an_object_even_with_negative_clicks_only():
    assert ObjectPrompt([Point(1, 2, positive=False)], BOX).box == BOX


@pytest.mark.parametrize(
    ("kind", "parts", "word"),
    [
        (ObjectPrompt, {"points": [(1, 2, 3)]}, "points of a prompt.* as in"),
        (ObjectPrompt, {"points": (1, 2)}, "points of a prompt.*1 is neither"),
        (ObjectPrompt, {"points": 7}, "list of points"),
        (ObjectPrompt, {"box": (1, 2, 4)}, "box of a prompt.*four numbers"),
        (ObjectPrompt, {"box": (1, 2, 4.5, 8)}, "whole number"),
        (ConceptPrompt, {"exemplars": ["nucleus"]}, "box of a prompt.*nucleus"),
        (ConceptPrompt, {"exemplars": (1, 2, 4, 8)}, "box of a prompt.*1 is neither"),
    ],
)
def test_a_prompt_of_other_things_is_refused_with_what_it_takes(kind, parts, word):
    with pytest.raises(PromptError, match=word):
        kind(**parts)


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_pairs_are_positive_points_and_four_numbers_a_box(kind):
    typed = ObjectPrompt([kind((3, 4.5)), Point(9, 9, False)], kind((1, 2, 4, 8)))
    assert typed == ObjectPrompt((Point(3, 4.5), Point(9, 9, False)), BOX)
    assert json.dumps(prompt_to_json(typed))
    assert CombinedPrompt(points=[kind((3, 4))]) == CombinedPrompt(points=(Point(3, 4),))
    assert ObjectPrompt(points=np.array([(3, 4), (5, 6)])).points[1] == Point(5, 6)


def test_boxes_are_examples_of_what_is_meant():
    for exemplars in ([BOX], [(1, 2, 4, 8)], (Exemplar(BOX),), np.array([[1, 2, 4, 8]])):
        assert ConceptPrompt("a", exemplars).exemplars == (Exemplar(BOX),)


def test_a_text_is_a_concept_and_a_prompt_stays_itself():
    assert to_prompt(" nucleus ") == ConceptPrompt("nucleus")
    assert to_prompt(Everything()) == Everything()
    with pytest.raises(PromptError, match="this is a int"):
        to_prompt(3)
    with pytest.raises(PromptError, match="nothing to find"):
        to_prompt(" ")


def test_prompts_are_frozen_through_and_through():
    points = [Point(1, 2)]
    prompt = ObjectPrompt(points)
    points.append(Point(3, 4))
    assert prompt == ObjectPrompt((Point(1, 2),))
    assert hash(prompt) == hash(ObjectPrompt((Point(1, 2),)))


@pytest.mark.parametrize("side", [0, 128, np.int64(32)])
def test_everything_takes_a_whole_grid_density(side):
    assert Everything(side).points_per_side == side


@pytest.mark.parametrize("side", [-1, 129, 3.5, "32"])
def test_everything_refuses_other_densities(side):
    with pytest.raises(PromptError, match="points_per_side"):
        Everything(side)


@pytest.mark.parametrize("diameter", [0, -3, 0.5, 1e6, math.nan, math.inf])
def test_everything_refuses_a_width_that_no_object_has(diameter):
    with pytest.raises(PromptError, match="pixels wide"):
        Everything(diameter=diameter)


def test_an_outline_marks_an_object():
    prompt = ObjectPrompt(outline=[[1, 2], [1, 8.5], [6.2, 5]])
    assert prompt.outline == TRIANGLE
    assert prompt.outline_box == Box(1, 2, 7, 9)
    assert ObjectPrompt(box=BOX).outline_box is None


@pytest.mark.parametrize(
    ("outline", "word"),
    [
        ([(1, 2), (3, 4)], "three corners"),
        ([(0, 0), (2, 3), (4, 6), (1, 1.5)], "in a line"),
        ([(1, 1)] * 5, "three corners"),
        ([(0, 0), (0, 0), (1, 1), (2, 2)], "in a line"),
        ([(1, 1), (1, 9), (math.nan, 3)], "lie somewhere"),
        ([(0, 0), (1e160, 0), (0, 5)], "lie somewhere"),
        ([1, 2, 3], "a row and a column"),
    ],
)
def test_an_outline_that_surrounds_nothing_is_refused(outline, word):
    with pytest.raises(PromptError, match=word):
        ObjectPrompt(outline=outline)


def test_a_thin_outline_is_an_outline():
    assert ObjectPrompt(outline=((0, 0), (0, 100), (0.5, 50))).outline


def test_an_object_has_a_box_or_an_outline():
    with pytest.raises(PromptError, match="not by both"):
        ObjectPrompt(box=BOX, outline=TRIANGLE)


def test_a_proposal_has_one_of_three_names():
    with pytest.raises(PromptError, match="small, medium or large, but not “huge”"):
        ObjectPrompt([Point(1, 2)], proposal="huge")


@pytest.mark.parametrize(
    "prompt",
    [
        Everything(),
        Everything(16, 0.75, 31.5),
        ConceptPrompt("nucleus", [Exemplar(BOX, positive=False)]),
        ObjectPrompt([Point(1, 2.5, positive=False)], BOX),
        ObjectPrompt([Point(1, 2)], proposal="medium"),
        ObjectPrompt([Point(1, 2)], outline=TRIANGLE),
        CombinedPrompt("nucleus", [Exemplar(BOX)], [Point(1, 2)]),
    ],
)
def test_a_prompt_survives_as_text(prompt):
    assert prompt_from_json(json.loads(json.dumps(prompt_to_json(prompt)))) == prompt


@pytest.mark.parametrize("kind", [ConceptPrompt, CombinedPrompt])
def test_a_text_holds_no_half_of_a_character(kind):
    prompt = kind("Zellkern \udcb5")
    assert prompt.text == "Zellkern ?"
    assert prompt_from_json(prompt_to_json(prompt)) == prompt


def test_a_prompt_in_json_tells_its_defaults():
    # another version may have others, and its stored answers are those of other questions
    assert prompt_to_json(Everything()) == {
        "kind": "everything", "points_per_side": 32, "min_iou": 0.88, "diameter": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"kind": "object", "points": [[1, 2, True], [1, "x", True]]}, r"at points\[1\]\[1\]: "),
        ({"kind": "object", "box": [3, 3, 3, 3]}, "at box: The box .* holds no pixel"),
        ({"kind": "object", "box": [3, 3, 4.0, 4]}, r"at box\[2\]: "),
        ({"kind": "object"}, "No object is marked yet"),
        ({"kind": "everything", "points_per_side": True}, "at points_per_side: "),
        ({"kind": "everything", "min_iou": math.inf}, "at min_iou: "),
        ({"kind": "concept", "text": 5}, "at text: "),
        ({"kind": "anything"}, "'anything'"),
        ([], "an object"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_place(value, words):
    with pytest.raises(PromptError, match=words):
        prompt_from_json(value)


@pytest.mark.parametrize("min_iou", [0.49, 1.01, math.nan])
def test_everything_refuses_a_quality_out_of_range(min_iou):
    with pytest.raises(PromptError, match="predicted IoU"):
        Everything(min_iou=min_iou)


@pytest.mark.parametrize("parts", [{}, {"text": "  "}, {"points": [Point(1, 2, positive=False)]}])
def test_a_combination_without_anything_to_find_cannot_be_built(parts):
    with pytest.raises(PromptError, match="nothing to find yet"):
        CombinedPrompt(**parts)


def test_a_combination_may_be_of_clicks_only():
    assert CombinedPrompt(points=[Point(1, 2)]).points == (Point(1, 2),)


def test_a_combination_holds_each_kind_as_the_single_prompts_do():
    prompt = CombinedPrompt(" nucleus ", [Exemplar(BOX)], [Point(1, 2)])
    assert prompt == CombinedPrompt("nucleus", (Exemplar(BOX),), (Point(1, 2),))
    with pytest.raises(PromptError, match="box of a prompt"):
        CombinedPrompt("nucleus", ["box"])


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (
            CombinedPrompt("nucleus", [Exemplar(BOX)], [Point(1, 2)]),
            "nucleus, 1 + example, 1 + point",
        ),
        (Everything(), "everything"),
        (Everything(diameter=12.5), "everything, 12.5 px wide"),
        (ConceptPrompt("nucleus"), "nucleus"),
        (ObjectPrompt([Point(1, 2)], proposal="large"), "1 + point, large"),
        (ObjectPrompt(outline=TRIANGLE), "outline"),
        (
            ConceptPrompt("", [Exemplar(BOX), Exemplar(BOX), Exemplar(BOX, positive=False)]),
            "2 + examples, 1 − example",
        ),
        (ObjectPrompt((), BOX), "box"),
        (
            ObjectPrompt([Point(1, 2), Point(3, 4, positive=False)], BOX),
            "box, 1 + point, 1 − point",
        ),
    ],
)
def test_a_prompt_can_be_told_in_a_few_words(prompt, words):
    assert describe(prompt) == words


@pytest.mark.parametrize("far", [10**400, 10**5000, -(10**400)], ids=["far", "further", "above"])
@pytest.mark.parametrize(
    "prompt",
    [
        lambda far: ObjectPrompt(points=[(far, 5)]),
        lambda far: ObjectPrompt(points=[Point(5, far)]),
        lambda far: ObjectPrompt(box=(0, 0, far, 5)),
        lambda far: ConceptPrompt("cell", [(0, far, 7, 5)]),
        lambda far: ObjectPrompt(outline=[(0, 0), (far, 5), (9, 0)]),
    ],
    ids=["pair", "point", "box", "exemplar", "outline"],
)
def test_a_place_that_no_number_holds_is_refused_in_a_sentence(prompt, far):
    with pytest.raises(PromptError):
        prompt(far)
