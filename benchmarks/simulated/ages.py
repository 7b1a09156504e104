"""Ages of the readings of a simulated fleet, in little memory: each account's newest day and its last night."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from worker.domain.measures.readings import Series
from worker.domain.measures.windows import LOOK_BACK_DAYS

PERCENTILES: Final = (50, 90, 99, 100)
_LENGTH: Final = 12  # Characters of an id.


class AccountIds(Sequence[str]):
    """Sorted ids in one text, since a million Python strings take 70 MB."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._text = "".join(sorted(ids))

    def __len__(self) -> int:
        return len(self._text) // _LENGTH

    def __getitem__(self, index: int) -> str:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._text[index * _LENGTH : (index + 1) * _LENGTH]

    def index_of(self, account_id: str) -> int:
        return bisect_left(self, account_id)


class Ages:
    """Newest day and last night of each account in one series, as ordinals of dates; 0 means none.

    An account stands for its index in AccountIds.
    """

    def __init__(self, series: Series, accounts: int) -> None:
        self.newest_days = array("i", bytes(4 * accounts))
        self.last_nights = array("i", bytes(4 * accounts))
        self.look_backs = self.doubled = self.days_lost = 0
        self._reach = LOOK_BACK_DAYS[series]
        self._days: Counter[int] = Counter()

    def set_first_night(self, index: int, night: date) -> None:
        """Set the last night of an account before the simulation."""
        self.last_nights[index] = night.toordinal()
        self.record_day(index, night.toordinal() - 1)

    def record_day(self, index: int, day: int) -> None:
        """Record that the readings up to ``day`` are stored."""
        newest_day = self.newest_days[index]
        if day > newest_day:
            self.newest_days[index] = day
            self._days[day] += 1
            if newest_day:
                self._days[newest_day] -= 1

    def record_look_back(self, index: int, night: date, today: date, newest_day: int) -> None:
        """Record a look-back of ``today`` that served ``night``."""
        self.look_backs += 1
        served = night.toordinal()
        self.doubled += served <= self.last_nights[index]
        self.last_nights[index] = max(served, self.last_nights[index])
        first_day = today.toordinal() - self._reach
        if previous_day := self.newest_days[index]:
            self.days_lost += max(0, first_day - 1 - previous_day)
        self.record_day(index, newest_day)

    def percentiles_at(self, night: date) -> dict[str, int]:
        """Return the days from an account's newest reading to ``night``, by percentile of the accounts; 1 is best."""
        end = night.toordinal()
        days_and_counts = sorted((end - day, count) for day, count in self._days.items() if count)
        total, ages, count_so_far = sum(count for _, count in days_and_counts), {}, 0
        ranks = list(PERCENTILES)
        for age, count in days_and_counts:
            count_so_far += count
            while ranks and count_so_far * 100 >= ranks[0] * total:
                ages["max" if ranks[0] == 100 else f"p{ranks[0]}"] = age
                ranks.pop(0)
        return ages
