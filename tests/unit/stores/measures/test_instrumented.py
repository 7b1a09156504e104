"""An instrumented store does what its store does, and counts and times it."""

from __future__ import annotations

import pytest

from tests.support.fakes import memory_measures
from tests.support.metric_counts import MetricGrowth
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures import InstrumentedStore

DOCUMENT = {"_id": "acc:2024-07-01", "load": 1.5}


RANGES = {Doctype.DAY: ("2024", "2025")}


def test_each_operation_is_done_and_timed_once() -> None:
    counts, store = MetricGrowth(), InstrumentedStore(memory_measures())
    assert all(store.prepare().values())
    assert store.write({Doctype.DAY: [dict(DOCUMENT)]}) == {Doctype.DAY: []}
    assert [document["load"] for document in store.read("acc", RANGES)[Doctype.DAY]] == [1.5]
    assert store.read("acc", RANGES, 1)[Doctype.DAY]
    assert store.erase("acc") == 1
    assert counts.growth_by_labels("releve_store_request_seconds_count") == {
        ("create",): 1,
        ("write",): 1,
        ("read",): 2,
        ("erase",): 1,
    }
    assert counts.growth_by_labels("releve_store_errors_total") == {}


@pytest.mark.parametrize("error", [StoreUnavailable("down"), WriteRefused("no")])
def test_a_failure_is_counted_and_stays_what_it_is(error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    counts, measures = MetricGrowth(), memory_measures()
    measures[Doctype.DAY].before_read = fail
    with pytest.raises(type(error)):
        InstrumentedStore(measures).read("acc", RANGES)
    assert counts.growth_by_labels("releve_store_errors_total") == {("measures",): 1}
    assert counts.growth("releve_store_request_seconds_count", operation="read") == 1
