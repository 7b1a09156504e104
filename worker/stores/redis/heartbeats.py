"""Heartbeats of workers and beat in Redis, and the broker's messages: those in queues, and those taken by workers.

    releve:heartbeat   hash, a JSON text for each process:
        host-17-a1b2c3   {"name": "nightly@host", "seen_at": 1721890000.5, "progress_at": 1721889990.25, "running": 2,
                         "slots": 16, "queues": ["control", "nightly"], "restarts": 0}
        beat, tick       1721890000.5
    releve:heartbeat_keys   hash, the fingerprint of the key with which each worker seals:
        host-17-a1b2c3   1f0c9a3e

All times are seconds since 1970 by the clock of Redis. ``tick`` is the time when a worker last ran beat's test task,
which shows that the whole way from beat through a queue to a worker works. The hash expires a day after the last
heartbeat; if the hash is lost, there is a false alarm, and messages of living workers are processed twice. The
fingerprints have a hash of their own, because version 0.2.0 refuses rows with further fields.

By default, kombu has one hash for all unacknowledged messages, which doesn't name the workers that have taken them. So
the messages of a dead worker would come back only after the visibility timeout. Each of our workers has its own hash
(``unacked:<worker>``). The messages of a worker without a heartbeat are requeued at once; so are the messages of a
worker that has lost its connection and connected again. If the worker was only frozen, or still runs the task, the work
is done twice, which changes nothing.

Formats: kombu 5.7, ``kombu/transport/redis.py`` (``QoS.append``, ``_do_restore_message``). Examples:

    unacked:host-17-a1b2c3         hash: delivery tag to JSON ``[message, exchange, queue]``
    unacked_index:host-17-a1b2c3   sorted set: delivery tags by the time they were taken
    nightly                        list: the queue's messages as JSON; the last one is taken first
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from worker.stores.redis.connection import SCAN_COUNT, PrefixedKeys, escape_glob

ALIVE_S: Final = 20.0  # Workers write every few seconds. After this silence, the others requeue a worker's messages.
FORGET_S: Final = 900.0  # A worker that vanished stays listed for this long.
_TTL_S: Final = 24 * 3600
_BEAT: Final = "beat"
_TICK: Final = "tick"
UNACKED: Final = "unacked"
_INDEX: Final = "unacked_index"
# If there are more messages than this, lost messages are not searched for; the claims on their windows expire instead.
_MOST_MESSAGES: Final = 20_000
_PAGE: Final = 500
_WORD: Final = re.compile(r"[\w.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """The heartbeat that a worker writes every few seconds; in a home, every minute.

    ``progress_at``: when the worker last took or finished work; before that, when it started. ``restarts``: how often
    the watchdog restarted the worker.
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
    def now(self) -> float:
        """Return the time of Redis, by which all heartbeats are dated."""
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    # -- Heartbeats of workers

    def record_worker(self, worker: str, heartbeat: WorkerHeartbeat, fingerprint: str = "") -> None:
        """Write the heartbeat of a worker process, and the fingerprint of its first key (``Sealer.fingerprint``).

        ``worker`` identifies the process, also in the name of the hash with its messages (``unacked:<worker>``).
        """
        self._write(worker, json.dumps(asdict(heartbeat)), fingerprint)

    def forget_worker(self, worker: str) -> None:
        """Delete the heartbeat of a worker that ends.

        Then no check reports the worker missing, and the other workers take its messages.
        """
        for name in ("heartbeat", "heartbeat_keys"):
            self._redis.hdel(self._key(name), worker)

    def workers(self) -> list[WorkerHeartbeat]:
        """Return the newest heartbeat of each worker name that was seen in the last 15 minutes, sorted by name."""
        now, newest = self.now(), dict[str, WorkerHeartbeat]()
        for heartbeat in self._processes().values():
            is_newest = heartbeat.name not in newest or newest[heartbeat.name].seen_at < heartbeat.seen_at
            if is_newest and now - heartbeat.seen_at <= FORGET_S:
                newest[heartbeat.name] = heartbeat
        return [newest[name] for name in sorted(newest)]

    def forget_vanished(self) -> None:
        """Delete the heartbeats that are older than ``FORGET_S``."""
        now = self.now()
        for process, heartbeat in self._processes().items():
            if now - heartbeat.seen_at > FORGET_S:
                self.forget_worker(process)

    def _processes(self) -> dict[str, WorkerHeartbeat]:
        stored = self._redis.hgetall(self._key("heartbeat")).items()
        rows = {str(name): json.loads(raw) for name, raw in stored if name not in (_BEAT, _TICK)}
        return {name: _read_row(row) for name, row in rows.items()}

    def first_keys(self) -> dict[str, str | None]:
        """Return the fingerprint of each living worker's first key, by the worker's name; None for version 0.2.0."""
        keys: Any = self._redis.hgetall(self._key("heartbeat_keys"))
        now = self.now()
        living = [(one.seen_at, one.name, process) for process, one in self._processes().items()]
        return {name: keys.get(process) for seen_at, name, process in sorted(living) if now - seen_at <= 4 * ALIVE_S}

    def living_workers(self) -> list[str]:
        """Return the names of the workers that were seen in the last 80 seconds, sorted.

        A home's worker writes only once a minute, so the limit is longer than ``ALIVE_S``. ``ALIVE_S`` can be shorter
        than a minute, because a home has no second worker that would requeue the messages of the first.
        """
        now = self.now()
        return [worker.name for worker in self.workers() if now - worker.seen_at <= 4 * ALIVE_S]

    def dead_workers(self, workers: Collection[str]) -> list[str]:
        """Return the workers among these that have written no heartbeat for 20 s, sorted."""
        if not (names := sorted(workers)):
            return []
        heartbeats, now = self._redis.hmget(self._key("heartbeat"), names), self.now()
        return [
            name
            for name, raw in zip(names, heartbeats, strict=True)
            if raw is None or now - json.loads(raw)["seen_at"] > ALIVE_S
        ]

    # -- The times when beat published a task, and when a worker ran beat's test task

    def record_beat(self) -> None:
        """Record that beat has published a task."""
        self._write(_BEAT, str(self.now()))

    def record_tick(self) -> None:
        """Record that a worker has run beat's test task (the tick)."""
        self._write(_TICK, str(self.now()))

    def beat_and_tick(self) -> list[float | None]:
        """Return the times of the last beat and of the last tick, each None if unknown."""
        answers = self._redis.hmget(self._key("heartbeat"), [_BEAT, _TICK])
        return [None if answer is None else float(answer) for answer in answers]

    def _write(self, process: str, text: str, fingerprint: str = "") -> None:
        written = {"heartbeat": text, **({"heartbeat_keys": fingerprint} if fingerprint else {})}
        with self._redis.pipeline() as pipe:
            for name, value in written.items():
                pipe.hset(self._key(name), process, value)
                pipe.expire(self._key(name), _TTL_S)
            pipe.execute()


def _read_row(row: Mapping[str, Any]) -> WorkerHeartbeat:
    known = {field.name: row[field.name] for field in fields(WorkerHeartbeat)}  # A later version may write more.
    return WorkerHeartbeat(**{**known, "queues": tuple(row["queues"])})


def broker_keys(worker: str) -> dict[str, str]:
    """Return the transport options that give a worker its own hash of unacknowledged messages."""
    return {
        "unacked_key": f"{UNACKED}:{worker}",
        "unacked_index_key": f"{_INDEX}:{worker}",
        "unacked_mutex_key": f"unacked_mutex:{worker}",
    }


class BrokerMessages(PrefixedKeys):
    """The messages in the broker's queues and in the workers' hashes. ``prefix`` is the broker's key prefix."""

    def workers_with_messages(self) -> set[str]:
        """Return the workers that hold unacknowledged messages, dead workers included."""
        start = self._key(UNACKED, "")
        pattern = escape_glob(start) + "*"
        return {key.removeprefix(start) for key in self._redis.scan_iter(match=pattern, count=SCAN_COUNT)}

    def requeue(self, worker: str) -> int:
        """Requeue the messages that a worker has taken, and return their number; the call is safe to repeat.

        The messages come to the head of their queues.
        """
        tags: Iterable[Any] = self._redis.hkeys(self._key(UNACKED, worker))
        return sum(self._requeue_message(worker, str(tag)) for tag in tags)

    def _requeue_message(self, worker: str, tag: str) -> bool:
        """Requeue one message in a transaction; return False if another call has already requeued it."""
        unacked_key = self._key(UNACKED, worker)

        def move(pipe: Any) -> Any:
            raw = pipe.hget(unacked_key, tag)
            pipe.multi()
            if raw is None:
                return False
            message, _exchange, queue = json.loads(raw)
            message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
            pipe.hdel(unacked_key, tag)
            pipe.zrem(self._key(_INDEX, worker), tag)
            pipe.rpush(self._key(queue), json.dumps(message))
            return True

        # The transaction watches the hash: if another process changes the hash meanwhile, ``move`` runs again.
        moved: Any = self._redis.transaction(move, unacked_key, value_from_callable=True)
        return bool(moved)

    def words_in_messages(self, queues: Iterable[str]) -> frozenset[str] | None:
        """Return the words in the arguments of all messages, which include claims and account ids.

        Return None if there are too many messages to read.
        """
        queue_keys = [self._key(queue) for queue in queues]
        workers = self.workers_with_messages()
        with self._redis.pipeline(transaction=False) as pipe:
            for key in queue_keys:
                pipe.llen(key)
            for worker in workers:
                pipe.hlen(self._key(UNACKED, worker))
            if sum(pipe.execute()) > _MOST_MESSAGES:
                return None
        messages = self._all_messages(workers, queue_keys)
        return frozenset(word for message in messages for word in _WORD.findall(_argument_text(message)))

    def _all_messages(self, workers: Iterable[str], queue_keys: Iterable[str]) -> Iterator[Any]:
        """Yield the messages that ``workers`` have taken, those in the queues, and then all taken messages again.

        Messages move while they are read. The step of a taken message may end and publish the next step to a queue, so
        taken messages are read before the queues. A worker may take a message from a queue that wasn't read yet, so
        taken messages are read again after the queues.
        """
        yield from self._reserved_messages(workers)
        yield from self._queued_messages(queue_keys)
        yield from self._reserved_messages(self.workers_with_messages())

    def _reserved_messages(self, workers: Iterable[str]) -> Iterator[Any]:
        for worker in workers:
            found = self._redis.hscan_iter(self._key(UNACKED, worker), count=_PAGE)
            yield from (json.loads(raw)[0] for _, raw in found)

    def _queued_messages(self, keys: Iterable[str]) -> Iterator[Any]:
        """Yield the messages in queues, each queue's newest first.

        New messages are added at the end where this reading begins, and workers take messages from the other end. So
        no unread message moves to a page that was read already; at worst, a message is yielded twice.
        """
        for key in keys:
            first = 0
            while page := self._redis.lrange(key, first, first + _PAGE - 1):
                yield from map(json.loads, page)
                first += _PAGE


def _argument_text(message: Any) -> str:
    headers = message.get("headers", {})
    return f"{headers.get('argsrepr', '')} {headers.get('kwargsrepr', '')}"
