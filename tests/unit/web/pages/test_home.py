"""The first page: what is read and for how long, the language, the meters of this browser."""

from __future__ import annotations

import html
from collections.abc import Callable

import pytest

from tests.support.api_service import ApiService, ApiServices
from tests.support.gas_homes import GAS_SETTINGS
from tests.support.household_pages import FRENCH, METER
from worker.domain.series import Series, of_supplier
from worker.texts import LANGUAGES, has_text, translate, typeset_french
from worker.web.texts import Words


def test_the_first_page_says_what_is_read_how_long_and_how_to_stop(service: ApiService) -> None:
    page = service.stranger().get("/", headers=FRENCH)
    assert page.status_code == 200 and page.headers["content-language"] == "fr"
    for text in ('href="/invitation"', "36 mois", "28 jours", "3 ans au plus", "Supprimer mon compte"):
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


def first_page(services: ApiServices, language: str = "fr") -> str:
    page = services.new().stranger().get("/", headers={"Accept-Language": language})
    assert page.status_code == 200
    return html.unescape(page.text)


def sentence_of(series: Series, language: str) -> str:
    """Return the sentence that says that a series is read, up to how much of its past."""
    return translate(f"home.read.{series}", language, past="{past}").partition("{past}")[0]


def never_read(page: str, language: str) -> str:
    title = typeset_french(translate("home.never", language)) if language == "fr" else translate("home.never", language)
    return page.partition(title)[2].partition("</dd>")[0]


@pytest.mark.parametrize("series", Series)
def test_each_series_has_the_sentence_that_says_that_it_is_read(series: Series) -> None:
    assert has_text(f"home.read.{series}")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("gas", [False, True])
@pytest.mark.parametrize("named", ["daily", "daily,contract", ",".join(of_supplier("enedis"))])
def test_the_first_page_names_what_is_read_what_may_be_and_never_one_of_these_as_never_read(
    services_with: Callable[..., ApiServices], named: str, gas: bool, language: str
) -> None:
    services = services_with(series=named, **(GAS_SETTINGS if gas else {}))
    page, words = first_page(services, language), Words(language)
    collected = [*named.split(","), *(of_supplier("grdf") if gas else [])]
    for series in Series:
        assert (sentence_of(series, language) in page) is (series in collected), series
        is_offered = gas or series.description.supplier == "enedis"
        on_request = page.partition(words("home.choice"))[2].partition("</dd>")[0]
        is_named = words(f"series.{series}.name").lower() in on_request.lower()
        assert is_named is (is_offered and series not in collected), series
    never = never_read(page, language)
    assert never and "contra" not in never  # The household itself may switch its contract on.
    assert (words("home.never.text") in never) is not gas


def test_the_foot_of_a_page_does_not_say_that_consumption_is_all(services_with: Callable[..., ApiServices]) -> None:
    assert "Rien d’autre" not in first_page(services_with(series="daily,contract"))


@pytest.mark.parametrize(
    "language, listed",
    [
        ("fr", "Puissance maximale, index du compteur, index de production, contrat. Vous"),
        ("en", "Maximum power, meter readings, production meter readings, contract. You"),
    ],
)
def test_the_series_on_request_are_one_sentence_with_one_capital(
    services_with: Callable[..., ApiServices], language: str, listed: str
) -> None:
    named = "daily,load_curve,production_daily,production_load_curve"
    assert listed in first_page(services_with(series=named), language)
