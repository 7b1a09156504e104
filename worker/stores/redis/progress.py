"""Progress in Redis: finished days, states of runs, claims, and texts that all workers share.

Everything here may be lost; a lost key repeats work.  All keys have one prefix (``releve:``) and plain text values:

    history:<series>:<letters>    hash: account to its finished days (``coverage``)
    task:<account>:<series>       hash: the state of the last run while it is needed: state ok, window
                                  2024-06-25/2024-07-25, run_id 20240725T041209.000001, error "",
                                  answer:data:backfill 2024-07-25T04:12:09+00:00 2024-06-25/2024-07-25
    inflight:<lane>               sorted set: the windows in flight (``claims``)
    failures:<account>:<series>   hash: windows of the history that failed (``claims``)
    secret:<name>                 an encrypted text
    text:<name>                   a text, such as the summary of the last audit
    lock:<name>, slot:<name>      ``locks``

The hash of a task takes some 400 bytes.  So that of a good run lasts for 15 minutes, in which waiting commands read it,
and a good night makes none: its outcome is in the registry for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.domain.calls import Call, call_to_fields, calls_from_fields
from worker.stores.redis.claims import ClaimStore
from worker.stores.redis.connection import escape_glob
from worker.stores.redis.coverage import CoverageStore
from worker.stores.redis.locks import Locks

TASK_TTL_S: Final = 90 * 24 * 3600
SUCCESS_TTL_S: Final = 15 * 60
ACCOUNT_KINDS: Final = frozenset({"history", "task", "inflight", "failures", "secret", "text", "slot"})


class ProgressStore(CoverageStore, ClaimStore, Locks):
    """The progress of all accounts in Redis; every method raises StoreUnavailable.

    ``series`` is a Series or its value.
    """

    # -- The last run of a series

    def record_task(self, account_id: str, series: str, **fields: str) -> None:
        """Set these fields of the state and keep the others; all expire 90 days after the last call."""
        self._record(account_id, series, fields, TASK_TTL_S)

    def record_success(self, account_id: str, series: str, call: Call, *, brief: bool = False, **fields: str) -> None:
        """Set these fields and the answer of a good run; they expire soon where no other failure is recorded.

        The answers of earlier failures that this run makes good are deleted: those of the same kind of run, and those
        about the same days.  ``brief``: only update a state that exists, so that it no longer says that the series
        failed.  Of two runs that end at once, one may leave an answer that the other made good, until the next run.
        """
        key = self._key("task", account_id, series)
        state: dict[str, str] = self._redis.hgetall(key)  # type: ignore[assignment]
        if brief and not state:
            return
        failures = [earlier for earlier in calls_from_fields(state) if not earlier.answer.is_answer]
        left = [failure for failure in failures if not _makes_good(call, failure)]
        names = [name for failure in failures if failure not in left for name in call_to_fields(failure)]
        self._record(
            account_id, series, {**fields, **call_to_fields(call)}, TASK_TTL_S if left else SUCCESS_TTL_S, names
        )

    def task_state(self, account_id: str, series: str) -> dict[str, str]:
        """Return the fields of the last run's state; empty where there are none."""
        state: dict[Any, Any] = self._redis.hgetall(self._key("task", account_id, series))
        return state

    def _record(
        self, account_id: str, series: str, fields: dict[str, str], ttl_s: int, deleted: Sequence[str] = ()
    ) -> None:
        key, mapping = self._key("task", account_id, series), dict[Any, Any](fields)
        with self._redis.pipeline() as pipe:
            if deleted:
                pipe.hdel(key, *deleted)
            if mapping:
                pipe.hset(key, mapping=mapping)
            pipe.expire(key, ttl_s)
            pipe.execute()

    # -- Texts shared by all workers

    def put_secret(self, name: str, sealed_text: str, ttl_s: int) -> None:
        """Store a text that the caller has encrypted: Redis protects no secrets."""
        self._redis.set(self._key("secret", name), sealed_text, ex=ttl_s)

    def get_secret(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("secret", name)))

    def put_text(self, name: str, text: str, ttl_s: int) -> None:
        """Store a text that all workers share."""
        self._redis.set(self._key("text", name), text, ex=ttl_s)

    def get_text(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("text", name)))

    # -- The end of an account

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

    def forget_all(self) -> int:
        """Delete the keys of all accounts and return their number; scans all keys and leaves locks to expire."""
        return self._unlink_kinds(ACCOUNT_KINDS)

    def _names(self, key: str, account_id: str) -> bool:
        kind, *parts = key.removeprefix(self._prefix).split(":")
        # These belong to many accounts, and their names may equal a short account id.
        return kind in ACCOUNT_KINDS - {"history", "inflight"} and account_id in parts


def _to_text(answer: Any) -> str | None:
    return None if answer is None else str(answer)


def _makes_good(call: Call, failure: Call) -> bool:
    """Return whether a good call is a later one of the same kind of run, or one about the same days."""
    same_run = call.run == failure.run and call.window.start < failure.window.end <= call.window.end
    return same_run or (call.window.start <= failure.window.start and failure.window.end <= call.window.end)
