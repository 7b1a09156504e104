"""Reads in pages: a limited number of documents from each store."""

from __future__ import annotations

import pytest

from tests.support.factories import NOW
from tests.support.fakes import ByDoctype
from worker.domain.measures.documents import Entry, key_of, to_document
from worker.domain.measures.readings import Period


@pytest.mark.parametrize(("limit", "days"), [(1, [3]), (3, [3, 4, 5]), (9, [3, 4, 5, 6]), (None, [3, 4, 5, 6])])
def test_a_limit_gives_the_first_documents_of_the_range(
    measures: ByDoctype, limit: int | None, days: list[int]
) -> None:
    store = measures[Period.DAY]
    entries = [Entry(f"2024-07-{day:02}", day * 1_000_000) for day in range(1, 10)]
    written = [
        to_document(account_id, Period.DAY, entry, NOW) for account_id in ("home1", "home2") for entry in entries
    ]
    assert store.write(written) == []
    documents = store.read("home1", "2024-07-03", "2024-07-07", limit)
    assert [key_of(document) for document in documents] == [f"2024-07-{day:02}" for day in days]
    assert {document["source_account"] for document in documents} == {"home1"}


def test_a_limit_on_a_doctype_that_nobody_wrote_to_finds_nothing(measures: ByDoctype) -> None:
    assert measures[Period.DAY].read("home1", "2024", "2025", 5) == []
