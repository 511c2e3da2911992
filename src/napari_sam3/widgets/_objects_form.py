"""The controls of the objects panel: what they are called, what they allow, what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSlider,
    ProgressBar,
    PushButton,
    SpinBox,
)
from qtpy.QtCore import QByteArray, Qt, Signal
from qtpy.QtSvgWidgets import QSvgWidget
from qtpy.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_sam3.core.painting import PaintRule
from napari_sam3.core.viewing import View
from napari_sam3.engines import ENGINES
from napari_sam3.widgets._dock import line, scroll
from napari_sam3.widgets._form import (
    PANEL_WIDTH,
    folded_rows,
    rows_of,
    side_by_side,
    wrapped_text,
)
from napari_sam3.widgets._object_table import ObjectTable
from napari_sam3.widgets._plain_text import plain_label, plain_tooltip

RULES: tuple[tuple[str, PaintRule], ...] = (
    ("as they were added", ""),
    ("highest score on top", "score"),
    ("smallest on top", "smallest"),
    ("first label on top", "first"),
)
MOST_AREA = 100_000_000
TABLE_HEIGHT = 240
PLOT_SIZE = (304, 171)

Choices = Callable[..., Iterable[Any]]


class ViewControls(QWidget):
    """Filters and overlaps, live.

    Signals
    -------
    changed(View)
        Only when the user changed something.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rule = ComboBox(
            choices=list(RULES), tooltip="Which object shows where several overlap."
        )
        self.min_score = FloatSlider(
            value=0,
            min=0,
            max=1,
            step=0.01,
            tooltip="Hide objects that score less. Objects without a score stay.",
        )
        self.min_area = SpinBox(
            value=0, min=0, max=MOST_AREA, tooltip="Hide objects that have fewer pixels."
        )
        self.max_area = SpinBox(
            value=0, min=0, max=MOST_AREA, tooltip="Hide objects that have more pixels."
        )
        self.max_area.native.setSpecialValueText("no limit")
        self.without_border = CheckBox(
            text="Hide at the border",
            tooltip="Hide objects that are cut off by the image border.",
        )
        self.max_iom = FloatSlider(
            value=1,
            min=0,
            max=1,
            step=0.01,
            tooltip="Of two objects that share more than this part of the smaller one, show the "
            "better one only. 1 shows all; 0.5 removes duplicates and fragments.",
        )
        self.overlaps = PushButton(
            text="Show overlaps",
            tooltip="Add a layer that shows how many objects cover each pixel.",
        )
        self.classes = PushButton(
            text="Show classes", tooltip="Add a layer with one label and colour per concept."
        )
        self.reset = PushButton(text="Show all", tooltip="Clear all filters. Nothing is lost.")
        self.count = wrapped_text()
        self._lay_out()
        for control in self._controls:
            control.changed.connect(self._on_changed)
        self.reset.changed.connect(lambda: self._use(View(self.rule.value)))

    @property
    def _controls(self) -> tuple[Any, ...]:
        areas = (self.min_area, self.max_area)
        return (self.rule, self.min_score, *areas, self.without_border, self.max_iom)

    def value(self) -> View:
        """Return the view that is chosen."""
        return View(
            self.rule.value,
            float(self.min_score.value),
            int(self.min_area.value),
            int(self.max_area.value) or None,
            bool(self.without_border.value),
            float(self.max_iom.value),
        )

    def show_view(self, view: View) -> None:
        """Show a view; nothing is emitted."""
        values = (
            view.rule,
            view.min_score,
            min(view.min_area, MOST_AREA),
            min(view.max_area or 0, MOST_AREA),
            view.without_border,
            view.max_iom,
        )
        for control, value in zip(self._controls, values, strict=True):
            with control.changed.blocked():
                control.value = value

    def show_count(self, words: str) -> None:
        """Say how many objects are shown."""
        self.count.setText(words)
        self.count.setVisible(bool(words))

    def _use(self, view: View) -> None:
        self.show_view(view)
        self._on_changed()

    def _on_changed(self) -> None:
        self.changed.emit(self.value())

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        rows = (
            ("Overlaps", self.rule),
            ("Minimum score", self.min_score),
            ("Minimum area", self.min_area),
            ("Maximum area", self.max_area),
            ("", self.without_border),
            ("Maximum overlap", self.max_iom),
        )
        self.folded = folded_rows("View and filters", rows)
        self.folded.addWidget(self.count)
        self.folded.addWidget(even_buttons(((self.overlaps, self.classes, self.reset),)))
        column.addWidget(self.folded)


class ObjectsForm(QWidget):
    """The controls, laid out; it knows nothing of what they do.

    Parameters
    ----------
    labels, images, truths : callable
        Give the choices of the layer combos.
    parent : QWidget, optional
    """

    def __init__(
        self, labels: Choices, images: Choices, truths: Choices, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.labels = ComboBox(
            choices=labels, nullable=False, tooltip="The objects of this Labels layer."
        )
        self.image = ComboBox(
            choices=images,
            nullable=False,
            tooltip="The image that they were found in, for refining, examples and intensities.",
        )
        self.table = ObjectTable()
        # the dock decides how wide it is, not the table's columns
        self.table.setMinimumSize(0, TABLE_HEIGHT)
        self.reviewed = wrapped_text()
        self.bar = ProgressBar(value=0, min=0, max=1)
        self.bar.native.setTextVisible(False)
        self.bar.native.setMaximumHeight(8)
        self._add_review()
        self.view = ViewControls()
        self._add_use(truths)
        self.result = wrapped_text()
        self.result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.result.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.keys = wrapped_text()
        self._lay_out()

    def _add_review(self) -> None:
        self.accept = PushButton(
            text="Accept", tooltip="Accept the selected objects and go on (G)."
        )
        self.reject = PushButton(
            text="Reject", tooltip="Reject the selected objects: they are hidden, and kept (H)."
        )
        self.previous = PushButton(
            text="◂ Previous", tooltip="Go back to the previous object (Shift+J)."
        )
        self.following = PushButton(text="Next ▸", tooltip="Go to the next doubtful object (J).")
        self.refine = PushButton(
            text="Refine",
            tooltip="Ask again for this object alone, on a crop around it; then click on the "
            "image, + or − (W). Press again to end (key K).",
        )
        self.undo = PushButton(text="Undo", enabled=False, tooltip="Undo the last step (U).")
        self.engine = ComboBox(
            choices=[(info.title, info.name) for info in ENGINES],
            tooltip="The engine that refines objects.",
        )
        self.ask = PushButton(text="Ask", tooltip="Send the clicks to a paid engine.")

    def _add_use(self, truths: Choices) -> None:
        self.positive = PushButton(
            text="+ examples", tooltip="Use as positive examples in Find all."
        )
        self.negative = PushButton(
            text="− examples", tooltip="Use as negative examples in Find all."
        )
        self.export = PushButton(
            text="Export …",
            tooltip="Labels (TIFF, OME-Zarr), objects (COCO, QuPath, ImageJ), or measurements "
            "(CSV). Ctrl+Shift+E.",
        )
        self.bring = PushButton(
            text="Import …", tooltip="Open objects from COCO, QuPath, ImageJ or a label image."
        )
        self.truth = ComboBox(
            choices=truths, nullable=True, tooltip="The Labels layer to compare with."
        )
        self.compare = PushButton(
            text="Compare",
            tooltip="Measure how well the objects agree with those of the other layer.",
        )
        self.plot = QSvgWidget()
        self.plot.setFixedSize(*PLOT_SIZE)
        self.plot.hide()
        self.scores = wrapped_text()
        self.scores.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def add_saving(self, button: PushButton) -> None:
        """Put the button that saves labels beside those for other files."""
        self._files.addWidget(even_buttons(((button, self.export, self.bring),)))

    def show_scores(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Show a table of names and values; what each means is its tooltip."""
        while self.numbers.rowCount():
            self.numbers.removeRow(0)
        for name, value, meaning in rows:
            label = plain_label(value)
            label.setToolTip(plain_tooltip(meaning))
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self.numbers.addRow(plain_label(name), label)

    def show_plot(self, svg: str) -> None:
        """Show a plot; nothing where the text is empty."""
        self.plot.setVisible(bool(svg))
        if svg:
            self.plot.load(QByteArray(svg.encode()))

    def show_reviewed(self, done: int, total: int, last_step: str = "") -> None:
        """Say how far the review is, and which step can be taken back."""
        words = f"{done} of {total} reviewed" if total else "No objects yet."
        self.reviewed.setText(f"{words} · undo takes back: {last_step}" if last_step else words)
        self.undo.enabled = bool(last_step)
        self.bar.max = max(total, 1)
        self.bar.value = done

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        column.addWidget(rows_of(("Labels", self.labels), ("Image", self.image)))
        column.addWidget(self.table, stretch=1)
        column.addWidget(self.reviewed)
        column.addWidget(self.bar.native)
        rows = ((self.accept, self.reject, self.refine), (self.previous, self.following, self.undo))
        column.addWidget(even_buttons(rows))
        column.addWidget(self.result)
        self._files = QVBoxLayout()
        column.addLayout(self._files)
        column.addWidget(line())
        column.addWidget(self.view)
        self.refining = folded_rows(
            "Refining", (("Ask", self.engine), ("", side_by_side(self.ask)))
        )
        column.addWidget(self.refining)
        self.use = folded_rows(
            "Use selected objects as examples", (("", side_by_side(self.positive, self.negative)),)
        )
        column.addWidget(self.use)
        self.comparing = folded_rows(
            "Compare with ground truth", (("Truth", self.truth), ("", side_by_side(self.compare)))
        )
        table = QWidget()
        self.numbers = QFormLayout(table)
        self.numbers.setContentsMargins(0, 0, 0, 0)
        self.numbers.setVerticalSpacing(1)
        self.comparing.addWidget(table)
        self.comparing.addWidget(self.scores)
        self.comparing.addWidget(self.plot)
        column.addWidget(self.comparing)
        column.addWidget(self.keys)
        scroll(self, inside, PANEL_WIDTH + 20)


def even_buttons(rows: Iterable[Iterable[PushButton]]) -> QWidget:
    """Put buttons in rows of equal width, whatever stands on them."""
    holder = QWidget()
    grid = QGridLayout(holder)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setSpacing(4)
    for row, buttons in enumerate(rows):
        for col, button in enumerate(buttons):
            button.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.native.setStyleSheet("padding: 4px 2px;")
            grid.addWidget(button.native, row, col)
            grid.setColumnStretch(col, 1)
    return holder
