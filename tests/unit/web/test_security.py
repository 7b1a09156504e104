"""Security headers of pages, what an address says and no page repeats, and the queries of the first page."""

from __future__ import annotations

import re

import pytest

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH
from tests.support.sql_statements import watch_statements


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


@pytest.mark.parametrize("path", ["//evil.example/x", "///evil.example", "/\\evil.example/x", "//evil.example%2fx"])
def test_l1_no_link_of_ours_leads_to_a_host_that_an_address_names(service: ApiService, path: str) -> None:
    page = service.stranger().get(f"http://testserver{path}", headers=FRENCH).text
    links = re.findall(r'href="([^"]*)"', page)
    assert len(links) > 3 and not [link for link in links if re.match(r"[/\\]{2}|https?:", link)]


def test_l21_answers_are_for_pages_of_ours_alone_and_static_files_are_kept(service: ApiService) -> None:
    page = service.stranger().get("/", headers=FRENCH)
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    [style] = re.findall(r'href="(/static/page.css[^"]*)"', page.text)
    assert "immutable" in service.stranger().get(style).headers["cache-control"]
    assert service.stranger().get("/static/nothing.css").headers["cache-control"] == "no-store"


def test_the_manifest_and_its_icons_are_static_files_and_pages_have_the_colours_of_their_ground(
    service: ApiService,
) -> None:
    browser = service.stranger()
    page = browser.get("/", headers=FRENCH).text
    [address] = re.findall(r'<link rel="manifest" href="([^"]+)"', page)
    manifest = browser.get(address)
    assert manifest.headers["content-type"] == "application/manifest+json"
    assert "immutable" in manifest.headers["cache-control"]
    assert manifest.json()["start_url"] == "/"
    icons = [f"/static/{icon['src']}" for icon in manifest.json()["icons"]]
    icons += re.findall(r'<link rel="apple-touch-icon" href="([^"]+)"', page)
    types = [browser.get(icon).headers["content-type"] for icon in icons]
    assert types == ["image/svg+xml", "image/png", "image/png", "image/png"]
    grounds = re.findall(r"--ground: (#\w+);", browser.get("/static/page.css").text)
    assert re.findall(r'<meta name="theme-color"[^>]* content="([^"]+)"', page) == grounds


def test_l22_the_first_page_asks_the_registry_as_often_for_thirty_homes_as_for_six(service: ApiService) -> None:
    homes = [service.add(number) for number in range(100, 130)]
    counts = []
    for shown in (homes[:1], homes[:6], homes):  # The first five have figures.
        browser = service.browser(*shown)
        with watch_statements() as queries:
            page = browser.get("/", headers=FRENCH).text
        assert all(f"/accounts/{home}" in page for home in shown[:20])
        counts.append(len(queries))
    assert counts[1] == counts[2] > 0


@pytest.mark.parametrize("path", ["/callback/enedis", "/callback/grdf", "/proxy/enedis/redirect"])
def test_l2_what_a_callback_was_sent_is_shown_by_no_page(service: ApiService, path: str) -> None:
    secret, meter = "c0de-that-nobody-reads", "30001640000911"
    query = {"code": secret, "state": secret, "usage_point_id": meter, "x": secret}
    page = service.stranger().get(path, params=query, headers=FRENCH, follow_redirects=False)
    assert page.status_code >= 400
    assert secret not in f"{page.text} {page.headers}" and meter not in f"{page.text} {page.headers}"
