"""A service that bills, and records of its own for each test."""

from __future__ import annotations

import pytest

from napari_sam3.jobs import turns

from .paid import BillingEngine, Service, records_in


@pytest.fixture
def service(monkeypatch):
    service = Service()
    service.list(monkeypatch)
    monkeypatch.setattr(turns, "LOOK_AGAIN_S", 0.002)
    return service


@pytest.fixture
def engine(service):
    return BillingEngine(service)


@pytest.fixture
def records(tmp_path):
    records = records_in(tmp_path)
    yield records
    records.ledger.close()
