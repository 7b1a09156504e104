"""The regulated tariff: the files of the regulator (CRE), one an option, read whole or refused.

    DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_HT;PART_FIXE_TTC;PART_VARIABLE_HT;PART_VARIABLE_TTC
    01/02/2025;31/07/2025;6;134,16;165,17;0,1343;0,2016
    01/08/2025;;6;132,84;185,94;0,1327;0,1952

``PART_FIXE_TTC``: euros a year. ``PART_VARIABLE…_TTC``: euros a kWh. A row without ``DATE_FIN`` is in force. A row
without prices says that none was offered on these days.

Some copies have year-day-month dates, in part or wherever the day can be a month: 01/08/2025 is ``2025-01-08`` there,
and 31/07/2025 is ``2025-31-07`` or ``2025-07-31``. The rows of each power must follow each other day by day, so a file
whose dates are meant otherwise is refused.

Source: "Historique des tarifs réglementés de vente d'électricité pour les consommateurs résidentiels", data.gouv.fr.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from worker.domain.prices import (
    COLUMNS,
    HIGHEST_PRICE,
    HIGHEST_SUBSCRIPTION,
    Option,
    Price,
    PricesRefused,
    find_misfit,
    find_price,
)
from worker.domain.windows import ONE_DAY, DateWindow

FILES: Final[Mapping[Option, str]] = {
    Option.BASE: "Option_Base.csv",
    Option.HPHC: "Option_HPHC.csv",
    Option.TEMPO: "Option_Tempo.csv",
}
_Row = tuple[int, dict[str, str]]  # The number of its line, and its cells by column.
_FIRST, _LAST, _POWER, _SUBSCRIPTION = "DATE_DEBUT", "DATE_FIN", "P_SOUSCRITE", "PART_FIXE_TTC"
_AMOUNT: Final = re.compile(r"-?\d{1,6}(?:,\d{1,8})?", re.ASCII)
_KVA: Final = re.compile(r"[1-9]\d{0,2}", re.ASCII)
# The first that gives a day is right.
_DATES: Final = (
    re.compile(r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>20\d\d)", re.ASCII),
    re.compile(r"(?P<year>20\d\d)-(?P<day>\d\d)-(?P<month>\d\d)", re.ASCII),
    re.compile(r"(?P<year>20\d\d)-(?P<month>\d\d)-(?P<day>\d\d)", re.ASCII),
)
PADDING: Final = ' \t"\u00a0'  # Around cells.
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class RegulatedTariff:
    """A copy of the file of an option. ``rows``: how many it has.

    ``by_power``: prices in order of days, by kVA; a power has none where the file has no row of exactly this power.
    """

    rows: int
    by_power: Mapping[int, Sequence[Price]]


def read_tariff(text: str, option: Option, copied_on: date, rows_before: int = 0) -> RegulatedTariff:
    """Return what the file of an option says, as copied on a day; ``rows_before``: rows of the copy before.

    Raises PricesRefused.
    """
    rows = _read_rows(text, option)
    if len(rows) < rows_before:
        raise PricesRefused(f"it has {len(rows)} rows, but the copy before had {rows_before}")
    return RegulatedTariff(len(rows), _read_prices(rows, option, copied_on))


def changed_days(before: RegulatedTariff | None, after: RegulatedTariff) -> dict[int, set[date]]:
    """Return by power the days whose price differs between two copies."""

    def price_of(prices: Sequence[Price], day: date) -> object:
        found = find_price(prices, day)
        return found and (found.energy, found.subscription)

    days: dict[int, set[date]] = {}
    for power in after.by_power.keys() | (before.by_power.keys() if before else ()):
        old, new = (copy.by_power.get(power, ()) if copy else () for copy in (before, after))
        spans = (DateWindow(one.first, one.last + ONE_DAY) for one in (*old, *new) if one.last and old != new)
        days[power] = {day for span in spans for day in span.dates() if price_of(old, day) != price_of(new, day)}
    return days


def _read_rows(text: str, option: Option) -> list[_Row]:
    """Return each row below the header that isn't blank, with the number of its line."""
    lines = [[cell.strip(PADDING) for cell in line.split(";")] for line in text.lstrip("\ufeff").splitlines()]
    filled = [(number, cells) for number, cells in enumerate(lines, 1) if any(cells)]
    names = _name_columns(filled[0][1] if filled else [], option)
    for line, cells in filled:
        if len(cells) < len(names) or any(cells[len(names) :]):
            raise PricesRefused(f"line {line}: has {len(cells)} cells, the header has {len(names)}")
    return [(line, dict(zip(names, cells, strict=False))) for line, cells in filled[1:]]


def _name_columns(header: Sequence[str], option: Option) -> list[str]:
    """Return the names of all columns; a column may lack a name. Raises PricesRefused for what is not this option's."""
    names = [name.upper().replace("PUISSANCE", _POWER) for name in header]
    amounts = [_SUBSCRIPTION, *COLUMNS[option].values()]
    needed = Counter([_FIRST, _LAST, _POWER, *amounts])
    others = Counter(filter(None, names)) - needed - Counter(name.replace("TTC", "HT") for name in amounts)
    faults = [f"{name} is missing" for name in needed if name not in names]
    faults += [f"{name[:_LONGEST_NAME]!r} doesn't belong there" for name in others]
    if faults:
        raise PricesRefused(f"the columns are not those of option {option}: {faults[0]}")
    return names


def _read_prices(rows: Sequence[_Row], option: Option, copied_on: date) -> dict[int, tuple[Price, ...]]:
    """Return the prices of each power, whose rows must follow each other; those without prices count for this alone."""
    by_power = defaultdict(list)
    for line, row in rows:
        if not _KVA.fullmatch(row[_POWER]):
            raise PricesRefused(f"line {line}: {_POWER} must be a power in kVA, such as 6")
        by_power[int(row[_POWER])].append(_read_row(line, row, option, copied_on))
    for power, prices in by_power.items():
        prices.sort(key=lambda price: price.first)
        if misfit := find_misfit(prices):
            raise PricesRefused(f"{power} kVA: {misfit}")
    priced = {power: tuple(price for price in prices if price.energy) for power, prices in by_power.items()}
    if not any(priced.values()):
        raise PricesRefused("no row has prices")
    return {power: prices for power, prices in priced.items() if prices}


def _read_row(line: int, row: Mapping[str, str], option: Option, copied_on: date) -> Price:
    first, last = _read_date(row[_FIRST]), _read_date(row[_LAST])
    if first is None or (row[_LAST] and last is None):
        raise PricesRefused(f"line {line}: {_FIRST} and {_LAST} must be dates such as 01/08/2025")
    last = last or _last_day_in_force(max(first, copied_on))
    if not any(row[column] for column in (_SUBSCRIPTION, *COLUMNS[option].values())):
        return Price(first, last, {})
    energy = {period: _read_amount(line, row, column, HIGHEST_PRICE) for period, column in COLUMNS[option].items()}
    return Price(first, last, energy, _read_amount(line, row, _SUBSCRIPTION, HIGHEST_SUBSCRIPTION))


def _read_amount(line: int, row: Mapping[str, str], column: str, highest: Decimal) -> Decimal:
    if not _AMOUNT.fullmatch(row[column]):
        raise PricesRefused(f"line {line}: {column} must be a number such as 0,1952")
    amount = Decimal(row[column].replace(",", "."))
    if not 0 < amount <= highest:
        raise PricesRefused(f"line {line}: {column} must be more than 0 and at most {highest}")
    return amount


def _read_date(text: str) -> date | None:
    for match in filter(None, (pattern.fullmatch(text) for pattern in _DATES)):
        with suppress(ValueError):
            return date(int(match["year"]), int(match["month"]), int(match["day"]))
    return None


def _last_day_in_force(day: date) -> date:
    """Return the day before the first 1 February or 1 August after a day: prices change then, as a rule."""
    changes = (date(day.year, 2, 1), date(day.year, 8, 1), date(day.year + 1, 2, 1))
    return min(change for change in changes if change > day) - ONE_DAY
