"""The lane of the work that a thread does, and the share of the supplier's quota that each lane has.

A *lane* is the queue through which the thread's task came; work that a person started has the lane ``by_hand``. The
quota is shared between four *quota lanes*, and each lane belongs to one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

# The queue of the steps after ``fetch``, whichever lane their window came through.
STEPS: Final = "steps"
# On Redis a worker serves them in this order, so that a window that has begun is finished before another begins.
QUEUES: Final = (STEPS, "control", "first_screen", "nightly", "repair", "backfill")
# The prefix marks the broker's keys in a Redis that is shared with other programs.
BROKER_PREFIX: Final = "releve:celery:"


class Lane(StrEnum):
    """The queues, and two lanes for work that came through none of them."""

    STEPS = "steps"
    CONTROL = "control"
    FIRST_SCREEN = "first_screen"
    NIGHTLY = "nightly"
    REPAIR = "repair"
    BACKFILL = "backfill"
    BY_HAND = "by_hand"  # The command line or a web page called it; there is no task.
    OTHER = "other"  # The task came through a queue that an operator added.


class QuotaLane(StrEnum):
    """The lanes of the quota, in the order in which they are served when it is short."""

    FIRST_SCREEN = "first_screen"
    NIGHTLY = "nightly"
    REPAIR = "repair"
    HISTORY = "history"


_LANE_BY_QUEUE: Final = {name: Lane(name) for name in QUEUES}
# A lane that is not named here belongs to the quota lane HISTORY.
_QUOTA_LANE: Final = {
    Lane.FIRST_SCREEN: QuotaLane.FIRST_SCREEN,
    Lane.BY_HAND: QuotaLane.FIRST_SCREEN,  # A person is waiting for the result.
    Lane.NIGHTLY: QuotaLane.NIGHTLY,
    Lane.REPAIR: QuotaLane.REPAIR,
}
_LANE: ContextVar[Lane] = ContextVar("lane", default=Lane.BY_HAND)


def current_lane() -> Lane:
    """Return the lane of the calling thread; ``by_hand`` outside tasks."""
    return _LANE.get()


def current_quota_lane() -> QuotaLane:
    """Return the quota lane of the calling thread."""
    return _QUOTA_LANE.get(_LANE.get(), QuotaLane.HISTORY)


def enter_lane(queue: str | None) -> Token[Lane]:
    """Set the lane of the calling thread to that of ``queue``; pass the returned token to ``leave_lane``."""
    # With RabbitMQ the routing key of a delayed message has the delay, in dots, before the queue's name.
    name = (queue or "").rpartition(".")[2]
    return _LANE.set(_LANE_BY_QUEUE.get(name, Lane.OTHER))


def leave_lane(token: Token[Lane]) -> None:
    """Restore the lane that the thread had before ``enter_lane``."""
    _LANE.reset(token)


# Floors may sum to 90 % of the quota; all lanes share the rest, the first lane first.
MAX_FLOOR_TOTAL: Final = 90
_SHARE: Final = re.compile(r"\s*([a-z_]+)\s*=\s*([0-9]{1,3})\s*")


@dataclass(frozen=True, slots=True)
class Shares:
    """The floor and the ceiling of each quota lane, in percent of the limit.

    The floor is what a lane can always use. At its ceiling a lane stops while another lane wants more. A lane that
    is not named has a floor of 0 and a ceiling of 100.
    """

    floors: Mapping[QuotaLane, int] = field(default_factory=dict)
    ceilings: Mapping[QuotaLane, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, floors: str, ceilings: str) -> Self:
        """Read texts like ``nightly=30,history=5``; raises ValueError with what to change."""
        shares = cls(parse_floors(floors), parse_ceilings(ceilings))
        for lane in QuotaLane:
            if shares.ceiling(lane) < shares.floor(lane):
                raise ValueError(f"{lane} has a ceiling below its floor")
        return shares

    def floor(self, lane: QuotaLane) -> int:
        return self.floors.get(lane, 0)

    def ceiling(self, lane: QuotaLane) -> int:
        return self.ceilings.get(lane, 100)


EQUAL_SHARES: Final = Shares()
USUAL_FLOORS: Final = "first_screen=10,nightly=30,repair=10,history=10"
USUAL_CEILINGS: Final = "first_screen=80,nightly=100,repair=50,history=90"


def parse_floors(text: str) -> dict[QuotaLane, int]:
    """Read the floors, in percent; raises ValueError if they leave too little to share."""
    floors = _percents(text)
    if sum(floors.values()) > MAX_FLOOR_TOTAL:
        raise ValueError(f"needs floors that are at most {MAX_FLOOR_TOTAL} together: the rest is for whoever needs it")
    return floors


def parse_ceilings(text: str) -> dict[QuotaLane, int]:
    """Read the ceilings, in percent; raises ValueError for a ceiling of 0."""
    ceilings = _percents(text)
    if 0 in ceilings.values():
        raise ValueError("needs ceilings above 0: a lane of 0 would wait for ever")
    return ceilings


def _percents(text: str) -> dict[QuotaLane, int]:
    percents: dict[QuotaLane, int] = {}
    for part in filter(str.strip, text.split(",")):
        match = _SHARE.fullmatch(part)
        if match is None or match[1] not in list(QuotaLane) or int(match[2]) > 100:
            raise ValueError(f"needs lanes and percents like nightly=30; lanes are {', '.join(QuotaLane)}")
        percents[QuotaLane(match[1])] = int(match[2])
    return percents
