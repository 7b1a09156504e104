"""Exports of stored documents as JSON, CSV and spreadsheets, and the JSON Schemas of the documents.

Every CSV begins with the same columns, ``PUBLIC_FIELDS``. They are followed by the *details*, which are the further
fields of the doctype, and then by the counts of a total (``totals``) or, for days with a curve, by the column
``computed``. A detail with energies has one column for each tariff period (``registers.HP``, in Wh), so that each row
is still one document. The tariff periods are those in the documents (``find_tariff_periods``). An empty cell is a value
that the supplier didn't send.

Spreadsheets are for people. A row is for example ``2024-07-25 00:30``, ``2024-07-25 01:00``, ``0.206``. A cell is a
date, a local time or a number, never a text from the supplier, so no cell can be a formula. The supplier's texts
(calendars, tariffs, qualities) are only in JSON and CSV, which are for programs. A heading is only the key of a text,
which the pages translate.

There is one JSON Schema for each doctype, generated from the doctype's description in ``series``. The schemas describe
documents in the measure store (docs/reference/documents.md), so a client can check what it reads. A document with any
other field is invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from worker.domain.documents import (
    PLACE_HOLDERS,
    Document,
    count_places,
    format_kwh,
    key_of,
    round_half_up,
    round_kwh,
    to_amount,
    to_kwh,
    to_reading,
)
from worker.domain.series import Detail, DetailType, Doctype, Granularity, Period, Quantity, find_curve
from worker.domain.totals import IntervalMonth, count_names
from worker.domain.windows import ONE_DAY, PARIS

Schema = dict[str, Any]
Cell = date | datetime | Decimal | None
PUBLIC_FIELDS: Final = ("load", "year", "month", "day", "hour", "minute", "fold")
VOLT_AMPERES: Final = "va"
# The fields of a ``totals.IntervalMonth``; ``whole`` says whether its periods cover exactly the calendar month.
MONTH_FIELDS: Final = ("load", "year", "month", "begins_on", "ends_on", "days", "whole")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_AMOUNT_OF_ONE_VA: Final = 1000
_IN_VA: Final = frozenset(
    doctype for doctype in Doctype if doctype.series.description.quantity is Quantity.APPARENT_POWER
)
_NUMBERS: Final = frozenset(
    detail.name for doctype in Doctype for detail in doctype.details if detail.type is DetailType.NUMBER
)
_COMPUTED: Final = "computed"
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")
_HOUR: Final = timedelta(hours=1)
_WH_TO_KWH: Final = -3  # The decimal point moves three places to the left.
_LOADS: Final = {"kWh": "kwh", "kVA": "kva", "m³": "volume"}
_TIMES: Final = {Granularity.REGISTER: ("read_at",), Granularity.STATE: ("since",)}
_START_AND_END: Final = ("start", "end")
_DATES: Final[Mapping[str, Callable[[str], date]]] = {
    "activated_on": date.fromisoformat,
    "at": lambda text: _to_local(datetime.fromisoformat(text)),
}
_ACCOUNT: Final = "[a-z][a-z0-9]{0,31}"
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_KEYS: Final = {
    Period.MINUTE: f"{_DAY}T[0-9]{{2}}:[0-9]{{2}}Z",
    Period.HOUR: f"{_DAY}T[0-9]{{2}}:00Z",
    Period.DAY: _DAY,
    Period.MONTH: "[0-9]{4}-[0-9]{2}",
    Period.YEAR: "[0-9]{4}",
}
_RANGES: Final = {"year": (2000, 2099), "month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59)}
_UTC: Final = {"type": "string", "pattern": f"^{_DAY}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\\+00:00$"}


def to_public_fields(document: Document, doctype: Doctype) -> Document:
    """Return the public fields of a stored document.

    They are ``load``, the local time, the details, the counts of a total, ``computed`` for a day computed from the
    curve, and ``va`` if ``load`` is in kVA.
    """
    names = (*PUBLIC_FIELDS, *doctype.detail_names, *count_names(doctype.period))
    fields = {name: document[name] for name in names if name in document}
    if _COMPUTED in last_names(doctype) and "step" in document:
        fields[_COMPUTED] = True
    for name in _NUMBERS.intersection(doctype.detail_names, fields):
        fields[name] = to_plain_number(fields[name])
    if doctype in _IN_VA:
        fields[VOLT_AMPERES] = round_half_up(to_amount(document["load"]), _AMOUNT_OF_ONE_VA) // _AMOUNT_OF_ONE_VA
    return fields


def to_month_fields(month: IntervalMonth) -> Document:
    """Return the public fields of a month of billed periods, which is computed and has no document."""
    return {
        "load": to_kwh(month.amount),
        "year": month.span.start.year,
        "month": month.span.start.month,
        "begins_on": month.span.start.isoformat(),
        "ends_on": month.span.end.isoformat(),
        "days": month.days,
        "whole": month.is_whole,
    }


def find_tariff_periods(documents: Iterable[Document], doctype: Doctype) -> set[str]:
    """Return the tariff periods for which the documents have energies."""
    names = _names_of_energies(doctype)
    return {period for document in documents for name in names for period in document.get(name, ())}


def csv_varies(doctype: Doctype) -> bool:
    """Return whether a CSV has a column for each tariff period, so that its columns depend on its documents."""
    return bool(_names_of_energies(doctype))


def csv_columns(doctype: Doctype, tariff_periods: Collection[str] = ()) -> list[str]:
    """Return the column names of a CSV, in order. ``tariff_periods``: the periods in the CSV's documents."""
    columns = [*PUBLIC_FIELDS, *([VOLT_AMPERES] if doctype in _IN_VA else ())]
    for detail in doctype.details:
        energies = detail.type is DetailType.ENERGIES
        columns += [f"{detail.name}.{period}" for period in sorted(tariff_periods)] if energies else [detail.name]
    return [*columns, *last_names(doctype)]


def last_names(doctype: Doctype) -> tuple[str, ...]:
    """Return the names of the last fields: the counts of a total, or ``computed`` for days with a curve.

    Other readings have no such fields.
    """
    return (_COMPUTED,) if find_curve(doctype.series) and doctype.period is Period.DAY else count_names(doctype.period)


def to_csv_fields(document: Document, doctype: Doctype) -> Document:
    """Return the public fields of a document for a CSV; ``load`` is a text with all its decimals, at least three."""
    fields = {"fold": 0, **to_public_fields(document, doctype), "load": format_kwh(to_amount(document["load"]))}
    for name in _names_of_energies(doctype):
        fields |= {f"{name}.{period}": energy for period, energy in fields.pop(name, {}).items()}
    return {name: _to_csv(value) for name, value in fields.items()}


def _to_csv(value: Any) -> Any:
    return defuse(value) if isinstance(value, str) else "true" if value is True else value


def defuse(text: str) -> str:
    """Return the cell for a text that isn't trusted, such as the supplier's: it must not look like a formula."""
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text


def _names_of_energies(doctype: Doctype) -> tuple[str, ...]:
    return tuple(detail.name for detail in doctype.details if detail.type is DetailType.ENERGIES)


def to_plain_number(value: Any) -> Any:
    """Return a whole float as int, because some stores return all numbers as floats; other values stay as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a column. Its text has the key ``spreadsheet.<name>``; pages insert the tariff period, if any."""

    name: str
    tariff_period: str = ""


def spreadsheet_headings(doctype: Doctype, tariff_periods: Collection[str] = ()) -> list[Heading]:
    """Return the headings of a spreadsheet, in order: times, ``load``, then the other dates and numbers.

    ``tariff_periods``: the periods in the spreadsheet's documents.
    """
    described = doctype.series.description
    names = [*_TIMES.get(described.granularity, _START_AND_END), _LOADS[described.quantity.load_unit]]
    if doctype.period in (Period.MINUTE, Period.HOUR):
        names.append("utc_offset")  # The offset distinguishes the two passes of the autumn hour.
    names += [detail.name for detail in doctype.details if _has_column(detail)]
    has_energies = any(detail.type is DetailType.ENERGIES for detail in doctype.details)
    energies = [Heading("kwh_of", period) for period in sorted(tariff_periods)] if has_energies else []
    return [*map(Heading, names), *energies, *map(Heading, count_names(doctype.period))]


def spreadsheet_cells(document: Document, doctype: Doctype, headings: Sequence[Heading]) -> list[Cell]:
    """Return the row of a document. A cell is None if the supplier sent no value, or no valid date."""
    amount, registers = to_amount(document["load"]), document.get("registers", {})
    cells = _read_times(document, doctype)
    cells[_LOADS[doctype.series.description.quantity.load_unit]] = round_kwh(amount, count_places([amount]))
    for detail in doctype.details:
        if _has_column(detail) and detail.name in document:
            cells[detail.name] = _read_detail(detail, document[detail.name])
    cells |= {name: Decimal(document[name]) for name in count_names(doctype.period) if name in document}
    return [
        _read_energy(registers.get(heading.tariff_period)) if heading.tariff_period else cells.get(heading.name)
        for heading in headings
    ]


def _read_times(document: Document, doctype: Doctype) -> dict[str, Cell]:
    """Return the times of a document by the name of their heading, such as ``start`` and ``end``.

    A period that is part of a day has local times, a longer period has dates.
    """
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
    """Return the local time of an instant, without its offset, because spreadsheets have no time zones."""
    return instant.astimezone(PARIS).replace(tzinfo=None)


def document_schema(doctype: Doctype) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the stored documents of a doctype."""
    period, described = doctype.period, doctype.series.description
    properties: Schema = {
        "_id": {
            "type": "string",
            "pattern": f"^{_ACCOUNT}:{_KEYS[period]}$",
            "description": "The account and the key, joined by a colon; keys sort as time does.",
        },
        "_rev": {"type": "string", "description": "The store's revision; absent in copies without it."},
        "load": {"type": "number", "minimum": 0, "description": f"In {described.quantity.load_unit}."},
        **_civil_time(doctype),
        "created_at": _UTC,
        "updated_at": _UTC,
        "source_account": {"type": "string", "pattern": f"^{_ACCOUNT}$", "description": "The account's opaque id."},
    }
    optional = {"_rev"}
    if period in (Period.MINUTE, Period.HOUR):
        properties["fold"] = {"const": 1, "description": "The second pass of the hour that comes twice in October."}
        optional.add("fold")
    if period is Period.MINUTE:
        properties["step"] = {"type": "integer", "minimum": 1, "description": "Minutes of a step that isn't 30."}
        optional.add("step")
    elif _COMPUTED in last_names(doctype):
        properties["step"] = {"type": "integer", "description": "Minutes of the curve that the day is the sum of."}
        optional.add("step")
    properties |= {detail.name: detail_schema(detail) for detail in doctype.details}
    optional.update(doctype.detail_names)
    return {
        "$schema": DIALECT,
        "$id": f"/api/schemas/{doctype.full_name}",
        "title": doctype.full_name,
        "description": f"{described.label['name']['en']}, by {period}",
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def detail_schema(detail: Detail) -> Schema:
    """Return the schema of a detail, a field that is absent if the supplier sends no value."""
    if detail.type is DetailType.ENERGIES:
        energies = {"type": "integer", "minimum": 0}
        return {"type": "object", "additionalProperties": energies, "description": _sentence(detail)}
    return {"type": "number" if detail.type is DetailType.NUMBER else "string", "description": _sentence(detail)}


def _civil_time(doctype: Doctype) -> Schema:
    """Return the schemas of the fields from ``year`` to ``minute``.

    The fields tell a local time (Europe/Paris): the instant of the value, or else the beginning of its period.
    """
    has_instant = doctype.series.description.granularity is Granularity.INSTANT
    fixed = {} if has_instant else PLACE_HOLDERS[doctype.period]
    return {
        name: {"const": fixed[name]} if name in fixed else {"type": "integer", "minimum": least, "maximum": most}
        for name, (least, most) in _RANGES.items()
    }


def _sentence(detail: Detail) -> str:
    return f"{detail.description[0].upper()}{detail.description[1:]}."
