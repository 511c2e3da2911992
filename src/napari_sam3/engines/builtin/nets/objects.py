"""One object from a box or clicks, by the prompt net."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from napari_sam3.core.arrays import RGB8, BoolArray, Float32Array
from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import Point, Proposal
from napari_sam3.engines.builtin.nets.cells import connected, instance_of_cells, overlap
from napari_sam3.engines.builtin.nets.layers import Weights, sigmoid, weights
from napari_sam3.engines.builtin.nets.planes import CROP, prompt_planes
from napari_sam3.engines.builtin.nets.prompt_net import run_prompt_net
from napari_sam3.engines.builtin.nets.sampling import Window, resampled

Points = Sequence[Point]

PROPOSALS = 3
_FILLS = 0.55
_FIRST_SIDE = 10.0
_GROWTH = 1.9
_AT_FIRST = 6
_CLEAR = 0.6
_LEAST_SIDE = 5.0
_REFINED = 2
_ALIKE = 0.75
_PLAUSIBLE = 0.6
# chosen on images that were learned from: how far the two nets trust each other
_SUPPORT = 0.3
_HANDICAP = 0.24


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One question to the prompt net.

    Parameters
    ----------
    points : sequence of Point
        In pixels of the picture.
    earlier : Instance, optional
        The answer that the points correct.
    """

    window: Window
    points: Points = ()
    box: Box | None = None
    earlier: Instance | None = None


@dataclass(frozen=True, eq=False)
class NetAnswer:
    """What the prompt net says to one question.

    Parameters
    ----------
    logits : ndarray of float32, shape (64, 64)
    score : float
        The overlap that it expects to have, 0–1.
    """

    ask: Ask
    logits: Float32Array
    score: float

    @cached_property
    def cells(self) -> BoolArray:
        """The object in cells of the window: what hangs together with the prompt."""
        return connected(self.logits > 0, _cells_of(self.ask))

    def instance(self, shape: tuple[int, int]) -> Instance | None:
        """Return the object in pixels of a picture of this shape, or None if it has none."""
        return instance_of_cells(self.logits, self.cells, self.ask.window, shape, self.score)


def _cells_of(ask: Ask) -> list[tuple[int, int]]:
    cells = []
    for point in ask.points:
        row, col = ask.window.to_cells(point.row + 0.5, point.col + 0.5, CROP)
        if point.positive and 0 <= row < CROP and 0 <= col < CROP:
            cells.append((int(row), int(col)))
    return cells


def answers(rgb: RGB8, asks: Sequence[Ask], net: Weights | None = None) -> list[NetAnswer]:
    """Put several questions about one picture at once.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)

    Returns
    -------
    list of NetAnswer
        One for each question.
    """
    if not asks:
        return []
    crops = np.stack([resampled(rgb, ask.window, (CROP, CROP)) for ask in asks])
    planes = prompt_planes(
        crops,
        [_clicks(ask) for ask in asks],
        np.stack([_box(ask) for ask in asks]),
        np.stack([_earlier(ask) for ask in asks]),
    )
    logits, judged = run_prompt_net(net or weights("prompt"), planes)
    return [
        NetAnswer(ask, own, float(score))
        for ask, own, score in zip(asks, logits, sigmoid(judged), strict=True)
    ]


def _clicks(ask: Ask) -> Float32Array:
    clicks = np.empty((len(ask.points), 3), np.float32)
    for index, point in enumerate(ask.points):
        row, col = ask.window.to_cells(point.row + 0.5, point.col + 0.5, CROP)
        clicks[index] = row - 0.5, col - 0.5, 1 if point.positive else -1
    return clicks


def _box(ask: Ask) -> Float32Array:
    if ask.box is None:
        return np.full(4, np.nan, np.float32)
    top, left = ask.window.to_cells(ask.box.top, ask.box.left, CROP)
    bottom, right = ask.window.to_cells(ask.box.bottom, ask.box.right, CROP)
    return np.array([top, left, bottom, right], np.float32)


def _earlier(ask: Ask) -> Float32Array:
    if ask.earlier is None:
        return np.full((CROP, CROP), np.nan, np.float32)
    box, window = ask.earlier.box, ask.window
    # the mask becomes a picture, so that it is resampled just as pictures are
    padded = np.pad(ask.earlier.mask, 1).astype(np.uint8)
    shifted = Window(window.top - box.top + 1, window.left - box.left + 1, window.rows, window.cols)
    plane = resampled(np.broadcast_to(padded[..., None], (*padded.shape, 3)), shifted, (CROP, CROP))
    return plane[..., 0]


def segment_boxes(
    rgb: RGB8, boxes: Sequence[Box], net: Weights | None = None
) -> list[Instance | None]:
    """Segment the object in each box.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)

    Returns
    -------
    list of Instance or None
        None where a box holds nothing that looks like an object.
    """
    asks = [Ask(_window_of([box]), box=box) for box in boxes]
    return [answer.instance(rgb.shape[:2]) for answer in answers(rgb, asks, net)]


def segment_outline(rgb: RGB8, drawn: Instance, points: Points = ()) -> Instance | None:
    """Segment the object that was outlined by hand.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
    drawn : Instance
        The pixels inside of the outline.
    points : sequence of Point
        Clicks that correct it.

    Returns
    -------
    Instance or None
        None where nothing in it looks like an object.
    """
    ask = Ask(_window_of([drawn.box], points), points, drawn.box, drawn)
    return answers(rgb, [ask])[0].instance(rgb.shape[:2])


def _window_of(boxes: Sequence[Box], points: Points = ()) -> Window:
    """Return a window around boxes and points, in which they fill about a half."""
    top = min(*(box.top for box in boxes), *(point.row for point in points), np.inf)
    left = min(*(box.left for box in boxes), *(point.col for point in points), np.inf)
    bottom = max(*(box.bottom for box in boxes), *(point.row + 1 for point in points), -np.inf)
    right = max(*(box.right for box in boxes), *(point.col + 1 for point in points), -np.inf)
    side = max(bottom - top, right - left) / _FILLS
    return Window.around((top + bottom) / 2, (left + right) / 2, max(side, _LEAST_SIDE))


def segment_clicks(
    rgb: RGB8,
    points: Points,
    box: Box | None = None,
    seen: Callable[[], Instance | None] = lambda: None,
    wanted: Proposal = "",
    known: MutableMapping[Hashable, list[Instance]] | None = None,
) -> list[Instance]:
    """Segment the object that clicks mean.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (rows, cols, 3)
    points : sequence of Point
        At least one positive, unless there is a box.  In the order of the clicks: each corrects
        the answer to those before it.
    seen : callable
        Returns what `everything.object_at` sees where the first click fell.  It knows how
        large the picture's objects are, which one click does not tell.
    wanted : {"", "small", "medium", "large"}
        Which of what the first click may mean the further ones correct.
    known : mapping, optional
        What was answered to the first of the clicks before; this answer is added, so that
        one more click costs one more step.

    Returns
    -------
    list of Instance
        At most three different proposals, the likeliest first; none where no object is seen.
    """
    if box is not None:
        found = answers(rgb, [Ask(_window_of([box], points), points, box)])
        return best_distinct(found, rgb.shape[:2], 1)
    known = {} if known is None else known
    start, proposals = _last_known(known, points, wanted)
    for count in range(start + 1, len(points) + 1):
        if count == 1:
            proposals = preferred(first_proposals(rgb, points[:1], seen=seen()), wanted)
        # a click that agrees with the answer, such as the next one of a scribble, corrects nothing
        elif not (proposals and _holds(proposals[0], points[count - 1])):
            proposals = corrected(rgb, points[:count], proposals)
    known[(*points, wanted)] = proposals
    return list(proposals)


def _last_known(
    known: Mapping[Hashable, list[Instance]], points: Points, wanted: Proposal
) -> tuple[int, list[Instance]]:
    """Return how many of the clicks, from the first on, were answered, and the answer."""
    for count in range(len(points), 0, -1):
        found = known.get((*points[:count], wanted))
        if found is not None:
            return count, found
    return 0, []


def preferred(proposals: Sequence[Instance], wanted: Proposal) -> list[Instance]:
    """Return proposals with the small, the medium or the large one first."""
    if not proposals or not wanted:
        return list(proposals)
    least = _PLAUSIBLE * max(item.score or 0 for item in proposals)
    # a speck that nobody takes for an object is no small one
    proposals = [item for item in proposals if (item.score or 0) >= least]
    by_size = sorted(proposals, key=lambda item: item.area)
    chosen = {"small": by_size[0], "medium": by_size[len(by_size) // 2], "large": by_size[-1]}
    first = chosen[wanted]
    return [first, *(item for item in proposals if item is not first)]


def first_proposals(
    rgb: RGB8, points: Points, net: Weights | None = None, seen: Instance | None = None
) -> list[Instance]:
    """Return proposals for a first click, from windows of all sizes; see `segment_clicks`."""
    shape = rgb.shape[:2]
    windows = _windows(shape, points)
    first = answers(rgb, [Ask(window, points) for window in windows[:_AT_FIRST]], net)
    best = max(range(len(first)), key=lambda index: first[index].score)
    # most objects are small: the large windows are a second look
    if best == _AT_FIRST - 1 or first[best].score < _CLEAR:
        first += answers(rgb, [Ask(window, points) for window in windows[_AT_FIRST:]], net)
    rough = best_distinct(first, shape, PROPOSALS)
    asks = [Ask(_window_of([item.box]), points) for item in rough[:_REFINED]]
    found = [*best_distinct(answers(rgb, asks, net), shape, _REFINED), *rough]
    if seen is not None:
        found = [_supported(item, seen) for item in found] + [replace(seen, score=_own(seen))]
    return distinct(found)[:PROPOSALS]


def _supported(item: Instance, seen: Instance) -> Instance:
    """Return an object with the score that it has in the light of another view of the picture."""
    support = _SUPPORT * overlap(item, seen) * (seen.score or 0)
    return replace(item, score=((item.score or 0) + support) / (1 + _SUPPORT))


def _own(seen: Instance) -> float:
    return max((seen.score or 0) - _HANDICAP, 0.0)


def corrected(rgb: RGB8, points: Points, proposals: Sequence[Instance]) -> list[Instance]:
    """Return proposals after one more click, the last of the points."""
    shape = rgb.shape[:2]
    if not proposals:
        return first_proposals(rgb, points)
    asks = [Ask(_window_of([proposals[0].box], points), points, earlier=proposals[0])]
    # the click may also mean another one of what was proposed
    asks += [
        Ask(_window_of([item.box], points), points)
        for item in proposals
        if _holds(item, points[-1])
    ]
    found = best_distinct(answers(rgb, asks), shape, PROPOSALS)
    return sorted(found, key=lambda item: sum(not _holds(item, point) for point in points))


def _holds(item: Instance, point: Point) -> bool:
    row, col = point.pixel
    inside = item.box.contains(row, col) and bool(
        item.mask[row - item.box.top, col - item.box.left]
    )
    return inside == point.positive


def _windows(shape: tuple[int, int], points: Points) -> list[Window]:
    row, col = points[0].row + 0.5, points[0].col + 0.5
    sides = [_FIRST_SIDE]
    while sides[-1] < 1.3 * max(shape):
        sides.append(sides[-1] * _GROWTH)
    return [Window.around(row, col, side) for side in sides]


def best_distinct(found: Sequence[NetAnswer], shape: tuple[int, int], most: int) -> list[Instance]:
    """Return the best answers that differ, as objects of a picture of this shape."""
    kept: list[Instance] = []
    for answer in sorted(found, key=lambda answer: -answer.score)[: 2 * most]:
        item = answer.instance(shape)
        if item is not None and all(overlap(item, other) < _ALIKE for other in kept):
            kept.append(item)
        if len(kept) == most:
            break
    return kept


def distinct(items: Sequence[Instance]) -> list[Instance]:
    """Return the best of those that are nearly the same, the best first."""
    kept: list[Instance] = []
    for item in sorted(items, key=lambda item: -(item.score or 0)):
        if all(overlap(item, other) < _ALIKE for other in kept):
            kept.append(item)
    return kept
