"""What may be spent: asked above, at most in a run and in a day, and for which project."""

from __future__ import annotations

from magicgui.widgets import FloatSpinBox, LineEdit
from superqt import QCollapsible

from napari_sam3.jobs.accounts import read_limits
from napari_sam3.settings import (
    CAP_PER_DAY,
    CAP_PER_RUN,
    CONFIRM_ABOVE,
    PROJECT,
    read_settings,
    write_setting,
)
from napari_sam3.widgets._form import folded_rows

MOST = 10_000.0
DECIMALS = 3
NO_CAP = -0.001


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
