"""The download page: links to all that is stored."""

from __future__ import annotations

import re

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH


def test_everything_stored_can_be_downloaded(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/download", headers=FRENCH).text
    files = [link.replace("&amp;", "&") for link in re.findall(r'href="(/api/[^"]+)"', page)]
    assert len(files) == 4  # minutes and days, each as CSV and JSON
    answers = [browser.get(path) for path in files]
    assert all(answer.status_code == 200 for answer in answers)
    assert len(answers[0].text.splitlines()) == 1 + 48
