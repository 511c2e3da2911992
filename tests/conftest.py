"""What holds for every test: no network, no settings of the person who runs them."""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .screens import provide_own_screen

provide_own_screen()

# napari and platformdirs read these when they are first imported, so they are set here
# and not in a fixture.  Plain `pytest` then means the same as ./scripts/test.
_HOME = Path(tempfile.mkdtemp(prefix="napari-sam3-tests-"))
_numbers = itertools.count()
os.environ |= {
    "NAPARI_CONFIG": str(_HOME / "settings.yaml"),
    "XDG_CONFIG_HOME": str(_HOME / "config"),
    "XDG_CACHE_HOME": str(_HOME / "cache"),
    "XDG_DATA_HOME": str(_HOME / "data"),
    "XDG_STATE_HOME": str(_HOME / "state"),
    # layers touched off the main thread, and windows left behind, are failures
    "NAPARI_ENSURE_PLUGIN_MAIN_THREAD": "1",
    "NAPARI_STRICT_QT": "raise",
    "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
}

from tests import tiers  # noqa: E402  (hypothesis asks for its folders when imported)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the long form of the tests."""
    parser.addoption(
        "--long", action="store_true", help="more examples, seeds and killed processes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the form that was asked for."""
    tiers.choose(long=config.getoption("--long"))


def pytest_unconfigure() -> None:
    """Take the folder of this run away."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_records(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings, stored answers and ledger of its own for each test."""
    folder = _HOME / "tests" / f"{next(_numbers)}"
    for variable in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"NAPARI_SAM3_{variable}", str(folder / variable.lower()))
    yield
    storing = sys.modules.get("napari_sam3.jobs.storing")
    if storing is not None:
        storing.STORING.finish()
    accounts = sys.modules.get("napari_sam3.jobs.accounts")
    if accounts is not None:
        accounts.close_ledgers()


def _is_local(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False  # a name that would have to be looked up


def _refuse_remote(address: object) -> None:
    # a string is the path of a Unix socket, which is how Qt talks to the X server
    if isinstance(address, tuple) and not _is_local(address[0]):
        # not an OSError: code under test handles those, and the test would pass
        raise RuntimeError(f"This test connects to {address[0]}; tests talk to this computer only.")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this computer can be reached: nothing a test does leaves it or costs money."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def guarded_connect(self, address):
        _refuse_remote(address)
        return connect(self, address)

    def guarded_connect_ex(self, address):
        _refuse_remote(address)
        return connect_ex(self, address)

    def guarded_look_up(host, *args, **kwargs):
        if host is not None:
            _refuse_remote((host,))
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
