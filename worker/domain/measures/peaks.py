"""The highest power of days, months and years with its instant, against the subscribed power in force on the day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from worker.domain.measures.amounts import round_share
from worker.domain.measures.documents import Entry
from worker.domain.measures.readings import PARIS


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest power of a civil day: ``amount`` in mVA (millionths of a kVA).

    ``at``: its instant in the meter's zone, None where it is not told. ``subscribed``: the subscribed power in force
    on that day, in mVA, None where no contract is known.
    """

    day: date
    at: datetime | None
    amount: int
    subscribed: int | None = None

    @property
    def percent(self) -> int | None:
        """The share of the subscribed power in percent, 100 only where it is reached; None where that is unknown."""
        return None if self.subscribed is None else round_share(self.amount, self.subscribed, 100)

    @property
    def exceeds(self) -> bool:
        """Whether it is more than the subscribed power."""
        return self.subscribed is not None and self.amount > self.subscribed


def state_on(day: date, entries: Sequence[Entry]) -> Entry | None:
    """Return the row of a series of states in force on a day: the latest not after it, else the first; None of none.

    ``entries``: in key order. The first row holds for the days before it, too: a state is told only when it is asked
    for, and nothing says that it was another one before.
    """
    rows = [entry for entry in entries if entry.key <= day.isoformat()] or entries[:1]
    return rows[-1] if rows else None


def to_peaks(entries: Iterable[Entry], contracts: Sequence[Entry] = ()) -> list[Peak]:
    """Return the stored daily maxima with the subscribed power of their day; ``contracts`` in key order."""
    return [_to_peak(entry, contracts) for entry in entries]


def find_highest(peaks: Iterable[Peak]) -> Peak | None:
    """Return the highest power, the earliest of equal ones; None of none."""
    return max(peaks, key=lambda peak: (peak.amount, -peak.day.toordinal()), default=None)


def highest_by_month(peaks: Iterable[Peak]) -> dict[str, Peak]:
    """Return the highest power of each month, such as "2024-07", in order."""
    return _highest_by(peaks, 7)


def highest_by_year(peaks: Iterable[Peak]) -> dict[str, Peak]:
    """Return the highest power of each year, such as "2024", in order."""
    return _highest_by(peaks, 4)


def _highest_by(peaks: Iterable[Peak], key_length: int) -> dict[str, Peak]:
    highest: dict[str, Peak] = {}
    for peak in sorted(peaks, key=lambda peak: peak.day):
        key = peak.day.isoformat()[:key_length]
        if key not in highest or peak.amount > highest[key].amount:
            highest[key] = peak
    return highest


def _to_peak(entry: Entry, contracts: Sequence[Entry]) -> Peak:
    day, at = date.fromisoformat(entry.key), (entry.details or {}).get("at")
    contract = state_on(day, contracts)
    return Peak(
        day,
        datetime.fromisoformat(at).astimezone(PARIS) if at else None,
        entry.amount,
        contract.amount or None if contract else None,
    )
