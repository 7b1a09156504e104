"""Security headers of pages, and markup that can't come from an address."""

from __future__ import annotations

import re

import pytest

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH


@pytest.mark.parametrize("path", ["/", "/accounts/{id}", "/accounts/{id}/download", "/accounts/{id}/remove"])
def test_pages_keep_to_their_content_policy(service: ApiService, account: str, path: str) -> None:
    page = service.browser(account).get(path.format(id=account))
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]* src=\"/static/)", page.text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text)
    assert not re.search(r'(src|href)="(https?:)?//', page.text), "nothing comes from elsewhere"


def test_pages_say_nothing_that_a_stored_text_could_turn_into_markup(service: ApiService) -> None:
    page = service.stranger().get("/nowhere/<script>alert(1)</script>?x=<b>", headers=FRENCH).text
    assert "<script>alert" not in page and "<b>" not in page
