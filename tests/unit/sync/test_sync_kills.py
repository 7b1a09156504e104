"""A worker may die anywhere: the next run stores the same, and no total is missing in between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from tests.support.factories import (
    PretendSupplier,
    content,
    end_labels,
    make_window_sync,
    memory_measures,
    serving_days,
    v5_answer,
    window_job,
)
from tests.support.fakes import MemoryStore
from tests.support.window_runs import FIRST_RUN, RUNS, SECOND_RUN, Stores, days, sync_days, truth_of_days, window_over
from worker.domain.messages import WindowResult
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import Document

RESERVED_DAY = date(2024, 7, 24)


class Killed(BaseException):
    """The death of the worker; nothing in the code under test may catch it."""


def totals_of(stores: Stores) -> set[str]:
    return {key for period in (Doctype.HOUR, Doctype.MONTH, Doctype.YEAR) for key in stores[period].documents}


def kill_at(stores: Stores, number: int, written_before: int) -> None:
    """Die at write ``number``, after its first ``written_before`` documents: a bulk write is not atomic."""
    existed, count = totals_of(stores), 0

    for store in stores.values():

        def before_write(documents: Sequence[Document], store: MemoryStore = store) -> None:
            nonlocal count
            assert existed <= totals_of(stores)
            count += 1
            if count == number:
                store.before_write = None
                store.write(documents[:written_before])
                raise Killed

        store.before_write = before_write


@pytest.mark.parametrize("series", RUNS)
@pytest.mark.parametrize("fresh", [True, False], ids=["first run", "second run"])
def test_a_worker_killed_at_any_write_leaves_what_a_replay_makes_whole(series: str, fresh: bool) -> None:
    first, second = RUNS[series]
    expected = memory_measures()
    first(expected)
    second(expected)
    kills = before = 0
    for number in range(1, 10):
        if kills == before and number > 1:
            break  # There were no more writes.
        before = kills
        for written_before in (0, 1, 2, 10**6):
            stores = memory_measures()
            if not fresh:
                first(stores)
            existed = totals_of(stores)
            kill_at(stores, number, written_before)
            try:
                second(stores)
            except Killed:
                kills += 1
            for store in stores.values():
                store.before_write = None
            assert existed <= totals_of(stores)
            second(stores)
            assert content(stores) == content(expected)
            result = second(stores)
            assert (result["created"], result["updated"]) == (0, 0)
    assert kills >= 8


def test_a_store_task_killed_at_any_write_and_delivered_again_ends_the_same() -> None:
    expected = memory_measures()
    sync_days(expected, FIRST_RUN)
    sync_days(expected, SECOND_RUN)
    for number in range(1, 4):
        for written_before in (0, 1, 10**6):
            stores = memory_measures()
            sync_days(stores, FIRST_RUN)
            window_sync = make_window_sync(PretendSupplier(daily=serving_days(SECOND_RUN)), stores)
            asked = window_job(window_over(SECOND_RUN), Series.DAILY)
            message = window_sync.aggregate(window_sync.filter_known(window_sync.fetch(asked)))
            kill_at(stores, number, written_before)
            with pytest.raises(Killed):
                window_sync.store(message)
            for store in stores.values():
                store.before_write = None
            window_sync.store(message)
            assert content(stores) == content(expected)
            assert window_sync.store(message)["updated"] == 0


def test_a_worker_killed_before_the_mark_has_stored_everything() -> None:
    measures, values = memory_measures(), days("2024-05-09", 9000, 8000)
    window_sync = make_window_sync(PretendSupplier(daily=serving_days(values)), measures)

    def die(result: WindowResult) -> None:
        raise Killed

    window_sync.recorder.record_result = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        window_sync.sync_window(window_job(window_over(values), Series.DAILY))
    assert content(measures) == truth_of_days(values)


def serve_again(stores: Stores, minutes: int) -> WindowResult:
    """Sync a day whose energy is the same in steps of any length."""
    rows = [(label, "1000", f"PT{minutes}M") for label in end_labels(RESERVED_DAY, minutes)]
    supplier = PretendSupplier(curve=v5_answer(rows))
    job = window_job(DateWindow(RESERVED_DAY, RESERVED_DAY + ONE_DAY), Series.LOAD_CURVE)
    return make_window_sync(supplier, stores).sync_window(job)


@pytest.mark.parametrize("before, after", [(30, 60), (60, 30), (10, 15)])
def test_a_worker_killed_while_steps_of_other_lengths_come_leaves_what_a_replay_makes_whole(
    before: int, after: int
) -> None:
    expected = memory_measures()
    serve_again(expected, after)
    kills = 0
    for number in (1, 2):
        for written_before in (0, 1, 24, 25, 47, 48, 10**6):
            stores = memory_measures()
            serve_again(stores, before)
            hours = loads(stores, Doctype.HOUR)
            kill_at(stores, number, written_before)
            try:
                serve_again(stores, after)
            except Killed:
                kills += 1
            for store in stores.values():
                store.before_write = None
            assert loads(stores, Doctype.HOUR) == hours, "a total is never wrong in between"
            serve_again(stores, after)
            assert loads(stores, Doctype.MINUTE) == loads(expected, Doctype.MINUTE)
            assert loads(stores, Doctype.HOUR) == hours
            result = serve_again(stores, after)
            assert (result["created"], result["updated"], result["removed"]) == (0, 0, 0)
    assert kills >= 7


def loads(stores: Stores, period: Doctype) -> dict[str, float]:
    return {key: document["load"] for key, document in stores[period].documents.items()}
