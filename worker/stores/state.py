"""What Relève remembers in Redis: finished windows, run state, claims, counts; nothing that can't be lost.

Plain keys under one prefix (``releve:``), which any Redis tool can read:

    history:<account>:<series>            set of finished windows (2024-01-01/2024-02-01) and ``known``
    history_loaded:<account>:<series>     the day up to which the history is complete, excluded
    task:<account>:<series>               hash: the last run's state
    inflight:<account>:<series>:<what>    server time at which the work was published
    attempts:<account>:<series>:<run>:<window>, secret:<name>, cursor:<name>, alive:<worker>, lock:, lease:,
    slot:
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final

from redis import Redis

from worker.domain.readings import DateWindow
from worker.domain.windows import merge_windows
from worker.stores.claims import Claims
from worker.stores.locks import Locks
from worker.stores.presence import Presence
from worker.stores.redis_link import escape_glob, redis_errors

TASK_TTL_S: Final = 90 * 24 * 3600
ACCOUNT_KINDS: Final = frozenset(
    {"history", "history_loaded", "task", "inflight", "attempts", "secret", "cursor", "slot"}
)
KNOWN: Final = "known"  # the account's coverage was told as a whole since Redis was last empty


# A window and all that are kept become the fewest that hold the same days.  Dates sort as texts do.
# KEYS: the history.  ARGV: the window, and the member that is none.
_MARK_DONE = """
local windows = {ARGV[1]}
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if member ~= ARGV[2] then table.insert(windows, member) end
end
table.sort(windows)
local merged, start, stop = {}, string.match(windows[1], '(.*)/(.*)')
for _, window in ipairs(windows) do
  local first, after = string.match(window, '(.*)/(.*)')
  if first > stop then
    merged[start .. '/' .. stop] = true
    start, stop = first, after
  elseif after > stop then
    stop = after
  end
end
merged[start .. '/' .. stop] = true
for _, window in ipairs(windows) do
  if not merged[window] then redis.call('SREM', KEYS[1], window) end
end
for window in pairs(merged) do redis.call('SADD', KEYS[1], window) end
"""


class SyncState(Locks, Claims, Presence):
    """Every method raises StoreUnavailable; losing any key costs a repeat, never data.

    ``series`` is a Series or its value.
    """

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._mark_done = redis.register_script(_MARK_DONE)

    # -- the history, window by window

    @redis_errors()
    def done_windows(self, account_id: str, series: str) -> list[DateWindow]:
        """The finished days in the fewest windows, oldest first."""
        return _to_windows(self._redis.smembers(self._key("history", account_id, series)))

    @redis_errors()
    def done_windows_of(self, pairs: Sequence[tuple[str, str]]) -> list[list[DateWindow]]:
        """``done_windows`` of many (account, series), in their order, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in pairs:
                pipe.smembers(self._key("history", account_id, series))
            return [_to_windows(members) for members in pipe.execute()]

    @redis_errors()
    def has_history(self, account_id: str, series: str) -> bool:
        """Whether ``replace_done`` told the coverage since Redis was last empty.

        A window marked done alone does not make it true: after a loss the next window to finish would hide
        that all the others are forgotten, and they would be fetched again.
        """
        return bool(self._redis.sismember(self._key("history", account_id, series), KNOWN))

    @redis_errors()
    def mark_done(self, account_id: str, series: str, window: DateWindow) -> None:
        """Add ``window`` to the finished days.  Safe to repeat, and beside others who do the same."""
        self._mark_done(keys=[self._key("history", account_id, series)], args=[str(window), KNOWN])

    @redis_errors()
    def replace_done(self, account_id: str, series: str, windows: Iterable[DateWindow]) -> None:
        """Tell the coverage as a whole, as read back from the store; none at all is an answer too."""
        key = self._key("history", account_id, series)
        with self._redis.pipeline() as pipe:
            pipe.delete(key)
            pipe.sadd(key, KNOWN, *map(str, merge_windows(windows)))
            pipe.execute()

    @redis_errors()
    def history_loaded_until(self, account_id: str, series: str) -> date | None:
        """The day up to which the history is complete, excluded; None while it is not, or is not known."""
        return _to_date(self._redis.get(self._key("history_loaded", account_id, series)))

    @redis_errors()
    def set_history_loaded(self, account_id: str, series: str, until: date) -> None:
        self._redis.set(self._key("history_loaded", account_id, series), until.isoformat())

    @redis_errors()
    def loaded_flags(self, account_ids: Sequence[str], series: str) -> list[date | None]:
        """``history_loaded_until`` of a page of accounts, in their order, in one round trip."""
        if not account_ids:
            return []
        answers = self._redis.mget([self._key("history_loaded", account, series) for account in account_ids])
        return [_to_date(answer) for answer in answers]

    # -- the state of the last run

    @redis_errors()
    def note_task(self, account_id: str, series: str, **fields: str) -> None:
        """Set these fields and keep the others; all are forgotten 90 days after the last note."""
        if fields:
            key = self._key("task", account_id, series)
            mapping: dict[Any, Any] = {**fields}
            with self._redis.pipeline() as pipe:
                pipe.hset(key, mapping=mapping)
                pipe.expire(key, TASK_TTL_S)
                pipe.execute()

    def task_state(self, account_id: str, series: str) -> dict[str, str]:
        """What was noted; empty where nothing was."""
        return self.task_states([(account_id, series)])[0]

    @redis_errors()
    def task_states(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        """``task_state`` of a page of (account, series), in their order, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in pairs:
                pipe.hgetall(self._key("task", account_id, series))
            return list(pipe.execute())

    # -- texts shared by all workers

    @redis_errors()
    def put_secret(self, name: str, sealed_text: str, ttl_s: int) -> None:
        """Keep a text that its owner has encrypted; Redis is no safe."""
        self._redis.set(self._key("secret", name), sealed_text, ex=ttl_s)

    @redis_errors()
    def get_secret(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("secret", name)))

    @redis_errors()
    def put_cursor(self, name: str, text: str, ttl_s: int) -> None:
        """How far a walk over the accounts has come."""
        self._redis.set(self._key("cursor", name), text, ex=ttl_s)

    @redis_errors()
    def get_cursor(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("cursor", name)))

    # -- the end of an account

    @redis_errors()
    def forget(self, account_id: str) -> int:
        """Delete every key that names the account; how many there were.  Walks all keys.

        Its locks are left to expire: whoever removes the account may hold one of them.
        """
        pattern = f"*:{escape_glob(account_id)}*"
        return sum(
            int(self._redis.unlink(*keys))
            for page in self._scan(pattern)
            if (keys := [key for key in page if self._names(key, account_id)])
        )

    @redis_errors()
    def forget_all(self) -> int:
        """Delete what is known of all accounts; how many keys there were.  Walks all keys.  Locks expire."""
        return sum(
            int(self._redis.unlink(*keys))
            for page in self._scan("*")
            if (keys := [key for key in page if key.removeprefix(self._prefix).partition(":")[0] in ACCOUNT_KINDS])
        )

    def _names(self, key: str, account_id: str) -> bool:
        kind, *parts = key.removeprefix(self._prefix).split(":")
        return kind in ACCOUNT_KINDS and account_id in parts


def _to_windows(members: Iterable[Any]) -> list[DateWindow]:
    return merge_windows(DateWindow.parse(member) for member in members if member != KNOWN)


def _to_date(answer: Any) -> date | None:
    return date.fromisoformat(answer) if answer else None


def _to_text(answer: Any) -> str | None:
    return None if answer is None else str(answer)
