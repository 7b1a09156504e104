"""The order of a night: one round over the sorted account ids, each night from another start, so none is always last.

A round goes on behind the last account id it has seen. So it can stop and continue anywhere, and accounts that are
added or removed meanwhile move no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Self

# The registry makes ids of these letters. Ids of another form work too, but spread less evenly.
_FIRST: Final = "abcdefghjkmnpqrstvwxyz"
_FURTHER: Final = "0123456789" + _FIRST
_LENGTH: Final = 5
# Each night's start is a golden section further on the circle, so starts are evenly apart after any number of nights.
_STEP: Final = 0x9E3779B97F4A7C15
_CIRCLE: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Round:
    """A position in a round: behind ``after``, on the way to the last id (lap 1) or from the first to ``start`` (2)."""

    start: str
    after: str
    lap: int = 1

    @classmethod
    def beginning(cls, start: str) -> Self:
        return cls(start, start)

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """Read what ``str`` wrote, like ``1 m0000 p7x2k``; None for any other text."""
        parts = (text or "").split(" ")
        return cls(parts[1], parts[2], int(parts[0])) if len(parts) == 3 and parts[0] in ("1", "2") else None

    def __str__(self) -> str:
        return f"{self.lap} {self.start} {self.after}"

    @property
    def until(self) -> str | None:
        """The last id of this lap, included; None if the lap ends with the last account."""
        return self.start if self.lap > 1 else None

    def at(self, account_id: str) -> Self:
        return replace(self, after=account_id)

    def next_lap(self) -> Self | None:
        """Return the start of the second lap, or None at the end of the round."""
        return replace(self, after="", lap=2) if self.lap == 1 and self.start else None


def takes_over(newer: date, night: date, today: date) -> bool:
    """Return whether the night ``newer``, which has begun, ends the night ``night``.

    A night of a future date, begun by hand, does not end tonight's. Otherwise none would run until that date.
    """
    return newer > night and not night <= today < newer


def serves(asked: date | None, night: date, today: date) -> bool:
    """Return whether a window that was asked for in the night ``asked`` is done for the night ``night`` too."""
    return asked is not None and (asked == night or takes_over(asked, night, today))


def start_of(night: date) -> str:
    """Return the text behind which the ids of a night begin; it is no account's id."""
    place = night.toordinal() * _STEP % _CIRCLE
    letters = ""
    for alphabet in (_FIRST, *[_FURTHER] * (_LENGTH - 1)):
        place *= len(alphabet)
        letters += alphabet[place // _CIRCLE]
        place %= _CIRCLE
    return letters
