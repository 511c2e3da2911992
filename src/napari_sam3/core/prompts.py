"""The questions that can be asked about one image.

Two of them look alike and are not: a box in a `ConceptPrompt` is an *example* of
a kind of thing, a box in an `ObjectPrompt` is *this one* thing.  All coordinates
are (row, col) pixels of the image that is sent along.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_sam3.core.geometry import MAX_POSITION, Box
from napari_sam3.core.schema import Listed, Schema
from napari_sam3.errors import PromptError

MAX_POINTS_PER_SIDE = 128
MIN_IOU_RANGE = (0.5, 1.0)
MAX_DIAMETER = 100_000
"""Pixels."""

Proposal = Literal["", "small", "medium", "large"]
PROPOSALS: tuple[Proposal, ...] = get_args(Proposal)

_NOWHERE = "A point must lie somewhere, but a number of this one is beyond any image."

Pair = tuple[float, float]
Corners = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Point(Listed):
    """A click.

    Parameters
    ----------
    row, col : float
        Pixel position; pixel centres lie at whole numbers.
    positive : bool
        True for "this belongs to the object", False for "this does not".
    """

    row: float
    col: float
    positive: bool = True

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "row", float(self.row))
            object.__setattr__(self, "col", float(self.col))
        except OverflowError as error:
            raise PromptError(_NOWHERE) from error
        object.__setattr__(self, "positive", bool(self.positive))
        if not (math.isfinite(self.row) and math.isfinite(self.col)):
            raise PromptError(f"A point must lie somewhere, but this one is at {self.position}.")

    @property
    def position(self) -> tuple[float, float]:
        """The pair (row, col)."""
        return self.row, self.col

    @property
    def pixel(self) -> tuple[int, int]:
        """The whole pixel that the point lies in."""
        return math.floor(self.row + 0.5), math.floor(self.col + 0.5)


@dataclass(frozen=True, slots=True)
class Exemplar(Listed):
    """A box around an example of a kind of thing.

    Parameters
    ----------
    box : Box
        Around the example.
    positive : bool
        True for "find things like this", False for "not like this".
    """

    box: Box
    positive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "positive", bool(self.positive))


@dataclass(frozen=True, slots=True)
class ConceptPrompt:
    """Find every instance of a concept.

    Parameters
    ----------
    text : str
        A short noun phrase, e.g. ``"nucleus"``; surrounding white space is dropped.
    exemplars : tuple of Exemplar
        Examples of what is meant and of what is not.  A `Box`, or its four numbers, is an
        example of what is meant.

    Raises
    ------
    PromptError
        Without text and without a positive exemplar: there would be nothing to find.

    Examples
    --------
    >>> ConceptPrompt("nucleus", [(10, 20, 50, 80)]).exemplars[0].box.shape
    (40, 60)
    """

    kind: Literal["concept"] = field(default="concept", repr=False, kw_only=True)
    text: str = ""
    exemplars: tuple[Exemplar, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self, text: str = "", exemplars: Iterable[Exemplar | Box | Corners] = ()
        ) -> None: ...

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise PromptError("The text of a concept must be a string.")
        object.__setattr__(self, "text", _text(self.text))
        object.__setattr__(self, "exemplars", _exemplars(self.exemplars))
        if not self.text and not any(e.positive for e in self.exemplars):
            raise PromptError(
                "There is nothing to find yet: type what to find, or draw a box around "
                "an example of it."
            )


@dataclass(frozen=True, slots=True)
class ObjectPrompt:
    """Segment this one object.

    Parameters
    ----------
    points : tuple of Point
        Clicks on the object (positive) and beside it (negative).  A pair (row, col) is a
        positive one.
    box : Box, optional
        A box around the object; or its four numbers, top, left, bottom and right.
    outline : tuple of (row, col), optional
        A rough outline of the object, drawn by hand: at least three corners, in order.
        It takes the place of a box.
    proposal : {"", "small", "medium", "large"}
        One click may mean a part, the object, or a group: which of what the first click
        may mean.  "" leaves it to the engine.

    Raises
    ------
    PromptError
        Without a box, an outline and a positive point: no object is meant.  With a box
        and an outline, or an outline that surrounds nothing.

    Examples
    --------
    >>> ObjectPrompt(points=[(15, 37)]).points
    (Point(row=15.0, col=37.0, positive=True),)
    >>> ObjectPrompt(box=(10, 20, 50, 80)).box
    Box(top=10, left=20, bottom=50, right=80)
    """

    kind: Literal["object"] = field(default="object", repr=False, kw_only=True)
    points: tuple[Point, ...] = ()
    box: Box | None = None
    outline: tuple[tuple[float, float], ...] = ()
    proposal: Proposal = ""

    if TYPE_CHECKING:

        def __init__(
            self,
            points: Iterable[Point | Pair] = (),
            box: Box | Corners | None = None,
            outline: Iterable[Pair] = (),
            proposal: Proposal = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _points(self.points))
        object.__setattr__(self, "outline", _corners(self.outline))
        object.__setattr__(self, "box", None if self.box is None else _box(self.box))
        if self.box is not None and self.outline:
            raise PromptError("An object is marked by a box or by an outline, not by both.")
        if self.proposal not in PROPOSALS:
            raise PromptError(f"A proposal is small, medium or large, but not “{self.proposal}”.")
        is_marked = self.box is not None or self.outline
        if not is_marked and not any(p.positive for p in self.points):
            raise PromptError(
                "No object is marked yet: click on the object, or draw a box around it."
            )

    @property
    def outline_box(self) -> Box | None:
        """The pixels that the outline reaches, None without an outline."""
        if not self.outline:
            return None
        rows, cols = zip(*self.outline, strict=True)
        top, left = math.floor(min(rows) + 0.5), math.floor(min(cols) + 0.5)
        # pixel i covers i − 0.5 to i + 0.5
        bottom, right = math.ceil(max(rows) + 0.5), math.ceil(max(cols) + 0.5)
        return Box(top, left, bottom, right)


@dataclass(frozen=True, slots=True)
class Everything:
    """Segment all objects, without a prompt.

    Parameters
    ----------
    points_per_side : int
        Density of the grid of automatic clicks, 0–128.
    min_iou : float
        Least quality that the model must predict for a mask, 0.5–1.
    diameter : float, optional
        About how wide the objects are, in pixels; by default the engine finds out.

    Raises
    ------
    PromptError
        If a value is out of range.
    """

    kind: Literal["everything"] = field(default="everything", repr=False, kw_only=True)
    points_per_side: int = 32
    min_iou: float = 0.88
    diameter: float | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "points_per_side", operator.index(self.points_per_side))
        except TypeError as error:
            raise PromptError("points_per_side must be a whole number.") from error
        if not 0 <= self.points_per_side <= MAX_POINTS_PER_SIDE:
            raise PromptError(
                f"points_per_side must lie between 0 and {MAX_POINTS_PER_SIDE}, "
                f"but it is {self.points_per_side}."
            )
        low, high = MIN_IOU_RANGE
        if not low <= self.min_iou <= high:
            raise PromptError(
                f"The least predicted IoU must lie between {low} and {high:g}, "
                f"but it is {self.min_iou}."
            )
        object.__setattr__(self, "min_iou", float(self.min_iou))
        if self.diameter is None:
            return
        object.__setattr__(self, "diameter", float(self.diameter))
        if not 1 <= self.diameter <= MAX_DIAMETER:
            raise PromptError(
                f"Objects must be between 1 and {MAX_DIAMETER} pixels wide, "
                f"but the diameter is {self.diameter}."
            )


@dataclass(frozen=True, slots=True)
class CombinedPrompt:
    """Text, examples and clicks in one question.

    SAM3 itself has no such question, and only the hosted service takes it; the model
    may leave one of the kinds out of account.

    Parameters
    ----------
    text : str
        As in `ConceptPrompt`.
    exemplars : tuple of Exemplar
        As in `ConceptPrompt`.
    points : tuple of Point
        As in `ObjectPrompt`.

    Raises
    ------
    PromptError
        Without any of them.
    """

    kind: Literal["combined"] = field(default="combined", repr=False, kw_only=True)
    text: str = ""
    exemplars: tuple[Exemplar, ...] = ()
    points: tuple[Point, ...] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            text: str = "",
            exemplars: Iterable[Exemplar | Box | Corners] = (),
            points: Iterable[Point | Pair] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _points(self.points))
        if self.text.strip() or self.exemplars or not any(p.positive for p in self.points):
            # the same rules, and the same sentences
            concept = ConceptPrompt(self.text, self.exemplars)
            object.__setattr__(self, "exemplars", concept.exemplars)
        object.__setattr__(self, "text", _text(self.text))


Prompt = ConceptPrompt | ObjectPrompt | Everything | CombinedPrompt

_SCHEMA: Schema[Prompt] = Schema(Prompt)


def prompt_to_json(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt as JSON values; equal prompts give equal values.

    Returns
    -------
    dict
        ``kind`` and what belongs to it.  A box is ``[top, left, bottom, right]``,
        half-open; a point is ``[row, col, is_positive]``; an example is a box and its sign;
        an outline is a list of ``[row, col]``.

    Examples
    --------
    >>> prompt_to_json(ConceptPrompt("cell", [(1, 2, 5, 9)]))
    {'kind': 'concept', 'text': 'cell', 'exemplars': [[[1, 2, 5, 9], True]]}
    """
    said: dict[str, Any] = _SCHEMA.to_json(prompt)
    return said


def prompt_from_json(value: Any) -> Prompt:
    """Return the prompt that `prompt_to_json` made the value of.

    Raises
    ------
    PromptError
        If it is no such value.
    """
    try:
        return _SCHEMA.read(value)
    except ValueError as error:
        raise PromptError(f"This is no prompt that can be read: {error}.") from error


def to_prompt(value: str | Prompt) -> Prompt:
    """Return a prompt as it is, and a text as what is to be found.

    Examples
    --------
    >>> to_prompt("nucleus")
    ConceptPrompt(text='nucleus', exemplars=())
    """
    if isinstance(value, str):
        return ConceptPrompt(value)
    if not isinstance(value, Prompt):
        raise PromptError(
            "A prompt is a text, a ConceptPrompt, an ObjectPrompt or Everything, but this is a "
            f"{type(value).__name__}."
        )
    return value


def describe(prompt: Prompt) -> str:
    """Return what a prompt asks for in a few words, e.g. for a table's cell.

    Examples
    --------
    >>> describe(ObjectPrompt(points=(Point(3, 4), Point(9, 9, positive=False))))
    '1 + point, 1 − point'
    """
    if isinstance(prompt, Everything):
        return f"everything, {prompt.diameter:g} px wide" if prompt.diameter else "everything"
    words = [] if isinstance(prompt, ObjectPrompt) else [prompt.text]
    if isinstance(prompt, ObjectPrompt):
        words += ["box"] if prompt.box else ["outline"] if prompt.outline else []
    else:
        words += _counted([exemplar.positive for exemplar in prompt.exemplars], "example")
    if not isinstance(prompt, ConceptPrompt):
        words += _counted([point.positive for point in prompt.points], "point")
    if isinstance(prompt, ObjectPrompt) and prompt.proposal:
        words += [prompt.proposal]
    return ", ".join(word for word in words if word)


def _counted(signs: list[bool], noun: str) -> list[str]:
    counts = ((sum(signs), "+"), (len(signs) - sum(signs), "−"))
    return [f"{n} {sign} {noun}{'s' if n > 1 else ''}" for n, sign in counts if n]


def _text(text: str) -> str:
    # half of a character, as a command line may hold it, can be neither sent nor written
    return text.strip().encode("utf-8", "replace").decode()


def _corners(values: Iterable[Any]) -> tuple[tuple[float, float], ...]:
    try:
        corners = tuple((float(row), float(col)) for row, col in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise PromptError("An outline is made of corners, each a row and a column.") from error
    # NaN compares as false
    if not all(abs(value) <= MAX_POSITION for corner in corners for value in corner):
        raise PromptError("An outline must lie somewhere; one of its corners does not.")
    if corners and (len(set(corners)) < 3 or _is_flat(corners)):
        raise PromptError("An outline needs at least three corners that do not lie in a line.")
    return corners


def _is_flat(corners: tuple[tuple[float, float], ...]) -> bool:
    (row, col), *others = corners
    steps = [(r - row, c - col) for r, c in others]
    down, right = max(steps, key=lambda step: abs(step[0]) + abs(step[1]))
    return all(abs(down * c - right * r) < 1e-9 * (down**2 + right**2) for r, c in steps)


def _points(values: Iterable[Any]) -> tuple[Point, ...]:
    return tuple(one if isinstance(one, Point) else _point(one) for one in _listed(values))


def _point(pair: Any) -> Point:
    try:
        row, col = map(float, pair)
    except OverflowError as error:
        raise PromptError(_NOWHERE) from error
    except (TypeError, ValueError) as error:
        raise PromptError(
            "The points of a prompt are Points or pairs (row, col), as in [(15, 37)]; "
            f"{pair!s:.40} is neither."
        ) from error
    return Point(row, col)


def _exemplars(values: Iterable[Any]) -> tuple[Exemplar, ...]:
    return tuple(
        one if isinstance(one, Exemplar) else Exemplar(_box(one)) for one in _listed(values)
    )


def _box(value: Any) -> Box:
    if isinstance(value, Box):
        return value
    try:
        top, left, bottom, right = value
    except (TypeError, ValueError) as error:
        raise PromptError(
            "The box of a prompt is a Box or its four numbers (top, left, bottom, right); "
            f"{value!s:.40} is neither."
        ) from error
    return Box(top, left, bottom, right)


def _listed(values: Iterable[Any]) -> tuple[Any, ...]:
    try:
        return tuple(values)
    except TypeError as error:
        raise PromptError(
            f"A prompt takes a list of points and of exemplars, not {values!s:.40}."
        ) from error
