"""Ledgers of days and corrections in the registry, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from worker.domain.consent.accounts import AccountState
from worker.domain.measures.completeness import COMPLETE, DayState, Ledger, Mark
from worker.domain.measures.readings import ONE_DAY, Period, Series
from worker.errors import UnknownAccount
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.completeness import HourFreshness
from worker.stores.registry.corrections import Correction, CorrectionTable

NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
TODAY = date(2024, 7, 25)
DAY = date(2024, 7, 1)
LATE = Mark(DayState.LATE, 0, 1)


def add(registry: AccountRegistry, number: int = 11) -> str:
    return registry.add("enedis", f"300016400000{number}", NOW, token_needed=False)[0].id


def note(registry: AccountRegistry, account_id: str, news: dict[date, Mark], series: Series = Series.DAILY) -> None:
    registry.record_outcome(
        account_id, series.value, "r1", NOW, code=None, message="", last_day=None, stored=True, days=news
    )


def test_what_is_known_of_days_is_kept_beside_the_outcome(registry: AccountRegistry) -> None:
    home = add(registry)
    note(registry, home, {DAY: LATE})
    note(registry, home, {DAY: COMPLETE, DAY + ONE_DAY: LATE})
    book = registry.completeness
    assert str(book.ledger(home, Series.DAILY)) == "2024-07-01 1c 1l@1"
    assert str(book.ledger(home, Series.LOAD_CURVE)) == ""
    assert [*book.ledgers_of([home])] == [(home, Series.DAILY)]


def test_two_workers_noting_other_days_at_once_lose_none(registry: AccountRegistry) -> None:
    home = add(registry)
    days = [DAY + number * ONE_DAY for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: note(registry, home, {day: COMPLETE}), days))
    assert str(registry.completeness.ledger(home, Series.DAILY)) == "2024-07-01 12c"


def test_all_days_told_anew_take_the_place_of_what_was_read_and_of_nothing_else(registry: AccountRegistry) -> None:
    home, book = add(registry), registry.completeness
    assert book.exchange(home, Series.DAILY, Ledger(), Ledger(DAY, [LATE]))
    read = book.ledger(home, Series.DAILY)
    note(registry, home, {DAY: COMPLETE})
    assert not book.exchange(home, Series.DAILY, read, Ledger(DAY, [LATE, LATE])), "a window was stored meanwhile"
    assert str(book.ledger(home, Series.DAILY)) == "2024-07-01 1c"
    assert book.exchange(home, Series.DAILY, book.ledger(home, Series.DAILY), Ledger(DAY, [LATE]))
    assert [due.account_id for due in book.due(TODAY)] == [home], "what is due follows"


def test_open_days_are_found_when_they_fall_due_in_pages(registry: AccountRegistry) -> None:
    homes = sorted(add(registry, number) for number in (11, 12, 13))
    for home in homes:
        note(registry, home, {DAY: LATE})
        note(registry, home, {DAY: COMPLETE}, Series.LOAD_CURVE)
    book = registry.completeness
    assert book.due(DAY + ONE_DAY) == []
    first = book.due(DAY + 2 * ONE_DAY, limit=2)
    rest = book.due(DAY + 2 * ONE_DAY, (first[-1].account_id, first[-1].series.value))
    assert [due.account_id for due in [*first, *rest]] == homes
    assert book.count_due(DAY + ONE_DAY) == {Series.DAILY: 0, Series.LOAD_CURVE: 0}
    registry.set_state(homes[0], AccountState.PAUSED, now=NOW)
    assert [due.account_id for due in book.due(TODAY)] == homes[1:]
    assert book.count_due(TODAY) == {Series.DAILY: 2, Series.LOAD_CURVE: 0}


def test_a_removal_takes_ledger_and_corrections_with_it(registry: AccountRegistry) -> None:
    home = add(registry)
    note(registry, home, {DAY: LATE})
    corrections = CorrectionTable(registry.database)
    corrections.note([correction(home)])
    registry.remove(home)
    assert registry.completeness.ledger(home, Series.DAILY) == Ledger()
    assert corrections.between(home, Period.DAY, "0", "~") == []
    with pytest.raises(UnknownAccount):
        registry.completeness.exchange(home, Series.DAILY, Ledger(), Ledger(DAY, [COMPLETE]))
    with pytest.raises(UnknownAccount):
        corrections.note([correction(home)])


def test_freshness_counts_active_accounts_whose_day_is_whole(registry: AccountRegistry) -> None:
    whole, behind, paused = (add(registry, number) for number in (11, 12, 13))
    for home, day in ((whole, DAY), (behind, DAY - ONE_DAY), (paused, DAY)):
        note(registry, home, {day: COMPLETE})
    registry.set_state(paused, AccountState.PAUSED, now=NOW)
    assert registry.completeness.complete_since(Series.DAILY, DAY) == (2, 1)


def test_a_curve_that_nobody_switched_on_makes_no_fleet_look_stale(registry: AccountRegistry) -> None:
    for number, mark in ((11, COMPLETE), (12, LATE)):
        note(registry, add(registry, number), {DAY: mark}, Series.LOAD_CURVE)
    add(registry, 13)
    assert registry.completeness.complete_since(Series.LOAD_CURVE, DAY) == (2, 1)
    assert registry.completeness.complete_since(Series.DAILY, DAY) == (3, 0)


def test_an_hours_freshness_is_kept_once(registry: AccountRegistry) -> None:
    book = registry.completeness
    book.keep_freshness(HourFreshness(NOW, Series.DAILY, 5, 3))
    latest = HourFreshness(NOW, Series.DAILY, 5, 4)
    book.keep_freshness(latest)
    assert book.freshness_since(NOW) == [latest]
    assert book.freshness_since(NOW + timedelta(hours=1)) == []
    assert book.forget_freshness_before(NOW + timedelta(hours=1)) == 1


def correction(home: str, was: int = 1000, became: int = 2000, at: datetime = NOW) -> Correction:
    return Correction(home, Period.DAY, "2024-07-01", was, became, NOW - timedelta(days=20), at, "r1")


def test_a_correction_noted_again_after_a_crash_is_one(registry: AccountRegistry) -> None:
    home, book = add(registry), CorrectionTable(registry.database)
    book.note([correction(home)])
    again = correction(home, at=NOW + timedelta(hours=1))
    second = correction(home, 2000, 2500, NOW + timedelta(hours=2))
    book.note([again, second])
    assert book.between(home, Period.DAY, "2024-07-01", "2024-07-02") == [correction(home), second]
    assert book.count_since(NOW) == {Series.DAILY: 2, Series.LOAD_CURVE: 0}
    assert book.count_since(NOW + timedelta(hours=1)) == {Series.DAILY: 1, Series.LOAD_CURVE: 0}
    assert book.forget_before(NOW + timedelta(hours=1)) == 1
