"""What commands say, and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from napari_sam3.errors import Sam3Error

if TYPE_CHECKING:
    from napari_sam3.workflows.answer import SegmentAnswer


def tell(sentence: str, *, err: bool = False) -> None:
    """Print a sentence, without what would move a terminal's cursor."""
    from napari_sam3.core.schema import printable

    typer.echo(printable(sentence), err=err)


def print_table(table: Table) -> None:
    """Print a table; where it is piped, nothing in it is cut or broken, however long."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        # a line that is searched or cut apart is one line
        unbounded = console.options.update(width=1_000_000)
        console.width = Measurement.get(console, unbounded, table).maximum
    console.print(table)


@dataclass(frozen=True, slots=True)
class Voice:
    """How much a command says: warnings only, details too, or JSON and nothing else on stdout."""

    quiet: bool = False
    verbose: bool = False
    as_json: bool = False

    def result(self, line: str) -> None:
        """Print a line of the result."""
        if not (self.quiet or self.as_json):
            tell(line)

    def notices(self, *sentences: str) -> None:
        """Print what the user should know beside the result."""
        for sentence in sentences:
            tell(sentence, err=True)

    def detail(self, line: str) -> None:
        """Print what only some want to know."""
        if self.verbose:
            tell(line, err=True)

    def document(self, values: dict[str, Any]) -> None:
        """Print the result as JSON, if that is wanted."""
        if self.as_json:
            # in ASCII, so that no terminal replaces a letter of a name
            typer.echo(json.dumps(values, indent=1, allow_nan=False))


def notices_of(answer: SegmentAnswer) -> tuple[str, ...]:
    """Return what the user should know of an answer, and what to do about it here."""
    better = answer.flatness.better if answer.flatness is not None else {}
    advice = (f"Try --contrast-limits {low:g},{high:g}." for low, high in better.values())
    return (*answer.notices, *advice)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End with exit code 1 and one sentence where the user is told of an error."""
    try:
        yield
    except Sam3Error as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@contextmanager
def errors_of_strangers(kind: type[Sam3Error], too_large: str) -> Iterator[None]:
    """As `errors_as_sentences`, of a file whose texts come from a stranger.

    Errors of the file become of this kind; ``too_large`` is said where it does not fit in memory.
    """
    from napari_sam3.core.schema import printable

    with errors_as_sentences():
        try:
            yield
        except Sam3Error as error:
            raise kind(printable(str(error))) from error
        except MemoryError as error:
            raise kind(too_large) from error
