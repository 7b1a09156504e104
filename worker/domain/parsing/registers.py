"""The parser of meter registers (2026): what a meter shows at each midnight, by period of the tariff.

    {"idPrm": "…", "periode": {…}, "grandeur": [], "contexte": [{"typeReleve": "AQ", "grandeur": [
      {"grandeurMetier": "CONS", "grandeurPhysique": "EA", "unite": "Wh",
       "calendrier": [{"idCalendrier": "FC000050", "libelleCalendrier": "6 cadrans", "classeTemporelle": [
         {"idClasseTemporelle": "BUHP", "codeCadran": "F2", "valeur": [{"d": "2023-04-01 00:00:00", "v": 710732}]}]}],
       "cadranTotalisateur": {"codeCadran": "T", "valeur": [{"d": "2023-04-01 00:00:00", "v": 18623827}]}}]}]}

Values are Wh since the meter was installed, whole numbers or texts, labelled by the midnight that begins a civil day;
readings at other times of day (a visit, a change of the tariff) are left out.

Of one midnight several calendars may be told: the supplier's, whose periods are billed, and the distributor's, whose
ids begin with D. One holds: a calendar with all its registers before one that lacks some, then the supplier's before
the distributor's, then the one whose values go on longest, then the one whose id comes last. The total is that of
``cadranTotalisateur``, else the sum of the registers. A sum needs all of them, so without a total a midnight that lacks
one is left out. Source: swagger mesure_synchrone_auto v2 of 2026; files of flux R64 with the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import IntervalReading, day_length, local_midnight
from worker.domain.measures.series import Series
from worker.domain.parsing.envelopes import ROOTS_2026, list_of_objects, pick_quantities_2026
from worker.domain.parsing.labels import parse_day
from worker.domain.parsing.parsed_answer import ParsedAnswer
from worker.domain.parsing.values import parse_number, parse_text, to_whole
from worker.errors import WrongShape

_DISTRIBUTOR: Final = "D"
_MILLIWATT_HOURS: Final = 1000  # Of a Wh.
_ROOTS: Final = ("contexte", *ROOTS_2026)
Registers = dict[str, int]  # Wh by the name of a period.


@dataclass
class _Points:
    """The values of an answer by midnight; registers by calendar, too."""

    totals: dict[date, int] = field(default_factory=dict)
    registers: dict[str, dict[date, Registers]] = field(default_factory=dict)
    dropped: int = 0
    differing: int = 0

    def add_total(self, point: Mapping[str, Json]) -> None:
        if (value := self._read(point)) is not None:
            self.differing += self.totals.get(value[0], value[1]) != value[1]
            self.totals[value[0]] = value[1]

    def add_register(self, calendar: str, name: str | None, point: Mapping[str, Json]) -> None:
        value = self._read(point)
        if value is None or name is None:
            self.dropped += value is not None
            return
        registers = self.registers.setdefault(calendar, {}).setdefault(value[0], {})
        self.differing += registers.get(name, value[1]) != value[1]
        registers[name] = value[1]

    def _read(self, point: Mapping[str, Json]) -> tuple[date, int] | None:
        day, number = parse_day(point.get("d")), parse_number(point.get("v"))
        if day is None or number is None:
            self.dropped += 1
            return None
        return day, to_whole(number)

    def days(self) -> list[date]:
        return sorted({*self.totals, *(day for days in self.registers.values() for day in days)})

    def calendar_of(self, day: date) -> tuple[str, bool] | None:
        """Return the calendar that holds at a midnight, and whether all its registers are there."""
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
    if not isinstance(payload, dict) or not any(root in payload for root in _ROOTS):
        raise WrongShape("the answer is not about registers")
    points = _Points()
    for context in list_of_objects(payload.get("contexte"), "contexte"):
        for item in pick_quantities_2026(context.get("grandeur"), series):
            _collect(item, points)
    days = points.days()
    readings = [reading for day in days if (reading := _to_reading(points, day)) is not None]
    return ParsedAnswer(readings, points.dropped + len(days) - len(readings), points.differing)


def _collect(item: Mapping[str, Json], points: _Points) -> None:
    total = item.get("cadranTotalisateur")
    for register in list_of_objects([total] if isinstance(total, dict) else total, "cadranTotalisateur"):
        for point in list_of_objects(register.get("valeur"), "valeur"):
            points.add_total(point)
    for calendar in list_of_objects(item.get("calendrier"), "calendrier"):
        calendar_name = parse_text(calendar.get("idCalendrier")) or parse_text(calendar.get("libelleCalendrier")) or ""
        for period in list_of_objects(calendar.get("classeTemporelle"), "classeTemporelle"):
            name = parse_text(period.get("idClasseTemporelle")) or parse_text(period.get("codeCadran"))
            for point in list_of_objects(period.get("valeur"), "valeur"):
                points.add_register(calendar_name, name, point)


def _to_reading(points: _Points, day: date) -> IntervalReading | None:
    total, details = points.totals.get(day), dict[str, Any]()
    if chosen := points.calendar_of(day):
        calendar, is_whole = chosen
        registers = points.registers[calendar][day]
        details = {"registers": dict(sorted(registers.items()))}
        if calendar:
            details["calendar"] = calendar
        if total is None and is_whole:
            total = sum(registers.values())
    if total is None:
        return None
    return IntervalReading(local_midnight(day), day_length(day), total * _MILLIWATT_HOURS, details or None)
