"""The engines on the command line."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import typer

from napari_sam3.cli.hosted import without_panel
from napari_sam3.cli.options import AsJson
from napari_sam3.cli.telling import Voice

if TYPE_CHECKING:
    from napari_sam3.engines import EngineInfo

WIDTH = 80


def list_engines(as_json: AsJson = False) -> None:
    """List the engines and whether they are ready."""
    from napari_sam3.engines import ENGINES

    lacking = {info.name: _missing(info) for info in ENGINES}
    infos = sorted(ENGINES, key=lambda info: bool(lacking[info.name]))
    if as_json:
        listed = [_to_json(info, lacking[info.name]) for info in infos]
        Voice(as_json=True).document({"engines": listed})
        return
    for info in infos:
        typer.echo(f"{info.name} ({info.title}): {lacking[info.name] or 'ready'}")
        for line in (info.summary, f"can do: {', '.join(_abilities(info))}"):
            typer.echo(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))


def _missing(info: EngineInfo) -> str:
    if not info.is_there:
        return "not in this version yet"
    return without_panel(info.lacks()) if info.lacks else ""


def _to_json(info: EngineInfo, lacks: str) -> dict[str, object]:
    return {
        "name": info.name,
        "title": info.title,
        "ready": not lacks,
        "missing": lacks,
        "summary": info.summary,
        "billed": info.capabilities.billed,
        "can_do": _abilities(info),
        "words": list(info.capabilities.words),
    }


def _abilities(info: EngineInfo) -> list[str]:
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
    return [word for word, able in words.items() if able]
