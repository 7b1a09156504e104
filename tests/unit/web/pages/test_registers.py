"""The card of the registers: readings and sums by tariff period, and where counting starts anew."""

from __future__ import annotations

from datetime import date

from worker.domain.documents import Entry
from worker.domain.series import Series
from worker.web.pages.cards import RegistersCard, to_registers
from worker.web.pages.chart_values import Span, View
from worker.web.texts import Words

TODAY = date(2024, 7, 25)
YEAR = Span(View.YEAR, date(2024, 1, 1))


def entry(day: str, calendar: str = "", **registers: int) -> Entry:
    details = {"registers": registers, **({"calendar": calendar} if calendar else {})}
    return Entry(day, 1000 * sum(registers.values()), details=details)


def card(entries: list[Entry], at: Span, language: str = "fr") -> RegistersCard:
    return to_registers(Series.REGISTERS, entries, at, Words(language), TODAY)


def test_a_period_has_its_reading_and_the_energy_of_the_span() -> None:
    rows = [entry("2024-06-29", HP=1000, HC=2000), entry("2024-06-30", HP=1100, HC=2000)]
    rows += [entry("2024-07-01", HP=1150, HC=2050), entry("2024-07-02", HP=1153, HC=2057)]
    july = card(rows, Span(View.MONTH, date(2024, 7, 1)))
    assert [(row.name, row.index, row.energy) for row in july.rows] == [
        ("HP", "1,153", "0,003"),
        ("HC", "2,057", "0,007"),
    ]
    assert (july.total.index, july.total.energy, july.day) == ("3,210", "0,010", "2 juillet 2024")
    assert [row.energy for row in card(rows, YEAR).rows] == ["0,153", "0,057"]
    assert [(row.label, row.energies, row.note) for row in july.months] == [
        ("juin", ["0,150", "0,050"], "28 jours manquent"),
        ("juillet", ["0,003", "0,007"], "23 jours manquent"),
    ]


def test_the_last_day_of_a_year_counts_by_the_midnight_that_ends_it() -> None:
    rows = [entry("2023-12-31", BASE=1000), entry("2024-01-01", BASE=1400), entry("2024-01-02", BASE=1500)]
    shown = card(rows[:2], Span(View.YEAR, date(2023, 1, 1)))
    assert shown.total.energy == "0,400"


def test_a_period_that_we_do_not_know_is_named_as_it_was_sent() -> None:
    shown = card([entry("2024-07-01", SUPERHC=5, BASE=1)], YEAR, "en")
    assert [(row.name, row.about) for row in shown.rows] == [("SUPERHC", ""), ("BASE", "all day")]
    assert shown.total.energy == "–" and shown.months == []


def test_a_changed_meter_or_calendar_is_said_and_no_energy_is_negative() -> None:
    rows = [entry("2024-07-01", HP=9000, HC=9000), entry("2024-07-02", HP=5, HC=5), entry("2024-07-03", HP=9, HC=6)]
    rows.append(entry("2024-07-04", BASE=20))
    shown = card(rows, YEAR)
    assert [note.split(".")[0] for note in shown.notes] == [
        "La répartition par période tarifaire n’est pas connue pour 23 jours",
        "Le 2 juillet 2024, le compteur a été remplacé",
        "Le 4 juillet 2024, les périodes tarifaires ont changé",
    ]
    assert [(row.name, row.index, row.energy) for row in shown.rows] == [
        ("BASE", "0,020", "–"),
        ("HP", "–", "0,004"),
        ("HC", "–", "0,001"),
    ]


def test_a_total_alone_has_one_row() -> None:
    rows = [Entry("2024-07-01", 5_000_000), Entry("2024-07-02", 6_500_000)]
    shown = card(rows, YEAR)
    assert shown.rows == [] and (shown.total.index, shown.total.energy) == ("6,500", "1,500")
