"""What Home Assistant is told of costs: identifiers, names and units, and which statistics an account has."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tests.support.home_assistant_server import StoredRow, home_assistant_server
from tests.support.receivers import HomeAssistantInMemory
from tests.support.statistic_homes import ACCOUNT, NOW, StatisticHome, hours_of
from worker.accounts.prices import AccountTariff
from worker.domain.cost_statistics import COST_STATISTICS
from worker.domain.prices import Colour
from worker.domain.prices.choices import OffPeakHours, TariffChoices, read_hours
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.outputs.home_assistant import HomeAssistant, statistic_id
from worker.outputs.output import Change, OutputAccount

DAY, FIRST = date(2026, 11, 24), date(2026, 1, 1)
BASE = "[[electricity]]\nfrom = 2026-01-01\nsubscription = 10\nbase = 0.2\n"
PEAK = BASE.replace("base = 0.2", "hp = 0.25\nhc = 0.125")
TEMPO = BASE.replace("base = 0.2", "blue_hp=0.2\nblue_hc=0.1\nwhite_hp=0.3\nwhite_hc=0.2\nred_hp=0.7\nred_hc=0.1")
SOLD = "[[production]]\nfrom = 2026-01-01\nprice = 0.1\n"
GAS = "[[gas]]\nfrom = 2026-01-01\nsubscription = 10\nprice = 0.1\n"


def tariff(prices: str, supplier: str = "enedis") -> AccountTariff:
    choices = read_own_prices(prices) if prices else TariffChoices()
    return AccountTariff(
        supplier=supplier,
        today=civil_date(NOW),
        choices=[choices.put("hours", OffPeakHours(FIRST, read_hours("22:00-06:00")))],
        regulated={},
        colours=dict.fromkeys(DateWindow(FIRST, civil_date(NOW)).dates(), Colour.RED),
        contracts=(),
        has_panels="production" in prices,
    )


def send(
    home: StatisticHome, pays: AccountTariff | None, *changes: Change, language: str = "en", **options: Any
) -> HomeAssistantInMemory:
    receiver = HomeAssistantInMemory(**options)
    address: Any = receiver
    HomeAssistant(address, language, home.measures, lambda: NOW, lambda _: pays, wait=lambda _: None).send(changes)
    return receiver


def fill(home: StatisticHome) -> list[Change]:
    """Return the changes of a day with a step of a kWh at 00:00 and one at 12:00, and of half a kWh that was fed in."""
    starts = hours_of(DAY)
    for start in (starts[0], starts[12]):
        home.put_steps(Series.LOAD_CURVE, start, 1000)
    put = home.put_hours(Series.LOAD_CURVE, {starts[0]: 1000, starts[12]: 1000})
    return [put, home.put_day(Series.DAILY, DAY, 2000), home.put_day(Series.PRODUCTION_DAILY, DAY, 500)]


@pytest.mark.parametrize(
    ("prices", "names"),
    [
        (BASE, {"consumption_cost"}),
        (PEAK, {"consumption_cost", "consumption_hp", "consumption_hc", "consumption_hp_cost", "consumption_hc_cost"}),
        (
            TEMPO,
            {"consumption_cost"}
            | {f"consumption_red_{hours}{cost}" for hours in ("hp", "hc") for cost in ("", "_cost")},
        ),
        (BASE + SOLD, {"consumption_cost", "production_compensation"}),
        ("", set()),
    ],
    ids=["base", "hphc", "tempo", "panels", "none"],
)
def test_each_option_has_its_statistics_beside_those_of_before(prices: str, names: set[str]) -> None:
    home = StatisticHome()
    changes = fill(home)
    before, server = send(home, None, *changes).server, send(home, tariff(prices), *changes).server
    assert set(before.rows) == {"releve:home_consumption", "releve:home_production"}
    assert set(server.rows) - set(before.rows) == {f"releve:home_{name}" for name in names}
    for name, rows in before.rows.items():
        assert (server.rows[name], server.metadata[name]) == (rows, before.metadata[name])


def test_a_cost_is_in_euros_and_a_period_in_kwh() -> None:
    home = StatisticHome()
    server = send(home, tariff(PEAK + SOLD), *fill(home)).server
    common = {"has_sum": True, "mean_type": 0, "source": "releve"}
    assert server.metadata["releve:home_consumption_cost"] == {
        **common,
        "name": "Cost of electricity consumption (home)",
        "statistic_id": "releve:home_consumption_cost",
        "unit_of_measurement": "EUR",
        "unit_class": None,
    }
    assert server.metadata["releve:home_consumption_hp"] == {
        **common,
        "name": "Electricity consumption – Peak hours (home)",
        "statistic_id": "releve:home_consumption_hp",
        "unit_of_measurement": "kWh",
        "unit_class": "energy",
    }
    at_night, at_noon = hours_of(DAY)[0], hours_of(DAY)[12]
    assert server.rows["releve:home_consumption_cost"] == {
        at_night: StoredRow(0.125, 0.125),
        at_noon: StoredRow(0.25, 0.375),
    }
    assert server.rows["releve:home_consumption_hc_cost"] == {at_night: StoredRow(0.125, 0.125)}
    assert server.rows["releve:home_consumption_hp"] == {at_noon: StoredRow(1, 1)}
    assert server.rows["releve:home_production_compensation"] == {at_night: StoredRow(0.05, 0.05)}, "positive"


def test_a_home_assistant_of_before_2025_11_is_told_has_mean() -> None:
    home = StatisticHome()
    receiver = HomeAssistantInMemory(version=(2025, 10))
    receiver.server.version = "2025.10.4"
    address: Any = receiver
    HomeAssistant(address, "en", home.measures, lambda: NOW, lambda _: tariff(BASE), wait=lambda _: None).send(
        fill(home)
    )
    metadata = receiver.server.metadata["releve:home_consumption_cost"]
    assert (metadata["has_mean"], metadata["unit_of_measurement"]) == (False, "EUR")


def test_names_are_in_the_language_of_the_output() -> None:
    home = StatisticHome()
    server = send(home, tariff(PEAK + SOLD), *fill(home), language="fr").server
    names = {name.partition("_")[2]: one["name"] for name, one in server.metadata.items()}
    assert {name: text for name, text in names.items() if name not in ("consumption", "production")} == {
        "consumption_cost": "Coût de la consommation d’électricité (home)",
        "consumption_hp": "Consommation d’électricité – Heures pleines (home)",
        "consumption_hc": "Consommation d’électricité – Heures creuses (home)",
        "consumption_hp_cost": "Coût de l’électricité – Heures pleines (home)",
        "consumption_hc_cost": "Coût de l’électricité – Heures creuses (home)",
        "production_compensation": "Rémunération de la production d’électricité (home)",
    }


@pytest.mark.parametrize("label", ["k9x4w", "Chez_Nous__2", "_a-b_"])
def test_identifiers_have_the_form_that_home_assistant_takes(label: str) -> None:
    for statistic in COST_STATISTICS:
        identifier = statistic_id(OutputAccount(id="k9x4w", label=label), statistic)
        assert re.fullmatch(r"releve:(?!.*__)(?!_)[a-z0-9_]+(?<!_)", identifier), identifier


@pytest.mark.sockets
def test_what_has_no_price_any_more_loses_its_amounts() -> None:
    home = StatisticHome()
    changes = fill(home)
    with home_assistant_server() as server:
        home.output(server, tariff_of=lambda _: tariff(PEAK)).send(changes)
        assert server.changes_by_day("releve:home_consumption_cost") == {f"{DAY}": 0.375}
        home.output(server, tariff_of=lambda _: tariff("")).send(changes)
    held = {row for name in server.rows if "_h" in name or "cost" in name for row in server.rows[name].values()}
    assert held == {StoredRow(None, 0)}
    assert server.changes_by_day("releve:home_consumption") == {f"{DAY}": 2.0}


def test_gas_costs_its_days_and_the_rest_of_published_periods() -> None:
    home, pays = StatisticHome(), tariff(GAS, "grdf")
    home.put_day(Series.GAS_PUBLISHED, date(2026, 11, 1), 40_000, ends_on="2026-11-05")
    changes = [home.put_day(Series.GAS_DAILY, date(2026, 11, 3), 10_000)]
    receiver = send(home, pays, *changes)
    assert receiver.server.changes_by_day("releve:home_gas_cost") == {
        "2026-11-01": 1.0,
        "2026-11-02": 1.0,
        "2026-11-03": 1.0,
        "2026-11-04": 1.0,
    }
    assert {start.hour for start in receiver.server.rows["releve:home_gas_cost"]} == {5}
    corrected = home.put_day(Series.GAS_DAILY, date(2026, 11, 3), 22_000)
    address: Any = receiver
    HomeAssistant(address, "en", home.measures, lambda: NOW, lambda _: pays, wait=lambda _: None).send([corrected])
    by_day = receiver.server.changes_by_day("releve:home_gas_cost")
    assert [by_day[f"2026-11-0{number}"] for number in range(1, 5)] == [0.6, 0.6, 2.2, 0.6], (
        "the rest changes before it, too"
    )


def test_registers_alone_cost() -> None:
    home = StatisticHome()
    for number in (0, 1):
        registers = {"HP": 1000 + 4000 * number, "HC": 1000 + 8000 * number}
        load = sum(registers.values())
        change = home.put_day(Series.REGISTERS, DAY + number * ONE_DAY, load, calendar="x", registers=registers)
    server = send(home, tariff(PEAK), change).server
    assert server.changes_by_day("releve:home_consumption_cost") == {f"{DAY}": 2.0}
    assert server.changes_by_day("releve:home_consumption_hc") == {f"{DAY}": 8.0}
    assert ACCOUNT.id not in str(server.metadata)


@pytest.mark.parametrize("supplier", ["enedis", "gateway"])
def test_the_sum_goes_on_from_the_days_before_whoever_reads_the_meter(supplier: str) -> None:
    home, pays = StatisticHome(), tariff(BASE, supplier)
    changes = [home.put_day(Series.DAILY, DAY - number * ONE_DAY, 5000) for number in (3, 2, 0)]
    rows = send(home, pays, changes[-1]).server.rows["releve:home_consumption_cost"]
    assert [row.sum for row in rows.values()] == [3]


def test_while_prices_can_not_be_decrypted_costs_stay_as_they_are() -> None:
    home = StatisticHome()
    changes = fill(home)
    receiver = send(home, tariff(PEAK), *changes)
    address: Any = receiver
    unreadable = replace(tariff(""), choices=[TariffChoices()], is_readable=False)
    held = dict(receiver.server.rows["releve:home_consumption_cost"])
    HomeAssistant(address, "en", home.measures, lambda: NOW, lambda _: unreadable, wait=lambda _: None).send(changes)
    assert receiver.server.rows["releve:home_consumption_cost"] == held
