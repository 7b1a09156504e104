"""The hours at which a gateway may be asked for an account: those of a person's morning, and an afternoon's.

Each account has a moment of its own in both, by its id and at an odd second, so that many homes do not ask at once.
Histories keep to no hours: the quota spaces them. Source: what the author of conso-api asks of programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple, Self

from worker.domain.measures.readings import ONE_DAY, PARIS, civil_date
from worker.domain.measures.series import is_gateway


class _Hours(NamedTuple):
    """Hours of a day: the moments of accounts lie between ``first`` and ``latest``; nothing begins from ``end`` on."""

    first: time
    latest: time
    end: time


# In each the repair, which runs at a quarter to, comes after the latest moment. What begins before the end is over by
# the whole hour.
_MORNING: Final = _Hours(time(6), time(9, 30), time(9, 50))
_AFTERNOON: Final = _Hours(time(13), time(14, 30), time(14, 50))


@dataclass(frozen=True, slots=True)
class AskingHours:
    """The hours of one account."""

    account_id: str

    @classmethod
    def of(cls, supplier: str, account_id: str) -> Self | None:
        """Return the hours of an account; None where its supplier may be asked at any time."""
        return cls(account_id) if is_gateway(supplier) else None

    def allow(self, now: datetime) -> bool:
        """Return whether the account may be asked for now."""
        return self.next_from(now) <= now

    def next_from(self, moment: datetime) -> datetime:
        """Return the first moment from ``moment`` on at which the account may be asked for."""
        today = civil_date(moment)
        for day in (today, today + ONE_DAY):
            for hours in (_MORNING, _AFTERNOON):
                if moment < datetime.combine(day, hours.end, PARIS):
                    return max(moment, self._moment(day, hours))
        raise AssertionError("the next morning is always to come")

    def _moment(self, day: date, hours: _Hours) -> datetime:
        first, latest = (datetime.combine(day, bound, PARIS) for bound in (hours.first, hours.latest))
        digest = blake2b(f"{hours.first:%H}/{self.account_id}".encode(), digest_size=8).digest()
        offset = int.from_bytes(digest) % int((latest - first).total_seconds())
        return first + timedelta(seconds=offset | 1)


def start_of_afternoon(day: date) -> datetime:
    """Return when the afternoon's hours of a day begin, for all accounts."""
    return datetime.combine(day, _AFTERNOON.first, PARIS)


def is_asking_hour(now: datetime) -> bool:
    """Return whether any account may be asked for now."""
    return any(_is_within(hours, now) for hours in (_MORNING, _AFTERNOON))


def is_afternoon(now: datetime) -> bool:
    """Return whether these are the hours of an afternoon."""
    return _is_within(_AFTERNOON, now)


def _is_within(hours: _Hours, now: datetime) -> bool:
    return hours.first <= now.astimezone(PARIS).time() < hours.end
