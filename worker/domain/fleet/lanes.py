"""Which kind of work this thread is doing, and what of the supplier's quota each kind may count on.

A *lane* is the queue its task came through, or none, for what a person started.  The quota knows four kinds, the
*quota lanes*, in the order of treatment when it is short; each lane belongs to one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

QUEUES: Final = ("control", "first_screen", "nightly", "repair", "backfill")
BROKER_PREFIX: Final = "releve:celery:"  # a shared Redis stays readable


class Lane(StrEnum):
    CONTROL = "control"
    FIRST_SCREEN = "first_screen"
    NIGHTLY = "nightly"
    REPAIR = "repair"
    BACKFILL = "backfill"
    BY_HAND = "by_hand"  # no task: the command line, a page
    OTHER = "other"  # a queue that an operator made


class QuotaLane(StrEnum):
    """Who goes first when the quota is short stands first."""

    FIRST_SCREEN = "first_screen"
    NIGHTLY = "nightly"
    REPAIR = "repair"
    HISTORY = "history"


_QUEUES: Final = {name: Lane(name) for name in QUEUES}
_OF_QUOTA: Final = {  # the others: history
    Lane.FIRST_SCREEN: QuotaLane.FIRST_SCREEN,
    Lane.BY_HAND: QuotaLane.FIRST_SCREEN,  # somebody sits there and waits
    Lane.NIGHTLY: QuotaLane.NIGHTLY,
    Lane.REPAIR: QuotaLane.REPAIR,
}
_LANE: ContextVar[Lane] = ContextVar("lane", default=Lane.BY_HAND)


def current_lane() -> Lane:
    return _LANE.get()


def current_quota_lane() -> QuotaLane:
    return _OF_QUOTA.get(_LANE.get(), QuotaLane.HISTORY)


def enter_lane(queue: str | None) -> Token[Lane]:
    """From now on this thread works for ``queue``; what comes back leads out again (``leave_lane``).

    RabbitMQ puts the delay of a message that comes again in front of the queue's name.
    """
    name = (queue or "").rpartition(".")[2]
    return _LANE.set(_QUEUES.get(name, Lane.OTHER))


def leave_lane(token: Token[Lane]) -> None:
    _LANE.reset(token)


MOST_FLOORS: Final = 90  # percent: the rest is anybody's, in the order of the lanes
_SHARE: Final = re.compile(r"\s*([a-z_]+)\s*=\s*([0-9]{1,3})\s*")


@dataclass(frozen=True, slots=True)
class Shares:
    """What each quota lane can count on (its floor) and where it stops while others want more (its ceiling).

    In percent of the limit.  A lane that is not named has a floor of 0 and a ceiling of 100.
    """

    floors: Mapping[QuotaLane, int] = field(default_factory=dict)
    ceilings: Mapping[QuotaLane, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, floors: str, ceilings: str) -> Self:
        """Of texts like ``nightly=30,history=5``.  Raises ValueError, saying what to mend."""
        shares = cls(parse_floors(floors), parse_ceilings(ceilings))
        for lane in QuotaLane:
            if shares.ceiling(lane) < shares.floor(lane):
                raise ValueError(f"{lane} has a ceiling below its floor")
        return shares

    def floor(self, lane: QuotaLane) -> int:
        return self.floors.get(lane, 0)

    def ceiling(self, lane: QuotaLane) -> int:
        return self.ceilings.get(lane, 100)


ALL_ALIKE: Final = Shares()
USUAL_FLOORS: Final = "first_screen=10,nightly=30,repair=10,history=10"
USUAL_CEILINGS: Final = "first_screen=80,nightly=100,repair=50,history=90"


def parse_floors(text: str) -> dict[QuotaLane, int]:
    floors = _percents(text)
    if sum(floors.values()) > MOST_FLOORS:
        raise ValueError(f"needs floors that are at most {MOST_FLOORS} together: the rest is for whoever needs it")
    return floors


def parse_ceilings(text: str) -> dict[QuotaLane, int]:
    ceilings = _percents(text)
    if 0 in ceilings.values():
        raise ValueError("needs ceilings above 0: a lane of 0 would wait for ever")
    return ceilings


def _percents(text: str) -> dict[QuotaLane, int]:
    found: dict[QuotaLane, int] = {}
    for part in filter(str.strip, text.split(",")):
        told = _SHARE.fullmatch(part)
        if told is None or told[1] not in list(QuotaLane) or int(told[2]) > 100:
            raise ValueError(f"needs lanes and percents like nightly=30; lanes are {', '.join(QuotaLane)}")
        found[QuotaLane(told[1])] = int(told[2])
    return found
