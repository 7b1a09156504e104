"""The coverage of each account's series in Redis, that is its finished days, and its last night.

A million accounts have two million of these, so each one is a field of a small hash, which Redis stores compactly:

    days:daily:k9x               hash: account to ``<coverage> [<night> <answer>]``, for example
                                 k9x4w  2021-11-25/2024-11-24 2024-11-24 d252
                                 k9xab  ?2024-11-01/2024-11-24
                                 k9xz2  * 2024-11-24 n252
    history:k9xz2:daily          set: 2021-11-25/2022-01-01, 2022-02-01/2024-11-24, known

The coverage is one window, or ``-`` for no day, or ``*`` for several windows, which are in the set.  Since Redis was
emptied, it is known as a whole only once it was read back from the measure store; until then it begins with ``?``, or
the set has no member ``known``.  The answer is a letter for its class (``_LETTERS``) and the minutes from midnight UTC
of the night's date to the call.
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
# Ids begin with one of 22 letters and go on with one of 32 signs, so a million accounts make 44 fields a hash.  By
# default Redis stores hashes compactly up to 128 fields (older versions: 512) of at most 64 bytes.
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

# KEYS: releve:days:daily:k9x, releve:history:k9x4w:daily, releve:history_loaded:k9x4w:daily (a flag of former versions,
# deleted here).  ARGV: account (k9x4w), ``known``, then windows (2024-03-04/2024-03-11).
_READ = """
local coverage, night = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S*)(.*)$')
local function write(windows, is_known)
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
    if is_known then redis.call('SADD', KEYS[2], ARGV[2]) end
  else
    coverage = (is_known and '' or '?') .. (merged[1] or (is_known and '-' or ''))
  end
  redis.call('HSET', KEYS[1], ARGV[1], coverage .. night)
  return merged
end
"""
# Merges a window with the stored ones and returns the fewest windows with the same days.  ISO dates sort as texts.
_MARK_DONE = (
    _READ
    + """
local windows, is_known = {ARGV[3]}, false
if coverage == '*' or coverage == '' then
  for _, member in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if member == ARGV[2] then is_known = true else table.insert(windows, member) end
  end
else
  is_known = string.sub(coverage, 1, 1) ~= '?'
  local window = string.match(coverage, '%d.*')
  if window then table.insert(windows, window) end
end
return write(windows, is_known)
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
# An older night must not replace a newer one.  A night after the last possible date comes from a wrong clock, and is
# replaced.
# KEYS: as above, the first two.  ARGV: account (k9x4w), night (2024-07-25), answer (d252), last possible date
# (2024-07-25).
_RECORD_NIGHT = """
local coverage, night = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S*) ?(%S*)')
if night > ARGV[2] and night <= ARGV[4] then return 0 end
if coverage == '' then coverage = redis.call('EXISTS', KEYS[2]) == 1 and '*' or '?' end
redis.call('HSET', KEYS[1], ARGV[1], coverage .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return 1
"""


class SeriesCoverage(NamedTuple):
    """The finished days of a series, in the fewest windows, oldest first.

    ``is_known``: whether they are complete.  After Redis was emptied, windows marked as done do not make the coverage
    known; only ``replace_done`` does.  Otherwise the first window to finish would hide that the others were forgotten,
    and these would be fetched again.
    """

    is_known: bool
    windows: list[DateWindow]


@dataclass(frozen=True, slots=True)
class LastNight:
    """The last night for which a series was asked, and the call."""

    night: date
    call: Call


class SeriesProgressStore(PrefixedKeys):
    """Coverage and last nights; every method raises StoreUnavailable.  ``series`` is a Series or its value."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._mark_script = redis.register_script(_MARK_DONE)
        self._replace_script = redis.register_script(_REPLACE_DONE)
        self._night_script = redis.register_script(_RECORD_NIGHT)

    # -- The history, window by window

    def done_windows(self, account_id: str, series: str) -> list[DateWindow]:
        """Return the finished days in the fewest windows, oldest first."""
        return self.coverages([(account_id, series)])[0].windows

    def done_windows_of(self, pairs: Sequence[tuple[str, str]]) -> list[list[DateWindow]]:
        """Return ``done_windows`` of many (account, series), in their order."""
        return [coverage.windows for coverage in self.coverages(pairs)]

    def has_history(self, account_id: str, series: str) -> bool:
        """Return whether ``replace_done`` stored the whole coverage since Redis was emptied."""
        return self.coverages([(account_id, series)])[0].is_known

    @redis_errors()
    def coverages(self, pairs: Sequence[tuple[str, str]]) -> list[SeriesCoverage]:
        """Return the coverage of a page of (account, series), in their order, in two round trips at most."""
        texts = [text.partition(" ")[0] for text in self._texts(pairs)]
        with_set = [pair for pair, text in zip(pairs, texts, strict=True) if text in ("", _SEVERAL)]
        with self._redis.pipeline(transaction=False) as pipe:
            for account_id, series in with_set:
                pipe.smembers(self._key("history", account_id, series))
            sets = dict(zip(with_set, pipe.execute() if with_set else (), strict=True))
        return [_parse_coverage(text, sets.get(pair, ())) for pair, text in zip(pairs, texts, strict=True)]

    @redis_errors()
    def mark_done(self, account_id: str, series: str, window: DateWindow) -> list[DateWindow]:
        """Add ``window`` to the finished days and return all of them.

        Safe to repeat, and for several processes at once.
        """
        done = self._mark_script(keys=self._keys(account_id, series), args=[account_id, KNOWN, str(window)])
        return [DateWindow.parse(text) for text in done]

    @redis_errors()
    def replace_done(self, account_id: str, series: str, windows: Iterable[DateWindow]) -> None:
        """Replace the whole coverage with ``windows``, which may be empty, as read back from the measure store."""
        args = [account_id, KNOWN, *map(str, windows)]
        self._replace_script(keys=self._keys(account_id, series), args=args, client=self._redis)

    # -- Nights

    @redis_errors()
    def record_night(self, account_id: str, series: str, night: date, call: Call) -> None:
        """Record that the look-back of a night is stored; a night older than the recorded one changes nothing.

        A recorded night in the future, by the date of the call, is replaced.
        """
        answer = f"{_LETTERS[call.answer]}{(call.at - _midnight(night)) // _MINUTE}"
        latest = max(night, call.at.astimezone(PARIS).date())
        args = [account_id, night.isoformat(), answer, latest.isoformat()]
        self._night_script(keys=self._keys(account_id, series)[:2], args=args, client=self._redis)

    @redis_errors()
    def last_nights(self, pairs: Sequence[tuple[str, str]]) -> list[LastNight | None]:
        """Return the last night of a page of (account, series), in their order, in one round trip."""
        texts = self._texts(pairs)
        return [parse_night(series, text) for (_, series), text in zip(pairs, texts, strict=True)]

    # -- The end of an account

    def _forget_days(self, account_id: str) -> int:
        with self._redis.pipeline(transaction=False) as pipe:
            for series in Series:
                pipe.hdel(self._keys(account_id, series)[0], account_id)
            return sum(pipe.execute())

    def _texts(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return the field of each (account, series), empty where it is missing, in their order.

        One command a hash: a page in the order of ids uses few hashes.
        """
        places_by_key: dict[str, list[int]] = {}
        for place, (account_id, series) in enumerate(pairs):
            places_by_key.setdefault(self._keys(account_id, series)[0], []).append(place)
        if not places_by_key:
            return []
        with self._redis.pipeline(transaction=False) as pipe:
            for key, places in places_by_key.items():
                pipe.hmget(key, [pairs[place][0] for place in places])
            answers = pipe.execute()
        texts = [""] * len(pairs)
        for places, values in zip(places_by_key.values(), answers, strict=True):
            for place, value in zip(places, values, strict=True):
                texts[place] = value or ""
        return texts

    def _keys(self, account_id: str, series: str) -> list[str]:
        return [
            self._key("days", series, account_id[:BUCKET_LETTERS]),
            self._key("history", account_id, series),
            self._key("history_loaded", account_id, series),
        ]


def _parse_coverage(text: str, members: Iterable[Any]) -> SeriesCoverage:
    if text in ("", _SEVERAL):
        texts = set(members)
        return SeriesCoverage(KNOWN in texts, merge_windows(map(DateWindow.parse, texts - {KNOWN})))
    window = text.removeprefix("?").removeprefix("-")
    return SeriesCoverage(not text.startswith("?"), [DateWindow.parse(window)] if window else [])


def parse_night(series: str, text: str) -> LastNight | None:
    """Return the night in a field of the hash, if any."""
    _, night, answer = (*text.split(" "), "", "")[:3]
    if not night:
        return None
    day = date.fromisoformat(night)
    at = _midnight(day) + int(answer[1:]) * _MINUTE
    window = plan_look_back(at.astimezone(PARIS).date(), Series(series))
    return LastNight(day, Call(at, window, _CLASSES[answer[0]], NIGHTLY))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
