"""Windows without the queue: one after the other, each with its own retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.factories import NOW, window_job
from worker.domain.messages import WindowJob
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import DateWindow
from worker.errors import ConsentRevoked, IncidentOpen, MalformedAnswer, RateLimited, SupplierUnavailable, WorkerError
from worker.sync.inline import MOST_TRIES, Inline

WEEK = DateWindow(date(2024, 7, 18), date(2024, 7, 25))
DAILY, CURVE = Series.DAILY.value, Series.LOAD_CURVE.value


@dataclass
class PretendRuntime:
    """A parts; ``failing``: the errors of an account's series, one for each try, after which it works."""

    failing: dict[tuple[str, str], list[WorkerError]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    given_up: list[tuple[str, str]] = field(default_factory=list)

    def manual_look_back(self, account_id: str, series: Series) -> WindowJob:
        return window_job(WEEK, series, account_id)

    def now(self) -> datetime:
        return NOW

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


def synced(
    parts: PretendRuntime, waits: list[float], *accounts: str, lines: list[str] | None = None
) -> list[tuple[str, str]]:
    pretend: Any = parts
    pretend.history = pretend
    pretend.registry = SimpleNamespace(outcomes=SimpleNamespace(collected=lambda account_id: USUAL_SERIES))
    here = Inline(
        claims=pretend,
        window_sync=pretend,
        results=pretend,
        print_line=[].append if lines is None else lines.append,
        sleep=waits.append,
    )
    pairs = [(result["account_id"], result["series"]) for result in here.run_look_back(*accounts)]
    assert [(failure["account_id"], failure["series"]) for failure in here.failures] == parts.given_up
    return pairs


def test_who_may_well_work_later_is_tried_again_by_itself(waits: list[float]) -> None:
    parts = PretendRuntime({("b", DAILY): [SupplierUnavailable("down"), SupplierUnavailable("down", 7.0)]})
    pairs = synced(parts, waits, "a", "b", "c")
    assert pairs == [(home, series) for home in "abc" for series in (DAILY, CURVE)]
    assert parts.asked[2:5] == [("b", DAILY)] * 3
    assert len(waits) == 2
    assert waits[1] >= 7


@pytest.mark.parametrize("asked_s, tries", [(None, MOST_TRIES), (3600.0, 1)])
def test_patience_ends_after_some_tries_or_where_the_wait_is_too_long(
    waits: list[float], asked_s: float | None, tries: int
) -> None:
    parts = PretendRuntime({("a", DAILY): [SupplierUnavailable("down", asked_s)] * 9})
    assert synced(parts, waits, "a", "b") == [("a", CURVE), ("b", DAILY), ("b", CURVE)]
    assert parts.asked.count(("a", DAILY)) == tries
    assert parts.given_up == [("a", DAILY)]


def test_an_account_that_waits_for_its_owner_is_left_alone_and_no_other_is(waits: list[float]) -> None:
    parts = PretendRuntime({("b", DAILY): [ConsentRevoked("no")], ("c", DAILY): [MalformedAnswer("what?")]})
    assert synced(parts, waits, "a", "b", "c") == [("a", DAILY), ("a", CURVE), ("c", CURVE)]
    assert parts.given_up == [("b", DAILY), ("c", DAILY)]
    assert not waits


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RateLimited("we wait for our turn", 3_290), "we wait for our turn; try again after 2024-07-25 09:54"),
        (RateLimited("we wait for our turn"), "we wait for our turn"),
        (IncidentOpen("nobody is asked", 3_290), "nobody is asked"),
        (SupplierUnavailable("down", 3_290), "down"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_call_that_waits_for_our_own_turn_says_when_it_comes(
    waits: list[float], error: WorkerError, line: str
) -> None:
    lines: list[str] = []
    synced(PretendRuntime({("a", DAILY): [error] * MOST_TRIES}), waits, "a", lines=lines)
    assert lines[-1] == f"a {DAILY} {WEEK}: {line}"
