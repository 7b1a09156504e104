"""A rebuilt ledger of days equals the one that the syncs kept, with gaps, partial days and clock changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import Row, content, curve_of, serving_curves, serving_days
from tests.support.profiles import examples
from tests.unit.conftest import Household
from worker.domain.completeness import BEFORE, COMPLETE, UNKNOWN, DayLedger, DayMark, DayState
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow, day_length, subtract_windows
from worker.errors import StoreUnavailable, UnknownAccount
from worker.sync.history import rebuild_days, rebuild_ledger

SPRING, AUTUMN = datetime(2024, 4, 10, 7, 0, tzinfo=UTC), datetime(2024, 11, 5, 7, 0, tzinfo=UTC)
TODAY = date(2024, 7, 25)


def rebuild(household: Household, account: str, series: Series) -> bool:
    ledgers = household.registry.completeness
    return rebuild_days(household.measures, ledgers, account, series, household.history.today())


def ledger_texts(household: Household, home: str) -> dict[Series, str]:
    return {series: str(household.registry.completeness.load_ledger(home, series)) for series in USUAL_SERIES}


def month_of_supplier(
    today: date, partial: dict[int, int], missing: set[int]
) -> tuple[dict[date, int], dict[date, list[Row]]]:
    """Return thirty days of both series without the missing ones; of a partial day only its first steps."""
    days = [today - age * ONE_DAY for age in range(1, 31) if age not in missing]
    rows = {day: curve_of(day, 100) for day in days}
    for age, number in partial.items():
        if (day := today - age * ONE_DAY) in rows:
            rows[day] = rows[day][:number]
    return dict.fromkeys(days, 5000), rows


def sync(household: Household, home: str, values: dict[date, int], rows: dict[date, Sequence[Row]]) -> None:
    household.supplier.daily, household.supplier.curve = serving_days(values), serving_curves(rows)
    household.backfill(home)
    household.look_back(home)


@settings(max_examples=examples(8, desk=4), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([SPRING, AUTUMN]),
    st.dictionaries(st.integers(1, 30), st.integers(1, 45), max_size=5),
    st.sets(st.integers(1, 30), max_size=6),
    st.integers(0, 3),
)
def test_a_ledger_made_anew_is_what_the_walks_have_kept(
    household: Household, at: datetime, partial: dict[int, int], missing: set[int], later: int
) -> None:
    service = household.with_settings()
    service.at = at
    home = service.add_another()
    values, rows = month_of_supplier(service.history.today(), partial, missing)
    sync(service, home, values, rows)
    service.at += timedelta(days=later)
    before = ledger_texts(service, home)
    for series in USUAL_SERIES:
        assert not rebuild(service, home, series), "nothing differs"
    assert ledger_texts(service, home) == before

    # A ledger lost as a whole: documents give what they tell, and the history asks for the other days once more.
    for series in USUAL_SERIES:
        known = service.registry.completeness.load_ledger(home, series)
        assert service.registry.completeness.replace_if_unchanged(home, series, known, DayLedger())
        assert rebuild(service, home, series)
        rebuilt = service.registry.completeness.load_ledger(home, series)
        for day, mark in known.days():
            is_stored = mark.state in (DayState.COMPLETE, DayState.PARTIAL)
            assert rebuilt.mark_of(day) == (DayMark(mark.state, mark.half_hours) if is_stored else UNKNOWN)
        service.backfill(home)
        again = service.registry.completeness.load_ledger(home, series)
        assert again.stored_days() == known.stored_days()
        assert service.history.load(home, series)[series].loaded
    assert service.backfill(home) == []


def test_documents_that_were_lost_are_due_again_and_nobody_invents_days() -> None:
    known = DayLedger.parse("2024-07-01 1b 2c 1p46@8 1l@8 1a 1u 1c")
    first = known.start
    assert first is not None
    day = [first + place * ONE_DAY for place in range(8)]
    rebuilt = rebuild_ledger(known, {day[1]: day_length(day[1]), day[7]: timedelta(hours=3)})
    assert [rebuilt.mark_of(one_day) for one_day in day] == [
        BEFORE,
        COMPLETE,
        DayMark(DayState.LATE),  # Its documents are gone.
        DayMark(DayState.LATE, 0, 8),
        DayMark(DayState.LATE, 0, 8),
        DayMark(DayState.ABSENT),
        UNKNOWN,
        DayMark(DayState.PARTIAL, 6),
    ]
    whole = DateWindow(day[0], day[-1] + ONE_DAY)
    unasked = [run.start for run in subtract_windows(whole, rebuilt.asked_windows())]
    assert unasked == [day[2], day[6]], "the history asks for them, and the repair for those that it was to ask for"
    assert rebuilt.due_days(TODAY, Series.DAILY) == [day[3], day[4]]


def test_of_a_ledger_and_a_store_that_are_empty_nothing_comes() -> None:
    assert rebuild_ledger(DayLedger(), {}) == DayLedger()


def test_measures_that_were_lost_are_loaded_again_once_the_ledger_is_rebuilt(household: Household, home: str) -> None:
    whole = content(household.measures, home)
    for store in household.measures.values():
        store.documents.clear()
    assert household.backfill(home) == [], "nobody knows of it yet"
    for series in USUAL_SERIES:
        assert rebuild(household, home, series)
    assert household.backfill(home) != []
    assert content(household.measures, home) == whole
    assert household.backfill(home) == []


@pytest.fixture
def home(household: Household) -> str:
    account = household.add()
    sync(household, account, *month_of_supplier(household.history.today(), {3: 7}, {5}))
    return account


def test_a_window_stored_meanwhile_is_not_overwritten(household: Household, home: str) -> None:
    today = household.history.today()
    _, rows = month_of_supplier(today, {}, set())
    known = household.registry.completeness.load_ledger(home, Series.LOAD_CURVE)
    assert household.registry.completeness.replace_if_unchanged(home, Series.LOAD_CURVE, known, DayLedger())
    store = household.measures[Doctype.MINUTE]

    def store_a_window(*_: object) -> None:
        store.before_read = None
        household.supplier.curve = serving_curves(rows)
        household.look_back(home, Series.LOAD_CURVE)

    store.before_read = store_a_window
    rebuild(household, home, Series.LOAD_CURVE)
    rebuilt = household.registry.completeness.load_ledger(home, Series.LOAD_CURVE)
    assert [rebuilt.mark_of(today - age * ONE_DAY) for age in (3, 5)] == [COMPLETE, COMPLETE]


def test_where_days_never_come_to_rest_it_says_so(household: Household, home: str) -> None:
    ledgers, turns = household.registry.completeness, iter(range(1000))

    def change(*_: object) -> None:
        known = ledgers.load_ledger(home, Series.LOAD_CURVE)
        later = known.with_marks({TODAY - timedelta(days=400 + next(turns)): BEFORE})
        assert ledgers.replace_if_unchanged(home, Series.LOAD_CURVE, known, later)

    ledgers.replace_if_unchanged(home, Series.LOAD_CURVE, ledgers.load_ledger(home, Series.LOAD_CURVE), DayLedger())
    household.measures[Doctype.MINUTE].before_read = change
    with pytest.raises(StoreUnavailable, match="are changing the days"):
        rebuild(household, home, Series.LOAD_CURVE)


def test_a_curve_is_read_a_month_at_a_time(household: Household, home: str) -> None:
    spans: list[tuple[str, str]] = []
    household.measures[Doctype.MINUTE].before_read = lambda _, first, end: spans.append((first[:10], end[:10]))
    rebuild(household, home, Series.LOAD_CURVE)
    assert len(spans) > 1
    assert all((date.fromisoformat(end) - date.fromisoformat(first)).days <= 32 for first, end in spans[1:])


def test_a_removed_accounts_ledger_is_not_brought_back(household: Household, home: str) -> None:
    household.registry.accounts.remove(home, household.at)
    with pytest.raises(UnknownAccount):
        rebuild(household, home, Series.DAILY)


def test_hours_from_half_past_leave_half_an_hour_at_both_ends_and_none_between(household: Household) -> None:
    service = household.with_settings()
    service.at = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
    home, first = service.add_another(), datetime(2024, 7, 22, 1, 30)  # noqa: DTZ001  # Labels are local.
    days = [date(2024, 7, day) for day in (22, 23, 24)]
    ends = [first + timedelta(hours=rank) for rank in range(71)]
    rows: dict[date, list[Row]] = {
        day: [[f"{end}", "100", "PT60M"] for end in ends if (end - timedelta(hours=1)).date() == day] for day in days
    }
    sync(service, home, dict.fromkeys(days, 5000), rows)
    ledger = service.registry.completeness.load_ledger(home, Series.LOAD_CURVE)
    assert [str(ledger.mark_of(day)) for day in days] == ["p47@3", "c", "p47@1"]
    assert not rebuild(service, home, Series.LOAD_CURVE), "nothing differs"
