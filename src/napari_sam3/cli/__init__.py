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
from napari_sam3.cli.hosted import probe_segmind, standin
from napari_sam3.cli.provenance import cite, replay
from napari_sam3.cli.records import cache_app, collect, costs, limits
from napari_sam3.cli.segmenting import segment_file

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
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


app.command("segment")(segment_file)
app.command("standin")(standin)
app.command("replay")(replay)
app.command("cite")(cite)
app.command("export")(export_objects)
app.command("evaluate")(evaluate)
app.command("probe-segmind")(probe_segmind)
app.add_typer(cache_app, name="cache")
for command in (costs, limits, collect):
    app.command()(command)
app.command("engines")(list_engines)
app.command("demo")(run_demo)
