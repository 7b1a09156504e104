"""The state of the last run of a series in Redis: a hash ``task:<account>:<series>`` while it is needed.

    state ok, window 2024-06-25/2024-07-25, error "", last_run daily/nightly:2024-07-25,
    answer:data:nightly 2024-07-25T04:12:09+00:00 2024-06-25/2024-07-25

A hash takes some 400 bytes.  So the hash of a good run lasts for 15 minutes, in which waiting commands read it, and a
good night makes none.  The outcomes in the registry and the record of the night (``series_progress``) last, and
``task_states`` makes the same fields of the latter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import Redis

from worker.domain.fleet.outcomes import Call, call_to_fields
from worker.domain.measures.messages import NIGHTLY
from worker.stores.redis.connection import redis_errors
from worker.stores.redis.series_progress import LastNight, SeriesProgressStore

TASK_TTL_S: Final = 90 * 24 * 3600
SUCCESS_TTL_S: Final = 15 * 60

# The script deletes the answer of an earlier failure that this run makes good: a later one of the same run, or one
# about the same days.  Where other failures are left, the hash lives as long as theirs.
# KEYS: releve:task:k9x4w:daily.
# ARGV: 1 to update an existing hash only, else 0; seconds to live if all is well (900), seconds if not (7776000); kind
# of run (nightly), first day of the window (2024-06-25), day after the last (2024-07-25); then fields and values.
_RECORD_SUCCESS = """
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local well = {data = true, no_data = true, before_history = true}
local fields, still_wrong = redis.call('HGETALL', KEYS[1]), false
for place = 1, #fields, 2 do
  local answer, run = string.match(fields[place], '^answer:([^:]+):(.*)$')
  if answer and not well[answer] then
    local start, stop = string.match(fields[place + 1], ' (.*)/(.*)')
    local later = run == ARGV[4] and stop > ARGV[5] and stop <= ARGV[6]
    if later or (start >= ARGV[5] and stop <= ARGV[6]) then
      redis.call('HDEL', KEYS[1], fields[place])
    else
      still_wrong = true
    end
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 7))
redis.call('EXPIRE', KEYS[1], still_wrong and ARGV[3] or ARGV[2])
return 1
"""


class TaskProgressStore(SeriesProgressStore):
    """The states of the last runs; every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._success_script = redis.register_script(_RECORD_SUCCESS)

    @redis_errors()
    def record_task(self, account_id: str, series: str, **fields: str) -> None:
        """Set these fields of the state and keep the others; all expire 90 days after the last call."""
        if fields:
            key = self._key("task", account_id, series)
            mapping: dict[Any, Any] = {**fields}
            with self._redis.pipeline() as pipe:
                pipe.hset(key, mapping=mapping)
                pipe.expire(key, TASK_TTL_S)
                pipe.execute()

    @redis_errors()
    def record_success(self, account_id: str, series: str, call: Call, *, brief: bool = False, **fields: str) -> None:
        """Set these fields and the answer of a good run; they expire soon where no other failure is recorded.

        ``brief``: only update a state that exists, so that it no longer says that the series failed.
        """
        pairs = [text for pair in {**fields, **call_to_fields(call)}.items() for text in pair]
        window = call.window.start.isoformat(), call.window.end.isoformat()
        args = ["1" if brief else "0", SUCCESS_TTL_S, TASK_TTL_S, call.run, *window, *pairs]
        self._success_script(keys=[self._key("task", account_id, series)], args=args, client=self._redis)

    def task_state(self, account_id: str, series: str) -> dict[str, str]:
        """Return the fields of the last run's state; empty where there are none."""
        return self.task_states([(account_id, series)])[0]

    @redis_errors()
    def task_states(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        """Return ``task_state`` of a page of (account, series), in their order, in two round trips."""
        with self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in pairs:
                pipe.hgetall(self._key("task", account_id, series))
            hashes = pipe.execute()
        nights = self.last_nights(pairs)
        rows = zip(pairs, hashes, nights, strict=True)
        return [_with_night(series, fields, night) for (_, series), fields, night in rows]


def _with_night(series: str, fields: Mapping[str, str], last: LastNight | None) -> dict[str, str]:
    """Return the fields, completed with those that the hash of a good last night would have."""
    if last is None:
        return dict(fields)
    run = f"{NIGHTLY}:{last.night.isoformat()}"
    state = {"state": "ok", "window": str(last.call.window), "error": "", "last_run": f"{series}/{run}"}
    return {**call_to_fields(last.call), **({} if fields else state), **fields, f"last_{NIGHTLY}": run}
