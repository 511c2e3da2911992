"""What the hosted service needs beside a prompt: a key, consent, a price, options."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

from magicgui.widgets import ComboBox, FloatSpinBox, LineEdit, Password, PushButton, SpinBox
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap, QShowEvent
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_sam3.core.progress import Progress
from napari_sam3.engines.segmind.engine import SegmindEngine
from napari_sam3.engines.segmind.key import ApiKey, find_key, remember_key
from napari_sam3.engines.segmind.options import (
    UPLOAD_NOTICE,
    SegmindOptions,
    price_of,
    set_url,
)
from napari_sam3.engines.segmind.payload import Sent
from napari_sam3.errors import PromptError, Sam3Error
from napari_sam3.jobs.accounts import read_limits
from napari_sam3.settings import (
    CAP_PER_DAY,
    CAP_PER_RUN,
    CONFIRM_ABOVE,
    PROJECT,
    SEGMIND_URL,
    UPLOAD_NOTICE_SEEN,
    read_settings,
    write_setting,
)
from napari_sam3.widgets._form import folded_rows, side_by_side, wrapped_text
from napari_sam3.widgets._plain_text import plain_label
from napari_sam3.widgets._worker import Job, Runner, Workflow

MOST = 10_000.0
DECIMALS = 3
NO_CAP = -0.001


class HostedPart(QWidget):
    """The key, the balance, and how the service is called."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.spent = 0.0
        self.credits_left: float | None = None
        self.key = Password(tooltip="Your API key; it is kept out of layers, logs and settings.")
        self.key.native.setPlaceholderText("SG_…")
        self.use_key = PushButton(text="Use", tooltip="Use this key from now on.")
        self.test_key = PushButton(
            text="Test key", tooltip="Ask the service for your balance; costs nothing."
        )
        self.preview = PushButton(
            text="What will be sent", tooltip="Show the picture and the fields, without sending."
        )
        self.answer = ComboBox(
            choices=["mask", "separate masks", "overlay"],
            tooltip="One mask that is split into connected parts, one mask per object (its form "
            "is not documented by the service), or a picture with the objects marked.",
        )
        self.api = ComboBox(
            choices=["auto", "v2", "v1"],
            tooltip="v2 submits and polls, v1 waits; auto uses v1 where there is no v2.",
        )
        self.image_format = ComboBox(
            choices=["png", "jpeg"],
            tooltip="PNG is lossless; JPEG is smaller, for a slow connection.",
        )
        self.max_side = SpinBox(
            value=2048,
            min=64,
            max=8192,
            step=64,
            tooltip="Larger images are shrunk to this size before sending.",
        )
        self.url = LineEdit(
            value=set_url(),
            tooltip="The service's address, for a proxy or the stand-in.",
        )
        self.limits = LimitsPart()
        self.state = wrapped_text()
        self._runner = Runner(self, lambda why: self.state.setText(f"○ {why}"))
        self._key_place: str | None = None
        self._has_looked = False
        self._lay_out()
        self._connect()
        self.show_state()

    @property
    def is_busy(self) -> bool:
        """Whether the service or the keyring is being asked."""
        return self._runner.is_busy

    def options(self) -> SegmindOptions:
        """Return how the service is to be called, frozen.

        Raises
        ------
        PromptError
            If the address could give the key away.
        """
        return SegmindOptions(
            url=self.url.value,
            api=self.api.value,
            answer=self.answer.value,
            image_format=self.image_format.value,
            max_side=int(self.max_side.value),
        )

    def set_options(self, options: SegmindOptions) -> None:
        """Choose how the service is called; its address stays."""
        self.api.value = options.api
        self.answer.value = options.answer
        self.image_format.value = options.image_format
        self.max_side.value = options.max_side

    def show_credits(self, credits_left: float | None) -> None:
        """Note the balance that an answer told."""
        if credits_left is not None:
            self.credits_left = credits_left
        self.show_state()

    def show_spent(self, spent: float) -> None:
        """Say what the ledger counts for this session."""
        self.spent = spent
        if not self.is_busy:
            self.show_state()

    def show_state(self) -> None:
        """Say where the key comes from, what is left and what was spent."""
        if self._key_place is None:
            self.state.setText("○ needs an API key: enter it here, or set SEGMIND_API_KEY")
            return
        parts = [f"● API key: {self._key_place}"]
        if self.credits_left is not None:
            parts.append(f"${self.credits_left:.2f} left")
        if self.spent:
            parts.append(f"${self.spent:.3f} spent in this session")
        self.state.setText(", ".join(parts))

    def show_preview(self, build: Workflow, url: str) -> None:
        """Show, once it is prepared, what would be sent."""
        self._start(build, lambda sents: show_what_is_sent(self, sents, url))

    def _start(self, workflow: Workflow, use: Callable[[Any], object]) -> None:
        self._runner.start(Job(workflow, lane=use, done=use))

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Look for a key when the service is first chosen; a keyring may take its time."""
        if not self._has_looked:
            self._has_looked = True
            self.state.setText("looking for an API key …")
            self._start(_look_for_key, self._on_key)
        super().showEvent(event)

    def _on_key(self, place: str | None) -> None:
        self._key_place = place
        self.show_state()

    def close_down(self) -> None:
        """Stop waiting for the service."""
        self._runner.cancel()

    def _use(self) -> None:
        key = self._typed_key()
        if key is not None:
            self.credits_left = None
            self._start(lambda _stop: _remember(key), self._on_key)

    def _typed_key(self) -> ApiKey | None:
        try:
            key = ApiKey(self.key.value)
        except Sam3Error as error:
            self.state.setText(f"○ {error}")
            return None
        self.key.value = ""
        return key

    def _test(self) -> None:
        key = self._typed_key() if self.key.value.strip() else None
        try:
            engine = SegmindEngine(self.options(), key)
        except Sam3Error as error:
            self.state.setText(f"○ {error}")
            return
        self.state.setText("getting the balance …")
        self._start(lambda stop: _balance(engine, key, stop), self._on_balance)

    def _on_balance(self, found: tuple[float | None, str | None]) -> None:
        self.credits_left, place = found
        self._on_key(place)
        self.state.setText(f"{self.state.text()}. The key works.")

    def _on_url(self, url: str) -> None:
        try:
            write_setting(SEGMIND_URL, SegmindOptions(url=url).url)
        except PromptError:
            # half typed, or refused; the panel says so at the next question
            return

    def _connect(self) -> None:
        self.use_key.changed.connect(self._use)
        self.key.native.returnPressed.connect(self._use)
        self.test_key.changed.connect(self._test)
        self.url.changed.connect(self._on_url)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.state)
        column.addWidget(side_by_side(self.key, self.use_key, self.test_key))
        rows = (
            ("Result", self.answer),
            ("Send as", self.image_format),
            ("Longest side", self.max_side),
            ("API", self.api),
            ("Address", self.url),
            ("", self.preview),
        )
        column.addWidget(folded_rows("Service options", rows))
        column.addWidget(self.limits.folded())


class LimitsPart:
    """The controls for what may be spent; whatever is set is remembered."""

    def __init__(self) -> None:
        limits = read_limits()
        self.confirm_above = _amount(
            limits.confirm_above, "Ask before a run that may cost more than this, in US dollars."
        )
        self.per_run = _amount(
            limits.caps.per_run, "Stop a run before it costs more; its results are kept."
        )
        self.per_day = _amount(
            limits.caps.per_day, "Send nothing more once today's requests would cost more."
        )
        self.project = LineEdit(
            value=read_settings().project,
            tooltip="Costs are counted under this name, too: napari-sam3 costs --by project.",
        )
        for cap, usd in ((self.per_run, limits.caps.per_run), (self.per_day, limits.caps.per_day)):
            # below 0, since a cap of 0 is one: nothing may be spent
            cap.min = NO_CAP
            cap.native.setSpecialValueText("no cap")
            if usd is None:
                cap.value = NO_CAP
        self.confirm_above.changed.connect(lambda usd: write_setting(CONFIRM_ABOVE, usd))
        self.per_run.changed.connect(lambda usd: write_setting(CAP_PER_RUN, _cap(usd)))
        self.per_day.changed.connect(lambda usd: write_setting(CAP_PER_DAY, _cap(usd)))
        self.project.changed.connect(lambda name: write_setting(PROJECT, name.strip()))

    def folded(self) -> QCollapsible:
        """Return the controls under a title that opens and closes."""
        rows = (
            ("Ask above", self.confirm_above),
            ("Maximum per run", self.per_run),
            ("Maximum per day", self.per_day),
            ("Project", self.project),
        )
        return folded_rows("Spending limits", rows)


def _amount(value: float | None, tooltip: str) -> FloatSpinBox:
    box = FloatSpinBox(min=0.0, max=MOST, step=0.1, tooltip=tooltip)
    # a tenth of a cent, or a small cap would be rounded to none at all
    box.native.setDecimals(DECIMALS)
    box.native.setPrefix("$ ")
    box.value = min(value or 0.0, MOST)
    return box


def _cap(usd: float) -> float | None:
    return None if usd < 0 else usd


Looked = Generator[Progress, None, str | None]


def _look_for_key(_stop: threading.Event) -> Looked:
    yield Progress(0, 0, "looking for a key")
    found = find_key()
    return found[1] if found else None


def _remember(key: ApiKey) -> Looked:
    yield Progress(0, 0, "keeping the key")
    return remember_key(key)


def _balance(
    engine: SegmindEngine, key: ApiKey | None, stop: threading.Event
) -> Generator[Progress, None, tuple[float | None, str | None]]:
    yield Progress(0, 0, "getting the balance")
    credits_left = engine.credits(stop)
    if key is not None:
        # only now: a mistyped one must not take the place of one that works
        remember_key(key)
    found = find_key()
    return credits_left, found[1] if found else None


def upload_was_agreed(parent: QWidget) -> bool:
    """Ask once, and for good, whether pictures may leave this computer."""
    if read_settings().segmind_upload_notice_seen:
        return True
    agreed = ask(parent, "Before the first upload", UPLOAD_NOTICE)
    if agreed:
        write_setting(UPLOAD_NOTICE_SEEN, True)
    return agreed


def ask(parent: QWidget, title: str, words: str) -> bool:
    """Show a question whether to send something, and return the answer."""
    dialog = _dialog(parent, title, words)
    buttons = QDialogButtonBox()
    buttons.addButton("Send", QDialogButtonBox.ButtonRole.AcceptRole)
    buttons.addButton("Don't send", QDialogButtonBox.ButtonRole.RejectRole)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    dialog.layout().addWidget(buttons)
    return bool(dialog.exec() == QDialog.DialogCode.Accepted)


def show_what_is_sent(parent: QWidget, sents: list[Sent], url: str) -> QDialog:
    """Show the picture and the fields exactly as they would travel."""
    first = sents[0]
    size = len(first.picture) / 1e6
    dialog = _dialog(
        parent,
        "What will be sent",
        f"{price_of(len(sents))}, to {url}. The picture: {first.sent_shape[0]} × "
        f"{first.sent_shape[1]} pixels, {size:.2f} MB. The key travels in a header, to that "
        "address only.",
    )
    picture = QPixmap.fromImage(QImage.fromData(first.picture))
    shown = plain_label()
    shown.setPixmap(picture.scaled(420, 420, Qt.AspectRatioMode.KeepAspectRatio))
    fields = QPlainTextEdit("\n\n".join(_fields(sent.body) for sent in sents[:20]))
    fields.setReadOnly(True)
    for widget in (shown, fields):
        dialog.layout().addWidget(widget)
    dialog.show()
    return dialog


def _fields(body: dict[str, Any]) -> str:
    return "\n".join(
        f"{name}: {'the picture, base64' if name == 'image' else value}"
        for name, value in body.items()
    )


def _dialog(parent: QWidget, title: str, words: str) -> QDialog:
    dialog = QDialog(parent)
    dialog.setWindowTitle(title)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    text = plain_label(words)
    text.setWordWrap(True)
    text.setMinimumWidth(440)
    QVBoxLayout(dialog).addWidget(text)
    return dialog
