"""Claims on windows in flight, one sorted set for each lane, and on ticks.  The claims of a lane are its backlog.

A claim keeps a window from being published a second time; its expiry lets lost work be published again.

    releve:inflight:nightly    sorted set: k9x4w:daily 1721890000123456, k9x4w:load_curve 1721890000123457
    releve:slot:resume_night:28698123  1, the tick is taken
    releve:failures:k9x4w:load_curve   hash: 2024-07-11/2024-07-18 to 2, the failures of windows of the history

The score is the moment of the claim in µs by the server's clock, and no two claims of one script run are equal.  So the
score also tells the holder: a message that came twice can't release the claim of the next window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.stores.redis.connection import PrefixedKeys

FAILURES_TTL_S: Final = 24 * 3600
# KEYS: releve:inflight:nightly.  ARGV: µs that a claim lives (900000000), then members (k9x4w:daily …).
# Returns the claim of each member as text (1721890000123456), empty where it is claimed already.
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
# KEYS: releve:inflight:nightly.  ARGV: member (k9x4w:daily) and claim (1721890000123456), again and again.
_RELEASE = """
local released = 0
for place = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[place])) == tonumber(ARGV[place + 1]) then
    released = released + redis.call('ZREM', KEYS[1], ARGV[place])
  end
end
return released
"""


class ClaimStore(PrefixedKeys):
    """Claims and failures of windows in Redis; every method raises StoreUnavailable.

    ``lane`` is a queue.  Members are texts of account and series (``member_of``).
    """

    def slot(self, name: str, ttl_s: float) -> bool:
        """Return true to the first caller within ``ttl_s``; a scheduled task asks for its run date."""
        return bool(self._redis.set(self._key("slot", name), "1", nx=True, px=max(1, round(ttl_s * 1000))))

    def claim_windows(self, lane: str, members: Sequence[str], ttl_s: int) -> list[str]:
        """Claim each member and return the claims in their order, empty for those that are claimed already."""
        if not members:
            return []
        return list(self._run(_CLAIM, self._claims_key(lane), ttl_s * 1_000_000, *members))

    def release_claims(self, lane: str, claims: Mapping[str, str]) -> int:
        """Release claims, by member, that this caller holds, and return their number; others' claims stay."""
        args = [text for pair in claims.items() for text in pair]
        return int(self._run(_RELEASE, self._claims_key(lane), *args)) if args else 0

    def claim_of(self, lane: str, member: str) -> str | None:
        """Return the claim on a member, None where there is none."""
        score = self._redis.zscore(self._claims_key(lane), member)
        return None if score is None else f"{score:.0f}"

    def claims_in(self, lane: str, ttl_s: int, *, older_than_s: float = 0.0) -> dict[str, str]:
        """Return the claims of a lane that are between ``older_than_s`` and ``ttl_s`` old, by member."""
        seconds, microseconds = self._redis.time()
        now = int(seconds) * 1_000_000 + int(microseconds)
        oldest, newest = now - ttl_s * 1_000_000, now - int(older_than_s * 1e6)
        # A claim of this microsecond may carry a score that lies a little ahead.
        last: Any = newest if older_than_s else "+inf"
        rows: Any = self._redis.zrange(self._claims_key(lane), oldest, last, byscore=True, withscores=True)
        return {member: f"{score:.0f}" for member, score in rows}

    # -- Windows of the history that failed

    def count_failure(self, account_id: str, series: Series, window: DateWindow) -> None:
        """Count a failure of a window; counts expire a day after the last one, so that a new day begins with none."""
        key = self._key("failures", account_id, series)
        with self._redis.pipeline() as pipe:
            pipe.hincrby(key, str(window), 1)
            pipe.expire(key, FAILURES_TTL_S)
            pipe.execute()

    def failures(self, account_id: str, series: Series) -> dict[DateWindow, int]:
        """Return how often windows of the history have failed within a day."""
        counts: Any = self._redis.hgetall(self._key("failures", account_id, series))
        return {DateWindow.parse(window): int(count) for window, count in counts.items()}

    def _forget_claims(self, account_id: str) -> int:
        members = [member_of(account_id, series) for series in Series]
        pages = self._scan("inflight:*")
        return sum(int(self._redis.zrem(key, *members)) for page in pages for key in page)

    def _claims_key(self, lane: str) -> str:
        return self._key("inflight", lane)


def member_of(account_id: str, series: str) -> str:
    """Return the member that stands for an account's series."""
    return f"{account_id}:{series}"


def series_of_member(member: str) -> str:
    """Return the series in what ``member_of`` returned."""
    return member.rpartition(":")[2]
