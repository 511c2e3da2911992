"""From loose clicks and boxes to questions, where nobody grouped them by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import (
    ConceptPrompt,
    Everything,
    ObjectPrompt,
    Point,
    Prompt,
    Proposal,
)
from napari_sam3.errors import PromptError

Outline = Sequence[tuple[float, float]]


def object_prompts(
    points: Iterable[Point],
    boxes: Sequence[Box],
    outlines: Sequence[Outline] = (),
    proposal: Proposal = "",
) -> tuple[ObjectPrompt, ...]:
    """Tell which clicks, boxes and outlines mean the same object.

    Parameters
    ----------
    points : iterable of Point
        Clicks.  Negative ones count for every object.
    boxes : sequence of Box
        One object each.
    outlines : sequence of sequence of (row, col)
        One object each.
    proposal : {"", "small", "medium", "large"}
        Which of what a click may mean, where there is nothing around it.

    Returns
    -------
    tuple of ObjectPrompt
        First one for each box, then one for each outline, then one for each click that
        belongs to none of them.  A click belongs to the only box or outline there is; of
        several, to the smallest around it.

    Raises
    ------
    PromptError
        If there are clicks, but all of them are negative, and nothing else; or an outline
        surrounds nothing.

    Examples
    --------
    >>> clicks = Point(5, 5), Point(50, 60)
    >>> [len(prompt.points) for prompt in object_prompts(clicks, [Box(0, 0, 9, 9)])]
    [2]
    >>> [len(prompt.points) for prompt in object_prompts(clicks, [])]
    [1, 1]
    """
    listed = list(points)
    negative = [point for point in listed if not point.positive]
    marks = [
        *(ObjectPrompt(box=box) for box in boxes),
        *(ObjectPrompt(outline=tuple(corners)) for corners in outlines),
    ]
    around = [_box_of(mark) for mark in marks]
    of_mark: list[list[Point]] = [[] for _ in marks]
    alone: list[Point] = []
    for point in listed:
        if point.positive:
            index = _index_around(point, around)
            (alone if index is None else of_mark[index]).append(point)
    if negative and not marks and not alone:
        # says what is missing
        return (ObjectPrompt(tuple(negative)),)
    marked = [
        replace(mark, points=(*own, *negative)) for mark, own in zip(marks, of_mark, strict=True)
    ]
    clicked = (ObjectPrompt((point, *negative), proposal=proposal) for point in alone)
    return (*marked, *clicked)


def require_inside(prompts: Iterable[Prompt], shape: tuple[int, int]) -> None:
    """Raise `PromptError` if a click or box reaches beyond an image of (rows, cols)."""
    frame = Box.of_shape(shape)
    size = f"the image, which has {shape[0]} rows and {shape[1]} columns"
    for prompt in prompts:
        for box in _boxes(prompt):
            is_outline = isinstance(prompt, ObjectPrompt) and bool(prompt.outline)
            if is_outline and box.intersection(frame) is None:
                raise PromptError(f"The outline lies outside of {size}.")
            if not is_outline and box.intersection(frame) != box:
                raise PromptError(
                    f"The box {box.top},{box.left},{box.bottom},{box.right} reaches beyond {size}."
                )
        for point in () if isinstance(prompt, ConceptPrompt | Everything) else prompt.points:
            if not frame.contains(*point.pixel):
                raise PromptError(f"The point {point.row:g},{point.col:g} lies outside of {size}.")


def _box_of(mark: ObjectPrompt) -> Box:
    box = mark.box or mark.outline_box
    assert box is not None
    return box


def _index_around(point: Point, boxes: Sequence[Box]) -> int | None:
    if len(boxes) == 1:
        return 0
    around = [index for index, box in enumerate(boxes) if box.contains(*point.pixel)]
    return min(around, key=lambda index: boxes[index].area, default=None)


def _boxes(prompt: Prompt) -> list[Box]:
    if isinstance(prompt, ObjectPrompt):
        return [_box_of(prompt)] if prompt.box or prompt.outline else []
    return [] if isinstance(prompt, Everything) else [e.box for e in prompt.exemplars]
