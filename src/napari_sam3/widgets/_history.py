"""The session's runs: what they found and cost; their prompts again; answers left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from magicgui.widgets import CheckBox, PushButton
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_sam3.core.labels import OverlapRule
from napari_sam3.core.progress import Progress
from napari_sam3.core.prompts import Prompt, describe
from napari_sam3.engines import engine_info
from napari_sam3.engines.base import Question, Usage, question_of
from napari_sam3.errors import LedgerError
from napari_sam3.jobs.accounts import SESSION
from napari_sam3.jobs.collecting import Collected, iter_collect
from napari_sam3.jobs.records import Records, open_records
from napari_sam3.layers.planes import Plane
from napari_sam3.settings import CACHE_USED, read_settings, write_setting
from napari_sam3.widgets._committing import RunContext
from napari_sam3.widgets._form import side_by_side, wrapped_text
from napari_sam3.widgets._plain_text import plain_tooltip
from napari_sam3.widgets._worker import Job, Runner, Workflow
from napari_sam3.workflows.answer import SegmentAnswer

COLUMNS = ("Time", "Request", "Found", "Cost")
ROWS_SHOWN = 7
MOST_ROWS = 1000
CONTEXT = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """One run of this session.

    Neither pixels nor masks: a session may have thousands of runs.

    Parameters
    ----------
    engine : str
        Its name.
    options : object
        How it was called.
    prompts : tuple of prompt
        In pixels of `plane`.
    min_score, max_masks
        As in `napari_sam3.workflows.run.SegmentRun`.
    image_id : hashable
        Tells the image's layer from all others.
    plane : Plane
        That was segmented.
    keys : tuple
        What each prompt's object is known by.
    rule : {"score", "smallest", "first"}
        Which object shows where several overlap.
    objects : int
        How many were found.
    usage : Usage
    at : datetime
        When it ended, by the local clock.
    """

    engine: str
    options: Any
    prompts: tuple[Prompt, ...]
    min_score: float
    max_masks: int
    image_id: Hashable
    plane: Plane
    keys: tuple[Hashable, ...]
    rule: OverlapRule
    objects: int
    usage: Usage
    at: datetime

    @classmethod
    def of(cls, context: RunContext, answer: SegmentAnswer) -> Past:
        """Keep of a run that has just ended what the list needs."""
        run = context.run
        return cls(
            context.engine,
            context.options,
            run.prompts,
            run.min_score,
            run.max_masks,
            context.image_id,
            context.place.plane,
            context.keys,
            context.rule,
            len(answer.instances),
            answer.usage,
            datetime.now(),
        )

    @property
    def question(self) -> Question:
        """Which of the three questions it asked."""
        return question_of(self.prompts[0])

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says."""
        time = self.at.strftime("%H:%M:%S")
        return time, f"{self._asked} · {self.engine}", str(self.objects), self._cost

    @property
    def _asked(self) -> str:
        count = len(self.prompts)
        is_all_like = count == 1 or self.question == "concept"
        return ", ".join(map(describe, self.prompts)) if is_all_like else f"{count} objects"

    @property
    def _cost(self) -> str:
        if self.usage.cached:
            return "cache"
        cost = self.usage.credits
        if cost is not None:
            return f"${cost:.4f}"
        return "unknown" if engine_info(self.engine).capabilities.billed else "free"


@dataclass(frozen=True, slots=True)
class Balance:
    """What the ledger says.

    Parameters
    ----------
    today, session : float
        US dollars.
    unfinished : int
        Paid questions whose answers can be collected.
    notices : tuple of str
    """

    today: float
    session: float
    unfinished: int
    notices: tuple[str, ...] = ()


class HistoryPart(QWidget):
    """The runs of this session, newest first, and what they cost.

    Signals
    -------
    restored(Past)
        The prompts and settings of a run are wanted back.
    collected(tuple of Collected)
        Answers that were paid for have come.
    """

    restored = Signal(object)
    collected = Signal(object)
    counted = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.table = QTableWidget(0, len(COLUMNS))
        self.restore = PushButton(
            text="Restore",
            enabled=False,
            tooltip="Bring the selected run's prompts and settings back, in layers of their own.",
        )
        self.collect = PushButton(
            text="Collect",
            enabled=False,
            tooltip="Fetch results that were paid for and never arrived; free.",
        )
        self.use_cache = CheckBox(
            text="Use stored results",
            value=read_settings().cache_used,
            tooltip="Repeated requests are answered from this computer: free and at once.",
        )
        self.costs = wrapped_text()
        self._runner = Runner(self, self.costs.setText)
        self._lay_out()
        self._connect()

    @property
    def is_busy(self) -> bool:
        """Whether the ledger or an engine is being asked."""
        return self._runner.is_busy

    def records(self) -> Records:
        """Return the stored answers and the ledger, as the switch says; opens no file."""
        return open_records(use_cache=bool(self.use_cache.value))

    def add(self, past: Past) -> None:
        """List a run, on top."""
        self.table.insertRow(0)
        for column, words in enumerate(past.cells):
            cell = QTableWidgetItem(words)
            cell.setToolTip(plain_tooltip(words))
            if column == 0:
                cell.setData(CONTEXT, past)
            self.table.setItem(0, column, cell)
        self.table.setRowCount(min(self.table.rowCount(), MOST_ROWS))

    def selected(self) -> Past | None:
        """Return the run that is selected."""
        rows = self.table.selectionModel().selectedRows()
        return self.table.item(rows[0].row(), 0).data(CONTEXT) if rows else None

    def refresh(self) -> None:
        """Look into the ledger, in a thread."""
        self._start(_count(self.records()), self._on_counted)

    def collect_now(self) -> None:
        """Fetch what was paid for and never arrived."""
        # whatever the switch says: what was paid for is not fetched to be lost again
        records = open_records(use_cache=True)
        # billed, in that its answer is delivered whatever is pressed meanwhile
        if self._runner.start(Job(_collect(records), billed=True, done=self._on_collected)):
            self.collect.enabled = False
            self.costs.setText("collecting …")

    def close_down(self) -> None:
        """Stop waiting."""
        self._runner.cancel()

    def _start(self, workflow: Workflow, use: Callable[[Any], object]) -> None:
        self._runner.start(Job(workflow, lane=use, done=use))

    def _on_counted(self, found: Balance) -> None:
        self.collect.enabled = bool(found.unfinished)
        self.collect.text = f"Collect {found.unfinished}" if found.unfinished else "Collect"
        spent = f"Today ${found.today:.4f}, this session ${found.session:.4f}."
        self.costs.setText("\n".join([spent, *found.notices]))
        self.counted.emit(found)

    def _on_collected(self, done: tuple[Collected, ...]) -> None:
        self.collected.emit(done)
        self.refresh()

    def _on_cache(self, used: bool) -> None:
        write_setting(CACHE_USED, bool(used))

    def _on_restore(self) -> None:
        past = self.selected()
        if past is not None:
            self.restored.emit(past)

    def _on_selected(self) -> None:
        self.restore.enabled = self.selected() is not None

    def _connect(self) -> None:
        self.restore.changed.connect(self._on_restore)
        self.collect.changed.connect(self.collect_now)
        self.use_cache.changed.connect(self._on_cache)
        self.table.itemSelectionChanged.connect(self._on_selected)
        self.table.itemDoubleClicked.connect(lambda _item: self._on_restore())

    def _lay_out(self) -> None:
        table = self.table
        table.setHorizontalHeaderLabels(COLUMNS)
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setShowGrid(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        table.setFixedHeight(header.sizeHint().height() * (ROWS_SHOWN + 1))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(table)
        column.addWidget(side_by_side(self.restore, self.collect))
        column.addWidget(self.costs)
        column.addWidget(self.use_cache.native)


def _count(records: Records) -> Workflow:
    def workflow(_stop: threading.Event) -> Generator[Progress, None, Balance]:
        yield Progress(0, 0, "reading costs")
        if not records.ledger.path.exists():
            # nothing was ever paid for; no file is made for a look
            return Balance(0.0, 0.0, 0)
        try:
            records.ledger.forget_planned()
            return Balance(
                records.ledger.today(),
                records.ledger.spent(session=SESSION),
                len(records.accounts().unfinished()),
                records.ledger.notices,
            )
        except LedgerError as error:
            # no reason to disturb who pays for nothing; who does is told before it is sent
            return Balance(0.0, 0.0, 0, (str(error),))

    return workflow


def _collect(records: Records) -> Workflow:
    def workflow(
        stop: threading.Event,
    ) -> Generator[Progress, None, tuple[Collected, ...]]:
        steps = iter_collect(records, stop)
        while True:
            try:
                entry = next(steps)
            except StopIteration as end:
                done: tuple[Collected, ...] = end.value
                return done
            yield Progress(0, 0, f"collecting “{entry.question}”")

    return workflow
