"""The fleet's collector: one answer for all parts, with parts that are down or slow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry

from worker.errors import StoreUnavailable
from worker.ops.fleet_metrics import (
    ACCOUNTS,
    BEAT_PUBLISHED,
    NIGHT_CALLS_LIMIT,
    NOTICES,
    RESTARTS,
    FleetCollector,
    Samples,
)


def answering() -> Samples:
    yield ACCOUNTS, {"ready": 5.0, "paused": 0.0}
    yield NOTICES, 2.0
    yield NIGHT_CALLS_LIMIT, {("enedis",): None, ("grdf",): 4_200}
    yield BEAT_PUBLISHED, None


def down() -> Samples:
    raise StoreUnavailable("Redis can't be used: it is away")


def broken() -> Samples:
    raise KeyError("secret-of-a-household")


@contextmanager
def collecting(timeout_s: float = 20, **sources: Callable[[], Samples]) -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    collector = FleetCollector(sources, timeout_s=timeout_s)
    registry.register(collector)
    yield registry
    collector.close()


def test_a_part_that_is_down_costs_its_own_word_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "releve.metrics")
    with collecting(registry=answering, redis=down, broker=broken) as registry:
        values = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in registry.collect()
            for sample in metric.samples
        }
    assert {name: values["releve_up", name] for name in ("registry", "redis", "broker")} == {
        "registry": 1,
        "redis": 0,
        "broker": 0,
    }
    assert values["releve_notices_waiting",] == 2
    assert ("releve_supplier_night_calls_limit", "enedis") not in values, "what has no value is left out"
    assert values["releve_supplier_night_calls_limit", "grdf"] == 4_200
    assert ("releve_beat_last_publish_timestamp_seconds",) not in values
    # Threads ask the parts, so either may be the first.
    assert sorted(record.getMessage() for record in caplog.records) == [
        "part=broker can't be asked: unexpected KeyError, a bug in Relève",
        "part=redis can't be asked: Redis can't be used: it is away",
    ]


def test_a_part_that_does_not_answer_holds_up_nobody_and_is_asked_once() -> None:
    answers, calls = threading.Event(), []

    def slow() -> Samples:
        calls.append(1)
        answers.wait(20)
        return [(RESTARTS, 1.0)]

    with collecting(timeout_s=0.05, registry=answering, redis=slow) as registry:
        for _ in range(2):
            assert registry.get_sample_value("releve_up", {"part": "redis"}) == 0
        assert len(calls) == 1
        answers.set()
        while not registry.get_sample_value("releve_up", {"part": "redis"}):
            pass
        assert registry.get_sample_value("releve_watchdog_restarts_total") == 1
