"""The lanes of work: their queues, their shares of the supplier's quota, and their purposes.

The *lane* of a thread is the queue through which its task came; work that a person started has the lane ``by_hand``.
Five of the lanes, the *quota lanes*, have a share of the quota each. Every other lane uses the share of a quota lane.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

# The prefix marks the broker's keys in a Redis that is shared with other programs.
BROKER_PREFIX: Final = "releve:celery:"


class Lane(StrEnum):
    """The queues, and two lanes for work that came through none of these queues."""

    STEPS = "steps"
    CONTROL = "control"
    FIRST_SCREEN = "first_screen"
    NIGHTLY = "nightly"
    REPAIR = "repair"
    BACKFILL = "backfill"
    STRANGERS = "strangers"
    BY_HAND = "by_hand"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LaneDescription:
    """The purpose of a lane and its share of the quota.

    ``shares``: the usual floor and ceiling of a quota lane, in percent; None for a lane that uses the share of
    ``quota_lane``. ``hard_ceiling``: whether the lane has a ceiling even if the settings name none for it, and must
    stop there even if no other lane wants the quota.
    """

    purpose: str
    quota_lane: Lane
    shares: tuple[int, int] | None = None
    is_queue: bool = True
    hard_ceiling: bool = False


# This is the order in which queues are emptied and quota lanes are served.
LANES: Final[Mapping[Lane, LaneDescription]] = {
    Lane.STEPS: LaneDescription("the steps of a window after `fetch`, in any lane", Lane.BACKFILL),
    Lane.CONTROL: LaneDescription("tasks that decide what is due", Lane.BACKFILL),
    Lane.FIRST_SCREEN: LaneDescription(
        "first values of a new account, and what a person asks for", Lane.FIRST_SCREEN, (10, 80)
    ),
    Lane.NIGHTLY: LaneDescription("the last days of every account", Lane.NIGHTLY, (30, 100)),
    Lane.REPAIR: LaneDescription("open days of the last months", Lane.REPAIR, (10, 50)),
    Lane.BACKFILL: LaneDescription("the rest of the history, and everything else", Lane.BACKFILL, (10, 90)),
    # Anybody can begin a connection request, so all these requests together get little quota.
    Lane.STRANGERS: LaneDescription("connection requests without a proof", Lane.STRANGERS, (0, 5), hard_ceiling=True),
    Lane.BY_HAND: LaneDescription(
        "calls of commands and pages, for which a person waits", Lane.FIRST_SCREEN, is_queue=False
    ),
    Lane.OTHER: LaneDescription("a queue that an operator added", Lane.BACKFILL, is_queue=False),
}
QUEUES: Final = tuple(lane.value for lane, description in LANES.items() if description.is_queue)
_SHARES: Final = {lane: described.shares for lane, described in LANES.items() if described.shares}
QUOTA_LANES: Final = tuple(_SHARES)
USUAL_FLOORS, USUAL_CEILINGS = (
    ",".join(f"{lane}={shares[place]}" for lane, shares in _SHARES.items()) for place in (0, 1)
)


def request_lane(*, vouched: bool) -> Lane:
    """Return the lane of a connection request: FIRST_SCREEN if somebody vouches for it, STRANGERS if nobody does."""
    return Lane.FIRST_SCREEN if vouched else Lane.STRANGERS


_LANE: ContextVar[Lane] = ContextVar("lane", default=Lane.BY_HAND)


def current_lane() -> Lane:
    """Return the lane of the calling thread; ``by_hand`` outside tasks."""
    return _LANE.get()


def enter_lane(queue: str | None) -> Token[Lane]:
    """Set the lane of the calling thread to that of ``queue``; pass the returned token to ``leave_lane``."""
    # With RabbitMQ, the routing key of a delayed message begins with the delay; the queue's name follows the last dot.
    name = (queue or "").rpartition(".")[2]
    return _LANE.set(Lane(name) if name in QUEUES else Lane.OTHER)


def leave_lane(token: Token[Lane]) -> None:
    """Restore the lane that the thread had before ``enter_lane``."""
    _LANE.reset(token)


@contextmanager
def in_lane(lane: Lane) -> Iterator[None]:
    """Set the lane of the calling thread during the block; used for calls outside a task."""
    token = _LANE.set(lane)
    try:
        yield
    finally:
        leave_lane(token)


_HARD_CEILINGS: Final = {lane: ceiling for lane, (_, ceiling) in _SHARES.items() if LANES[lane].hard_ceiling}
# The sum of all floors, in percent of the quota, is at most this. Lanes share the rest in the order of ``LANES``.
MAX_FLOOR_TOTAL: Final = 90
_SHARE: Final = re.compile(r"\s*([a-z_]+)\s*=\s*([0-9]{1,3})\s*")


@dataclass(frozen=True, slots=True)
class Shares:
    """The floor and the ceiling of each quota lane, in percent of the limit.

    A lane can always use its floor. At its ceiling a lane stops while another lane wants more; at a hard ceiling it
    always stops. A lane that isn't named here has a floor of 0; its ceiling is 100, unless it has a hard ceiling.
    """

    floors: Mapping[Lane, int] = field(default_factory=dict)
    ceilings: Mapping[Lane, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, floors: str, ceilings: str) -> Self:
        """Read texts like ``nightly=30,backfill=5``. Raises ValueError, which says what to change."""
        shares = cls(parse_floors(floors), parse_ceilings(ceilings))
        for lane in QUOTA_LANES:
            if shares.ceiling(lane) < shares.floor(lane):
                raise ValueError(f"{lane} has a ceiling below its floor")
        return shares

    def floor(self, lane: Lane) -> int:
        return self.floors.get(lane, 0)

    def ceiling(self, lane: Lane) -> int:
        return self.ceilings.get(lane, _HARD_CEILINGS.get(lane, 100))


EQUAL_SHARES: Final = Shares()


def parse_floors(text: str) -> dict[Lane, int]:
    """Read the floors, in percent. Raises ValueError if they leave too little quota to share."""
    floors = _percents(text)
    if sum(floors.values()) > MAX_FLOOR_TOTAL:
        raise ValueError(f"needs floors of at most {MAX_FLOOR_TOTAL} together: the rest is shared")
    return floors


def parse_ceilings(text: str) -> dict[Lane, int]:
    """Read the ceilings, in percent. Raises ValueError for a ceiling of 0."""
    ceilings = _percents(text)
    if 0 in ceilings.values():
        raise ValueError("needs ceilings above 0: a lane with 0 would wait forever")
    return ceilings


def _percents(text: str) -> dict[Lane, int]:
    percents: dict[Lane, int] = {}
    for part in filter(str.strip, text.split(",")):
        match = _SHARE.fullmatch(part)
        if match is None or match[1] not in QUOTA_LANES or int(match[2]) > 100:
            raise ValueError(f"needs lanes and percents, like nightly=30; the lanes are {', '.join(QUOTA_LANES)}")
        percents[Lane(match[1])] = int(match[2])
    return percents
