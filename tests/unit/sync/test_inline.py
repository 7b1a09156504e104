"""Windows without the queue: one after the other, each with its own retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

from tests.support.factories import window_job
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import ConsentRevoked, MalformedAnswer, SupplierUnavailable, WorkerError
from worker.sync.inline import MOST_TRIES, Inline

WEEK = DateWindow(date(2024, 7, 18), date(2024, 7, 25))
DAILY, CURVE = Series.DAILY.value, Series.LOAD_CURVE.value


@dataclass
class PretendRuntime:
    """A runtime; ``failing``: the errors of an account's series, one for each try, after which it works."""

    failing: dict[tuple[str, str], list[WorkerError]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    given_up: list[tuple[str, str]] = field(default_factory=list)

    def manual_look_back(self, account_id: str, series: Series) -> WindowJob:
        return window_job(WEEK, series, account_id)

    def record_failure(self, job: WindowJob, error: WorkerError) -> None:
        self.given_up.append((job["account_id"], job["series"]))

    def sync_window(self, job: WindowJob) -> WindowJob:
        pair = job["account_id"], job["series"]
        self.asked.append(pair)
        if errors := self.failing.get(pair):
            raise errors.pop(0)
        return job


@pytest.fixture
def waits() -> list[float]:
    return []


def synced(runtime: PretendRuntime, waits: list[float], *accounts: str) -> list[tuple[str, str]]:
    pretend: Any = runtime
    here = Inline(
        claims=pretend,
        windows=pretend,
        window_sync=pretend,
        results=pretend,
        print_line=lambda line: None,
        sleep=waits.append,
    )
    pairs = [(result["account_id"], result["series"]) for result in here.look_back(*accounts)]
    assert [(failure["account_id"], failure["series"]) for failure in here.failures] == runtime.given_up
    return pairs


def test_who_may_well_work_later_is_tried_again_by_itself(waits: list[float]) -> None:
    runtime = PretendRuntime({("b", DAILY): [SupplierUnavailable("down"), SupplierUnavailable("down", 7.0)]})
    pairs = synced(runtime, waits, "a", "b", "c")
    assert pairs == [(home, series) for home in "abc" for series in (DAILY, CURVE)]
    assert runtime.asked[2:5] == [("b", DAILY)] * 3
    assert len(waits) == 2
    assert waits[1] >= 7


@pytest.mark.parametrize("asked_s, tries", [(None, MOST_TRIES), (3600.0, 1)])
def test_patience_ends_after_some_tries_or_where_the_wait_is_too_long(
    waits: list[float], asked_s: float | None, tries: int
) -> None:
    runtime = PretendRuntime({("a", DAILY): [SupplierUnavailable("down", asked_s)] * 9})
    assert synced(runtime, waits, "a", "b") == [("a", CURVE), ("b", DAILY), ("b", CURVE)]
    assert runtime.asked.count(("a", DAILY)) == tries
    assert runtime.given_up == [("a", DAILY)]


def test_an_account_that_waits_for_its_owner_is_left_alone_and_no_other_is(waits: list[float]) -> None:
    runtime = PretendRuntime({("b", DAILY): [ConsentRevoked("no")], ("c", DAILY): [MalformedAnswer("what?")]})
    assert synced(runtime, waits, "a", "b", "c") == [("a", DAILY), ("a", CURVE), ("c", CURVE)]
    assert runtime.given_up == [("b", DAILY), ("c", DAILY)]
    assert not waits
