"""Who answers the prompts: an engine, and each textbook algorithm where it has an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from benchmarks import baselines
from napari_sam3 import (
    Box,
    ConceptPrompt,
    Engine,
    Everything,
    Exemplar,
    Instances,
    ObjectPrompt,
    Point,
    segment,
)
from napari_sam3.core.instances import Instance
from napari_sam3.core.prompts import Prompt
from napari_sam3.engines.builtin.exemplars import segment_alike
from napari_sam3.engines.builtin.scene import Scene
from napari_sam3.engines.builtin.trained import all_objects, proposals

RGB8 = npt.NDArray[np.uint8]
Found = Sequence[Instance]

ENGINE = "engine"


class Answering(Protocol):
    """An engine that looks at one image.  What it is surest of comes first."""

    def box(self, box: Box) -> Found:
        """Answer a box around one object."""

    def clicks(self, points: Sequence[Point]) -> Found:
        """Answer clicks on one object: proposals."""

    def everything(self, diameter: float | None) -> Found:
        """Return all objects."""

    def alike(self, exemplars: Sequence[Exemplar]) -> Found:
        """Return all objects like the exemplars."""


class Builtin:
    """The built-in engine, with all of its proposals.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, cols, 3)
    """

    def __init__(self, image: RGB8) -> None:
        self._picture = Scene(image)

    def box(self, box: Box) -> Found:
        """Answer a box around one object."""
        return proposals(self._picture, (), box)

    def clicks(self, points: Sequence[Point]) -> Found:
        """Answer clicks on one object: at most three proposals."""
        return proposals(self._picture, points)

    def everything(self, diameter: float | None) -> Found:
        """Return all objects."""
        return all_objects(self._picture, diameter)

    def alike(self, exemplars: Sequence[Exemplar]) -> Found:
        """Return all objects like the exemplars."""
        return segment_alike(self._picture, tuple(exemplars))


class Asked:
    """Any other engine; it is not told how wide objects are.

    Parameters
    ----------
    engine : Engine
    image : ndarray of uint8, shape (rows, cols, 3)
    """

    def __init__(self, engine: Engine, image: RGB8) -> None:
        self._engine = engine
        self._image = image

    def _ask(self, prompt: Prompt) -> Found:
        answer = segment(self._image, prompt, self._engine, 0.0, remember=False)
        return answer.instances.items

    def box(self, box: Box) -> Found:
        """Answer a box around one object."""
        return self._ask(ObjectPrompt(box=box))

    def clicks(self, points: Sequence[Point]) -> Found:
        """Answer clicks on one object."""
        return self._ask(ObjectPrompt(points=tuple(points)))

    def everything(self, diameter: float | None) -> Found:
        """Return all objects."""
        del diameter
        return self._ask(Everything())

    def alike(self, exemplars: Sequence[Exemplar]) -> Found:
        """Return all objects like the exemplars."""
        return self._ask(ConceptPrompt(exemplars=tuple(exemplars)))


Opener = Callable[[RGB8], Answering]


class Contenders:
    """Everybody who answers about one image, by name: an engine and the baselines.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, cols, 3)
    engine : Answering
    """

    def __init__(self, image: RGB8, engine: Answering) -> None:
        self._engine = engine
        self._gray = baselines.gray_of(image)

    @property
    def box(self) -> Mapping[str, Callable[[Box], Found]]:
        """Who answers boxes."""
        return {ENGINE: self._engine.box} | {
            name: partial(self._boxed, call) for name, call in baselines.BOX.items()
        }

    @property
    def clicks(self) -> Mapping[str, Callable[[Sequence[Point]], Found]]:
        """Who answers clicks."""
        return {ENGINE: self._engine.clicks} | {
            name: partial(self._clicked, call) for name, call in baselines.CLICK.items()
        }

    @property
    def everything(self) -> Mapping[str, Callable[[float | None], Found]]:
        """Who finds all objects."""
        return {ENGINE: self._engine.everything} | {
            name: partial(self._all, call) for name, call in baselines.EVERYTHING.items()
        }

    @property
    def alike(self) -> Mapping[str, Callable[[Sequence[Exemplar]], Found]]:
        """Who finds what is like examples: of the baselines none."""
        return {ENGINE: self._engine.alike}

    def _boxed(self, call: baselines.BoxSolver, box: Box) -> Found:
        crop = baselines.Crop(self._gray, box)
        item = Instance.from_mask(call(crop))
        return [] if item is None else [item.shifted(crop.window.top, crop.window.left)]

    def _clicked(self, call: baselines.ClickSolver, points: Sequence[Point]) -> Found:
        item = Instance.from_mask(call(self._gray, points))
        return [] if item is None else [item]

    def _all(self, call: baselines.AllSolver, diameter: float | None) -> Found:
        return Instances.from_labels(call(self._gray, diameter)).items
