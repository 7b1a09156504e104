"""Rows of spreadsheets for people, such as ``2024-07-25 00:30``, ``2024-07-25 01:00``, ``0.206``.

A cell is a date, a local time or a number, never a text of the supplier's, so no cell can be a formula. What is a text
(calendars, tariffs, qualities) is in the files for programs (``public_documents``). A heading is the key of its text,
for the pages have the languages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from worker.domain.exports.public_documents import to_plain_number
from worker.domain.measures.amounts import count_places, round_kwh
from worker.domain.measures.documents import Document, key_of, to_amount, to_reading
from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.domain.measures.series import Detail, DetailType, Doctype, Granularity, Period

Cell = date | datetime | Decimal | None
_HOUR: Final = timedelta(hours=1)
_WH_TO_KWH: Final = -3  # A shift of the decimal point.
_LOADS: Final = {"kWh": "kwh", "kVA": "kva", "m³": "volume"}
_TIMES: Final = {Granularity.REGISTER: ("read_at",), Granularity.STATE: ("since",)}
_START_AND_END: Final = ("start", "end")
_DATES: Final[Mapping[str, Callable[[str], date]]] = {
    "activated_on": date.fromisoformat,
    "at": lambda text: _to_local(datetime.fromisoformat(text)),
}


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a column: ``spreadsheet.<name>`` is its text, in which a tariff period may stand."""

    name: str
    tariff_period: str = ""


def spreadsheet_headings(doctype: Doctype, tariff_periods: Collection[str] = ()) -> list[Heading]:
    """Return the headings of these documents, in order: times, load, and what else is a date or a number."""
    described = doctype.series.description
    names = [*_TIMES.get(described.granularity, _START_AND_END), _LOADS[described.quantity.load_unit]]
    if _has_clock(doctype):
        names.append("utc_offset")  # It tells the two passes of the hour that comes twice from each other.
    names += [detail.name for detail in doctype.details if _has_column(detail)]
    has_energies = any(detail.type is DetailType.ENERGIES for detail in doctype.details)
    energies = [Heading("kwh_of", period) for period in sorted(tariff_periods)] if has_energies else []
    return [*map(Heading, names), *energies]


def spreadsheet_cells(document: Document, doctype: Doctype, headings: Sequence[Heading]) -> list[Cell]:
    """Return one row. A cell is None where the supplier told nothing, or a text that is no date."""
    amount, registers = to_amount(document["load"]), document.get("registers", {})
    cells = _read_times(document, doctype)
    cells[_LOADS[doctype.series.description.quantity.load_unit]] = round_kwh(amount, count_places([amount]))
    for detail in doctype.details:
        if _has_column(detail) and detail.name in document:
            cells[detail.name] = _read_detail(detail, document[detail.name])
    return [
        _read_energy(registers.get(heading.tariff_period)) if heading.tariff_period else cells.get(heading.name)
        for heading in headings
    ]


def _read_times(document: Document, doctype: Doctype) -> dict[str, Cell]:
    """Return the start and the end as dates, and as local times where the period is a part of a day."""
    key = key_of(document)
    match doctype.period:
        case Period.MINUTE | Period.HOUR:
            length = to_reading(document, doctype).length if doctype.period is Period.MINUTE else _HOUR
            start = datetime.fromisoformat(key)
            offset = Decimal((start.astimezone(PARIS).utcoffset() or timedelta()) // _HOUR)
            return {"start": _to_local(start), "end": _to_local(start + length), "utc_offset": offset}
        case Period.DAY:
            day = date.fromisoformat(key)
            midnight = datetime.combine(day, time.min)
            end = _parse_date(date.fromisoformat, document["ends_on"]) if "ends_on" in document else day + ONE_DAY
            return {"start": day, "end": end, "since": day, "read_at": midnight}
        case Period.MONTH:
            first = date.fromisoformat(f"{key}-01")
            return {"start": first, "end": (first + 31 * ONE_DAY).replace(day=1)}
        case Period.YEAR:
            return {"start": date(int(key), 1, 1), "end": date(int(key) + 1, 1, 1)}


def _has_clock(doctype: Doctype) -> bool:
    return doctype.period in (Period.MINUTE, Period.HOUR)


def _has_column(detail: Detail) -> bool:
    return detail.type is DetailType.NUMBER or detail.name in _DATES


def _read_detail(detail: Detail, value: Any) -> Cell:
    return (
        Decimal(str(to_plain_number(value)))
        if detail.type is DetailType.NUMBER
        else _parse_date(_DATES[detail.name], value)
    )


def _read_energy(watt_hours: int | None) -> Cell:
    return None if watt_hours is None else Decimal(watt_hours).scaleb(_WH_TO_KWH)


def _parse_date(parse: Callable[[str], date], text: str) -> date | None:
    try:
        return parse(text)
    except ValueError:
        return None


def _to_local(instant: datetime) -> datetime:
    """Return the local time of an instant, without its offset: spreadsheets know no zones."""
    return instant.astimezone(PARIS).replace(tzinfo=None)
