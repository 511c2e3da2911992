"""What every engine is asked, answers, and promises."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from napari_sam3.core.instances import Instances
from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    ObjectPrompt,
    Prompt,
)
from napari_sam3.errors import CancelledError, ImageError, PromptError

NEVER = threading.Event()
"""The `stop` of a call that nobody will cancel; it is never set."""

Question = Literal["concept", "object", "everything"]
Setting = Literal["min_score", "points_per_side", "pred_iou_thresh", "max_masks", "diameter"]

MAX_MASKS = 100


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationRequest:
    """One question about one image.

    Parameters
    ----------
    pixels : Pixels
        The picture, with its digest.
    prompt : ConceptPrompt, ObjectPrompt or Everything
        The question.
    min_score : float
        Objects that score less are not returned, 0–1.  Engines that give no
        scores cannot honour it afterwards and say so in their capabilities.
    max_masks : int
        At most so many objects, the best ones, 0–100; 0 means all.

    Raises
    ------
    ImageError
        If the picture is something else.
    PromptError
        If a number is out of range.
    """

    pixels: Pixels
    prompt: Prompt
    min_score: float = 0.0
    max_masks: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, Pixels):
            raise ImageError(
                "The picture of a request must be Pixels, which are made of an 8-bit RGB array, "
                f"but it is a {type(self.pixels).__name__}; napari_sam3.segment() takes any image."
            )
        if not isinstance(self.prompt, Prompt):
            raise PromptError(
                "The prompt must be a ConceptPrompt, an ObjectPrompt or Everything, "
                f"but it is a {type(self.prompt).__name__}."
            )
        if not isinstance(self.min_score, Real) or not 0 <= self.min_score <= 1:
            raise PromptError(f"min_score must lie between 0 and 1, but it is {self.min_score}.")
        if not isinstance(self.max_masks, Integral) or not 0 <= self.max_masks <= MAX_MASKS:
            raise PromptError(
                f"max_masks must lie between 0 and {MAX_MASKS}, but it is {self.max_masks}."
            )

    def __repr__(self) -> str:
        rows, cols = self.shape
        numbers = f"min_score={self.min_score:g}, max_masks={self.max_masks}"
        return f"SegmentationRequest({self.prompt}, {rows} × {cols} pixels, {numbers})"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return self.pixels.shape

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """Red, green and blue of the picture, shape (rows, cols, 3)."""
        return self.pixels.rgb


MAX_PRICE = 1000.0
"""No single answer costs more; what says so is no price."""

MAX_SECONDS = 1e6
"""No single answer takes longer."""


def possible(amount: float | None, most: float) -> float | None:
    """Return an amount that lies between 0 and the most there can be; None for any other.

    Examples
    --------
    >>> possible(0.006, MAX_PRICE), possible(-1000.0, MAX_PRICE), possible(float("nan"), 5.0)
    (0.006, None, None)
    """
    return amount if amount is not None and 0 <= amount <= most else None


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took.

    Parameters
    ----------
    credits : float, optional
        Price in the engine's currency; None where the engine does not say, or says what
        no answer costs.
    seconds : float, optional
        The engine's own time; None likewise.
    request_id : str, optional
        Under which the engine knows the request.
    cached : bool
        Whether the answer came from a cache, for free.
    """

    credits: float | None = None
    seconds: float | None = None
    request_id: str | None = None
    cached: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "credits", possible(self.credits, MAX_PRICE))
        object.__setattr__(self, "seconds", possible(self.seconds, MAX_SECONDS))

    def __repr__(self) -> str:
        parts = [*self.words, *([self.request_id] if self.request_id else [])]
        return f"Usage({', '.join(parts)})"

    @property
    def words(self) -> tuple[str, ...]:
        """Price, time and cache, as far as they are known."""
        parts = [f"${self.credits:.4f}"] if self.credits is not None else []
        parts += [f"{self.seconds:.1f} s"] if self.seconds is not None else []
        return (*parts, *(["from cache"] if self.cached else []))


@dataclass(frozen=True, slots=True, eq=False)
class RawPart:
    """A piece of an answer as it came, before it was read.

    Parameters
    ----------
    content_type : str
        What the engine said it is.
    body : bytes
    """

    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What identifies an answer and the question that it belongs to.

    Parameters
    ----------
    key : str
        SHA-256 of the question: pixels, prompt, parameters, engine and model.
    image_sha256, answer_sha256 : str
        Of the picture that was asked about, and of the objects found.
    engine, model : str
        Who answered.
    parameters : mapping
        What else changes that engine's answers.
    answered_at : float
        Unix time; of the first answer, if it came from the cache.
    """

    key: str
    image_sha256: str
    answer_sha256: str
    engine: str
    model: str
    parameters: Mapping[str, Any]
    answered_at: float


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationResult:
    """The answer to one request.

    Parameters
    ----------
    instances : Instances
        The objects; empty if nothing was found.
    usage : Usage
        What it took.
    notices : tuple of str
        Sentences that the user should read beside the result.
    pictures : tuple of ndarray of uint8, shape (rows, cols, 3)
        For the eye, where the engine was asked for such; never a source of masks.
    raw : tuple of RawPart
        The answer as it came, where it came from elsewhere.
    record : AnswerRecord, optional
        What identifies it, once it went through `napari_sam3.jobs`.
    """

    instances: Instances
    usage: Usage = field(default_factory=Usage)
    notices: tuple[str, ...] = ()
    pictures: tuple[npt.NDArray[np.uint8], ...] = ()
    raw: tuple[RawPart, ...] = field(default=(), repr=False)
    record: AnswerRecord | None = None

    def __repr__(self) -> str:
        counts = ((len(self.pictures), "picture"), (len(self.notices), "notice"))
        more = [f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts if n]
        return f"SegmentationResult({', '.join([self.instances.words, *self.usage.words, *more])})"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can answer.

    Parameters
    ----------
    text : bool
        Concepts by name.
    exemplars, negative_exemplars : bool
        Concepts by example, and by counter-example.
    points, object_box, outline : bool
        One object by clicks, by a box around it, by a rough outline.
    proposal : bool
        Which of what a click may mean: small, medium or large.
    everything, diameter : bool
        All objects without a prompt, and of about a given width.
    combined : bool
        Text, examples and clicks in one question.
    scores : bool
        Whether instances carry a score.
    billed : bool
        Whether a call costs money.
    settings : frozenset of (question, setting)
        The thresholds that change the answer, by question.
    words : tuple of str
        The only words that a text may be made of; empty where the engine understands language.
    """

    text: bool = False
    exemplars: bool = False
    negative_exemplars: bool = False
    points: bool = False
    object_box: bool = False
    outline: bool = False
    proposal: bool = False
    everything: bool = False
    diameter: bool = False
    combined: bool = False
    scores: bool = False
    billed: bool = False
    settings: frozenset[tuple[Question, Setting]] = frozenset()
    words: tuple[str, ...] = ()

    def missing_for(self, prompt: Prompt) -> Capability | None:
        """Return the first thing that the prompt needs and this engine lacks, or None."""
        missing = (need for need in needs(prompt) if not getattr(self, need))
        return next(missing, "text" if self.unknown_words(getattr(prompt, "text", "")) else None)

    def unknown_words(self, text: str) -> list[str]:
        """Return the words of a text that this engine does not know, if it knows only some."""
        if not self.words:
            return []
        return [word for word in split_words(text) if word not in self.words]


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without commas and full stops."""
    return text.lower().replace(",", " ").replace(".", " ").replace(";", " ").split()


Capability = Literal[
    "text",
    "exemplars",
    "negative_exemplars",
    "points",
    "object_box",
    "outline",
    "proposal",
    "everything",
    "diameter",
    "combined",
]

CAPABILITY_WORDS: dict[Capability, str] = {
    "text": "find things by name",
    "exemplars": "find things by example",
    "negative_exemplars": "take examples of what not to find",
    "points": "segment an object by clicks",
    "object_box": "segment an object by a box",
    "outline": "segment an object by a rough outline",
    "proposal": "choose between a small, a medium and a large object",
    "everything": "segment everything without a prompt",
    "diameter": "be told how wide objects are",
    "combined": "take text, examples and clicks in one request",
}


def needs(prompt: Prompt) -> tuple[Capability, ...]:
    """Return what an engine must be capable of to answer this prompt."""
    if isinstance(prompt, Everything):
        return ("everything",) if prompt.diameter is None else ("everything", "diameter")
    needed: list[tuple[bool, Capability]]
    if isinstance(prompt, ConceptPrompt | CombinedPrompt):
        signs = [exemplar.positive for exemplar in prompt.exemplars]
        needed = [
            (bool(prompt.text), "text"),
            (any(signs), "exemplars"),
            (not all(signs), "negative_exemplars"),
            (isinstance(prompt, CombinedPrompt), "combined"),
        ]
    else:
        needed = [
            (bool(prompt.points), "points"),
            (prompt.box is not None, "object_box"),
            (bool(prompt.outline), "outline"),
            (bool(prompt.proposal), "proposal"),
        ]
    return tuple(capability for is_needed, capability in needed if is_needed)


def question_of(prompt: Prompt) -> Question:
    """Return which of the three questions a prompt asks."""
    if isinstance(prompt, ConceptPrompt | CombinedPrompt):
        return "concept"
    return "object" if isinstance(prompt, ObjectPrompt) else "everything"


class Engine(Protocol):
    """Whoever answers.

    Attributes
    ----------
    name : str
        As `napari_sam3.engines.creating.create_engine` knows it.
    capabilities : Capabilities
        What it can answer; a prompt beyond that is refused before anything is sent.
    model : str
        Which model answers, and in which version: it changes whenever answers change.
    parameters : mapping
        What else of the engine's options changes its answers, by name; JSON values.
    """

    @property
    def name(self) -> str:
        """As `napari_sam3.engines.creating.create_engine` knows it."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can answer."""
        ...

    @property
    def model(self) -> str:
        """Which model answers, and in which version."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What else of the engine's options changes its answers."""
        ...

    def segment(
        self, request: SegmentationRequest, stop: threading.Event = NEVER
    ) -> SegmentationResult:
        """Answer one request.

        Parameters
        ----------
        request : SegmentationRequest
        stop : threading.Event
            Set by another thread to cancel.

        Returns
        -------
        SegmentationResult
            Empty instances if nothing was found; that is no error.

        Raises
        ------
        UnsupportedPromptError
            If the engine cannot answer such a prompt.
        CancelledError
            If `stop` was set before the answer was there.
        EngineError
            If the engine failed.
        """
        ...


class BatchEngine(Engine, Protocol):
    """An engine that answers several questions about one picture faster than one by one."""

    def segment_many(
        self, requests: Sequence[SegmentationRequest], stop: threading.Event = NEVER
    ) -> list[SegmentationResult]:
        """Answer several requests about one picture, each as `segment` would."""
        ...


NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Price:
    """What one question costs at an engine that is billed.

    Parameters
    ----------
    low, high : float
        US dollars.
    seconds : float
        How long an answer takes, about.
    """

    low: float
    high: float
    seconds: float


class Ticket(Protocol):
    """A question that a billed engine has accepted, and so is paid for."""

    @property
    def request_id(self) -> str | None:
        """Under which its answer can be collected; None if it cannot, or came at once."""
        ...


class BilledEngine(Engine, Protocol):
    """An engine whose answers cost money: asking and collecting are two steps.

    Attributes
    ----------
    price : Price
        Of one question, as the engine's vendor states it.
    kept_s : float
        For how many seconds an answer can be collected.
    billed_as : str
        The model, and whose service it runs at: what one costs is no guide to another.
    """

    @property
    def billed_as(self) -> str:
        """The model, and whose service it runs at, for the ledger."""
        ...

    @property
    def price(self) -> Price:
        """Of one question, as the engine's vendor states it."""
        ...

    @property
    def kept_s(self) -> float:
        """For how many seconds an answer can be collected."""
        ...

    def submit(self, request: SegmentationRequest, stop: threading.Event = NEVER) -> Ticket:
        """Send one question; once this returns it is paid for.

        Raises
        ------
        OutcomeUnknownError
            If it was sent and its answer was lost.
        CancelledError
            If stopped; `was_sent` says whether it may be billed.
        EngineError
            Any other one means that nothing was billed.
        """
        ...

    def collect(self, ticket: Any, stop: threading.Event = NEVER) -> SegmentationResult:
        """Wait for the answer of a ticket; costs nothing, and may be repeated."""
        ...

    def pack(self, ticket: Any) -> bytes:
        """Return all that is needed to collect an answer later; holds no key and no picture."""
        ...


def raise_if_stopped(stop: threading.Event) -> None:
    """Raise `CancelledError` once `stop` is set."""
    if stop.is_set():
        raise CancelledError("Cancelled.")
