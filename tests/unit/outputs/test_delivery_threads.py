"""Deliveries run beside the windows: whoever adds one goes on at once."""

from __future__ import annotations

import logging
import threading

import pytest

from tests.support.delivery_threads import join_deliveries
from worker.errors import StoreUnavailable
from worker.outputs.delivery import DeliveryThreads


def test_who_adds_a_delivery_does_not_wait_for_it_and_none_runs_twice_at_once() -> None:
    begun, may_end, delivered = threading.Event(), threading.Event(), list[str]()

    def deliver(output_id: str) -> None:
        delivered.append(output_id)
        begun.set()
        assert may_end.wait(10)

    threads = DeliveryThreads(deliver, most=1)
    threads.add("a")
    assert begun.wait(10)
    for output_id in ("a", "b", "c", "b"):
        threads.add(output_id)
    assert delivered == ["a"], "one at a time, and the caller has gone on"
    may_end.set()
    join_deliveries()
    assert delivered == ["a", "b", "c"]


def test_a_failure_stops_no_other_and_tells_nothing_personal(caplog: pytest.LogCaptureFixture) -> None:
    errors: dict[str, Exception] = {"a": StoreUnavailable("the registry is away"), "b": KeyError("a reading: 8.412")}
    delivered = list[str]()

    def deliver(output_id: str) -> None:
        if output_id in errors:
            raise errors[output_id]
        delivered.append(output_id)

    threads = DeliveryThreads(deliver, most=1)
    with caplog.at_level(logging.WARNING, "releve.outputs"):
        for output_id in ("a", "b", "c"):
            threads.add(output_id)
            join_deliveries()
    assert delivered == ["c"]
    reasons = [record.__dict__["fields"]["reason"] for record in caplog.records]
    assert reasons == ["the registry is away", "KeyError"]
