"""The page of formats names those that the code reads, and no other; its limits are those of the code."""

from __future__ import annotations

import re

from tests.support.pages import ROOT
from worker.domain.files import FORMAT_NAMES
from worker.domain.files.cells import MAX_BYTES, MAX_ROWS, MEGABYTE
from worker.domain.files.workbooks import MAX_MEMBERS, MAX_UNPACKED

PAGE = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")


def test_the_page_names_each_format_once() -> None:
    table = PAGE.partition("| --- |")[2].partition("\n\n")[0]
    names = [name for line in table.splitlines()[1:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert sorted(names) == FORMAT_NAMES


def test_the_page_names_the_limits() -> None:
    for limit in (
        f"{MAX_BYTES // MEGABYTE} MB",
        f"{MAX_ROWS:,} rows".replace(",", " "),
        f"{MAX_MEMBERS} files",
        f"{MAX_UNPACKED // MEGABYTE} MB",
    ):
        assert limit in PAGE
