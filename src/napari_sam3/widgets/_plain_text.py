"""Words of others are no markup: a layer's name, a prompt, a feature, what a service says.

Qt takes a text for HTML where it looks like that, and would fetch the pictures in it.
"""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

_LONGEST_LINE = 100


def plain_label(words: str = "") -> QLabel:
    """Return a label that shows words as they are."""
    label = QLabel()
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setText(words)
    return label


def plain_tooltip(words: str) -> str:
    """Return a tooltip that shows words as they are, wrapped where they are long.

    Parameters
    ----------
    words : str
        May hold line breaks.
    """
    is_short = all(len(part) <= _LONGEST_LINE for part in words.splitlines())
    if is_short and not Qt.mightBeRichText(words):
        return words
    # a tooltip has no text format of its own
    return f'<p style="white-space: pre-wrap">{escape(words)}</p>'
