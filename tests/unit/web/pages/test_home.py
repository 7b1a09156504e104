"""The first page: what is read and for how long, the language, the meters of this browser."""

from __future__ import annotations

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH, METER


def test_the_first_page_says_what_is_read_how_long_and_how_to_stop(service: ApiService) -> None:
    page = service.stranger().get("/", headers=FRENCH)
    assert page.status_code == 200 and page.headers["content-language"] == "fr"
    for text in ('href="/invitation"', "36 mois", "28 derniers jours", "3 ans au plus", "Supprimer mon compte"):
        assert text in page.text


def test_the_language_can_be_chosen_and_is_remembered(service: ApiService) -> None:
    browser = service.stranger()
    assert "Follow your electricity use" in browser.get("/?lang=en", headers=FRENCH).text
    assert "Follow your electricity use" in browser.get("/", headers=FRENCH).text
    assert "Suivez votre électricité" in browser.get("/?lang=fr", headers=FRENCH).text


def test_the_first_page_lists_the_meters_of_this_browser_by_their_last_digits(
    service: ApiService, account: str
) -> None:
    other = service.add(12)
    page = service.browser(account).get("/", headers=FRENCH).text
    assert f"/accounts/{account}" in page and "…0011" in page
    assert METER not in page and other not in page
