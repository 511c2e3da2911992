"""A small mark for each state of a review: told apart by shape, by sign and by colour.

The colours are those of Okabe and Ito, which colour-blind eyes tell apart.  The sign is white
on them, so that it is seen on the ground of any theme and on that of a selected row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

_SIDE = 64
"""Pixels of the drawing; it is shown smaller, on any screen."""

_GRAY, _GREEN, _VERMILLION, _BLUE = "#777777", "#009E73", "#D55E00", "#0072B2"
_TICK = [QPointF(17, 34), QPointF(28, 45), QPointF(47, 20)]
_DIAMOND = QPolygonF([QPointF(32, 2), QPointF(62, 32), QPointF(32, 62), QPointF(2, 32)])
_BOX = QRectF(4, 4, 56, 56)


@lru_cache
def state_icon(state: str) -> QIcon | None:
    """Return the mark of a state: ring, tick, cross or diamond; None for any other word."""
    draw = _DRAWINGS.get(state)
    if draw is None:
        return None
    picture = QPixmap(_SIDE, _SIDE)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    draw(painter)
    painter.end()
    icon = QIcon(picture)
    # or the style would tint it in a selected row
    icon.addPixmap(picture, QIcon.Mode.Selected)
    return icon


def _draw_unreviewed(painter: QPainter) -> None:
    painter.setBrush(QColor("white"))
    painter.setPen(QPen(QColor(_GRAY), 10))
    painter.drawEllipse(_BOX.adjusted(5, 5, -5, -5))


def _draw_accepted(painter: QPainter) -> None:
    painter.setBrush(QColor(_GREEN))
    painter.drawEllipse(_BOX.adjusted(-3, -3, 3, 3))
    painter.setPen(_white_pen())
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolyline(QPolygonF(_TICK))


def _draw_rejected(painter: QPainter) -> None:
    painter.setBrush(QColor(_VERMILLION))
    painter.drawRoundedRect(_BOX, 8, 8)
    painter.setPen(_white_pen())
    painter.drawLine(QPointF(19, 19), QPointF(45, 45))
    painter.drawLine(QPointF(45, 19), QPointF(19, 45))


def _draw_edited(painter: QPainter) -> None:
    painter.setBrush(QColor(_BLUE))
    painter.drawPolygon(_DIAMOND)
    painter.setBrush(QColor("white"))
    painter.drawEllipse(QPointF(32, 32), 10, 10)


def _white_pen() -> QPen:
    pen = QPen(QColor("white"), 9)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return pen


_DRAWINGS: Mapping[str, Callable[[QPainter], None]] = {
    "unreviewed": _draw_unreviewed,
    "accepted": _draw_accepted,
    "rejected": _draw_rejected,
    "edited": _draw_edited,
}
