"""How fresh each account's readings are, in little memory: the newest day asked for, and the last night that asked."""

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
_LENGTH: Final = 12  # of an id


class Ids(Sequence[str]):
    """Sorted ids as one text: a million Python strings are 70 MB."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._text = "".join(sorted(ids))

    def __len__(self) -> int:
        return len(self._text) // _LENGTH

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # no slices
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._text[place * _LENGTH : (place + 1) * _LENGTH]

    def place(self, account_id: str) -> int:
        return bisect_left(self, account_id)


class Ages:
    """Of one series; days and nights are ordinals, 0 for none."""

    def __init__(self, series: Series, accounts: int) -> None:
        self.newest = array("i", bytes(4 * accounts))
        self.noted = array("i", bytes(4 * accounts))
        self.asked = self.doubled = self.days_lost = 0
        self._reach = LOOK_BACK_DAYS[series]
        self._days: Counter[int] = Counter()

    def begin(self, place: int, night: date) -> None:
        """It was asked in this night, before all that is simulated."""
        self.noted[place] = night.toordinal()
        self.reached(place, night.toordinal() - 1)

    def reached(self, place: int, day: int) -> None:
        """The readings up to ``day`` are there."""
        before = self.newest[place]
        if day > before:
            self.newest[place] = day
            self._days[day] += 1
            if before:
                self._days[before] -= 1

    def looked_back(self, place: int, night: date, today: date, newest_day: int) -> None:
        """A look-back of ``today`` served ``night``."""
        self.asked += 1
        served = night.toordinal()
        self.doubled += served <= self.noted[place]
        self.noted[place] = max(served, self.noted[place])
        first = today.toordinal() - self._reach
        if before := self.newest[place]:
            self.days_lost += max(0, first - 1 - before)
        self.reached(place, newest_day)

    def at(self, night: date) -> dict[str, int]:
        """Days from the newest reading of an account to ``night``, 1 at best, by percentile of the accounts."""
        end = night.toordinal()
        known = sorted((end - day, count) for day, count in self._days.items() if count)
        total, ages, seen = sum(count for _, count in known), {}, 0
        rest = list(PERCENTILES)
        for age, count in known:
            seen += count
            while rest and seen * 100 >= rest[0] * total:
                ages["max" if rest[0] == 100 else f"p{rest[0]}"] = age
                rest.pop(0)
        return ages
