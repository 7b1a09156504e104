"""Registers: the energy of a day by tariff period, and where a sequence ends."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import several
from worker.domain.documents import Entry
from worker.domain.tariffs import (
    BreakCause,
    DayEnergy,
    MonthEnergy,
    SequenceBreak,
    day_energies,
    find_breaks,
    month_energies,
)
from worker.domain.windows import ONE_DAY

FIRST = date(2024, 7, 1)


def index(day: date, calendar: str | None = "Heures Pleines/Creuses", **registers: int) -> Entry:
    told = {"calendar": calendar} if calendar else {}
    return Entry(str(day), 1000 * sum(registers.values()), details={**told, "registers": registers})


def day(number: int) -> date:
    return FIRST + number * ONE_DAY


def test_a_day_is_the_difference_of_its_two_midnights() -> None:
    entries = [index(day(0), HC=100, HP=500), index(day(1), HC=130, HP=500), index(day(2), HC=131, HP=1700)]
    assert list(day_energies(entries)) == [
        DayEnergy(day(0), {"HC": 30, "HP": 0}, 30),
        DayEnergy(day(1), {"HC": 1, "HP": 1200}, 1201),
    ]
    assert list(find_breaks(entries)) == []


def test_a_missing_midnight_gives_no_day_and_is_no_break() -> None:
    entries = [index(day(0), HP=1), index(day(1), HP=2), index(day(3), HP=9), index(day(4), HP=11)]
    assert [(energy.day, energy.total) for energy in day_energies(entries)] == [(day(0), 1), (day(3), 2)]
    assert list(find_breaks(entries)) == []
    assert list(day_energies([])) == list(day_energies(entries[:1])) == []


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        (index(day(0), HC=100, HP=500), index(day(1), HC=90, HP=600), BreakCause.FELL_BACK),
        (index(day(0), HC=100, HP=500), index(day(1), HC=0, HP=3), BreakCause.METER_REPLACED),
        (index(day(0), HC=100, HP=500), index(day(1), HC=5_000_000, HP=600), BreakCause.METER_REPLACED),
        (index(day(0), HC=100, HP=500), index(day(1), HC=100, HP=500, HSC=0), BreakCause.CALENDAR_CHANGED),
        (index(day(0), HC=100, HP=500), index(day(1), "Tempo", HC=101, HP=501), BreakCause.CALENDAR_CHANGED),
        (index(day(0), HC=100, HP=500), index(day(1), BASE=700), BreakCause.CALENDAR_CHANGED),
        (index(day(0), HC=100, HP=500), index(day(5), HC=90, HP=600), BreakCause.FELL_BACK),
    ],
)
def test_what_is_no_sequence_is_reported_and_gives_no_energy(before: Entry, after: Entry, cause: BreakCause) -> None:
    end = date.fromisoformat(after.key)
    later = after._replace(key=str(end + ONE_DAY))
    assert list(find_breaks([before, after, later])) == [SequenceBreak(day(0), end, cause)]
    assert [energy.day for energy in day_energies([before, after, later])] == [end]


def test_a_calendar_that_one_answer_leaves_out_is_no_other_calendar() -> None:
    entries = [index(day(0), HP=1), index(day(1), None, HP=2), index(day(2), HP=3)]
    assert len(list(day_energies(entries))) == 2


def test_a_total_alone_has_no_periods() -> None:
    entries = [Entry(str(day(0)), 5_000), Entry(str(day(1)), 7_000)]
    assert list(day_energies(entries)) == [DayEnergy(day(0), {}, 2)]


def test_a_month_adds_its_days_up_and_says_how_many_it_lacks() -> None:
    entries = [index(day(number), HC=10 * number, HP=100 * number) for number in range(60) if number not in (5, 40)]
    days = list(day_energies(entries))
    assert month_energies(days, date(2024, 12, 1)) == [
        MonthEnergy("2024-07", {"HC": 290, "HP": 2900}, 3190, 29, 2),
        MonthEnergy("2024-08", {"HC": 260, "HP": 2600}, 2860, 26, 5),
    ]
    assert [month.lacking for month in month_energies(days, date(2024, 8, 30))] == [2, 3]
    assert month_energies([], FIRST) == []


READINGS = st.dictionaries(st.sampled_from(["HC", "HP", "BASE"]), st.integers(0, 2_000_000), min_size=1, max_size=3)


@several
@given(st.lists(st.tuples(st.integers(1, 3), READINGS), max_size=12))
def test_no_energy_is_ever_negative_and_each_day_has_one_at_most(readings: list[tuple[int, dict[str, int]]]) -> None:
    at, entries = FIRST, []
    for days, registers in readings:
        at += timedelta(days=days)
        entries.append(index(at, None, **registers))
    energies, breaks = list(day_energies(entries)), list(find_breaks(entries))
    assert all(value >= 0 for energy in energies for value in energy.by_period.values())
    assert all(sum(energy.by_period.values()) == energy.total for energy in energies)
    assert len({energy.day for energy in energies}) == len(energies)
    broken = {gone for sequence in breaks for gone in (sequence.last, sequence.day - ONE_DAY)}
    assert not broken & {energy.day for energy in energies}
