"""The walk without the queue: many accounts at once, each with the patience it would have alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.factories import origin
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import ConsentRevoked, MalformedAnswer, SupplierUnavailable, WorkerError
from worker.sync.inline import MOST_AT_ONCE, MOST_TRIES, Inline

WEEK = DateWindow(date(2024, 7, 18), date(2024, 7, 25))
DAILY, CURVE = Series.DAILY.value, Series.LOAD_CURVE.value


@dataclass
class PretendRuntime:
    """``failing``: what comes of an account's series, one error a try; then it works."""

    failing: dict[tuple[str, str], list[WorkerError]] = field(default_factory=dict)
    asked: list[list[tuple[str, str]]] = field(default_factory=list)
    given_up: list[tuple[str, str]] = field(default_factory=list)

    @property
    def dispatcher(self) -> Any:
        return SimpleNamespace(look_back_now=lambda account_id, series: origin(WEEK, series, account_id))

    @property
    def journal(self) -> Any:
        return SimpleNamespace(failed=lambda each, error: self.given_up.append((each["account_id"], each["series"])))

    @property
    def walk(self) -> Any:
        return SimpleNamespace(sync_windows=self._sync_windows)

    def _sync_windows(self, origins: Sequence[WindowJob]) -> list[Any]:
        self.asked.append([(each["account_id"], each["series"]) for each in origins])
        return [self._outcome(each) for each in origins]

    def _outcome(self, each: WindowJob) -> Any:
        left = self.failing.get((each["account_id"], each["series"]), [])
        return left.pop(0) if left else each


@pytest.fixture
def waits() -> list[float]:
    return []


def synced(runtime: PretendRuntime, waits: list[float], *accounts: str) -> list[tuple[str, str]]:
    here = Inline(runtime, say=lambda line: None, sleep=waits.append)  # type: ignore[arg-type]
    reports = [(report["account_id"], report["series"]) for report in here.look_back(*accounts)]
    assert [(failure["account_id"], failure["series"]) for failure in here.failures] == runtime.given_up
    return reports


def test_a_series_of_many_accounts_is_asked_for_at_once_and_a_hundred_are_the_most(waits: list[float]) -> None:
    runtime, accounts = PretendRuntime(), [f"home{number}" for number in range(MOST_AT_ONCE + 1)]
    assert len(synced(runtime, waits, *accounts)) == 2 * len(accounts)
    whole, rest = accounts[:MOST_AT_ONCE], accounts[MOST_AT_ONCE:]
    assert runtime.asked == [[(home, series) for home in some] for some in (whole, rest) for series in (DAILY, CURVE)]


def test_who_may_well_work_later_is_tried_again_by_itself(waits: list[float]) -> None:
    runtime = PretendRuntime({("b", DAILY): [SupplierUnavailable("down"), SupplierUnavailable("down", 7.0)]})
    reports = synced(runtime, waits, "a", "b", "c")
    assert reports == [(home, series) for series in (DAILY, CURVE) for home in "abc"]
    assert runtime.asked[1:3] == [[("b", DAILY)]] * 2
    assert len(waits) == 2
    assert waits[1] >= 7


@pytest.mark.parametrize("asked_s, tries", [(None, MOST_TRIES), (3600.0, 1)])
def test_patience_ends_after_some_tries_or_where_the_wait_is_too_long(
    waits: list[float], asked_s: float | None, tries: int
) -> None:
    runtime = PretendRuntime({("a", DAILY): [SupplierUnavailable("down", asked_s)] * 9})
    assert synced(runtime, waits, "a", "b") == [("b", DAILY), ("a", CURVE), ("b", CURVE)]
    assert sum(("a", DAILY) in some for some in runtime.asked) == tries
    assert runtime.given_up == [("a", DAILY)]


def test_an_account_that_waits_for_its_owner_is_left_alone_and_no_other_is(waits: list[float]) -> None:
    runtime = PretendRuntime({("b", DAILY): [ConsentRevoked("no")], ("c", DAILY): [MalformedAnswer("what?")]})
    assert synced(runtime, waits, "a", "b", "c") == [("a", DAILY), ("a", CURVE), ("c", CURVE)]
    assert runtime.given_up == [("b", DAILY), ("c", DAILY)]
    assert not waits
