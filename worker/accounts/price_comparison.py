"""The last twelve months of an account under each option of the regulated tariff, and in words why not under one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from worker.accounts.prices import BEGINNING, AccountTariff, find_power, read_costs
from worker.domain.prices import Option
from worker.domain.prices.choices import OffPeakHours, RegulatedChoice, TariffChoices, Terms, choice_on, read_hours
from worker.domain.prices.compare import LEAST_DAYS, ComparedOption, compare, last_year
from worker.domain.prices.cost import Cost
from worker.domain.windows import ONE_DAY
from worker.stores.measures.measure_store import MeasureStore
from worker.texts import format_day, translate


def power_of(tariff: AccountTariff) -> int | None:
    """Return the subscribed power as the contract tells it, else the one that the household set."""
    choice = choice_on(tariff.choices[:1], "electricity", tariff.today)
    return find_power(tariff.contracts) or (choice.power if isinstance(choice, RegulatedChoice) else None)


def compare_options(
    measures: MeasureStore, account_id: str, tariff: AccountTariff, power: int, hours: str, language: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each option at a power in kVA, and sentences about all; ``tariff``: loaded for every option.

    ``reason`` in a row: why its option isn't compared. ``hours``: off-peak hours as a person writes them; without any,
    those that are set or that the contract tells count. Raises PricesRefused.
    """
    window, off_peak = last_year(tariff.today), tariff.choices[0].hours
    if hours.strip():
        off_peak = (OffPeakHours(BEGINNING, read_hours(hours)),)
    costs, terms = dict[Option, Mapping[date, Cost]](), dict[Option, Mapping[date, Terms]]()
    rows = list[dict[str, Any]]()
    for option in Option:
        choices = TariffChoices((RegulatedChoice(BEGINNING, option, power),), hours=off_peak)
        under = replace(tariff, choices=[choices], has_panels=False)
        is_own = option is not Option.HPHC or not hours.strip()  # Registers count by the meter's own hours.
        costs[option], _ = read_costs(measures, account_id, under, window, by_registers=is_own)
        terms[option] = under.terms(window)
    for one in compare(window, costs, terms, tariff.colours):
        price = tariff.describe(RegulatedChoice(BEGINNING, one.option, power), language)
        rows.append(one.to_row(window) | {"reason": None if one.costs else _explain(one, price, language)})
    shown = [row for row in rows if not row["reason"]]
    first, last = (format_day(day, language) for day in (window.start, window.end - ONE_DAY))
    counts = {"days": shown[0]["days"] if shown else 0, "of": window.days}
    sentences = [translate("compare.days", language, **counts, first=first, last=last, power=power)]
    if len(shown) > 1:
        cheapest = min(shown, key=lambda row: Decimal(row["total_eur"]))["option"]
        sentences.append(translate("compare.cheapest", language, option=translate(f"option.{cheapest}", language)))
    return rows, [*sentences, translate("compare.note", language)]


def _explain(one: ComparedOption, price: str, language: str) -> str:
    """Return why an option isn't compared; ``price``: for which days its price is known."""
    facts = {"days": one.known, "least": LEAST_DAYS, "why": price}
    lacks = [translate(f"compare.lacks.{lack}", language, **facts | {"days": days}) for lack, days in one.lacks.items()]
    return " ".join([translate("compare.too_few", language, **facts), *lacks])
