"""The engines: the only list of them, what each can do, and what it needs.

Nothing heavy is imported before an engine is created.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_sam3.core.prompts import Prompt
from napari_sam3.engines.base import (
    CAPABILITY_WORDS,
    BilledEngine,
    Capabilities,
    Capability,
    Engine,
    Ticket,
)
from napari_sam3.engines.builtin import CAPABILITIES as BUILTIN_CAPABILITIES
from napari_sam3.engines.segmind import CAPABILITIES as SEGMIND_CAPABILITIES
from napari_sam3.errors import EngineUnavailableError, PromptError, UnsupportedPromptError

DEFAULT_ENGINE = "builtin"


def _create_builtin(_options: Any) -> Engine:
    from napari_sam3.engines.builtin.engine import BuiltinEngine

    return BuiltinEngine()


def _create_segmind(options: Any) -> Engine:
    from napari_sam3.engines.segmind.engine import SegmindEngine

    return SegmindEngine(options or _options("segmind", {}))


def _resume_segmind(packed: bytes, url: str | None) -> tuple[BilledEngine, Ticket]:
    from napari_sam3.engines.segmind.engine import resume

    return resume(packed, url)


def _read_segmind_ticket(packed: bytes) -> Ticket:
    from napari_sam3.engines.segmind.ticket import unpack_ticket

    return unpack_ticket(packed)[1]


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
    create : callable, optional
        Makes the engine of its options; None where this version does not contain it.
    lacks : callable, optional
        Says what is still missing before it can answer; may ask the system's keyring.
    read_ticket : callable, optional
        Makes a ticket of what `BilledEngine.pack` gave.
    resume : callable, optional
        Makes of that, and of an address that the user names, an engine and the ticket that
        it can collect.
    """

    name: str
    title: str
    summary: str
    capabilities: Capabilities
    create: Callable[[Any], Engine] | None = None
    lacks: Callable[[], str] | None = None
    read_ticket: Callable[[bytes], Ticket] | None = None
    resume: Callable[[bytes, str | None], tuple[BilledEngine, Ticket]] | None = None

    @property
    def missing(self) -> str:
        """A sentence saying what is missing before the engine can be used; empty if nothing is."""
        if self.create is None:
            return f"{self.title} is not part of this version of napari-sam3 yet."
        return ""


_SAM3 = Capabilities(text=True, exemplars=True, points=True, object_box=True, billed=False)

ENGINES: tuple[EngineInfo, ...] = (
    EngineInfo(
        "builtin",
        "Built-in",
        "on this computer, offline, free",
        BUILTIN_CAPABILITIES,
        _create_builtin,
    ),
    EngineInfo(
        "segmind",
        "Segmind SAM3",
        "the hosted service; costs money",
        SEGMIND_CAPABILITIES,
        _create_segmind,
        _segmind_lacks,
        _read_segmind_ticket,
        _resume_segmind,
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


def create_engine(name: str = DEFAULT_ENGINE, options: Any = None, **settings: Any) -> Engine:
    """Create an engine.

    Parameters
    ----------
    name : str
        One of the names in `ENGINES`.
    options : object, optional
        How it works, where it can be chosen: `SegmindOptions` for ``"segmind"``.
    **settings
        The same by name, for instance ``url`` or ``answer``; the address of the service is by
        default the one that is set.

    Returns
    -------
    Engine

    Raises
    ------
    EngineUnavailableError
        If there is no such engine, or something that it needs is missing.
    """
    info = engine_info(name)
    if info.create is None:
        raise EngineUnavailableError(f"{info.missing} Use the built-in engine: builtin.")
    return info.create(_options(name, settings) if settings else options)


def _options(name: str, settings: dict[str, Any]) -> Any:
    if name != "segmind":
        raise PromptError(f"The engine {name!r} has no settings: leave out {', '.join(settings)}.")
    from napari_sam3.engines.segmind.options import SegmindOptions, set_url

    try:
        return SegmindOptions(**{"url": set_url(), **settings})
    except TypeError as error:
        raise PromptError(f"The engine {name!r} has no such setting: {error}.") from error


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
