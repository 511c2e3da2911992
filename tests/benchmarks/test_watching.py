"""Time and calls are booked on whom they belong to."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from napari.layers import Labels

from benchmarks.watching import OwnTime, uncounted, watch_memory
from napari_sam3 import Instances

LABELS = np.repeat(np.repeat(np.arange(12).reshape(3, 4), 7, axis=0), 5, axis=1)


def files(watch):
    return {Path(name).name for name in watch.calls}


def test_what_the_package_calls_is_its_own():
    with OwnTime() as watch:
        found = Instances.from_labels(LABELS)
    assert len(found) == 11
    assert "instances.py" in files(watch)
    assert watch.total_s >= watch.window_s >= watch.longest_s > 0


def test_what_a_thread_does_is_own_too_but_no_event_of_the_window():
    with OwnTime() as watch:
        thread = threading.Thread(target=Instances.from_labels, args=(LABELS,))
        thread.start()
        thread.join()
    assert "instances.py" in files(watch)
    assert (watch.window_s, watch.longest_s) == (0, 0)


def test_what_a_benchmark_does_for_itself_is_left_out():
    @uncounted
    def prepare():
        return Instances.from_labels(LABELS)

    with OwnTime() as watch:
        found = prepare()
    assert len(found) == 11
    assert (watch.calls, watch.total_s) == ({}, 0)


def test_what_napari_does_is_left_out():
    with OwnTime() as watch:
        Labels(LABELS)
    assert (watch.calls, watch.total_s) == ({}, 0)


def test_memory_that_was_given_back_is_in_the_most_only():
    with watch_memory() as memory:
        kept = np.ones(100_000, np.uint8)
        np.ones(1_000_000, np.uint8)
    assert memory.most >= 1_100_000
    assert kept.nbytes <= memory.held < 200_000
