"""Cache, costs, limits and unfinished requests on the command line."""

from __future__ import annotations

import csv
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from napari_sam3.cli.hosted import is_terminal
from napari_sam3.cli.options import AsJson, usd_option
from napari_sam3.cli.telling import Voice, errors_as_sentences, print_table
from napari_sam3.core.progress import drain
from napari_sam3.errors import ConsentError, ImageError

if TYPE_CHECKING:
    from napari_sam3.jobs.collecting import Collected
    from napari_sam3.jobs.ledger import Grouping, Ledger

cache_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Manage the cache of results."
)


@cache_app.command("info")
def cache_info() -> None:
    """Show the folder of the cache, and its size."""
    from napari_sam3.jobs.records import open_cache

    with errors_as_sentences():
        cache = open_cache()
        info = cache.info()
    typer.echo(f"folder   {info.folder}")
    readers = "only you" if cache.is_private else "anyone who may read new files in that folder"
    typer.echo(f"readers  {readers}")
    typer.echo(f"results  {info.answers}")
    typer.echo(f"size     {info.bytes / 2**20:.1f} MB of at most {info.max_bytes / 2**20:.0f} MB")
    if info.damaged:
        typer.echo(f"damaged  {info.damaged}, set aside; napari-sam3 cache clear removes them")


@cache_app.command("clear")
def cache_clear(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete all stored results; paid ones would have to be paid for again."""
    from napari_sam3.jobs.records import open_cache

    with errors_as_sentences():
        cache = open_cache()
        count = cache.info().answers
        if count and not yes:
            _agree(f"Delete {_results(count)} from {cache.info().folder}?")
        typer.echo(f"Deleted {_results(cache.clear())}.")


@cache_app.command("set")
def cache_set(
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Store results here, for instance on a shared drive. Others may read them if "
            "the folder and your umask allow it; in the default folder, only you may."
        ),
    ] = None,
    default_folder: Annotated[
        bool, typer.Option("--default-folder", help="Store them in the default folder again.")
    ] = False,
    max_mb: Annotated[
        float | None,
        typer.Option(min=1, metavar="MB", help="Maximum size; the least recently used go first."),
    ] = None,
) -> None:
    """Set the folder of the cache, and its maximum size."""
    from napari_sam3.settings import CACHE_FOLDER, CACHE_MAX_MB

    if folder is not None and default_folder:
        raise typer.BadParameter("give either --folder or --default-folder.")
    if folder is not None:
        if not folder.is_dir():
            raise typer.BadParameter(f"there is no folder {folder}; create it first.")
        _remember(CACHE_FOLDER, str(folder.resolve()))
    if default_folder:
        _remember(CACHE_FOLDER, "")
    if max_mb is not None and not math.isfinite(max_mb):
        raise typer.BadParameter("--max-mb must be a number of megabytes.")
    if max_mb is not None:
        _remember(CACHE_MAX_MB, max_mb)
    cache_info()


def costs(
    by: Annotated[
        Literal["request", "run", "session", "day", "project"],
        typer.Option("--by", help="What to list."),
    ] = "day",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what hosted requests have cost.

    Prices are those of the ledger, in US dollars.  Where the service reported none, the
    highest price to be expected is counted.
    """
    from napari_sam3.jobs.accounts import open_ledger

    if as_csv and as_json:
        raise typer.BadParameter("give either --csv or --json.")
    with errors_as_sentences():
        ledger = open_ledger()
        names, cells = _each(ledger) if by == "request" else _sums(ledger, by)
        today = ledger.today()
        Voice().notices(*ledger.notices)
    if as_csv:
        rows = [names, *(map(_harmless, (*row[:-1], f"{row[-1]:.4f}")) for row in cells)]
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
        return
    if as_json:
        first = "sent" if by == "request" else "name"
        keys = [first, *(name.replace(" ", "_") for name in names[1:])]
        listed = [dict(zip(keys, row, strict=True)) for row in cells]
        Voice(as_json=True).document({"by": by, "rows": listed, "today_usd": today})
        return
    if not cells:
        typer.echo("Nothing has been paid for yet.")
        return
    table = Table(box=None, pad_edge=False)
    for position, name in enumerate(names):
        is_number = isinstance(cells[0][position], int | float)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        shown = (f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row)
        table.add_row(*(cell or "(none)" for cell in shown))
    print_table(table)
    typer.echo(f"Today: ${today:.4f}. Unknown prices are counted at the highest expected.")


Cells = list[tuple[Any, ...]]


def _sums(ledger: Ledger, by: Grouping) -> tuple[tuple[str, ...], Cells]:
    cells = []
    for row in ledger.costs(by):
        under_way = row.questions - row.answered - row.failed - row.unknown
        counts = (row.questions, row.answered, row.failed, row.unknown, under_way)
        cells.append((row.name, *counts, float(row.cost)))
    return (by, "requests", "answered", "failed", "unknown", "under way", "usd"), cells


def _each(ledger: Ledger) -> tuple[tuple[str, ...], Cells]:
    cells = [
        (_moment(sent), question, engine, state, project, request_id or "", float(usd))
        for sent, question, engine, state, project, request_id, usd in ledger.lines()
    ]
    return ("sent", "prompt", "engine", "state", "project", "request id", "usd"), cells


def limits(
    confirm_above: Annotated[
        float | None, usd_option(help="Ask before a run that may cost more; 0.10 by default.")
    ] = None,
    per_run: Annotated[float | None, usd_option(help="Limit for a run; 2 by default.")] = None,
    per_day: Annotated[float | None, usd_option(help="Limit for a day; 10 by default.")] = None,
    no_caps: Annotated[bool, typer.Option("--no-caps", help="Remove both limits.")] = False,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="Book costs under this project from now on.")
    ] = None,
) -> None:
    """Show or set spending limits."""
    from napari_sam3.jobs.accounts import read_limits
    from napari_sam3.jobs.costs import dollars
    from napari_sam3.settings import (
        CAP_PER_DAY,
        CAP_PER_RUN,
        CONFIRM_ABOVE,
        PROJECT,
        read_settings,
        settings_problem,
    )

    if no_caps and (per_run is not None or per_day is not None):
        raise typer.BadParameter("give either --no-caps or a limit.")
    amounts = {CONFIRM_ABOVE: confirm_above, CAP_PER_RUN: per_run, CAP_PER_DAY: per_day}
    with errors_as_sentences():
        for name, amount in amounts.items():
            if amount is not None:
                _remember(name, amount)
        if no_caps:
            _remember(CAP_PER_RUN, None)
            _remember(CAP_PER_DAY, None)
        if project is not None:
            _remember(PROJECT, project.strip())
    if problem := settings_problem():
        typer.echo(problem, err=True)
    found = read_limits()
    typer.echo(f"asks above  {dollars(found.confirm_above)}")
    typer.echo(f"per run     {_cap(found.caps.per_run)}")
    typer.echo(f"per day     {_cap(found.caps.per_day)}")
    typer.echo(f"project     {read_settings().project or '(none)'}")


def collect(
    output_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Also save the labels here.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address they were sent to, if it is not the usual one."),
    ] = None,
) -> None:
    """Fetch paid results that never arrived, at no cost.

    The service keeps them for an hour.  They go into the cache, so that the same request is
    free from then on.
    """
    from napari_sam3.jobs.collecting import iter_collect
    from napari_sam3.jobs.records import open_records
    from napari_sam3.workflows.files import make_folder

    saved: dict[int, Path] = {}

    def save(one: Collected) -> bool:
        if output_dir is not None:
            saved[one.entry.id] = _save_collected(one, output_dir)
        return output_dir is not None

    with errors_as_sentences():
        if output_dir is not None:
            make_folder(output_dir)
        # whatever the switch says: what was paid for is not fetched to be lost again
        records = open_records(use_cache=True)
        steps = iter_collect(records, url=url, keep=save)
        done = drain(
            steps,
            lambda entry: typer.echo(f"{_when(entry.submitted_at)}  {entry.question} …", err=True),
        )
        Voice().notices(*records.ledger.notices)
        for one in done:
            if output_dir is not None and one.result is not None and one.entry.id not in saved:
                saved[one.entry.id] = _save_collected(one, output_dir)
            typer.echo(_outcome(one, saved.get(one.entry.id)))
            Voice().notices(*(one.result.notices if one.result is not None else ()))
        left = {entry.id for entry in records.accounts().unfinished()} & {
            one.entry.id for one in done
        }
    if not done:
        typer.echo("There is nothing to collect.")
    if left or any(one.error for one in done):
        raise typer.Exit(1)


def _outcome(one: Collected, saved: Path | None) -> str:
    about = f"{_when(one.entry.submitted_at)}  {one.entry.question}"
    if one.result is None:
        return f"{about}: {one.error}"
    count = len(one.result.instances)
    found = f"{about}: {count} object{'' if count == 1 else 's'}"
    return found if saved is None else f"{found} → {saved}"


def _save_collected(one: Collected, folder: Path) -> Path:
    from napari_sam3.workflows.collected import labels_of, record_of
    from napari_sam3.workflows.files import save_labels
    from napari_sam3.workflows.sidecars import own_sidecar_path, write_sidecar

    assert one.result is not None
    image = str(one.about.get("image", ""))
    labels = labels_of(one.result)
    words = re.sub(r"\W+", "_", f"{image} {one.entry.question}").strip("_")
    target = folder / f"{words[:80]}_{one.entry.key[:8]}_labels.tif"
    save_labels(target, labels)
    record = record_of(one.result, one.question, labels, image)
    write_sidecar(own_sidecar_path(target), record, labels, target.name)
    return target


def _agree(question: str) -> None:
    if not is_terminal():
        raise ConsentError("Nothing was deleted; confirm it with --yes.")
    if not typer.confirm(question, err=True):
        raise ConsentError("Nothing was deleted.")


def _results(count: int) -> str:
    return f"{count} stored result{'' if count == 1 else 's'}"


def _remember(name: str, value: Any) -> None:
    from napari_sam3.settings import write_setting

    if not write_setting(name, value):
        raise ImageError("The settings cannot be written; NAPARI_SAM3_CONFIG names their folder.")


def _harmless(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    is_formula = isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r")
    return f"'{cell}" if is_formula else cell


def _cap(amount: float | None) -> str:
    from napari_sam3.jobs.costs import dollars

    return "no limit" if amount is None else dollars(amount)


def _moment(seconds: float) -> str:
    """Return a time that another program can compare: ISO 8601 with its zone."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def _when(seconds: float | None) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds or 0))
