"""Progress in Redis: finished windows, states of runs, claims, attempts, cursors and secrets.

Everything here may be lost; a lost key repeats work.  All keys have one prefix (``releve:``) and plain text values:

    days:<series>:<letters>               hash: account to its finished days and its last night (``series_progress``)
    history:<account>:<series>            set: the finished windows, where there are several (``series_progress``)
    task:<account>:<series>               hash: the state of the last run (``task_progress``)
    inflight:<account>:<series>:<work>    a claim, and attempts:<account>:<series>:<run>:<window> (``claims``)
    secret:<name>                         an encrypted text
    cursor:<name>                         the place in a scan over the accounts, such as k9x4w
    lock:<name>, lease:<name>, slot:<name>   ``locks``
    parked:<queue>                        ``broker``
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, NamedTuple

from redis import Redis

from worker.domain.measures.messages import NIGHTLY
from worker.stores.redis.broker import ParkedMessages
from worker.stores.redis.claims import Claims, holder_of
from worker.stores.redis.connection import escape_glob, redis_errors
from worker.stores.redis.locks import Locks
from worker.stores.redis.series_progress import parse_night
from worker.stores.redis.task_progress import TaskProgressStore

ACCOUNT_KINDS: Final = frozenset(
    {"days", "history", "history_loaded", "task", "inflight", "attempts", "secret", "cursor", "slot"}
)

# Compare-and-set: of two tasks that scan the same accounts, the slower one must not move the cursor back.
# KEYS: releve:cursor:nightly.  ARGV: expected text (k9x4w, empty for none), new text, seconds to live (172800).
# Returns the text that the cursor has then.
_MOVE_CURSOR = """
local current = redis.call('GET', KEYS[1]) or ''
if current ~= ARGV[1] then return current end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
"""


class LookBackState(NamedTuple):
    """The facts that decide whether a look-back that waited is still to be asked for.

    ``newest``: the latest night that has begun.  ``served``: the last night for which this series was asked.
    ``holder``: the run id of the claim.
    """

    newest: date | None
    served: date | None
    holder: str | None


class ProgressStore(TaskProgressStore, Locks, Claims, ParkedMessages):
    """The progress of all accounts in Redis; every method raises StoreUnavailable.

    ``series`` is a Series or its value.
    """

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._move_script = redis.register_script(_MOVE_CURSOR)

    # -- Texts shared by all workers

    @redis_errors()
    def put_secret(self, name: str, sealed_text: str, ttl_s: int) -> None:
        """Store a text that the caller has encrypted: Redis protects no secrets."""
        self._redis.set(self._key("secret", name), sealed_text, ex=ttl_s)

    @redis_errors()
    def get_secret(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("secret", name)))

    @redis_errors()
    def put_cursor(self, name: str, text: str, ttl_s: int) -> None:
        """Store the place that a scan over the accounts has reached."""
        self._redis.set(self._key("cursor", name), text, ex=ttl_s)

    @redis_errors()
    def get_cursor(self, name: str) -> str | None:
        return _to_text(self._redis.get(self._key("cursor", name)))

    @redis_errors()
    def move_cursor(self, name: str, expected: str | None, text: str, ttl_s: int) -> str | None:
        """Move the cursor from ``expected`` (None for no cursor) to ``text`` and return where it stands then.

        It stands elsewhere where another task scans the same accounts and has moved it.
        """
        return str(self._move_script(keys=[self._key("cursor", name)], args=[expected or "", text, ttl_s])) or None

    # -- Nights

    def newest_night(self) -> date | None:
        """Return the latest night that has begun, or None where Redis was emptied."""
        return _to_date(self.get_cursor(NIGHTLY))

    @redis_errors()
    def load_look_back_state(self, account_id: str, series: str) -> LookBackState:
        """Return the facts for one series, read in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(self._key("inflight", account_id, series, NIGHTLY))
            pipe.hget(self._keys(account_id, series)[0], account_id)
            pipe.get(self._key("cursor", NIGHTLY))
            claim, text, newest = pipe.execute()
        last = parse_night(series, text or "")
        return LookBackState(_to_date(newest), last.night if last else None, holder_of(claim) if claim else None)

    # -- The end of an account

    @redis_errors()
    def forget(self, account_id: str) -> int:
        """Delete every key that names the account and return their number; scans all keys.

        Locks are left to expire, because the process that removes the account may hold one.
        """
        pattern = f"*:{escape_glob(account_id)}*"
        return self._forget_days(account_id) + sum(
            int(self._redis.unlink(*keys))
            for page in self._scan(pattern)
            if (keys := [key for key in page if self._names(key, account_id)])
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
        # A ``days`` hash belongs to many accounts, and its name ends with letters that may equal a short account id.
        return kind in ACCOUNT_KINDS - {"days"} and account_id in parts


def _to_date(answer: Any) -> date | None:
    return date.fromisoformat(answer) if answer else None


def _to_text(answer: Any) -> str | None:
    return None if answer is None else str(answer)
