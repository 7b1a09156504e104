"""What Relève remembers in Redis: finished windows, run state, claims, counts; nothing that can't be lost.

Plain keys under one prefix (``releve:``), which any Redis tool can read:

    days:<series>:<letters>               hash: by account the finished days and the last night (``series_notes``)
    history:<account>:<series>            set of finished windows, where they are several
    task:<account>:<series>               hash: the last run's state, where it is worth one (``task_notes``)
    inflight:<account>:<series>:<what>    server time at which the work was published
    attempts:<account>:<series>:<run>:<window>, secret:<name>, cursor:<name>, alive:<worker>, lock:, lease:,
    slot:
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, NamedTuple

from redis import Redis

from worker.domain.measures.messages import NIGHTLY
from worker.stores.redis.broker import ParkedMessages
from worker.stores.redis.claims import Claims, holder_of
from worker.stores.redis.connection import escape_glob, redis_errors
from worker.stores.redis.heartbeats import LivingWorkers
from worker.stores.redis.locks import Locks
from worker.stores.redis.series_progress import to_night
from worker.stores.redis.task_progress import TaskProgressStore

ACCOUNT_KINDS: Final = frozenset(
    {"days", "history", "history_loaded", "task", "inflight", "attempts", "secret", "cursor", "slot"}
)

# To move a cursor only from where we saw it (ARGV[1], empty for nowhere): two who walk the same way don't send each
# other back.  Gives where it stands then.
_MOVE_CURSOR = """
local seen = redis.call('GET', KEYS[1]) or ''
if seen ~= ARGV[1] then return seen end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
"""


class LookBackStanding(NamedTuple):
    """``newest``: the night that has begun last; ``served``: the last that this series was asked for; ``holder``: the
    run whose message has the claim.
    """

    newest: date | None
    served: date | None
    holder: str | None


class ProgressStore(TaskProgressStore, Locks, Claims, LivingWorkers, ParkedMessages):
    """Every method raises StoreUnavailable; losing any key costs a repeat, never data.

    ``series`` is a Series or its value.
    """

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._move_cursor = redis.register_script(_MOVE_CURSOR)

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

    @redis_errors()
    def move_cursor(self, name: str, seen: str | None, text: str, ttl_s: int) -> str | None:
        """Put the cursor from where it was ``seen`` (None: nowhere) to ``text``; where it stands then.

        Somewhere else where another walks the same way and has moved it.
        """
        return str(self._move_cursor(keys=[self._key("cursor", name)], args=[seen or "", text, ttl_s])) or None

    # -- nights

    def newest_night(self) -> date | None:
        """The night that has begun last; None where Redis forgot it."""
        return _to_date(self.get_cursor(NIGHTLY))

    @redis_errors()
    def look_back_standing(self, account_id: str, series: str) -> LookBackStanding:
        """What decides whether a look-back that waited is still to be asked for; in one packet."""
        with self._redis.pipeline(transaction=False) as packet:
            packet.get(self._key("inflight", account_id, series, NIGHTLY))
            packet.hget(self._keys(account_id, series)[0], account_id)
            packet.get(self._key("cursor", NIGHTLY))
            claim, noted, newest = packet.execute()
        told = to_night(series, noted or "")
        return LookBackStanding(_to_date(newest), told.night if told else None, holder_of(claim) if claim else None)

    # -- the end of an account

    @redis_errors()
    def forget(self, account_id: str) -> int:
        """Delete every key that names the account; how many there were.  Walks all keys.

        Its locks are left to expire: whoever removes the account may hold one of them.
        """
        pattern = f"*:{escape_glob(account_id)}*"
        return self._forget_days(account_id) + sum(
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
        return kind in ACCOUNT_KINDS - {"days"} and account_id in parts  # a hash of days is many accounts'


def _to_date(answer: Any) -> date | None:
    return date.fromisoformat(answer) if answer else None


def _to_text(answer: Any) -> str | None:
    return None if answer is None else str(answer)
