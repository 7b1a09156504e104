"""Progress of all accounts in Redis: claims on windows, failed windows, loaded histories, last runs, shared texts.

Everything here may be lost; a lost key only causes repeated work. All keys have the prefix ``releve:``; all values are
texts:

    inflight:<lane>               sorted set of claims: k9x4w:daily 1721890000123456, k9x4w:load_curve 172189000…
    slot:<name>                   1 if a scheduled task has run, such as resume_night:28698123
    failures:<account>:<series>   hash: how often windows of the history failed, 2024-07-11/2024-07-18 → 2
    starts:<step>                 sorted set: processes that have begun a step and not ended it, host-17-a1b2c3/17
                                  1721890000; <step> is k9x4w:daily:tasks.pipeline.store:nightly/1721890000123456
    history_loaded:<series>:<letters>
                                  hash: 1 for an account whose whole history is loaded, k9x4w → 1
    task:<account>:<series>       hash: the state of the last run as long as it is needed: state ok, window
                                  2024-06-25/2024-07-25, run_id 20240725T041209.000001, error "", and the last calls
                                  (``domain.calls``), such as
                                  answer:data:backfill 2024-07-25T04:12:09+00:00 2024-06-25/2024-07-25
    secret:<name>                 an encrypted text
    text:<name>                   a text, such as the summary of the last audit
    lock:<name>                   the token of the lock's holder (module ``locks``)

A claim prevents a window from being queued twice; after the claim's expiry (``RELEVE_INFLIGHT_EXPIRY_S``) lost work
can be queued again. The claims of a lane are its backlog. The score is the time of the claim in µs by the clock of
Redis, plus the claim's position in the call. A later claim on the same member has another score, so the score also
identifies the holder: a message that was delivered twice can't release the claim of the next window.

The registry is the authority on whether a history is loaded; the flag in ``history_loaded`` is updated with each stored
window. A million accounts have two million flags, so each flag is a field of a small hash, which Redis stores
compactly. Workers of version 0.2.0 keep finished days in ``history:``; this version only deletes these fields, together
with the account.

The hash of a task takes some 400 bytes. So after a good run it expires after 15 minutes, which is enough for commands
that wait for the run. A good nightly run doesn't create the hash at all; its outcome is in the registry permanently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from redis import Redis, RedisError

from worker.domain.calls import Call, call_to_fields, calls_from_fields
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.stores.redis.connection import PrefixedKeys, escape_glob
from worker.stores.redis.locks import Locks

FAILURES_TTL_S: Final = 24 * 3600
TASK_TTL_S: Final = 90 * 24 * 3600
SUCCESS_TTL_S: Final = 15 * 60
LOST: Final = "lost/"
_OF_MANY: Final = frozenset({"history_loaded", "history", "inflight"})  # Each of these keys belongs to many accounts.
ACCOUNT_KINDS: Final = _OF_MANY | {"task", "failures", "starts", "secret", "text", "slot"}
# Accounts whose ids begin with the same three characters share a hash. An id begins with one of 22 letters, and goes
# on with characters from a set of 32. So there are 22 528 hashes; with a million accounts, each has 44 fields. By
# default Redis stores hashes compactly up to 128 fields (older versions: 512) of at most 64 bytes.
BUCKET_LETTERS: Final = 3
# KEYS: releve:inflight:nightly. ARGV: lifetime of a claim in µs (900000000), then members (k9x4w:daily …).
# Returns the claim of each member as text (1721890000123456); empty for a member that is claimed already.
_CLAIM = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
local claims = {}
for place = 2, #ARGV do
  -- Lua would write a large number as 1.72189e+15.
  local claim = string.format('%.0f', now + place)
  claims[place - 1] = redis.call('ZADD', KEYS[1], 'NX', claim, ARGV[place]) == 1 and claim or ''
end
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[1] / 1000) + 60000)
return claims
"""
# Only the holder may release a claim.
# KEYS: releve:inflight:nightly. ARGV: pairs of member (k9x4w:daily) and claim (1721890000123456).
_RELEASE = """
local released = 0
for place = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[place])) == tonumber(ARGV[place + 1]) then
    released = released + redis.call('ZREM', KEYS[1], ARGV[place])
  end
end
return released
"""
# KEYS: releve:starts:<step>. ARGV: a process (host-17-a1b2c3/17), the seconds for which a start counts, the limit of
# starts. Returns the processes that had begun the step and not ended it. If there are fewer than the limit, the start
# of the process is recorded.
_BEGIN = """
local now = redis.call('TIME')[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local begun = redis.call('ZRANGE', KEYS[1], 0, -1)
if #begun < tonumber(ARGV[3]) then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return begun
"""


class ClaimStore(PrefixedKeys):
    """Claims on windows and counts of failed windows in Redis.

    ``lane`` is a queue. ``members`` are texts that name an account and a series (``member_of``).
    """

    def slot(self, name: str, ttl_s: float) -> bool:
        """Return True only to the first caller within ``ttl_s``, so that a scheduled task runs only once."""
        return bool(self._redis.set(self._key("slot", name), "1", nx=True, px=max(1, round(ttl_s * 1000))))

    def claim_windows(self, lane: str, members: Sequence[str], ttl_s: int) -> list[str]:
        """Claim each member; return the claims in the order of ``members``.

        A member that was claimed already gets an empty text.
        """
        if not members:
            return []
        return list(self._run(_CLAIM, self._claims_key(lane), ttl_s * 1_000_000, *members))

    def release_claims(self, lane: str, claims: Mapping[str, str]) -> int:
        """Release these claims (``claims``: the claim of each member) and return how many were released.

        A newer claim on the same member stays.
        """
        args = [text for pair in claims.items() for text in pair]
        return int(self._run(_RELEASE, self._claims_key(lane), *args)) if args else 0

    def claim_of(self, lane: str, member: str) -> str | None:
        """Return the present claim on a member; None if there is none."""
        score = self._redis.zscore(self._claims_key(lane), member)
        return None if score is None else f"{score:.0f}"

    def claims_in(self, lane: str, ttl_s: int, *, older_than_s: float = 0.0) -> dict[str, str]:
        """Return the claims of a lane, by member, that are at least ``older_than_s`` and at most ``ttl_s`` old."""
        seconds, microseconds = self._redis.time()
        now = int(seconds) * 1_000_000 + int(microseconds)
        oldest, newest = now - ttl_s * 1_000_000, now - int(older_than_s * 1e6)
        # A claim that was just made may have a score a little above ``now``, so without ``older_than_s`` there is no
        # upper limit.
        last: Any = newest if older_than_s else "+inf"
        rows: Any = self._redis.zrange(self._claims_key(lane), oldest, last, byscore=True, withscores=True)
        return {member: f"{score:.0f}" for member, score in rows}

    # -- Steps that have begun

    def begin_step(self, step: str, process: str, counted_s: int, most: int) -> list[str]:
        """Return the processes that began a step in the last ``counted_s`` seconds and didn't end it.

        If there are fewer than ``most`` such processes, record that this process begins the step.
        """
        return list(self._run(_BEGIN, self._key("starts", step), process, counted_s, most))

    def mark_lost(self, step: str, worker: str) -> None:
        """Record that a child process of ``worker`` died during a step; the worker itself still counts as alive."""
        key = self._key("starts", step)
        starts: Any = self._redis.zrange(key, 0, -1, withscores=True)
        for process, began_at in starts:
            if process.startswith(f"{worker}/"):
                self._redis.zadd(key, {f"{LOST}{process}": began_at})
                self._redis.zrem(key, process)

    def end_step(self, step: str) -> None:
        """Forget all starts of a step, because the step has ended."""
        self._redis.delete(self._key("starts", step))

    # -- Failed windows of a history

    def count_failure(self, account_id: str, series: Series, window: DateWindow) -> None:
        """Count a failure of a window. All counts of the series expire a day after its last failure."""
        key = self._key("failures", account_id, series)
        with self._redis.pipeline() as pipe:
            pipe.hincrby(key, str(window), 1)
            pipe.expire(key, FAILURES_TTL_S)
            pipe.execute()

    def failures(self, account_id: str, series: Series) -> dict[DateWindow, int]:
        """Return how often each window of the history failed; empty a day after the last failure."""
        counts: Any = self._redis.hgetall(self._key("failures", account_id, series))
        return {DateWindow.parse(window): int(count) for window, count in counts.items()}

    def _forget_claims(self, account_id: str) -> int:
        members = [member_of(account_id, series) for series in Series]
        pages = self._scan("inflight:*")
        return sum(int(self._redis.zrem(key, *members)) for page in pages for key in page)

    def _claims_key(self, lane: str) -> str:
        return self._key("inflight", lane)


def member_of(account_id: str, series: str) -> str:
    """Return the text that stands for an account's series among the claims."""
    return f"{account_id}:{series}"


def series_of_member(member: str) -> str:
    return member.rpartition(":")[2]


class ProgressStore(ClaimStore, Locks):
    """The progress of all accounts in Redis. ``series`` is a Series or its text value."""

    # -- The last run of a series

    def record_task(self, account_id: str, series: str, **fields: str) -> None:
        """Set these fields of the series' state and keep its other fields; all expire 90 days after the last call."""
        self._record(account_id, series, fields, TASK_TTL_S)

    def note_loaded(self, account_id: str, series: str, *, loaded: bool) -> None:
        """Record whether the whole history of a series is loaded, as the registry says."""
        _set_flag(self._redis, self._loaded_key(account_id, series), account_id, loaded)

    def forget_loaded(self, histories: Collection[tuple[str, Series]]) -> None:
        """Delete the flags that say that these histories are loaded.

        If Redis fails, no error is raised; the next claim then corrects the flags.
        """
        with suppress(RedisError), self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in histories:
                pipe.hdel(self._loaded_key(account_id, series), account_id)
            pipe.execute()

    def record_success(
        self, account_id: str, series: str, call: Call, loaded: bool, *, brief: bool = False, **fields: str
    ) -> None:
        """Write ``fields`` and the answer of a good run to the series' state.

        The answers of earlier failures that this run resolves (``_makes_good``) are deleted. The state expires after
        15 minutes; if a failure is left, after 90 days. If two runs end at the same time, a resolved failure may stay
        until the next run.

        ``loaded``: whether the whole history of the series is loaded; this is recorded in any case. ``brief``: don't
        create a state, but update an existing one, which may say that the series failed.
        """
        key = self._key("task", account_id, series)
        with self._redis.pipeline(transaction=False) as pipe:
            _set_flag(pipe, self._loaded_key(account_id, series), account_id, loaded)
            pipe.hgetall(key)
            state: dict[str, str] = pipe.execute()[-1]
        if brief and not state:
            return
        failures = [earlier for earlier in calls_from_fields(state) if not earlier.answer.is_answer]
        left = [failure for failure in failures if not _makes_good(call, failure)]
        names = [name for failure in failures if failure not in left for name in call_to_fields(failure)]
        self._record(
            account_id, series, {**fields, **call_to_fields(call)}, TASK_TTL_S if left else SUCCESS_TTL_S, names
        )

    def task_state(self, account_id: str, series: str) -> dict[str, str]:
        """Return the fields of the last run's state; empty if no state is stored."""
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
        """Store a text that the caller has encrypted, because Redis doesn't protect secrets."""
        self._redis.set(self._key("secret", name), sealed_text, ex=ttl_s)

    def get_secret(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("secret", name)))

    def put_text(self, name: str, text: str, ttl_s: int) -> None:
        """Store a text that all workers can read, for ``ttl_s`` seconds."""
        self._redis.set(self._key("text", name), text, ex=ttl_s)

    def get_text(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("text", name)))

    # -- The end of an account

    def forget(self, account_id: str) -> int:
        """Delete all keys and fields of the account, and return their number. The call scans all keys.

        Locks are left to expire, because the process that removes the account may hold one of them.
        """
        pattern = f"*:{escape_glob(account_id)}*"
        return (
            self._forget_histories(account_id)
            + self._forget_claims(account_id)
            + sum(
                int(self._redis.unlink(*keys))
                for page in self._scan(pattern)
                if (keys := [key for key in page if self._names(key, account_id)])
            )
        )

    def forget_all(self) -> int:
        """Delete the keys of all accounts, and return their number. The call scans all keys; locks expire later."""
        return self._unlink_kinds(ACCOUNT_KINDS)

    def _forget_histories(self, account_id: str) -> int:
        keys = [self._loaded_key(account_id, series) for series in Series]
        keys += [self._key("history", series, account_id[:BUCKET_LETTERS]) for series in Series]
        return sum(int(self._redis.hdel(key, account_id)) for key in keys)

    def _loaded_key(self, account_id: str, series: str) -> str:
        return self._key("history_loaded", series, account_id[:BUCKET_LETTERS])

    def _names(self, key: str, account_id: str) -> bool:
        kind, *parts = key.removeprefix(self._prefix).split(":")
        # Keys of other kinds don't belong to one account, but a part of their name may equal a short account id.
        return kind in ACCOUNT_KINDS - _OF_MANY and account_id in parts


def _set_flag(redis: Redis, bucket: str, account_id: str, is_set: bool) -> None:
    if is_set:
        redis.hset(bucket, account_id, "1")
    else:
        redis.hdel(bucket, account_id)


def _to_text(answer: Any) -> str | None:
    return None if answer is None else str(answer)


def _makes_good(call: Call, failure: Call) -> bool:
    """Return whether a good call resolves an earlier failure.

    If both belong to the same kind of run, the call's window must overlap the failed window and must not end before
    it. Otherwise the call's window must cover the whole failed window.
    """
    same_run = call.run == failure.run and call.window.start < failure.window.end <= call.window.end
    return same_run or (call.window.start <= failure.window.start and failure.window.end <= call.window.end)
