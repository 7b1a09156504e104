"""The card of the maximum power: by day and by month, with the line of the subscribed power."""

from __future__ import annotations

from datetime import date

import pytest

from worker.domain.documents import Entry
from worker.domain.series import Series
from worker.domain.totals import to_peaks
from worker.web.pages.cards import PowerCard, to_power
from worker.web.pages.chart_values import Span, View
from worker.web.texts import Words

FRENCH, ENGLISH = Words("fr"), Words("en")
JULY = Span(View.MONTH, date(2024, 7, 1))


def entry(key: str, va: int, at: str | None = None) -> Entry:
    return Entry(key, va * 1000, details={"at": at} if at else None)


POWERS = [
    entry("2024-03-02", 7000, "2024-03-02T19:40:00+01:00"),
    entry("2024-07-03", 4638, "2024-07-03T12:06:20+02:00"),
    entry("2024-07-04", 5999),
    entry("2024-07-06", 6001, "2024-07-06T20:10:00+02:00"),
]
CONTRACTS = [entry("2024-01-01", 9000), entry("2024-07-06", 6000)]


def card(at: Span = JULY, words: Words = FRENCH, contracts: list[Entry] = CONTRACTS) -> PowerCard:
    return to_power(Series.MAX_POWER, to_peaks(POWERS, contracts), contracts, at, words)


def test_a_month_has_a_row_for_each_day_with_its_instant_and_its_limit() -> None:
    rows = card().rows
    assert len(rows) == 31
    assert (rows[2].power, rows[2].at, rows[2].subscribed) == ("4,638", "12:06", "9\N{NO-BREAK SPACE}kVA")
    assert (rows[3].power, rows[3].at) == ("5,999", "")
    assert (rows[4].power, rows[5].subscribed) == ("–", "6\N{NO-BREAK SPACE}kVA")


def test_a_year_has_a_row_for_each_month_with_the_day_of_its_highest() -> None:
    rows = card(Span(View.YEAR, date(2024, 1, 1))).rows
    assert len(rows) == 12
    assert (rows[2].power, rows[2].at) == ("7,000", "sam. 2 mars 19:40")
    assert (rows[6].power, rows[6].at) == ("6,001", "sam. 6 juil. 20:10")


@pytest.mark.parametrize(
    ("span", "titles"),
    [
        (Span(View.DAY, date(2024, 7, 3)), ["mercredi 3 juillet 2024", "juillet 2024", "2024"]),
        (JULY, ["juillet 2024", "2024"]),
        (Span(View.YEAR, date(2024, 1, 1)), ["2024"]),
    ],
)
def test_the_highest_of_day_month_and_year_come_as_far_as_the_span_tells_them(span: Span, titles: list[str]) -> None:
    highest = card(span).highest
    assert [title for title, _ in highest] == titles
    assert highest[-1] == ("2024", "7,000\N{NO-BREAK SPACE}kVA, le 2 mars 2024 à 19:40")


def test_a_day_is_above_the_power_that_was_subscribed_then() -> None:
    assert card().above == "En 2024, il y a eu 1 jour de dépassement de la puissance souscrite."
    never = "En 2024, la puissance souscrite n’a jamais été dépassée."
    assert card(contracts=CONTRACTS[:1]).above == never
    assert card(contracts=[]).above == "" and card(contracts=[]).subscribed == ""


def test_a_line_goes_in_steps_where_the_subscribed_power_changed() -> None:
    wide, narrow = card(words=ENGLISH).drawings
    for drawing in (wide, narrow):
        path = drawing.split('class="limit" d="')[1].split('"')[0]
        assert path.count("M") == 1 and path.count("V") == 31 - 1 and path.count("H") == 31
        assert len(set(path.replace("H", " ").replace("V", " V").split())) > 3


def test_a_month_without_a_power_says_so() -> None:
    shown = card(Span(View.MONTH, date(2024, 5, 1)))
    assert shown.drawings == [] and shown.notes == ["Aucune donnée pour cette période."]
