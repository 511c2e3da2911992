"""The hosted service on the command line: options, consent, stand-in, probe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from napari_sam3.cli.options import Url, Yes
from napari_sam3.cli.parsing import as_usage_error
from napari_sam3.cli.telling import Voice, errors_as_sentences
from napari_sam3.errors import (
    AuthenticationError,
    ConsentError,
    EngineError,
    LedgerError,
    Sam3Error,
)

if TYPE_CHECKING:
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.jobs.accounts import Accounts
    from napari_sam3.jobs.estimate import Estimate
    from napari_sam3.jobs.records import Records
    from napari_sam3.workflows.answer import SegmentAnswer


def hosted_options(
    url: str | None, answer: str, image_format: str, max_side: int, api: str = "auto"
) -> SegmindOptions:
    """Make the engine's options, or end with a usage error."""
    from napari_sam3.engines.segmind.options import SegmindOptions, set_url

    with as_usage_error():
        return SegmindOptions(
            url=url or set_url(),
            api=cast(Any, api),
            answer=cast(Any, answer),
            image_format=cast(Any, image_format),
            max_side=max_side,
        )


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


def what_is_left(records: Records) -> str:
    """Return the sentence for whoever stopped a paid run: what may be billed, what is there."""
    from napari_sam3.jobs.accounts import SESSION

    try:
        count = len(records.accounts().unfinished())
        lost = len(records.ledger.entries(session=SESSION, state="unknown"))
    except LedgerError as error:
        return str(error)
    if lost:
        return f"{lost} {'call' if lost == 1 else 'calls'} may have been billed without a result."
    if count:
        noun = "result" if count == 1 else "results"
        return (
            f"{count} {noun} may still be computed and billed; get them within an hour, at no "
            "cost: napari-sam3 collect"
        )
    return "The results so far are in the cache; napari-sam3 costs lists what was paid."


@contextmanager
def paid_answers_kept(records: Records, answer: SegmentAnswer) -> Iterator[None]:
    """Say, where an output cannot be saved, how to get what was paid for."""
    try:
        yield
    except Sam3Error as error:
        keys = [result.record.key for result in answer.results if result.record is not None]
        is_paid = answer.usage.credits is not None
        if is_paid and all(records.can_have_again(key) for key in keys):
            words = "What was paid for is not lost: repeat the command, and it costs nothing again."
            error.args = (f"{error} {words}",)
        raise


def tell_unstored(say: Callable[[str], object]) -> None:
    """Store what waits to be stored, and say what could not be."""
    from napari_sam3.jobs.storing import STORING

    for problem in STORING.finish():
        say(problem)


def tell_unfinished(records: Records) -> None:
    """Say on stderr if paid answers wait to be collected."""
    try:
        records.ledger.forget_planned()
        count = len(records.accounts().unfinished())
    except LedgerError:
        # it is told where something would be sent
        return
    if count:
        noun = "result was" if count == 1 else "results were"
        typer.echo(
            f"{count} paid {noun} never fetched or saved; get them at no cost: napari-sam3 collect",
            err=True,
        )


def estimate_to_json(expected: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON values; the keys are always the same."""
    return {
        "requests": expected.questions,
        "from_cache": expected.cached,
        "paid_already": expected.paid,
        "calls": len(expected.calls),
        "low_usd": expected.low,
        "high_usd": expected.high,
        "seconds": expected.seconds,
        "warnings": list(expected.warnings),
    }


def confirmation(
    records: Records, url: str, *, yes: bool, pay_again: bool
) -> Callable[[Estimate], bool]:
    """Return what asks whether to go on, once it is known what a run costs.

    With ``yes`` the price is agreed to; with ``pay_again``, to pay for what may have been billed
    before.
    """

    def confirm(expected: Estimate) -> bool:
        require_key()
        tell_address(url)
        agree_to_upload()
        tell_unfinished(records)
        if len(expected.calls) > 1 or expected.needs_consent:
            typer.echo(f"{expected.words}.", err=True)
        Voice().notices(*expected.warnings)
        is_too_dear = expected.is_dear and not yes
        is_repeated = expected.may_repeat and not pay_again
        if not (is_too_dear or is_repeated):
            return True
        if not is_terminal():
            why = _unagreed(expected, price=is_too_dear, again=is_repeated)
            raise ConsentError(f"Nothing was sent: {why}")
        return typer.confirm("Send it?", err=True)

    return confirm


def _unagreed(expected: Estimate, *, price: bool, again: bool) -> str:
    """Say what nobody agreed to, and how to."""
    from napari_sam3.jobs.costs import dollars

    parts, flags = [], []
    if price:
        parts.append(f"this may cost more than {dollars(expected.confirm_above)}")
        flags.append("--yes")
    if again:
        parts.append("this may have been billed before")
        flags.append("--pay-again")
    if price and expected.over_cap:
        # to agree would be of no use
        return f"{' and '.join(parts)}, but a cap stops it before its end."
    return f"{' and '.join(parts)}; agree to it with {' '.join(flags)}."


def with_limits(records: Records, cap: float | None) -> Records:
    """Return the records with another cap for this run."""
    if cap is None:
        return records

    def capped(accounts: Accounts) -> Accounts:
        caps = replace(accounts.limits.caps, per_run=cap, raised_by="--cap USD")
        return replace(accounts, limits=replace(accounts.limits, caps=caps))

    return records.counted(capped)


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


def probe_segmind(url: Url = None, yes: Yes = False) -> None:
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
