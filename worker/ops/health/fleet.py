"""Who is at work: the workers and beat, by the signs of life that they leave in Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from worker.errors import StoreUnavailable
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat

SEEN_S: Final = 90.0  # a worker leaves its sign every 15 s; in between a call to Redis may take its time
TAKES_NOTHING_S: Final = 300.0
BEAT_S: Final = 180.0  # beat sends something every minute
LOOP_S: Final = 300.0
_START_ONE: Final = "start one with `releve up` or `celery -A worker worker -l INFO`"


def workers(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    from worker.ops.health.redis import lengths

    pulse = Heartbeats(visit.redis)
    yield from judge_workers(pulse.workers(), lengths(visit), pulse.restarts(), time.time())


def judge_workers(
    pulses: Sequence[WorkerHeartbeat], waiting: Mapping[str, int], restarts: Mapping[str, int], now: float
) -> Iterator[Note]:
    if not pulses:
        yield fail(f"no worker has been heard of: {_START_ONE}")
    for pulse in pulses:
        yield from _judge_worker(pulse, waiting, now)
    if unserved := [name for name, length in waiting.items() if length and not _served(name, pulses, now)]:
        yield fail(
            f"messages wait in {', '.join(unserved)}, which no worker serves: start one with -Q {','.join(unserved)}"
        )
    if restarts:
        told = ", ".join(f"{name} {count} times" for name, count in restarts.items())
        yield warn(
            f"within 30 days the watchdog started {told} anew: something between worker and broker drops connections, "
            "look for a firewall or a proxy with a time-out"
        )
    yield ok(", ".join(f"{pulse.name} ({pulse.running} of {pulse.slots} busy)" for pulse in pulses))


def _judge_worker(pulse: WorkerHeartbeat, waiting: Mapping[str, int], now: float) -> Iterator[Note]:
    length = sum(waiting.get(queue, 0) for queue in pulse.queues)
    silent_s, idle_s = now - pulse.seen_at, now - pulse.progress_at
    if silent_s > SEEN_S:
        told = f"{pulse.name} was last heard of {silent_s:.0f} s ago"
        if length:
            yield fail(f"{told}, and {length} messages wait in its queues: start it again, look at its log")
        else:
            yield warn(f"{told}: start it again, unless you took it away")
    elif length and pulse.running < pulse.slots and idle_s > TAKES_NOTHING_S:
        yield fail(
            f"{pulse.name} lives, but has taken nothing for {idle_s:.0f} s while {length} messages wait in its queues: "
            "restart it"
        )


def _served(queue: str, pulses: Sequence[WorkerHeartbeat], now: float) -> bool:
    return any(queue in pulse.queues and now - pulse.seen_at <= SEEN_S for pulse in pulses)


def beat(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    beat_at, tick_at = Heartbeats(visit.redis).beat_and_tick()
    yield from judge_beat(beat_at, tick_at, time.time())


def judge_beat(beat_at: float | None, tick_at: float | None, now: float) -> Iterator[Note]:
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


# -- a container's own; where Redis does not answer it can't be told, and restarting the container would not help


def own_worker(visit: CheckConnections) -> Iterator[Note]:
    """Of this host: containers have one of their own."""
    host = socket.gethostname()
    try:
        pulses = [pulse for pulse in Heartbeats(visit.redis).workers() if pulse.host == host]
    except StoreUnavailable as error:
        yield ok(f"not told: {error}")
        return
    silent = [pulse.name for pulse in pulses if time.time() - pulse.seen_at > SEEN_S]
    if not pulses or silent:
        yield fail(
            f"no sign of life for {SEEN_S:.0f} s from {', '.join(silent) or f'a worker on {host}'}: look at its log"
        )
    yield ok(", ".join(pulse.name for pulse in pulses))


def own_beat(visit: CheckConnections) -> Iterator[Note]:
    try:
        beat_at, _ = Heartbeats(visit.redis).beat_and_tick()
    except StoreUnavailable as error:
        yield ok(f"not told: {error}")
        return
    now = time.time()
    if beat_at is None or now - beat_at > BEAT_S:
        yield fail(f"beat has sent nothing for {BEAT_S:.0f} s: look at its log")
    else:
        yield ok(f"sent {now - beat_at:.0f} s ago")
