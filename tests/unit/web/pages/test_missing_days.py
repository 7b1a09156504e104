"""Why a day is missing: on its own page, in its month and at the badge, in the words of ``releve explain``."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from functools import partial

import pytest

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.household_pages import FRENCH, record_outcome
from worker.accounts.status import status_of
from worker.domain.account import AccountState
from worker.domain.clock import Clock
from worker.domain.completeness import DayLedger
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS
from worker.runtime.sync_parts import build_explainer
from worker.web.pages.account_head import explain_lateness
from worker.web.pages.chart_values import Span, View
from worker.web.pages.charts import title_of as title_of_span
from worker.web.texts import Words

YESTERDAY = TODAY - ONE_DAY
STORED = 30  # Days before yesterday.


def store_ledger(service: ApiService, account: str, series: Series, first: date, runs: str) -> None:
    table = service.parts.stores.registry.completeness
    ledger = DayLedger.parse(f"{first} {runs}")
    assert table.replace_if_unchanged(account, series, table.load_ledger(account, series), ledger)


@pytest.fixture
def late(service: ApiService) -> str:
    """Return an account whose yesterday is missing; nothing says yet whether it was asked for."""
    account = service.add(14)
    first = YESTERDAY - STORED * ONE_DAY
    service.store_days(account, first, [5000] * STORED)
    record_outcome(service, account, Series.DAILY, day=YESTERDAY - ONE_DAY)
    store_ledger(service, account, Series.DAILY, first, f"{STORED}c")
    return account


def page_of(service: ApiService, account: str, query: str = "", language: str = "fr", section: str = "") -> str:
    headers = FRENCH if language == "fr" else {"Accept-Language": language}
    page = service.browser(account).get(f"/accounts/{account}{section}?{query}", headers=headers)
    assert page.status_code == 200
    return page.text.replace("\N{NO-BREAK SPACE}", " ")


def title_of(page: str) -> str:
    match = re.search(r'<h2 id="chart-title">([^<]*)</h2>', page)
    assert match
    return match[1]


def sentence_of(service: ApiService, account: str, day: date, language: str = "fr") -> str:
    explanation = build_explainer(service.parts.stores, service.parts.sync).explain(
        service.parts.stores.registry.accounts.get_existing(account), day
    )
    return explanation.series[Series.DAILY].sentences[language]


@pytest.mark.parametrize("language", ["fr", "en"])
def test_d8_the_page_of_yesterday_says_why_it_is_missing(service: ApiService, late: str, language: str) -> None:
    store_ledger(service, late, Series.DAILY, YESTERDAY - STORED * ONE_DAY, f"{STORED}c 1l@1")
    page = page_of(service, late, f"by=day&at={YESTERDAY}", language)
    assert title_of(page) == {"fr": "mercredi 24 juillet 2024", "en": "Wednesday, 24 July 2024"}[language]
    sentence = sentence_of(service, late, YESTERDAY, language)
    assert {"fr": "n’a pas encore publié", "en": "has not yet published"}[language] in sentence
    assert f'<p class="note">{sentence}</p>' in page


@pytest.mark.parametrize(
    ("language", "good"), [("fr", ("Tout va bien", "chaque matin.")), ("en", ("All is well",) * 2)]
)
def test_d8_the_badge_says_that_yesterday_is_late_and_why(
    service: ApiService, late: str, language: str, good: tuple[str, str]
) -> None:
    assert all(words in page_of(service, late, "", language, "/connection") for words in good), (
        "nobody could ask for it yet"
    )
    store_ledger(service, late, Series.DAILY, YESTERDAY - STORED * ONE_DAY, f"{STORED}c 1l@1")
    page = page_of(service, late, "", language, "/connection")
    box = page[page.index('id="connection"') :]
    assert not any(words in page for words in good)
    assert {"fr": "Données en retard", "en": "Data is late"}[language] in page and sentence_of(
        service, late, YESTERDAY, language
    ) in box


@pytest.mark.parametrize(
    ("nightly_at", "early", "from_then_on"), [("06:00", "08:29", "08:30"), ("09:15", "09:14", "09:15")]
)
def test_no_day_is_late_before_the_night_and_before_enedis_publishes_it(
    service: ApiService, late: str, nightly_at: str, early: str, from_then_on: str
) -> None:
    store_ledger(service, late, Series.DAILY, YESTERDAY - STORED * ONE_DAY, f"{STORED}c 1l@1")
    account = service.parts.stores.registry.accounts.get_existing(late)
    for at, expected in ((early, ""), (from_then_on, "has not yet published")):
        clock: Clock = partial(datetime.combine, TODAY, time.fromisoformat(at), PARIS)
        history = replace(service.parts.sync.history, now=clock, nightly_at=time.fromisoformat(nightly_at))
        explainer = build_explainer(service.parts.stores, service.parts.sync)
        status, due = status_of(account, history), history.newest_due_day(Series.DAILY)
        assert expected in (why := explain_lateness(explainer, account, Series.DAILY, status, due, Words("en")))
        assert bool(why) == bool(expected)


def test_d8_two_missing_days_are_late_also_where_nobody_asked(service: ApiService) -> None:
    account = service.add(15)
    service.store_days(account, YESTERDAY - 10 * ONE_DAY, [5000] * 9)
    record_outcome(service, account, Series.DAILY, day=YESTERDAY - 2 * ONE_DAY)
    page = page_of(service, account, section="/connection")
    assert "Données en retard" in page and "Nous n’avons pas encore demandé" in page
    assert "publié" not in page[page.index('id="connection"') :], "nobody asked, so Enedis is not to blame"


@pytest.mark.parametrize(
    ("at", "shown", "words"),
    [
        (TODAY, YESTERDAY, "La journée du 25 juillet 2024 n’est pas terminée"),
        (date(2999, 1, 1), YESTERDAY, "Le 1er janvier 2999 n’est pas encore arrivé"),
    ],
)
def test_d8_a_day_out_of_reach_says_why_and_shows_the_nearest(
    service: ApiService, late: str, at: date, shown: date, words: str
) -> None:
    page = page_of(service, late, f"by=day&at={at}")
    assert f"{shown.day} " in title_of(page) and words in page


@pytest.mark.parametrize("at", [date(1702, 5, 1), date(1999, 2, 1), YESTERDAY - (STORED + 1) * ONE_DAY])
@pytest.mark.parametrize("by", list(View))
def test_a_date_before_the_history_says_so_and_shows_no_other_day(
    service: ApiService, late: str, by: View, at: date
) -> None:
    page = page_of(service, late, f"by={by}&at={at}")
    first = YESTERDAY - STORED * ONE_DAY
    chart = page.partition('id="chart"')[2].partition("</section>")[0]
    assert title_of(page) == title_of_span(Span.containing(by, at), Words("fr"))
    if by is View.DAY:
        assert (
            sentence_of(service, late, at).replace("\N{NO-BREAK SPACE}", " ") in page
            and "kWh</strong>" not in chart
            and 'class="column' not in chart
        )
        assert re.search(rf'rel="next" href="\?by=day&amp;at={first}#chart"', chart) and 'rel="prev"' not in chart


@pytest.mark.parametrize("at", ["0001-01-01", "0002-12-31"])
def test_a_date_at_the_beginning_of_the_calendar_shows_the_first_day(service: ApiService, late: str, at: str) -> None:
    assert title_of(page_of(service, late, f"by=day&at={at}")) == "lundi 24 juin 2024"


def test_an_account_that_is_not_asked_for_shows_its_last_day_and_why_none_follows(
    service: ApiService, late: str
) -> None:
    service.parts.stores.registry.accounts.set_state(late, AccountState.PAUSED, "", now=NOW)
    page = page_of(service, late, f"by=day&at={YESTERDAY}")
    assert title_of(page) == "mardi 23 juillet 2024" and 'rel="next"' not in page
    assert "Ce compte est en pause" in page


def test_d9_days_before_the_history_are_no_fault_of_the_supplier(service: ApiService) -> None:
    account = service.add(16)
    history = service.parts.sync.history.wanted_window(Series.DAILY)
    assert history is not None and history.start == date(2021, 7, 26)
    service.store_days(account, history.start, [5000] * 6)
    record_outcome(service, account, Series.DAILY)
    store_ledger(service, account, Series.DAILY, history.start, "1095c")
    page = page_of(service, account, "by=month&at=2021-07-01")
    assert "25 jours manquent (hachurés) : ils sont plus anciens que l’historique que nous demandons à Enedis." in page
    assert "fourni" not in page and "publié" not in page.partition('id="chart"')[2].partition("</section>")[0]


@pytest.mark.parametrize(
    ("marks", "notes"),
    [
        ("2b", ["2 jours manquent (hachurés) : ils sont antérieurs à la mise en service"]),
        ("2a", ["2 jours manquent (hachurés) : Enedis ne les a jamais publiés."]),
        (
            "1a 1l@1",
            ["1 jour manque (hachuré) : Enedis ne l’a jamais publié.", "1 jour manque (hachuré). Enedis n’a pas"],
        ),
        ("2u", ["2 jours manquent (hachurés) : nous ne les avons pas encore demandés à Enedis"]),
    ],
)
def test_d9_each_reason_of_missing_days_is_told_in_their_month(
    service: ApiService, account: str, marks: str, notes: list[str]
) -> None:
    lacking = service.add(17)
    service.store_days(lacking, date(2024, 7, 1), [5000] * 9)
    service.store_days(lacking, date(2024, 7, 12), [5000] * 13)
    record_outcome(service, lacking, Series.DAILY)
    store_ledger(service, lacking, Series.DAILY, date(2024, 7, 1), f"9c {marks} 13c")
    page = page_of(service, lacking)
    shown = re.findall(r'<p class="note">([^<]*hachuré[^<]*)</p>', page)
    assert len(shown) == len(notes)
    assert all(text.startswith(words) for text, words in zip(shown, notes, strict=True)), shown


def test_d9_a_day_older_than_the_curves_history_says_so(service: ApiService) -> None:
    account = service.add(18)
    first = TODAY - timedelta(days=60)
    service.store_days(account, first, [4800] * 60)
    service.store_half_hours(account, YESTERDAY, [100] * 48)
    for series in (Series.DAILY, Series.LOAD_CURVE):
        record_outcome(service, account, series)
    store_ledger(service, account, Series.DAILY, first, "60c")
    store_ledger(service, account, Series.LOAD_CURVE, YESTERDAY, "1c")
    page = page_of(service, account, f"by=day&at={first}")
    assert "mais pas sa courbe par demi-heure" in page
    assert "Nous n’avons pas demandé la courbe par demi-heure du 26 mai 2024" in page
    assert "hachuré" not in page_of(service, account, f"by=day&at={YESTERDAY}")


def test_a_part_of_a_day_that_is_missing_is_told_with_when_it_is_requested_again(
    service: ApiService, account: str
) -> None:
    day = YESTERDAY - ONE_DAY
    service.store_half_hours(account, day, [100] * 46)
    store_ledger(service, account, Series.LOAD_CURVE, day, "1p46@1 1c")
    page = page_of(service, account, f"by=day&at={day}")
    assert "Il manque 1 h de données ce jour-là (partie hachurée)." in page
    assert "46 des 48 demi-heures de la courbe du 23 juillet 2024" in page and "fourni" not in page
    assert "nous referons la demande" in page
