"""The state of the last run of a series: in full where it went wrong or somebody looks, else as the night's note.

A hash a series, ``task:<account>:<series>``, takes some 400 bytes.  So what ended well keeps its own for a quarter
of an hour, in which commands that wait read it, and a night that ends well begins none: what matters later stands
in the registry's outcomes and in the night's note, of which ``task_states`` tells the same again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import Redis

from worker.domain.fleet.outcomes import Call, call_note
from worker.domain.measures.messages import NIGHTLY
from worker.stores.redis.connection import redis_errors
from worker.stores.redis.series_progress import LastNight, SeriesProgressStore

TASK_TTL_S: Final = 90 * 24 * 3600
WELL_TTL_S: Final = 15 * 60

# What failed before is forgotten where this answer takes its place: it is of the same run, or about the same days.
# KEYS: the hash.  ARGV: whether only a hash that is there is kept up, seconds if all is well, seconds if not, run,
# the window's days, then fields.
_NOTE_WELL = """
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local well = {data = true, no_data = true, before_history = true}
local noted, still_wrong = redis.call('HGETALL', KEYS[1]), false
for place = 1, #noted, 2 do
  local answer, run = string.match(noted[place], '^answer:([^:]+):(.*)$')
  if answer and not well[answer] then
    local start, stop = string.match(noted[place + 1], ' (.*)/(.*)')
    local later = run == ARGV[4] and stop > ARGV[5] and stop <= ARGV[6]
    if later or (start >= ARGV[5] and stop <= ARGV[6]) then
      redis.call('HDEL', KEYS[1], noted[place])
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
    """Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._note_well = redis.register_script(_NOTE_WELL)

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

    @redis_errors()
    def note_well(self, account_id: str, series: str, call: Call, *, brief: bool = False, **fields: str) -> None:
        """The same of a run that ended well, with its answer; soon forgotten where nothing else is wrong.

        ``brief``: only where there is a state already, which must not go on saying that it failed.
        """
        pairs = [text for pair in {**fields, **call_note(call)}.items() for text in pair]
        window = call.window.start.isoformat(), call.window.end.isoformat()
        args = ["1" if brief else "0", WELL_TTL_S, TASK_TTL_S, call.run, *window, *pairs]
        self._note_well(keys=[self._key("task", account_id, series)], args=args, client=self._redis)

    def task_state(self, account_id: str, series: str) -> dict[str, str]:
        """What was noted; empty where nothing was."""
        return self.task_states([(account_id, series)])[0]

    @redis_errors()
    def task_states(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        """``task_state`` of a page of (account, series), in their order, in two round trips."""
        with self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in pairs:
                pipe.hgetall(self._key("task", account_id, series))
            noted = pipe.execute()
        nights = self.nights(pairs)
        return [_with_night(*each) for each in zip(pairs, noted, nights, strict=True)]


def _with_night(pair: tuple[str, str], noted: Mapping[str, str], told: LastNight | None) -> dict[str, str]:
    """What the hash of a night that ended well would say, where it isn't there any more."""
    if told is None:
        return dict(noted)
    run = f"{NIGHTLY}:{told.night.isoformat()}"
    state = {"state": "ok", "window": str(told.call.window), "error": "", "last_run": f"{pair[1]}/{run}"}
    return {**call_note(told.call), **({} if noted else state), **noted, f"last_{NIGHTLY}": run}
