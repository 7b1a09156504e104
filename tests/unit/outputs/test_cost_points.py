"""Costs as points of the line protocol: which are sent of a change, what they tell, and when old ones are deleted."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from tests.support.fakes import memory_measures
from tests.support.line_parser import Point
from tests.support.output_home import (
    FIRST,
    LAST,
    NOW,
    change_of,
    fill_home,
    price_of,
    put,
    put_curve,
    put_days,
    tariff_of,
)
from tests.support.receivers import SeriesServer
from worker.accounts.prices import AccountTariff
from worker.domain.documents import Entry
from worker.domain.prices.choices import OffPeakHours, TariffChoices
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS
from worker.outputs import line_protocol
from worker.outputs.line_protocol import MEASUREMENTS
from worker.outputs.output import Change, OutputOptions, OutputParts
from worker.stores.measures.measure_store import MeasureStore

SINCE = date(2023, 1, 1)
CLOCK_CHANGE = date(2024, 10, 27)  # It has 25 hours.
BASE = TariffChoices(electricity=(price_of(SINCE, base=20, subscription=124),))
HPHC = TariffChoices(
    electricity=(price_of(SINCE, hp=20, hc=10),), hours=(OffPeakHours(SINCE, ((time(22, 30), time(6)),)),)
)
SELLS = replace(HPHC, production=(price_of(SINCE, price=4),))
GAS = TariffChoices(gas=(price_of(SINCE, price=8, subscription=124),))
NAMES = {"releve_cost_hour", "releve_cost_day", "releve_gas_cost"}


class Sender:
    """An output to an InfluxDB 1 in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = SeriesServer(kind="1")
        monkeypatch.setattr(line_protocol, "open_session", lambda _: self)

    def __enter__(self) -> Any:
        return self.server

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, tariff: AccountTariff | None, measures: MeasureStore, *changes: Change) -> list[Point]:
        """Send changes, and return the points of costs that the server then has."""
        parts = OutputParts(measures=measures, now=lambda: NOW, tariff_of=lambda _: tariff)
        secret, more = self.server.options()
        line_protocol.build(OutputOptions("https://influx.example", secret, more), parts).send(changes)
        return [point for point in self.server.points.values() if point.measurement in NAMES]


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    return Sender(monkeypatch)


def euros(points: list[Point], measurement: str, direction: str | None = "consumption") -> dict[str, dict[str, float]]:
    """Return euros by local day and tariff period."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for point in points:
        if point.measurement == measurement and point.tags.get("direction") == direction:
            day = str(datetime.fromtimestamp(point.time, PARIS).date())
            found[day][point.tags["period"]] = found[day].get(point.tags["period"], 0) + point.fields["eur"]
    return found


def test_a_day_has_a_point_for_each_tariff_period_and_one_for_its_subscription(sender: Sender) -> None:
    measures = memory_measures()
    put_days(measures, Series.DAILY, {LAST: 9_000, LAST - ONE_DAY: 5_000})
    points = sender.send(tariff_of(BASE), measures, change_of(Series.DAILY, LAST, LAST))
    assert [(point.tags["period"], point.fields) for point in points] == [
        ("base", {"wh": 9_000.0, "eur": 1.8}),
        ("subscription", {"eur": 1 / 3}),
    ]
    assert {datetime.fromtimestamp(point.time, PARIS).isoformat() for point in points} == {"2024-10-28T00:00:00+01:00"}


def test_a_change_of_the_curve_brings_its_days_and_hours_also_on_the_longest_day(sender: Sender) -> None:
    measures = memory_measures()
    put_curve(measures, [CLOCK_CHANGE, LAST])
    points = sender.send(tariff_of(HPHC), measures, change_of(Series.LOAD_CURVE, CLOCK_CHANGE, CLOCK_CHANGE))
    halves = [(413 + number) / 2 for number in range(50)]
    off_peak = sum(halves[:14]) + sum(halves[47:])
    expected = {"hc": off_peak / 10_000, "hp": (sum(halves) - off_peak) / 5_000}
    for name in ("releve_cost_day", "releve_cost_hour"):
        assert euros(points, name) == {"2024-10-27": pytest.approx(expected)}
    assert len({point.time for point in points if point.measurement == "releve_cost_hour"}) == 25
    assert max(Counter(point.key for point in sender.server.points.values()).values()) == 1


def test_registers_of_a_midnight_bring_the_day_that_they_end(sender: Sender) -> None:
    points = sender.send(tariff_of(HPHC), fill_home(), change_of(Series.REGISTERS, LAST, LAST))
    costs = euros(points, "releve_cost_day")
    assert costs.keys() == {"2024-10-27", "2024-10-28"}
    assert costs["2024-10-27"] == {"hc": 0.3, "hp": 1.5}, "by the registers, whatever the curve says"


def test_what_production_is_paid_stands_apart_and_without_a_price_it_has_none(sender: Sender) -> None:
    change = change_of(Series.PRODUCTION_DAILY, LAST, LAST)
    points = sender.send(tariff_of(SELLS), fill_home(), change)
    wh = 4_000 + LAST.toordinal() % 500
    assert euros(points, "releve_cost_day", "production") == {str(LAST): {"price": pytest.approx(wh * 0.04 / 1000)}}
    unpaid = replace(tariff_of(HPHC), has_panels=True)
    sender.server.points.clear()
    assert euros(sender.send(unpaid, fill_home(), change), "releve_cost_day", "production") == {}


def test_gas_has_the_cost_of_days_and_of_billed_periods(sender: Sender) -> None:
    tariff, measures = tariff_of(GAS, supplier="grdf"), fill_home()
    points = sender.send(tariff, measures, change_of(Series.GAS_DAILY, LAST, LAST))
    kwh = (30_000 + 10 * (LAST.toordinal() % 99)) / 1000
    of_day = [(point.tags, point.fields) for point in points if point.time == max(one.time for one in points)]
    assert of_day == [
        ({"account": "home1", "period": "price"}, {"kwh": kwh, "eur": pytest.approx(kwh * 0.08), "days": 1}),
        ({"account": "home1", "period": "subscription"}, {"eur": 1 / 3, "days": 1}),
    ]
    monthly = memory_measures()
    billed = {"ends_on": "2024-10-25", "volume": 70, "quality": "measured", "status": "final"}
    put(monthly, Doctype.GAS_PUBLISHED, [Entry("2024-10-22", 790_000_000, details=billed)])
    sender.server.points.clear()
    points = sender.send(tariff, monthly, change_of(Series.GAS_PUBLISHED))
    assert next(point.fields for point in points) == {"kwh": 790.0, "eur": pytest.approx(63.2), "days": 3}


def test_a_day_of_gas_changes_the_other_days_of_its_billed_period(sender: Sender) -> None:
    tariff, measures = tariff_of(GAS, supplier="grdf"), memory_measures()
    billed = {"ends_on": "2024-10-25", "volume": 70, "quality": "measured", "status": "final"}
    put(measures, Doctype.GAS_PUBLISHED, [Entry("2024-10-22", 90_000_000, details=billed)])
    sender.send(tariff, measures, change_of(Series.GAS_PUBLISHED))
    put_days(measures, Series.GAS_DAILY, {date(2024, 10, 24): 30_000}, volume=2.9)
    day = date(2024, 10, 24)
    points = sender.send(tariff, measures, change_of(Series.GAS_DAILY, day, day))
    assert {day: costs["price"] for day, costs in euros(points, "releve_gas_cost", None).items()} == pytest.approx(
        dict.fromkeys(("2024-10-22", "2024-10-23", "2024-10-24"), 2.4)
    )


def test_prices_that_go_or_change_their_periods_leave_no_point_where_it_can_be_deleted(sender: Sender) -> None:
    measures = fill_home()
    repriced = replace(change_of(Series.DAILY), repriced=True)
    sender.send(tariff_of(BASE), measures, repriced)
    points = sender.send(tariff_of(HPHC), measures, repriced)
    assert {point.tags["period"] for point in points} == {"hp", "hc"}
    energies = [point for point in sender.server.points.values() if point.measurement not in NAMES]
    assert sender.send(None, measures, replace(repriced, series=Series.DAILY)) == []
    assert [*sender.server.points.values()] == energies, "only costs go"


def test_a_reading_that_is_removed_takes_its_cost_along(sender: Sender) -> None:
    measures = memory_measures()
    put_days(measures, Series.DAILY, {LAST: 9_000, LAST - ONE_DAY: 5_000})
    sender.send(tariff_of(BASE), measures, change_of(Series.DAILY))
    removed = measures.read("home1", {Doctype.DAY: (str(LAST), f"{LAST} ")})
    measures.write({}, removed)
    change = replace(change_of(Series.DAILY, LAST, LAST), removed=(str(LAST),))
    points = sender.send(tariff_of(BASE), measures, change)
    assert {str(datetime.fromtimestamp(point.time, PARIS).date()) for point in points} == {str(LAST - ONE_DAY)}


def test_nothing_is_deleted_by_new_readings_and_nothing_is_sent_of_what_costs_nothing(sender: Sender) -> None:
    measures = fill_home()
    for series in (Series.DAILY, Series.LOAD_CURVE, Series.REGISTERS, Series.PRODUCTION_DAILY):
        sender.send(tariff_of(SELLS), measures, change_of(series))
    assert sender.server.asked == 0
    sender.server.points.clear()
    assert sender.send(tariff_of(SELLS), measures, change_of(Series.MAX_POWER)) == []
    unset, removed = tariff_of(TariffChoices()), replace(change_of(Series.DAILY), removed=(str(LAST),))
    assert sender.send(None, measures, removed) == sender.send(unset, measures, removed) == []
    assert sender.server.asked == 0


def test_while_prices_can_not_be_decrypted_no_point_of_costs_is_deleted(sender: Sender) -> None:
    measures, repriced = fill_home(), replace(change_of(Series.DAILY), repriced=True)
    held = sender.send(tariff_of(BASE), measures, repriced)
    assert sender.send(replace(tariff_of(TariffChoices()), is_readable=False), measures, repriced) == held


def test_each_measurement_of_costs_is_described(sender: Sender) -> None:
    sent = sender.send(tariff_of(SELLS), fill_home(), change_of(Series.DAILY, FIRST, LAST + timedelta(days=30)))
    sent += sender.send(tariff_of(GAS, supplier="grdf"), fill_home(), change_of(Series.GAS_DAILY))
    described = {measurement.name: measurement for measurement in MEASUREMENTS}
    assert {point.measurement for point in sent} == NAMES
    for point in sent:
        measurement = described[point.measurement]
        assert set(point.tags) == {"account", *measurement.tags} and set(point.fields) <= set(measurement.fields)
