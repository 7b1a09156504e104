"""Heartbeats in Redis, in one hash: who is alive, and whether the loop from beat over a queue to a worker goes round.

    releve:heartbeat   hash, a JSON text for each process:
        host-17-a1b2c3   {"name": "nightly@host", "seen_at": 1721890000.5, "progress_at": 1721889990.25, "running": 2,
                         "slots": 16, "queues": ["control", "nightly"], "restarts": 0}
        beat, tick       1721890000.5

All times are seconds since 1970 by Redis' clock.  The hash expires a day after the last heartbeat; a lost one costs a
false alarm, and messages of living workers that are done twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Final

from worker.stores.redis.connection import PrefixedKeys

ALIVE_S: Final = 20.0  # Workers write every few seconds; what a worker holds that is silent for longer is requeued.
FORGET_S: Final = 900.0  # A worker that vanished without a word is listed this long.
_TTL_S: Final = 24 * 3600
_BEAT: Final = "beat"
_TICK: Final = "tick"


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """The heartbeat that a worker writes every few seconds.

    ``progress_at``: when it last took or finished work; at first, when it started.  ``restarts``: how often its
    watchdog restarted it.
    """

    name: str  # Celery's node name, like nightly@host.
    seen_at: float
    progress_at: float
    running: int = 0
    slots: int = 0
    queues: tuple[str, ...] = ()
    restarts: int = 0

    @property
    def host(self) -> str:
        return self.name.partition("@")[2]


class Heartbeats(PrefixedKeys):
    """Heartbeats of workers and beat; every method raises StoreUnavailable."""

    def now(self) -> float:
        """Return Redis' time, by which heartbeats are written and judged."""
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    # -- Workers

    def record_worker(self, worker: str, heartbeat: WorkerHeartbeat) -> None:
        """Write the heartbeat of a worker process; the name of its hash of messages ends with ``worker``."""
        self._write(worker, json.dumps(asdict(heartbeat)))

    def forget_worker(self, worker: str) -> None:
        """Delete the heartbeat of a worker that ends, so that no check misses it and others take its messages."""
        self._redis.hdel(self._key("heartbeat"), worker)

    def workers(self) -> list[WorkerHeartbeat]:
        """Return the heartbeats of the last 15 minutes, sorted by name; of processes of one name the newest."""
        now, newest = self.now(), dict[str, WorkerHeartbeat]()
        for process, raw in self._redis.hgetall(self._key("heartbeat")).items():
            if process in (_BEAT, _TICK):
                continue
            fields = json.loads(raw)
            heartbeat = WorkerHeartbeat(**{**fields, "queues": tuple(fields["queues"])})
            if now - heartbeat.seen_at > FORGET_S:
                self._redis.hdel(self._key("heartbeat"), process)
            elif heartbeat.name not in newest or newest[heartbeat.name].seen_at < heartbeat.seen_at:
                newest[heartbeat.name] = heartbeat
        return [newest[name] for name in sorted(newest)]

    def living_workers(self) -> list[str]:
        """Return the names of the workers that are alive, sorted."""
        now = self.now()
        return [worker.name for worker in self.workers() if now - worker.seen_at <= ALIVE_S]

    def dead_workers(self, workers: Collection[str]) -> list[str]:
        """Return those of the worker processes that are not alive, sorted; their messages are requeued."""
        if not (names := sorted(workers)):
            return []
        heartbeats, now = self._redis.hmget(self._key("heartbeat"), names), self.now()
        return [
            name
            for name, raw in zip(names, heartbeats, strict=True)
            if raw is None or now - json.loads(raw)["seen_at"] > ALIVE_S
        ]

    # -- Beat, and the whole loop from beat over the queue to a worker

    def record_beat(self) -> None:
        """Record that beat has published something."""
        self._write(_BEAT, str(self.now()))

    def record_tick(self) -> None:
        """Record that a worker has done the task that beat sends every minute."""
        self._write(_TICK, str(self.now()))

    def beat_and_tick(self) -> list[float | None]:
        """Return the times of the last beat and the last tick, None where unknown."""
        answers = self._redis.hmget(self._key("heartbeat"), [_BEAT, _TICK])
        return [None if answer is None else float(answer) for answer in answers]

    def _write(self, process: str, text: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.hset(self._key("heartbeat"), process, text)
            pipe.expire(self._key("heartbeat"), _TTL_S)
            pipe.execute()
