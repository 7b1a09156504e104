"""The order of a night: once around the account ids, each night from another place, so nobody is always last.

Pure.  Ids are texts that sort byte by byte; a walk goes by id, behind the last one seen, so it can stop and go on
anywhere, and an account that comes or goes meanwhile moves no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Self

# As the registry makes ids.  Ids of another form only spread less evenly.
_FIRST: Final = "abcdefghjkmnpqrstvwxyz"
_FURTHER: Final = "0123456789" + _FIRST
_LENGTH: Final = 5
# Steps of the golden section of the circle: however many nights, their starts lie evenly apart.
_STEP: Final = 0x9E3779B97F4A7C15
_CIRCLE: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Round:
    """A place on the way: behind ``after``, from ``start`` to the last id (lap 1), then from the first to ``start``."""

    start: str
    after: str
    lap: int = 1

    @classmethod
    def beginning(cls, start: str) -> Self:
        return cls(start, start)

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """What ``str`` wrote; None where it is something else."""
        parts = (text or "").split(" ")
        return cls(parts[1], parts[2], int(parts[0])) if len(parts) == 3 and parts[0] in ("1", "2") else None

    def __str__(self) -> str:
        return f"{self.lap} {self.start} {self.after}"

    @property
    def until(self) -> str | None:
        """The last id of this lap, included; None for the last there is."""
        return self.start if self.lap > 1 else None

    def at(self, account_id: str) -> Self:
        return replace(self, after=account_id)

    def next_lap(self) -> Self | None:
        """None at the end of the round."""
        return replace(self, after="", lap=2) if self.lap == 1 and self.start else None


def takes_over(newer: date, night: date, today: date) -> bool:
    """Whether a night that has begun ends this one.

    A date to come, begun by hand, ends no night of a day that is here: or none would run until then.
    """
    return newer > night and not night <= today < newer


def serves(asked: date | None, night: date, today: date) -> bool:
    """Whether what was asked for in one night need not be asked for in this one."""
    return asked is not None and (asked == night or takes_over(asked, night, today))


def start_of(night: date) -> str:
    """Where the ids of a night begin: a text to start behind, no account's id."""
    place = night.toordinal() * _STEP % _CIRCLE
    letters = ""
    for alphabet in (_FIRST, *[_FURTHER] * (_LENGTH - 1)):
        place *= len(alphabet)
        letters += alphabet[place // _CIRCLE]
        place %= _CIRCLE
    return letters
