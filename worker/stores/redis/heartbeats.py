"""Signs of life in Redis: who was heard of when.  All of it ends by itself, and losing it costs a false alarm.

Moments are seconds since 1970, by the clock of whoever wrote them; `releve doctor` compares those clocks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

from worker.stores.redis.connection import PrefixedKeys, redis_errors

WORKER_TTL_S: Final = 900  # a worker that was taken away without a goodbye is spoken of this long
BEAT_TTL_S: Final = 7 * 24 * 3600
RESTARTS_TTL_S: Final = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """What a worker tells of itself every few seconds.

    ``progress_at``: when it last took or finished work, at first when it became ready.
    """

    name: str  # nodename, like nightly@host
    seen_at: float
    progress_at: float
    running: int
    slots: int
    queues: tuple[str, ...]

    @property
    def host(self) -> str:
        return self.name.partition("@")[2]


class Heartbeats(PrefixedKeys):
    """Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix + "pulse:")

    # -- workers

    @redis_errors()
    def note_worker(self, pulse: WorkerHeartbeat) -> None:
        told: dict[Any, Any] = {
            "seen_at": pulse.seen_at,
            "progress_at": pulse.progress_at,
            "running": pulse.running,
            "slots": pulse.slots,
            "queues": ",".join(pulse.queues),
        }
        key = self._key("worker", pulse.name)
        with self._redis.pipeline() as pipe:
            pipe.hset(key, mapping=told)
            pipe.expire(key, WORKER_TTL_S)
            pipe.execute()

    @redis_errors()
    def forget_worker(self, name: str) -> None:
        """It said goodbye: nobody need miss it."""
        self._redis.delete(self._key("worker", name))

    @redis_errors()
    def workers(self) -> list[WorkerHeartbeat]:
        """Those heard of in the last quarter of an hour, by name."""
        names = sorted(
            {str(key).removeprefix(self._key("worker", "")) for page in self._scan("worker:*") for key in page}
        )
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._key("worker", name))
            return [_to_pulse(name, told) for name, told in zip(names, pipe.execute(), strict=True) if told]

    @redis_errors()
    def note_restart(self, name: str) -> None:
        """Its watchdog found it silent and starts it anew."""
        key = self._key("restarts")
        with self._redis.pipeline() as pipe:
            pipe.hincrby(key, name, 1)
            pipe.expire(key, RESTARTS_TTL_S)
            pipe.execute()

    @redis_errors()
    def restarts(self) -> dict[str, int]:
        """How often each worker's watchdog started it anew; forgotten 30 days after the last."""
        counts = self._redis.hgetall(self._key("restarts"))
        return {str(name): int(count) for name, count in sorted(counts.items())}

    # -- beat, and the whole loop from beat over the queue to a worker

    @redis_errors()
    def note_beat(self, at: float) -> None:
        """Beat has published something."""
        self._redis.set(self._key("beat"), at, ex=BEAT_TTL_S)

    @redis_errors()
    def note_tick(self, at: float) -> None:
        """A worker has done what beat sends every minute."""
        self._redis.set(self._key("tick"), at, ex=BEAT_TTL_S)

    @redis_errors()
    def beat_and_tick(self) -> Sequence[float | None]:
        """When each was noted last."""
        answers = self._redis.mget([self._key("beat"), self._key("tick")])
        return [None if answer is None else float(answer) for answer in answers]


def _to_pulse(name: str, told: dict[str, str]) -> WorkerHeartbeat:
    return WorkerHeartbeat(
        name,
        float(told["seen_at"]),
        float(told["progress_at"]),
        int(told["running"]),
        int(told["slots"]),
        tuple(filter(None, told["queues"].split(","))),
    )


# Which workers are alive, by their own word, which ends by itself.

ALIVE_TTL_S: Final = 20  # a worker says so every few seconds; one that is silent this long is taken for dead


class LivingWorkers(PrefixedKeys):
    """Every method raises StoreUnavailable."""

    @redis_errors()
    def say_alive(self, worker: str) -> None:
        self._redis.set(self._key("alive", worker), "1", ex=ALIVE_TTL_S)

    @redis_errors()
    def say_gone(self, worker: str) -> None:
        """What it still holds may be given to others at once."""
        self._redis.delete(self._key("alive", worker))

    @redis_errors()
    def alive(self) -> list[str]:
        """The workers that are, in order; walks through all keys."""
        before = len(self._key("alive", ""))
        return sorted({key[before:] for page in self._scan("alive:*") for key in page})

    @redis_errors()
    def gone(self, workers: Collection[str]) -> list[str]:
        """Those of the workers that are not alive, in order."""
        if not workers:
            return []
        ordered = sorted(workers)
        answers = self._redis.mget([self._key("alive", worker) for worker in ordered])
        return [worker for worker, answer in zip(ordered, answers, strict=True) if answer is None]
