"""Claims on published work, and counts of attempts.

The broker may lose a message or deliver it twice.  A claim keeps work from being published a second time; its expiry
lets lost work be published again; the count of attempts ends what fails every time.

    releve:inflight:k9x4w:daily:nightly         1721890000.123456 20240725T070000.000001
    releve:inflight:k9x4w:account:backfill      w1721890000.123456 20240725T070000.000001
    releve:attempts:k9x4w:daily:2024-07-25:2024-07-20/2024-07-25   4

A claim's text is the time of publishing (seconds, the server's clock) and the holder, a run id.  A ``w`` in front marks
a hold: the claim is kept on purpose, without a message in the broker.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from redis import Redis

from worker.domain.measures.readings import DateWindow
from worker.stores.redis.connection import PrefixedKeys, execute_batch, redis_errors

# Lua patterns for the time in a claim's text, holds included or not.
_WITH_HOLDS: Final = "w?([%d.]+)"
_WITHOUT_HOLDS: Final = "^[%d.]+"
ATTEMPTS_TTL_S: Final = 2 * 24 * 3600

# KEYS: the claim (releve:inflight:k9x4w:daily:nightly).  ARGV: its seconds to live (3600), holder.
_CLAIM = """
local time = redis.call('TIME')
local note = string.format('%d.%06d %s', time[1], time[2], ARGV[2])
return redis.call('SET', KEYS[1], note, 'NX', 'EX', ARGV[1]) and 1 or 0
"""

# KEYS: the claim, the attempts (releve:attempts:k9x4w:daily:2024-07-25:2024-07-20/2024-07-25).
# ARGV: seconds the claim lives (3600), holder, cost of an attempt (4), highest cost (8), seconds the count lives
# (172800).
_CLAIM_AND_COUNT = """
local time = redis.call('TIME')
local note = string.format('%d.%06d %s', time[1], time[2], ARGV[2])
if not redis.call('SET', KEYS[1], note, 'NX', 'EX', ARGV[1]) then return 0 end
local cost = redis.call('INCRBY', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[5])
if cost <= tonumber(ARGV[4]) then return 1 end
redis.call('DEL', KEYS[1])
return 0
"""

# Only the holder may change a claim: a message delivered twice must not release the claim of the next window.
# KEYS: the claim.  ARGV: holder; seconds it lives from now on (3600), 0 to delete it, -1 to leave its expiry as it is.
_CHANGE_AS_HOLDER = """
local note = redis.call('GET', KEYS[1])
if not note or string.match(note, ' (.*)') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
-- A hold has no message in the broker; without the mark it would be dropped as lost.
if string.sub(note, 1, 1) ~= 'w' then redis.call('SET', KEYS[1], 'w' .. note, 'KEEPTTL') end
if ARGV[2] == '-1' then return 1 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

# KEYS: claims (releve:inflight:k9x4w:daily:nightly …).
_CLEAR_HOLDS = """
local cleared = 0
for _, key in ipairs(KEYS) do
  if string.sub(redis.call('GET', key) or '', 1, 1) == 'w' then cleared = cleared + redis.call('DEL', key) end
end
return cleared
"""

# KEYS: claims.  ARGV: lowest age in seconds (900), pattern of the time (one of the two above), then for each claim the
# text that was read before, or nothing: a claim that was replaced meanwhile stays.
_DROP_OLDER = """
local time = redis.call('TIME')
local latest = time[1] + time[2] / 1000000 - ARGV[1]
local dropped = 0
for rank, key in ipairs(KEYS) do
  local note, expected = redis.call('GET', key), ARGV[2 + rank]
  local published = note and (not expected or note == expected) and tonumber(string.match(note, ARGV[2]))
  if published and published <= latest then dropped = dropped + redis.call('DEL', key) end
end
return dropped
"""


class ClaimRequest(NamedTuple):
    """A window that ``holder`` (a run id) wants to publish; ``work`` is the last part of the claim's key."""

    account_id: str
    series: str
    work: str
    window: DateWindow
    holder: str


def holder_of(note: str) -> str:
    """Return the run id in a claim's text."""
    return note.partition(" ")[2]


class Claims(PrefixedKeys):
    """Claims and attempts in Redis; every method raises StoreUnavailable.

    ``work`` names what is claimed of an account and series: a window, a run, a backfill.  ``holder`` is a run id.
    """

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._claim_script = redis.register_script(_CLAIM)
        self._claim_and_count_script = redis.register_script(_CLAIM_AND_COUNT)
        self._change_script = redis.register_script(_CHANGE_AS_HOLDER)
        self._drop_older_script = redis.register_script(_DROP_OLDER)
        self._clear_holds_script = redis.register_script(_CLEAR_HOLDS)

    @redis_errors()
    def claim(self, account_id: str, series: str, work: str, ttl_s: int, *, holder: str = "") -> bool:
        """Claim ``work`` and return true, or return false where it is claimed already.

        Only ``holder`` can release or extend the claim.
        """
        return bool(self._claim_script(keys=[self._key("inflight", account_id, series, work)], args=[ttl_s, holder]))

    @redis_errors()
    def claim_windows(
        self, requests: Sequence[ClaimRequest], ttl_s: int, *, run: str, times: int, limit: int
    ) -> list[bool]:
        """Claim each window and count an attempt that costs ``times``; return which are claimed, in their order.

        A window whose attempts in ``run`` would cost more than ``limit`` is not claimed.  All go in one pipeline.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for request in requests:
                claim = self._key("inflight", request.account_id, request.series, request.work)
                keys = [claim, self._attempts_key(request.account_id, request.series, request.window, run)]
                args: list[Any] = [ttl_s, request.holder, times, limit, ATTEMPTS_TTL_S]
                self._claim_and_count_script(keys=keys, args=args, client=pipe)
            return [bool(claimed) for claimed in execute_batch(pipe)]

    @redis_errors()
    def extend_claim(self, account_id: str, series: str, work: str, ttl_s: int, *, holder: str = "") -> bool:
        """Hold a claim for ``ttl_s`` from now on; its time of publishing stays.

        Returns false where it is gone or another's.
        """
        return bool(self._change_script(keys=[self._key("inflight", account_id, series, work)], args=[holder, ttl_s]))

    @redis_errors()
    def hold_claim(self, account_id: str, series: str, work: str, *, holder: str = "") -> None:
        """Hold a claim until it expires, without work in progress, so that nobody tries again before."""
        self._change_script(keys=[self._key("inflight", account_id, series, work)], args=[holder, -1])

    @redis_errors()
    def release_claim(self, account_id: str, series: str, work: str, *, holder: str = "") -> None:
        """Delete the claim of work that is done or was never sent; another holder's claim stays."""
        keys = [self._key("inflight", account_id, series, work)]
        self._change_script(keys=keys, args=[holder, 0], client=self._redis)

    @redis_errors()
    def clear_holds(self, claims: Sequence[tuple[str, str, str]]) -> int:
        """Delete those of the claims (account, series, work) that are holds, and return their number."""
        return int(self._clear_holds_script(keys=[self._key("inflight", *claim) for claim in claims]))

    def is_claimed(self, account_id: str, series: str, work: str) -> bool:
        return self.claimed_flags([account_id], series, work)[0]

    @redis_errors()
    def claimed_flags(self, account_ids: Sequence[str], series: str, work: str) -> list[bool]:
        """Return ``is_claimed`` of each account, in their order, in one round trip."""
        if not account_ids:
            return []
        keys = [self._key("inflight", account_id, series, work) for account_id in account_ids]
        return [answer is not None for answer in self._redis.mget(keys)]

    @redis_errors()
    def drop_claims_older_than(self, age_s: float) -> int:
        """Delete claims published at least ``age_s`` ago, holds included, and return their number.

        Scans all keys: meant for repairs, not for every minute, because claims expire by themselves.
        """
        pages = self._scan("inflight:*")
        return sum(int(self._drop_older_script(keys=page, args=[age_s, _WITH_HOLDS])) for page in pages)

    @redis_errors()
    def drop_lost_claims(
        self, claims: Sequence[tuple[str, str, str]], age_s: float, live_run_ids: Collection[str]
    ) -> int:
        """Delete those of the claims (account, series, work) whose message is lost, and return their number.

        A message is lost where its run id is not among ``live_run_ids`` and the claim was published at least ``age_s``
        ago.  Holds stay.
        """
        keys = [self._key("inflight", *claim) for claim in claims]
        notes: list[Any] = self._redis.mget(keys) if keys else []
        lost = {
            key: note for key, note in zip(keys, notes, strict=True) if note and holder_of(note) not in live_run_ids
        }
        args = [age_s, _WITHOUT_HOLDS, *lost.values()]
        return int(self._drop_older_script(keys=[*lost], args=args)) if lost else 0

    @redis_errors()
    def attempts(self, account_id: str, series: str, window: DateWindow, *, run: str) -> int:
        """Return the cost of the attempts at ``window`` in ``run``."""
        return int(self._redis.get(self._attempts_key(account_id, series, window, run)) or 0)

    @redis_errors()
    def count_attempt(self, account_id: str, series: str, window: DateWindow, *, run: str, times: int = 1) -> int:
        """Count an attempt at ``window`` in ``run`` and return the new count, 1 for the first.

        ``times`` counts several at once, to end early what a retry can't cure.  The count expires two days after the
        last attempt.
        """
        key = self._attempts_key(account_id, series, window, run)
        with self._redis.pipeline() as pipe:
            pipe.incrby(key, times)
            pipe.expire(key, ATTEMPTS_TTL_S)
            return int(pipe.execute()[0])

    @redis_errors()
    def clear_attempts(self, account_id: str, series: str, window: DateWindow, *, run: str) -> None:
        self._redis.delete(self._attempts_key(account_id, series, window, run))

    def _attempts_key(self, account_id: str, series: str, window: DateWindow, run: str) -> str:
        return self._key("attempts", account_id, series, run, str(window))
