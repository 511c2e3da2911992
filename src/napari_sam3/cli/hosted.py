"""The hosted service on the command line: options, consent, stand-in, probe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from napari_sam3.errors import AuthenticationError, EngineError, PromptError, Sam3Error

if TYPE_CHECKING:
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.workflows.segment import SegmentAnswer


class HostedOptions(NamedTuple):
    """What is typed about the hosted service."""

    url: str | None
    api: str
    separate_masks: bool
    overlay: bool
    image_format: str
    max_side: int


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End with exit code 1 and one sentence where the user is told of an error."""
    try:
        yield
    except Sam3Error as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def hosted_options(typed: HostedOptions) -> SegmindOptions:
    """Make the engine's options, or end with a usage error."""
    from napari_sam3.engines.segmind.options import SegmindOptions, set_url

    if typed.separate_masks and typed.overlay:
        raise typer.BadParameter("give either --separate-masks or --overlay.")
    answer = "overlay" if typed.overlay else "separate masks" if typed.separate_masks else "mask"
    try:
        return SegmindOptions(
            url=typed.url or set_url(),
            api=cast(Any, typed.api),
            answer=cast(Any, answer),
            image_format=cast(Any, typed.image_format),
            max_side=typed.max_side,
        )
    except PromptError as error:
        raise typer.BadParameter(str(error)) from error


def tell_address(url: str) -> None:
    """Say where the request goes if that is not the service's own address."""
    from napari_sam3.engines.segmind.options import DEFAULT_URL

    if url != DEFAULT_URL:
        typer.echo(f"Sent to {url}.", err=True)


def require_key() -> None:
    """Refuse before anything else is said if there is no key."""
    from napari_sam3.engines import engine_info

    lacks = engine_info("segmind").lacks
    if lacks is not None and (missing := lacks()):
        raise AuthenticationError(
            f"The Segmind engine {without_panel(missing)}. The built-in engine needs none."
        )


def without_panel(missing: str) -> str:
    """Return what an engine lacks, without the advice that is for the window."""
    return missing.replace(", or enter it in the panel", "")


def agree_to_upload() -> None:
    """Say what leaves this computer; ask once where somebody can answer."""
    from napari_sam3.engines.segmind.options import UPLOAD_NOTICE
    from napari_sam3.settings import (
        UPLOAD_NOTICE_PRINTED,
        UPLOAD_NOTICE_SEEN,
        read_settings,
        write_setting,
    )

    seen = read_settings()
    if seen.segmind_upload_notice_seen or seen.segmind_upload_notice_printed:
        return
    typer.echo(UPLOAD_NOTICE, err=True)
    if not is_terminal():
        # nobody is there to answer; the window will still ask
        write_setting(UPLOAD_NOTICE_PRINTED, True)
        return
    if not typer.confirm("Send it?", err=True):
        raise EngineError("Nothing was sent.")
    write_setting(UPLOAD_NOTICE_SEEN, True)


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def save_pictures(target: Path, answer: SegmentAnswer) -> Path:
    """Save the picture that the service drew."""
    from napari_sam3.workflows.files import save_picture

    pictures = [picture for result in answer.results for picture in result.pictures]
    if not pictures:
        raise EngineError("The service sent no picture; ask for masks instead.")
    for number, picture in enumerate(pictures, start=1):
        # one for each question, and each was paid for
        numbered = target.with_stem(f"{target.stem}_{number}") if number > 1 else target
        save_picture(numbered, picture)
    return target


def standin(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="0 takes any free port.")
    ] = 8765,
    latency: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time for each result.")
    ] = 2.0,
    credits: Annotated[  # noqa: A002 - the service's word
        float, typer.Option(min=0, metavar="USD", help="Balance of the account.")
    ] = 5.0,
) -> None:
    """Run a free stand-in for the hosted service, to try it."""
    from napari_sam3.testing._cli import run_standin

    with errors_as_sentences():
        run_standin(port, latency, credits)


def probe_segmind(
    url: Annotated[str | None, typer.Option(metavar="URL", help="Address of the service.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the price without asking.")] = False,
) -> None:
    """Check the hosted service with a few paid calls.

    Sends a test picture and nothing of yours; the report holds no key.
    """
    from napari_sam3.engines.segmind.key import find_key
    from napari_sam3.engines.segmind.options import SegmindOptions, set_url
    from napari_sam3.engines.segmind.probe import iter_probe, probe_price

    with errors_as_sentences():
        found = find_key()
        if found is None:
            raise EngineError("The probe needs an API key: set SEGMIND_API_KEY.")
        options = SegmindOptions(url=url or set_url())
        typer.echo(f"This makes {probe_price()}, with the key from {found[1]}.", err=True)
        if not yes and not (is_terminal() and typer.confirm("Go on?", err=True)):
            raise EngineError("Nothing was sent; accept the price with --yes.")
        for line in iter_probe(options, found[0]):
            typer.echo(line)
