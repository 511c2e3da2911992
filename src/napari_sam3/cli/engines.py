"""The engines on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

if TYPE_CHECKING:
    from napari_sam3.engines import EngineInfo


def list_engines() -> None:
    """List the engines: what is ready, what the others need, what each can do."""
    from napari_sam3.engines import ENGINES

    states = {info.name: info.missing or (info.lacks() if info.lacks else "") for info in ENGINES}
    infos = sorted(ENGINES, key=lambda info: bool(states[info.name]))
    rows = [(i.name, i.title, states[i.name] or "ready", _abilities(i), i.summary) for i in infos]
    table = Table("name", "engine", "state", "can do", "where", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    unbounded = console.options.update(width=10_000)
    width = Measurement.get(console, unbounded, table).maximum
    if console.is_terminal and console.width < width:
        # a table that is squeezed breaks words apart, or leaves them out
        for name, title, state, abilities, summary in rows:
            console.print(f"{name} ({title}): {state}", f"can do: {abilities}", summary, sep="\n")
            console.print()
        return
    console.width = width
    console.print(table)


def _abilities(info: EngineInfo) -> str:
    can = info.capabilities
    words = {
        "text": can.text and not can.words,
        "some words": bool(can.words),
        "exemplars": can.exemplars,
        "negative exemplars": can.negative_exemplars,
        "points": can.points,
        "boxes": can.object_box,
        "outlines": can.outline,
        "everything": can.everything,
    }
    return ", ".join(word for word, able in words.items() if able)
