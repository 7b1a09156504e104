"""Check of the workers by the heartbeats that they write to Redis, and of the messages that wait for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from worker.app import queue_lengths
from worker.ops.health.connections import CheckConnections
from worker.ops.health.liveness import MAX_AGE_S
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat

IDLE_AFTER_S: Final = 300.0
_START_ONE: Final = "start one with `releve up` or `celery -A worker worker -l INFO`"


def check_workers(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that workers are alive and take the messages that wait.  Raises StoreUnavailable."""
    heartbeats = Heartbeats(connections.redis)
    yield from judge_workers(heartbeats.workers(), queue_lengths(connections.broker_url), heartbeats.now())


def judge_workers(workers: Sequence[WorkerHeartbeat], waiting: Mapping[str, int], now: float) -> Iterator[CheckNote]:
    """Judge the workers by their heartbeats; ``waiting``: messages by queue; ``now``: Redis' time."""
    if not workers:
        yield fail(f"no worker is running: {_START_ONE}")
    for worker in workers:
        yield from _judge_worker(worker, waiting, now)
    if unserved := [name for name, length in waiting.items() if length and not _is_served(name, workers, now)]:
        yield fail(
            f"messages wait in {', '.join(unserved)}, which no worker serves: start one with -Q {','.join(unserved)}"
        )
    if restarted := [f"{worker.name} {worker.restarts} times" for worker in workers if worker.restarts]:
        yield warn(
            f"the watchdog restarted {', '.join(restarted)}: something between worker and broker drops connections; "
            "look for a firewall or proxy with a timeout"
        )
    yield ok(", ".join(f"{worker.name} ({worker.running} of {worker.slots} busy)" for worker in workers))


def _judge_worker(worker: WorkerHeartbeat, waiting: Mapping[str, int], now: float) -> Iterator[CheckNote]:
    length = sum(waiting.get(queue, 0) for queue in worker.queues)
    silent_s, idle_s = now - worker.seen_at, now - worker.progress_at
    if silent_s > MAX_AGE_S:
        last_seen = f"the last heartbeat of {worker.name} was {silent_s:.0f} s ago"
        if length:
            yield fail(f"{last_seen}, and {length} messages wait in its queues: check its log and restart it")
        else:
            yield warn(f"{last_seen}: restart it, unless you removed it")
    elif length and worker.running < worker.slots and idle_s > IDLE_AFTER_S:
        yield fail(
            f"{worker.name} is alive, but has taken no message for {idle_s:.0f} s while {length} wait in its queues: "
            "restart it"
        )


def _is_served(queue: str, workers: Sequence[WorkerHeartbeat], now: float) -> bool:
    return any(queue in worker.queues and now - worker.seen_at <= MAX_AGE_S for worker in workers)
