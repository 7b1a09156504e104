"""The household's pages: what they show, to whom, and that nothing changes but by their own forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import SESSION_KEY, TODAY, ApiHouse, api_house
from tests.support.factories import NOW
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.completeness import Ledger
from worker.domain.measures.readings import Period, Series
from worker.errors import StoreUnavailable
from worker.web.app import create_app
from worker.web.sessions import SESSION_COOKIE, Session

FRENCH = {"Accept-Language": "fr"}
METER = "30001640000011"


@pytest.fixture
def house(redis_url: str, tmp_path: Path) -> Iterator[ApiHouse]:
    with api_house(redis_url, tmp_path) as built:
        yield replace(built, app=create_app(built.runtime, SESSION_KEY))


@pytest.fixture
def account(house: ApiHouse) -> str:
    """Two months of days and one day of half-hours, up to yesterday."""
    account_id = house.add(11)
    house.store_days(account_id, TODAY - timedelta(days=60), [5000 + 10 * rank for rank in range(60)])
    house.store_half_hours(account_id, TODAY - timedelta(days=1), [100] * 48)
    for series in Series:
        note(house, account_id, series)
    return account_id


def note(house: ApiHouse, account_id: str, series: Series, code: str | None = None, day: date | None = None) -> None:
    house.runtime.registry.record_outcome(
        account_id,
        series.value,
        "20240725T070000",
        NOW,
        code=code,
        message="",
        last_day=day or TODAY - timedelta(days=1),
        stored=True,
    )


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found, "the page has a form with its hidden field"
    return found[1]


# The first page


def test_the_first_page_says_what_is_read_how_long_and_how_to_stop(house: ApiHouse) -> None:
    page = house.stranger().get("/", headers=FRENCH)
    assert page.status_code == 200 and page.headers["content-language"] == "fr"
    for told in ('href="/connect/enedis"', "36 mois", "28 derniers jours", "3 ans au plus", "Supprimer mon compte"):
        assert told in page.text


def test_the_language_can_be_chosen_and_is_remembered(house: ApiHouse) -> None:
    browser = house.stranger()
    assert "See your electricity clearly" in browser.get("/?lang=en", headers=FRENCH).text
    assert "See your electricity clearly" in browser.get("/", headers=FRENCH).text
    assert "Voyez clair" in browser.get("/?lang=fr", headers=FRENCH).text


def test_the_first_page_lists_the_meters_of_this_browser_by_their_last_digits(house: ApiHouse, account: str) -> None:
    other = house.add(12)
    page = house.browser(account).get("/", headers=FRENCH).text
    assert f"/accounts/{account}" in page and "…0011" in page
    assert METER not in page and other not in page


# The account's page


def test_the_account_page_shows_sums_a_chart_and_its_table(house: ApiHouse, account: str) -> None:
    page = house.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    assert "Juillet 2024" in page or "juillet 2024" in page
    assert page.count("<svg") >= 3 and 'class="chart chart-wide"' in page and 'class="chart chart-narrow"' in page
    assert "5,59" in page  # yesterday's kWh, in the table
    assert METER not in page


@pytest.mark.parametrize("by", ["day", "month", "year"])
def test_each_scale_leads_to_the_span_before_and_back(house: ApiHouse, account: str, by: str) -> None:
    browser = house.browser(account)
    page = browser.get(f"/accounts/{account}?by={by}&at=2024-07-24", headers=FRENCH).text
    found = re.search(r'rel="prev" href="([^"#]+)#chart"', page)
    if by == "year":  # all that is stored lies in one year
        assert found is None
        return
    assert found
    before = browser.get(f"/accounts/{account}{found[1].replace('&amp;', '&')}", headers=FRENCH)
    assert before.status_code == 200 and 'rel="next"' in before.text


def test_a_day_out_of_reach_gives_the_nearest_there_is(house: ApiHouse, account: str) -> None:
    browser = house.browser(account)
    assert "24 juillet 2024" in browser.get(f"/accounts/{account}?by=day&at=2999-01-01", headers=FRENCH).text
    assert "26 mai 2024" in browser.get(f"/accounts/{account}?by=day&at=1999-01-01", headers=FRENCH).text


def test_totals_are_shown_before_the_curve_is_there(house: ApiHouse) -> None:
    account_id = house.add(13)
    house.store_days(account_id, TODAY - timedelta(days=3), [5000, 6000, 7000])
    note(house, account_id, Series.DAILY)
    browser = house.browser(account_id)
    page = browser.get(f"/accounts/{account_id}", headers=FRENCH).text
    assert "data-progress" in page and 'class="chart chart-wide"' in page
    day = browser.get(f"/accounts/{account_id}?by=day", headers=FRENCH).text
    assert "sa courbe par demi-heure ne l’est pas" in day and "7,00" in day


def keep_days(house: ApiHouse, account_id: str, daily: str, curve: str) -> None:
    book = house.runtime.registry.completeness
    for series, text in ((Series.DAILY, daily), (Series.LOAD_CURVE, curve)):
        assert book.exchange(account_id, series, book.ledger(account_id, series), Ledger.parse(text))


@pytest.mark.parametrize(
    ("daily", "curve", "told"),
    [
        ("10c", "10l@1", "activez son enregistrement"),
        ("10c", "3c 1l@1 6c", "La courbe de 1 jour du dernier mois n’a pas été transmise"),
        ("10c", "2c 2l@1 6c", "La courbe de 2 jours du dernier mois n’a pas été transmise"),
        ("4c 1l@1 5c", "10c", "1 jour du dernier mois n’est pas encore publié"),
        ("9c 1l@1", "9c 1l@1", None),  # yesterday may come in a moment
        ("10c", "10c", None),
    ],
)
def test_what_is_missing_is_told_to_the_household_with_what_it_can_do(
    house: ApiHouse, account: str, daily: str, curve: str, told: str | None
) -> None:
    keep_days(house, account, f"2024-07-15 {daily}", f"2024-07-15 {curve}")
    page = house.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    notes = re.findall(r'<p class="note">([^<]*)</p>', page)
    assert len(notes) == (told is not None)
    assert told is None or told in notes[0]


def test_a_first_sync_shows_its_progress_and_comes_again_without_scripts(house: ApiHouse) -> None:
    account_id = house.add(13)
    page = house.browser(account_id).get(f"/accounts/{account_id}", headers=FRENCH).text
    assert f'data-progress="/api/accounts/{account_id}/progress"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert '<progress id="part-daily" max="1095" value="0">' in page


@pytest.mark.parametrize(
    ("state", "reason", "told", "reconnect"),
    [
        (AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED", "Accord terminé", True),
        (AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.ACCOUNT_REMOVED", "Contrat terminé", True),
        (AccountState.ACTION_NEEDED, "LOGIN_FAILED", "Connexion refusée", True),
        (AccountState.ACTION_NEEDED, "SOMETHING_NEW", "Compteur inconnu", True),
        (AccountState.PAUSED, "", "En pause", False),
    ],
)
def test_the_state_is_told_in_words_with_what_to_do(
    house: ApiHouse, account: str, state: AccountState, reason: str, told: str, reconnect: bool
) -> None:
    house.runtime.registry.set_state(account, state, reason, now=NOW)
    page = house.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    assert told in page and ("Reconnecter mon compteur" in page) == reconnect


def test_a_failure_that_mends_itself_asks_nothing_of_the_owner(house: ApiHouse, account: str) -> None:
    note(house, account, Series.DAILY, code="VENDOR_DOWN")
    page = house.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    assert "Nouvel essai en cours" in page and "Reconnecter mon compteur" not in page


# Not for everybody


@pytest.mark.parametrize("path", ["", "/download", "/remove"])
def test_an_account_is_nobody_elses(house: ApiHouse, account: str, path: str) -> None:
    other = house.add(12)
    for browser in (house.stranger(), house.browser(other)):
        page = browser.get(f"/accounts/{account}{path}", headers=FRENCH)
        assert page.status_code == 404 and "Compte introuvable" in page.text
        assert "0011" not in page.text


def test_an_account_that_is_not_there_is_told_in_the_same_words(house: ApiHouse, account: str) -> None:
    browser = house.stranger()
    there, nowhere = (browser.get(f"/accounts/{id_}", headers=FRENCH).text for id_ in (account, "zzzzzzzzzzzz"))
    assert there.replace(account, "") == nowhere.replace("zzzzzzzzzzzz", "")


@pytest.mark.parametrize("query", ["by=week", "at=yesterday", "by=day&at=2024-02-30"])
def test_an_address_that_makes_no_sense_is_refused_with_a_page(house: ApiHouse, account: str, query: str) -> None:
    page = house.browser(account).get(f"/accounts/{account}?{query}", headers=FRENCH)
    assert page.status_code == 422 and "Adresse incomprise" in page.text


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("by", ["day", "month", "year"])
def test_the_ends_of_the_calendar_do_no_harm(house: ApiHouse, account: str, by: str, at: str) -> None:
    assert house.browser(account).get(f"/accounts/{account}?by={by}&at={at}").status_code == 200


def test_an_unknown_page_is_a_page(house: ApiHouse) -> None:
    page = house.stranger().get("/nowhere", headers=FRENCH)
    assert page.status_code == 404 and "Page introuvable" in page.text
    assert house.stranger().put("/").status_code == 405


def test_a_store_that_does_not_answer_is_a_page_and_no_traceback(
    house: ApiHouse, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("redis://secret-host:6379 is down")

    monkeypatch.setattr(type(house.runtime.measures[Period.DAY]), "read", broken)
    page = house.browser(account).get(f"/accounts/{account}", headers=FRENCH)
    assert page.status_code == 503 and int(page.headers["retry-after"]) > 0
    assert "Un instant" in page.text and "secret-host" not in page.text


def test_a_bug_of_ours_is_a_page_with_all_headers(
    house: ApiHouse, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(type(house.runtime.measures[Period.DAY]), "read", broken)
    browser = TestClient(house.app, raise_server_exceptions=False, cookies=house.browser(account).cookies)
    page = browser.get(f"/accounts/{account}", headers=FRENCH)
    assert page.status_code == 500 and "Nous avons fait une erreur" in page.text and "inner words" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]


# What each page carries


@pytest.mark.parametrize("path", ["/", "/accounts/{id}", "/accounts/{id}/download", "/accounts/{id}/remove"])
def test_pages_keep_to_their_content_policy(house: ApiHouse, account: str, path: str) -> None:
    page = house.browser(account).get(path.format(id=account))
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=\"/static/)", page.text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text)
    assert not re.search(r'(src|href)="(https?:)?//', page.text), "nothing comes from elsewhere"


def test_pages_say_nothing_that_a_stored_text_could_turn_into_markup(house: ApiHouse) -> None:
    page = house.stranger().get("/nowhere/<script>alert(1)</script>?x=<b>", headers=FRENCH).text
    assert "<script>alert" not in page and "<b>" not in page


# Taking along


def test_everything_stored_can_be_downloaded(house: ApiHouse, account: str) -> None:
    browser = house.browser(account)
    page = browser.get(f"/accounts/{account}/download", headers=FRENCH).text
    files = [found.replace("&amp;", "&") for found in re.findall(r'href="(/api/[^"]+)"', page)]
    assert len(files) == 4  # minutes and days, each as CSV and JSON
    answers = [browser.get(path) for path in files]
    assert all(answer.status_code == 200 for answer in answers)
    assert len(answers[0].text.splitlines()) == 1 + 48


# Removing


def test_removing_takes_a_form_of_ours_and_gives_a_receipt(house: ApiHouse, account: str) -> None:
    browser = house.browser(account)
    page = browser.get(f"/accounts/{account}/remove", headers=FRENCH).text
    done = browser.post(f"/accounts/{account}/remove", data={"csrf": csrf_of(page)}, headers=FRENCH)
    assert done.status_code == 200 and "Reçu" in done.text and account in done.text and "108" in done.text
    assert house.runtime.registry.get(account).state is AccountState.DELETED
    assert browser.get(f"/accounts/{account}").status_code == 404
    claims = house.app.state.house.signer.session(done.cookies[SESSION_COOKIE])
    assert claims.accounts == ()


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
def test_a_form_of_another_site_removes_nothing(house: ApiHouse, account: str, csrf: str | None) -> None:
    fields = {} if csrf is None else {"csrf": csrf}
    refused = house.browser(account).post(f"/accounts/{account}/remove", data=fields, headers=FRENCH)
    assert refused.status_code == 403 and "Formulaire périmé" in refused.text
    assert house.runtime.registry.get(account).state is AccountState.READY


def test_the_field_of_another_session_removes_nothing(house: ApiHouse, account: str) -> None:
    other = house.app.state.house.signer.csrf(Session().sid)
    assert house.browser(account).post(f"/accounts/{account}/remove", data={"csrf": other}).status_code == 403


def test_who_does_not_own_an_account_cannot_remove_it(house: ApiHouse, account: str) -> None:
    other = house.browser(house.add(12))
    csrf = other.headers["X-CSRF-Token"]
    assert other.post(f"/accounts/{account}/remove", data={"csrf": csrf}).status_code == 404
    assert house.runtime.registry.get(account).state is AccountState.READY
