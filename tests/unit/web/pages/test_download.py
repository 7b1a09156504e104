"""The download page: links to all that is stored."""

from __future__ import annotations

import re
from datetime import timedelta

from tests.support.api_service import TODAY, ApiService
from tests.support.household_pages import FRENCH
from tests.support.panel_homes import PanelHome, store_home
from worker.domain.series import Series


def test_everything_stored_can_be_downloaded(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/download", headers=FRENCH).text
    files = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*/download/file[^"]+)"', page)]
    assert len(files) == 6  # minutes and days, each as a spreadsheet, as JSON and as CSV for programs
    answers = [browser.get(path) for path in files]
    assert all(answer.status_code == 200 for answer in answers)
    assert len(answers[0].text.splitlines()) == 1 + 48
    assert (
        '<select name="series"' not in page and "<h2 class" not in page
    )  # The page of a home with one direction alone.


def test_every_series_of_a_home_with_panels_can_be_downloaded(service: ApiService) -> None:
    account = service.add(12)
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=40))
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/download", headers=FRENCH).text
    files = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*/download/file[^"]+)"', page)]
    answers = {path: browser.get(path) for path in files}
    assert all(answer.status_code == 200 for answer in answers.values())
    assert len(files) == 3 * (5 + 5 + 4)  # Five periods a direction; power, two sets of registers and the contract.
    assert all(len(answer.text.splitlines()) > 1 for path, answer in answers.items() if "format=csv" in path)
    assert '<option value="production_daily">Production</option>' in page
    labels = re.findall(r'aria-label="([^"]+, (?:CSV|JSON))"', page)
    labels += re.findall(r'columns=fields" download>([^<]+)<', page)
    assert len(labels) == len(files) and len(set(labels[: 2 * 14])) == len(set(labels[2 * 14 :])) * 2 == 28


def test_a_meter_that_only_feeds_in_offers_its_production(service: ApiService) -> None:
    account = service.add(13)
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=40), [Series.PRODUCTION_DAILY])
    page = service.browser(account).get(f"/accounts/{account}/download", headers=FRENCH).text
    assert '<input type="hidden" name="series" value="production_daily">' in page
    assert "by=day" in page and "file?by=" not in page
