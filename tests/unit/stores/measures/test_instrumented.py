"""An instrumented store does what its store does, and counts and times it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fakes import MemoryStore
from tests.support.metric_counts import MetricGrowth
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.instrumented import InstrumentedStore

DOCUMENT = {"_id": "acc:2024-07-01", "load": 1.5}


class Down(MemoryStore):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def read(self, *_: Any, **__: Any) -> list[Any]:
        raise self.error


def test_each_operation_is_done_and_timed_once() -> None:
    counts, store = MetricGrowth(), InstrumentedStore(MemoryStore())
    store.create_if_missing()
    assert store.write([dict(DOCUMENT)]) == []
    assert [document["load"] for document in store.read("acc", "2024", "2025")] == [1.5]
    assert store.read("acc", "2024", "2025", 1) and store.erase("acc") == 1
    assert counts.growth_by_labels("releve_store_request_seconds_count") == {
        ("create",): 1,
        ("write",): 1,
        ("read",): 2,
        ("erase",): 1,
    }
    assert counts.growth_by_labels("releve_store_errors_total") == {}


@pytest.mark.parametrize("error", [StoreUnavailable("down"), WriteRefused("no")])
def test_a_failure_is_counted_and_stays_what_it_is(error: Exception) -> None:
    counts = MetricGrowth()
    with pytest.raises(type(error)):
        InstrumentedStore(Down(error)).read("acc", "2024", "2025")
    assert counts.growth_by_labels("releve_store_errors_total") == {("measures",): 1}
    assert counts.growth("releve_store_request_seconds_count", operation="read") == 1
