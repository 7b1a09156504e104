"""Liveness of one part, for a container platform: whether its process works, or should be restarted.

If all is well, ``worker.ops.quick_health`` has already answered, and this module is not even loaded.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Final

from worker.errors import StoreUnavailable
from worker.ops.check_results import CheckConnections, CheckResult, Found, fail, ok, run_check, warn
from worker.ops.quick_health import BEAT_S, MAX_AGE_S, ask_listener
from worker.stores.redis.heartbeats import Heartbeats

LOOP_S: Final = 300.0
_START_BEAT: Final = "celery -A worker beat -l INFO"


def check_own_worker(connections: CheckConnections) -> Found:
    """Check that this host has workers and all of them are alive. Each container has its own host name."""
    host, heartbeats = socket.gethostname(), Heartbeats(connections.redis)
    now, workers = heartbeats.now(), [worker for worker in heartbeats.workers() if worker.host == host]
    silent = [worker.name for worker in workers if now - worker.seen_at > MAX_AGE_S]
    if not workers:
        yield fail("own_worker.none", age_s=MAX_AGE_S, host=host)
    if silent:
        yield fail("own_worker.silent", age_s=MAX_AGE_S, names=silent)
    yield ok("told", text=[worker.name for worker in workers])


def check_beat(connections: CheckConnections) -> Found:
    """Check that beat sends its messages and that workers process them. Raises StoreUnavailable."""
    heartbeats = Heartbeats(connections.redis)
    beat_at, tick_at = heartbeats.beat_and_tick()
    command = "releve up" if connections.settings.is_home else _START_BEAT
    yield from judge_beat(beat_at, tick_at, heartbeats.now(), command)


def judge_beat(beat_at: float | None, tick_at: float | None, now: float, command: str = _START_BEAT) -> Found:
    """Judge beat by the times of its last message and of the last run of its test task, both by Redis' clock.

    ``command``: how to start beat.
    """
    if beat_at is None:
        yield fail("beat.never", command=command)
    elif now - beat_at > BEAT_S:
        yield fail("beat.silent", silent_s=now - beat_at)
    elif tick_at is None:
        yield warn("beat.untested")
    elif now - tick_at > LOOP_S:
        yield warn("beat.tested_late", tick_s=now - tick_at)
    else:
        yield ok("beat.works", beat_s=now - beat_at, tick_s=now - tick_at)


def check_listener(connections: CheckConnections) -> Found:
    address = connections.address
    try:
        status = ask_listener(address)
    except (OSError, IndexError, ValueError) as error:
        yield fail("listener.silent", address=address, fault=type(error).__name__)
        return
    judge, key = (ok, "listener.answers") if status < 500 else (fail, "listener.fails")
    yield judge(key, address=address, status=status)


ROLE_CHECKS: Final = {
    "worker": check_own_worker,
    "beat": check_beat,
    "web": check_listener,
    "flower": check_listener,
    "metrics": check_listener,
}


def check_liveness(role: str, connections: CheckConnections) -> Iterator[CheckResult]:
    """Check whether the process itself works; a process that fails this check should be restarted."""

    def run(connections: CheckConnections) -> Found:
        try:
            yield from ROLE_CHECKS[role](connections)
        except StoreUnavailable as error:  # Nothing is known without Redis, and a restart would not help.
            yield ok("unknown", error=error)

    yield run_check(role, run, connections)
