"""The reliability diagram beside the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib  # type: ignore[import-not-found,unused-ignore]
from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

from training.evaluate import Curve

_COLOURS = ("#0072b2", "#d55e00", "#009e73")
_MARKERS = ("o", "s", "^")


def plot_reliability(curves: dict[str, Curve], path: Path) -> None:
    """Draw what scores promised and what was kept, with the number of answers at each point.

    Parameters
    ----------
    curves : dict of str to list of (mean score, mean value, count)
        From `training.evaluate.reliability_curves`.
    path : Path
        An SVG file.
    """
    # letters as text, and the same bytes for the same curves
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "reliability", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.2, 4.0), layout="constrained")
        _draw(figure.add_subplot(), curves)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw(axes: Any, curves: dict[str, Curve]) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    for (name, curve), colour, marker in zip(curves.items(), _COLOURS, _MARKERS, strict=True):
        scores, values, counts = zip(*curve, strict=True) if curve else ((), (), ())
        label = f"{name} ({sum(counts)})"
        axes.plot(scores, values, color=colour, marker=marker, markersize=4, label=label)
        for score, value, count in curve:
            place = {"xytext": (4, -8), "textcoords": "offset points"}
            axes.annotate(str(count), (score, value), size=6, color=colour, **place)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="mean true IoU", aspect="equal")
    axes.legend(loc="lower right", frameon=False)
