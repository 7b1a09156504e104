"""The documentation's site in a browser without a network: every page by axe, and the search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.support.axe import ALL_BUT_COLOURS, ALL_RULES, COLOURS, find_barriers
from tests.support.browser import DESKTOP, PHONE, find_faults, open_profile, set_screen, wait_for
from tests.support.docs_site import build_site, copy_docs, serve_site

# Together they show each kind of element, so the colours of these, and their looks on a phone, are those of all.
OF_EACH_KIND = ("index.html", "reference/cli.html", "reference/documents.html", "how-to/send-measures.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(copy_docs(tmp_path_factory.mktemp("site")))


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serve_site(site) as address:
        yield address


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    with open_profile(browser, language="en"):
        yield browser


def test_axe_finds_nothing_on_any_page_and_none_is_wider_than_a_phone(
    site: Path, address: str, page: webdriver.Chrome
) -> None:
    names = [file.relative_to(site).as_posix() for file in sorted(site.rglob("*.html"))]
    looks = [(name, DESKTOP, False, ALL_RULES if name in OF_EACH_KIND else ALL_BUT_COLOURS) for name in names]
    looks += [(name, PHONE, False, ALL_RULES) for name in OF_EACH_KIND]
    looks += [(name, DESKTOP, True, COLOURS) for name in OF_EACH_KIND]
    faults = {}
    for name, width, dark, rules in looks:
        set_screen(page, width, dark=dark)
        page.get(f"{address}/{name}")
        if found := find_barriers(page, rules) + find_faults(page):
            faults[name, width, dark] = found
    assert faults == {}


def test_the_search_finds_a_page_and_nothing_is_asked_of_another_host(address: str, page: webdriver.Chrome) -> None:
    page.get(f"{address}/index.html")
    page.find_element(By.TAG_NAME, "body").send_keys("/")
    page.switch_to.active_element.send_keys("daylight saving")
    wait_for(page, "Daylight saving time")
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked and [name for name in asked if not name.startswith((address, "data:", "blob:"))] == []
