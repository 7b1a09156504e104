"""When an open day of a series is asked for next: the nights, the catch-ups of the afternoon, and the repair.

The lanes themselves are queries (``worker.stores.registry.due``). This says of one day and one row what they will do,
for people: ``releve explain``, ``completeness`` and ``status``, and the household's page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

from worker.domain.fleet.asking_hours import AskingHours, start_of_afternoon
from worker.domain.fleet.policy import night_start
from worker.domain.measures.completeness import DayMark, next_ask
from worker.domain.measures.readings import ONE_DAY, PARIS, civil_date
from worker.domain.measures.series import Series
from worker.domain.measures.windows import plan_look_back

# The catch-ups begin in these hours, and the repair in every hour; beat's schedule is built from these.
CATCH_UP_HOURS: Final = (14, 15)
CATCH_UP_MINUTE: Final = 30
REPAIR_MINUTE: Final = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What decides when a row of the registry is asked next.

    ``nightly_at``: when a night begins. ``nights``: from one turn to the next. ``asked_at``: the last look-back.
    ``again_at``: the next try after a failure. ``repair_on``: the first date on which the repair takes the row.
    ``lacks_curve``: the curve is not collected, so only a night in seven asks for it. ``hours``: those of an account
    that may not be asked at any time.
    """

    nightly_at: time
    nights: int = 1
    asked_at: datetime | None = None
    again_at: datetime | None = None
    last_day: date | None = None
    last_complete: date | None = None
    repair_on: date | None = None
    lacks_curve: bool = False
    hours: AskingHours | None = None

    def opens(self, moment: datetime) -> datetime:
        """Return the first moment from ``moment`` on at which the account may be asked."""
        return moment if self.hours is None else self.hours.next_from(moment)


def next_request(series: Series, day: date, mark: DayMark, now: datetime, turn: Turn) -> datetime | None:
    """Return when an open day is asked for next: ``now`` if it is due; None if it is too old, or not open."""
    if not mark.open or series.is_state:
        return None
    moments = [moment for moment in _look_backs(series, now, turn) if _reaches(series, day, moment, turn)]
    if (when := next_ask(day, mark, series)) is not None and not turn.lacks_curve:
        moments.append(_next_repair(max(when, turn.repair_on or when), now, turn))
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


def _reaches(series: Series, day: date, moment: datetime, turn: Turn) -> bool:
    window = plan_look_back(civil_date(moment), series, turn.last_complete)
    return window.start <= day < window.end
