"""Progress in Redis: finished days, states of runs, claims, and texts that all workers share.

Everything here may be lost; a lost key repeats work.  All keys have one prefix (``releve:``) and plain text values:

    history:<series>:<letters>    hash: account to its finished days (``coverage``)
    task:<account>:<series>       hash: the state of the last run (``task_progress``)
    inflight:<lane>               sorted set: the windows in flight (``claims``)
    failures:<account>:<series>   hash: windows of the history that failed (``claims``)
    secret:<name>                 an encrypted text
    text:<name>                   a text, such as the summary of the last audit
    lock:<name>, slot:<name>      ``locks``
"""

from __future__ import annotations

from typing import Any, Final

from worker.stores.redis.claims import ClaimStore
from worker.stores.redis.connection import escape_glob, redis_errors
from worker.stores.redis.coverage import CoverageStore
from worker.stores.redis.locks import Locks
from worker.stores.redis.task_progress import TaskProgressStore

ACCOUNT_KINDS: Final = frozenset({"history", "task", "inflight", "failures", "secret", "text", "slot"})


class ProgressStore(TaskProgressStore, CoverageStore, ClaimStore, Locks):
    """The progress of all accounts in Redis; every method raises StoreUnavailable.

    ``series`` is a Series or its value.
    """

    # -- Texts shared by all workers

    @redis_errors()
    def put_secret(self, name: str, sealed_text: str, ttl_s: int) -> None:
        """Store a text that the caller has encrypted: Redis protects no secrets."""
        self._redis.set(self._key("secret", name), sealed_text, ex=ttl_s)

    @redis_errors()
    def get_secret(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("secret", name)))

    @redis_errors()
    def put_text(self, name: str, text: str, ttl_s: int) -> None:
        """Store a text that all workers share."""
        self._redis.set(self._key("text", name), text, ex=ttl_s)

    @redis_errors()
    def get_text(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("text", name)))

    # -- The end of an account

    @redis_errors()
    def forget(self, account_id: str) -> int:
        """Delete every key that names the account and return their number; scans all keys.

        Locks are left to expire, because the process that removes the account may hold one.
        """
        pattern = f"*:{escape_glob(account_id)}*"
        return (
            self._forget_coverage(account_id)
            + self._forget_claims(account_id)
            + sum(
                int(self._redis.unlink(*keys))
                for page in self._scan(pattern)
                if (keys := [key for key in page if self._names(key, account_id)])
            )
        )

    @redis_errors()
    def forget_all(self) -> int:
        """Delete the keys of all accounts and return their number; scans all keys and leaves locks to expire."""
        return sum(
            int(self._redis.unlink(*keys))
            for page in self._scan("*")
            if (keys := [key for key in page if key.removeprefix(self._prefix).partition(":")[0] in ACCOUNT_KINDS])
        )

    def _names(self, key: str, account_id: str) -> bool:
        kind, *parts = key.removeprefix(self._prefix).split(":")
        # These belong to many accounts, and their names may equal a short account id.
        return kind in ACCOUNT_KINDS - {"history", "inflight"} and account_id in parts


def _to_text(answer: Any) -> str | None:
    return None if answer is None else str(answer)
