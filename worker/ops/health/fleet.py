"""Checks of the workers and of beat, by the heartbeats that they write to Redis."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from worker.errors import StoreUnavailable
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat

MAX_AGE_S: Final = 90.0  # A worker writes its heartbeat every 4 s, and a call to Redis in between may take its time.
IDLE_AFTER_S: Final = 300.0
BEAT_S: Final = 180.0  # Beat sends something every minute.
LOOP_S: Final = 300.0
_START_ONE: Final = "start one with `releve up` or `celery -A worker worker -l INFO`"


def check_workers(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that workers are alive and take the messages that wait.  Raises StoreUnavailable."""
    from worker.ops.health.redis import waiting_messages

    heartbeats = Heartbeats(connections.redis)
    yield from judge_workers(heartbeats.workers(), waiting_messages(connections), heartbeats.now())


def judge_workers(workers: Sequence[WorkerHeartbeat], waiting: Mapping[str, int], now: float) -> Iterator[CheckNote]:
    """Judge the workers by their heartbeats; ``waiting``: messages by queue; ``now``: Redis' time."""
    if not workers:
        yield fail(f"no worker has been heard of: {_START_ONE}")
    for worker in workers:
        yield from _judge_worker(worker, waiting, now)
    if unserved := [name for name, length in waiting.items() if length and not _is_served(name, workers, now)]:
        yield fail(
            f"messages wait in {', '.join(unserved)}, which no worker serves: start one with -Q {','.join(unserved)}"
        )
    if restarted := [f"{worker.name} {worker.restarts} times" for worker in workers if worker.restarts]:
        yield warn(
            f"the watchdog started {', '.join(restarted)} anew: something between worker and broker drops "
            "connections, look for a firewall or a proxy with a time-out"
        )
    yield ok(", ".join(f"{worker.name} ({worker.running} of {worker.slots} busy)" for worker in workers))


def _judge_worker(worker: WorkerHeartbeat, waiting: Mapping[str, int], now: float) -> Iterator[CheckNote]:
    length = sum(waiting.get(queue, 0) for queue in worker.queues)
    silent_s, idle_s = now - worker.seen_at, now - worker.progress_at
    if silent_s > MAX_AGE_S:
        last_seen = f"{worker.name} was last heard of {silent_s:.0f} s ago"
        if length:
            yield fail(f"{last_seen}, and {length} messages wait in its queues: start it again, look at its log")
        else:
            yield warn(f"{last_seen}: start it again, unless you took it away")
    elif length and worker.running < worker.slots and idle_s > IDLE_AFTER_S:
        yield fail(
            f"{worker.name} lives, but has taken nothing for {idle_s:.0f} s while {length} messages wait in its "
            "queues: restart it"
        )


def _is_served(queue: str, workers: Sequence[WorkerHeartbeat], now: float) -> bool:
    return any(queue in worker.queues and now - worker.seen_at <= MAX_AGE_S for worker in workers)


def check_beat(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that beat sends its messages and that workers process them.  Raises StoreUnavailable."""
    heartbeats = Heartbeats(connections.redis)
    beat_at, tick_at = heartbeats.beat_and_tick()
    yield from judge_beat(beat_at, tick_at, heartbeats.now())


def judge_beat(beat_at: float | None, tick_at: float | None, now: float) -> Iterator[CheckNote]:
    """Judge beat by its last message and by the last time that a worker processed one, both by Redis' clock."""
    if beat_at is None:
        yield fail("no beat has been heard of: start one with `celery -A worker beat -l INFO`")
    elif now - beat_at > BEAT_S:
        yield fail(f"beat has sent nothing for {now - beat_at:.0f} s: start it again, look at its log")
    elif tick_at is None or now - tick_at > LOOP_S:
        last = "never" if tick_at is None else f"{now - tick_at:.0f} s ago"
        yield warn(
            f"beat sends, but what it sends every minute was last done {last}: do workers serve the queue control?"
        )
    else:
        yield ok(f"sent {now - beat_at:.0f} s ago, and what it sends every minute was done {now - tick_at:.0f} s ago")


# -- a container's own process
#
# These checks pass where Redis does not answer: nothing is known then, and a restart of the container would not help.


def check_own_worker(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the workers on this host are alive; a container has a host name of its own."""
    host, heartbeats = socket.gethostname(), Heartbeats(connections.redis)
    try:
        now, workers = heartbeats.now(), [worker for worker in heartbeats.workers() if worker.host == host]
    except StoreUnavailable as error:
        yield ok(f"not told: {error}")
        return
    silent = [worker.name for worker in workers if now - worker.seen_at > MAX_AGE_S]
    if not workers or silent:
        yield fail(
            f"no sign of life for {MAX_AGE_S:.0f} s from {', '.join(silent) or f'a worker on {host}'}: look at its log"
        )
    yield ok(", ".join(worker.name for worker in workers))


def check_own_beat(connections: CheckConnections) -> Iterator[CheckNote]:
    heartbeats = Heartbeats(connections.redis)
    try:
        now, (beat_at, _) = heartbeats.now(), heartbeats.beat_and_tick()
    except StoreUnavailable as error:
        yield ok(f"not told: {error}")
        return
    if beat_at is None or now - beat_at > BEAT_S:
        yield fail(f"beat has sent nothing for {BEAT_S:.0f} s: look at its log")
    else:
        yield ok(f"sent {now - beat_at:.0f} s ago")
