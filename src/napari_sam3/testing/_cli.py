"""The stand-in as a program of its own: ``napari-sam3 standin``."""

from __future__ import annotations

import threading

import typer

from napari_sam3.errors import EngineUnavailableError
from napari_sam3.testing._behaviour import Behaviour
from napari_sam3.testing._ledger import Recorded
from napari_sam3.testing._model import VOCABULARY
from napari_sam3.testing.segmind_server import SegmindServer

_LOOK_AGAIN_S = 0.2


def run_standin(
    port: int,
    latency_s: float,
    credits: float,  # noqa: A002 - the service's word
    *,
    stop: threading.Event | None = None,
) -> None:
    """Serve until Ctrl-C, and say what is asked and what it cost.

    Parameters
    ----------
    port : int
        Of the api; 0 for any that is free.
    latency_s : float
        How long the model runs.
    credits : float
        On the account.
    stop : threading.Event, optional
        Ends it as well.

    Raises
    ------
    EngineUnavailableError
        If the port is taken.
    """
    stop = stop or threading.Event()
    server = SegmindServer(Behaviour(latency_s=latency_s), credits=credits, port=port)
    try:
        server.start()
    except OSError as error:
        raise EngineUnavailableError(
            f"Port {port} cannot be used ({error.strerror}); choose another one with --port."
        ) from error
    with server:
        typer.echo(_how_to_use(server))
        told = 0
        try:
            while not stop.wait(_LOOK_AGAIN_S):
                told = _tell(server, told)
        except KeyboardInterrupt:
            typer.echo("")
        _tell(server, told)
        ledger = server.ledger
        typer.echo(
            f"Stopped after {ledger.billed} paid answers; {ledger.balance:.3f} credits are left."
        )


def _how_to_use(server: SegmindServer) -> str:
    return (
        f"A stand-in for the hosted service answers at {server.url}; nothing leaves this "
        "computer, and its credits are play money.\n\n"
        f"  SEGMIND_API_KEY={server.key} napari-sam3 segment IMAGE --text nucleus \\\n"
        f"      --engine segmind --url {server.url} --output labels.tif\n\n"
        f"It knows these words, also after bright or dark: {', '.join(sorted(VOCABULARY))}.\n"
        "Ctrl-C ends it.\n"
    )


def _tell(server: SegmindServer, told: int) -> int:
    """Print the requests that were answered since; return how many are told now."""
    ledger = server.ledger
    for request in ledger.requests[told:]:
        if request.status is None:
            break
        typer.echo(f"{_line(request)}   {ledger.balance:.3f} credits")
        told += 1
    return told


def _line(request: Recorded) -> str:
    sent = f" {request.image_shape[0]} × {request.image_shape[1]}" if request.image_shape else ""
    return f"{request.status} {request.method} {request.path}{sent}"
