"""The tables of day ledgers and corrections, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from tests.support.registries import record_outcome, set_history_due
from worker.domain.account import AccountState
from worker.domain.completeness import COMPLETE, DayLedger, DayMark, DayState, mark_days
from worker.domain.documents import REMOVED
from worker.domain.series import Doctype, Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, DateWindow, HistoryDays
from worker.errors import UnknownAccount
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import HourFreshness, RunOutcome
from worker.stores.registry.supplier_answers import Correction, CorrectionTable
from worker.stores.registry.tables import ACCOUNTS, CORRECTIONS

NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
TODAY = date(2024, 7, 25)
DAY = date(2024, 7, 1)
LATE = DayMark(DayState.LATE, 0, 1)


def add_account(registry: Registry, number: int = 11) -> str:
    return registry.accounts.add("enedis", f"300016400000{number}", NOW, token_needed=False)[0].id


def record_marks(
    registry: Registry, account_id: str, marks: dict[date, DayMark], series: Series = Series.DAILY
) -> None:
    registry.outcomes.record(
        account_id, series.value, "r1", NOW, RunOutcome(code=None, message="", last_day=None, stored=True, days=marks)
    )


def test_what_is_known_of_days_is_kept_beside_the_outcome(registry: Registry) -> None:
    account_id = add_account(registry)
    record_marks(registry, account_id, {DAY: LATE})
    record_marks(registry, account_id, {DAY: COMPLETE, DAY + ONE_DAY: LATE})
    table = registry.completeness
    assert str(table.load_ledger(account_id, Series.DAILY)) == "2024-07-01 1c 1l@1"
    assert str(table.load_ledger(account_id, Series.LOAD_CURVE)) == ""


def test_two_workers_noting_other_days_at_once_lose_none(registry: Registry) -> None:
    account_id = add_account(registry)
    days = [DAY + number * ONE_DAY for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: record_marks(registry, account_id, {day: COMPLETE}), days))
    assert str(registry.completeness.load_ledger(account_id, Series.DAILY)) == "2024-07-01 12c"


def test_all_days_told_anew_take_the_place_of_what_was_read_and_of_nothing_else(registry: Registry) -> None:
    account_id, table = add_account(registry), registry.completeness
    assert table.replace_if_unchanged(account_id, Series.DAILY, DayLedger(), DayLedger(DAY, [LATE]))
    read = table.load_ledger(account_id, Series.DAILY)
    record_marks(registry, account_id, {DAY: COMPLETE})
    assert not table.replace_if_unchanged(account_id, Series.DAILY, read, DayLedger(DAY, [LATE, LATE])), (
        "a window was stored meanwhile"
    )
    assert str(table.load_ledger(account_id, Series.DAILY)) == "2024-07-01 1c"
    assert table.replace_if_unchanged(
        account_id, Series.DAILY, table.load_ledger(account_id, Series.DAILY), DayLedger(DAY, [LATE])
    )
    due = registry.due.list_repairs(TODAY, 10)
    assert [(row.account_id, row.series) for row in due] == [(account_id, Series.DAILY)], "what is due follows"


def test_open_days_are_found_when_they_fall_due(registry: Registry) -> None:
    account_ids = sorted(add_account(registry, number) for number in (11, 12, 13))
    for account_id in account_ids:
        record_marks(registry, account_id, {DAY: LATE})
        record_marks(registry, account_id, {DAY: COMPLETE}, Series.LOAD_CURVE)
    table, due = registry.completeness, registry.due
    assert due.list_repairs(DAY + ONE_DAY, 10) == []
    assert [row.account_id for row in due.list_repairs(DAY + 2 * ONE_DAY, 10)] == account_ids
    assert [row.account_id for row in due.list_repairs(DAY + 2 * ONE_DAY, 2)] == account_ids[:2]
    assert table.count_due(DAY + ONE_DAY) == {}
    registry.accounts.set_state(account_ids[0], AccountState.PAUSED, now=NOW)
    assert [row.account_id for row in due.list_repairs(TODAY, 10)] == account_ids[1:]
    assert table.count_due(TODAY) == {Series.DAILY: 2}


def test_a_removal_takes_ledger_and_corrections_with_it(registry: Registry) -> None:
    account_id = add_account(registry)
    record_marks(registry, account_id, {DAY: LATE})
    corrections = CorrectionTable(registry.database)
    corrections.record([correction(account_id)])
    registry.accounts.remove(account_id, NOW)
    assert registry.completeness.load_ledger(account_id, Series.DAILY) == DayLedger()
    assert corrections.list_between(account_id, Doctype.DAY, "0", "~") == []
    with pytest.raises(UnknownAccount):
        registry.completeness.replace_if_unchanged(account_id, Series.DAILY, DayLedger(), DayLedger(DAY, [COMPLETE]))
    with pytest.raises(UnknownAccount):
        corrections.record([correction(account_id)])


def test_freshness_counts_active_accounts_whose_day_is_whole(registry: Registry) -> None:
    whole, behind, paused = (add_account(registry, number) for number in (11, 12, 13))
    for account_id, day in ((whole, DAY), (behind, DAY - ONE_DAY), (paused, DAY)):
        record_marks(registry, account_id, {day: COMPLETE})
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    assert registry.completeness.count_complete({Series.DAILY: DAY})[Series.DAILY] == (2, 1)


def test_a_curve_that_nobody_switched_on_makes_no_fleet_look_stale(registry: Registry) -> None:
    for number, mark in ((11, COMPLETE), (12, LATE)):
        record_marks(registry, add_account(registry, number), {DAY: mark}, Series.LOAD_CURVE)
    add_account(registry, 13)
    assert registry.completeness.count_complete({Series.LOAD_CURVE: DAY})[Series.LOAD_CURVE] == (2, 1)
    assert registry.completeness.count_complete({Series.DAILY: DAY})[Series.DAILY] == (3, 0)


def test_an_hours_freshness_is_kept_once(registry: Registry) -> None:
    table = registry.completeness
    table.save_freshness(HourFreshness(NOW, Series.DAILY, 5, 3))
    latest = HourFreshness(NOW, Series.DAILY, 5, 4)
    table.save_freshness(latest)
    assert table.list_freshness_since(NOW) == [latest]
    assert table.list_freshness_since(NOW + timedelta(hours=1)) == []
    assert table.delete_freshness_before(NOW + timedelta(hours=1)) == 1


def correction(account_id: str, was: int = 1000, became: int = 2000, at: datetime = NOW) -> Correction:
    return Correction(account_id, Doctype.DAY, "2024-07-01", was, became, NOW - timedelta(days=20), at, "r1")


def test_a_correction_noted_again_after_a_crash_is_one(registry: Registry) -> None:
    account_id, table = add_account(registry), CorrectionTable(registry.database)
    table.record([correction(account_id)])
    again = correction(account_id, at=NOW + timedelta(hours=1))
    second = correction(account_id, 2000, 2500, NOW + timedelta(hours=2))
    table.record([again, second])
    assert table.list_between(account_id, Doctype.DAY, "2024-07-01", "2024-07-02") == [correction(account_id), second]
    assert table.count_since(NOW) == {Series.DAILY: 2}
    assert table.count_since(NOW + timedelta(hours=1)) == {Series.DAILY: 1}
    assert table.delete_before(NOW + timedelta(hours=1)) == 1


def record_all(registry: Registry, *amounts: int, every: timedelta = timedelta(hours=1)) -> list[Correction]:
    """Record that a value became one amount after the other, and return what the journal says of it."""
    account_id, table = add_account(registry), CorrectionTable(registry.database)
    for number, (was, became) in enumerate(pairwise(amounts)):
        table.record([correction(account_id, was, became, NOW + number * every)])
    return table.list_between(account_id, Doctype.DAY, "0", "~")


@pytest.mark.parametrize("every", [timedelta(hours=1), timedelta(0)], ids=["hours apart", "in one second"])
def test_a_value_that_goes_to_and_fro_is_a_change_each_time(registry: Registry, every: timedelta) -> None:
    """N3: the second change from 24 to 31.2 kWh was not there."""
    amounts = [24_000, 31_200, 24_000, 31_200, 24_000, 0, 24_000]
    changes = record_all(registry, *amounts, every=every)
    assert [(change.was_amount, change.became_amount) for change in changes] == list(pairwise(amounts))


def test_steps_that_go_to_others_and_come_back_go_each_time(registry: Registry) -> None:
    account_id, table = add_account(registry), CorrectionTable(registry.database)
    gone = [correction(account_id, was, REMOVED, NOW + was * timedelta(hours=1)) for was in (1, 2, 3)]
    for change in gone:
        table.record([change])
        table.record([replace(change, changed_at=change.changed_at + timedelta(minutes=1))])
    assert table.list_between(account_id, Doctype.DAY, "0", "~") == gone


def test_changes_that_workers_of_0_2_0_record_meanwhile_are_read_beside_the_others(registry: Registry) -> None:
    account_id, table = add_account(registry), CorrectionTable(registry.database)
    older, ours, theirs, back = (
        correction(account_id, was, became, NOW + hour * timedelta(hours=1))
        for hour, (was, became) in enumerate(pairwise([1, 2, 1, 2, 1]))
    )

    def record_as_0_2_0(*changes: Correction) -> None:
        with registry.database.writing() as connection:
            connection.execute(insert(CORRECTIONS), [asdict(change) for change in changes])

    record_as_0_2_0(older)
    table.record([older])  # Of a message that a worker of before had begun.
    table.record([ours])
    record_as_0_2_0(ours, replace(theirs, key="2024-07-02"))
    table.record([replace(back, key="2024-07-02")])
    changes = [older, ours, replace(theirs, key="2024-07-02"), replace(back, key="2024-07-02")]
    assert table.list_between(account_id, Doctype.DAY, "0", "~") == changes
    assert table.count_since(NOW + timedelta(hours=1)) == {Series.DAILY: 3}
    assert len(registry.database.fetch(select(CORRECTIONS))) == 3, "ours go to the table of today alone"
    assert table.delete_before(NOW + timedelta(hours=2)) == 3
    registry.accounts.remove(account_id, NOW)
    assert table.count_since(NOW) == {}


WANTED = DateWindow(TODAY - 1095 * ONE_DAY, TODAY)


def record_window(registry: Registry, account_id: str, window: DateWindow, **changes: Any) -> HistoryDays:
    """Record that a window of daily values is stored whole."""
    days = mark_days(window, {}, TODAY)
    usual = {"code": None, "message": "", "last_day": None, "stored": True, "days": days, "wanted": WANTED}
    return registry.outcomes.record(account_id, "daily", "r1", NOW, RunOutcome(**usual | changes))


def history_due_at(registry: Registry, account_id: str) -> datetime | None:
    return registry.outcomes.load(account_id)[Series.DAILY].history_due_at


def test_a_recorded_window_tells_what_of_the_history_is_done_and_a_reader_sees_the_same(
    registry: Registry,
) -> None:
    account_id = add_account(registry)
    newest = DateWindow(TODAY - 365 * ONE_DAY, TODAY)
    recorded = record_window(registry, account_id, newest)
    assert (recorded.asked, recorded.loaded) == ([newest], False)
    assert registry.completeness.load_histories(account_id, {Series.DAILY: WANTED}) == {Series.DAILY: recorded}
    assert history_due_at(registry, account_id) is not None, "it goes on"
    assert record_window(registry, account_id, DateWindow(WANTED.start, newest.start)).loaded
    assert history_due_at(registry, account_id) is None


def test_the_floor_of_the_supplier_is_one_mark_and_ends_the_history(registry: Registry) -> None:
    account_id, floor = add_account(registry), TODAY - 100 * ONE_DAY
    history = record_window(registry, account_id, DateWindow(floor, TODAY), floor=floor)
    assert (history.loaded, history.missing_windows()) == (True, [])
    assert str(registry.completeness.load_ledger(account_id, Series.DAILY)) == f"{floor - ONE_DAY} 1b 100c"
    assert history_due_at(registry, account_id) is None


def test_days_before_the_accounts_first_one_are_not_missing(registry: Registry) -> None:
    account_id, first_day = add_account(registry), TODAY - 10 * ONE_DAY
    for column in (ACCOUNTS.c.activated_on, ACCOUNTS.c.data_from):
        registry.database.change(update(ACCOUNTS).values({column: first_day}))
        (history,) = registry.completeness.load_histories(account_id, {Series.DAILY: WANTED}).values()
        assert history.undone_windows() == [DateWindow(first_day, TODAY)]
        for _ in range(2):
            assert record_window(registry, account_id, DateWindow(first_day, TODAY)).loaded
        ledger = registry.completeness.load_ledger(account_id, Series.DAILY)
        assert str(ledger) == f"{first_day} 10c", "it is no floor of the supplier"
        assert registry.completeness.replace_if_unchanged(account_id, Series.DAILY, ledger, DayLedger())
        registry.database.change(update(ACCOUNTS).values({column: None}))


def test_of_a_row_that_0_2_0_has_loaded_the_next_record_marks_where_it_begins(registry: Registry) -> None:
    account_id = add_account(registry)
    record_marks(registry, account_id, {TODAY - 3 * ONE_DAY: COMPLETE, TODAY - 2 * ONE_DAY: COMPLETE})
    set_history_due(registry, account_id, Series.DAILY, None)
    yesterday = DateWindow(TODAY - ONE_DAY, TODAY)
    assert record_window(registry, account_id, yesterday).loaded
    ledger = registry.completeness.load_ledger(account_id, Series.DAILY)
    assert str(ledger) == f"{TODAY - 4 * ONE_DAY} 1b 3c"
    record_window(registry, account_id, yesterday)
    assert registry.completeness.load_ledger(account_id, Series.DAILY) == ledger, "once"


def test_a_history_that_waits_for_a_try_keeps_its_time_while_nights_go_on(registry: Registry) -> None:
    account_id, tomorrow = add_account(registry), NOW + timedelta(days=1)
    set_history_due(registry, account_id, Series.DAILY, tomorrow)
    night = DateWindow(TODAY - 7 * ONE_DAY, TODAY)
    record_window(registry, account_id, night)
    assert history_due_at(registry, account_id) == tomorrow
    record_window(registry, account_id, night, due_changes={"history_due_at": NOW})
    assert history_due_at(registry, account_id) == NOW, "a window of its own was stored"


def test_a_rebuilt_ledger_lets_the_history_go_on(registry: Registry) -> None:
    account_id, table = add_account(registry), registry.completeness
    record_window(registry, account_id, WANTED)
    known = table.load_ledger(account_id, Series.DAILY)
    lost = known.with_marks({TODAY - 9 * ONE_DAY: DayMark(DayState.LATE)})
    assert table.replace_if_unchanged(account_id, Series.DAILY, known, lost)
    assert history_due_at(registry, account_id) == NOW
    assert registry.due.list_repairs(TODAY, 10) == []
    (history,) = table.load_histories(account_id, {Series.DAILY: WANTED}).values()
    assert history.undone_windows() == [DateWindow(TODAY - 9 * ONE_DAY, TODAY - 8 * ONE_DAY)]


def test_a_state_is_asked_for_until_it_was_told_once(registry: Registry) -> None:
    account_id, wanted = add_account(registry), {Series.CONTRACT: DateWindow(TODAY - ONE_DAY, TODAY)}
    registry.outcomes.switch(account_id, Series.CONTRACT, SeriesSwitch.ON, NOW)
    assert registry.completeness.load_histories(account_id, wanted)[Series.CONTRACT].count() == (0, 1)
    record_outcome(registry, account_id, "r1", series=Series.CONTRACT)
    assert registry.completeness.load_histories(account_id, wanted)[Series.CONTRACT].count() == (1, 1)


def test_what_was_recorded_since_a_moment_is_found(registry: Registry) -> None:
    account_id, _ = add_account(registry), add_account(registry, 12)
    record_marks(registry, account_id, {DAY: COMPLETE})
    assert registry.completeness.list_updated_since(NOW) == [(account_id, Series.DAILY)]
    assert registry.completeness.list_updated_since(NOW + timedelta(seconds=1)) == []
