"""A simple reference implementation of the values that Relève must show of a home; it imports nothing of the project.

It gets the raw answers in the order of their requests: mean powers of steps, and the energies of days. Energy is in
whole milliwatt-hours (mWh), time in minutes since 1970, and the zone is Python's. Everything is computed from the
readings each time, in the most obvious way; nothing here is fast.

The rules, written again from the documentation:

* A step belongs to the hour, and to the local day in Europe/Paris, in which it begins. An hour is the sum of its steps.
* Months and years are sums of days, and a day is the supplier's value. If none can come, and the steps that begin in a
  day cover it completely, the day is their sum.
* Stored steps never overlap: of overlapping ones, those of the later answer replace the earlier ones if they cover all
  their time; otherwise the earlier ones stay.
* Days are stored with 3 decimals of a kWh, hours, months and years with 4, steps with 6, a half rounded up. For gas all
  decimals are kept, and for a computed day those of its steps.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")
ONE_DAY = timedelta(days=1)
KWH = 1_000_000
DAY_UNIT, TOTAL_UNIT = 1000, 100  # The last decimals of days, and of hours, months and years, in mWh.
PERIODS = ("minute", "hour", "day", "month", "year")
Document = dict[str, Any]
Energies = Mapping[date, int]  # In mWh, by local day.


# -- Time


def minute_of(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


@cache
def local(minute: int) -> datetime:
    """Return the local time at a minute since 1970; its ``fold`` is 1 in the second pass of the autumn hour."""
    return datetime.fromtimestamp(60 * minute, UTC).astimezone(PARIS)


def midnight(day: date) -> int:
    return minute_of(datetime(day.year, day.month, day.day, tzinfo=PARIS))


def length_of(day: date) -> int:
    """Return the minutes of a civil day: 1380, 1440 or 1500."""
    return midnight(day + ONE_DAY) - midnight(day)


def days_between(first: date, end: date) -> list[date]:
    return [first + number * ONE_DAY for number in range((end - first).days)]


def half_up(value: int, unit: int) -> int:
    """Return the multiple of ``unit`` that is nearest to a value of 0 or more; a half is rounded up."""
    return (2 * value + unit) // (2 * unit) * unit


# -- Readings


class Step(NamedTuple):
    """A step of a curve: from ``start`` until ``end``, in minutes since 1970, at this mean power."""

    start: int
    end: int
    milliwatts: int

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def energy(self) -> int:
        return half_up(self.milliwatts * self.length, 60) // 60

    @property
    def day(self) -> date:
        return local(self.start).date()


class Total(NamedTuple):
    """An energy, of how many of its days (of an hour: minutes) it is, and how many these are in all."""

    energy: int
    known: int
    expected: int


class GasPeriod(NamedTuple):
    """A billed period of gas; ``end`` is excluded."""

    start: date
    end: date
    energy: int
    volume: int


@dataclass
class Flow:
    """The energy of one direction, or of gas: what stands after all answers so far.

    ``told``: the energies of days as the supplier sent them. ``volumes``: m³ of gas days, as sent. ``unfetchable``: the
    days whose value can't come from the supplier any more; None if that is so for all days.
    """

    name: str = "consumption"
    is_gas: bool = False
    steps: list[Step] = field(default_factory=list)
    told: dict[date, int] = field(default_factory=dict)
    volumes: dict[date, float] = field(default_factory=dict)
    periods: list[GasPeriod] = field(default_factory=list)
    unfetchable: Collection[date] | None = ()

    # What the answers tell

    def take_days(self, answer: Mapping[date, int | None]) -> None:
        """Take an answer of days, in mWh; a null is no value."""
        for day, energy in answer.items():
            if energy is not None:
                self.told[day] = energy if self.is_gas else half_up(energy, DAY_UNIT)

    def take_steps(self, answer: Iterable[Step]) -> None:
        """Take an answer of steps, each group of those that overlap as a whole."""
        newcomers, known, kept = set(answer), set(self.steps), list[Step]()
        for group in _overlapping(newcomers | known):
            new, old = [step for step in group if step in newcomers], [step for step in group if step in known]
            kept += new if new and _minutes(old) <= _minutes(new) else old
        self.steps = sorted(kept)

    # What follows from them

    def steps_of(self, day: date) -> list[Step]:
        """Return the steps that begin in a day."""
        first, end = midnight(day), midnight(day + ONE_DAY)
        return [step for step in self.steps if first <= step.start < end]

    def can_come(self, day: date) -> bool:
        """Return whether the supplier may tell the day's value yet."""
        return day not in self.told and self.unfetchable is not None and day not in self.unfetchable

    def computed_days(self) -> dict[date, int]:
        """Return the days that no daily value can come of, and that their steps cover whole."""
        days: dict[date, int] = {}
        for day in sorted({step.day for step in self.steps} - self.told.keys()):
            if self.can_come(day):
                continue
            steps = self.steps_of(day)
            if _minutes(steps) == set(range(midnight(day), midnight(day + ONE_DAY))):
                days[day] = sum(step.energy for step in steps)
        return days

    def days(self) -> dict[date, int]:
        return self.told | self.computed_days()

    def hours(self) -> dict[int, Total]:
        """Return the hours by their first minute."""
        groups: dict[int, list[Step]] = {}
        for step in self.steps:
            groups.setdefault(step.start // 60 * 60, []).append(step)
        return {
            hour: Total(half_up(sum(step.energy for step in steps), TOTAL_UNIT), sum(step.length for step in steps), 60)
            for hour, steps in groups.items()
        }

    def months(self) -> dict[tuple[int, int], Total]:
        groups: dict[tuple[int, int], list[int]] = {}
        for day, energy in self.days().items():
            groups.setdefault((day.year, day.month), []).append(energy)
        return {month: Total(self._total(each), len(each), monthrange(*month)[1]) for month, each in groups.items()}

    def years(self) -> dict[int, Total]:
        groups: dict[int, list[int]] = {}
        for day, energy in self.days().items():
            groups.setdefault(day.year, []).append(energy)
        return {
            year: Total(self._total(each), len(each), (date(year + 1, 1, 1) - date(year, 1, 1)).days)
            for year, each in groups.items()
        }

    def _total(self, energies: Iterable[int]) -> int:
        return sum(energies) if self.is_gas else half_up(sum(energies), TOTAL_UNIT)

    # As documents

    def documents(self, by: str) -> list[Document]:
        """Return what stands of a period, in time order.

        ``load`` is the energy in mWh, ``start`` and ``end`` are minutes since 1970, the local time stands in numbers.
        """
        match by:
            case "minute":
                return [{"load": step.energy, **_clock(step.start, step.end)} for step in self.steps]
            case "hour":
                return [
                    {
                        "load": one.energy,
                        **_clock(hour, hour + 60),
                        "minutes": one.known,
                        "expected_minutes": one.expected,
                    }
                    for hour, one in sorted(self.hours().items())
                ]
            case "day":
                computed = self.computed_days()
                return [
                    {"load": energy, **_civil("day", day), "computed": day in computed}
                    for day, energy in sorted(self.days().items())
                ]
            case "month":
                return [
                    {"load": one.energy, **_civil("month", date(*month, 1)), **_of_days(one)}
                    for month, one in sorted(self.months().items())
                ]
            case _:
                return [
                    {"load": one.energy, **_civil("year", date(year, 1, 1)), **_of_days(one)}
                    for year, one in sorted(self.years().items())
                ]

    def figures(self, today: date) -> Document:
        """Return what is known today of yesterday, this month and this year, None of what is not, and the last day."""
        days = self.days()
        figures: Document = {"yesterday": days.get(today - ONE_DAY), "last_day": max(days)}
        totals = {"month": self.months().get((today.year, today.month)), "year": self.years().get(today.year)}
        for view, total in totals.items():
            first, end = span_of(view, today)
            figures[view] = total.energy if total else None
            figures[f"{view}_days"] = total.known if total else 0
            figures[f"{view}_expected_days"] = (end - first).days
        return figures


def _overlapping(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Yield the steps in groups: those that overlap, directly or through others, are in one."""
    group: list[Step] = []
    for step in sorted(steps):
        if group and step.start >= max(one.end for one in group):
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _minutes(steps: Iterable[Step]) -> set[int]:
    """Return the minutes that steps cover."""
    return {minute for step in steps for minute in range(step.start, step.end)}


def _of_days(total: Total) -> Document:
    return {"days": total.known, "expected_days": total.expected}


def _clock(start: int, end: int) -> Document:
    at = local(start)
    numbers = {name: getattr(at, name) for name in ("year", "month", "day", "hour", "minute", "fold")}
    return {"start": start, "end": end, **numbers}


def _civil(view: str, first: date) -> Document:
    """Return the times of a day, month or year; missing numbers are 0, and a year's month is 1."""
    _, end = span_of(view, first)
    day = first.day if view == "day" else 0
    numbers = {"year": first.year, "month": first.month, "day": day, "hour": 0, "minute": 0, "fold": 0}
    return {"start": midnight(first), "end": midnight(end), **numbers}


# -- Charts


class Slot(NamedTuple):
    """A row of a chart's table and its bars; None is an unknown energy.

    ``begins``: the local time of a step, such as "02:30", the number of a day, or that of a month. ``fed`` and
    ``balance``: of a chart of both directions. ``heights``: of the bars of now, of before and of what was fed in, in
    millionths of a kW for a step, and of a kWh else.
    """

    begins: str
    ends: str
    energy: int | None
    before: int | None
    fed: int | None = None
    balance: int | None = None
    minutes: int = 60  # Of a step, with what of it reaches into the next day.
    fed_minutes: int = 60

    @property
    def heights(self) -> tuple[float | None, float | None, float | None]:
        pairs = ((self.energy, self.minutes), (self.before, self.minutes), (self.fed, self.fed_minutes))
        now, before, fed = (None if energy is None else 60 * energy / minutes for energy, minutes in pairs)
        return now, before, fed


class Chart(NamedTuple):
    """A span of an account's page.

    ``known``: how many of how many days are known, None if all or none are. ``change``: in whole percents, compared
    with the span before, over the time that both have.
    """

    slots: list[Slot]
    total: int | None
    fed: int | None
    known: tuple[int, int] | None
    change: int | None
    balance: int | None


def span_of(view: str, day: date) -> tuple[date, date]:
    """Return the first day of the span that holds a day, and the first day after it."""
    match view:
        case "day":
            return day, day + ONE_DAY
        case "week":
            monday = day - day.weekday() * ONE_DAY
            return monday, monday + 7 * ONE_DAY
        case "month":
            first = day.replace(day=1)
            return first, (first + 31 * ONE_DAY).replace(day=1)
        case _:
            return date(day.year, 1, 1), date(day.year + 1, 1, 1)


def chart(view: str, day: date, flow: Flow, fed: Flow | None = None, *, with_steps: bool = True) -> Chart:
    """Return the chart of the span that holds a day; ``fed``: what was fed into the grid, if there are panels.

    ``with_steps``: whether a day is drawn by its steps; without, it has only its total.
    """
    (first, end), days, fed_days = span_of(view, day), flow.days(), fed.days() if fed else {}
    dates = days_between(first, end)
    within, fed_within = ({one: energies[one] for one in dates if one in energies} for energies in (days, fed_days))
    total, fed_total = _sum(within.values()), _sum(fed_within.values())
    slots: list[Slot] = []
    change = _change_by_days(view, first, days)
    if view == "day" and with_steps and not flow.is_gas:
        cells = _cells(flow, day)
        slots = _slots_of_day(day, cells, _cells(fed, day) if fed else None)
        total = days.get(day, _sum(step.energy for step in flow.steps_of(day)))
        fed_total = fed_days.get(day, _sum(step.energy for step in fed.steps_of(day))) if fed else None
        if day not in days or day - ONE_DAY not in days:
            pairs = [(cell.energy, cell.before) for cell in cells if None not in (cell.energy, cell.before)]
            change = _change(sum(now or 0 for now, _ in pairs), sum(before or 0 for _, before in pairs))
    elif view == "year":
        slots = _slots_of_year(first.year, days, fed_days)
    elif view != "day":
        slots = _slots_of_days(view, first, days, fed_days)
    both = within.keys() & fed_within.keys()
    return Chart(
        slots,
        total,
        fed_total,
        (len(within), len(dates)) if 0 < len(within) < len(dates) else None,
        change,
        sum(within[one] - fed_within[one] for one in both) if both else None,
    )


def _sum(energies: Iterable[int]) -> int | None:
    known = list(energies)
    return sum(known) if known else None


def _change(now: int, before: int) -> int | None:
    """Return a change in whole percents, half up; -100 only where nothing is left."""
    if not before:
        return None
    size = half_up(100 * abs(now - before), before) // before
    return max(size if now >= before else -size, -99) if now else -100


def _twin(view: str, first: date, day: date) -> date | None:
    """Return the day of the span before that a day is compared with; None if there is none, as on 31 April."""
    if view in ("day", "week"):
        return day - (ONE_DAY if view == "day" else 7 * ONE_DAY)
    before = first - ONE_DAY
    try:
        return day.replace(year=before.year, month=before.month if view == "month" else day.month)
    except ValueError:
        return None


def _change_by_days(view: str, first: date, days: Energies) -> int | None:
    dates = days_between(*span_of(view, first))
    pairs = [(days[day], days[twin]) for day in dates if day in days and (twin := _twin(view, first, day)) in days]
    return _change(sum(now for now, _ in pairs), sum(before for _, before in pairs))


def _slots_of_days(view: str, first: date, days: Energies, fed: Energies) -> list[Slot]:
    slots = []
    for day in days_between(*span_of(view, first)):
        now, other, twin = days.get(day), fed.get(day), _twin(view, first, day)
        balance = None if now is None or other is None else now - other
        slots.append(Slot(str(day.day), "", now, days.get(twin) if twin else None, other, balance))
    return slots


def _slots_of_year(year: int, days: Energies, fed: Energies) -> list[Slot]:
    def in_month(energies: Energies, year: int, month: int) -> dict[date, int]:
        return {day: energy for day, energy in energies.items() if (day.year, day.month) == (year, month)}

    slots = []
    for month in range(1, 13):
        now, before, other = in_month(days, year, month), in_month(days, year - 1, month), in_month(fed, year, month)
        balance = sum(now.values()) - sum(other.values()) if now and now.keys() == other.keys() else None
        slots.append(Slot(str(month), "", _sum(now.values()), _sum(before.values()), _sum(other.values()), balance))
    return slots


class Cell(NamedTuple):
    """A time of a day, in minutes of it, with the energies of the steps that begin in it, now and the day before.

    ``beyond``: minutes of its last step after the day's end. ``is_whole``: steps that begin in it cover all of it.
    """

    start: int
    end: int
    energy: int | None
    before: int | None
    beyond: int
    is_whole: bool


def _cells(flow: Flow, day: date) -> list[Cell]:
    """Return a day cut where no step of it or of the day before is cut, and every half-hour in its gaps.

    What reaches into the day from the day before is counted there, and a step of the day before that lies across the
    edge of a gap is compared with nothing.
    """
    length, own, yesterday = length_of(day), _in_day(flow, day), _in_day(flow, day - ONE_DAY)
    carried = max((step.beyond for step in yesterday), default=0)
    covered = set(range(carried)) | {minute for step in own for minute in range(step.start, step.end)}
    gaps = set(range(length)) - covered
    edges_of_gaps = {carried, *(one for one in range(length + 1) if (one in gaps) is not (one - 1 in gaps))}
    on_clock = _on_clock_of(day, yesterday)
    before = [step for step in on_clock if not any(step.start < edge < step.end for edge in edges_of_gaps)]
    steps = [*own, *before]
    bounds = {0, length, *edges_of_gaps, *(minute for minute in gaps if minute % 30 == 0)}
    bounds |= {edge for step in steps for edge in (step.start, step.end)}
    bounds -= {minute for step in steps for minute in range(step.start + 1, step.end)}
    cells = []
    for start, end in pairwise(sorted(bounds)):
        now, then = ([step for step in one if start <= step.start < end] for one in (own, before))
        beyond = sum(step.beyond for step in now)
        is_same_time = sum(step.end - step.start for step in then) == end - start
        is_same_time = is_same_time and sum(step.beyond for step in then) == beyond
        before_energy = sum(step.energy for step in then) if is_same_time else None
        is_whole = sum(step.end - step.start for step in now) == end - start
        cells.append(Cell(start, end, _sum(step.energy for step in now), before_energy, beyond, is_whole))
    return cells


class _DayStep(NamedTuple):
    """A step in minutes of its day, cut at the day's end; ``beyond``: the minutes behind the cut."""

    start: int
    end: int
    energy: int
    beyond: int
    clock: tuple[datetime, datetime]  # The local times of its first and its last minute.


def _in_day(flow: Flow, day: date) -> list[_DayStep]:
    first, end = midnight(day), midnight(day + ONE_DAY)
    return [
        _DayStep(
            step.start - first,
            min(step.end, end) - first,
            step.energy,
            max(step.end - end, 0),
            (local(step.start), local(min(step.end, end) - 1)),
        )
        for step in flow.steps_of(day)
    ]


def _on_clock_of(day: date, steps: Iterable[_DayStep]) -> list[_DayStep]:
    """Return steps at the same time of another day's clock, without those that it shows never, or for longer."""
    clock = {_shown(local(midnight(day) + minute)): minute for minute in range(length_of(day))}
    moved = []
    for step in steps:
        first, last = (clock.get(_shown(moment)) for moment in step.clock)
        if first is not None and last is not None and last + 1 - first == step.end - step.start:
            moved.append(step._replace(start=first, end=last + 1))
    return moved


def _shown(moment: datetime) -> tuple[int, int, int]:
    return moment.hour, moment.minute, moment.fold


def _slots_of_day(day: date, cells: list[Cell], fed: list[Cell] | None) -> list[Slot]:
    if fed is None:
        return [_to_slot(day, cell, None) for cell in cells]
    common = sorted({cell.start for cell in cells} & {cell.start for cell in fed})
    ends = [*common[1:], length_of(day)]
    return [
        _to_slot(day, _added_up(cells, start, end), _added_up(fed, start, end))
        for start, end in zip(common, ends, strict=True)
    ]


def _added_up(cells: Iterable[Cell], start: int, end: int) -> Cell:
    within = [cell for cell in cells if start <= cell.start < end]
    before = [cell.before for cell in within if cell.before is not None]
    return Cell(
        start,
        end,
        _sum(cell.energy for cell in within if cell.energy is not None),
        sum(before) if len(before) == len(within) else None,
        within[-1].beyond,
        all(cell.is_whole for cell in within),
    )


def _to_slot(day: date, cell: Cell, fed: Cell | None) -> Slot:
    start, end = (f"{local(midnight(day) + minute):%H:%M}" for minute in (cell.start, cell.end + cell.beyond))
    balance = None
    if fed and None not in (cell.energy, fed.energy) and cell.is_whole and fed.is_whole and cell.beyond == fed.beyond:
        balance = (cell.energy or 0) - (fed.energy or 0)
    minutes, fed_minutes = (one.end + one.beyond - one.start for one in (cell, fed or cell))
    return Slot(start, end, cell.energy, cell.before, fed.energy if fed else None, balance, minutes, fed_minutes)


# -- Home Assistant


class StatisticRow(NamedTuple):
    """The amount of an hour, None if nothing is known of it, and the sum up to its end."""

    amount: int | None
    total: int


def statistics(flow: Flow, *, volume: bool = False) -> dict[int, StatisticRow]:
    """Return the rows of a statistic by their first minute: sums at the ends of days are those of the days.

    A day's amount is its value, and without one the sum of its hours. A day without a curve is one row at its start, at
    six o'clock for gas. If a day's value exceeds its hours, the rest goes into the first one; a deficit is taken from
    the first ones. Hours and days between others of which nothing is known carry the sum on.
    """
    days = {day: round(value * KWH) for day, value in flow.volumes.items()} if volume else flow.days()
    hours: dict[date, dict[int, int]] = {}
    for hour, total in {} if volume else flow.hours().items():
        hours.setdefault(local(hour).date(), {})[hour] = total.energy
    rows, reached = {}, 0
    known = sorted(days.keys() | hours.keys())
    for day in days_between(known[0], known[-1] + ONE_DAY) if known else ():
        of_day = hours.get(day, {})
        begins = midnight(day)
        amounts: dict[int, int | None] = {}
        if of_day:
            amounts = {hour: of_day.get(hour) for hour in range(begins, begins + length_of(day), 60)}
            missing = days.get(day, sum(of_day.values())) - sum(of_day.values())
            for hour, amount in amounts.items():
                if missing > 0 or (missing < 0 and amount):
                    amounts[hour] = changed = max((amount or 0) + missing, 0)
                    missing -= changed - (amount or 0)
        else:
            start = minute_of(datetime(day.year, day.month, day.day, 6, tzinfo=PARIS)) if flow.is_gas else begins
            amounts = {start: days.get(day)}
        for start, amount in amounts.items():
            reached += amount or 0
            rows[start] = StatisticRow(amount, reached)
    return rows
