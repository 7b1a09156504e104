"""The documentation builds as a site without warnings, and its pages load nothing from other hosts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tests.support.pages import ROOT

pytestmark = pytest.mark.filterwarnings("default")  # MkDocs itself raises warnings that we can't fix.


def build_site(docs: Path, site: Path) -> None:
    """Build the site.  Raises Abort for any warning of MkDocs: a broken link, a page that no menu names."""
    build(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(site)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    build_site(ROOT / "docs", built)
    return built


def test_every_page_is_built(site: Path) -> None:
    sources = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert sources and sources <= {page.relative_to(site) for page in site.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    loading = r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//[^\"']+"
    assert {page.name: addresses for page, text in texts.items() if (addresses := re.findall(loading, text))} == {}


def test_a_broken_link_would_not_get_through(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](explanation/quotas.md#no-such-heading)\n")
    with pytest.raises(Abort):
        build_site(tmp_path / "docs", tmp_path / "site")
