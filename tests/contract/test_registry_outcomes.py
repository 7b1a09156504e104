"""The last outcome of a series in the registry, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import secrets
from datetime import UTC, date

import pytest

from tests.support.registries import LATER, METER, NOW, add_ready, record_outcome
from worker.domain.account import AccountState
from worker.domain.series import Series
from worker.stores.registry import Registry


def test_the_first_outcome_is_read_back_whole(registry: Registry) -> None:
    account_id = add_ready(registry)
    record_outcome(registry, account_id, "2024-07-25-a", last_day=date(2024, 7, 24), stored=True)
    outcome = registry.outcomes.load(account_id)[Series.DAILY]
    assert outcome.run_id == "2024-07-25-a"
    assert (outcome.code, outcome.message) == (None, "")
    assert (outcome.last_day, outcome.ever_stored) == (date(2024, 7, 24), True)
    assert outcome.last_success_at == outcome.updated_at == NOW
    assert outcome.updated_at.tzinfo is UTC


def test_a_failure_keeps_the_last_success_and_the_last_day(registry: Registry) -> None:
    account_id = add_ready(registry)
    record_outcome(registry, account_id, "run-1", last_day=date(2024, 7, 24), stored=True)
    record_outcome(registry, account_id, "run-2", code="VENDOR_DOWN", message="503", now=LATER)
    outcome = registry.outcomes.load(account_id)[Series.DAILY]
    assert (outcome.run_id, outcome.code, outcome.message) == ("run-2", "VENDOR_DOWN", "503")
    assert (outcome.last_success_at, outcome.updated_at) == (NOW, LATER)
    assert (outcome.last_day, outcome.ever_stored) == (date(2024, 7, 24), True)


def test_a_success_clears_the_failure_before_it_also_within_one_run(registry: Registry) -> None:
    account_id = add_ready(registry)
    record_outcome(registry, account_id, "run-1", code="VENDOR_DOWN", message="503")
    assert registry.outcomes.load(account_id)[Series.DAILY].last_success_at is None
    record_outcome(registry, account_id, "run-1", now=LATER)
    outcome = registry.outcomes.load(account_id)[Series.DAILY]
    assert (outcome.code, outcome.message, outcome.last_success_at) == (None, "", LATER)


@pytest.mark.parametrize("older", ["2024-07-25T08:30-a", "2024-07-25", "2024-07-25T08:30+b"])
def test_an_older_run_adds_its_days_but_not_its_verdict(registry: Registry, older: str) -> None:
    newer = "2024-07-25T08:30-b"
    assert older < newer
    account_id = add_ready(registry)
    record_outcome(registry, account_id, newer, code="VENDOR_DOWN", message="503", now=LATER)
    record_outcome(registry, account_id, older, last_day=date(2024, 6, 30), stored=True)
    outcome = registry.outcomes.load(account_id)[Series.DAILY]
    assert (outcome.run_id, outcome.code, outcome.message) == (newer, "VENDOR_DOWN", "503")
    assert (outcome.last_day, outcome.ever_stored) == (date(2024, 6, 30), True)
    assert (outcome.last_success_at, outcome.updated_at) == (NOW, LATER)


def test_the_last_day_never_goes_back(registry: Registry) -> None:
    account_id = add_ready(registry)
    for run, day in enumerate([date(2024, 7, 20), date(2024, 7, 24), None, date(2021, 8, 1)]):
        record_outcome(registry, account_id, f"run-{run}", last_day=day, stored=True)
    assert registry.outcomes.load(account_id)[Series.DAILY].last_day == date(2024, 7, 24)


def test_a_message_is_kept_without_what_looks_like_a_secret(registry: Registry) -> None:
    account_id = add_ready(registry)
    token = secrets.token_urlsafe(40)
    record_outcome(
        registry, account_id, "run-1", code="UNKNOWN_ERROR", message=f"meter {METER}\nsaid\x00 {token}: no " * 50
    )
    message = registry.outcomes.load(account_id)[Series.DAILY].message
    assert METER not in message
    assert token not in message
    assert message.startswith("meter … said …: no meter")
    assert len(message) == 500


def test_of_which_series_something_is_stored_is_known_while_somebody_is_asked_for_them(
    registry: Registry,
) -> None:
    others = [Series.CONTRACT, Series.LOAD_CURVE]
    account_id = add_ready(registry)
    record_outcome(registry, account_id, "run-1", code="VENDOR_DOWN", message="503")
    assert registry.completeness.find_stored(Series) == set()
    record_outcome(registry, account_id, "run-2", last_day=date(2024, 7, 24), stored=True)
    assert registry.completeness.find_stored([Series.DAILY, *others]) == {Series.DAILY}
    assert registry.completeness.find_stored(others) == registry.completeness.find_stored([]) == set()
    registry.accounts.set_state(account_id, AccountState.PAUSED, now=NOW)
    assert registry.completeness.find_stored(Series) == set()
