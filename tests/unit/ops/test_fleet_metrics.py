"""The fleet's collector: one answer for all parts, with parts that are down or slow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry

from worker.errors import StoreUnavailable
from worker.ops.fleet_metrics import ACCOUNTS, NOTICES, RESTARTS, FleetCollector, Samples


class Parts:
    """Parts of a fleet; ``calls`` counts the calls of ``registry``."""

    def __init__(self) -> None:
        self.calls = 0
        self.now = 0.0

    def registry(self) -> Samples:
        self.calls += 1
        yield ACCOUNTS, {("ready",): 5.0, ("paused",): 0.0}
        yield NOTICES, {(): 2.0}

    def down(self) -> Samples:
        raise StoreUnavailable("Redis can't be used: it is away")

    def broken(self) -> Samples:
        raise KeyError("secret-of-a-household")


@pytest.fixture
def parts() -> Parts:
    return Parts()


@contextmanager
def collecting(parts: Parts, timeout_s: float = 20, **sources: Callable[[], Samples]) -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    collector = FleetCollector(sources, timeout_s=timeout_s, clock=lambda: parts.now)
    registry.register(collector)
    yield registry
    collector.close()


def test_what_the_parts_tell_is_told(parts: Parts) -> None:
    with collecting(parts, registry=parts.registry, redis=lambda: [(RESTARTS, {(): 3.0})]) as registry:
        assert registry.get_sample_value("releve_accounts", {"state": "ready"}) == 5
        assert registry.get_sample_value("releve_notices_waiting") == 2
        assert registry.get_sample_value("releve_watchdog_restarts_total") == 3
        assert registry.get_sample_value("releve_up", {"part": "registry"}) == 1


def test_a_part_that_is_down_costs_its_own_word_and_one_line(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "releve.metrics")
    with collecting(parts, registry=parts.registry, redis=parts.down, broker=parts.broken) as registry:
        up = {name: registry.get_sample_value("releve_up", {"part": name}) for name in ("registry", "redis", "broker")}
        assert up == {"registry": 1, "redis": 0, "broker": 0}
        assert registry.get_sample_value("releve_notices_waiting") == 2
    assert [record.getMessage() for record in caplog.records] == [
        "part=redis can't be asked: Redis can't be used: it is away",
        "part=broker can't be asked: unforeseen KeyError, a bug of ours",
    ]


def test_parts_are_asked_again_only_after_a_while(parts: Parts) -> None:
    with collecting(parts, registry=parts.registry) as registry:
        for parts.now in (0.0, 9.9, 10.0, 19.9):
            assert registry.get_sample_value("releve_notices_waiting") == 2
        assert parts.calls == 2


def test_a_part_that_does_not_answer_holds_up_nobody_and_is_asked_once(parts: Parts) -> None:
    answers, calls = threading.Event(), []

    def slow() -> Samples:
        calls.append(1)
        answers.wait(20)
        return [(RESTARTS, {(): 1.0})]

    with collecting(parts, timeout_s=0.05, registry=parts.registry, redis=slow) as registry:
        for parts.now in (0.0, 10.0):
            assert registry.get_sample_value("releve_up", {"part": "redis"}) == 0
        assert len(calls) == 1
        answers.set()
        while not registry.get_sample_value("releve_up", {"part": "redis"}):
            parts.now += 10
        assert registry.get_sample_value("releve_watchdog_restarts_total") == 1
