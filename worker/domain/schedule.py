"""When a series of an account is requested: the hours of a gateway, the nights of the fleet policy, the next request.

A gateway may be called during certain hours of the morning and the afternoon. So that many homes don't call at once,
each account has its own moment each morning and each afternoon: an odd second, derived from its id. Histories are
loaded at any hour, because the quota spaces their calls. Source: what the author of conso-api asks of programs.

The fleet policy says how often each series is requested: every night or every k-th one. With a small quota, a night
requests only the accounts that have waited longest (``sync.due``), so that each has its turn within k nights.

``next_request`` returns when an open day is requested next: in a night, in a catch-up of the afternoon, or in the
repair. The real runs select their rows with queries (``stores.registry.due``). This module computes the same result for
one day and one row, to show it to people: in ``releve explain``, ``completeness`` and ``status``, and on the
household's page.
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

# A curve that the supplier doesn't collect yet is requested only every seventh night. No day is lost: when the supplier
# has begun to collect the curve, one call returns all days since the last request.
NIGHTS_WITHOUT_CURVE: Final = 7
# One call returns seven days of curve. With more nights between two turns, each turn would cost two calls.
MOST_NIGHTS: Final = 7
# The catch-ups begin in these hours, the repair in every hour. Celery beat's schedule is built from these constants.
CATCH_UP_HOURS: Final = (14, 15)
CATCH_UP_MINUTE: Final = 30
REPAIR_MINUTE: Final = 45


class _Hours(NamedTuple):
    """Hours of a day: each account's moment lies between ``first`` and ``latest``; from ``end`` on no call begins."""

    first: time
    latest: time
    end: time


# The last repair of a morning or afternoon (REPAIR_MINUTE) lies between the latest moment and the end. After the end,
# ten minutes of the hour are left to finish the calls that have begun.
_MORNING: Final = _Hours(time(6), time(9, 30), time(9, 50))
_AFTERNOON: Final = _Hours(time(13), time(14, 30), time(14, 50))


@dataclass(frozen=True, slots=True)
class AskingHours:
    """The hours in which the supplier allows calls for one account."""

    account_id: str

    @classmethod
    def of(cls, supplier: str, account_id: str) -> Self | None:
        """Return the allowed hours of an account; None if its supplier may be called at any time."""
        return cls(account_id) if is_gateway(supplier) else None

    def allow(self, now: datetime) -> bool:
        return self.next_from(now) <= now

    def next_from(self, moment: datetime) -> datetime:
        """Return the first moment from ``moment`` on at which calls for the account are allowed."""
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
    """Return whether ``now`` lies in the hours of a morning or an afternoon."""
    return any(_is_within(hours, now) for hours in (_MORNING, _AFTERNOON))


def is_afternoon(now: datetime) -> bool:
    """Return whether ``now`` lies in the hours of an afternoon."""
    return _is_within(_AFTERNOON, now)


def _is_within(hours: _Hours, now: datetime) -> bool:
    return hours.first <= now.astimezone(PARIS).time() < hours.end


def night_start(now: datetime, nightly_at: time) -> datetime:
    """Return the start of the current night: the last moment at which the local clock showed ``nightly_at``."""
    local = now.astimezone(PARIS)
    start = datetime.combine(local.date(), nightly_at, PARIS)
    return start if start <= local else datetime.combine(local.date() - ONE_DAY, nightly_at, PARIS)


def told_day(now: datetime, nightly_at: time) -> date:
    """Return the day as of which pages judge what is missing: today, or yesterday until the night's run has begun."""
    return night_start(now, nightly_at).date()


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """How often series are requested: curves every ``curve_every`` nights, other series every ``daily_every`` nights.

    ``supplier``: the supplier to whose series the policy applies. A series of another supplier has a turn as often as
    its cadence and its quota allow; the account that has waited longest comes first.
    """

    daily_every: int = 1
    curve_every: int = 1
    supplier: str = "enedis"

    def __post_init__(self) -> None:
        if not all(1 <= nights <= MOST_NIGHTS for nights in (self.daily_every, self.curve_every)):
            raise ValueError(f"each series is asked for every 1 to {MOST_NIGHTS} nights")

    def every(self, series: Series) -> int:
        """Return the number of nights from one turn of a series to the next, which is at least the series' cadence."""
        if series.description.supplier != self.supplier:
            return series.description.cadence_nights
        policy = self.curve_every if series.has_steps else self.daily_every
        return max(policy, series.description.cadence_nights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The facts that decide when a row of the registry is requested next.

    ``nightly_at``: when a night begins. ``nights``: the number of nights from one turn to the next. ``asked_at``: when
    the series' last days were last requested. ``again_at``: when a failed request for them is tried again. ``last_day``
    and ``last_complete``: the newest day with a reading, and the newest complete day. ``repair_on``: the first date on
    which the repair includes the row. ``history_at``: when loading the history continues; None if it is loaded.
    ``lacks_curve``: whether the row is for a curve that the supplier doesn't collect yet (``NIGHTS_WITHOUT_CURVE``).
    ``hours``: the allowed hours of the account; None if any time is allowed.
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
        """Return the first moment from ``moment`` on at which calls for the account are allowed."""
        return moment if self.hours is None else self.hours.next_from(moment)


def next_request(series: Series, day: date, mark: DayMark, now: datetime, turn: Turn) -> datetime | None:
    """Return when an open day is requested next, ``now`` if it is due; None if the day is too old or isn't open."""
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
    """Return when the last days of a series are requested next, ``now`` if they are due."""
    return min(_look_backs(series, now, turn)).astimezone(UTC)


def _look_backs(series: Series, now: datetime, turn: Turn) -> Iterator[datetime]:
    if turn.again_at is not None:  # While a row waits for a retry, nights and catch-ups leave it out.
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
    """Yield the next catch-up that includes the row, if there is one today or tomorrow (see ``_is_caught_up``)."""
    if not series.catches_up or turn.lacks_curve:
        return
    for today in (civil_date(now), civil_date(now) + ONE_DAY):
        for moment, before in _catch_ups_of(today, now, turn):
            if _is_caught_up(moment, before, turn):
                yield moment
                return


def _catch_ups_of(today: date, now: datetime, turn: Turn) -> Iterator[tuple[datetime, datetime]]:
    """Yield a day's remaining catch-ups with the limit of each: it leaves out rows requested at its limit or later.

    An account with its own hours has only one catch-up a day.
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
    """Return the time of the first repair, on the date ``on`` or later, for which the account may make calls."""
    moment = _first_repair(on, now)
    while turn.opens(moment) > moment:
        moment = datetime.fromtimestamp(moment.timestamp() + 3600, PARIS)
    return moment


def _first_repair(on: date, now: datetime) -> datetime:
    local = now.astimezone(PARIS)
    if on > local.date():
        return datetime.combine(on, time(0, REPAIR_MINUTE), PARIS)
    this_hour = local.replace(minute=REPAIR_MINUTE, second=0, microsecond=0)
    # Hours are counted in UTC, because at a change of the local clock an hour occurs twice, or not at all.
    return this_hour if this_hour > local else datetime.fromtimestamp(this_hour.timestamp() + 3600, PARIS)
