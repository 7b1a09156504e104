"""The page of an account: sums, chart and table, missing days, the state in words, and who may see it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.household_pages import FRENCH, METER, record_outcome
from tests.support.registries import close_account, record_consent
from worker.domain.account import AccountState
from worker.domain.completeness import DayLedger
from worker.domain.consents import ConsentKind
from worker.domain.series import Series
from worker.errors import RateLimited
from worker.runtime.consent_parts import stop_consent
from worker.stores.registry.outcomes import DueChanges


def test_the_account_page_shows_sums_a_chart_and_its_table(service: ApiService, account: str) -> None:
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    assert "Juillet 2024" in page or "juillet 2024" in page
    assert page.count("<svg") >= 3 and 'class="chart chart-wide"' in page and 'class="chart chart-narrow"' in page
    assert "5,59" in page  # yesterday's kWh, in the table
    assert METER not in page


@pytest.mark.parametrize("by", ["day", "week", "month", "year"])
def test_each_scale_leads_to_the_span_before_and_back(service: ApiService, account: str, by: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}?by={by}&at=2024-07-24", headers=FRENCH).text
    match = re.search(r'rel="prev" href="([^"#]+)#chart"', page)
    if by == "year":  # all that is stored lies in one year
        assert match is None
        return
    assert match
    before = browser.get(f"/accounts/{account}{match[1].replace('&amp;', '&')}", headers=FRENCH)
    assert before.status_code == 200 and 'rel="next"' in before.text


def test_a_day_out_of_reach_gives_the_nearest_there_is(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    assert "24 juillet 2024" in browser.get(f"/accounts/{account}?by=day&at=2999-01-01", headers=FRENCH).text
    assert "26 mai 2024" in browser.get(f"/accounts/{account}?by=day&at=1999-01-01", headers=FRENCH).text


def test_totals_are_shown_before_the_curve_is_there(service: ApiService) -> None:
    account_id = service.add(13)
    service.store_days(account_id, TODAY - timedelta(days=3), [5000, 6000, 7000])
    record_outcome(service, account_id, Series.DAILY)
    browser = service.browser(account_id)
    page = browser.get(f"/accounts/{account_id}", headers=FRENCH).text
    assert "data-progress" in page and 'class="chart chart-wide"' in page
    day = browser.get(f"/accounts/{account_id}?by=day", headers=FRENCH).text
    assert "mais pas sa courbe par demi-heure" in day and "7,00" in day


def store_ledgers(service: ApiService, account_id: str, daily: str, curve: str) -> None:
    table = service.parts.stores.registry.completeness
    for series, text in ((Series.DAILY, daily), (Series.LOAD_CURVE, curve)):
        assert table.replace_if_unchanged(
            account_id, series, table.load_ledger(account_id, series), DayLedger.parse(text)
        )


@pytest.mark.parametrize(
    ("daily", "curve", "text"),
    [
        ("10c", "10l@1", "Activez son enregistrement"),
        ("10c", "3c 1l@1 6c", "le compteur n’a pas transmis la courbe de 1 jour"),
        ("10c", "2c 2l@1 6c", "le compteur n’a pas transmis la courbe de 2 jours"),
        ("4c 1l@1 5c", "10c", "Enedis ne l’a pas encore publié"),
        ("9c 1l@1", "9c 1l@1", None),  # yesterday may come in a moment
        ("10c", "10c", None),
    ],
)
def test_what_is_missing_is_told_to_the_household_with_what_it_can_do(
    service: ApiService, account: str, daily: str, curve: str, text: str | None
) -> None:
    store_ledgers(service, account, f"2024-07-15 {daily}", f"2024-07-15 {curve}")
    page = service.browser(account).get(f"/accounts/{account}/connection", headers=FRENCH).text
    notes = re.findall(r'<p class="note">([^<]*)</p>', page)
    assert len(notes) == (text is not None)
    assert text is None or text in notes[0]


def test_a_first_sync_shows_its_progress_and_comes_again_without_scripts(service: ApiService) -> None:
    account_id = service.add(13)
    page = service.browser(account_id).get(f"/accounts/{account_id}", headers=FRENCH).text
    assert f'data-progress="/api/accounts/{account_id}/progress"' in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert '<progress id="part-daily" max="1095" value="0">' in page


@pytest.mark.parametrize(
    ("state", "reason", "text", "reconnect"),
    [
        (AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED", "Consentement expiré ou retiré", True),
        (AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.ACCOUNT_REMOVED", "Contrat terminé", True),
        (AccountState.ACTION_NEEDED, "LOGIN_FAILED", "Accès refusé", True),
        (AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED", "Compteur inconnu", True),
        (AccountState.ACTION_NEEDED, "CONSENT_ENDED", "Consentement expiré", True),
        (AccountState.ACTION_NEEDED, "CONSENT_STOPPED", "Relevés arrêtés", False),
        (AccountState.PAUSED, "CONSENT_STOPPED", "Relevés arrêtés", False),
        (AccountState.PAUSED, "", "En pause", False),
        (AccountState.CLOSED, "", "Compte fermé", False),
    ],
)
def test_the_state_is_told_in_words_with_what_to_do(
    service: ApiService, account: str, state: AccountState, reason: str, text: str, reconnect: bool
) -> None:
    if state is AccountState.CLOSED:
        close_account(service.parts.stores.registry.consents, account, NOW)
    else:
        if reason == "CONSENT_ENDED":
            service.parts.stores.registry.accounts.add(
                "enedis", METER, NOW, token_needed=False, consent_until=TODAY - timedelta(days=1)
            )
        if reason:
            service.parts.stores.registry.accounts.set_state(account, AccountState.ACTION_NEEDED, reason, now=NOW)
        if state is AccountState.PAUSED:
            service.parts.stores.registry.accounts.set_state(account, state, now=NOW)
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    assert text in page and (f'<a class="button" href="/accounts/{account}/renew">' in page) == reconnect


def test_a_failure_that_mends_itself_asks_nothing_of_the_owner(service: ApiService, account: str) -> None:
    record_outcome(service, account, Series.DAILY, code="VENDOR_DOWN")
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH).text
    assert "Nouvelle tentative en cours" in page and 'class="button" href="/invitation"' not in page


@pytest.mark.parametrize(
    "code, cause",
    [
        ("VENDOR_DOWN", "Enedis n’a pas donné de réponse utilisable."),
        ("VENDOR_DOWN.TIMEOUT", "Enedis n’a pas répondu à temps."),
        ("VENDOR_DOWN.ANSWER_BROKEN_OFF", "La réponse d’Enedis a été interrompue."),
        ("ANSWER_MALFORMED.UNIT", "La réponse d’Enedis est dans une autre unité que celle demandée."),
        ("APPLICATION_REFUSED", "Enedis refuse notre application, pas ce compteur."),
    ],
)
def test_d4_the_page_says_why_the_last_call_failed(service: ApiService, account: str, code: str, cause: str) -> None:
    record_outcome(service, account, Series.LOAD_CURVE, code=RateLimited.code)
    record_outcome(service, account, Series.DAILY, code=code)
    page = service.browser(account).get(f"/accounts/{account}/connection", headers=FRENCH).text
    assert "Nouvelle tentative en cours" in page and cause in page and "notre tour" not in page


def test_a_closed_account_shows_its_history_and_offers_no_consent(service: ApiService, account: str) -> None:
    close_account(service.parts.stores.registry.consents, account, NOW)
    browser = service.browser(account)
    assert 'class="chart chart-wide"' in browser.get(f"/accounts/{account}", headers=FRENCH).text
    page = browser.get(f"/accounts/{account}/connection", headers=FRENCH).text
    assert "Une autre personne est maintenant titulaire de ce compteur" in page
    assert "/connect/" not in page and f"/accounts/{account}/stop" not in page
    assert f"/accounts/{account}/remove" in page and f"/accounts/{account}/download" in page
    home = browser.get("/", headers=FRENCH).text
    assert 'pill-wait">Compte fermé<' in home


def test_our_own_pacing_is_not_called_an_outage_and_the_next_try_is_told(service: ApiService, account: str) -> None:
    turn = DueChanges(again_at=NOW + timedelta(hours=5))
    record_outcome(service, account, Series.DAILY, code=RateLimited.code, due_changes=turn)
    page = service.browser(account).get(f"/accounts/{account}/connection", headers=FRENCH).text
    assert "Demande en attente" in page and "Prochaine tentative : 25 juil. 2024, 14:00" in page.replace("\xa0", " ")
    record_outcome(service, account, Series.LOAD_CURVE, code="VENDOR_DOWN")
    page = service.browser(account).get(f"/accounts/{account}/connection", headers=FRENCH).text
    assert "Nouvelle tentative en cours" in page and "Prochaine tentative" not in page


def test_a_history_that_waits_for_our_turn_says_when_it_goes_on(service: ApiService, account: str) -> None:
    goes_on = DueChanges(history_due_at=NOW + timedelta(hours=5))
    record_outcome(service, account, Series.DAILY, code=RateLimited.code, due_changes=goes_on)
    status = service.client().get(f"/api/accounts/{account}/status").json()
    assert status["series"]["daily"]["next_try"] == "2024-07-25T12:00:00Z"
    record_outcome(service, account, Series.DAILY, code="VENDOR_DOWN", due_changes=goes_on)
    assert service.client().get(f"/api/accounts/{account}/status").json()["series"]["daily"]["next_try"] is None


@pytest.mark.parametrize("path", ["", "/connection", "/download", "/stop", "/remove"])
def test_an_account_is_nobody_elses(service: ApiService, account: str, path: str) -> None:
    other = service.add(12)
    for browser in (service.stranger(), service.browser(other)):
        page = browser.get(f"/accounts/{account}{path}", headers=FRENCH)
        assert page.status_code == 404 and "Compte introuvable" in page.text
        assert "0011" not in page.text


def test_an_account_that_is_not_there_is_told_in_the_same_words(service: ApiService, account: str) -> None:
    browser = service.stranger()
    there, nowhere = (browser.get(f"/accounts/{id_}", headers=FRENCH).text for id_ in (account, "zzzzzzzzzzzz"))
    assert there.replace(account, "") == nowhere.replace("zzzzzzzzzzzz", "")


@pytest.mark.parametrize("query", ["by=century", "at=yesterday", "by=day&at=2024-02-30"])
def test_an_address_that_makes_no_sense_is_refused_with_a_page(service: ApiService, account: str, query: str) -> None:
    page = service.browser(account).get(f"/accounts/{account}?{query}", headers=FRENCH)
    assert page.status_code == 422 and "Adresse non valide" in page.text


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("by", ["day", "week", "month", "year"])
def test_the_ends_of_the_calendar_do_no_harm(service: ApiService, account: str, by: str, at: str) -> None:
    assert service.browser(account).get(f"/accounts/{account}?by={by}&at={at}").status_code == 200


@pytest.mark.parametrize(
    "language, words",
    [("fr", ("Pas encore confirmé", "Pas encore confirmé")), ("en", ("Not confirmed yet", "Not confirmed yet"))],
)
def test_an_account_that_somebody_vouched_for_waits_for_the_first_answer_and_asks_nothing_of_its_holder(
    service: ApiService, language: str, words: tuple[str, str]
) -> None:
    account, _ = service.parts.consent.assertion.add(METER, "cli:ada")
    browser = service.browser(account.id)
    page = browser.get(f"/accounts/{account.id}", params={"lang": language}).text
    assert words[0] in page and "data-progress" in page
    assert 'class="card alert"' not in page
    assert words[1] in browser.get("/", params={"lang": language}).text
    record_outcome(service, account.id, Series.DAILY)
    assert words[0] not in browser.get(f"/accounts/{account.id}", params={"lang": language}).text


@pytest.mark.parametrize(
    "language, title, words",
    [
        (
            "fr",
            "Qui lit mes données",
            ("Service", "Avec votre consentement depuis le", "25 juillet 2024", "25 juillet 2027"),
        ),
        ("en", "Who reads my data", ("Service", "With your consent since", "25 July 2024", "25 July 2027")),
    ],
)
def test_the_page_says_who_reads_the_data_since_when_and_until_when(
    service: ApiService, account: str, language: str, title: str, words: tuple[str, ...]
) -> None:
    dates = {"consent_from": TODAY, "consent_until": TODAY.replace(year=2027)}
    record_consent(
        service.parts.stores.registry.consents, account, ConsentKind.AUTORISATION, NOW, reference="900001", **dates
    )
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/connection", params={"lang": language}).text
    _, box = page.split(f"<h3>{title}</h3>")
    assert all(word in box.partition("</dl>")[0] for word in words) and "900001" not in page
    stop_consent(service.parts.stores, account)
    page = browser.get(f"/accounts/{account}/connection", params={"lang": language}).text
    assert {"fr": "Personne\N{NO-BREAK SPACE}: votre", "en": "Nobody: your"}[language] in page and words[1] not in page
