"""Asks whether to pay, in the window's thread, while the worker waits for the word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_sam3.engines import EngineInfo
from napari_sam3.errors import AuthenticationError
from napari_sam3.jobs.estimate import Estimate
from napari_sam3.widgets._hosted import ask, upload_was_agreed

LOOK_AGAIN_S = 0.05


@dataclass(eq=False, slots=True)
class _Asked:
    expected: Estimate
    stop: threading.Event
    address: str
    done: threading.Event = field(default_factory=threading.Event)
    agreed: bool = False


class ConsentDesk(QObject):
    """Carries the question whether to go on from a worker to the user and back.

    Parameters
    ----------
    parent : QWidget
        Dialogs appear above it.
    """

    _asked = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self._asked.connect(self._on_asked)

    def confirm(
        self, stop: threading.Event, engine: EngineInfo, address: str = ""
    ) -> Callable[[Estimate], bool]:
        """Return what a workflow calls in its thread; it returns at once when stopped.

        Parameters
        ----------
        stop : threading.Event
        engine : EngineInfo
            Who would be paid; what it lacks is said before anybody is asked.
        address : str
            Where the questions would go.
        """

        def confirm(expected: Estimate) -> bool:
            if engine.lacks is not None and (missing := engine.lacks()):
                raise AuthenticationError(f"{engine.title} {missing}.")
            asked = _Asked(expected, stop, address)
            self._asked.emit(asked)
            while not asked.done.wait(LOOK_AGAIN_S):
                if stop.is_set():
                    return False
            return asked.agreed and not stop.is_set()

        return confirm

    def _on_asked(self, asked: _Asked) -> None:
        try:
            asked.agreed = not asked.stop.is_set() and self._is_agreed(asked)
        finally:
            asked.done.set()

    def _is_agreed(self, asked: _Asked) -> bool:
        if not upload_was_agreed(self._widget):
            return False
        expected = asked.expected
        return not expected.needs_consent or price_is_agreed(self._widget, expected, asked.address)


def price_is_agreed(parent: QWidget, expected: Estimate, address: str = "") -> bool:
    """Show what a run would cost, and ask whether to go on."""
    goes = f"To {address}.  " if address else ""
    words = [f"{expected.words}.", f"{goes}${expected.today:.3f} spent today so far."]
    words += expected.warnings
    return ask(parent, "This run costs money", "\n\n".join(words))
