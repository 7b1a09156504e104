"""The regulated tariff: the files of the regulator (CRE), one an option, read whole or refused.

    DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_HT;PART_FIXE_TTC;PART_VARIABLE_HT;PART_VARIABLE_TTC
    01/02/2025;31/07/2025;6;134,16;165,17;0,1343;0,2016
    01/08/2025;;6;132,84;185,94;0,1327;0,1952

``PART_FIXE_TTC``: euros a year. ``PART_VARIABLE…_TTC``: euros a kWh. A row without ``DATE_FIN`` is in force. A row
without prices says that none was offered on these days.

Some copies have dates like ISO, but day and month exchanged wherever the day can be a month: 01/08/2025 is
``2025-01-08`` there, and 31/07/2025 is ``2025-07-31`` or ``2025-31-07``. The dates of one power follow each other in
one reading alone.

Source: "Historique des tarifs réglementés de vente d'électricité pour les consommateurs résidentiels", data.gouv.fr.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Final

from worker.domain.prices import (
    HIGHEST_SUBSCRIPTION,
    Colour,
    Option,
    Price,
    PricesRefused,
    explain_price,
    find_misfit,
)
from worker.domain.windows import ONE_DAY

FILES: Final[Mapping[Option, str]] = {
    Option.BASE: "Option_Base.csv",
    Option.HPHC: "Option_HPHC.csv",
    Option.TEMPO: "Option_Tempo.csv",
}
_FRENCH_COLOURS: Final = {Colour.BLUE: "BLEU", Colour.WHITE: "BLANC", Colour.RED: "ROUGE"}
# The column of each tariff period.
_ENERGY_COLUMNS: Final[Mapping[Option, Mapping[str, str]]] = {
    Option.BASE: {"base": "PART_VARIABLE_TTC"},
    Option.HPHC: {hours.lower(): f"PART_VARIABLE_{hours}_TTC" for hours in ("HP", "HC")},
    Option.TEMPO: {
        f"{colour}_{hours.lower()}": f"PART_VARIABLE_{hours}{name}_TTC"
        for colour, name in _FRENCH_COLOURS.items()
        for hours in ("HP", "HC")
    },
}
_SUBSCRIPTION: Final = "PART_FIXE_TTC"
_PLAIN_COLUMNS: Final = ("DATE_DEBUT", "DATE_FIN", "P_SOUSCRITE")
_OTHER_NAMES: Final = {"PUISSANCE": "P_SOUSCRITE"}
_AMOUNT: Final = re.compile(r"-?\d{1,6}(?:,\d{1,8})?", re.ASCII)
_POWER: Final = re.compile(r"[1-9]\d{0,2}", re.ASCII)
_ISO: Final = re.compile(r"(?P<year>20\d\d)-(?P<month>\d\d)-(?P<day>\d\d)", re.ASCII)
_EXCHANGED: Final = re.compile(r"(?P<year>20\d\d)-(?P<day>\d\d)-(?P<month>\d\d)", re.ASCII)
# The forms of a file's dates; in each, the first pattern that gives a day.
_DATE_FORMS: Final = (
    (re.compile(r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>20\d\d)", re.ASCII),),
    (_ISO,),
    (_EXCHANGED, _ISO),
)
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class RegulatedTariff:
    """A copy of the file of an option. ``rows``: how many it has. ``by_power``: kVA, and prices in order of days."""

    option: Option
    copied_on: date
    rows: int
    by_power: Mapping[int, Sequence[Price]]

    def prices(self, power: int) -> Sequence[Price]:
        """Return the prices of a power (kVA); none where the file has no row of exactly this power."""
        return self.by_power.get(power, ())

    def priced_until(self, power: int) -> date | None:
        """Return the last day that has a price; None where the power has none."""
        prices = self.prices(power)
        return prices[-1].last if prices else None


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with the texts of its dates; ``energy`` is empty where it has no prices."""

    line: int
    first: str
    last: str
    power: int
    energy: Mapping[str, Decimal]
    subscription: Decimal


def read_tariff(text: str, option: Option, copied_on: date, rows_before: int = 0) -> RegulatedTariff:
    """Return what the file of an option says, as copied on a day; ``rows_before``: rows of the copy before.

    Raises PricesRefused.
    """
    rows = _read_rows(text, option)
    if len(rows) < rows_before:
        raise PricesRefused(f"only {len(rows)} rows, but the copy before has {rows_before}")
    by_power = {
        power: tuple(price for price in prices if price.energy)
        for power, prices in _date_rows(rows, copied_on).items()
        if any(price.energy for price in prices)
    }
    if not by_power:
        raise PricesRefused("no row has prices")
    return RegulatedTariff(option, copied_on, len(rows), by_power)


def _read_rows(text: str, option: Option) -> list[_Row]:
    lines = [[cell.strip(' \t"\u00a0') for cell in line.split(";")] for line in text.lstrip("\ufeff").splitlines()]
    filled = [(number, cells) for number, cells in enumerate(lines, 1) if any(cells)]
    if not filled:
        raise PricesRefused("it is empty")
    names = _name_columns(filled[0][1], option)
    return [_read_row(number, cells, names, option) for number, cells in filled[1:]]


def _name_columns(header: Sequence[str], option: Option) -> list[str]:
    """Return the names of all columns; a column may lack a name. Raises PricesRefused for what is not this option's."""
    names = [_OTHER_NAMES.get(name.upper(), name.upper()) for name in header]
    amounts = (_SUBSCRIPTION, *_ENERGY_COLUMNS[option].values())
    needed = (*_PLAIN_COLUMNS, *amounts)
    known = {"", *needed, *(name.replace("TTC", "HT") for name in amounts)}
    for name in needed:
        if names.count(name) != 1:
            raise PricesRefused(f"not the columns of {option}: {name} stands there {names.count(name)} times")
    if unknown := [name for name in names if name not in known]:
        raise PricesRefused(f"not the columns of {option}: {unknown[0][:_LONGEST_NAME]!r} is unknown")
    return names


def _read_row(line: int, cells: Sequence[str], names: Sequence[str], option: Option) -> _Row:
    if len(cells) < len(names) or any(cells[len(names) :]):
        raise PricesRefused(f"line {line}: has {len(cells)} cells, the header has {len(names)}")
    row = dict(zip(names, cells, strict=False))
    if not _POWER.fullmatch(row["P_SOUSCRITE"]):
        raise PricesRefused(f"line {line}: P_SOUSCRITE must be a power in kVA, such as 6")
    energy, subscription = {}, Decimal(0)
    columns = _ENERGY_COLUMNS[option]
    if row[_SUBSCRIPTION] or any(row[column] for column in columns.values()):
        energy = {period: _read_amount(line, row, column) for period, column in columns.items()}
        subscription = _read_amount(line, row, _SUBSCRIPTION)
    return _Row(line, row["DATE_DEBUT"], row["DATE_FIN"], int(row["P_SOUSCRITE"]), energy, subscription)


def _read_amount(line: int, row: Mapping[str, str], column: str) -> Decimal:
    if not _AMOUNT.fullmatch(row[column]):
        raise PricesRefused(f"line {line}: {column} must be a number such as 0,1952")
    amount = Decimal(row[column].replace(",", "."))
    if column == _SUBSCRIPTION:
        possible = 0 < amount <= HIGHEST_SUBSCRIPTION
        fault = None if possible else f"it must be more than 0, and at most {HIGHEST_SUBSCRIPTION} euros a year"
    else:
        fault = explain_price(amount)
    if fault:
        raise PricesRefused(f"line {line}: {column}: {fault}")
    return amount


def _date_rows(rows: Sequence[_Row], copied_on: date) -> dict[int, list[Price]]:
    """Return the rows of each power in the order of their days, by the only form of dates in which they follow."""
    readings = [[_date_row(row, form, copied_on) for row in rows] for form in _DATE_FORMS]
    closest = min(readings, key=lambda prices: prices.count(None))
    if None in closest:
        line = rows[closest.index(None)].line
        raise PricesRefused(f"line {line}: DATE_DEBUT and DATE_FIN must be dates such as 01/08/2025, as in other rows")
    whole = [_group(rows, [price for price in prices if price]) for prices in readings if None not in prices]
    following = [powers for powers in whole if _find_misfit(powers) is None]
    if not following:
        raise PricesRefused(_find_misfit(whole[0]) or "")
    if any(powers != following[0] for powers in following):
        raise PricesRefused("its dates can be read as year-month-day and as year-day-month")
    return following[0]


def _date_row(row: _Row, form: Sequence[re.Pattern[str]], copied_on: date) -> Price | None:
    first = _read_date(row.first, form)
    last = _read_date(row.last, form)
    if first is None or (row.last and last is None):
        return None
    return Price(first, last or _last_day_in_force(max(first, copied_on)), row.energy, row.subscription)


def _read_date(text: str, form: Sequence[re.Pattern[str]]) -> date | None:
    for match in filter(None, (pattern.fullmatch(text) for pattern in form)):
        with suppress(ValueError):
            return date(int(match["year"]), int(match["month"]), int(match["day"]))
    return None


def _last_day_in_force(day: date) -> date:
    """Return the day before the first 1 February or 1 August after a day: prices change then, as a rule."""
    changes = (date(day.year, 2, 1), date(day.year, 8, 1), date(day.year + 1, 2, 1))
    return min(change for change in changes if change > day) - ONE_DAY


def _group(rows: Sequence[_Row], prices: Sequence[Price]) -> dict[int, list[Price]]:
    ordered = sorted(zip((row.power for row in rows), prices, strict=True), key=lambda pair: (pair[0], pair[1].first))
    return {power: [price for _, price in pairs] for power, pairs in groupby(ordered, key=lambda pair: pair[0])}


def _find_misfit(powers: Mapping[int, Sequence[Price]]) -> str | None:
    misfits = (f"{power} kVA: {misfit}" for power, prices in powers.items() if (misfit := find_misfit(prices)))
    return next(misfits, None)
