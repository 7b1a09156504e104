"""Documents as their readers get them from the API, the command line and files: fields of JSON, columns of CSV.

Every CSV begins with the same columns, ``PUBLIC_FIELDS``; the further fields of the doctype follow. A detail of
energies has a column for each tariff period (``registers.HP``, in Wh): a spreadsheet subtracts and adds up columns, and
a row stays a document. Which periods there are is known from the documents alone (``find_tariff_periods``). An empty
cell is what the supplier did not tell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from worker.domain.measures.amounts import format_kwh, round_half_up, to_kwh
from worker.domain.measures.documents import Document, to_amount
from worker.domain.measures.interval_months import IntervalMonth
from worker.domain.measures.series import DetailType, Doctype, Quantity

PUBLIC_FIELDS: Final = ("load", "year", "month", "day", "hour", "minute", "fold")
VOLT_AMPERES: Final = "va"
# Of a month of periods; ``whole`` says whether they are the calendar month.
MONTH_FIELDS: Final = ("load", "year", "month", "begins_on", "ends_on", "days", "whole")
_AMOUNT_OF_ONE_VA: Final = 1000
_IN_VA: Final = frozenset(
    doctype for doctype in Doctype if doctype.series.description.quantity is Quantity.APPARENT_POWER
)
_NUMBERS: Final = frozenset(
    detail.name for doctype in Doctype for detail in doctype.details if detail.type is DetailType.NUMBER
)
_FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")


def to_public_fields(document: Document, doctype: Doctype) -> Document:
    """Return the public fields of a stored document: ``load``, the civil time, ``va`` where it is in kVA, details."""
    fields = {name: document[name] for name in (*PUBLIC_FIELDS, *doctype.detail_names) if name in document}
    for name in _NUMBERS.intersection(doctype.detail_names, fields):
        fields[name] = to_plain_number(fields[name])
    if doctype in _IN_VA:
        fields[VOLT_AMPERES] = round_half_up(to_amount(document["load"]), _AMOUNT_OF_ONE_VA) // _AMOUNT_OF_ONE_VA
    return fields


def to_month_fields(month: IntervalMonth) -> Document:
    """Return the public fields of a month of periods, which no document holds: with the days that it spans."""
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
    """Return the tariff periods that the documents have energies of."""
    names = _names_of_energies(doctype)
    return {period for document in documents for name in names for period in document.get(name, ())}


def csv_varies(doctype: Doctype) -> bool:
    """Return whether the columns of a CSV depend on its documents."""
    return bool(_names_of_energies(doctype))


def csv_columns(doctype: Doctype, tariff_periods: Collection[str] = ()) -> list[str]:
    """Return the head of a CSV of these documents, in order."""
    columns = [*PUBLIC_FIELDS, *([VOLT_AMPERES] if doctype in _IN_VA else ())]
    for detail in doctype.details:
        energies = detail.type is DetailType.ENERGIES
        columns += [f"{detail.name}.{period}" for period in sorted(tariff_periods)] if energies else [detail.name]
    return columns


def to_csv_fields(document: Document, doctype: Doctype) -> Document:
    """Return the public fields as a CSV has them: ``load`` as text with all its places, at least three."""
    fields = {"fold": 0, **to_public_fields(document, doctype), "load": format_kwh(to_amount(document["load"]))}
    for name in _names_of_energies(doctype):
        fields |= {f"{name}.{period}": energy for period, energy in fields.pop(name, {}).items()}
    return {name: _as_text(value) if isinstance(value, str) else value for name, value in fields.items()}


def _names_of_energies(doctype: Doctype) -> tuple[str, ...]:
    return tuple(detail.name for detail in doctype.details if detail.type is DetailType.ENERGIES)


def to_plain_number(value: Any) -> Any:
    """Return a whole number without its decimal point, for some stores keep all as fractions; another value as is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_text(text: str) -> str:
    """Return a text that a spreadsheet takes for no formula: the supplier's texts are not ours."""
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text
