"""The command line: its program and the list of its commands."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from napari_sam3.cli.demo import run_demo
from napari_sam3.cli.engines import list_engines
from napari_sam3.cli.evaluate import evaluate
from napari_sam3.cli.export import export_objects
from napari_sam3.cli.helping import HELP, Command, Group
from napari_sam3.cli.hosted import probe_segmind, standin
from napari_sam3.cli.provenance import cite, replay
from napari_sam3.cli.records import cache_app, collect, costs, limits
from napari_sam3.cli.segmenting import EXAMPLES, segment_files

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    context_settings=HELP,
    # plain text: it can be searched and piped, and breaks no sentence apart
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
