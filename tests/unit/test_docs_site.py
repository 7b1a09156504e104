"""The documentation builds as a site without warnings, and its pages load nothing from other hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.docs_site import build_site, copy_docs
from tests.support.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(copy_docs(tmp_path_factory.mktemp("site")))


def test_every_page_is_built(site: Path) -> None:
    sources = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert sources and sources <= {page.relative_to(site) for page in site.rglob("*.html")}


def test_every_page_is_in_the_side_bar_once() -> None:
    named = re.findall(r": ([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(named) == sorted(pages)


def test_the_site_has_the_icon_of_the_pages() -> None:
    assert (ROOT / "docs/images/icon.svg").read_bytes() == (ROOT / "worker/web/static/icon.svg").read_bytes()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    loading = r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//[^\"']+"
    assert {page.name: addresses for page, text in texts.items() if (addresses := re.findall(loading, text))} == {}


@pytest.mark.parametrize("link", ["explanation/quotas.md#no-such-heading", "explanation/no-such-page.md"])
def test_a_broken_link_would_not_get_through(tmp_path: Path, link: str) -> None:
    folder = copy_docs(tmp_path / "copy")
    with (folder / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[nowhere]({link})\n")
    with pytest.raises(AssertionError, match="does not exist"):
        build_site(folder)
