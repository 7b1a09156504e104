"""Where a chart leads: bars and rows, weeks, a date, the same month of last year, and how much of a span is known."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html import unescape

import pytest

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.household_pages import FRENCH, record_outcome
from tests.support.panel_homes import PanelHome, store_home
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY
from worker.web.pages.chart_values import Against, Span, View, measures_by_day
from worker.web.pages.charts import summarize, title_of, to_chart, to_rows
from worker.web.texts import Words

FRENCH_WORDS, ENGLISH = Words("fr"), Words("en")
YESTERDAY = TODAY - ONE_DAY


def days_from(first: date, *energies: int) -> dict[date, int]:
    return {first + rank * ONE_DAY: energy for rank, energy in enumerate(energies)}


def plain(text: str) -> str:
    return unescape(text).replace("\N{NO-BREAK SPACE}", " ")


def page_of(service: ApiService, account: str, query: str = "") -> str:
    page = service.browser(account).get(f"/accounts/{account}{query}", headers=FRENCH)
    assert page.status_code == 200
    return plain(page.text)


def bar_links(page: str, size: str = "wide") -> list[tuple[str, str]]:
    """Return address and name of each link in the account's chart."""
    drawing = re.search(rf'<section id="chart".*?(<svg [^>]*chart-{size}.*?</svg>)', page, re.DOTALL)
    assert drawing
    return re.findall(r'<a href="([^"]*)" aria-label="([^"]*)"><rect class="hit"', drawing[1])


@pytest.fixture
def years(service: ApiService) -> str:
    """Return an account with two years of days, up to yesterday."""
    account = service.add(21)
    first = date(2022, 7, 25)
    service.store_days(account, first, [5000] * (TODAY - first).days)
    record_outcome(service, account, Series.DAILY)
    return account


# -- Bars and rows


@pytest.mark.parametrize(
    ("query", "number", "link"),
    [
        ("?by=year&at=2024-07-01", 7, ("?by=month&at=2024-03-01#chart", "mars : 155,000 kWh")),
        ("?by=month&at=2023-02-01", 28, ("?by=day&at=2023-02-12#chart", "dim. 12 févr. : 5,000 kWh")),
        ("?by=week&at=2024-07-25", 3, ("?by=day&at=2024-07-23#chart", "mar. 23 juil. : 5,000 kWh")),
    ],
)
def test_d17_each_bar_and_row_leads_to_the_next_level(
    service: ApiService, years: str, query: str, number: int, link: tuple[str, str]
) -> None:
    page = page_of(service, years, query)
    assert link in bar_links(page) and bar_links(page) == bar_links(page, "narrow")
    assert len(bar_links(page)) == number, "what is still to come leads nowhere"
    rows = re.findall(r'<th scope="row"><a href="([^"]*)">', page)
    assert rows == [href for href, _ in bar_links(page)]
    shown = page_of(service, years, link[0].partition("#")[0])
    assert title_of_page(shown) in {"mars 2024", "dimanche 12 février 2023", "mardi 23 juillet 2024"}


def title_of_page(page: str) -> str:
    match = re.search(r'<h2 id="chart-title">([^<]*)</h2>', page)
    assert match
    return match[1]


def test_d17_a_day_is_the_last_level(service: ApiService, account: str) -> None:
    page = page_of(service, account, f"?by=day&at={YESTERDAY}")
    assert bar_links(page) == [] and 'role="img"' in page and 'role="group" aria-label="Graphique, ' not in page


def test_d17_a_hatched_day_leads_to_its_reason(service: ApiService) -> None:
    account = service.add(22)
    service.store_days(account, date(2024, 7, 1), [5000] * 9)
    service.store_days(account, date(2024, 7, 11), [5000] * 14)
    record_outcome(service, account, Series.DAILY)
    assert ("?by=day&at=2024-07-10#chart", "mer. 10 juil. : pas de total") in bar_links(page_of(service, account))


def test_d17_bars_of_panels_tell_both_directions(service: ApiService) -> None:
    account = service.add(23)
    store_home(service.parts, account, PanelHome(YESTERDAY, days=60))
    links = bar_links(page_of(service, account))
    assert len(links) == 24
    assert all(re.search(r" : [\d,]+ kWh prélevés, [\d,]+ kWh injectés$", label) for _, label in links)


def test_d17_bars_of_gas_lead_to_its_days(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with open_api_service(redis_url, tmp_path_factory.mktemp("gas"), **GAS_SETTINGS) as service:
        account = add_gas(service.parts, GasHome(TODAY - timedelta(days=2)))
        page = page_of(service, account, "?by=week")
        assert [href for href, _ in bar_links(page)] == [f"?by=day&at=2024-07-{day}#chart" for day in (22, 23, 24)], (
            "up to yesterday"
        )
        assert "Semaine" in page and title_of_page(page) == "semaine du 22 au 28 juillet 2024"


# -- Weeks


@pytest.mark.parametrize(
    ("day", "french", "english"),
    [
        (date(2024, 7, 24), "semaine du 22 au 28 juillet 2024", "week of 22 to 28 July 2024"),
        (date(2024, 8, 4), "semaine du 29 juillet au 4 août 2024", "week of 29 July to 4 August 2024"),
        (date(2024, 7, 1), "semaine du 1er au 7 juillet 2024", "week of 1 to 7 July 2024"),
        (date(2026, 2, 1), "semaine du 26 janvier au 1er février 2026", "week of 26 January to 1 February 2026"),
        (
            date(2026, 1, 1),
            "semaine du 29 décembre 2025 au 4 janvier 2026",
            "week of 29 December 2025 to 4 January 2026",
        ),
    ],
)
def test_d17_a_week_goes_from_monday_to_sunday(day: date, french: str, english: str) -> None:
    week = Span.containing(View.WEEK, day)
    assert week.start.weekday() == 0 and len(week.days()) == 7
    assert title_of(week, FRENCH_WORDS) == french and title_of(week, ENGLISH) == english


def test_d17_a_week_is_compared_weekday_by_weekday() -> None:
    monday = date(2024, 7, 22)
    days = days_from(monday - 7 * ONE_DAY, *[1000] * 7, *[2000] * 3)
    shown = measures_by_day(Span(View.WEEK, monday), days, monday + 3 * ONE_DAY)
    assert [slot.before for slot in shown.slots] == [1000] * 7
    comparison = plain(summarize(shown, FRENCH_WORDS).comparison)
    assert comparison == "+100 % par rapport à la semaine du 15 au 21 juillet 2024 (3 jours comparés)"
    assert [row.label for row in to_rows(shown, None, FRENCH_WORDS)][:2] == ["lun. 22 juil.", "mar. 23 juil."]


# -- Comparisons


def test_d17_a_month_is_compared_with_the_same_one_of_last_year() -> None:
    february = Span(View.MONTH, date(2024, 2, 1))
    days = days_from(date(2023, 2, 1), *[2000] * 28) | days_from(date(2024, 1, 1), *[9000] * 31, *[1000] * 29)
    shown = measures_by_day(february, days, date(2024, 3, 1), Against.YEAR)
    assert shown.comparison is not None and (shown.comparison.change, shown.comparison.number) == (-50, 28)
    assert [slot.before for slot in shown.slots] == [2000] * 28 + [None]
    chart = to_chart(shown, FRENCH_WORDS, date(2023, 2, 1), date(2024, 2, 29))
    assert plain(chart.summary.comparison) == "−50 % par rapport à février 2023 (28 jours comparés)"
    assert chart.title_before == "février 2023"


def test_d17_a_week_of_last_year_has_the_same_weekdays() -> None:
    monday = date(2024, 7, 22)
    week = Span(View.WEEK, monday).compared(Against.YEAR)
    assert week == Span.containing(View.WEEK, date(2023, 7, 24)) and week.start == date(2023, 7, 24)


@pytest.mark.parametrize("view", [View.DAY, View.YEAR])
def test_a_day_and_a_year_have_one_comparison(view: View) -> None:
    span = Span.containing(view, date(2024, 7, 22))
    assert span.compared(Against.YEAR) == span.compared(Against.PREVIOUS) == span.before


def test_d17_the_choice_of_a_comparison_is_kept_along_the_way(service: ApiService, years: str) -> None:
    page = page_of(service, years, "?by=month&at=2024-03-01")
    assert '<a href="?by=month&at=2024-03-01&compare=year#chart" >le même mois l’an dernier</a>' in page
    page = page_of(service, years, "?by=month&at=2024-03-01&compare=year")
    assert 'aria-current="true">le même mois l’an dernier</a>' in page and "par rapport à mars 2023" in page
    chart = page.partition('id="chart"')[2].partition("</section>")[0]
    links = [href for href in re.findall(r'href="(\?by=[^"]*)"', chart) if "at=2024-03-01#" not in href]
    assert len(links) > 31 and all("&compare=year#chart" in href for href in links)
    assert '<input type="hidden" name="compare" value="year">' in page


def test_a_home_of_less_than_a_year_is_offered_no_comparison_with_last_year(service: ApiService, account: str) -> None:
    assert "l’an dernier" not in page_of(service, account, "?by=month")
    assert service.browser(account).get(f"/accounts/{account}?compare=never").status_code == 422


# -- A date


def test_d17_a_date_is_reached_by_a_plain_form(service: ApiService, years: str) -> None:
    page = page_of(service, years, "?by=day&at=2024-07-01")
    form = re.search(r'<form method="get" action="#chart">.*?</form>', page, re.DOTALL)
    assert form and '<label for="at">' in form[0] and '<input type="hidden" name="by" value="day">' in form[0]
    assert 'min="2022-07-25" max="2024-07-24" value="2024-07-01"' in form[0]
    assert title_of_page(page_of(service, years, "?by=day&at=2023-03-12")) == "dimanche 12 mars 2023"


# -- A part of a span


def test_d17_a_part_of_a_month_or_year_is_told() -> None:
    days = days_from(date(2024, 1, 1), *[1000] * (31 + 24))
    month, year = (
        measures_by_day(Span(view, start), days, date(2024, 2, 25))
        for view, start in ((View.MONTH, date(2024, 2, 1)), (View.YEAR, date(2024, 1, 1)))
    )
    assert summarize(month, FRENCH_WORDS).known == "24 jours sur 29"
    assert summarize(year, ENGLISH).known == "55 of 366 days"
    assert [row.note for row in to_rows(year, None, FRENCH_WORDS)][:3] == ["", "24 jours sur 29", "pas encore de total"]
    assert [slot.partial for slot in year.slots][:3] == [False, True, False]


def test_d17_a_gap_in_an_unfinished_month_is_told_beside_its_days() -> None:
    days = days_from(date(2024, 2, 3), *[1000] * 22)
    year = measures_by_day(Span(View.YEAR, date(2024, 1, 1)), days, date(2024, 2, 25))
    assert to_rows(year, None, FRENCH_WORDS)[1].note == "22 jours sur 29, 2 jours manquent"


def test_d17_a_whole_month_needs_no_remark() -> None:
    days = days_from(date(2024, 2, 1), *[1000] * 29)
    assert summarize(measures_by_day(Span(View.MONTH, date(2024, 2, 1)), days, date(2024, 3, 1)), ENGLISH).known == ""


def test_d31_a_comparison_without_a_change_is_called_stable(service: ApiService, years: str) -> None:
    assert "Stable par rapport à 2023 (205 jours comparés)" in page_of(service, years, "?by=year&at=2024-07-01")
