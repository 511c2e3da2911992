"""Small plots as SVG text, drawn with what SVG Tiny 1.2 has, so that Qt shows them as well."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np

BINS = 20
"""Of the histogram, between 0 and 1."""

_WIDTH, _HEIGHT = 320, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 28, 40
_TICKS_AT_MOST = 5
_TITLE_AT_MOST = 36
# XML 1.0 has no way to write these, and a file's name may hold them
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Colors:
    paper: str
    ink: str
    faint: str
    bar: str
    missed: str


# blue and orange: told apart whatever colours one sees, and both at 3:1 from their paper
_LIGHT = _Colors("#ffffff", "#333333", "#d5d5d5", "#3b78b4", "#c8551b")
_DARK = _Colors("#262930", "#d8dade", "#4a4f5a", "#6aa9e0", "#f0914e")


def iou_histogram_svg(
    ious: Iterable[float], title: str = "IoU with ground truth, by object", *, dark: bool = False
) -> str:
    """Draw a histogram of the true objects' IoUs, as an SVG of 320 × 180 pixels.

    The bin below 0.05, objects that nothing was predicted for, has a colour of its own; a line at
    0.5 parts what counts as found from what does not.

    Parameters
    ----------
    ious : iterable of float
        Of each true object with what overlaps it most, 0–1; 0 where nothing does.
    title : str
        Stands above, and is read aloud; shortened above where it is long.
    dark : bool
        Light on dark.

    Raises
    ------
    ValueError
        If an IoU is not between 0 and 1.
    """
    values = np.fromiter(ious, float)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("an IoU lies between 0 and 1")
    # 0.6 and its like are in the bin that they begin, as they would not be by steps of 0.05
    counts = np.histogram(values, [place / BINS for place in range(BINS + 1)])[0].tolist()
    colors = _DARK if dark else _LIGHT
    words = " ".join(_UNWRITABLE.sub("�", title).split())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" version="1.2" baseProfile="tiny" '
        f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="10" fill="{colors.ink}">'
    )
    parts = [
        head,
        f"<title>{escape(words)}: {_spoken(counts)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="{colors.paper}"/>',
        _text(8, 17, _shortened(words), size=12, bold=True),
        *_scale(counts, colors),
        *_bars(counts, colors),
        *_axis(colors),
        *_legend(counts, colors),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _spoken(counts: list[int]) -> str:
    total = sum(counts)
    found = sum(counts[BINS // 2 :])
    noun = "object" if total == 1 else "objects"
    return f"of {total} {noun}, {found} with an IoU of 0.5 or more, {counts[0]} below 0.05 or none"


def _shortened(words: str) -> str:
    return words if len(words) <= _TITLE_AT_MOST else f"{words[: _TITLE_AT_MOST - 1].rstrip()}…"


def _x(iou: float) -> float:
    return round(_LEFT + iou * (_WIDTH - _LEFT - _RIGHT), 2)


def _y(part: float) -> float:
    return round(_HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM), 2)


def _ticks(largest: int) -> list[int]:
    """Return whole numbers from 0 to the largest or just above, in steps of 1, 2 or 5 × 10ⁿ."""
    least = max(largest, 1) / (_TICKS_AT_MOST - 1)
    power = 10 ** math.floor(math.log10(max(least, 1)))
    step = next(size * power for size in (1, 2, 5, 10) if size * power >= least)
    return list(range(0, largest + step, step)) if largest else [0, 1]


def _scale(counts: list[int], colors: _Colors) -> list[str]:
    ticks = _ticks(max(counts))
    parts = []
    for tick in ticks:
        y = _y(tick / ticks[-1])
        if tick:
            parts.append(_line(_x(0), y, _x(1), y, colors.faint))
        parts.append(_text(_LEFT - 5, y + 3.5, _short_number(tick), anchor="end"))
    middle = _y(0.5)
    parts.append(
        f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">objects</text>'
    )
    return parts


def _short_number(number: int) -> str:
    return str(number) if number < 10_000 else f"{number / 1000:.3g}k"


def _bars(counts: list[int], colors: _Colors) -> list[str]:
    largest = _ticks(max(counts))[-1]
    parts = []
    for place, count in enumerate(counts):
        if count:
            left, right = _x(place / BINS) + 0.75, _x((place + 1) / BINS) - 0.75
            # one object among thousands is still to be seen
            top = min(_y(count / largest), _y(0) - 1.5)
            parts.append(
                f'<rect x="{left:g}" y="{top:g}" width="{right - left:.2f}" '
                f'height="{_y(0) - top:.2f}" fill="{colors.bar if place else colors.missed}"/>'
            )
    return parts


def _axis(colors: _Colors) -> list[str]:
    y, half = _y(0), _x(0.5)
    parts = [
        _line(half, _y(1), half, y, colors.ink, ' stroke-dasharray="3 3"'),
        _line(_x(0), y, _x(1), y, colors.ink),
    ]
    for tenth in (0, 2, 4, 5, 6, 8, 10):
        x = _x(tenth / 10)
        parts.append(_line(x, y, x, y + 3, colors.ink))
        parts.append(_text(x, y + 13, f"{tenth / 10:g}", anchor="middle"))
    return parts


def _legend(counts: list[int], colors: _Colors) -> list[str]:
    y = _HEIGHT - 9
    parts = [
        f'<rect x="{_x(0):g}" y="{y - 8}" width="8" height="8" fill="{colors.missed}"/>',
        _text(_x(0) + 12, y, f"none or < 0.05: {_short_number(counts[0])}"),
        _text(_x(1), y, "best IoU per object", anchor="end"),
    ]
    if not any(counts):
        parts.append(_text(_x(0.25), _y(0.5), "no objects", anchor="middle"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, color: str, more: str = "") -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}"{more}/>'


def _text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 10, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}"{weight}>'
        f"{escape(words)}</text>"
    )
