"""Incidents in a real Redis: bounded, each opened and closed once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.factories import NOW
from worker.domain.incident import FailureCount, Incident, IncidentKind, failures_alike
from worker.domain.messages import WindowJob
from worker.domain.series import Series
from worker.stores.redis.incidents import DAY_S, MOST_FAILED, MOST_PAST, MOST_RECENT, IncidentStore

MINUTES = 10.0
DAILY = Series.DAILY
OUTAGE, HOLDER = IncidentKind.OUTAGE, IncidentKind.HOLDER


class IncidentBench:
    """An incident store with a clock that the test sets."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self.redis, self.prefix = redis, prefix
        self.at: datetime = NOW
        self.store = IncidentStore(redis, prefix)

    def record(self, account: str, kind: IncidentKind | None, series: Series = DAILY) -> None:
        self.store.record_answer(job_of(account, series), kind, self.at)

    def count(self, kind: IncidentKind = OUTAGE, series: Series = DAILY) -> FailureCount:
        return failures_alike(self.store.recent_answers(series, self.at, MINUTES), kind)[1]

    def open(self, kind: IncidentKind = OUTAGE, slot: str = "daily", name: str = "one", failed: str = "") -> bool:
        return self.store.open(Incident(name, slot, kind, NOW), [job_of(account) for account in failed], 60)

    def only_incident(self) -> Incident:
        (incident,) = self.store.open_incidents().values()
        return incident

    def stored_keys(self) -> list[str]:
        return sorted(key.removeprefix(self.prefix) for key in self.redis.scan_iter(f"{self.prefix}*"))


@pytest.fixture
def bench(redis: Redis, prefix: str) -> IncidentBench:
    return IncidentBench(redis, prefix)


def job_of(account: str, series: Series = DAILY) -> WindowJob:
    return WindowJob(
        account_id=account, series=series, start="2024-06-25", end="2024-07-25", run_id=f"run-{account}", claim="a/b"
    )


def test_an_account_counts_once_however_often_it_fails_and_as_it_went_last(bench: IncidentBench) -> None:
    for _ in range(20):
        bench.record("a", OUTAGE)
    assert bench.count() == FailureCount(1, 1)
    for account, kind in (("b", OUTAGE), ("a", None), ("c", IncidentKind.APPLICATION)):
        bench.record(account, kind)
    assert bench.count() == FailureCount(1, 3)
    bench.record("a", OUTAGE, Series.LOAD_CURVE)
    assert bench.count(series=Series.LOAD_CURVE) == FailureCount(1, 1), "each series stands for itself"


def test_calls_of_long_ago_and_of_a_clock_that_was_set_back_do_not_count(bench: IncidentBench) -> None:
    bench.record("a", OUTAGE)
    bench.at += timedelta(minutes=MINUTES)
    bench.record("b", OUTAGE)
    assert bench.count() == FailureCount(2, 2)
    bench.at += timedelta(seconds=1)
    assert bench.count() == FailureCount(1, 1)
    bench.at -= timedelta(hours=1)
    assert bench.count() == FailureCount(0, 0)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, OUTAGE, IncidentKind.ANSWERS]), st.integers(0, 400)))
)
def test_the_counts_are_those_of_a_plain_model(
    redis: Redis, prefix: str, answers: list[tuple[int, IncidentKind | None, int]]
) -> None:
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)
    bench = IncidentBench(redis, prefix)
    model: dict[int, tuple[datetime, IncidentKind | None]] = {}
    for account, kind, pause_s in answers:
        bench.at += timedelta(seconds=pause_s)
        model = {number: last for number, last in model.items() if bench.at - last[0] <= timedelta(minutes=MINUTES)}
        model[account] = (bench.at, kind)
        bench.record(str(account), kind)
        assert bench.count() == FailureCount(sum(last[1] is OUTAGE for last in model.values()), len(model))


def test_one_of_many_opens_it_and_one_of_many_closes_it(bench: IncidentBench) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda number: bench.open(name=f"i{number}"), range(24)))
        assert sorted(opened) == [False] * 23 + [True]
        incident = bench.only_incident()
        assert bench.open(name=incident.id), "a command that was sent twice tells the same"
        closed = list(pool.map(lambda _: bench.store.close(incident, NOW, "probes"), range(8)))
    assert [past.id for past in closed if past] == [incident.id]
    assert len(bench.store.closed_incidents()) == 1


def test_an_incident_takes_over_what_failed_alike_before_it_and_counts_on(bench: IncidentBench) -> None:
    bench.open(failed="ab")
    bench.open(HOLDER, "holder", name="two")
    incident = bench.store.open_incidents()["daily"]
    assert (incident.failed_calls, incident.accounts, incident.series) == (2, 2, [DAILY])
    for account in "eea":
        bench.store.add_failure(incident, job_of(account))
    for field in ("windows_held", "windows_failed"):
        bench.store.increment_count(incident, field)
    incident = bench.store.open_incidents()["daily"]
    assert (incident.failed_calls, incident.windows_held, incident.windows_failed, incident.accounts) == (5, 1, 1, 3)
    assert sorted(job["account_id"] for job in bench.store.failed_windows(incident)) == ["a", "a", "b", "e", "e"]
    assert all(job == job_of(job["account_id"]) for job in bench.store.failed_windows(incident))


def test_a_round_of_probes_is_counted_once_and_keeps_the_incident_open(bench: IncidentBench) -> None:
    bench.open()
    bench.redis.expire(f"{bench.prefix}incident:open:daily", 5)
    incident = bench.only_incident()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: bench.store.begin_round(incident, 60), range(8))).count(True) == 1
    assert bench.redis.ttl(f"{bench.prefix}incident:open:daily") > 3600


def test_after_its_end_its_failures_are_forgotten(
    bench: IncidentBench,
) -> None:
    bench.record("a", OUTAGE)
    bench.open(failed="a")
    incident = bench.only_incident()
    past = bench.store.close(incident, NOW + timedelta(minutes=7), "probes")
    assert past and bench.store.closed_incidents() == [past]
    assert (past.id, past.kind, past.how, past.accounts, past.failed_calls) == ("one", OUTAGE, "probes", 1, 1)
    assert (past.ended_at, past.began_at) == (NOW + timedelta(minutes=7), NOW)
    assert (bench.store.open_incidents(), bench.count()) == ({}, FailureCount(0, 0))
    assert bench.stored_keys() == ["incident:past"]


def test_what_comes_late_to_a_closed_one_changes_no_later_one_and_expires(bench: IncidentBench) -> None:
    bench.open(failed="a")
    closed = bench.only_incident()
    bench.store.close(closed, NOW, "probes")
    bench.open(name="two")
    bench.store.add_failure(closed, job_of("b"))
    bench.store.increment_count(closed, "windows_held")
    bench.store.begin_round(closed, 60)
    assert bench.store.close(closed, NOW, "by_hand") is None
    assert bench.only_incident() == Incident("two", "daily", OUTAGE, NOW)
    late = [key for key in bench.stored_keys() if key.endswith(":one")]
    assert late and all(0 < bench.redis.ttl(bench.prefix + key) <= DAY_S for key in late)


def test_all_is_bounded_and_but_for_the_past_it_expires(bench: IncidentBench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MOST_RECENT, MOST_FAILED) == (1_000, 10_000)
    for name in ("MOST_RECENT", "MOST_FAILED"):
        monkeypatch.setattr(f"worker.stores.redis.incidents.{name}", 50)
    for number in range(60):
        bench.record(f"account-{number}", OUTAGE)
    bench.open(failed="a" * 60)
    assert bench.count() == FailureCount(50, 50)
    assert len(bench.store.failed_windows(bench.only_incident())) == 50
    for number in range(MOST_PAST + 5):
        bench.open(IncidentKind.BY_HAND, "load_curve", name=f"i{number}")
        bench.store.close(bench.store.open_incidents()["load_curve"], NOW, "by_hand")
    assert len(bench.store.closed_incidents()) == MOST_PAST
    lasting = {"incident:past"}
    assert all(bench.redis.ttl(bench.prefix + key) > 0 for key in {*bench.stored_keys()} - lasting)
