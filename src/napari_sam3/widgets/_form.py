"""The panel's controls: what they are called, what they allow, what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from magicgui.widgets import (
    CheckBox,
    ComboBox,
    FloatSlider,
    FloatSpinBox,
    ProgressBar,
    PushButton,
    RadioButtons,
    Slider,
    Widget,
)
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_sam3 import engines
from napari_sam3.core.prompts import Proposal
from napari_sam3.engines.base import Question, Setting
from napari_sam3.widgets._concepts import ConceptField
from napari_sam3.widgets._dock import line, scroll
from napari_sam3.widgets._plain_text import plain_label, plain_tooltip

QUESTIONS: tuple[tuple[str, Question], ...] = (
    ("Find all", "concept"),
    ("One object", "object"),
    ("Everything", "everything"),
)
OVERLAP_CHOICES = (
    ("highest score on top", "score"),
    ("smallest on top", "smallest"),
    ("first found on top", "first"),
)
PROPOSAL_CHOICES: tuple[tuple[str, Proposal], ...] = (
    ("likeliest", ""),
    ("small", "small"),
    ("medium", "medium"),
    ("large", "large"),
)
SETTING_TITLES = (
    "Minimum score",
    "Points per side",
    "Predicted IoU",
    "Maximum objects",
    "Diameter",
)
MOST_DIAMETER = 10_000.0

PANEL_WIDTH = 340


class Control(Protocol):
    """What a control must have to be laid out, and to say why it cannot be used."""

    enabled: bool
    tooltip: str | None

    @property
    def native(self) -> Any:
        """The Qt widget."""
        ...


class Form(QWidget):
    """The controls, laid out; it knows nothing of what they do.

    Parameters
    ----------
    images, points, shapes, outputs : callable
        Give the choices of the layer combos.
    parent : QWidget, optional
    """

    def __init__(
        self,
        images: Callable[..., Iterable[Any]],
        points: Callable[..., Iterable[Any]],
        shapes: Callable[..., Iterable[Any]],
        outputs: Callable[..., Iterable[Any]],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.image = ComboBox(choices=images, nullable=False, tooltip="The image to segment.")
        self.composed = CheckBox(
            text="with all other visible images",
            tooltip="Send all visible image layers blended together as you see them, "
            "instead of this one alone. The pixels are those of the chosen image.",
        )
        self.engine = ComboBox(
            choices=[(info.title, info.name) for info in engines.ENGINES],
            tooltip="The engine that segments. What it needs and cannot do is shown below.",
        )
        self.status = wrapped_text()
        self.question = RadioButtons(
            choices=list(QUESTIONS),
            orientation="horizontal",
            tooltip="Find all: every instance of a named thing or of an example.\n"
            "One object: the one that you click on or box.\n"
            "Everything: all objects, without a prompt.",
        )
        self.tools = PromptButtons()
        self._add_middle(points, shapes)
        self._add_thresholds()
        self._add_run()
        self.output = ComboBox(
            choices=outputs,
            tooltip="The Labels layer to add objects to. Existing labels are never overwritten.",
        )
        self.rule = ComboBox(
            choices=list(OVERLAP_CHOICES), tooltip="Which object shows where several overlap."
        )
        self._lay_out()

    def _add_middle(
        self, points: Callable[..., Iterable[Any]], shapes: Callable[..., Iterable[Any]]
    ) -> None:
        self.text = ConceptField(
            "what to find, e.g. nucleus",
            tooltip="What to find, in one or two words, such as “nucleus”. Enter runs.\n"
            "Several things, one a line (Shift+Enter), are found in one run, a class each.",
        )
        self.words = wrapped_text()
        self.combine = CheckBox(
            text="Combine prompts",
            tooltip="Send text, examples and points in one request. SAM3 was not made for that: "
            "it may ignore one of them.",
        )
        self.examples = ComboBox(
            choices=shapes,
            nullable=True,
            tooltip="A Shapes layer with boxes around examples; + is like this, − is not.",
        )
        self.points = ComboBox(
            choices=points,
            nullable=True,
            tooltip="A Points layer with clicks; + is on the object, − is beside it.",
        )
        self.boxes = ComboBox(
            choices=shapes,
            nullable=True,
            tooltip="A Shapes layer; each box or outline is around one object; scribbles are on "
            "it (+) or beside it (−).",
        )
        self.one_per_point = CheckBox(
            text="One object per point",
            tooltip="Each + point is an object of its own; − points go with all of them.",
        )
        self.live = CheckBox(
            text="Live", value=True, tooltip="Segment after each click or moved box."
        )
        self.proposal = ComboBox(
            choices=list(PROPOSAL_CHOICES),
            tooltip="A click may mean a part, an object, or a group: which of them the current "
            "object is (key Q).",
        )
        self.next_object = PushButton(
            text="Next object", tooltip="What you draw next belongs to another object (key N)."
        )
        self.everything_hint = wrapped_text(
            "All objects in the image, without a prompt. Press Run."
        )

    def _add_thresholds(self) -> None:
        self.min_score = FloatSlider(value=0.5, min=0.1, max=1, step=0.01)
        self.points_per_side = Slider(value=32, min=0, max=128)
        self.pred_iou_thresh = FloatSlider(value=0.88, min=0.5, max=1, step=0.01)
        self.max_masks = Slider(value=0, min=0, max=100)
        self.diameter = FloatSpinBox(value=0, min=0, max=MOST_DIAMETER, step=1)
        self.diameter.native.setDecimals(1)
        self.diameter.native.setSuffix(" px")
        self.diameter.native.setSpecialValueText("automatic")

    def _add_run(self) -> None:
        self.run = PushButton(text="Run", tooltip="Segment (Enter).")
        self.cancel = PushButton(text="Cancel", tooltip="Stop (Escape).", enabled=False)
        self.progress = ProgressBar(value=0, min=0, max=1)
        self.progress.native.setTextVisible(False)
        self.progress.native.setMaximumHeight(8)
        self.unfinished = wrapped_text()
        self.collect = PushButton(
            text="Collect", tooltip="Fetch results that were already paid for; free."
        )
        self.price = wrapped_text()
        self.price.hide()
        self.result = wrapped_text()
        self.result.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.result.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.auto_contrast = PushButton(
            text="Auto contrast",
            tooltip="Set the image's contrast limits so that nearly all of its values show.",
            visible=False,
        )
        self.keys = wrapped_text()

    @property
    def settings(self) -> dict[Setting, Widget]:
        """The thresholds' controls by name."""
        return {
            "min_score": self.min_score,
            "points_per_side": self.points_per_side,
            "pred_iou_thresh": self.pred_iou_thresh,
            "max_masks": self.max_masks,
            "diameter": self.diameter,
        }

    def add_service(self, part: QWidget) -> None:
        """Put what an engine needs beside a prompt under its status line."""
        self._service.addWidget(part)

    def add_history(self, part: QWidget) -> None:
        """Put the list of runs under a title of its own."""
        self.history.addWidget(part)

    def add_copying(self, part: QWidget) -> None:
        """Put what copies prompts under a title of its own."""
        self.copying.addWidget(part)

    def add_saving(self, *buttons: Widget) -> None:
        """Put the buttons for what comes next under what a run found."""
        self._saving.addWidget(side_by_side(*buttons))

    def show_unfinished(self, count: int) -> None:
        """Offer to collect answers that were paid for and never arrived."""
        noun = "result was" if count == 1 else "results were"
        self.unfinished.setText(f"{count} paid {noun} never fetched." if count else "")
        self._offer.setVisible(bool(count))

    def show_price(self, words: str) -> None:
        """Say what Run will cost; nothing where it is free or a single call."""
        self.price.setText(words)
        self.price.setVisible(bool(words))

    def show_words(self, words: Sequence[str]) -> None:
        """Say which words an engine knows, where it does not understand language."""
        self.words.setText(f"Knows only these words: {', '.join(words)}." if words else "")
        self.words.setVisible(bool(words))

    def show_result(self, words: str, *, steady: bool = False, contrast: bool = False) -> None:
        """Say what became of a question.

        Parameters
        ----------
        words : str
        steady : bool
            Whether to keep the room of what was said before, so that nothing below jumps
            while answer follows answer.
        contrast : bool
            Whether another contrast would show more, and is offered.
        """
        self.auto_contrast.visible = contrast
        label = self.result
        label.setText(words)
        room = max(label.minimumHeight(), label.heightForWidth(label.width())) if steady else 0
        label.setMinimumHeight(room)

    def show_question(self, question: Question) -> None:
        """Show the middle part that belongs to a question."""
        for name, rows in self._middles.items():
            rows.setVisible(name == question)
        self.copying.setVisible(question != "everything")

    def _lay_out(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(6)
        column.addWidget(
            rows_of(("Image", self.image), ("", self.composed), ("Engine", self.engine))
        )
        column.addWidget(self.status)
        self._service = QVBoxLayout()
        column.addLayout(self._service)
        self._offer = _offer(self.unfinished, self.collect)
        self._offer.hide()
        column.addWidget(self._offer)
        column.addWidget(line())
        column.addWidget(self.question.native)
        column.addWidget(self.tools)
        self._middles: dict[Question, QWidget] = {
            "concept": rows_of(
                ("Text", self.text),
                ("", self.words),
                ("Examples", self.examples),
                ("", self.combine),
            ),
            "object": rows_of(
                ("Points", self.points),
                ("Boxes", self.boxes),
                ("Size", side_by_side(self.proposal, self.next_object)),
                ("", side_by_side(self.live, self.one_per_point)),
            ),
            "everything": self.everything_hint,
        }
        for middle in self._middles.values():
            column.addWidget(middle)
        self.copying = folded("Copy prompts")
        column.addWidget(self.copying)
        self.thresholds = folded_rows(
            "Thresholds", zip(SETTING_TITLES, self.settings.values(), strict=True)
        )
        column.addWidget(self.thresholds)
        column.addWidget(line())
        column.addWidget(side_by_side(self.run, self.cancel))
        column.addWidget(self.price)
        column.addWidget(self.progress.native)
        column.addWidget(self.result)
        column.addWidget(self.auto_contrast.native)
        self._saving = QVBoxLayout()
        column.addLayout(self._saving)
        self.outputs = folded_rows(
            "Output and overlaps", (("Add to", self.output), ("Overlaps", self.rule))
        )
        column.addWidget(self.outputs)
        self.history = folded("History")
        column.addWidget(self.history)
        column.addWidget(self.keys)
        column.addStretch(1)
        scroll(self, inside, PANEL_WIDTH)


class PromptButtons(QWidget):
    """The drawing tools, + over −, and how much is drawn."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.point = PushButton(text="+ point", tooltip="Click on the object.")
        self.negative_point = PushButton(
            text="− point", tooltip="Click on what does not belong to the object."
        )
        self.scribble = PushButton(
            text="+ scribble", tooltip="Drag a line over the object; it counts as clicks along it."
        )
        self.negative_scribble = PushButton(
            text="− scribble", tooltip="Drag a line over what does not belong to the object."
        )
        self.box = PushButton(
            text="+ box", tooltip="Drag a box around the object, or around an example."
        )
        self.negative_box = PushButton(
            text="− box", tooltip="Drag a box around an example of what not to find."
        )
        self.outline = PushButton(
            text="+ outline", tooltip="Drag around the object, roughly; it closes by itself."
        )
        self.count = plain_label()
        self.count.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._lay_out()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for i, button in enumerate(self.all):
            button.native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            # the theme's padding would push four buttons beyond the dock's width
            button.native.setStyleSheet("padding: 4px 2px;")
            grid.addWidget(button.native, i // 4, i % 4)
        # an outline has no negative one
        grid.addWidget(self.count, 1, 3)
        for column in range(4):
            grid.setColumnStretch(column, 1)

    @property
    def all(self) -> tuple[PushButton, ...]:
        """The buttons from left to right, + and then −."""
        positive = (self.point, self.scribble, self.box, self.outline)
        return *positive, self.negative_point, self.negative_scribble, self.negative_box


def say_why(widget: Control, enabled: bool, reason: str = "") -> None:
    """Enable a control, or disable it with a tooltip that says why."""
    usual = widget.native.property("usual_tooltip")
    if usual is None:
        usual = widget.tooltip or ""
        widget.native.setProperty("usual_tooltip", usual)
    widget.enabled = enabled
    widget.tooltip = usual if enabled else plain_tooltip(reason)
    form = widget.native.parentWidget().layout() if widget.native.parentWidget() else None
    label = form.labelForField(widget.native) if isinstance(form, QFormLayout) else None
    if label is not None:
        label.setEnabled(enabled)
        label.setToolTip(widget.tooltip)


def wrapped_text(words: str = "") -> QLabel:
    """Return a text that wraps, however narrow the panel is."""
    label = plain_label(words)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def _native(widget: Control | QWidget) -> QWidget:
    native: QWidget = widget if isinstance(widget, QWidget) else widget.native
    return native


def rows_of(*rows: tuple[str, Control | QWidget]) -> QWidget:
    """Put controls below each other, with their names before them."""
    holder = QWidget()
    form = QFormLayout(holder)
    form.setContentsMargins(0, 0, 0, 0)
    form.setSpacing(5)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    for name, widget in rows:
        native = _native(widget)
        if isinstance(widget, ComboBox):
            # a long layer name must not widen the dock
            native.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        if isinstance(widget, QLabel):
            # a text beside nothing would only be narrower
            form.addRow(native)
        else:
            form.addRow(name, native)
    return holder


def _offer(words: QLabel, button: Widget) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(words, stretch=1)
    row.addWidget(button.native)
    return holder


def side_by_side(*widgets: Widget) -> QWidget:
    """Put controls in one row."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget.native)
    return holder


def folded_rows(title: str, rows: Iterable[tuple[str, Widget]]) -> QCollapsible:
    """Put rows of controls under a title that opens and closes."""
    section = folded(title)
    section.addWidget(rows_of(*rows))
    return section


def folded(title: str) -> QCollapsible:
    """Make an empty section under a title that opens and closes."""
    section = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    section.layout().setContentsMargins(0, 0, 0, 0)
    return section
