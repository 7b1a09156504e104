"""Heartbeats in Redis: of workers, of beat, and of the loop from beat over a queue to a worker.

    heartbeat:worker:nightly@host   hash: seen_at 1721890000.5, progress_at 1721889990.25, running 2, slots 16,
                                queues control,nightly
    heartbeat:restarts              hash: a worker's name to how often its watchdog restarted it
    heartbeat:beat, heartbeat:tick      1721890000.5
    alive:host-17-a1b2c3        1

Times are seconds since 1970 by the writer's clock; ``releve doctor`` compares the clocks.  All keys expire, and a lost
key costs a false alarm.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from worker.stores.redis.connection import PrefixedKeys, redis_errors

WORKER_TTL_S: Final = 900  # A worker that vanished without a word is listed this long.
BEAT_TTL_S: Final = 7 * 24 * 3600
RESTARTS_TTL_S: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """The heartbeat that a worker writes every few seconds.

    ``progress_at``: when it last took or finished work; at first, when it became ready.
    """

    name: str  # Celery's node name, like nightly@host.
    seen_at: float
    progress_at: float
    running: int
    slots: int
    queues: tuple[str, ...]

    @property
    def host(self) -> str:
        return self.name.partition("@")[2]


class Heartbeats(PrefixedKeys):
    """Heartbeats of workers and beat for the health checks; every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix + "heartbeat:")

    # -- Workers

    @redis_errors()
    def record_worker(self, heartbeat: WorkerHeartbeat) -> None:
        mapping: dict[Any, Any] = {
            "seen_at": heartbeat.seen_at,
            "progress_at": heartbeat.progress_at,
            "running": heartbeat.running,
            "slots": heartbeat.slots,
            "queues": ",".join(heartbeat.queues),
        }
        key = self._key("worker", heartbeat.name)
        with self._redis.pipeline() as pipe:
            pipe.hset(key, mapping=mapping)
            pipe.expire(key, WORKER_TTL_S)
            pipe.execute()

    @redis_errors()
    def forget_worker(self, name: str) -> None:
        """Delete the heartbeat of a worker that ended in order, so that no check misses it."""
        self._redis.delete(self._key("worker", name))

    @redis_errors()
    def workers(self) -> list[WorkerHeartbeat]:
        """Return the heartbeats of the last 15 minutes, sorted by name."""
        names = sorted(
            {str(key).removeprefix(self._key("worker", "")) for page in self._scan("worker:*") for key in page}
        )
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._key("worker", name))
            return [_to_heartbeat(name, fields) for name, fields in zip(names, pipe.execute(), strict=True) if fields]

    @redis_errors()
    def count_restart(self, name: str) -> None:
        """Count a restart of a silent worker by its watchdog."""
        key = self._key("restarts")
        with self._redis.pipeline() as pipe:
            pipe.hincrby(key, name, 1)
            pipe.expire(key, RESTARTS_TTL_S)
            pipe.execute()

    @redis_errors()
    def restarts(self) -> dict[str, int]:
        """Return how often each worker was restarted by its watchdog; forgotten 30 days after the last restart."""
        counts = self._redis.hgetall(self._key("restarts"))
        return {str(name): int(count) for name, count in sorted(counts.items())}

    # -- Beat, and the whole loop from beat over the queue to a worker

    @redis_errors()
    def record_beat(self, at: float) -> None:
        """Record when beat published something."""
        self._redis.set(self._key("beat"), at, ex=BEAT_TTL_S)

    @redis_errors()
    def record_tick(self, at: float) -> None:
        """Record when a worker did the task that beat sends every minute."""
        self._redis.set(self._key("tick"), at, ex=BEAT_TTL_S)

    @redis_errors()
    def beat_and_tick(self) -> Sequence[float | None]:
        """Return the times of the last beat and the last tick, None where unknown."""
        answers = self._redis.mget([self._key("beat"), self._key("tick")])
        return [None if answer is None else float(answer) for answer in answers]


def _to_heartbeat(name: str, fields: dict[str, str]) -> WorkerHeartbeat:
    return WorkerHeartbeat(
        name,
        float(fields["seen_at"]),
        float(fields["progress_at"]),
        int(fields["running"]),
        int(fields["slots"]),
        tuple(filter(None, fields["queues"].split(","))),
    )


ALIVE_TTL_S: Final = 20  # Workers renew their mark every few seconds; without one, a worker counts as dead.


class LivingWorkers(PrefixedKeys):
    """Marks of living workers, which decide whose messages are requeued; every method raises StoreUnavailable."""

    @redis_errors()
    def mark_alive(self, worker: str) -> None:
        """Renew the worker's mark, for 20 seconds."""
        self._redis.set(self._key("alive", worker), "1", ex=ALIVE_TTL_S)

    @redis_errors()
    def mark_stopped(self, worker: str) -> None:
        """Delete the worker's mark, so that others may take its messages at once."""
        self._redis.delete(self._key("alive", worker))

    @redis_errors()
    def living_workers(self) -> list[str]:
        """Return the living workers, sorted; scans all keys."""
        start = len(self._key("alive", ""))
        return sorted({key[start:] for page in self._scan("alive:*") for key in page})

    @redis_errors()
    def dead_workers(self, workers: Collection[str]) -> list[str]:
        """Return those of the workers that have no mark, sorted."""
        if not workers:
            return []
        names = sorted(workers)
        marks = self._redis.mget([self._key("alive", name) for name in names])
        return [name for name, mark in zip(names, marks, strict=True) if mark is None]
