"""Options of electricity, their tariff periods, and dated prices.

Prices are in euros with all taxes, as ``Decimal``; energies are in mWh. What is computed of them is exact
(``Fraction``) and rounded once, where it is shown. No price is assumed: a day without one has no cost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import zip_longest
from typing import Final

from worker.domain.windows import ONE_DAY
from worker.errors import DataError


class Option(StrEnum):
    """Options of a contract for electricity."""

    BASE = "base"
    HPHC = "hphc"  # Peak and off-peak hours.
    TEMPO = "tempo"


class Colour(StrEnum):
    """Colours of Tempo; each holds from 06:00 to 06:00."""

    BLUE = "blue"
    WHITE = "white"
    RED = "red"


# The tariff periods: the option, our name (in answers, outputs and price lists), the register that counts it, and how
# the regulator's columns name it. Registers of a distributor's calendar (D…, HPH, …) are never priced.
_PERIODS: Final = (
    (Option.BASE, "base", None, "PART_VARIABLE_TTC"),  # Daily values are enough.
    (Option.HPHC, "hp", "HP", "PART_VARIABLE_HP_TTC"),
    (Option.HPHC, "hc", "HC", "PART_VARIABLE_HC_TTC"),
    (Option.TEMPO, "blue_hp", "BUHP", "PART_VARIABLE_HPBLEU_TTC"),
    (Option.TEMPO, "blue_hc", "BUHC", "PART_VARIABLE_HCBLEU_TTC"),
    (Option.TEMPO, "white_hp", "BCHP", "PART_VARIABLE_HPBLANC_TTC"),
    (Option.TEMPO, "white_hc", "BCHC", "PART_VARIABLE_HCBLANC_TTC"),
    (Option.TEMPO, "red_hp", "RHP", "PART_VARIABLE_HPROUGE_TTC"),
    (Option.TEMPO, "red_hc", "RHC", "PART_VARIABLE_HCROUGE_TTC"),
)
COLUMNS: Final[Mapping[Option, Mapping[str, str]]] = {
    option: {name: column for one, name, _, column in _PERIODS if one is option} for option in Option
}
PERIODS: Final[Mapping[Option, tuple[str, ...]]] = {option: tuple(columns) for option, columns in COLUMNS.items()}
REGISTERS: Final[Mapping[Option, Mapping[str, str]]] = {
    option: {register: name for one, name, register, _ in _PERIODS if one is option and register} for option in Option
}
HIGHEST_PRICE: Final = Decimal(5)  # Euros a kWh; what is above it is a mistake.
HIGHEST_SUBSCRIPTION: Final = Decimal(12_000)  # Euros a year, likewise.


class PricesRefused(DataError):
    """Prices or colours that can't be used as they are; one line says where and why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices of the days from ``first`` to ``last``, included; until further notice where ``last`` is None.

    ``energy``: euros a kWh by tariff period. ``subscription``: euros a year. ``supplier``: the name that a household
    has given, perhaps none.
    """

    first: date
    last: date | None
    energy: Mapping[str, Decimal]
    subscription: Decimal = Decimal(0)
    supplier: str = ""


def find_price(prices: Sequence[Price], day: date) -> Price | None:
    """Return the price of a day; ``prices`` in the order of their days, without overlaps."""
    place = bisect_right(prices, day, key=lambda price: price.first)
    found = prices[place - 1] if place else None
    return found if found and (found.last is None or day <= found.last) else None


def find_misfit(prices: Sequence[Price]) -> str | None:
    """Return where prices, in the order of their first days, leave a gap or overlap; None if they do neither."""
    for price, after in zip_longest(prices, prices[1:]):
        last = price.last or date.max
        if after and after.first <= max(price.first, last):
            return f"{after.first} has two prices: those from {price.first} and from {after.first} on"
        if last < price.first:
            return f"the price from {price.first} on ends before it begins, on {last}"
        if after and after.first > last + ONE_DAY:
            return f"the days from {last + ONE_DAY} to {after.first - ONE_DAY} are missing"
    return None
