"""What is kept of each account and series for good: which days are done, and the last night that asked.

A million accounts have two million of these, so each is one field of a small hash, which Redis keeps packed:

    days:<series>:<first letters of the account>      hash: account to `<done> [<night> <answer>]`

``done`` is one window (2021-11-25/2024-11-24), ``-`` for none, with ``?`` in front while nobody told the coverage
as a whole since Redis was last empty, or ``*`` where it takes several windows: these are a set,
``history:<account>:<series>``, with the member ``known`` once it was told.  ``answer`` is a letter for what the
night's look-back brought, and when: minutes from the midnight (UTC) of the night's date.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

from redis import Redis

from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import PARIS, DateWindow, Series
from worker.domain.measures.windows import merge_windows, plan_look_back
from worker.stores.redis.connection import PrefixedKeys, redis_errors

KNOWN: Final = "known"
# Of an id's letters 22 come first and 32 after it: a million accounts are 44 to a hash.  Redis packs up to 128 fields
# (512 where it is set as it comes) of at most 64 bytes.
BUCKET_LETTERS: Final = 3
_SEVERAL: Final = "*"
_MINUTE: Final = timedelta(minutes=1)
_LETTERS: Final = {
    AnswerClass.DATA: "d",
    AnswerClass.NO_DATA: "n",
    AnswerClass.UNUSABLE: "u",
    AnswerClass.BEFORE_HISTORY: "b",
}
_CLASSES: Final = {letter: answer for answer, letter in _LETTERS.items()}

# KEYS: the hash, the set of several windows, a flag that once was kept beside it.  ARGV: account, "known".
_READ = """
local coverage, night = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S*)(.*)$')
local function write(windows, told)
  table.sort(windows)
  local merged = {}
  for _, window in ipairs(windows) do
    local first, after = string.match(window, '(.*)/(.*)')
    local last = merged[#merged]
    if last and first <= last[2] then
      if after > last[2] then last[2] = after end
    else
      table.insert(merged, {first, after})
    end
  end
  for place, pair in ipairs(merged) do merged[place] = pair[1] .. '/' .. pair[2] end
  redis.call('DEL', KEYS[2], KEYS[3])
  if #merged > 1 then
    coverage = '*'
    for _, window in ipairs(merged) do redis.call('SADD', KEYS[2], window) end
    if told then redis.call('SADD', KEYS[2], ARGV[2]) end
  else
    coverage = (told and '' or '?') .. (merged[1] or (told and '-' or ''))
  end
  redis.call('HSET', KEYS[1], ARGV[1], coverage .. night)
  return merged
end
"""
# A window and all that are kept become the fewest that hold the same days.  Dates sort as texts do.
_MARK_DONE = (
    _READ
    + """
local windows, told = {ARGV[3]}, false
if coverage == '*' or coverage == '' then
  for _, member in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if member == ARGV[2] then told = true else table.insert(windows, member) end
  end
else
  told = string.sub(coverage, 1, 1) ~= '?'
  local window = string.match(coverage, '%d.*')
  if window then table.insert(windows, window) end
end
return write(windows, told)
"""
)
_REPLACE_DONE = (
    _READ
    + """
local windows = {}
for place = 3, #ARGV do table.insert(windows, ARGV[place]) end
return write(windows, true)
"""
)
# ARGV: account, night, answer, the last date that may stand.  A night that is over takes nothing from a later one.
_NOTE_NIGHT = """
local coverage, night = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S*) ?(%S*)')
if night > ARGV[2] and night <= ARGV[4] then return 0 end
if coverage == '' then coverage = redis.call('EXISTS', KEYS[2]) == 1 and '*' or '?' end
redis.call('HSET', KEYS[1], ARGV[1], coverage .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return 1
"""


class SeriesCoverage(NamedTuple):
    """``told``: as a whole since Redis was last empty; a window marked done alone does not make it so, or the next
    one to finish after a loss would hide that all the others are forgotten, and they would be fetched again.
    """

    told: bool
    windows: list[DateWindow]


@dataclass(frozen=True, slots=True)
class LastNight:
    """The last night that a series was asked for, and what came."""

    night: date
    call: Call


class SeriesProgressStore(PrefixedKeys):
    """Every method raises StoreUnavailable.  ``series`` is a Series or its value."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._mark_done = redis.register_script(_MARK_DONE)
        self._replace_done = redis.register_script(_REPLACE_DONE)
        self._note_night = redis.register_script(_NOTE_NIGHT)

    # -- the history, window by window

    def done_windows(self, account_id: str, series: str) -> list[DateWindow]:
        """The finished days in the fewest windows, oldest first."""
        return self.coverages([(account_id, series)])[0].windows

    def done_windows_of(self, pairs: Sequence[tuple[str, str]]) -> list[list[DateWindow]]:
        """``done_windows`` of many (account, series), in their order."""
        return [coverage.windows for coverage in self.coverages(pairs)]

    def has_history(self, account_id: str, series: str) -> bool:
        """Whether ``replace_done`` told the coverage since Redis was last empty."""
        return self.coverages([(account_id, series)])[0].told

    @redis_errors()
    def coverages(self, pairs: Sequence[tuple[str, str]]) -> list[SeriesCoverage]:
        """The coverage of a page of (account, series), in their order, in two round trips at most."""
        texts = [text.partition(" ")[0] for text in self._texts(pairs)]
        several = [pair for pair, text in zip(pairs, texts, strict=True) if text in ("", _SEVERAL)]
        with self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in several:
                pipe.smembers(self._key("history", account_id, series))
            sets = dict(zip(several, pipe.execute() if several else (), strict=True))
        return [_coverage(text, sets.get(pair, ())) for pair, text in zip(pairs, texts, strict=True)]

    @redis_errors()
    def mark_done(self, account_id: str, series: str, window: DateWindow) -> list[DateWindow]:
        """Add ``window`` to the finished days; all of them.  Safe to repeat, and beside others who do the same."""
        done = self._mark_done(keys=self._keys(account_id, series), args=[account_id, KNOWN, str(window)])
        return [DateWindow.parse(text) for text in done]

    @redis_errors()
    def replace_done(self, account_id: str, series: str, windows: Iterable[DateWindow]) -> None:
        """Tell the coverage as a whole, as read back from the store; none at all is an answer too."""
        args = [account_id, KNOWN, *map(str, windows)]
        self._replace_done(keys=self._keys(account_id, series), args=args, client=self._redis)

    # -- the nights

    @redis_errors()
    def note_night(self, account_id: str, series: str, night: date, call: Call) -> None:
        """The look-back of this night is stored.  An older night's end, told late, changes nothing.

        What stands there of a date to come (``rounds.takes_over``) gives way.
        """
        answer = f"{_LETTERS[call.answer]}{(call.at - _midnight(night)) // _MINUTE}"
        latest = max(night, call.at.astimezone(PARIS).date())
        args = [account_id, night.isoformat(), answer, latest.isoformat()]
        self._note_night(keys=self._keys(account_id, series)[:2], args=args, client=self._redis)

    @redis_errors()
    def nights(self, pairs: Sequence[tuple[str, str]]) -> list[LastNight | None]:
        """The last night that asked, of a page of (account, series), in their order, in one round trip."""
        texts = self._texts(pairs)
        return [to_night(series, text) for (_, series), text in zip(pairs, texts, strict=True)]

    # -- the end of an account

    def _forget_days(self, account_id: str) -> int:
        with self._redis.pipeline(transaction=False) as pipe:
            for series in Series:
                pipe.hdel(self._keys(account_id, series)[0], account_id)
            return sum(pipe.execute())

    def _texts(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """A page in the order of ids lies in few hashes."""
        places: dict[str, list[int]] = {}
        for place, (account_id, series) in enumerate(pairs):
            places.setdefault(self._keys(account_id, series)[0], []).append(place)
        if not places:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for key, found in places.items():
                pipe.hmget(key, [pairs[place][0] for place in found])
            answers = pipe.execute()
        texts = [""] * len(pairs)
        for found, values in zip(places.values(), answers, strict=True):
            for place, value in zip(found, values, strict=True):
                texts[place] = value or ""
        return texts

    def _keys(self, account_id: str, series: str) -> list[str]:
        return [
            self._key("days", series, account_id[:BUCKET_LETTERS]),
            self._key("history", account_id, series),
            self._key("history_loaded", account_id, series),
        ]


def _coverage(text: str, members: Iterable[Any]) -> SeriesCoverage:
    if text in ("", _SEVERAL):
        several = set(members)
        return SeriesCoverage(KNOWN in several, merge_windows(map(DateWindow.parse, several - {KNOWN})))
    window = text.removeprefix("?").removeprefix("-")
    return SeriesCoverage(not text.startswith("?"), [DateWindow.parse(window)] if window else [])


def to_night(series: str, text: str) -> LastNight | None:
    """The night that a field of the hash tells, if any."""
    _, night, answer = (*text.split(" "), "", "")[:3]
    if not night:
        return None
    on = date.fromisoformat(night)
    at = _midnight(on) + int(answer[1:]) * _MINUTE
    window = plan_look_back(at.astimezone(PARIS).date(), Series(series))
    return LastNight(on, Call(at, window, _CLASSES[answer[0]], NIGHTLY))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
