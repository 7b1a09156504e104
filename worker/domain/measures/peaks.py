"""The maximum power of days, months and years with its instant, against the subscribed power in force on the day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from worker.domain.measures.amounts import round_share
from worker.domain.measures.documents import Entry
from worker.domain.measures.readings import PARIS
from worker.domain.measures.states import state_on


@dataclass(frozen=True, slots=True)
class Peak:
    """The maximum power of a civil day: ``amount`` in mVA (millionths of a kVA).

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


def subscribed_on(day: date, contracts: Sequence[Entry]) -> int | None:
    """Return the subscribed power on a day in mVA, None where it is not known; ``contracts`` in key order."""
    contract = state_on(day, contracts)
    return contract.amount or None if contract else None


def to_peaks(entries: Iterable[Entry], contracts: Sequence[Entry] = ()) -> list[Peak]:
    """Return the stored daily maxima with the subscribed power of their day; ``contracts`` in key order."""
    return [_to_peak(entry, contracts) for entry in entries]


def find_highest(peaks: Iterable[Peak]) -> Peak | None:
    """Return the maximum power, the earliest of equal ones; None of none."""
    return max(peaks, key=lambda peak: (peak.amount, -peak.day.toordinal()), default=None)


def _to_peak(entry: Entry, contracts: Sequence[Entry]) -> Peak:
    day, at = date.fromisoformat(entry.key), (entry.details or {}).get("at")
    instant = datetime.fromisoformat(at).astimezone(PARIS) if at else None
    return Peak(day, instant, entry.amount, subscribed_on(day, contracts))
