"""Series of a file: rows are converted to the form of Enedis' answers of 2026, which the parsers of answers read.

If a file has only the ends of a curve's steps, the length of each step is inferred from the neighbouring ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, NamedTuple

from worker.domain.documents import MILLIWATT_HOURS_PER_WH, USUAL_STEP_MINUTES, Entry, keep_last
from worker.domain.files.cells import FileSeries, Source
from worker.domain.parsing.electricity import parse_daily, parse_load_curve, parse_registers
from worker.domain.parsing.timestamps import is_newest_first, to_instants
from worker.domain.parsing.values import NAMES_OF_DIRECTIONS_2026, ParsedAnswer
from worker.domain.series import Direction, Series, curve_of, daily_of, registers_of
from worker.domain.tariffs import day_energies
from worker.domain.windows import ONE_DAY, PARIS, IntervalReading, civil_date, day_length, local_midnight

STEPS: Final = (5, 10, 15, 30, 60)  # In minutes: the step lengths that Enedis publishes.
_MINUTE: Final = timedelta(minutes=1)
_TICK: Final = timedelta(microseconds=1)


class StepRow(NamedTuple):
    """A row of a curve: the end of a step (in naive local time, or with an offset) and the step's mean power.

    ``watts``: None if the value is missing. ``minutes``: the length of the step; None if the file doesn't have it.
    ``marks``: nature, likelihood and state of the value, if one of them is unusual.
    """

    end: datetime
    watts: Decimal | None
    minutes: int | None = None
    marks: tuple[str, str, str] | None = None


class IndexRow(NamedTuple):
    """The value of one register at the midnight that begins ``day``; ``period`` is empty for the total."""

    day: date
    watt_hours: Decimal | None
    calendar: str = ""
    period: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows of a series come from; ``exported_at``: when the file was exported, None if unknown."""

    source: Source
    format: str
    usage_point: str | None = field(repr=False)
    direction: Direction = Direction.CONSUMPTION
    exported_at: datetime | None = None

    def series(self, series: Series, parsed: ParsedAnswer, ends: Iterable[datetime], **fields: Any) -> FileSeries:
        """Return the series of a file; ``ends``: the ends of the readings; without readings, of the rows."""
        last = (max(ends).astimezone(PARIS) - _TICK).date() + ONE_DAY
        told_at = max(local_midnight(last), self.exported_at or local_midnight(last))
        fields = {"dropped": parsed.dropped, "differing": parsed.differing, **fields}
        return FileSeries(self.source.file, self.format, self.usage_point, series, parsed.readings, told_at, **fields)

    def grandeur(self, physical: str, unit: str, **content: Any) -> dict[str, Any]:
        """Return an item of the list ``grandeur`` in Enedis' answers of 2026: the values of one quantity."""
        direction = NAMES_OF_DIRECTIONS_2026[self.direction]
        return {"grandeurMetier": direction, "grandeurPhysique": physical, "unite": unit, **content}


def build_curve(origin: Origin, rows: Sequence[StepRow], usual: int = USUAL_STEP_MINUTES) -> FileSeries:
    """Return the curve of these rows, which are in the order of the file.

    ``usual``: the length in minutes of a step that has no neighbours, and whose length isn't in the file.
    """
    lengths = [row.minutes for row in rows]
    if None in lengths:
        inferred = infer_lengths([row.end for row in rows], usual)
        lengths = [minutes or step for minutes, step in zip(lengths, inferred, strict=True)]
    points = [
        {"d": row.end.isoformat(), "v": _to_text(row.watts), "p": f"PT{minutes}M"}
        for row, minutes in zip(rows, lengths, strict=True)
    ]
    series = curve_of(daily_of(origin.direction))
    parsed = parse_load_curve({"grandeur": [origin.grandeur("PA", "W", points=points)]}, series)
    return origin.series(
        series,
        parsed,
        _ends_of(parsed) or [_to_local(row.end) for row in rows],
        step_minutes=_steps_of(parsed.readings),
        marks={_to_label(row.end): row.marks for row in rows if row.marks},
    )


def merge_stages(curves: Sequence[FileSeries]) -> FileSeries:
    """Merge the curves of several stages of one meter; for each step, the value of the last stage counts."""
    if len(curves) == 1:
        return curves[0]
    by_bounds: dict[tuple[datetime, timedelta], IntervalReading] = {}
    for curve in curves:
        for reading in curve.readings:
            bounds = reading.start.astimezone(UTC), reading.length
            by_bounds.pop(bounds, None)
            by_bounds[bounds] = reading
    readings = keep_last(list(by_bounds.values()))
    return replace(
        curves[-1],
        readings=readings,
        told_at=max(curve.told_at for curve in curves),
        dropped=sum(curve.dropped for curve in curves),
        differing=sum(curve.differing for curve in curves),
        step_minutes=_steps_of(readings),
    )


def _steps_of(readings: Iterable[IntervalReading]) -> tuple[int, ...]:
    return tuple(sorted({reading.length // _MINUTE for reading in readings}))


def build_days(origin: Origin, days: Sequence[tuple[date, Decimal | None]]) -> FileSeries:
    """Return the series of daily energy from ``days``: each day with its Wh, or with None if the value is missing."""
    points = [{"d": day.isoformat(), "v": _to_text(value), "p": "P1D"} for day, value in days]
    series = daily_of(origin.direction)
    parsed = parse_daily({"grandeur": [origin.grandeur("EA", "Wh", points=points)]}, series)
    return origin.series(series, parsed, _ends_of(parsed) or [local_midnight(day + ONE_DAY) for day, _ in days])


def build_registers(origin: Origin, rows: Sequence[IndexRow], dropped: int = 0) -> list[FileSeries]:
    """Return the series of registers, and the series of daily energy between consecutive midnights.

    If the index falls, or rises by more than a meter can deliver, the meter was replaced, and the day has no energy.
    ``dropped``: how many rows of the file aren't at midnight.
    """
    payload = {"contexte": [{"grandeur": [origin.grandeur("EA", "Wh", **_to_registers(rows))]}]}
    series = registers_of(origin.direction)
    parsed = parse_registers(payload, series)
    midnights = [reading.start for reading in parsed.readings] or [local_midnight(row.day) for row in rows]
    told = {reading.start.date() for reading in parsed.readings}
    lost = len({row.day for row in rows} - told) + dropped
    registers = origin.series(series, parsed, midnights, dropped=lost)
    entries = [Entry(reading.start.date().isoformat(), reading.amount) for reading in parsed.readings]
    days = [
        IntervalReading(local_midnight(energy.day), day_length(energy.day), energy.total * MILLIWATT_HOURS_PER_WH)
        for energy in day_energies(entries)
    ]
    daily = origin.series(daily_of(origin.direction), ParsedAnswer(days), midnights)
    return [registers, daily]


def _to_registers(rows: Iterable[IndexRow]) -> dict[str, Any]:
    total: list[dict[str, Any]] = []
    calendars: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        if row.watt_hours is None:
            continue
        point = {"d": row.day.isoformat(), "v": _to_text(row.watt_hours)}
        if row.period:
            calendars.setdefault(row.calendar, {}).setdefault(row.period, []).append(point)
        else:
            total.append(point)
    return {
        "cadranTotalisateur": {"valeur": total},
        "calendrier": [
            {"idCalendrier": name, "classeTemporelle": _to_periods(periods)} for name, periods in calendars.items()
        ],
    }


def _to_periods(periods: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"idClasseTemporelle": period, "valeur": points} for period, points in periods.items()]


def _ends_of(parsed: ParsedAnswer) -> list[datetime]:
    return [reading.start.astimezone(UTC) + reading.length for reading in parsed.readings]


def _to_label(end: datetime) -> str:
    local = end.astimezone(PARIS).replace(tzinfo=None) if end.tzinfo else end
    return local.isoformat(" ", "seconds")


def _to_local(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _to_text(number: Decimal | None) -> str | None:
    """Return a number as text without an exponent, as in an answer."""
    return None if number is None else format(number, "f")


def day_of_midnight(moment: datetime) -> tuple[date, bool] | None:
    """Return the local day whose midnight an index' label means, and whether the label says 00:00.

    None if the label means no midnight. Exports of early 2024 label a midnight in summer as ``01:00+02:00``.
    Measurements show that the index is that of midnight.
    """
    local = moment.astimezone(PARIS) if moment.tzinfo else moment.replace(tzinfo=PARIS)
    clock = (local.hour, local.minute, local.second)
    if clock == (0, 0, 0):
        return local.date(), True
    if clock == (1, 0, 0) and local.dst():
        return civil_date(local), False
    return None


def infer_lengths(ends: Sequence[datetime], usual: int = USUAL_STEP_MINUTES) -> list[int]:
    """Return the length of the step before each end label, in minutes, in the order of ``ends``.

    ``ends``: naive local times or times with an offset; either the oldest or the newest comes first. ``usual``: the
    length of a step without neighbours.
    """
    if is_newest_first(ends):
        return infer_lengths(ends[::-1], usual)[::-1]
    instants = to_instants(ends)
    order = sorted(range(len(ends)), key=lambda place: instants[place])
    lengths = dict(zip(order, infer_minutes([instants[place] for place in order], usual), strict=True))
    return [lengths[place] for place in range(len(ends))]


def infer_minutes(ends: Sequence[datetime], usual: int = USUAL_STEP_MINUTES) -> list[int]:
    """Return the length of the step before each of ``ends`` (rising instants), in minutes."""
    if not ends:
        return []
    gaps = [None, *((later - earlier) // _MINUTE for earlier, later in pairwise(ends))]
    plausible_gaps = [
        gap if gap in STEPS and end.minute % gap == 0 else None for end, gap in zip(ends, gaps, strict=True)
    ]
    step_gaps = [_without_missing_step(plausible_gaps, index) for index in range(len(plausible_gaps))]
    return _fill_unknown_steps(step_gaps, usual)


def _without_missing_step(gaps: Sequence[int | None], index: int) -> int | None:
    """Return the length of the step that ends at ``index``; None if unknown.

    Usually the length is the gap before this end, ``gaps[index]``. But if neither neighbouring gap is as long and at
    least one is shorter, a step is missing in this gap. Then the length is that of the shorter neighbour; if both are
    shorter, that of the next gap.
    """
    gap = gaps[index]
    before = gaps[index - 1] if index else None
    after = gaps[index + 1] if index + 1 < len(gaps) else None
    if gap is None or gap in (before, after):
        return gap
    shorter = [other for other in (after, before) if other is not None and other < gap]
    return shorter[0] if shorter else gap


def _fill_unknown_steps(steps: Sequence[int | None], usual: int) -> list[int]:
    """Replace each unknown length with the next known length, or else with the previous one, or else with ``usual``."""
    filled = list(steps)
    for index in reversed(range(len(filled) - 1)):
        filled[index] = filled[index] or filled[index + 1]
    complete: list[int] = []
    for step in filled:
        complete.append(step or (complete[-1] if complete else usual))
    return complete
