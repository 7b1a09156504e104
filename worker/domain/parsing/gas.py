"""The parsers of gas: the days of a meter, and the periods that the distributor bills (GRDF ADICT).

    {"records": [{"pce": {…}, "periode": {…},
      "releve_debut": {"index_brut_debut": {"valeur_index": 1204}}, "releve_fin": {"index_brut_fin": {…}},
      "consommation": {"date_debut_consommation": "2024-01-15T06:00:00+01:00", "date_fin_consommation": "2024-01-16…",
        "volume_brut": 3, "coeff_calcul": {"coeff_conversion": 11.16}, "volume_converti": null, "energie": 33,
        "type_qualif_conso": "Mesuré", "statut_conso": "Provisoire", "journee_gaziere": "2024-01-15",
        "type_conso": "Informative Journalier"}, "statut_restitution": null}]}

A gas day runs from six to six, local time, and is named by the day on which it begins. Numbers may be texts. The energy
is the supplier's value: it is not volume x coefficient, and volumes are not the differences of indexes. A record with
"Absence de Données", or with an energy that is null, isn't a reading; an energy of zero is a reading.

If several daily records begin on the same day, the record with the latest end counts; if the ends are equal, the last
record in the answer. A record over several days counts for its first day. It is left out if one of its later days has
a record of its own. Of overlapping periods, the period with the latest end counts; if the ends are equal, the last in
the answer. Records of another kind (hours, injections, the other series), and records of GRDF's customer site, whose
names are spelt differently, are left out.

GRDF has misspelt one of its own names with a colon at its end (``"perim_donnees_techniques:"``), so spaces and colons
at the end of names are ignored. GRDF's words come with and without accents, in upper or lower case.

Source: GRDF, swagger of ADICT v2; recorded answers; the code of lowatt-grdf, PyGazpar and aeneria. It is only inferred
that a record without ``journee_gaziere`` belongs to the day of its first instant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from worker.domain.answers import Json, parse_text
from worker.domain.documents import keep_latest_periods
from worker.domain.parsing.values import ParsedAnswer, parse_date, parse_decimal, to_plain, to_whole
from worker.domain.windows import ONE_DAY, DateWindow, IntervalReading, civil_date, local_midnight
from worker.errors import WrongShape

CONSUMPTION: Final = "consommation"
DAILY_TYPES: Final = frozenset({"informative journalier", "informative journaliere"})
PUBLISHED_TYPES: Final = frozenset({"publiee"})
_ABSENT: Final = "absence de donnees"
_QUALITIES: Final = {"mesure": "measured", "estime": "estimated", "corrige": "corrected"}
_STATES: Final = {"provisoire": "provisional", "definitive": "final", "definitif": "final"}
KNOWN_QUALITIES: Final = frozenset({*_QUALITIES, _ABSENT})
KNOWN_STATES: Final = frozenset(_STATES)
_MILLIONTHS: Final = 1_000_000  # Per kWh.
_LONGEST: Final = timedelta(days=3 * 366)  # A longer record is a mistake.


def parse_gas_days(payload: Json) -> ParsedAnswer:
    """Parse the energy of gas days in millionths of a kWh. A reading's details have the names of document fields."""
    readings, dropped, differing = _read(payload, is_daily=True)
    by_day: dict[date, IntervalReading] = {}
    for reading in readings:
        known = by_day.get(day := reading.start.date())
        if known is None or reading.length >= known.length:
            by_day[day] = reading
    alone = [day for day in sorted(by_day) if by_day.keys().isdisjoint(list(_days_of(by_day[day]).dates())[1:])]
    kept = [_shorten_to_day(by_day[day]) for day in alone]
    return ParsedAnswer(kept, dropped, differing, len(readings) - len(kept))


def parse_gas_periods(payload: Json) -> ParsedAnswer:
    """Parse billed periods like ``parse_gas_days``; ``ends_on`` is the first day after a period."""
    readings, dropped, differing = _read(payload, is_daily=False)
    kept = [
        replace(reading, details={"ends_on": str(_days_of(reading).end), **(reading.details or {})})
        for reading in keep_latest_periods(readings)
    ]
    return ParsedAnswer(kept, dropped, differing, len(readings) - len(kept))


def _read(payload: Json, is_daily: bool) -> tuple[list[IntervalReading], int, int]:
    """Return the readings in the order of the answer, and the numbers of unusable and of contradictory records.

    A record is contradictory if an earlier record has the same bounds but other values. Of readings with the same
    bounds, only the last is returned.
    """
    if not isinstance(payload, dict) or not isinstance(payload.get("records"), list):
        raise WrongShape("the answer is not about gas")
    by_bounds: dict[tuple[datetime, timedelta], IntervalReading] = {}
    dropped = differing = 0
    for record in payload["records"]:
        fields = clean_names(record)
        consumption = object_of(fields, "consommation")
        if not consumption and object_of(fields, "statut_restitution"):
            continue  # This record has no measures, only the status of the answer.
        is_of_series = bool(consumption) and _is_of_series(consumption, is_daily)
        if is_of_series and _is_gap(consumption):
            continue
        reading = _to_reading(fields, consumption, is_daily) if is_of_series else None
        if reading is None:
            dropped += 1
            continue
        bounds = reading.start, reading.length
        known = by_bounds.pop(bounds, None)
        differing += known is not None and known != reading
        by_bounds[bounds] = reading
    return list(by_bounds.values()), dropped, differing


def _is_of_series(consumption: Mapping[str, Json], is_daily: bool) -> bool:
    kind, flow = parse_text(consumption.get("type_conso")), parse_text(consumption.get("sens_flux_gaz"))
    types = DAILY_TYPES if is_daily else PUBLISHED_TYPES
    return (kind is None or to_plain(kind) in types) and (flow is None or to_plain(flow) == CONSUMPTION)


def _is_gap(consumption: Mapping[str, Json]) -> bool:
    """Return whether the supplier says, by a word or an explicit null, that nothing was measured."""
    is_null = "energie" in consumption and consumption["energie"] in (None, "")
    return is_null or to_plain(parse_text(consumption.get("type_qualif_conso")) or "") == _ABSENT


def _to_reading(fields: Mapping[str, Json], consumption: Mapping[str, Json], is_daily: bool) -> IntervalReading | None:
    energy, bounds = parse_decimal(consumption.get("energie")), _bounds_of(consumption, is_daily)
    if energy is None or bounds is None:
        return None
    amount, details = to_whole(energy * _MILLIONTHS), _details_of(fields, consumption)
    return IntervalReading(local_midnight(bounds.start), _length_of(bounds), amount, details or None)


def _bounds_of(consumption: Mapping[str, Json], is_daily: bool) -> DateWindow | None:
    """Return the days of a record. A gas day ends on the next day, even if the record doesn't say so.

    None if the days are missing or impossible.
    """
    gas_day = parse_date(consumption.get("journee_gaziere"))
    began = parse_date(consumption.get("date_debut_consommation"))
    ended = parse_date(consumption.get("date_fin_consommation"))
    first = (gas_day or began) if is_daily else (began or gas_day)
    if first is None or (ended is None and not is_daily):
        return None
    start = date.fromisoformat(first)
    end = date.fromisoformat(ended) if ended else start
    if is_daily:
        end = max(end, start + ONE_DAY)
    return DateWindow(start, end) if ONE_DAY <= end - start <= _LONGEST else None


def _details_of(fields: Mapping[str, Json], consumption: Mapping[str, Json]) -> dict[str, Any]:
    indexes = _indexes_of(fields)
    details = {
        "volume": _first_number(consumption.get("volume_brut"), consumption.get("volume_converti")),
        "coefficient": _first_number(object_of(consumption, "coeff_calcul").get("coeff_conversion")),
        "index_start": indexes[0],
        "index_end": indexes[1],
        "quality": _translate(consumption.get("type_qualif_conso"), _QUALITIES),
        "status": _translate(consumption.get("statut_conso"), _STATES),
    }
    return {name: value for name, value in details.items() if value is not None}


def _indexes_of(fields: Mapping[str, Json]) -> tuple[int | float | None, int | float | None]:
    """Return the meter's indexes at the record's beginning and end; if both are missing, the converter's."""
    began, ended = object_of(fields, "releve_debut"), object_of(fields, "releve_fin")
    pairs = (
        (
            _first_number(object_of(began, f"index_{kind}_debut").get("valeur_index")),
            _first_number(object_of(ended, f"index_{kind}_fin").get("valeur_index")),
        )
        for kind in ("brut", "converti")
    )
    return next((pair for pair in pairs if pair != (None, None)), (None, None))


def _first_number(*values: Json) -> int | float | None:
    numbers = (number for value in values if (number := parse_decimal(value)) is not None)
    return next(map(_to_json, numbers), None)


def _to_json(number: Decimal) -> int | float:
    return int(number) if number == number.to_integral_value() else float(number)


def _length_of(days: DateWindow) -> timedelta:
    start, end = days.instants()
    return end - start


def _days_of(reading: IntervalReading) -> DateWindow:
    end = reading.start.astimezone(UTC) + reading.length
    return DateWindow(reading.start.date(), civil_date(end))


def _shorten_to_day(reading: IntervalReading) -> IntervalReading:
    """Return the reading shortened to its first day."""
    day = reading.start.date()
    return replace(reading, length=_length_of(DateWindow(day, day + ONE_DAY)))


def clean_names(record: Json) -> Mapping[str, Json]:
    """Return the fields of a record by name, without trailing colons and spaces; empty if it isn't an object."""
    if not isinstance(record, dict):
        return {}
    # A correct name takes precedence over a misspelt one.
    return {name.rstrip(": "): value for name, value in sorted(record.items(), key=lambda field: -len(field[0]))}


def object_of(fields: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """Return the object in the field of this name, with clean names; empty if there is none."""
    return clean_names(fields.get(name))


def _translate(raw: Json, words: Mapping[str, str]) -> str | None:
    """Translate a word of the supplier; return an unknown word in lower case. None if ``raw`` isn't a text."""
    text = parse_text(raw)
    return None if text is None else words.get(to_plain(text), text.lower())
