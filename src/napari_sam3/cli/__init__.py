"""The command line: its program, the list of its commands, and help in groups.

Help is plain text: it can be searched and piped, and breaks no sentence apart.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from napari_sam3.cli.demo import run_demo
from napari_sam3.cli.engines import list_engines
from napari_sam3.cli.evaluate import evaluate
from napari_sam3.cli.export import export_objects
from napari_sam3.cli.hosted import probe_segmind, standin
from napari_sam3.cli.provenance import cite, replay
from napari_sam3.cli.records import cache_app, collect, costs, limits
from napari_sam3.cli.segmenting import EXAMPLES, segment_files

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


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Promptable segmentation: name, click or box a thing in an image and get its labels.",
)


def main() -> None:
    """Run the command line; the entry point ``napari-sam3``."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # an arrow must not end the program on a terminal that has none
            reconfigure(errors="replace")
    # or Python prints what it logs of damaged files beside the sentence that says the same
    logging.getLogger("tifffile").addHandler(logging.NullHandler())
    app(prog_name="napari-sam3")


def _print_version(asked: bool) -> None:
    if asked:
        from napari_sam3 import __version__

        typer.echo(f"napari-sam3 {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


SEGMENT, RESULTS, SERVICE = "Segment", "Use the results", "Hosted engine and cache"

for name, command, panel, epilog in (
    ("segment", segment_files, SEGMENT, EXAMPLES),
    ("engines", list_engines, SEGMENT, None),
    ("demo", run_demo, SEGMENT, None),
    ("export", export_objects, RESULTS, None),
    ("evaluate", evaluate, RESULTS, None),
    ("cite", cite, RESULTS, None),
    ("replay", replay, RESULTS, None),
    ("costs", costs, SERVICE, None),
    ("limits", limits, SERVICE, None),
    ("collect", collect, SERVICE, None),
    ("standin", standin, SERVICE, None),
    ("probe-segmind", probe_segmind, SERVICE, None),
):
    app.command(name, cls=Command, rich_help_panel=panel, epilog=epilog)(command)
app.add_typer(cache_app, name="cache", rich_help_panel=SERVICE)
