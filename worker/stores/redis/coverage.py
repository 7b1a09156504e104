"""The finished days of each account's series in Redis: the flags of the loaded history.

A million accounts have two million of these, so each one is a field of a small hash, which Redis stores compactly:

    releve:history:daily:k9x   hash: account to the finished windows, oldest first, for example
                               k9x4w  2021-11-25/2024-11-24
                               k9xab  ?2024-11-01/2024-11-24
                               k9xz2  2021-11-25/2022-01-01,2022-02-01/2024-11-24

Since Redis was emptied, the days are known as a whole only once they were read back from the measure store; until then
the text begins with ``?``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.stores.redis.connection import PrefixedKeys

# Ids begin with one of 22 letters and go on with one of 32 signs, so a million accounts make 44 fields a hash.  By
# default Redis stores hashes compactly up to 128 fields (older versions: 512) of at most 64 bytes.
BUCKET_LETTERS: Final = 3
# Merges windows with the stored ones.  ISO dates sort as texts.
# KEYS: releve:history:daily:k9x.  ARGV: account (k9x4w), ``add`` or ``replace``, then windows (2024-03-04/2024-03-11).
# Returns the text that is stored then.
_STORE = """
local stored = ARGV[2] == 'add' and (redis.call('HGET', KEYS[1], ARGV[1]) or '?') or ''
local windows = {unpack(ARGV, 3)}
for window in string.gmatch(stored, '[%d/-]+') do table.insert(windows, window) end
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
local text = (string.sub(stored, 1, 1) == '?' and '?' or '') .. table.concat(merged, ',')
redis.call('HSET', KEYS[1], ARGV[1], text)
return text
"""


class SeriesCoverage(NamedTuple):
    """The finished days of a series, in the fewest windows, oldest first.

    ``is_known``: whether they are complete.  After Redis was emptied, windows marked as done do not make the coverage
    known; only ``replace_done`` does.  Otherwise the first window to finish would hide that the others were forgotten,
    and these would be fetched again.
    """

    is_known: bool
    windows: list[DateWindow]


class CoverageStore(PrefixedKeys):
    """The finished days of all accounts; every method raises StoreUnavailable.  ``series`` is a Series or its value."""

    def is_empty(self) -> bool:
        """Return whether no finished day of any account is known, as after a loss of Redis."""
        return next(self._scan("history:*"), None) is None

    def coverage(self, account_id: str, series: str) -> SeriesCoverage:
        """Return the finished days of one series."""
        text = self._redis.hget(self._coverage_key(account_id, series), account_id)
        return _parse("?" if text is None else str(text))

    def mark_done(self, account_id: str, series: str, *windows: DateWindow) -> SeriesCoverage:
        """Add ``windows`` to the finished days and return all of them.

        Safe to repeat, and for several processes at once.
        """
        return _parse(self._store(account_id, series, "add", windows))

    def replace_done(self, account_id: str, series: str, windows: Iterable[DateWindow]) -> SeriesCoverage:
        """Replace the finished days with ``windows``, which may be empty, as read back from the measure store."""
        return _parse(self._store(account_id, series, "replace", windows))

    def _store(self, account_id: str, series: str, how: str, windows: Iterable[DateWindow]) -> str:
        return str(self._run(_STORE, self._coverage_key(account_id, series), account_id, how, *map(str, windows)))

    def _forget_coverage(self, account_id: str) -> int:
        return sum(int(self._redis.hdel(self._coverage_key(account_id, series), account_id)) for series in Series)

    def _coverage_key(self, account_id: str, series: str) -> str:
        return self._key("history", series, account_id[:BUCKET_LETTERS])


def _parse(text: str) -> SeriesCoverage:
    windows = text.removeprefix("?")
    return SeriesCoverage(
        not text.startswith("?"), [DateWindow.parse(window) for window in windows.split(",") if window]
    )
