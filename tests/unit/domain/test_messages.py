"""Messages between two steps: the page of the pipeline has each of their fields, and what outputs learn of a change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from worker.domain.documents import Entry
from worker.domain.messages import Changes, Fetched, WindowResult, Writes, changed_part
from worker.domain.series import Series

PAGE = Path(__file__).parents[3] / "docs/explanation/processing-pipeline.md"


@pytest.mark.parametrize("message", [Fetched, Changes, Writes, WindowResult])
def test_the_page_lists_each_field_of_a_message_and_no_other(message: Any) -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    head = next(line for line in lines if line.startswith("| field |"))
    column = [cell.strip(" `") for cell in head.split("|")].index(message.__name__)
    rows = [line.split("|") for line in lines[lines.index(head) + 2 :] if line.count("|") == head.count("|")]
    fields = [name for cells in rows if cells[column].strip() for name in re.findall(r"`(\w+)`", cells[1])]
    assert sorted(fields) == sorted(message.__annotations__)


@pytest.mark.parametrize(
    ("series", "reshaped", "removed"),
    [
        (Series.DAILY, [], set()),
        (Series.REGISTERS, [], {"2024-07-02"}),
        (Series.GAS_PUBLISHED, [], {"2024-07-02"}),
        (Series.LOAD_CURVE, ["2024-07-02"], {"2024-07-02"}),
    ],
)
def test_a_changed_reading_that_may_stand_for_less_counts_as_removed_too(
    series: Series, reshaped: list[str], removed: set[str]
) -> None:
    changed = [Entry("2024-07-01", 1), Entry("2024-07-02", 2, replaced_amount=3)]
    window = {"series": series, "start": "2024-07-01", "end": "2024-07-03", "totals": {}, "removals": {}}
    writes: Any = {**window, "changed": [list(one) for one in changed], "reshaped": reshaped}
    part = changed_part(writes)
    assert part is not None and part.removed == removed
