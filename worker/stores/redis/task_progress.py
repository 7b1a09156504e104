"""The state of the last run of a series in Redis: a hash ``task:<account>:<series>`` while it is needed.

    state ok, window 2024-06-25/2024-07-25, run_id 20240725T041209.000001, error "",
    answer:data:backfill 2024-07-25T04:12:09+00:00 2024-06-25/2024-07-25

A hash takes some 400 bytes.  So the hash of a good run lasts for 15 minutes, in which waiting commands read it, and a
good night makes none: its outcome is in the registry for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.domain.fleet.outcomes import Call, call_to_fields, calls_from_fields
from worker.stores.redis.connection import PrefixedKeys, redis_errors

TASK_TTL_S: Final = 90 * 24 * 3600
SUCCESS_TTL_S: Final = 15 * 60


class TaskProgressStore(PrefixedKeys):
    """The states of the last runs; every method raises StoreUnavailable."""

    @redis_errors()
    def record_task(self, account_id: str, series: str, **fields: str) -> None:
        """Set these fields of the state and keep the others; all expire 90 days after the last call."""
        self._record(account_id, series, fields, TASK_TTL_S)

    @redis_errors()
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

    @redis_errors()
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


def _makes_good(call: Call, failure: Call) -> bool:
    """Return whether a good call is a later one of the same kind of run, or one about the same days."""
    same_run = call.run == failure.run and call.window.start < failure.window.end <= call.window.end
    return same_run or (call.window.start <= failure.window.start and failure.window.end <= call.window.end)
