"""The library as scripts use it: the examples in its docstrings, lists of prompts, and reprs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import napari_sam3 as sam3
from napari_sam3.core.pictures import Picture
from napari_sam3.engines.base import RawPart
from napari_sam3.workflows.exporting import Exported
from napari_sam3.workflows.run import SegmentRun

IMAGE = np.zeros((40, 60), np.uint8)
IMAGE[10:20, 30:45] = 200
IMAGE[25:35, 5:22] = 150

CLICKS = [sam3.ObjectPrompt(points=[place]) for place in ((15, 37), (30, 12))]


def modules():
    names = ["napari_sam3"]
    for room in ("core", "engines", "jobs", "workflows"):
        package = importlib.import_module(f"napari_sam3.{room}")
        found = pkgutil.walk_packages(package.__path__, f"napari_sam3.{room}.")
        names += [f"napari_sam3.{room}", *(one.name for one in found)]
    return names


@pytest.mark.parametrize("name", modules())
def test_the_examples_in_docstrings_hold(name, tmp_path):
    module = importlib.import_module(name)
    done = doctest.testmod(module, extraglobs={"folder": tmp_path, "np": np})
    assert done.failed == 0


def test_the_package_shows_examples():
    assert doctest.DocTestFinder().find(sam3)[0].examples


class TestPrompts:
    def test_a_text_finds_all_that_is_called_so(self):
        assert len(sam3.segment(IMAGE, "cells").instances) == 2
        assert sam3.estimate(IMAGE, "cells", "builtin").questions == 1

    def test_a_list_is_answered_in_its_order_and_put_together(self):
        found = sam3.segment(IMAGE, CLICKS)
        assert [result.instances[0].box.left for result in found.results] == [30, 5]
        assert found.instances.to_labels()[15, 37] == 1
        assert found.instances.to_labels()[30, 12] == 2
        assert len(found.results) == 2

    def test_objects_of_a_list_know_what_they_were_found_as(self):
        found = sam3.segment(IMAGE, ["bright", sam3.ConceptPrompt("cells")])
        assert {item.concept for item in found.instances} == {"bright", "cells"}

    def test_each_prompt_of_a_list_has_its_own_usual_minimum_score(self):
        requests = []

        class Engine:
            name, model, parameters = "builtin", "m", {}
            capabilities = sam3.Capabilities(points=True, everything=True)

            def segment(self, request, stop=None):
                requests.append(request)
                return sam3.SegmentationResult(sam3.Instances(request.shape))

        sam3.segment(IMAGE, [CLICKS[0], sam3.Everything()], Engine())
        assert [request.min_score for request in requests] == [0, 0.5]

    def test_a_list_of_one_is_a_list(self):
        assert isinstance(sam3.segment(IMAGE, CLICKS[:1]), sam3.SegmentAnswer)

    @pytest.mark.parametrize("prompt", [[], 7, [7], (15, 37), None])
    def test_what_is_no_prompt_is_refused_in_a_sentence(self, prompt):
        with pytest.raises(sam3.PromptError, match=r"[Pp]rompt"):
            sam3.segment(IMAGE, prompt)


ONE = sam3.Instance.from_mask(IMAGE > 160, 0.75, "cell")
FOUND = sam3.Instances(IMAGE.shape, (ONE,))
PICTURE = np.zeros((40, 60, 3), np.uint8)
RESULT = sam3.SegmentationResult(
    FOUND,
    sam3.Usage(0.006, 4.75, "abc-1", cached=True),
    ("Two tiles were skipped.",),
    (PICTURE,),
    (RawPart("image/png", b"x" * 99),),
)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (ONE, ("Instance(area=150, box=Box(top=10, left=30, bottom=20, right=45), score=0.75, "
              "concept='cell')")),
        (FOUND, "Instances(1 object, 40 × 60 pixels)"),
        (RESULT.usage, "Usage($0.0060, 4.8 s, from cache, abc-1)"),
        (sam3.Usage(), "Usage()"),
        (RESULT, ("SegmentationResult(1 object, 40 × 60 pixels, $0.0060, 4.8 s, from cache, "
                 "1 picture, 1 notice)")),
        (sam3.SegmentationRequest(sam3.Pixels(PICTURE), sam3.Everything(diameter=9), 0.5),
         ("SegmentationRequest(Everything(points_per_side=32, min_iou=0.88, diameter=9.0), "
         "40 × 60 pixels, min_score=0.5, max_masks=0)")),
        (sam3.SegmentAnswer((RESULT, RESULT), IMAGE.shape),
         "SegmentAnswer(2 objects, 40 × 60 pixels, 2 prompts, $0.0120, 9.5 s, from cache)"),
        (sam3.evaluate(FOUND, FOUND),
         "Evaluation(1 image, 1 predicted, 1 true, AP50 1.0000, mean AP 1.0000, F1 1.0000)"),
        (sam3.evaluate(FOUND, FOUND).images[0],
         "ImageScores('', 1 predicted, 1 true, AP50 1.0000, mean AP 1.0000)"),
        (Exported((), IMAGE.shape, image_name="a.tif"),
         "Exported(0 objects of 'a.tif', 40 × 60 pixels)"),
        (sam3.estimate(IMAGE, ["bright", "cells"], "builtin"), "Estimate(2 requests)"),
    ],
)  # fmt: skip
def test_a_repr_is_one_line_for_people(value, words):
    assert repr(value) == words


def test_no_repr_holds_an_array():
    run = SegmentRun(Picture.from_array(IMAGE), tuple(CLICKS))
    for value in (run, RESULT, ONE, FOUND):
        assert "array(" not in repr(value)


def test_every_public_name_is_there_and_listed():
    for name in sam3.__all__:
        assert getattr(sam3, name) is not None
        assert name in dir(sam3)
    with pytest.raises(AttributeError, match="nonsense"):
        sam3.nonsense  # noqa: B018
