"""The files of Enedis' business portal and of SGE: load curves (flux R63) and indexes (flux R64), as CSV and as JSON.

    Identifiant PRM;Date de début;…;Grandeur physique;Grandeur métier;Etape métier;Unité;Horodate;Valeur;Nature;Pas;…
    99000000000033;2023-03-13 00:00:00;…;PA;CONS;BRUT;W;2023-03-13 00:30:00;692;B;PT30M;0;0

    Identifiant PRM;…;Unite;Horodate;…;Identifiant calendrier;…;Identifiant classe temporelle;…;Cadran;Valeur;…
    99000000000033;…;Wh;2023-04-01 00:00:00;…;FC000050;…;BUHC;…;F1;710732;…

    {"header": {"codeFlux": "R63", …}, "mesures": [{"idPrm": "…", "etapeMetier": "BRUT", "grandeur": [
      {"grandeurMetier": "CONS", "grandeurPhysique": "PA", "unite": "W",
       "points": [{"d": "2023-03-13 00:30:00", "v": "692", "p": "PT30M"}]}]}]}

The JSON of an R64 has the form of the answer in ``worker.domain.parsing.electricity``, for several meters. A file may
have several meters, both directions, and the same curve in several stages (Etape métier): for each step, the value of
the last stage counts. Quantities other than active power (PA) and active energy (EA) are skipped. In a curve, the time
of a value (Horodate) is the end of its step. Each time is naive local time or has an offset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from worker.domain.files import cells, file_series
from worker.domain.files.cells import FileFault, FileSeries, Source, Table, TableFormat, TableLine, time_in_name
from worker.domain.files.file_series import STEPS, IndexRow, Origin, StepRow
from worker.domain.files.unsupported import UNREAD_FLUXES
from worker.domain.series import Direction

R63_CSV: Final = "r63-csv"
R63_JSON: Final = "r63-json"
R64_CSV: Final = "r64-csv"
R64_JSON: Final = "r64-json"
_STEPS: Final = {f"PT{minutes}M": minutes for minutes in STEPS} | {"PT1H": 60}
_IN_WATTS: Final = {"W": 1, "kW": 1000, "Wh": 1, "kWh": 1000}
_STAGES: Final = ("BRUT", "COMPLETE", "CORRIGE", "BEST")  # A later stage has more or better values.
_COLUMNS: Final = ("identifiant prm", "grandeur physique", "grandeur metier", "unite", "horodate", "valeur")
_USUAL_MARKS: Final = ("B", "0", "0")
_NOTHING: Final = frozenset({"", "null"})


class _Of(NamedTuple):
    """The meter and direction of a curve, or of indexes."""

    usage_point: str | None
    direction: Direction


@dataclass
class _Curves:
    """The steps of a file, by meter and direction, and by stage."""

    source: Source
    format: str
    stages: dict[_Of, dict[str, list[StepRow]]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def add(self, curve: _Of, stage: str, row: StepRow) -> None:
        self.stages.setdefault(curve, {}).setdefault(stage, []).append(row)

    def series(self) -> Iterator[FileSeries]:
        """Yield a curve for each meter and direction."""
        if not self.stages:
            if self.others == {"PMA"} and (reason := UNREAD_FLUXES.get("R66")):
                self.source.fail(reason, why=FileFault.UNSUPPORTED)
            self.source.fail("no value of active power (PA) in W")
        for (usage_point, direction), stages in self.stages.items():
            origin = Origin(self.source, self.format, usage_point, direction, time_in_name(self.source.name))
            in_order = sorted(stages, key=lambda stage: _STAGES.index(stage) if stage in _STAGES else -1)
            yield file_series.merge_stages([file_series.build_curve(origin, stages[stage]) for stage in in_order])


@dataclass
class _Indexes:
    """The indexes of a file at midnight, by meter and direction; ``dropped``: the number of indexes at other times."""

    source: Source
    format: str
    rows: dict[_Of, list[IndexRow]] = field(default_factory=dict)
    dropped: dict[_Of, int] = field(default_factory=dict)

    def add(self, of: _Of, moment: datetime, value: Decimal | None, calendar: str, period: str) -> None:
        day, is_exact = file_series.day_of_midnight(moment) or (moment.date(), False)
        if is_exact:
            self.rows.setdefault(of, []).append(IndexRow(day, value, calendar, period))
        else:
            self.dropped[of] = self.dropped.get(of, 0) + 1

    def series(self) -> Iterator[FileSeries]:
        """Yield registers and daily energy for each meter and direction."""
        if not self.rows:
            self.source.fail("no index of active energy (EA) at midnight")
        for of, rows in self.rows.items():
            origin = Origin(self.source, self.format, of.usage_point, of.direction, time_in_name(self.source.name))
            yield from file_series.build_registers(origin, rows, self.dropped.get(of, 0))


def _read_r63(table: Table) -> Iterator[FileSeries]:
    curves = _Curves(table.source, R63_CSV)
    for line in _rows(table, *_COLUMNS, "pas"):
        physical, unit = line.text("grandeur physique"), line.text("unite")
        if physical not in ("PA", "EA") or unit not in _IN_WATTS:
            curves.others.add(physical)
            continue
        step = line.text("pas")
        minutes = _STEPS.get(step)
        if minutes is None and step == "P1D" and (reason := UNREAD_FLUXES.get("R65")):
            table.source.fail(reason, why=FileFault.UNSUPPORTED)
        if minutes is None:
            line.fail("the step (Pas) must be PT5M, PT10M, PT15M, PT30M or PT60M")
        value = _to_watts(line.number_or_none("valeur"), unit, minutes if physical == "EA" else 60)
        marks = (line.text("nature"), line.text("indice de vraisemblance"), line.text("etat complementaire"))
        row = StepRow(line.moment("horodate"), value, minutes, _unusual(marks))
        curves.add(_Of(line.usage_point(), _direction_of(line)), line.text("etape metier"), row)
    yield from curves.series()


def _read_r64(table: Table) -> Iterator[FileSeries]:
    indexes = _Indexes(table.source, R64_CSV)
    for line in _rows(table, *_COLUMNS):
        unit = line.text("unite")
        if line.text("grandeur physique") != "EA" or unit not in _IN_WATTS:
            continue
        calendar = line.text("identifiant calendrier") or line.text("libelle calendrier")
        period = line.text("identifiant classe temporelle") or (line.text("cadran") if calendar else "")
        value = _to_watts(line.number_or_none("valeur"), unit, 60)
        indexes.add(_Of(line.usage_point(), _direction_of(line)), line.moment("horodate"), value, calendar, period)
    yield from indexes.series()


def _rows(table: Table, *needed: str) -> Iterator[TableLine]:
    """Yield the rows of data up to the footer, which begins with Periode.

    Raises FileRefused for any other row that begins with text.
    """
    for line in table.rows(*needed):
        first = str(line.cells[0]).lstrip("'\"= ")
        if first and not first[:1].isdigit():
            if first.lower().startswith(("periode", "période")):
                return
            line.fail("neither a row of data nor the footer, which begins with Periode")
        yield line


def _direction_of(line: TableLine) -> Direction:
    is_production = line.text("grandeur metier").lower().startswith("prod")
    return Direction.PRODUCTION if is_production else Direction.CONSUMPTION


def _to_watts(value: Decimal | None, unit: str, minutes: int) -> Decimal | None:
    """Return a power in W or an index in Wh; None if the value is None.

    ``minutes``: if the value is the energy of a step, the step's length, which gives the mean power. For a power or an
    index, it is 60, so that only the unit is converted.
    """
    return None if value is None else value * _IN_WATTS[unit] * 60 / minutes


def _unusual(marks: tuple[str, str, str]) -> tuple[str, str, str] | None:
    """Return nature, likelihood and state of a value; None if all three are as usual."""
    nature, likelihood, state = (
        usual if mark.lower() in _NOTHING else mark for mark, usual in zip(marks, _USUAL_MARKS, strict=True)
    )
    return None if (nature, likelihood, state) == _USUAL_MARKS else (nature, likelihood, state)


def read_measures(payload: dict[str, Any], source: Source) -> Iterator[FileSeries]:
    """Yield the series of a JSON file with ``mesures``, of flux R63 or R64."""
    source = replace(source, noun="point")
    measures = _list(payload, "mesures", source)
    if any("contexte" in measure for measure in measures):
        yield from _read_index_json(measures, source).series()
    else:
        yield from _read_curve_json(measures, source).series()


def _read_curve_json(measures: list[dict[str, Any]], source: Source) -> _Curves:
    curves = _Curves(source, R63_JSON)
    place = 0
    for measure in measures:
        for quantity in _list(measure, "grandeur", source):
            points = _list(quantity, "points", source)
            physical, unit = str(quantity.get("grandeurPhysique")), str(quantity.get("unite"))
            if physical not in ("PA", "EA") or unit not in _IN_WATTS:
                place += len(points)
                continue
            stage = str(quantity.get("etapeMetier") or measure.get("etapeMetier") or "")
            points.reverse()
            while points:  # A point takes more memory than its step, so ``pop`` releases each point when it is read.
                line = _point(source, place := place + 1, measure, quantity, points.pop())
                minutes = _STEPS.get(line.text("p") or str(measure.get("pas") or ""))
                if minutes is None:
                    line.fail("the step (p) must be PT5M, PT10M, PT15M, PT30M or PT60M")
                value = _to_watts(line.number_or_none("v"), unit, minutes if physical == "EA" else 60)
                marks = _unusual((line.text("n"), line.text("iv"), line.text("ec")))
                row = StepRow(line.moment("d"), value, minutes, marks)
                curves.add(_Of(line.usage_point(), _direction_of(line)), stage, row)
    return curves


def _read_index_json(measures: list[dict[str, Any]], source: Source) -> _Indexes:
    indexes = _Indexes(source, R64_JSON)
    place = 0
    for measure in measures:
        for context in _list(measure, "contexte", source):
            for quantity in _list(context, "grandeur", source):
                unit = str(quantity.get("unite"))
                is_energy = quantity.get("grandeurPhysique") == "EA" and unit in _IN_WATTS
                for calendar, period, point in _registers(quantity, source) if is_energy else ():
                    line = _point(source, place := place + 1, measure, quantity, point)
                    value = _to_watts(line.number_or_none("v"), unit, 60)
                    of = _Of(line.usage_point(), _direction_of(line))
                    indexes.add(of, line.moment("d"), value, calendar, period)
    return indexes


def _registers(quantity: dict[str, Any], source: Source) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield calendar, period and point of each value; for the total, calendar and period are empty."""
    total = quantity.get("cadranTotalisateur")
    for register in _list({"total": [total] if isinstance(total, dict) else total}, "total", source):
        yield from (("", "", point) for point in _list(register, "valeur", source))
    for calendar in _list(quantity, "calendrier", source):
        name = str(calendar.get("idCalendrier") or calendar.get("libelleCalendrier") or "")
        for number, period in enumerate(_list(calendar, "classeTemporelle", source), start=1):
            names = (period.get(key) for key in ("idClasseTemporelle", "codeCadran", "libelleClasseTemporelle"))
            period_name = next((str(one) for one in names if one), str(number))
            yield from ((name, period_name, point) for point in _list(period, "valeur", source))


def _point(
    source: Source, place: int, measure: dict[str, Any], quantity: dict[str, Any], point: dict[str, Any]
) -> TableLine:
    """Return a JSON point as a row of a table, so that its values are read by the same rules as cells."""
    if place > cells.MAX_ROWS:
        source.refuse_size(f"more than {cells.MAX_ROWS} values: split the file by year", place)
    told = {name: point.get(name) for name in ("d", "v", "p", "n", "iv", "ec")}
    told |= {"identifiant prm": measure.get("idPrm"), "grandeur metier": quantity.get("grandeurMetier")}
    return TableLine(source, place, [*map(_scalar, told.values())], {name: index for index, name in enumerate(told)})


def _scalar(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**15 else "?"
    return value if isinstance(value, str | float) else "" if value is None else "?"


def _list(holder: dict[str, Any], name: str, source: Source) -> list[dict[str, Any]]:
    """Return the list of objects in this field; empty if the field is absent or null."""
    items = holder.get(name)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        source.fail(f"{name} is not a list of objects")
    return items


FORMATS: Final = (
    TableFormat(
        R64_CSV, frozenset({"identifiant prm", "horodate", "valeur", "identifiant classe temporelle"}), _read_r64
    ),
    TableFormat(R63_CSV, frozenset({"identifiant prm", "horodate"}), _read_r63),
)
