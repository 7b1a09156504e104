"""The documentation builds as a site without warnings, and its pages load nothing from other hosts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.docs_site import build_site, copy_docs
from tests.support.pages import ROOT

pytestmark = pytest.mark.rest


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_site(copy_docs(tmp_path_factory.mktemp("site")))


def test_every_page_is_built(site: Path) -> None:
    sources = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert sources and sources <= {page.relative_to(site) for page in site.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    loading = r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//[^\"']+"
    assert {page.name: addresses for page, text in texts.items() if (addresses := re.findall(loading, text))} == {}


def test_broken_links_do_not_get_through(tmp_path: Path) -> None:
    folder = copy_docs(tmp_path / "copy")
    with (folder / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n[heading](explanation/quotas.md#no-such-heading) [page](explanation/no-such-page.md)\n")
    with pytest.raises(AssertionError, match=r"(?s)anchor does not exist.+page does not exist"):
        build_site(folder)
