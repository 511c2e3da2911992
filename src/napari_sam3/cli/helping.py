"""Help in plain text, in groups: it can be searched and piped, and breaks no sentence apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup

HELP = {"help_option_names": ["-h", "--help"]}

USUAL = "Options"


class Command(TyperCommand):
    """A command whose help lists its options by their `rich_help_panel`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups, in the order of their first option; those without one come last."""
        params = [(getattr(one, "rich_help_panel", None), one) for one in self.get_params(ctx)]
        _write(
            formatter,
            (
                ("Arguments" if one.param_type_name == "argument" else panel, record)
                for panel, one in params
                if (record := one.get_help_record(ctx)) is not None
            ),
        )


class Group(TyperGroup):
    """A group whose help lists its commands by their `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups, in the order of their first command."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        shown = [(name, one) for name, one in commands if one is not None and not one.hidden]
        room = formatter.width - 6 - max((len(name) for name, _ in shown), default=0)
        _write(
            formatter,
            (
                (getattr(one, "rich_help_panel", None), (name, one.get_short_help_str(room)))
                for name, one in shown
            ),
            usual="Commands",
        )


def _write(formatter: Any, rows: Iterable[tuple[Any, tuple[str, str]]], usual: str = USUAL) -> None:
    panels: dict[str, list[tuple[str, str]]] = {}
    for panel, row in rows:
        panels.setdefault(panel if isinstance(panel, str) else usual, []).append(row)
    if USUAL in panels:
        panels[USUAL] = panels.pop(USUAL)
    # one width for all groups: they read as one list
    first = max((len(name) for rows in panels.values() for name, _ in rows), default=0)
    for title, listed in panels.items():
        with formatter.section(title):
            formatter.write_dl([(name.ljust(min(first, 30)), text) for name, text in listed])
