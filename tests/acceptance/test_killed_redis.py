"""Redis is killed while a worker holds a retry, and later refuses writes: the worker connects again and goes on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from drill.faults import CouchdbRelay, FaultKind
from drill.servers import DrillRedis, FaultySupervisor
from tests.support.system import NO_QUOTA, QUEUE_PREFIX, QUICK_START, System, until
from worker.domain.series import Series

METER = "40000000000031"
OTHER_METER = "40000000000032"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def waiting_retries(system: System) -> list[Any]:
    """Return the messages that a worker has taken and holds for some seconds more, until their countdown is over."""
    keys = system.redis.scan_iter(f"{QUEUE_PREFIX}unacked:*")
    taken = (json.loads(raw)[0] for key in keys for raw in system.redis.hvals(key))
    return [message for message in taken if (eta := message["headers"]["eta"]) and is_far(eta)]


def is_far(eta: str) -> bool:
    return datetime.fromisoformat(eta).timestamp() > time.time() + 3


def test_a_retry_that_waits_in_a_living_worker_outlives_a_killed_redis(
    couchdb_url: str, tmp_path: Path, opened: ExitStack
) -> None:
    """No beat runs, and the visibility time-out is minutes away: nobody but the worker gives the message back."""
    redis = DrillRedis(opened.enter_context(FaultySupervisor()), tmp_path)
    relay = opened.enter_context(CouchdbRelay(couchdb_url))
    settings = {
        "PRETEND_NOW": "2024-07-25T09:00+02:00",
        "HISTORY_LOAD_DAYS": "7",
        "MEASURES_URL": relay.url,
        **NO_QUOTA,
    }
    system = System(tmp_path, redis.url, settings, opened)
    system.serve_simulator()
    log = system.start_worker(*QUICK_START)
    relay.fault = FaultKind.COUCH_ERRORS
    account = system.add_account(METER)
    retries = until(lambda: waiting_retries(system), "the retry of a step")
    assert {message["headers"]["task"] for message in retries} == {"tasks.pipeline.filter_known"}
    redis.kill()
    relay.fault = None
    # With a Redis that is back before that, kombu itself restores what the worker holds.
    until(lambda: "Cannot connect to redis" in log.read_text(), lambda: f"{log.read_text()}\nThe loss of Redis")
    redis.start()
    until(lambda: system.loaded(account, Series.DAILY), "the end of the window")
    assert re.search(r"connected anew messages_requeued=[1-9]", log.read_text())
    told = len(log.read_text())
    (tmp_path / "redis" / "dump.rdb").mkdir()  # From now on it refuses writes, as where its disk is full.
    system.redis.config_set("save", "3600 1")
    system.redis.bgsave()
    until(lambda: "Redis refuses writes" in log.read_text()[told:], "the refusal")
    (tmp_path / "redis" / "dump.rdb").rmdir()
    system.redis.bgsave()
    account = system.add_account(OTHER_METER)
    until(lambda: system.loaded(account, Series.DAILY), "the end of a window after the refusals")
    assert system.is_running("worker")
