"""Locks in Redis, and limits on the number of calls per token, session, browser and address.

Locks save repeated work and calls to suppliers, but don't protect data. All locks expire, so a process that was frozen
for longer than its lock lasted may still write. Against such writes, the stores of measures have keys and revisions.

    releve:lock:token             the holder's random token (redis-py)
    releve:limit:api:token:5f2c   the number of calls in the present window

Calls are counted for all processes together. A time window begins with the first call of a subject and ends when the
key expires. So a subject may use up one window at its end and the next one at once: twice the limit in a short time.
That is accepted, because the limits are meant to stop thousands of tries.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from redis import RedisError
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock

from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.stores.redis.connection import PrefixedKeys, redis_errors

log = logging.getLogger("releve.locks")


class Locks(PrefixedKeys):
    @contextmanager
    def lock(self, name: str, ttl_s: float, *, wait_s: float | None = None, most_s: float = 0.0) -> Iterator[None]:
        """Hold the lock ``name`` during the block; wait for it up to ``wait_s`` (default: ``ttl_s``).

        The lock expires after ``ttl_s``, even during the block. With ``most_s`` the lock is extended as long as this
        process lives, up to ``most_s`` in total. If the process is killed, the others wait at most ``ttl_s``. Raises
        StoreUnavailable if the lock stays busy.

        For example, an exchange of tokens may take 90 s, and no other process may send the refresh token in that time.
        But if the process that renews the token is killed, the others wait only 20 s.
        """
        # The thread that extends the lock needs the lock's token, which redis-py by default hides from other threads.
        lock = Lock(self._redis, self._key("lock", name), timeout=ttl_s, sleep=0.05, thread_local=False)
        with redis_errors():
            if not lock.acquire(blocking_timeout=ttl_s if wait_s is None else wait_s):
                raise StoreUnavailable(f"lock {name} is still held", retry_after_s=ttl_s)
        done = threading.Event()
        args = (lock, ttl_s, most_s, done)
        prolonger = threading.Thread(target=_renew_until, args=args, name=f"keeps {name}", daemon=True)
        prolonger.start()
        try:
            yield
        finally:
            done.set()
            prolonger.join()  # After the release, the prolonger would think that another holder has the lock.
            self._release(lock, name)

    @redis_errors()
    def _release(self, lock: Lock, name: str) -> None:
        try:
            lock.release()
        except LockNotOwnedError:  # Another holder may have done the same work meanwhile, which is harmless.
            log.warning("a lock outlived its time to live before its holder was done", extra=fields(lock=name))


def _renew_until(lock: Lock, ttl_s: float, most_s: float, done: threading.Event) -> None:
    """Reset the lock's time to live regularly, until ``done`` is set or ``most_s`` is over."""
    deadline = time.monotonic() + most_s - ttl_s
    while not done.wait(ttl_s / 4) and time.monotonic() < deadline:
        try:
            lock.reacquire()
        except LockNotOwnedError:  # The process was frozen too long, or Redis was emptied; the release logs this.
            return
        except RedisError as error:  # Redis may answer again at the next turn.
            log.debug("a lock was not prolonged: %s", type(error).__name__)


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of ``calls`` in a window of ``window_s`` seconds; ``name`` is part of the limit's keys in Redis."""

    name: str
    calls: int
    window_s: int = 60


class RateLimiter(PrefixedKeys):
    """A counter of calls, to limit their rate. If Redis fails, StoreUnavailable is raised, so no call is allowed."""

    def count_call(self, rate: Rate, subject: str) -> int:
        """Count a call of ``subject``. Return 0 if it is allowed, else the seconds until the next allowed call."""
        left, window_s = self.count(rate, subject)
        return window_s if left < 0 else 0

    def count(self, rate: Rate, subject: str) -> tuple[int, int]:
        """Count a call of ``subject``. Return how many more are allowed, and the seconds until the window ends.

        The number is negative if the call itself is not allowed.
        """
        key = self._key("limit", rate.name, subject)
        with self._redis.pipeline() as pipe:
            pipe.set(key, 0, ex=rate.window_s, nx=True)
            pipe.incr(key)
            pipe.pttl(key)
            _, calls, left_ms = pipe.execute()
        return rate.calls - calls, math.ceil(left_ms / 1000)

    def closed_for_s(self, rate: Rate, subject: str) -> int:
        """Return what ``count_call`` would return for the next call, without counting it."""
        key = self._key("limit", rate.name, subject)
        with self._redis.pipeline() as pipe:
            pipe.get(key)
            pipe.pttl(key)
            calls, left_ms = pipe.execute()
        return math.ceil(left_ms / 1000) if int(calls or 0) >= rate.calls else 0
