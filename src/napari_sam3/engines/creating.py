"""Engines by their names; nothing heavy is imported before one is created."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from napari_sam3.engines import engine_info
from napari_sam3.engines.base import BilledEngine, Engine, Ticket
from napari_sam3.errors import EngineUnavailableError, PromptError

DEFAULT_ENGINE = "builtin"

MakeT = TypeVar("MakeT")


def create_engine(name: str = DEFAULT_ENGINE, options: Any = None, **settings: Any) -> Engine:
    """Create an engine.

    Parameters
    ----------
    name : str
        One of the names in `napari_sam3.engines.ENGINES`.
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
    if not info.is_there:
        raise EngineUnavailableError(f"{info.missing} Use the built-in engine: builtin.")
    return CREATE[name](_options(name, settings) if settings else options)


def resume(name: str, packed: bytes, url: str | None = None) -> tuple[BilledEngine, Ticket]:
    """Return an engine and the ticket that it can collect.

    Parameters
    ----------
    name : str
        As in `create_engine`.
    packed : bytes
        What `BilledEngine.pack` gave.
    url : str, optional
        An address that the user names.

    Raises
    ------
    EngineUnavailableError
        If there is no such engine, or this version cannot collect its answers.
    """
    return _of_those_that_collect(RESUME, name)(packed, url)


def read_ticket(name: str, packed: bytes) -> Ticket:
    """Return the ticket alone; parameters and errors as those of `resume`."""
    return _of_those_that_collect(READ_TICKET, name)(packed)


def _of_those_that_collect(table: Mapping[str, MakeT], name: str) -> MakeT:
    engine_info(name)
    if name not in table:
        raise EngineUnavailableError(f"The engine {name!r} cannot collect results in this version.")
    return table[name]


def _options(name: str, settings: dict[str, Any]) -> Any:
    if name != "segmind":
        raise PromptError(f"The engine {name!r} has no settings: leave out {', '.join(settings)}.")
    from napari_sam3.engines.segmind.options import SegmindOptions, set_url

    try:
        return SegmindOptions(**{"url": set_url(), **settings})
    except TypeError as error:
        raise PromptError(f"The engine {name!r} has no such setting: {error}.") from error


def _create_builtin(_options: Any) -> Engine:
    from napari_sam3.engines.builtin.engine import BuiltinEngine

    return BuiltinEngine()


def _create_segmind(options: Any) -> Engine:
    from napari_sam3.engines.segmind.engine import SegmindEngine

    return SegmindEngine(options or _options("segmind", {}))


def _read_segmind_ticket(packed: bytes) -> Ticket:
    from napari_sam3.engines.segmind.ticket import unpack_ticket

    return unpack_ticket(packed)[1]


def _resume_segmind(packed: bytes, url: str | None) -> tuple[BilledEngine, Ticket]:
    from napari_sam3.engines.segmind.engine import resume

    return resume(packed, url)


CREATE: dict[str, Callable[[Any], Engine]] = {
    "builtin": _create_builtin,
    "segmind": _create_segmind,
}
"""What makes an engine of its options, by name."""

RESUME: dict[str, Callable[[bytes, str | None], tuple[BilledEngine, Ticket]]] = {
    "segmind": _resume_segmind,
}
"""What makes an engine and a ticket of a packed one, by name."""

READ_TICKET: dict[str, Callable[[bytes], Ticket]] = {"segmind": _read_segmind_ticket}
"""What makes the ticket alone of a packed one, by name."""
