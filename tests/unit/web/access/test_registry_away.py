"""Pages while the registry is away: one that says so, and never a traceback."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api_service import ApiService
from worker.errors import StoreUnavailable
from worker.stores.database import Database

ENGLISH = {"Accept-Language": "en"}


def test_without_the_registry_a_page_says_so_and_shows_nothing(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    browser = service.browser(account)
    for name in ("reading", "writing", "fetch", "change"):
        monkeypatch.setattr(Database, name, be_away)
    for path in ("/", f"/accounts/{account}", "/access", "/nothing-here"):
        page = browser.get(path, headers=ENGLISH)
        assert page.status_code in (503, 404) and "…0011" not in page.text, path
    assert "One moment" in browser.get(f"/accounts/{account}", headers=ENGLISH).text
    assert service.stranger().get("/sign-in", headers=ENGLISH).status_code == 200
