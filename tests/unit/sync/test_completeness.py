"""The ledger of days made anew is the one that the walks kept: holes, torn days, clock changes and all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import Row, curve_of, serving_curves, serving_days
from tests.unit.conftest import Household
from worker.domain.measures.completeness import BEFORE, COMPLETE, UNKNOWN, DayState, Ledger, Mark
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series, day_length
from worker.errors import StoreUnavailable, UnknownAccount
from worker.sync.completeness import Rebuild, rebuilt

SPRING, AUTUMN = datetime(2024, 4, 10, 7, 0, tzinfo=UTC), datetime(2024, 11, 5, 7, 0, tzinfo=UTC)
TODAY = date(2024, 7, 25)


def rebuild_of(house: Household) -> Rebuild:
    return Rebuild(house.measures, house.registry.completeness, house.state, house.dispatcher.today)


def kept(house: Household, home: str) -> dict[Series, str]:
    return {series: str(house.registry.completeness.ledger(home, series)) for series in Series}


def told_by_supplier(
    today: date, torn: dict[int, int], lost: set[int]
) -> tuple[dict[date, int], dict[date, list[Row]]]:
    """Thirty days of both series, but for those lost; of those torn so many first steps."""
    days = [today - age * ONE_DAY for age in range(1, 31) if age not in lost]
    rows = {day: curve_of(day, 100) for day in days}
    for age, number in torn.items():
        if (day := today - age * ONE_DAY) in rows:
            rows[day] = rows[day][:number]
    return dict.fromkeys(days, 5000), rows


def sync(house: Household, home: str, values: dict[date, int], rows: dict[date, Sequence[Row]]) -> None:
    house.supplier.daily, house.supplier.curve = serving_days(values), serving_curves(rows)
    house.backfill(home)
    for series in Series:
        house.run(house.dispatcher.look_back_now(home, series))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([SPRING, AUTUMN]),
    st.dictionaries(st.integers(1, 30), st.integers(1, 45), max_size=5),
    st.sets(st.integers(1, 30), max_size=6),
    st.integers(0, 3),
)
def test_a_ledger_made_anew_is_what_the_walks_have_kept(
    household: Household, at: datetime, torn: dict[int, int], lost: set[int], later: int
) -> None:
    house = household.with_settings()
    house.at = at
    number = 11 + len(house.registry.list())
    home = house.registry.add("enedis", f"{30001640000000 + number}", at, token_needed=False)[0].id
    values, rows = told_by_supplier(house.dispatcher.today(), torn, lost)
    sync(house, home, values, rows)
    house.at += timedelta(days=later)
    before = kept(house, home)
    for series in Series:
        assert not rebuild_of(house).run(home, series), "nothing differs"
    assert kept(house, home) == before

    for series in Series:  # lost as a whole: what is stored and what was asked for tell all but the ages
        known = house.registry.completeness.ledger(home, series)
        assert house.registry.completeness.exchange(home, series, known, Ledger())
        assert rebuild_of(house).run(home, series)
        anew = house.registry.completeness.ledger(home, series)
        stored = [day for day, mark in known.days() if mark.state in (DayState.COMPLETE, DayState.PARTIAL)]
        for day, mark in known.days():
            if min(stored) <= day:
                assert (anew.of(day).state, anew.of(day).half_hours) == (mark.state, mark.half_hours), day
            else:
                assert anew.of(day) == UNKNOWN


def test_documents_that_were_lost_are_due_again_and_nobody_invents_days() -> None:
    known = Ledger.parse("2024-07-01 1b 2c 1p46@8 1l@8 1a 1u 1c")
    first = known.start
    assert first is not None
    day = [first + place * ONE_DAY for place in range(12)]
    anew = rebuilt(known, {day[1]: day_length(day[1]), day[7]: timedelta(hours=3)}, [DateWindow(day[6], day[10])])
    assert [anew.of(each) for each in day] == [
        BEFORE,
        COMPLETE,
        Mark(DayState.LATE),  # its documents are gone
        Mark(DayState.LATE, 0, 8),
        Mark(DayState.LATE, 0, 8),
        Mark(DayState.ABSENT),
        Mark(DayState.LATE),  # a finished window held it
        Mark(DayState.PARTIAL, 6),
        Mark(DayState.LATE),
        Mark(DayState.LATE),
        UNKNOWN,
        UNKNOWN,
    ]
    assert {day[2], day[6]} <= set(anew.due(TODAY))


def test_of_a_ledger_and_a_store_that_are_empty_nothing_comes() -> None:
    assert rebuilt(Ledger(), {}, [DateWindow(date(2024, 7, 1), TODAY)]) == Ledger()


@pytest.fixture
def home(household: Household) -> str:
    account = household.add()
    sync(household, account, *told_by_supplier(household.dispatcher.today(), {3: 7}, {5}))
    return account


def test_a_window_stored_meanwhile_is_not_overwritten(household: Household, home: str) -> None:
    today = household.dispatcher.today()
    _, rows = told_by_supplier(today, {}, set())
    known = household.registry.completeness.ledger(home, Series.LOAD_CURVE)
    assert household.registry.completeness.exchange(home, Series.LOAD_CURVE, known, Ledger())
    store = household.measures[Period.MINUTE]

    def store_a_window(*_: object) -> None:
        store.before_read = None
        household.supplier.curve = serving_curves(rows)
        household.run(household.dispatcher.look_back_now(home, Series.LOAD_CURVE))

    store.before_read = store_a_window
    rebuild_of(household).run(home, Series.LOAD_CURVE)
    anew = household.registry.completeness.ledger(home, Series.LOAD_CURVE)
    assert [anew.of(today - age * ONE_DAY) for age in (3, 5)] == [COMPLETE, COMPLETE]


def test_where_days_never_come_to_rest_it_says_so(household: Household, home: str) -> None:
    book, turns = household.registry.completeness, iter(range(1000))

    def change(*_: object) -> None:
        known = book.ledger(home, Series.LOAD_CURVE)
        later = known.noting({TODAY - timedelta(days=400 + next(turns)): BEFORE})
        assert book.exchange(home, Series.LOAD_CURVE, known, later)

    book.exchange(home, Series.LOAD_CURVE, book.ledger(home, Series.LOAD_CURVE), Ledger())
    household.measures[Period.MINUTE].before_read = change
    with pytest.raises(StoreUnavailable, match="keep changing"):
        rebuild_of(household).run(home, Series.LOAD_CURVE)


def test_a_curve_is_read_a_month_at_a_time(household: Household, home: str) -> None:
    spans: list[tuple[str, str]] = []
    household.measures[Period.MINUTE].before_read = lambda _, first, end: spans.append((first[:10], end[:10]))
    rebuild_of(household).run(home, Series.LOAD_CURVE)
    assert len(spans) > 1
    assert all((date.fromisoformat(end) - date.fromisoformat(first)).days <= 32 for first, end in spans[1:])


def test_a_removed_accounts_ledger_is_not_brought_back(household: Household, home: str) -> None:
    household.registry.remove(home)
    with pytest.raises(UnknownAccount):
        rebuild_of(household).run(home, Series.DAILY)
