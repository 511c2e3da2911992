"""BLAS is held to one thread while the nets run, and let go afterwards."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from napari_sam3.core.pictures import Pixels
from napari_sam3.core.prompts import Everything
from napari_sam3.engines.base import SegmentationRequest
from napari_sam3.engines.builtin import engine as engine_module
from napari_sam3.engines.builtin.engine import BuiltinEngine
from napari_sam3.engines.builtin.nets.threads import one_blas_thread


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_inside_there_is_one_and_afterwards_as_many_as_before():
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) <= {1}
        with one_blas_thread():
            assert set(blas_threads()) <= {1}
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


def test_the_last_of_several_lets_go():
    before = blas_threads()
    first_is_in, second_is_in = threading.Event(), threading.Event()

    def first():
        with one_blas_thread():
            first_is_in.set()
            second_is_in.wait(20)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_in.wait(20)
    with one_blas_thread():
        second_is_in.set()
        thread.join(20)
        assert set(blas_threads()) <= {1}
    assert blas_threads() == before


def test_an_error_lets_go_too(monkeypatch):
    before = blas_threads()
    monkeypatch.setattr(engine_module, "_answer", lambda *_: pytest.fail("a bug"))
    request = SegmentationRequest(Pixels(np.zeros((20, 30, 3), np.uint8)), Everything())
    with pytest.raises(pytest.fail.Exception):
        BuiltinEngine().segment(request)
    assert blas_threads() == before
