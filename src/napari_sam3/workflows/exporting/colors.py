"""Colours of classes, where a format has one for each."""

from __future__ import annotations

# Okabe and Ito's palette, which is told apart by colour-blind eyes too; black left out
_PALETTE = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (240, 228, 66),
)


def class_color(number: int) -> tuple[int, int, int]:
    """Return red, green and blue, 0–255, of the class with this number, from 1."""
    return _PALETTE[(number - 1) % len(_PALETTE)]
