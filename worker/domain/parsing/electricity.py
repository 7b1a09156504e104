"""The parsers of Enedis' answers: daily energy, load curves, maximum powers and registers, in both directions.

A point with an unusable value, date or step is left out and counted. MalformedAnswer is raised only if the whole
answer is unusable: its shape is unknown, it has another quantity or unit, or it mixes several meters.

The maximum power of each day is in VA, with its instant.

    v4, v5      {"value": "4638", "date": "2023-04-01 12:06:20"}
    2026        {"v": "4638", "d": "2023-04-01 12:06:20"}

The label is the instant of the maximum power, so it can be any time. A reading belongs to the local day of its label.
Of two readings of one day, the higher reading counts; of equal readings, the earlier one. An instant in the repeated
autumn hour counts as the first pass of the hour if its label has no offset: only an offset shows the pass, because
there is no sequence of labels whose order could show it, as in a curve. An instant in the skipped spring hour is moved
an hour later. Source: Enedis, guide d'implémentation Data Connect v5 (daily_consumption_max_power), swagger
mesure_synchrone_auto v2 of 2026, and a recorded answer.

Registers (2026) are the meter's values at each midnight, by tariff period.

    {"idPrm": "…", "periode": {…}, "grandeur": [], "contexte": [{"typeReleve": "AQ", "grandeur": [
      {"grandeurMetier": "CONS", "grandeurPhysique": "EA", "unite": "Wh",
       "calendrier": [{"idCalendrier": "FC000050", "libelleCalendrier": "6 cadrans", "classeTemporelle": [
         {"idClasseTemporelle": "BUHP", "codeCadran": "F2", "valeur": [{"d": "2023-04-01 00:00:00", "v": 710732}]}]}],
       "cadranTotalisateur": {"codeCadran": "T", "valeur": [{"d": "2023-04-01 00:00:00", "v": 18623827}]}}]}]}

Values are Wh since the meter was installed, integers or texts, labelled by the midnight that begins a local day;
readings at other times of day (a visit, a change of the tariff) are left out.

One midnight may have several calendars: the energy supplier's, whose periods are billed, and the distributor's, whose
ids begin with D. One of them is chosen by these criteria in turn: all its registers have a value, it is the energy
supplier's, its last value is the newest, its id sorts last. The total is that of ``cadranTotalisateur``, else the sum
of the registers. Without a total, a midnight that lacks a register is left out, because a sum needs all of them.
Source: swagger mesure_synchrone_auto v2 of 2026; files of flux R64 with the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from worker.domain.answers import Json, parse_text
from worker.domain.documents import MILLIWATT_HOURS_PER_WH, keep_last
from worker.domain.parsing import values
from worker.domain.parsing.timestamps import Label, parse_day, parse_label, parse_step_minutes, to_starts
from worker.domain.parsing.values import ParsedAnswer, RawRow, list_of_objects
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, IntervalReading, civil_date, day_length, local_midnight
from worker.errors import WrongShape

Registers = dict[str, int]  # Wh by tariff period.
_ONE_DAY_STEPS: Final = (None, "", "P1D", "86400", 86_400)
_INSTANT: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)
_MAX_RANK: Final = 500_000  # More steps than any answer has. The bound prevents an overflow of dates.
_MAX_DAY_RANK: Final = 4_000
_DISTRIBUTOR: Final = "D"
_ROOTS_OF_REGISTERS: Final = ("contexte", *values.ROOTS_2026)


def parse_daily(payload: Json, series: Series = Series.DAILY) -> ParsedAnswer:
    """Parse the energy in Wh of each local day; the date is read as text, without a time zone."""
    rows = values.open_envelope(payload, series)
    readings = []
    for row in rows:
        energy, day = values.to_energy(row.value, 60), _row_day(row)
        if energy is not None and day is not None:
            readings.append(IntervalReading(local_midnight(day), day_length(day), energy))
    return _collect(readings, len(rows))


def parse_load_curve(payload: Json, series: Series = Series.LOAD_CURVE) -> ParsedAnswer:
    """Convert the mean powers (W) of steps to energies, and the local ends that label the steps to starts.

    A point's own step length takes precedence over the header's, because the length may change within a day.
    """
    rows = values.open_envelope(payload, series)
    # The label of a point with a bad value stays in the sequence, because only the order of labels distinguishes the
    # two passes of the autumn hour.
    labelled = [(row, label) for row in rows if (label := _row_label(row)) is not None]
    starts = to_starts([label for _, label in labelled])
    readings = [
        IntervalReading(start, label.length, energy)
        for (row, label), start in zip(labelled, starts, strict=True)
        if (energy := values.to_energy(row.value, label.length // _MINUTE)) is not None
    ]
    return _collect(readings, len(rows))


def _collect(readings: Iterable[IntervalReading], rows: int) -> ParsedAnswer:
    """Return the readings in time order. If a step occurs twice, its last value that isn't zero counts.

    Some suppliers pad the skipped hour of a spring day with zeros, which must not replace real values.
    """
    by_bounds: dict[tuple[datetime, timedelta], IntervalReading] = {}
    usable = differing = 0
    for reading in readings:
        usable += 1
        bounds = reading.start.astimezone(UTC), reading.length
        if bounds in by_bounds and by_bounds[bounds] != reading:
            differing += 1
        if bounds not in by_bounds or reading.amount:
            by_bounds.pop(bounds, None)  # The reading moves to the end; the order counts in ``keep_last``.
            by_bounds[bounds] = reading
    kept = keep_last(list(by_bounds.values()))
    return ParsedAnswer(kept, rows - usable, differing, len(by_bounds) - len(kept))


def _row_day(row: RawRow) -> date | None:
    if row.step not in _ONE_DAY_STEPS:  # This is a step of a curve, in watts and not in watt-hours.
        return None
    if row.label is not None:
        return parse_day(row.label)
    origin, rank = parse_day(row.origin), _to_rank(row.rank)
    return origin + (rank - 1) * ONE_DAY if origin and rank and rank <= _MAX_DAY_RANK else None


def _row_label(row: RawRow) -> Label | None:
    minutes = parse_step_minutes(row.step)
    if minutes is None:
        return None
    length = minutes * _MINUTE
    end = parse_label(row.label) if row.label is not None else _ranked_end(row, length)
    return Label(end, length) if end is not None else None


def _ranked_end(row: RawRow, length: timedelta) -> datetime | None:
    """Return the end of a step that has a rank and no label; None if its rank or origin is unusable.

    Ranks count elapsed steps, so a clock change makes no difference.
    """
    origin, rank = parse_day(row.origin), _to_rank(row.rank)
    if origin is None or rank is None:
        return None
    return (local_midnight(origin).astimezone(UTC) + rank * length).astimezone(PARIS)


def _to_rank(raw: Json) -> int | None:
    number = values.parse_number(raw)
    if number is None or number != int(number) or not 1 <= number <= _MAX_RANK:
        return None
    return int(number)


def parse_max_power(payload: Json, series: Series = Series.MAX_POWER) -> ParsedAnswer:
    """Parse the maximum power of each local day; the detail ``at`` is the instant, absent if only the day is known."""
    rows = values.open_envelope(payload, series)
    readings = [reading for row in rows if (reading := _to_peak(row)) is not None]
    highest: dict[datetime, IntervalReading] = {}
    for reading in readings:
        known = highest.get(reading.start)
        if known is None or _rank(reading) < _rank(known):
            highest[reading.start] = reading
    kept = [highest[start] for start in sorted(highest)]
    return ParsedAnswer(kept, len(rows) - len(readings), left_out=len(readings) - len(kept))


def _rank(reading: IntervalReading) -> tuple[int, bool, datetime]:
    """Return a sort key. Of the readings of one day, the reading with the smallest key is kept."""
    at = (reading.details or {}).get("at")
    return -reading.amount, at is None, datetime.fromisoformat(at) if at else reading.start


def _to_peak(row: RawRow) -> IntervalReading | None:
    amount, instant = values.to_thousandths(row.value), _to_instant(row.label)
    day = parse_day(row.label) if instant is None else civil_date(instant)
    if amount is None or day is None or row.step not in _ONE_DAY_STEPS:
        return None
    details = {"at": instant.isoformat(timespec="seconds")} if instant else None
    return IntervalReading(local_midnight(day), day_length(day), amount, details)


def _to_instant(raw: Json) -> datetime | None:
    """Return the instant with the offset of Europe/Paris; None for a mere date and for anything else."""
    text = raw.strip() if isinstance(raw, str) else ""
    try:
        moment = datetime.fromisoformat(text) if _INSTANT.fullmatch(text) else None
    except ValueError:  # For example the 25th hour.
        return None
    if moment is None:
        return None
    # The conversion through UTC turns a skipped local time into an existing one.
    return (moment if moment.tzinfo else moment.replace(tzinfo=PARIS)).astimezone(UTC).astimezone(PARIS)


@dataclass
class _Points:
    """The values in an answer: the totals by midnight, the registers by calendar and midnight."""

    totals: dict[date, int] = field(default_factory=dict)
    registers: dict[str, dict[date, Registers]] = field(default_factory=dict)
    dropped: int = 0
    differing: int = 0

    def add_quantity(self, item: Mapping[str, Json]) -> None:
        total = item.get("cadranTotalisateur")
        for register in list_of_objects([total] if isinstance(total, dict) else total, "cadranTotalisateur"):
            for point in list_of_objects(register.get("valeur"), "valeur"):
                self._add_total(point)
        for calendar in list_of_objects(item.get("calendrier"), "calendrier"):
            calendar_name = (
                parse_text(calendar.get("idCalendrier")) or parse_text(calendar.get("libelleCalendrier")) or ""
            )
            for period in list_of_objects(calendar.get("classeTemporelle"), "classeTemporelle"):
                name = parse_text(period.get("idClasseTemporelle")) or parse_text(period.get("codeCadran"))
                for point in list_of_objects(period.get("valeur"), "valeur"):
                    self._add_register(calendar_name, name, point)

    def _add_total(self, point: Mapping[str, Json]) -> None:
        if (value := self._read(point)) is not None:
            self.differing += self.totals.get(value[0], value[1]) != value[1]
            self.totals[value[0]] = value[1]

    def _add_register(self, calendar: str, name: str | None, point: Mapping[str, Json]) -> None:
        value = self._read(point)
        if value is None or name is None:
            self.dropped += value is not None
            return
        registers = self.registers.setdefault(calendar, {}).setdefault(value[0], {})
        self.differing += registers.get(name, value[1]) != value[1]
        registers[name] = value[1]

    def _read(self, point: Mapping[str, Json]) -> tuple[date, int] | None:
        day, number = parse_day(point.get("d")), values.parse_number(point.get("v"))
        if day is None or number is None:
            self.dropped += 1
            return None
        return day, values.to_whole(number)

    def days(self) -> list[date]:
        return sorted({*self.totals, *(day for days in self.registers.values() for day in days)})

    def reading_of(self, day: date) -> IntervalReading | None:
        """Return the reading of a midnight; None if its total is unknown."""
        total, details = self.totals.get(day), dict[str, Any]()
        if chosen := self._calendar_of(day):
            calendar, is_whole = chosen
            registers = self.registers[calendar][day]
            details = {"registers": dict(sorted(registers.items()))}
            if calendar:
                details["calendar"] = calendar
            if total is None and is_whole:
                total = sum(registers.values())
        if total is None:
            return None
        return IntervalReading(local_midnight(day), day_length(day), total * MILLIWATT_HOURS_PER_WH, details or None)

    def _calendar_of(self, day: date) -> tuple[str, bool] | None:
        """Return the calendar chosen for a midnight, and whether all registers of this calendar have values.

        None if no calendar has values for this midnight.
        """
        ranked = [
            (self.registers[name][day].keys() == self._names(name), not name.startswith(_DISTRIBUTOR), max(days), name)
            for name, days in self.registers.items()
            if day in days
        ]
        if not ranked:
            return None
        is_whole, _, _, calendar = max(ranked)
        return calendar, is_whole

    def _names(self, calendar: str) -> set[str]:
        return {name for registers in self.registers[calendar].values() for name in registers}


def parse_registers(payload: Json, series: Series = Series.REGISTERS) -> ParsedAnswer:
    """Parse a reading for each midnight: the total, with ``calendar`` and ``registers`` (Wh) as details."""
    if not isinstance(payload, dict) or not any(root in payload for root in _ROOTS_OF_REGISTERS):
        raise WrongShape("the answer is not about registers")
    points = _Points()
    for context in list_of_objects(payload.get("contexte"), "contexte"):
        for item in values.pick_quantities_2026(context.get("grandeur"), series):
            points.add_quantity(item)
    days = points.days()
    readings = [reading for day in days if (reading := points.reading_of(day)) is not None]
    return ParsedAnswer(readings, points.dropped + len(days) - len(readings), points.differing)
