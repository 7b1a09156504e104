"""Error pages: a failure is a page in the reader's language, with all headers and without inner words."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH
from worker.errors import RateLimited, StoreUnavailable


def test_an_unknown_page_is_a_page(service: ApiService) -> None:
    page = service.stranger().get("/nowhere", headers=FRENCH)
    assert page.status_code == 404 and "Page introuvable" in page.text
    assert service.stranger().put("/").status_code == 405


def test_a_store_that_does_not_answer_is_a_page_and_no_traceback(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StoreUnavailable("redis://secret-host:6379 is down")

    monkeypatch.setattr(type(service.runtime.measures), "read", broken)
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH)
    assert page.status_code == 503 and int(page.headers["retry-after"]) > 0
    assert "Un instant" in page.text and "secret-host" not in page.text


def test_our_own_pacing_is_a_page_of_its_own(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paced(*_: object, **__: object) -> None:
        raise RateLimited("rate limit of enedis-2026 in time", retry_after_s=3290)

    monkeypatch.setattr(type(service.runtime.measures), "read", paced)
    page = service.browser(account).get(f"/accounts/{account}", headers=FRENCH)
    assert (page.status_code, page.headers["retry-after"]) == (503, "3290")
    assert "Trop de demandes" in page.text and "ne répond pas" not in page.text
    answer = service.client().get(f"/api/accounts/{account}/measures?by=day")
    assert (answer.status_code, answer.json()["error"]) == (503, "rate_limited")


def test_a_bug_of_ours_is_a_page_with_all_headers(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(type(service.runtime.measures), "read", broken)
    browser = TestClient(service.app, raise_server_exceptions=False, cookies=service.browser(account).cookies)
    page = browser.get(f"/accounts/{account}", headers=FRENCH)
    assert page.status_code == 500 and "Une erreur est survenue" in page.text and "inner words" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
