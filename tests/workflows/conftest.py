"""The service that bills, as the tests of jobs have it."""

from ..jobs.conftest import engine, records, service

__all__ = ["engine", "records", "service"]
