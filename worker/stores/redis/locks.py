"""Who may do what now: locks, leases and slots in Redis, all of which end by themselves.

None of them is a fence: a holder that slept through its time may still write.  They save quota and double
work; what keeps the measures right is keys and revisions.
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

log = logging.getLogger("worker.stores.locks")

LOCK_POLL_S: Final = 0.05

_TAKE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Locks(PrefixedKeys):
    """Names are told apart by kind: a lock, a lease and a slot of one name know nothing of each other."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._take_lease = redis.register_script(_TAKE_LEASE)

    @contextmanager
    def lock(self, name: str, ttl_s: float, *, wait_s: float | None = None, most_s: float = 0.0) -> Iterator[None]:
        """Hold ``name`` alone, having waited for it up to ``wait_s`` (without it: ``ttl_s``).

        After ``ttl_s`` others get in, whether we are done or not.  With ``most_s`` that time is prolonged for as long
        as we live, up to ``most_s`` in all: ``ttl_s`` is then how long others wait for a holder that was killed.
        Raises StoreUnavailable if it stays busy.
        """
        with self._held(name, ttl_s, ttl_s if wait_s is None else wait_s, most_s) as got:
            if not got:
                raise StoreUnavailable(f"lock {name} stays busy", retry_after_s=ttl_s)
            yield

    @contextmanager
    def try_lock(self, name: str, ttl_s: float) -> Iterator[bool]:
        """Hold ``name`` if it is free; gives whether we got it, without waiting."""
        with self._held(name, ttl_s, 0) as got:
            yield got

    @contextmanager
    def _held(self, name: str, ttl_s: float, wait_s: float, most_s: float = 0.0) -> Iterator[bool]:
        # thread_local: a lock taken in one thread could not be released in another (stack-trials, 6)
        lock = Lock(self._redis, self._key("lock", name), timeout=ttl_s, sleep=LOCK_POLL_S, thread_local=False)
        with redis_errors():
            got = lock.acquire(blocking=wait_s > 0, blocking_timeout=wait_s or None)
        done = threading.Event()
        keeper = threading.Thread(target=_keep, args=(lock, ttl_s, most_s, done), name=f"keeps {name}", daemon=True)
        if got and most_s > ttl_s:
            keeper.start()
        try:
            yield got
        finally:
            done.set()
            if keeper.ident is not None:
                keeper.join()  # or it would take for another's what we let go
            if got:
                self._release(lock, name)

    @redis_errors()
    def _release(self, lock: Lock, name: str) -> None:
        try:
            lock.release()
        except LockNotOwnedError:  # the work is done, and another may have done it too: known, and harmless
            log.warning("a lock outlived its time to live before its holder was done", extra=fields(lock=name))

    @redis_errors()
    def lease(self, name: str, holder: str, ttl_s: float) -> bool:
        """Take or renew ``name`` for ``holder``; false while another holds it."""
        return bool(self._take_lease(keys=[self._key("lease", name)], args=[holder, _ms(ttl_s)]))

    @redis_errors()
    def slot(self, name: str, ttl_s: float) -> bool:
        """True for the first who asks within ``ttl_s``: a fan-out asks for its run date."""
        return bool(self._redis.set(self._key("slot", name), "1", nx=True, px=_ms(ttl_s)))


def _keep(lock: Lock, ttl_s: float, most_s: float, done: threading.Event) -> None:
    """Give the lock its whole time again and again, from the holder's own process, until it is done."""
    give_up = time.monotonic() + most_s - ttl_s
    while not done.wait(ttl_s / 4) and time.monotonic() < give_up:
        try:
            lock.reacquire()
        except LockNotOwnedError:  # we slept through its time, or Redis was emptied: its release says so
            return
        except RedisError as error:  # the next turn may find it well again
            log.debug("a lock was not prolonged: %s", type(error).__name__)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
