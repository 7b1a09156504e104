"""The base load of an account: its nights from the stored curve, and what the load costs in a year."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction

from worker.accounts.prices import AccountTariff, read_steps
from worker.domain.account import Account
from worker.domain.documents import MILLIWATT_HOURS_PER_WH, Entry, period_key, round_half_up
from worker.domain.prices.compare import last_year
from worker.domain.prices.cost import EURO, ONE_HOUR, price_energies
from worker.domain.prices.energy import energies_of_curve
from worker.domain.series import Direction, curve_of, daily_of
from worker.domain.usage import HOURS_A_YEAR, NIGHTS, BaseLoad, lowest_by_night, to_base_load
from worker.domain.windows import ONE_DAY, DateWindow, day_length, local_midnight
from worker.stores.measures.measure_store import MeasureStore

_STEPS = curve_of(daily_of()).inputs


def read_nights(measures: MeasureStore, account: Account, today: date) -> dict[date, Fraction]:
    """Return the lowest mean power, in mW, of those of the last nights before today that count; none of gas."""
    if daily_of(supplier=account.supplier).is_gas:
        return {}
    window = DateWindow(today - NIGHTS * ONE_DAY, today)
    return lowest_by_night(read_steps(measures, account.id, Direction.CONSUMPTION, window.dates()), window)


def read_base_load(measures: MeasureStore, account: Account, today: date) -> BaseLoad | None:
    """Return the base load of the nights before today; None if too few of them are known."""
    return to_base_load(read_nights(measures, account, today))


def price_base_load(tariff: AccountTariff, watts: int) -> Decimal | None:
    """Return what a power that is always on costs in a year, at today's prices of energy, in whole cents.

    Each tariff period has its hours of the last twelve months, by today's off-peak hours and the colours of Tempo. None
    if today has no price, or if the period of any of these hours is unknown.
    """
    terms = tariff.terms(DateWindow(tariff.today, tariff.today + ONE_DAY)).get(tariff.today)
    if not terms or not terms.price:
        return None
    price, days = terms.price, list(last_year(tariff.today).dates())
    hours = {day: day_length(day) // ONE_HOUR for day in days}
    steps = (
        Entry(period_key(local_midnight(day), _STEPS), watts * MILLIWATT_HOURS_PER_WH * number, 60 * number)
        for day, number in hours.items()
    )
    energies = energies_of_curve(dict.fromkeys(days, terms), steps, tariff.colours)
    if sum(one.known for one in energies.values()) < len(days):
        return None
    total = sum(sum(cost.parts.values()) for cost in price_energies(energies, lambda _: price).values())
    cents = Fraction(100 * HOURS_A_YEAR * total, EURO * sum(hours.values()))
    return Decimal(round_half_up(cents, 1)).scaleb(-2)
