"""Locks, leases and slots in Redis, which all expire.

They save quota and repeated work but protect no data: a process that was frozen beyond its lock's time may still write.
Keys and revisions in the stores protect the measures.

    releve:lock:token                the holder's random token (redis-py)
    releve:lease:beat                the holder's name
    releve:slot:nightly:2024-07-25   1
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from redis import Redis, RedisError
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock

from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.stores.redis.connection import PrefixedKeys, redis_errors

log = logging.getLogger("releve.locks")

LOCK_POLL_S: Final = 0.05

# KEYS: releve:lease:beat.  ARGV: holder (host-17-a1b2c3), ms to live (30000).
_TAKE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Locks(PrefixedKeys):
    """Locks, leases and slots; the same name may be used for one of each kind."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._lease_script = redis.register_script(_TAKE_LEASE)

    @contextmanager
    def lock(self, name: str, ttl_s: float, *, wait_s: float | None = None, most_s: float = 0.0) -> Iterator[None]:
        """Hold the lock ``name`` during the block; wait for it up to ``wait_s`` (default: ``ttl_s``).

        The lock expires after ``ttl_s``, even during the block.  With ``most_s`` it is prolonged while this process
        lives, up to ``most_s`` in all; ``ttl_s`` is then how long others wait after the holder was killed.  Raises
        StoreUnavailable if the lock stays busy.
        """
        with self._acquire(name, ttl_s, ttl_s if wait_s is None else wait_s, most_s) as acquired:
            if not acquired:
                raise StoreUnavailable(f"lock {name} stays busy", retry_after_s=ttl_s)
            yield

    @contextmanager
    def try_lock(self, name: str, ttl_s: float) -> Iterator[bool]:
        """Hold the lock ``name`` if it is free, without waiting, and give whether it was."""
        with self._acquire(name, ttl_s, 0) as acquired:
            yield acquired

    @contextmanager
    def _acquire(self, name: str, ttl_s: float, wait_s: float, most_s: float = 0.0) -> Iterator[bool]:
        # With redis-py's default, thread_local, a lock taken in one thread can't be released in another.
        lock = Lock(self._redis, self._key("lock", name), timeout=ttl_s, sleep=LOCK_POLL_S, thread_local=False)
        with redis_errors():
            acquired = lock.acquire(blocking=wait_s > 0, blocking_timeout=wait_s or None)
        done = threading.Event()
        args = (lock, ttl_s, most_s, done)
        prolonger = threading.Thread(target=_renew_until, args=args, name=f"keeps {name}", daemon=True)
        if acquired and most_s > ttl_s:
            prolonger.start()
        try:
            yield acquired
        finally:
            done.set()
            if prolonger.ident is not None:
                prolonger.join()  # Else it could find the lock released and take it for another holder's.
            if acquired:
                self._release(lock, name)

    @redis_errors()
    def _release(self, lock: Lock, name: str) -> None:
        try:
            lock.release()
        except LockNotOwnedError:  # Another holder may have done the same work meanwhile, which is harmless.
            log.warning("a lock outlived its time to live before its holder was done", extra=fields(lock=name))

    @redis_errors()
    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew the lease ``name`` for ``holder``; return false while another holds it."""
        return bool(self._lease_script(keys=[self._key("lease", name)], args=[holder, _ms(ttl_s)]))

    @redis_errors()
    def slot(self, name: str, ttl_s: float) -> bool:
        """Return true to the first caller within ``ttl_s``; a scheduled task asks for its run date."""
        return bool(self._redis.set(self._key("slot", name), "1", nx=True, px=_ms(ttl_s)))


def _renew_until(lock: Lock, ttl_s: float, most_s: float, done: threading.Event) -> None:
    """Reset the lock's time to live again and again, until ``done`` is set or ``most_s`` is over."""
    deadline = time.monotonic() + most_s - ttl_s
    while not done.wait(ttl_s / 4) and time.monotonic() < deadline:
        try:
            lock.reacquire()
        except LockNotOwnedError:  # This process was frozen too long, or Redis was emptied; the release logs it.
            return
        except RedisError as error:  # Redis may answer again at the next turn.
            log.debug("a lock was not prolonged: %s", type(error).__name__)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
