"""Values and drawing of a chart: the span, its slots, and the comparison to the span before."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.documents import DAY_PLACES, STEP_PLACES
from worker.domain.windows import ONE_DAY, PARIS, IntervalReading, day_length, local_midnight
from worker.web.pages.chart_values import Slot, Span, SpanMeasures, View, measures_by_day, measures_by_step
from worker.web.pages.charts import NARROW, WIDE, axis_step, draw_chart, listed_places, summarize, to_chart, to_row
from worker.web.texts import Words

FRENCH = Words("fr")
LATER = date(2030, 1, 1)


def curve(day: date, milliwatt_hours: int = 1000, step_minutes: int = 30) -> list[IntervalReading]:
    step, midnight = timedelta(minutes=step_minutes), local_midnight(day)
    starts = (midnight.timestamp() + rank * step.total_seconds() for rank in range(day_length(day) // step))
    return [IntervalReading(datetime.fromtimestamp(start, PARIS), step, milliwatt_hours) for start in starts]


def days_from(first: date, *energies: int) -> dict[date, int]:
    return {first + rank * ONE_DAY: energy for rank, energy in enumerate(energies)}


def test_spans_follow_the_calendar() -> None:
    february = Span.containing(View.MONTH, date(2024, 2, 29))
    assert (february.start, february.end) == (date(2024, 2, 1), date(2024, 3, 1))
    assert february.before.start == date(2024, 1, 1)
    assert Span.containing(View.YEAR, date(2024, 7, 1)).end == date(2025, 1, 1)
    assert Span.containing(View.DAY, date(2024, 12, 31)).after.start == date(2025, 1, 1)


@given(st.dates(date(2000, 1, 1), date(2090, 1, 1)), st.sampled_from(View))
def test_spans_join_without_hole_or_overlap(day: date, view: View) -> None:
    span = Span.containing(view, day)
    assert span.start <= day < span.end
    assert span.after.before == span and span.before.end == span.start


@pytest.mark.parametrize(
    ("day", "number", "again"), [("2024-03-31", 46, 0), ("2024-10-27", 50, 2), ("2024-07-01", 48, 0)]
)
def test_a_day_has_the_half_hours_that_the_clock_gives_it(day: str, number: int, again: int) -> None:
    day_ = date.fromisoformat(day)
    shown = measures_by_step(Span(View.DAY, day_), curve(day_), {}, LATER)
    assert len(shown.slots) == number and shown.gaps == 0
    assert sum(slot.repeated for slot in shown.slots) == again
    assert shown.total == number * 1000


def test_the_repeated_hour_is_compared_with_none_and_said_in_words() -> None:
    day = date(2024, 10, 27)
    shown = measures_by_step(Span(View.DAY, day), [*curve(day), *curve(day - ONE_DAY, 2000)], {}, LATER)
    rows = [to_row(slot, View.DAY, FRENCH, STEP_PLACES) for slot in shown.slots]
    assert [row.label for row in rows[4:8]] == ["02:00 – 02:30", "02:30 – 02:00", "02:00 – 02:30", "02:30 – 03:00"]
    assert [row.note for row in rows[4:8]] == ["", "", *["deuxième fois, passage à l’heure d’hiver"] * 2]
    assert [row.before for row in rows[4:8]] == ["0,0020", "0,0020", "–", "–"]
    assert any("25 heures" in note for note in to_chart(shown, FRENCH, day - ONE_DAY, day).notes)


def test_a_missing_half_hour_is_a_gap_and_not_zero() -> None:
    day = date(2024, 7, 1)
    readings = curve(day)
    del readings[10]
    readings[11] = IntervalReading(readings[11].start, readings[11].length, 0)
    shown = measures_by_step(Span(View.DAY, day), readings, {}, LATER)
    assert shown.slots[10].gap and shown.slots[10].energy is None
    assert shown.slots[12].energy == 0 and not shown.slots[12].gap
    row = to_row(shown.slots[10], View.DAY, FRENCH, STEP_PLACES)
    assert (row.energy, row.note) == ("–", "pas de données")
    assert to_row(shown.slots[12], View.DAY, FRENCH, STEP_PLACES).energy == "0,0000"


def test_days_to_come_are_no_gaps() -> None:
    first = date(2024, 7, 1)
    shown = measures_by_day(Span(View.MONTH, first), days_from(first, 5000, 6000), first + 3 * ONE_DAY)
    assert [slot.gap for slot in shown.slots[:4]] == [False, False, True, False]
    assert shown.slots[30].pending and shown.gaps == 1


def test_a_month_half_gone_is_compared_over_the_days_that_both_have() -> None:
    days = days_from(date(2024, 6, 1), *[1000] * 30) | days_from(date(2024, 7, 1), 2000, 2000)
    shown = measures_by_day(Span(View.MONTH, date(2024, 7, 1)), days, date(2024, 7, 3))
    assert shown.total == 4000
    assert shown.comparison is not None
    assert (shown.comparison.energy, shown.comparison.before, shown.comparison.number) == (4000, 2000, 2)
    assert shown.comparison.change == 100 and not shown.comparison.whole
    sentence = to_chart(shown, FRENCH, date(2024, 6, 1), date(2024, 7, 2)).summary.comparison
    assert sentence.replace("\N{NO-BREAK SPACE}", " ") == "+100 % par rapport à juin 2024 (2 jours comparés)"


def test_the_29th_of_february_has_no_twin_in_the_year_before() -> None:
    days = days_from(date(2023, 1, 1), *[1000] * 365) | days_from(date(2024, 1, 1), *[1000] * 366)
    shown = measures_by_day(Span(View.YEAR, date(2024, 1, 1)), days, LATER)
    assert shown.total == 366_000
    assert shown.comparison is not None
    assert (shown.comparison.energy, shown.comparison.before) == (365_000, 365_000)


def test_a_month_that_lacks_days_says_so() -> None:
    days = days_from(date(2024, 1, 1), *[1000] * 20)
    january, february, *_ = measures_by_day(Span(View.YEAR, date(2024, 1, 1)), days, date(2024, 2, 10)).slots
    assert (january.energy, january.missing_days) == (20_000, 11)
    assert february.gap and february.missing_days == 9
    assert to_row(january, View.YEAR, Words("en"), DAY_PLACES).note == "11 days missing"


def test_steps_of_ten_minutes_are_shown_as_they_are() -> None:
    day = date(2024, 7, 1)
    assert len(measures_by_step(Span(View.DAY, day), curve(day, step_minutes=10), {}, LATER).slots) == 144


def test_the_total_of_a_day_is_the_suppliers_own_where_it_is_there() -> None:
    day = date(2024, 7, 1)
    assert measures_by_step(Span(View.DAY, day), curve(day)[:40], {day: 48_000}, LATER).total == 48_000
    assert measures_by_step(Span(View.DAY, day), curve(day)[:40], {}, LATER).total == 40_000


@pytest.mark.parametrize(
    ("view", "energies", "total"),
    [
        (View.MONTH, [10_125_000] * 30, "304"),
        (View.MONTH, [62_000, 63_000], "0.13"),
        (View.DAY, [62_500] * 48, "3.00"),
        (View.DAY, [83_333] * 288, "24.00"),
        (View.YEAR, [10_125_000] * 366, "3,706"),
    ],
)
def test_what_the_table_lists_adds_up_to_the_total(view: View, energies: list[int], total: str) -> None:
    first = date(2024, 1, 1) if view is View.YEAR else date(2024, 6, 1)
    span = Span(view, first)
    if view is View.DAY:
        step = ONE_DAY // len(energies)
        starts = [local_midnight(first) + rank * step for rank in range(len(energies))]
        readings = [IntervalReading(start, step, energy) for start, energy in zip(starts, energies, strict=True)]
        shown = measures_by_step(span, readings, {}, LATER)
    else:
        shown = measures_by_day(span, days_from(first, *energies), LATER)
    chart = to_chart(shown, Words("en"), first, first)
    listed = [Decimal(row.energy.replace(",", "")) for row in chart.rows if row.energy != "–"]
    assert sum(listed) * 1_000_000 == sum(energies)
    assert chart.summary.total == f"{total}\N{NO-BREAK SPACE}kWh"
    assert len({-value.as_tuple().exponent for value in listed}) == 1  # One number of places in a column.


@given(st.sampled_from([View.DAY, View.MONTH]), st.lists(st.one_of(st.none(), st.integers(0, 900_000)), max_size=50))
def test_any_table_adds_up_to_its_total_which_is_the_true_one_rounded(view: View, values: list[int | None]) -> None:
    unit = 1 if view is View.DAY else 1000  # Steps are stored in whole mWh, days in whole Wh.
    energies = [None if value is None else value * unit for value in values]
    total = sum(filter(None, energies))
    slots = tuple(Slot(local_midnight(date(2024, 7, 1)), ONE_DAY, energy, None) for energy in energies)
    places = listed_places(slots, view)
    rows = [to_row(slot, view, Words("en"), places) for slot in slots]
    listed = sum(Decimal(row.energy.replace(",", "")) for row in rows if row.energy != "–")
    assert listed == Decimal(Words("en").kwh(total, places).replace(",", ""))
    shown = summarize(SpanMeasures(Span(view, date(2024, 7, 1)), slots, total, None), Words("en")).total
    number = shown.partition("\N{NO-BREAK SPACE}")[0].replace(",", "")
    last_place = Decimal(1).scaleb(-len(number.partition(".")[2]))
    assert Decimal(number) == (Decimal(total) / 1_000_000).quantize(last_place, ROUND_HALF_UP)


@pytest.mark.parametrize(("now", "before", "text"), [(9000, 8000, "+13 %"), (8000, 8000, "Stable"), (1, 9000, "−99 %")])
def test_a_change_is_told_half_up(now: int, before: int, text: str) -> None:
    days = days_from(date(2024, 6, 1), before) | days_from(date(2024, 7, 1), now)
    shown = measures_by_day(Span(View.MONTH, date(2024, 7, 1)), days, LATER)
    comparison = to_chart(shown, FRENCH, date(2024, 6, 1), date(2024, 7, 1)).summary.comparison
    assert comparison.replace("\N{NO-BREAK SPACE}", " ").startswith(text + " par rapport à juin 2024")


def test_the_axis_is_labelled_in_round_numbers() -> None:
    shown = measures_by_day(Span(View.MONTH, date(2024, 7, 1)), days_from(date(2024, 7, 1), 9_800_000), LATER)
    labels = [text.text for text in drawn(shown, WIDE).iter() if text.get("class") == "energy"]
    assert labels == ["0", "2,5", "5,0", "7,5", "10,0"]


def test_a_day_without_its_curve_still_has_its_total() -> None:
    day = date(2024, 7, 1)
    chart = to_chart(measures_by_step(Span(View.DAY, day), [], {day: 7_140_000}, LATER), FRENCH, day, day)
    assert chart.summary.total == "7,14\N{NO-BREAK SPACE}kWh" and chart.drawings == []
    assert chart.notes == ["Le total de ce jour est connu, mais pas sa courbe par demi-heure."]


@given(st.lists(st.integers(0, 30_000_000), min_size=1, max_size=31))
def test_the_axis_holds_every_bar_in_few_round_steps(energies: list[int]) -> None:
    step = axis_step([energy / 1e6 for energy in energies])
    largest = max(max(energies) / 1e6, 0.05)
    assert step <= largest <= 5 * step * 1.000001


def test_a_zero_has_no_bar_but_is_no_gap() -> None:
    days = {date(2024, 7, 1): 0, date(2024, 7, 2): 5000}
    shown = measures_by_day(Span(View.WEEK, date(2024, 7, 1)), days, LATER)
    classes = [element.get("class") for element in drawn(shown, NARROW).iter()]
    assert (classes.count("column"), classes.count("gap"), classes.count("hit")) == (1, 5, 7)


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=lambda size: size.name)
def test_a_drawing_has_a_bar_for_each_value_a_mark_for_each_gap_and_no_script_or_style(size: object) -> None:
    assert size in (WIDE, NARROW)
    day = date(2024, 10, 27)
    readings = curve(day)
    del readings[10]
    shown = measures_by_step(Span(View.DAY, day), [*readings, *curve(day - ONE_DAY)], {}, LATER)
    root = drawn(shown, size)
    classes = [element.get("class") for element in root.iter()]
    assert classes.count("gap") == 1 and classes.count("hit") == 50 and classes.count("again") == 2
    assert (
        sum(name == "column" for name in classes) == 49 + 48
    )  # Slot 10 has no bar, the second pass has none of the day before.
    assert not {"script", "style"} & {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not any("style" in element.attrib for element in root.iter())
    assert root.get("aria-label") == "a <title>"


def drawn(shown: SpanMeasures, size: object) -> ElementTree.Element:
    svg = draw_chart(shown, FRENCH, size, "a <title>")  # type: ignore[arg-type]
    return ElementTree.fromstring(svg)
