"""The engines: the only list of them, what each can do, and what it needs.

They are created in `napari_sam3.engines.creating`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_sam3.core.prompts import Prompt
from napari_sam3.engines.base import (
    CAPABILITY_WORDS,
    Capabilities,
    Capability,
)
from napari_sam3.engines.builtin import CAPABILITIES as BUILTIN_CAPABILITIES
from napari_sam3.engines.segmind import CAPABILITIES as SEGMIND_CAPABILITIES
from napari_sam3.errors import EngineUnavailableError, UnsupportedPromptError


def _segmind_lacks() -> str:
    from napari_sam3.engines.segmind.key import ENVIRONMENT_VARIABLE, find_key

    if find_key() is not None:
        return ""
    return f"needs an API key: set {ENVIRONMENT_VARIABLE}, or enter it in the panel"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is known of an engine without creating it.

    Parameters
    ----------
    name : str
        For `create_engine` and the command line.
    title : str
        For the panel.
    summary : str
        One line: where it runs and what that takes.
    capabilities : Capabilities
        What it can answer.
    is_there : bool
        Whether this version contains it.
    lacks : callable, optional
        Says what is still missing before it can answer; may ask the system's keyring.
    """

    name: str
    title: str
    summary: str
    capabilities: Capabilities
    is_there: bool = False
    lacks: Callable[[], str] | None = None

    @property
    def missing(self) -> str:
        """A sentence saying what is missing before the engine can be used; empty if nothing is."""
        if not self.is_there:
            return f"{self.title} is not part of this version of napari-sam3 yet."
        return ""


_SAM3 = Capabilities(text=True, exemplars=True, points=True, object_box=True, billed=False)

ENGINES: tuple[EngineInfo, ...] = (
    EngineInfo(
        "builtin",
        "Built-in",
        "on this computer, offline, free",
        BUILTIN_CAPABILITIES,
        is_there=True,
    ),
    EngineInfo(
        "segmind",
        "Segmind SAM3",
        "the hosted service; costs money",
        SEGMIND_CAPABILITIES,
        is_there=True,
        lacks=_segmind_lacks,
    ),
    EngineInfo("local", "SAM3 here", "SAM3 on this computer; needs its weights", _SAM3),
    EngineInfo("server", "SAM3 server", "SAM3 on your lab's server; needs its address", _SAM3),
)


def engine_info(name: str) -> EngineInfo:
    """Return what is known of the engine of this name.

    Raises
    ------
    EngineUnavailableError
        If there is none.
    """
    for info in ENGINES:
        if info.name == name:
            return info
    names = ", ".join(info.name for info in ENGINES)
    raise EngineUnavailableError(f"There is no engine called {name!r}; there are: {names}.")


def refuse_unsupported(engine_name: str, capabilities: Capabilities, prompt: Prompt) -> None:
    """Refuse a prompt that the engine cannot answer, before anything is sent.

    Raises
    ------
    UnsupportedPromptError
        With a sentence that names the engines which can.
    """
    missing = capabilities.missing_for(prompt)
    if missing is None:
        return
    unknown = capabilities.unknown_words(getattr(prompt, "text", ""))
    if missing == "text" and unknown:
        raise UnsupportedPromptError(_unknown_word(engine_name, capabilities.words, unknown[0]))
    raise UnsupportedPromptError(refusal(engine_name, missing))


def _unknown_word(engine_name: str, known: tuple[str, ...], word: str) -> str:
    able = [info.title for info in ENGINES if not info.missing and understands_language(info)]
    advice = f"for anything else use {_either(able)}" if able else "ask with one of these"
    return (
        f"The {engine_info(engine_name).title} engine does not know the word “{word}”. "
        f"It knows {_listed(known)}; {advice}."
    )


def understands_language(info: EngineInfo) -> bool:
    """Whether an engine takes any text, not only some words."""
    return info.capabilities.text and not info.capabilities.words


def refusal(engine_name: str, missing: Capability) -> str:
    """Return the sentence that says what an engine cannot do, and which ones can."""
    title = engine_info(engine_name).title
    others = [i for i in ENGINES if i.name != engine_name and not i.missing]
    able = [info.title for info in others if getattr(info.capabilities, missing)]
    advice = f"use {_either(able)} for that" if able else "no engine can, so ask in another way"
    return f"The {title} engine cannot {CAPABILITY_WORDS[missing]}; {advice}."


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
