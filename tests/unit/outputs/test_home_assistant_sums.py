"""After any corrections, kills and restarts, Home Assistant holds exactly the sums that the store gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.home_assistant_server import HomeAssistantServer, home_assistant_server
from tests.support.statistic_homes import HOUR, StatisticHome, hours_of
from tests.support.strategies import several
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, civil_date, local_midnight
from worker.errors import NotDelivered
from worker.outputs.output import Change

pytestmark = pytest.mark.sockets

# Around two clock changes and the end of a year, with months of nothing between.
DAYS = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 3, 29), date(2026, 10, 25), date(2026, 10, 26)]
CONSUMPTION, PRODUCTION = (Series.DAILY, Series.LOAD_CURVE), (Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE)
wh = st.integers(0, 9000)
day_numbers = st.integers(0, len(DAYS) - 1)


@dataclass
class Model:
    """What the store must hold, in Wh, kept apart from it."""

    daily: dict[date, int] = field(default_factory=dict)
    hours: dict[datetime, int] = field(default_factory=dict)

    def totals(self) -> dict[date, int]:
        """Return the amount of each known day."""
        totals: dict[date, int] = {}
        for start, amount in self.hours.items():
            totals[civil_date(start)] = totals.get(civil_date(start), 0) + amount
        return totals | self.daily


@st.composite
def corrections(draw: st.DrawFn) -> list[tuple[str, int, list[int]]]:
    """Return steps: what is stored, of which day, and the values."""
    kinds = st.sampled_from(["daily", "whole curve", "part of a curve", "removed hour"])
    return draw(st.lists(st.tuples(kinds, day_numbers, st.lists(wh, min_size=25, max_size=25)), max_size=8))


def apply(home: StatisticHome, model: Model, step: tuple[str, int, list[int]], pair: tuple[Series, Series]) -> Change:
    kind, number, values = step
    day, (daily, curve) = DAYS[number], pair
    newest = max(model.totals(), default=day)
    removable = [
        start
        for start in model.hours
        # The only hour of the newest day, of which nothing would be known then, is never removed.
        if start - HOUR in model.hours and (civil_date(start) < newest or civil_date(start - HOUR) == newest)
    ]
    if kind == "removed hour" and removable:
        # A step that begins in the hour before has taken the place of the steps of this one (rule K5).
        start = removable[values[0] % len(removable)]
        model.hours[start - HOUR] += model.hours.pop(start)
        put = home.put_hours(curve, {start - HOUR: model.hours[start - HOUR]})
        home.remove_hour(curve, start)
        return replace(put, last=start)
    if kind in ("daily", "removed hour"):
        model.daily[day] = values[0] * values[1] % 60_000
        return home.put_day(daily, day, model.daily[day])
    starts = hours_of(day)
    if kind == "part of a curve":
        starts = starts[values[0] % len(starts) :][: 1 + values[1] % 9]
    amounts = dict(zip(starts, values, strict=False))
    model.hours |= amounts
    return home.put_hours(curve, amounts)


def deliver(home: StatisticHome, server: HomeAssistantServer, pending: list[Change], killed_after: int | None) -> bool:
    """Send in small messages, with a new output each time as after a restart; return whether it came through."""
    server.closes_after, server.writes_last = killed_after, bool(killed_after)
    try:
        home.output(server, rows_a_message=40).send(pending)
    except NotDelivered:
        return False
    return True


@pytest.fixture(scope="module")
def server() -> Iterator[HomeAssistantServer]:
    with home_assistant_server() as running:
        yield running


@several
@given(
    steps=corrections(),
    kills=st.lists(st.none() | st.integers(0, 5), min_size=8, max_size=8),
    direction=st.sampled_from([(CONSUMPTION, "consumption"), (PRODUCTION, "production")]),
)
def test_home_assistant_holds_the_sums_of_the_store(
    server: HomeAssistantServer,
    steps: list[tuple[str, int, list[int]]],
    kills: list[int | None],
    direction: tuple[tuple[Series, Series], str],
) -> None:
    pair, name = direction
    home, model, pending = StatisticHome(), Model(), list[Change]()
    server.rows.clear()

    for step, killed_after in zip(steps, kills, strict=False):
        pending.append(apply(home, model, step, pair))
        if deliver(home, server, pending, killed_after):
            pending = []
    if pending:
        assert deliver(home, server, pending, None)

    totals, rows = model.totals(), sorted(server.rows[f"releve:home_{name}"].items())
    sums = [round((row.sum or 0) * 1000) for _, row in rows]
    assert sums == sorted(sums)
    reached = 0
    for day in sorted(totals):
        reached += totals[day]
        of_day = [row for start, row in rows if civil_date(start) == day]
        assert of_day[-1].sum == reached / 1000, f"the sum at the end of {day}"
        assert sum(round((row.state or 0) * 1000) for row in of_day) == totals[day]
    for start, row in rows:
        if row.state is None:
            assert start not in model.hours
        elif start in model.hours and civil_date(start) not in model.daily:
            assert row.state == model.hours[start] / 1000
        elif start not in model.hours:
            assert start == local_midnight(civil_date(start)).astimezone(UTC), "what no hour tells is in the first row"


def test_a_correction_in_the_past_makes_every_later_sum_right() -> None:
    home, first = StatisticHome(), date(2024, 1, 1)
    days = [first + place * ONE_DAY for place in range(900)]
    changes = [home.put_day(Series.DAILY, day, 10_000) for day in days]
    with home_assistant_server() as server:
        home.output(server).send(changes)
        before = dict(server.rows["releve:home_consumption"])
        home.output(server).send([home.put_day(Series.DAILY, days[100], 10_500)])

    rows = sorted(server.rows["releve:home_consumption"].items())
    assert [row.sum for _, row in rows] == [10.0 * (place + 1) + 0.5 * (place >= 100) for place in range(900)]
    sent = [message for message in server.messages if message["type"] == "recorder/import_statistics"]
    assert [len(message["stats"]) for message in sent] == [900, 800], "from the first changed hour on, no more"
    assert len(before) == 900


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_day_that_was_removed_leaves_no_amount_behind(place: int) -> None:
    home, days = StatisticHome(), [date(2026, 11, number) for number in (1, 2, 3)]
    with home_assistant_server() as server:
        home.output(server).send([home.put_day(Series.DAILY, day, 10_000) for day in days])
        home.output(server).send([home.remove_day(Series.DAILY, days[place])])
        later = date(2026, 11, 4)
        home.output(server).send([home.put_day(Series.DAILY, later, 10_000)])

        left = [day for day in (*days, later) if day != days[place]]
        known = {f"{day}": 10.0 for day in left}
        assert server.changes_by_day("releve:home_consumption") == {f"{days[place]}": 0.0} | known
        assert server.rows["releve:home_consumption"][local_midnight(days[place]).astimezone(UTC)].state is None


def test_hours_that_were_removed_carry_the_sum_on_after_later_corrections() -> None:
    home, days = StatisticHome(), [date(2026, 11, number) for number in (1, 2, 3)]
    midnight = hours_of(days[1])[0]
    with home_assistant_server() as server:
        home.output(server).send(
            [
                *(home.put_day(Series.DAILY, day, 10_000) for day in days),
                home.put_hours(Series.LOAD_CURVE, {midnight: 1}),
            ]
        )
        assert len(server.rows["releve:home_consumption"]) == 26
        home.remove_hour(Series.LOAD_CURVE, midnight)
        home.output(server, rows_a_message=1).send([home.put_day(Series.DAILY, days[0], 15_000)])

    by_day = server.changes_by_day("releve:home_consumption")
    assert by_day == {"2026-11-01": 15, "2026-11-02": 10, "2026-11-03": 10}


def test_gas_goes_out_in_kwh_and_in_cubic_metres_from_six_o_clock() -> None:
    home = StatisticHome()
    changes = [
        home.put_day(Series.GAS_DAILY, date(2026, 11, 1), 20_000, volume=1.8),
        home.put_day(Series.GAS_DAILY, date(2026, 11, 2), 30_000),
        home.put_day(Series.GAS_DAILY, date(2026, 11, 3), 40_000, volume=3.6),
    ]
    with home_assistant_server() as server:
        home.output(server).send(changes)

    assert server.changes_by_day("releve:home_gas") == {"2026-11-01": 20, "2026-11-02": 30, "2026-11-03": 40}
    assert server.changes_by_day("releve:home_gas_volume") == {"2026-11-01": 1.8, "2026-11-02": 0, "2026-11-03": 3.6}
    volumes = sorted(server.rows["releve:home_gas_volume"].items())
    assert [(start.hour, row.state) for start, row in volumes] == [(5, 1.8), (5, None), (5, 3.6)]


def test_gas_without_volumes_has_no_statistic_of_them() -> None:
    home = StatisticHome()
    changes = [home.put_day(Series.GAS_DAILY, date(2026, 11, 1), 20_000)]
    with home_assistant_server() as server:
        home.output(server).send(changes)

    assert list(server.rows) == ["releve:home_gas"]


def test_series_that_are_no_statistic_call_nobody() -> None:
    home = StatisticHome()
    with home_assistant_server() as server:
        home.output(server).send([home.put_day(Series.MAX_POWER, date(2026, 11, 1), 6000)])

    assert server.messages == []


def test_the_sum_of_before_is_read_from_daily_values_a_year_at_a_time() -> None:
    home, first = StatisticHome(), date(2024, 1, 1)
    for place in range(900):
        home.put_day(Series.DAILY, first + place * ONE_DAY, 10_000)
        home.put_hours(Series.LOAD_CURVE, {hours_of(first + place * ONE_DAY)[12]: 10_000})
    days, hours = home.measures[Series.DAILY.inputs], home.measures[Series.LOAD_CURVE.totals[0]]
    days_read, hours_read = list[tuple[str, str]](), list[tuple[str, str]]()
    days.before_read = lambda _, begin, end: days_read.append((begin, end))
    hours.before_read = lambda _, begin, end: hours_read.append((begin, end))
    newest = home.put_day(Series.DAILY, first + 899 * ONE_DAY, 11_000)

    with home_assistant_server() as server:
        home.output(server).send([newest])

    assert server.changes_by_day("releve:home_consumption")["2026-06-18"] == 9001, "one row stands for all before"
    years = [("2024-01-01", "2025-01-01"), ("2025-01-01", "2026-01-01"), ("2026-01-01", "2026-06-18")]
    assert days_read == [ALL_KEYS, *years, ("2026-06-18", "2026-11-28")]
    assert hours_read == [ALL_KEYS, ("2026-06-17T22:00Z", "2026-11-27T23:00Z")], "none of the days before"
