"""Costs over MQTT: which sensors a home with prices has, what they tell, and that none stays without prices."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from tests.support.fakes import memory_measures
from tests.support.output_home import ACCOUNT, LAST, NOW, change_of, fill_home, price_of, put, put_days, tariff_of
from tests.support.receivers import Broker
from worker.accounts.prices import AccountTariff
from worker.domain.documents import Entry
from worker.domain.prices import Colour
from worker.domain.prices.choices import OffPeakHours, TariffChoices
from worker.domain.series import Doctype, Series
from worker.outputs.mqtt import MqttOutput
from worker.stores.measures.measure_store import MeasureStore

SINCE = date(2024, 1, 1)
TODAY = LAST + timedelta(days=1)
BASE = TariffChoices(electricity=(price_of(SINCE, base=20, subscription=120),))
TEMPO = TariffChoices(
    electricity=(price_of(SINCE, **{f"{one}_{hours}": 10 for one in Colour for hours in ("hp", "hc")}),)
)
NIGHT = OffPeakHours(SINCE, ((time(1, 30), time(8)), (time(12, 30), time(14))))


def hphc(*hours: OffPeakHours) -> TariffChoices:
    return TariffChoices(electricity=(price_of(SINCE, hp=20, hc=10),), hours=hours)


def retained_of(
    tariff: AccountTariff | None,
    measures: MeasureStore | None = None,
    now: datetime = NOW,
    broker: Broker | None = None,
) -> dict[str, Any]:
    """Return what the broker retains after a delivery: the state, and the description of each sensor by its name."""
    broker = broker or Broker()
    client: Any = broker
    output = MqttOutput(
        broker=client, measures=measures or fill_home(), now=lambda: now, language="en", tariff_of=lambda _: tariff
    )
    output.send([replace(change_of(Series.DAILY, LAST, LAST), repriced=tariff is None)])
    return {topic.split("/")[-2 if "config" in topic else -1]: _read(text) for topic, text in broker.retained.items()}


def _read(text: str) -> Any:
    return json.loads(text) if text.startswith("{") else text


def costs_of(retained: dict[str, Any]) -> dict[str, Any]:
    names = ("cost", "colour", "off_peak")
    return {name: value for name, value in retained["state"].items() if name.startswith(names)}


def test_a_home_with_prices_has_the_cost_of_yesterday_and_of_this_month() -> None:
    measures = fill_home()
    retained = retained_of(tariff_of(BASE), measures)
    days = measures.read("home1", {Doctype.DAY: ("2024-10-01", "2024-10-29")})[Doctype.DAY]
    kwh = [document["load"] for document in days]
    assert costs_of(retained) == {
        "cost_yesterday": round(kwh[-1] * 0.2 + 10 / 31, 2),
        "cost_month": round(sum(kwh) * 0.2 + 10 * 28 / 31, 2),
        "cost_month_days": 28,
        "cost_month_expected_days": 31,
    }
    described = {
        name: {key: retained["cost_month"].get(key) for key in ("name", "device_class", "unit_of_measurement")}
        for name in ("cost_month",)
    }
    assert described == {
        "cost_month": {
            "name": "This month’s cost, with the subscription",
            "device_class": "monetary",
            "unit_of_measurement": "EUR",
        }
    }
    assert retained["cost_month"]["state_class"] == "total"  # The only one that Home Assistant allows for money.
    assert retained["cost_month"]["last_reset_value_template"] == "{{ value_json.month_from }}"
    assert "cost_month_expected_days" in retained["cost_month"]["json_attributes_template"]
    assert retained["cost_yesterday"]["last_reset_value_template"] == "{{ value_json.yesterday_from }}"
    assert {"colour_today", "off_peak_today"}.isdisjoint(retained)


def test_what_has_no_cost_is_unknown_and_a_day_known_in_part_counts_in_the_month_alone() -> None:
    measures = memory_measures()
    assert costs_of(retained_of(tariff_of(BASE), measures))["cost_month"] is None
    put(measures, Doctype.MINUTE, [Entry("2024-10-28T10:00Z", 1_000_000)])
    costs = costs_of(retained_of(tariff_of(hphc(NIGHT)), measures))
    assert (costs["cost_yesterday"], costs["cost_month"], costs["cost_month_days"]) == (None, 0.2, 0)


@pytest.mark.parametrize(
    ("choices", "today", "says"),
    [
        (hphc(NIGHT), TODAY, "01:30-08:00, 12:30-14:00"),
        (hphc(replace(NIGHT, ranges=((time(22), time(6)),))), TODAY, "00:00-06:00, 22:00-24:00"),
        (hphc(), TODAY, None),
        (TEMPO, TODAY, "00:00-06:00, 22:00-24:00"),
        (hphc(NIGHT), date(2024, 10, 27), "01:30-08:00, 12:30-14:00"),  # The clock is put back.
        (hphc(NIGHT), date(2024, 3, 31), "01:30-08:00, 12:30-14:00"),
        (hphc(replace(NIGHT, ranges=((time(2, 30), time(7)),))), date(2024, 10, 27), "02:30-03:00, 02:30-07:00"),
    ],
)
def test_the_off_peak_hours_of_today_are_a_text(choices: TariffChoices, today: date, says: str | None) -> None:
    now = datetime.combine(today, time(7), NOW.tzinfo)
    retained = retained_of(tariff_of(choices, today=today), now=now)
    assert retained["state"]["off_peak_today"] == says
    assert retained["off_peak_today"]["name"] == "Today’s off-peak hours"
    assert "state_class" not in retained["off_peak_today"]


def test_tempo_tells_the_colours_of_today_and_tomorrow_once_they_are_known() -> None:
    retained = retained_of(tariff_of(TEMPO, {TODAY: Colour.WHITE}))
    assert (retained["state"]["colour_today"], retained["state"]["colour_tomorrow"]) == ("white", None)
    assert retained["colour_today"]["device_class"] == "enum"
    assert retained["colour_today"]["options"] == ["blue", "white", "red"]
    retained = retained_of(tariff_of(TEMPO, {TODAY + timedelta(days=1): Colour.RED}))
    assert (retained["state"]["colour_today"], retained["state"]["colour_tomorrow"]) == (None, "red")


def test_a_gas_meter_that_is_read_monthly_has_the_cost_of_the_month() -> None:
    measures = memory_measures()
    billed = {"ends_on": "2024-10-25", "volume": 70, "quality": "measured", "status": "final"}
    put(measures, Doctype.GAS_PUBLISHED, [Entry("2024-10-02", 790_000_000, details=billed)])
    tariff = tariff_of(TariffChoices(gas=(price_of(SINCE, price=10),)), supplier="grdf")
    assert costs_of(retained_of(tariff, measures)) == {
        "cost_yesterday": None,
        "cost_month": 79.0,
        "cost_month_days": 23,
        "cost_month_expected_days": 31,
    }


def test_a_price_of_production_alone_makes_no_sensor() -> None:
    tariff = tariff_of(TariffChoices(production=(price_of(SINCE, price=4),)))
    assert retained_of(tariff).keys() == retained_of(None).keys()


def test_sensors_go_with_the_prices_and_with_the_option_and_nothing_stays_of_an_output_that_is_removed() -> None:
    broker, measures = Broker(), fill_home()
    put_days(measures, Series.DAILY, {LAST: 9_000})
    plain = retained_of(None)
    retained_of(tariff_of(TEMPO, {TODAY: Colour.RED}), measures, broker=broker)
    assert any("colour_today" in topic for topic in broker.retained)
    of_base = retained_of(tariff_of(BASE), measures, broker=broker)
    assert of_base.keys() - plain.keys() == {"cost_month", "cost_yesterday"}
    assert retained_of(None, measures, broker=broker).keys() == plain.keys()
    retained_of(tariff_of(TEMPO, {TODAY: Colour.RED}), measures, broker=broker)
    client: Any = broker
    MqttOutput(broker=client, measures=measures, now=lambda: NOW).forget([ACCOUNT])
    assert broker.retained == {}
