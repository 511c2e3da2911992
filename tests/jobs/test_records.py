"""Where the records lie and what may be spent, as the settings say."""

from __future__ import annotations

import math

import pytest

from napari_sam3.errors import LedgerError, PromptError
from napari_sam3.jobs.accounts import (
    CostLimits,
    UnderWay,
    close_ledgers,
    is_under_way,
    open_accounts,
    open_ledger,
    read_limits,
)
from napari_sam3.jobs.ledger import Caps
from napari_sam3.jobs.records import open_records
from napari_sam3.settings import (
    CACHE_USED,
    CAP_PER_DAY,
    CAP_PER_RUN,
    CONFIRM_ABOVE,
    PROJECT,
    cache_folder,
    data_folder,
    settings_path,
    write_setting,
)


def test_they_lie_where_the_settings_say_and_nothing_is_written_yet():
    records = open_records()
    assert records.cache.folder == cache_folder()
    assert records.ledger.path.parent == data_folder()
    assert not cache_folder().exists()
    assert not data_folder().exists()
    assert records.accounts().limits == CostLimits()


def test_what_is_said_goes_before_what_is_set():
    write_setting(PROJECT, "kidney")
    write_setting(CACHE_USED, False)
    as_set = open_records()
    said = open_records(use_cache=True, project="liver")
    assert (as_set.cache, as_set.accounts().project) == (None, "kidney")
    assert (said.cache is None, said.accounts().project) == (False, "liver")


def test_one_process_has_one_ledger_until_it_is_closed():
    first = open_ledger()
    assert open_records().ledger is first
    close_ledgers()
    assert open_ledger() is not first


def test_limits_are_those_that_were_set():
    write_setting(CONFIRM_ABOVE, 0)
    write_setting(CAP_PER_RUN, 3)
    write_setting(CAP_PER_DAY, None)
    assert read_limits() == CostLimits(0.0, Caps(3.0, None))


@pytest.mark.parametrize("amount", [-0.01, math.inf, math.nan])
def test_limits_that_limit_nothing_cannot_be_made(amount):
    with pytest.raises(PromptError, match="amount of money"):
        CostLimits(amount)


def test_two_runs_never_share_a_name():
    accounts = open_accounts("kidney")
    one, other = accounts.origin(), accounts.origin()
    assert one.run != other.run
    assert (one.session, one.project) == (other.session, "kidney")


def test_a_question_is_under_way_while_it_is_waited_for():
    ledger = open_ledger()
    with UnderWay(ledger, 7):
        assert is_under_way(ledger, 7)
        assert not is_under_way(ledger, 8)
    assert not is_under_way(ledger, 7)


def test_several_runs_may_count_as_one():
    accounts = open_accounts("p").as_one_run()
    assert accounts.origin() == accounts.origin()
    assert accounts.origin().project == "p"


def test_runs_that_count_as_one_pay_no_more_without_limits_than_one_does():
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text('{"cap_per_day": 0.0')
    with pytest.raises(LedgerError, match="Nothing was sent"):
        open_accounts().as_one_run().require_limits()
