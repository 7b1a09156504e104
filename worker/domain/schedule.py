"""When a series of an account is asked for: the hours of a gateway, the nights of the fleet policy, the next request.

A gateway may be asked in the hours of a person's morning and of an afternoon. Each account has a moment of its own in
both, by its id and at an odd second, so that many homes do not ask at once. Histories keep to no hours: the quota
spaces them. Source: what the author of conso-api asks of programs.

The fleet policy says how often each series is asked for: every night or every k-th one. With a small quota a night asks
for a share of the accounts, the longest unasked first (``sync.due``), so that each has its turn within k nights.

``next_request`` says when an open day is asked for next: in a night, in a catch-up of the afternoon, or in the repair.
What these do is decided by queries (``stores.registry.due``); here it is said of one day and one row, for people:
``releve explain``, ``completeness`` and ``status``, and the household's page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple, Self

from worker.domain.completeness import DayMark, next_ask
from worker.domain.series import Series, is_gateway
from worker.domain.windows import ONE_DAY, PARIS, civil_date, plan_look_back

# An account without a load curve is asked for it once a week: when the collection begins, one call returns all of it.
NIGHTS_WITHOUT_CURVE: Final = 7
# One call returns seven days of curve. With more nights between two turns, each turn would cost two calls.
MOST_NIGHTS: Final = 7
# The catch-ups begin in these hours, and the repair in every hour; beat's schedule is built from these.
CATCH_UP_HOURS: Final = (14, 15)
CATCH_UP_MINUTE: Final = 30
REPAIR_MINUTE: Final = 45


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


def night_start(now: datetime, nightly_at: time) -> datetime:
    """Return the beginning of the night that is under way: the last moment at which the clock showed ``nightly_at``."""
    local = now.astimezone(PARIS)
    start = datetime.combine(local.date(), nightly_at, PARIS)
    return start if start <= local else datetime.combine(local.date() - ONE_DAY, nightly_at, PARIS)


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """Ask for daily values every ``daily_every``-th night, for curves every ``curve_every``-th (1 to 7).

    ``supplier``: whose series it is for; those of others have their turn by their cadence alone, as far as the quota of
    theirs carries, the longest unasked first.
    """

    daily_every: int = 1
    curve_every: int = 1
    supplier: str = "enedis"

    def __post_init__(self) -> None:
        if not all(1 <= nights <= MOST_NIGHTS for nights in (self.daily_every, self.curve_every)):
            raise ValueError(f"each series is asked for every 1 to {MOST_NIGHTS} nights")

    def every(self, series: Series) -> int:
        """Return the nights from one turn to the next, at least those of the series' own cadence."""
        if series.description.supplier != self.supplier:
            return series.description.cadence_nights
        policy = self.curve_every if series.has_steps else self.daily_every
        return max(policy, series.description.cadence_nights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What decides when a row of the registry is asked next.

    ``nightly_at``: when a night begins. ``nights``: from one turn to the next. ``asked_at``: the last look-back.
    ``again_at``: the next try after a failure. ``repair_on``: the first date on which the repair takes the row.
    ``history_at``: when the history goes on; None if it is loaded. ``lacks_curve``: the curve is not collected, so only
    a night in seven asks for it. ``hours``: those of an account that may not be asked at any time.
    """

    nightly_at: time
    nights: int = 1
    asked_at: datetime | None = None
    again_at: datetime | None = None
    last_day: date | None = None
    last_complete: date | None = None
    repair_on: date | None = None
    history_at: datetime | None = None
    lacks_curve: bool = False
    hours: AskingHours | None = None

    def opens(self, moment: datetime) -> datetime:
        """Return the first moment from ``moment`` on at which the account may be asked."""
        return moment if self.hours is None else self.hours.next_from(moment)


def next_request(series: Series, day: date, mark: DayMark, now: datetime, turn: Turn) -> datetime | None:
    """Return when an open day is asked for next: ``now`` if it is due; None if it is too old, or not open."""
    if not mark.open or series.is_state:
        return None
    moments = [
        moment
        for moment in _look_backs(series, now, turn)
        if day in plan_look_back(civil_date(moment), series, turn.last_complete)
    ]
    if (when := next_ask(day, mark, series)) is not None and not turn.lacks_curve:
        moments.append(_next_repair(max(when, turn.repair_on or when), now, turn))
    if not mark.asked and turn.history_at is not None:
        moments.append(max(now, turn.history_at))
    return min(moments).astimezone(UTC) if moments else None


def next_look_back(series: Series, now: datetime, turn: Turn) -> datetime:
    """Return when the last days of a series are asked for next: ``now`` if they are due."""
    return min(_look_backs(series, now, turn)).astimezone(UTC)


def _look_backs(series: Series, now: datetime, turn: Turn) -> Iterator[datetime]:
    if turn.again_at is not None:  # The night and the catch-ups leave out a row that waits for a try.
        yield turn.opens(max(now, turn.again_at))
        return
    yield turn.opens(_next_night(now, turn))
    yield from _next_catch_ups(series, now, turn)


def _next_night(now: datetime, turn: Turn) -> datetime:
    start = night_start(now, turn.nightly_at)
    while turn.asked_at is not None and turn.asked_at >= start - (turn.nights - 1) * ONE_DAY:
        start += ONE_DAY
    return max(now, start)


def _next_catch_ups(series: Series, now: datetime, turn: Turn) -> Iterator[datetime]:
    """Yield the next catch-up that takes the row: it lacks the day before, and was not asked in the same hour."""
    if not series.catches_up or turn.lacks_curve:
        return
    for today in (civil_date(now), civil_date(now) + ONE_DAY):
        for moment, before in _catch_ups_of(today, now, turn):
            if _is_caught_up(moment, before, turn):
                yield moment
                return


def _catch_ups_of(today: date, now: datetime, turn: Turn) -> Iterator[tuple[datetime, datetime]]:
    """Yield the catch-ups of a day that are still to come; each takes rows that were not asked since its second time.

    An account with hours of its own has one.
    """
    if turn.hours is not None:
        begins = start_of_afternoon(today)
        moment = turn.hours.next_from(max(now, begins))
        if civil_date(moment) == today:
            yield moment, begins
        return
    for hour in CATCH_UP_HOURS:
        moment = datetime.combine(today, time(hour, CATCH_UP_MINUTE), PARIS)
        if moment > now:
            yield moment, moment.replace(minute=0)


def _is_caught_up(moment: datetime, before: datetime, turn: Turn) -> bool:
    if turn.last_day is not None and turn.last_day >= civil_date(moment) - ONE_DAY:
        return False
    if turn.asked_at is None:
        return turn.nights == 1
    had_its_turn = turn.nights == 1 or turn.asked_at >= night_start(moment, turn.nightly_at)
    return had_its_turn and turn.asked_at < before


def _next_repair(on: date, now: datetime, turn: Turn) -> datetime:
    """Return the first repair on or after the date ``on`` at which the account may be asked."""
    moment = _first_repair(on, now)
    while turn.opens(moment) > moment:
        moment = datetime.fromtimestamp(moment.timestamp() + 3600, PARIS)
    return moment


def _first_repair(on: date, now: datetime) -> datetime:
    local = now.astimezone(PARIS)
    if on > local.date():
        return datetime.combine(on, time(0, REPAIR_MINUTE), PARIS)
    this_hour = local.replace(minute=REPAIR_MINUTE, second=0, microsecond=0)
    # Hours are counted on the clock of the world: at a change of the civil clock one is there twice, or not at all.
    return this_hour if this_hour > local else datetime.fromtimestamp(this_hour.timestamp() + 3600, PARIS)
