"""The table of a Labels layer: a row per object, and what others keep in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Labels

from napari_sam3.core.objects import LabelledObject

OWN_COLUMNS = ("score", "area", "concept", "engine", "state")
"""By these a table is known as one that this plugin has written."""


def object_rows(objects: Mapping[int, LabelledObject], overlapping: Collection[int] = ()) -> Any:
    """Return a table of objects, one row per label, as `Labels.features` takes it.

    Parameters
    ----------
    objects : mapping
        By label.
    overlapping : collection of int
        Labels of objects that share a pixel with another.

    Returns
    -------
    DataFrame
        ``index`` (the label), ``score``, ``area`` in pixels of the whole object, ``prompt``,
        ``concept``, ``engine``, ``state``, ``overlaps``; of a stack also ``planes``, how many it
        lies on, and ``plane``, the position of the first along the other axes.
    """
    listed = [objects[label] for label in sorted(objects)]
    scores = [one.score for one in listed]
    columns: dict[str, Any] = {
        "index": np.array([one.label for one in listed], np.int64),
        "score": np.round(np.array([np.nan if s is None else s for s in scores], float), 4),
        "area": np.array([one.area for one in listed], np.int64),
        "prompt": np.array([one.prompt for one in listed], object),
        "concept": np.array([one.concept for one in listed], object),
        "engine": np.array([one.engine for one in listed], object),
        "state": np.array([one.state for one in listed], object),
        "overlaps": np.array([one.label in overlapping for one in listed], bool),
    }
    if any(index.fixed for one in listed[:1] for index in one.parts):
        columns["planes"] = np.array([len(one.parts) for one in listed], np.int64)
        columns["plane"] = np.array([one.plane for one in listed], object)
    return pd.DataFrame(columns)


def highest_in_features(layer: Labels) -> int:
    """Return the highest label that the table has a row of, 0 if it has none."""
    index = pd.to_numeric(_indexed(layer.features)["index"], errors="coerce").fillna(0)
    return int(index.max()) if len(index) else 0


def _indexed(features: pd.DataFrame) -> pd.DataFrame:
    # without that column, napari takes the row's number for the label
    return features if "index" in features else features.assign(index=np.arange(len(features)))


def write_features(
    layer: Labels, rows: pd.DataFrame, renumbered: Mapping[int, int] | None = None
) -> None:
    """Put the objects' columns into a layer's features; columns of others stay.

    Rows of labels that are no objects are dropped.  A table that is about something else
    than labels is left alone.

    Parameters
    ----------
    layer : Labels
    rows : DataFrame
        As `object_rows` returns it.
    renumbered : mapping, optional
        Former to present labels of objects that somebody else renumbered.
    """
    old = _indexed(layer.features)
    if len(old) and not pd.api.types.is_numeric_dtype(old["index"]):
        return
    if renumbered:
        old = old.assign(index=old["index"].map(lambda label: renumbered.get(label, label)))
    if not set(OWN_COLUMNS) <= set(old.columns):
        # numbers of somebody else are not replaced by ours of the same name
        taken = [name for name in rows if name != "index" and name in old]
        old = old.rename(columns={name: f"{name} (before)" for name in taken})
    others = ["index", *(name for name in old if name not in rows and name not in _OPTIONAL)]
    if len(old) and len(others) > 1:
        rows = rows.merge(old[others].drop_duplicates("index"), on="index", how="left")
    if not rows.equals(layer.features):
        layer.features = rows


_OPTIONAL = ("planes", "plane")
"""Columns of ours that a table may lack."""
