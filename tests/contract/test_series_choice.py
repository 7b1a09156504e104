"""Which series an account is asked for, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import delete, select

from tests.support.registries import (
    LATER,
    METER,
    NOW,
    OTHER_METER,
    add_ready,
    record_outcome,
    registry_keys,
)
from worker.domain.account import AccountState
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch
from worker.errors import SeriesNotOffered, UnknownAccount
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.tables import SERIES_OUTCOMES

USUAL = list(USUAL_SERIES)
ALL = tuple(Series)


def collecting(registry: Registry, *fleet: Series) -> Registry:
    """Return the same registry in a process whose setting has these series."""
    return Registry(registry.database, registry_keys(), fleet=fleet)


def active(registry: Registry, account_id: str) -> list[Series]:
    columns = SERIES_OUTCOMES.c
    query = select(columns.series).where(columns.account_id == account_id, columns.active)
    found = {row.series for row in registry.database.fetch(query)}
    return [series for series in Series if series in found]


def due_at_once(registry: Registry) -> set[tuple[str, Series]]:
    return {(row.account_id, row.series) for row in registry.due.list_again(NOW, 100)}


def histories(registry: Registry, series: Series) -> list[str]:
    return [row.account_id for row in registry.due.list_histories(series, LATER, 100)]


def test_a_new_account_has_the_fleets_series(registry: Registry) -> None:
    account_id = add_ready(registry)
    assert registry.outcomes.collected(account_id) == registry.outcomes.known(account_id) == USUAL
    another = collecting(registry, Series.DAILY, Series.CONTRACT)
    account, _ = another.accounts.add("enedis", OTHER_METER, NOW, token_needed=False)
    assert registry.outcomes.collected(account.id) == active(registry, account.id) == [Series.DAILY, Series.CONTRACT]


def test_a_series_that_is_switched_on_is_due_at_once_with_its_history(registry: Registry) -> None:
    account_id = add_ready(registry)
    assert registry.outcomes.list_in_use() == USUAL
    registry.outcomes.switch(account_id, Series.MAX_POWER, SeriesSwitch.ON, NOW)
    assert active(registry, account_id) == registry.outcomes.collected(account_id) == [*USUAL, Series.MAX_POWER]
    assert due_at_once(registry) == {(account_id, Series.MAX_POWER)}
    assert histories(registry, Series.MAX_POWER) == [account_id]
    assert registry.outcomes.list_in_use() == [*USUAL, Series.MAX_POWER]


def test_a_switch_that_stands_already_makes_nothing_due(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.outcomes.switch(account_id, Series.MAX_POWER, SeriesSwitch.ON, NOW)
    changes = {"asked_at": NOW, "again_at": None, "history_due_at": None}
    record_outcome(registry, account_id, "run-1", series=Series.MAX_POWER, due_changes=changes)
    registry.outcomes.switch(account_id, Series.MAX_POWER, SeriesSwitch.ON, LATER)
    registry.outcomes.switch(account_id, Series.DAILY, SeriesSwitch.ON, LATER)  # It was asked for before, too.
    assert due_at_once(registry) == set() and histories(registry, Series.MAX_POWER) == []


def test_switching_off_keeps_what_is_known(registry: Registry) -> None:
    account_id = add_ready(registry)
    record_outcome(registry, account_id, "run-1", last_day=date(2024, 7, 24), stored=True)
    registry.outcomes.switch(account_id, Series.DAILY, SeriesSwitch.OFF, NOW)
    registry.outcomes.switch(account_id, Series.LOAD_CURVE, SeriesSwitch.OFF, NOW)
    assert registry.outcomes.collected(account_id) == active(registry, account_id) == []
    assert registry.outcomes.known(account_id) == [Series.DAILY]
    assert registry.outcomes.load(account_id)[Series.DAILY].last_day == date(2024, 7, 24)


def test_a_series_follows_the_state_of_its_account(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.outcomes.switch(account_id, Series.LOAD_CURVE, SeriesSwitch.OFF, NOW)
    registry.accounts.set_state(account_id, AccountState.PAUSED, now=NOW)
    registry.outcomes.switch(account_id, Series.MAX_POWER, SeriesSwitch.ON, NOW)
    assert active(registry, account_id) == []
    registry.accounts.set_state(account_id, AccountState.READY, now=NOW)
    assert active(registry, account_id) == [Series.DAILY, Series.MAX_POWER]


def test_a_removed_account_takes_no_switch(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.accounts.remove(account_id, NOW)
    with pytest.raises(UnknownAccount):
        registry.outcomes.switch(account_id, Series.DAILY, SeriesSwitch.ON, NOW)
    assert registry.outcomes.known(account_id) == []


def test_a_series_that_is_not_offered_ends_and_can_be_opened_again(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.outcomes.switch(account_id, Series.REGISTERS, SeriesSwitch.ON, NOW)
    assert registry.outcomes.end(account_id, Series.REGISTERS, "run-1", "no such series", LATER)
    chosen = {one.series: one for one in registry.outcomes.list_chosen(account_id)}[Series.REGISTERS]
    assert (chosen.switch, chosen.collected, chosen.code) == (SeriesSwitch.ENDED, False, SeriesNotOffered.code)
    assert active(registry, account_id) == USUAL and registry.accounts.get(account_id).active
    registry.outcomes.switch(account_id, Series.REGISTERS, SeriesSwitch.ON, NOW)
    assert registry.outcomes.end(account_id, Series.REGISTERS, "run-0", "an older run", LATER)
    assert active(registry, account_id) == [*USUAL, Series.REGISTERS]


def test_one_answer_does_not_end_a_series_of_which_something_is_stored(registry: Registry) -> None:
    account_id = add_ready(registry)
    record_outcome(registry, account_id, "run-1", last_day=date(2024, 7, 24), stored=True)
    assert not registry.outcomes.end(account_id, Series.DAILY, "run-2", "no such series", LATER)
    assert active(registry, account_id) == USUAL


def test_a_consent_that_does_not_cover_a_series_ends_it_and_one_that_does_opens_it(registry: Registry) -> None:
    fleet = collecting(registry, *ALL)
    covered = frozenset({Series.DAILY, Series.MAX_POWER})
    ((account, _),) = fleet.accounts.add_all(
        "enedis", [METER], NOW, NewConsent(token_needed=False, offered={METER: covered})
    )
    assert fleet.outcomes.collected(account.id) == active(fleet, account.id) == sorted(covered, key=ALL.index)
    more = covered | {Series.LOAD_CURVE}
    fleet.accounts.add_all("enedis", [METER], LATER, NewConsent(token_needed=False, offered={METER: more}))
    assert active(fleet, account.id) == sorted(more, key=ALL.index)
    fleet.accounts.add_all(
        "enedis", [METER], LATER, NewConsent(token_needed=False)
    )  # Nothing is known: nothing changes.
    assert active(fleet, account.id) == sorted(more, key=ALL.index)


def test_accounts_follow_a_fleet_that_grows_and_shrinks(registry: Registry) -> None:
    ready, paused = add_ready(registry), add_ready(registry, OTHER_METER)
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    registry.outcomes.switch(ready, Series.REGISTERS, SeriesSwitch.ON, NOW)
    registry.outcomes.switch(ready, Series.LOAD_CURVE, SeriesSwitch.OFF, NOW)
    grown = [Series.DAILY, Series.LOAD_CURVE, Series.CONTRACT]
    assert registry.outcomes.follow_fleet(grown, NOW) == 2
    assert registry.outcomes.follow_fleet(grown, NOW) == 0
    assert active(registry, ready) == [Series.DAILY, Series.REGISTERS, Series.CONTRACT]
    assert registry.outcomes.collected(paused) == grown and active(registry, paused) == []
    assert histories(registry, Series.CONTRACT) == [ready]
    assert registry.outcomes.follow_fleet([Series.DAILY], NOW) == 2
    assert active(registry, ready) == [Series.DAILY, Series.REGISTERS]
    assert registry.outcomes.collected(paused) == [Series.DAILY]
    registry.accounts.set_state(paused, AccountState.READY, now=NOW)
    assert active(registry, paused) == [Series.DAILY]


def test_removed_and_closed_accounts_do_not_follow(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.accounts.remove(account_id, NOW)
    assert registry.outcomes.follow_fleet(ALL, NOW) == 0
    assert registry.outcomes.known(account_id) == []


def test_rows_that_are_missing_come_again(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.database.change(delete(SERIES_OUTCOMES).where(SERIES_OUTCOMES.c.series == Series.LOAD_CURVE))
    assert registry.outcomes.follow_fleet(USUAL_SERIES, NOW) == 1
    assert active(registry, account_id) == USUAL


def test_the_contracts_activation_is_written_with_its_outcome(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.outcomes.switch(account_id, Series.CONTRACT, SeriesSwitch.ON, NOW)
    assert registry.accounts.get(account_id).first_day is None
    record_outcome(registry, account_id, "run-1", series=Series.CONTRACT, activated_on=date(2023, 4, 1))
    assert (
        registry.accounts.get(account_id).activated_on
        == registry.accounts.get(account_id).first_day
        == date(2023, 4, 1)
    )
    record_outcome(registry, account_id, "run-2", series=Series.CONTRACT)
    assert registry.accounts.get(account_id).activated_on == date(2023, 4, 1)


def test_of_a_weekly_series_only_what_is_overdue_counts_as_due_tonight(registry: Registry) -> None:
    fleet = collecting(registry, Series.MAX_POWER)
    accounts = [
        fleet.accounts.add("enedis", f"300016400000{number}", NOW, token_needed=False)[0].id for number in range(20, 34)
    ]
    asked = NOW - timedelta(days=1)
    for account_id in accounts:
        record_outcome(fleet, account_id, "run-1", series=Series.MAX_POWER, due_changes={"asked_at": asked})
    due = {
        nights: fleet.due.count_due_tonight(Series.MAX_POWER, 7, NOW + timedelta(days=nights), NOW.date())
        for nights in (0, 5, 6, 7)
    }
    assert due == {0: 0, 5: 0, 6: 2, 7: 2}
