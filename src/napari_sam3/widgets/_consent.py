"""Asks whether to pay, in the window's thread, while the worker waits for the word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_sam3.jobs.estimate import Estimate
from napari_sam3.widgets._hosted import ask, upload_was_agreed

LOOK_AGAIN_S = 0.05


@dataclass(eq=False, slots=True)
class _Asked:
    expected: Estimate
    stop: threading.Event
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

    def confirm(self, stop: threading.Event) -> Callable[[Estimate], bool]:
        """Return what a workflow calls in its thread; it returns at once when stopped."""

        def confirm(expected: Estimate) -> bool:
            asked = _Asked(expected, stop)
            self._asked.emit(asked)
            while not asked.done.wait(LOOK_AGAIN_S):
                if stop.is_set():
                    return False
            return asked.agreed and not stop.is_set()

        return confirm

    def _on_asked(self, asked: _Asked) -> None:
        try:
            asked.agreed = not asked.stop.is_set() and self._is_agreed(asked.expected)
        finally:
            asked.done.set()

    def _is_agreed(self, expected: Estimate) -> bool:
        if not upload_was_agreed(self._widget):
            return False
        return not expected.needs_consent or price_is_agreed(self._widget, expected)


def price_is_agreed(parent: QWidget, expected: Estimate) -> bool:
    """Show what a run would cost, and ask whether to go on."""
    words = [f"{expected.words}.", *expected.warnings]
    return ask(parent, "This run costs money", "\n\n".join(words))
