"""The page of the pipeline has each field of each message between two steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from worker.domain.messages import Changes, Fetched, WindowResult, Writes

PAGE = Path(__file__).parents[3] / "docs/explanation/processing-pipeline.md"


@pytest.mark.parametrize("message", [Fetched, Changes, Writes, WindowResult])
def test_the_page_lists_each_field_of_a_message_and_no_other(message: Any) -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    head = next(line for line in lines if line.startswith("| field |"))
    column = [cell.strip(" `") for cell in head.split("|")].index(message.__name__)
    rows = [line.split("|") for line in lines[lines.index(head) + 2 :] if line.count("|") == head.count("|")]
    fields = [name for cells in rows if cells[column].strip() for name in re.findall(r"`(\w+)`", cells[1])]
    assert sorted(fields) == sorted(message.__annotations__)
