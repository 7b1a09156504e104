"""What is kept of incidents in a real Redis: bounded, by one clock, opened and closed once."""

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


class Shelf:
    """A store on a clock of the test's own."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self.redis, self.prefix = redis, prefix
        self.at_s = 1_000_000.0
        self.store = IncidentStore(redis, prefix, lambda: round(self.at_s * 1e6))

    def note(self, account: str, kind: IncidentKind | None, series: Series = DAILY) -> FailureCount:
        return self.store.note(asked(account, series), kind, MINUTES)

    def open(self, kind: IncidentKind = IncidentKind.OUTAGE, slot: str = "daily", name: str = "one") -> bool | None:
        return self.store.open(Incident(name, slot, kind, NOW), 60)

    def only(self) -> Incident:
        (found,) = self.store.all_open().values()
        return found

    def kept(self) -> list[str]:
        return sorted(key.removeprefix(self.prefix) for key in self.redis.scan_iter(f"{self.prefix}*"))


@pytest.fixture
def shelf(redis: Redis, prefix: str) -> Shelf:
    return Shelf(redis, prefix)


def asked(account: str, series: Series = DAILY) -> WindowJob:
    return WindowJob(
        account_id=account, series=series, start="2024-06-25", end="2024-07-25", run_id=f"run-{account}", claim="a/b"
    )


def test_an_account_counts_once_however_often_it_fails_and_as_it_went_last(shelf: Shelf) -> None:
    for _ in range(1000):
        burst = shelf.note("a", IncidentKind.OUTAGE)
    assert burst == FailureCount(1, 1)
    assert shelf.note("b", IncidentKind.OUTAGE) == FailureCount(2, 2)
    shelf.note("a", None)
    assert shelf.note("b", IncidentKind.OUTAGE) == FailureCount(1, 2)
    assert shelf.note("c", IncidentKind.APPLICATION) == FailureCount(1, 3)
    assert shelf.note("a", IncidentKind.OUTAGE, Series.LOAD_CURVE) == FailureCount(1, 1), (
        "each series stands for itself"
    )


def test_who_was_asked_longer_ago_is_forgotten(shelf: Shelf) -> None:
    shelf.note("a", IncidentKind.OUTAGE)
    shelf.at_s += MINUTES * 60
    assert shelf.note("b", IncidentKind.OUTAGE) == FailureCount(2, 2)
    shelf.at_s += 1
    assert shelf.note("c", IncidentKind.OUTAGE) == FailureCount(2, 2)


def test_a_clock_set_back_leaves_nothing_behind_from_the_future(shelf: Shelf) -> None:
    shelf.note("a", IncidentKind.OUTAGE)
    shelf.at_s -= 3600
    assert shelf.note("b", IncidentKind.OUTAGE) == FailureCount(1, 1)


def test_what_is_remembered_of_answers_is_bounded(shelf: Shelf) -> None:
    for number in range(MOST_RECENT + 50):
        shelf.at_s += 0.001
        burst = shelf.note(f"account-{number}", IncidentKind.OUTAGE)
    assert burst == FailureCount(MOST_RECENT, MOST_RECENT)
    assert shelf.redis.hlen(f"{shelf.prefix}incident:last:daily") == MOST_RECENT
    assert shelf.kept() == ["incident:last:daily", "incident:ring:daily", "incident:tally:daily"]
    assert all(shelf.redis.ttl(shelf.prefix + key) > 0 for key in shelf.kept())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from([None, IncidentKind.OUTAGE, IncidentKind.HOLDER]), st.integers(0, 400)
        )
    )
)
def test_the_counts_are_those_of_a_plain_model(
    redis: Redis, prefix: str, told: list[tuple[int, IncidentKind | None, int]]
) -> None:
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)
    shelf = Shelf(redis, prefix)
    model: dict[int, tuple[float, IncidentKind | None]] = {}
    for account, kind, pause_s in told:
        shelf.at_s += pause_s
        model = {each: seen for each, seen in model.items() if seen[0] >= shelf.at_s - MINUTES * 60}
        model[account] = (shelf.at_s, kind)
        burst = shelf.note(str(account), kind)
        if kind is not None:
            assert burst == FailureCount(sum(seen[1] is kind for seen in model.values()), len(model))


def test_one_of_many_opens_it(shelf: Shelf) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda number: shelf.open(name=f"i{number}"), range(24)))
    assert sorted(map(str, opened)) == ["False"] * 23 + ["True"]
    assert shelf.open(name=shelf.only().id), "a command that was sent twice tells the same"


def test_an_incident_takes_over_what_failed_alike_before_it_and_counts_on(shelf: Shelf) -> None:
    for account in ("a", "a", "b"):
        shelf.note(account, IncidentKind.OUTAGE)
    shelf.note("c", IncidentKind.APPLICATION)
    shelf.note("d", None)
    shelf.open()
    assert (shelf.only().failed_calls, shelf.only().accounts) == (3, 2)
    shelf.store.add("daily", asked("e"))
    shelf.store.count("daily", "windows_held")
    shelf.store.count("daily", "windows_failed")
    found = shelf.only()
    assert (found.failed_calls, found.windows_held, found.windows_failed, found.accounts) == (4, 1, 1, 3)
    assert sorted(each["account_id"] for each in shelf.store.failed("daily")) == ["a", "b", "e"]
    assert all(each == asked(each["account_id"]) for each in shelf.store.failed("daily"))
    assert {each["account_id"] for each in shelf.store.some_failed("daily", 2)} < {"a", "b", "e"}


def test_an_incident_of_refusals_takes_over_those_of_both_series(shelf: Shelf) -> None:
    shelf.note("a", IncidentKind.HOLDER)
    shelf.note("b", IncidentKind.HOLDER, Series.LOAD_CURVE)
    shelf.open(IncidentKind.HOLDER, "holder")
    told = {(each["account_id"], each["series"]) for each in shelf.store.failed("holder")}
    assert told == {("a", "daily"), ("b", "load_curve")}


def test_what_comes_late_to_a_closed_one_leaves_no_trace(shelf: Shelf) -> None:
    shelf.store.add("daily", asked("a"))
    shelf.store.count("daily", "windows_held")
    assert shelf.kept() == []


def test_each_turn_of_the_canaries_comes_once_and_when_it_is_due(shelf: Shelf) -> None:
    shelf.open()
    assert not shelf.store.take_turn(shelf.only(), 120, 60)
    shelf.at_s += 60
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda _: shelf.store.take_turn(shelf.only(), 120, 60), range(16)))
    assert turns.count(True) == 1
    shelf.at_s += 119
    assert not shelf.store.take_turn(shelf.only(), 240, 60)
    shelf.at_s += 1
    assert shelf.store.take_turn(shelf.only(), 240, 60)
    assert shelf.only().rounds == 2


def test_one_closes_it_and_then_a_replay_is_due_until_it_was_asked_for(shelf: Shelf) -> None:
    shelf.note("a", IncidentKind.OUTAGE)
    shelf.open()
    found = shelf.only()
    assert not shelf.store.replay_due()
    assert shelf.store.close(found, NOW + timedelta(minutes=7), "probes")
    assert shelf.store.all_open() == {}
    (over,) = shelf.store.past()
    assert (over.id, over.kind, over.how, over.accounts, over.failed_calls) == (
        "one",
        IncidentKind.OUTAGE,
        "probes",
        1,
        1,
    )
    assert (over.ended_at, over.began_at) == (NOW + timedelta(minutes=7), NOW)
    assert shelf.store.replay_due()
    shelf.store.replayed()
    assert not shelf.store.replay_due()
    assert not shelf.store.close(Incident("other", "daily", IncidentKind.OUTAGE, NOW), NOW, "probes")


def test_one_that_comes_again_waits_as_long_as_the_one_before_and_is_none_in_the_end(shelf: Shelf) -> None:
    waits = []
    for relapse in range(MOST_RELAPSES):
        assert shelf.open(name=f"i{relapse}")
        began, found = shelf.at_s, shelf.only()
        while not shelf.store.take_turn(found, 999, 60):
            shelf.at_s += 1
        waits.append(shelf.at_s - began)
        shelf.store.close(found, NOW, "probes")
    assert waits == [60, 120, 240]
    assert shelf.open() is None
    assert shelf.open(IncidentKind.BY_HAND), "but the operator may"


def test_a_muted_kind_is_not_opened(shelf: Shelf) -> None:
    shelf.open(IncidentKind.HOLDER, "holder")
    shelf.store.close(shelf.only(), NOW, "by_hand", muted_s=60)
    assert shelf.open(IncidentKind.HOLDER, "holder") is None
    assert shelf.store.muted([IncidentKind.HOLDER, IncidentKind.CONSENT]) == {IncidentKind.HOLDER}
    assert shelf.open(IncidentKind.CONSENT, "consent")


def test_an_incident_that_nobody_probes_ends_by_itself_and_the_past_is_bounded(shelf: Shelf) -> None:
    for number in range(MOST_PAST + 5):
        shelf.open(IncidentKind.BY_HAND, name=f"i{number}")
        shelf.store.close(shelf.only(), NOW, "by_hand")
    assert len(shelf.store.past()) == MOST_PAST
    shelf.note("a", IncidentKind.CONSENT)
    shelf.open(IncidentKind.CONSENT, "consent")
    shelf.store.add("consent", asked("b"))
    for what in ("open", "failed", "touched"):
        assert 0 < shelf.redis.ttl(f"{shelf.prefix}incident:{what}:consent") <= 3 * 3600
