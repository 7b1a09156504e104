"""Incidents in a real Redis: bounded, by one clock, each opened and closed once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.factories import NOW
from worker.domain.fleet.incidents import MOST_RELAPSES, FailureCount, Incident, IncidentKind
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.stores.redis.incidents import MOST_PAST, MOST_RECENT, IncidentStore

MINUTES = 10.0
DAILY = Series.DAILY


class IncidentBench:
    """An incident store with a clock that the test sets."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self.redis, self.prefix = redis, prefix
        self.at_s = 1_000_000.0
        self.store = IncidentStore(redis, prefix, lambda: round(self.at_s * 1e6))

    def record(self, account: str, kind: IncidentKind | None, series: Series = DAILY) -> FailureCount:
        return self.store.record_answer(job_of(account, series), kind, MINUTES)

    def open(self, kind: IncidentKind = IncidentKind.OUTAGE, slot: str = "daily", name: str = "one") -> bool | None:
        return self.store.open(Incident(name, slot, kind, NOW), 60)

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
    for _ in range(1000):
        count = bench.record("a", IncidentKind.OUTAGE)
    assert count == FailureCount(1, 1)
    assert bench.record("b", IncidentKind.OUTAGE) == FailureCount(2, 2)
    bench.record("a", None)
    assert bench.record("b", IncidentKind.OUTAGE) == FailureCount(1, 2)
    assert bench.record("c", IncidentKind.APPLICATION) == FailureCount(1, 3)
    assert bench.record("a", IncidentKind.OUTAGE, Series.LOAD_CURVE) == FailureCount(1, 1), (
        "each series stands for itself"
    )


def test_who_was_asked_longer_ago_is_forgotten(bench: IncidentBench) -> None:
    bench.record("a", IncidentKind.OUTAGE)
    bench.at_s += MINUTES * 60
    assert bench.record("b", IncidentKind.OUTAGE) == FailureCount(2, 2)
    bench.at_s += 1
    assert bench.record("c", IncidentKind.OUTAGE) == FailureCount(2, 2)


def test_a_clock_set_back_leaves_nothing_behind_from_the_future(bench: IncidentBench) -> None:
    bench.record("a", IncidentKind.OUTAGE)
    bench.at_s -= 3600
    assert bench.record("b", IncidentKind.OUTAGE) == FailureCount(1, 1)


def test_what_is_remembered_of_answers_is_bounded(bench: IncidentBench) -> None:
    for number in range(MOST_RECENT + 50):
        bench.at_s += 0.001
        count = bench.record(f"account-{number}", IncidentKind.OUTAGE)
    assert count == FailureCount(MOST_RECENT, MOST_RECENT)
    assert bench.redis.hlen(f"{bench.prefix}incident:last:daily") == MOST_RECENT
    assert bench.stored_keys() == ["incident:last:daily", "incident:ring:daily", "incident:tally:daily"]
    assert all(bench.redis.ttl(bench.prefix + key) > 0 for key in bench.stored_keys())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from([None, IncidentKind.OUTAGE, IncidentKind.HOLDER]), st.integers(0, 400)
        )
    )
)
def test_the_counts_are_those_of_a_plain_model(
    redis: Redis, prefix: str, answers: list[tuple[int, IncidentKind | None, int]]
) -> None:
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)
    bench = IncidentBench(redis, prefix)
    model: dict[int, tuple[float, IncidentKind | None]] = {}
    for account, kind, pause_s in answers:
        bench.at_s += pause_s
        model = {number: last for number, last in model.items() if last[0] >= bench.at_s - MINUTES * 60}
        model[account] = (bench.at_s, kind)
        count = bench.record(str(account), kind)
        if kind is not None:
            assert count == FailureCount(sum(last[1] is kind for last in model.values()), len(model))


def test_one_of_many_opens_it(bench: IncidentBench) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda number: bench.open(name=f"i{number}"), range(24)))
    assert sorted(map(str, opened)) == ["False"] * 23 + ["True"]
    assert bench.open(name=bench.only_incident().id), "a command that was sent twice tells the same"


def test_an_incident_takes_over_what_failed_alike_before_it_and_counts_on(bench: IncidentBench) -> None:
    for account in ("a", "a", "b"):
        bench.record(account, IncidentKind.OUTAGE)
    bench.record("c", IncidentKind.APPLICATION)
    bench.record("d", None)
    bench.open()
    assert (bench.only_incident().failed_calls, bench.only_incident().accounts) == (3, 2)
    bench.store.add_failure("daily", job_of("e"))
    bench.store.increment_count("daily", "windows_held")
    bench.store.increment_count("daily", "windows_failed")
    incident = bench.only_incident()
    assert (incident.failed_calls, incident.windows_held, incident.windows_failed, incident.accounts) == (4, 1, 1, 3)
    assert sorted(job["account_id"] for job in bench.store.failed_windows("daily")) == ["a", "b", "e"]
    assert all(job == job_of(job["account_id"]) for job in bench.store.failed_windows("daily"))
    assert {job["account_id"] for job in bench.store.sample_failed_windows("daily", 2)} < {"a", "b", "e"}


def test_an_incident_of_refusals_takes_over_those_of_both_series(bench: IncidentBench) -> None:
    bench.record("a", IncidentKind.HOLDER)
    bench.record("b", IncidentKind.HOLDER, Series.LOAD_CURVE)
    bench.open(IncidentKind.HOLDER, "holder")
    windows = {(job["account_id"], job["series"]) for job in bench.store.failed_windows("holder")}
    assert windows == {("a", "daily"), ("b", "load_curve")}


def test_what_comes_late_to_a_closed_one_leaves_no_trace(bench: IncidentBench) -> None:
    bench.store.add_failure("daily", job_of("a"))
    bench.store.increment_count("daily", "windows_held")
    assert bench.stored_keys() == []


def test_each_turn_of_the_canaries_comes_once_and_when_it_is_due(bench: IncidentBench) -> None:
    bench.open()
    assert not bench.store.claim_probe_round(bench.only_incident(), 120, 60)
    bench.at_s += 60
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda _: bench.store.claim_probe_round(bench.only_incident(), 120, 60), range(16)))
    assert turns.count(True) == 1
    bench.at_s += 119
    assert not bench.store.claim_probe_round(bench.only_incident(), 240, 60)
    bench.at_s += 1
    assert bench.store.claim_probe_round(bench.only_incident(), 240, 60)
    assert bench.only_incident().rounds == 2


def test_one_closes_it_and_then_a_replay_is_due_until_it_was_asked_for(bench: IncidentBench) -> None:
    bench.record("a", IncidentKind.OUTAGE)
    bench.open()
    incident = bench.only_incident()
    assert not bench.store.is_replay_due()
    assert bench.store.close(incident, NOW + timedelta(minutes=7), "probes")
    assert bench.store.open_incidents() == {}
    (past,) = bench.store.closed_incidents()
    assert (past.id, past.kind, past.how, past.accounts, past.failed_calls) == (
        "one",
        IncidentKind.OUTAGE,
        "probes",
        1,
        1,
    )
    assert (past.ended_at, past.began_at) == (NOW + timedelta(minutes=7), NOW)
    assert bench.store.is_replay_due()
    bench.store.clear_replay()
    assert not bench.store.is_replay_due()
    assert not bench.store.close(Incident("other", "daily", IncidentKind.OUTAGE, NOW), NOW, "probes")


def test_one_that_comes_again_waits_as_long_as_the_one_before_and_is_none_in_the_end(bench: IncidentBench) -> None:
    waits = []
    for relapse in range(MOST_RELAPSES):
        assert bench.open(name=f"i{relapse}")
        began, incident = bench.at_s, bench.only_incident()
        while not bench.store.claim_probe_round(incident, 999, 60):
            bench.at_s += 1
        waits.append(bench.at_s - began)
        bench.store.close(incident, NOW, "probes")
    assert waits == [60, 120, 240]
    assert bench.open() is None
    assert bench.open(IncidentKind.BY_HAND), "but the operator may"


def test_a_muted_kind_is_not_opened(bench: IncidentBench) -> None:
    bench.open(IncidentKind.HOLDER, "holder")
    bench.store.close(bench.only_incident(), NOW, "by_hand", muted_s=60)
    assert bench.open(IncidentKind.HOLDER, "holder") is None
    assert bench.store.muted_kinds([IncidentKind.HOLDER, IncidentKind.CONSENT]) == {IncidentKind.HOLDER}
    assert bench.open(IncidentKind.CONSENT, "consent")


def test_an_incident_that_nobody_probes_ends_by_itself_and_the_past_is_bounded(bench: IncidentBench) -> None:
    for number in range(MOST_PAST + 5):
        bench.open(IncidentKind.BY_HAND, name=f"i{number}")
        bench.store.close(bench.only_incident(), NOW, "by_hand")
    assert len(bench.store.closed_incidents()) == MOST_PAST
    bench.record("a", IncidentKind.CONSENT)
    bench.open(IncidentKind.CONSENT, "consent")
    bench.store.add_failure("consent", job_of("b"))
    for part in ("open", "failed", "touched"):
        assert 0 < bench.redis.ttl(f"{bench.prefix}incident:{part}:consent") <= 3 * 3600
