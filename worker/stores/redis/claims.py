"""Work that is published and not yet done, and how often it was tried.

Messages get lost and doubled (design, 3): a claim keeps work from being enqueued twice, its expiry lets a
reconciler enqueue again what was lost, and the count ends what fails time after time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from redis import Redis

from worker.domain.measures.readings import DateWindow
from worker.stores.redis.connection import PrefixedKeys, redis_errors, send

_HOWEVER_HELD: Final = "w?([%d.]+)"  # patterns of Lua for a note's moment
_UNDER_WAY: Final = "^[%d.]+"
ATTEMPTS_TTL_S: Final = 2 * 24 * 3600

_CLAIM = """
local time = redis.call('TIME')
local note = string.format('%d.%06d %s', time[1], time[2], ARGV[2])
return redis.call('SET', KEYS[1], note, 'NX', 'EX', ARGV[1]) and 1 or 0
"""

# KEYS: the claim, the attempts.  ARGV: seconds a claim lives, holder, what a try costs, the most they may, seconds the
# count lives.
_CLAIM_A_TRY = """
local time = redis.call('TIME')
local note = string.format('%d.%06d %s', time[1], time[2], ARGV[2])
if not redis.call('SET', KEYS[1], note, 'NX', 'EX', ARGV[1]) then return 0 end
local cost = redis.call('INCRBY', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[5])
if cost <= tonumber(ARGV[4]) then return 1 end
redis.call('DEL', KEYS[1])
return 0
"""

# Only its holder lets go of a claim, or holds it longer (ARGV[2] seconds): the end of an earlier window, told by
# a message that came twice, must not free the next one's.  What is held on purpose, with no message anywhere, gets
# the mark "w" (for -1 seconds the time it lives stays), so that it is not taken for lost.
_AS_HOLDER = """
local note = redis.call('GET', KEYS[1])
if not note or string.match(note, ' (.*)') ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
if string.sub(note, 1, 1) ~= 'w' then redis.call('SET', KEYS[1], 'w' .. note, 'KEEPTTL') end
if ARGV[2] == '-1' then return 1 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

_LET_GO = """
local gone = 0
for _, key in ipairs(KEYS) do
  if string.sub(redis.call('GET', key) or '', 1, 1) == 'w' then gone = gone + redis.call('DEL', key) end
end
return gone
"""

_DROP_OLDER = """
local time = redis.call('TIME')
local latest = time[1] + time[2] / 1000000 - ARGV[1]
local dropped = 0
for rank, key in ipairs(KEYS) do
  local note, seen = redis.call('GET', key), ARGV[2 + rank]
  local published = note and (not seen or note == seen) and tonumber(string.match(note, ARGV[2]))
  if published and published <= latest then dropped = dropped + redis.call('DEL', key) end
end
return dropped
"""


class Try(NamedTuple):
    """A window that ``holder`` (a run id) wants to publish as ``what``."""

    account_id: str
    series: str
    what: str
    window: DateWindow
    holder: str


def holder_of(note: str) -> str:
    """``1721890000.123456 20240725T070000.000001``, with a ``w`` in front where it is held on purpose."""
    return note.partition(" ")[2]


class Claims(PrefixedKeys):
    """Every method raises StoreUnavailable.  ``what`` names the work: a window, a run, a backfill."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._claim = redis.register_script(_CLAIM)
        self._claim_a_try = redis.register_script(_CLAIM_A_TRY)
        self._as_holder = redis.register_script(_AS_HOLDER)
        self._drop_older = redis.register_script(_DROP_OLDER)
        self._let_go = redis.register_script(_LET_GO)

    @redis_errors()
    def claim(self, account_id: str, series: str, what: str, ttl_s: int, *, holder: str = "") -> bool:
        """Note that ``what`` is published; false where it is already, so that nothing is enqueued twice.

        ``holder`` (a run id) is who alone may release or extend it.
        """
        return bool(self._claim(keys=[self._key("inflight", account_id, series, what)], args=[ttl_s, holder]))

    @redis_errors()
    def claim_tries(self, tries: Sequence[Try], ttl_s: int, *, run: str, times: int, most: int) -> list[bool]:
        """``claim`` and ``count_attempt`` of each in one go, all in one packet; which are claimed, in their order.

        Nothing stays claimed of what was tried too often in ``run``.
        """
        with self._redis.pipeline(transaction=False) as packet:
            for each in tries:
                claim = self._key("inflight", each.account_id, each.series, each.what)
                keys = [claim, self._attempts_key(each.account_id, each.series, each.window, run)]
                told = (ttl_s, each.holder, times, most, ATTEMPTS_TTL_S)
                self._claim_a_try(keys=keys, args=[*told], client=packet)
            return [bool(claimed) for claimed in send(packet)]

    @redis_errors()
    def extend(self, account_id: str, series: str, what: str, ttl_s: int, *, holder: str = "") -> bool:
        """Let a claim live ``ttl_s`` from now; false where it is gone or another's.  Its time of publishing stays."""
        return bool(self._as_holder(keys=[self._key("inflight", account_id, series, what)], args=[holder, ttl_s]))

    @redis_errors()
    def keep(self, account_id: str, series: str, what: str, *, holder: str = "") -> None:
        """Let a claim live on until it expires, though nothing is under way: nobody shall try before."""
        self._as_holder(keys=[self._key("inflight", account_id, series, what)], args=[holder, -1])

    @redis_errors()
    def release(self, account_id: str, series: str, what: str, *, holder: str = "") -> None:
        """The work is over, or was never sent; nothing happens to another holder's claim."""
        keys = [self._key("inflight", account_id, series, what)]
        self._as_holder(keys=keys, args=[holder, 0], client=self._redis)

    @redis_errors()
    def let_go(self, claims: Sequence[tuple[str, str, str]]) -> int:
        """Of these claims (account, series, what) forget those held on purpose: what they waited for has come."""
        return int(self._let_go(keys=[self._key("inflight", *claim) for claim in claims]))

    def is_claimed(self, account_id: str, series: str, what: str) -> bool:
        return self.claimed_flags([account_id], series, what)[0]

    @redis_errors()
    def claimed_flags(self, account_ids: Sequence[str], series: str, what: str) -> list[bool]:
        """``is_claimed`` of a page of accounts, in their order, in one round trip."""
        if not account_ids:
            return []
        keys = [self._key("inflight", account_id, series, what) for account_id in account_ids]
        return [answer is not None for answer in self._redis.mget(keys)]

    @redis_errors()
    def drop_claims_older_than(self, age_s: float) -> int:
        """Forget claims published at least ``age_s`` ago, extended or not; how many there were.

        Walks all keys: for repairs, not for every minute (claims expire by themselves).
        """
        pages = self._scan("inflight:*")
        return sum(int(self._drop_older(keys=page, args=[age_s, _HOWEVER_HELD])) for page in pages)

    @redis_errors()
    def drop_lost(self, claims: Sequence[tuple[str, str, str]], age_s: float, in_flight: Collection[str]) -> int:
        """Of these claims (account, series, what) forget those whose holder is no run ``in_flight``, published
        at least ``age_s`` ago and not held on purpose; how many.
        """
        keys = [self._key("inflight", *claim) for claim in claims]
        notes: list[Any] = self._redis.mget(keys) if keys else []
        lost = {key: note for key, note in zip(keys, notes, strict=True) if note and holder_of(note) not in in_flight}
        return int(self._drop_older(keys=[*lost], args=[age_s, _UNDER_WAY, *lost.values()])) if lost else 0

    @redis_errors()
    def attempts(self, account_id: str, series: str, window: DateWindow, *, run: str) -> int:
        """How often ``window`` was tried in ``run``."""
        return int(self._redis.get(self._attempts_key(account_id, series, window, run)) or 0)

    @redis_errors()
    def count_attempt(self, account_id: str, series: str, window: DateWindow, *, run: str, times: int = 1) -> int:
        """Which try of ``window`` in ``run`` this is: 1 for the first.  Forgotten two days after the last.

        ``times`` counts several at once, to end what asking again can't cure.
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
