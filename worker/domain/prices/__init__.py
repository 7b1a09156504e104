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


# The tariff periods of each option, as they are named in answers, outputs and price lists.
PERIODS: Final[Mapping[Option, tuple[str, ...]]] = {
    Option.BASE: ("base",),
    Option.HPHC: ("hp", "hc"),
    Option.TEMPO: tuple(f"{colour}_{hours}" for colour in Colour for hours in ("hp", "hc")),
}
# The registers that count the periods of an option. Those of a distributor's calendar (D…, HPH, …) are never priced.
REGISTERS: Final[Mapping[Option, Mapping[str, str]]] = {
    Option.BASE: {},  # Daily values are enough.
    Option.HPHC: {"HP": "hp", "HC": "hc"},
    Option.TEMPO: {
        "BUHP": "blue_hp",
        "BUHC": "blue_hc",
        "BCHP": "white_hp",
        "BCHC": "white_hc",
        "RHP": "red_hp",
        "RHC": "red_hc",
    },
}
HIGHEST_PRICE: Final = Decimal(5)  # Euros a kWh; what is above it is a mistake.
HIGHEST_SUBSCRIPTION: Final = Decimal(12_000)  # Euros a year, likewise.


class PricesRefused(DataError):
    """Prices or colours that can't be used as they are; one line says where and why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Price:
    """Prices of the days from ``first`` to ``last``, included; until further notice where ``last`` is None.

    ``energy``: euros a kWh by tariff period. ``subscription``: euros a year.
    """

    first: date
    last: date | None
    energy: Mapping[str, Decimal]
    subscription: Decimal = Decimal(0)


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
