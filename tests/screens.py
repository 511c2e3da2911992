"""A virtual screen for each process that runs tests: windows on a shared one steal the focus."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess

SIZE = "1600x1000x24"


def provide_own_screen() -> None:
    """Give this process a screen of its own, if it is one of several and there is Xvfb."""
    xvfb = shutil.which("Xvfb")
    if "PYTEST_XDIST_WORKER" not in os.environ or xvfb is None:
        return
    reading, writing = os.pipe()
    command = [xvfb, "-displayfd", str(writing), "-screen", "0", SIZE, "-nolisten", "tcp"]
    server = subprocess.Popen(
        command, pass_fds=[writing], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writing)
    atexit.register(server.terminate)
    with os.fdopen(reading) as pipe:
        # it says its number once it takes connections
        number = pipe.readline().strip()
    if not number:
        raise RuntimeError("Xvfb gave no screen.")
    os.environ["DISPLAY"] = f":{number}"
    os.environ.pop("XAUTHORITY", None)
