"""What the Redis broker holds: messages that wait, and messages in the hands of workers.

kombu keeps what a worker has taken and not acknowledged in one hash for all, without whose it is, so what a dead
worker held comes back only after the visibility time-out.  Each of our workers has a hash of its own
(``unacked:<worker>``) and says that it is alive; what is found in the hash of one that is gone is given back at
once.  A worker that was merely frozen finds its work done twice, which is once.

Source of the formats: kombu 5.6, ``kombu/transport/redis.py`` (``QoS.append``, ``_do_restore_message``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from redis import Redis

from worker.stores.redis.connection import SCAN_COUNT, PrefixedKeys, escape_glob, redis_errors

UNACKED: Final = "unacked"
_INDEX: Final = "unacked_index"
_MOST_LOOKED_AT: Final = 20_000  # messages; beyond these nobody looks whether one is lost, its claim expires
_PAGE: Final = 500
_WORDS: Final = re.compile(r"[\w.]+", re.ASCII)  # a run id has a point in it


def broker_keys(worker: str) -> dict[str, str]:
    """The broker's transport options that give a worker a hash of its own."""
    return {
        "unacked_key": f"{UNACKED}:{worker}",
        "unacked_index_key": f"{_INDEX}:{worker}",
        "unacked_mutex_key": f"unacked_mutex:{worker}",
    }


class BrokerMessages(PrefixedKeys):
    """Every method raises StoreUnavailable; ``prefix`` is the broker's, beneath which all its keys lie."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        super().__init__(redis, prefix)

    @redis_errors()
    def holders(self) -> set[str]:
        """The workers that hold messages, or held some when they died."""
        start = self._key(UNACKED, "")
        pattern = escape_glob(start) + "*"
        return {key.removeprefix(start) for key in self._redis.scan_iter(match=pattern, count=SCAN_COUNT)}

    @redis_errors()
    def give_back(self, worker: str) -> int:
        """Put what a dead worker held back where it is taken first; how many messages.  Safe to repeat."""
        tags: Iterable[Any] = self._redis.hkeys(self._key(UNACKED, worker))
        return sum(self._give_back(worker, str(tag)) for tag in tags)

    def _give_back(self, worker: str, tag: str) -> bool:
        """One message, all of it or nothing: whoever else does the same at this moment wins or loses it whole."""
        held = self._key(UNACKED, worker)

        def move(pipe: Any) -> Any:
            raw = pipe.hget(held, tag)
            pipe.multi()
            if raw is None:
                return False
            message, _exchange, queue = json.loads(raw)
            message["headers"]["redelivered"] = message["properties"]["delivery_info"]["redelivered"] = True
            pipe.hdel(held, tag)
            pipe.zrem(self._key(_INDEX, worker), tag)
            pipe.rpush(self._key(queue), json.dumps(message))
            return True

        moved: Any = self._redis.transaction(move, held, value_from_callable=True)
        return bool(moved)

    @redis_errors()
    def words_in_flight(self, queues: Iterable[str]) -> frozenset[str] | None:
        """Every word of what messages say of their arguments, account and run ids; None where they are too many."""
        waiting = [self._key(queue) for queue in queues]
        held = [self._key(UNACKED, worker) for worker in self.holders()]
        with self._redis.pipeline(transaction=False) as pipe:
            for key in waiting:
                pipe.llen(key)
            for key in held:
                pipe.hlen(key)
            if sum(pipe.execute()) > _MOST_LOOKED_AT:
                return None
        messages = (message for keys in (self._held(held), self._waiting(waiting)) for message in keys)
        return frozenset(word for message in messages for word in _WORDS.findall(_described(message)))

    def _held(self, keys: Iterable[str]) -> Iterator[Any]:
        for key in keys:
            values = (raw for _, raw in self._redis.hscan_iter(key, count=_PAGE))
            while page := list(islice(values, _PAGE)):
                yield from (json.loads(raw)[0] for raw in page)

    def _waiting(self, keys: Iterable[str]) -> Iterator[Any]:
        """From the end that is taken first: a message that moves meanwhile is seen twice or was seen in a hand."""
        for key in keys:
            for first in range(0, int(self._redis.llen(key)), _PAGE):
                for raw in self._redis.lrange(key, -(first + _PAGE), -(first + 1)):
                    yield json.loads(raw)


def _described(message: Any) -> str:
    headers = message.get("headers", {})
    return f"{headers.get('argsrepr', '')} {headers.get('kwargsrepr', '')}"


# Messages that wait for their countdown: no queue's length shows them, for a worker holds them meanwhile.

# KEYS: a sorted set of messages by the moment (ms, the server's clock) at which each comes back.
_NOW: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
"""
# ARGV: message, ms to wait.
_PARK: Final = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), ARGV[2] + 60000))
"""
)
_COUNT: Final = _NOW + "return redis.call('ZCARD', KEYS[1])"


class ParkedMessages(PrefixedKeys):
    """Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._park: Any = redis.register_script(_PARK)
        self._count_parked: Any = redis.register_script(_COUNT)

    @redis_errors()
    def park(self, queue: str, message_id: str, delay_s: float) -> None:
        """This message comes back in ``delay_s``; told again, its new time holds."""
        self._park(keys=[self._key("parked", queue)], args=[message_id, math.ceil(delay_s * 1000)])

    @redis_errors()
    def parked(self, queue: str) -> int:
        """How many of the queue's messages wait for their time."""
        return int(self._count_parked(keys=[self._key("parked", queue)]))
