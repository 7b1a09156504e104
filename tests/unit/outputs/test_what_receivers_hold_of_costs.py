"""After any story with prices, and a last delivery that came through, each receiver holds what things cost.

Servers of time series that delete nothing keep what has gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.output_home import price_of, tariff_of
from tests.support.profiles import examples
from tests.support.receivers import Broker, SeriesServer
from tests.unit.outputs.test_what_receivers_hold import DAYS, EVENT, FINE, NOW, World, tell
from worker.accounts.prices import AccountTariff, read_costs, read_hours
from worker.domain.documents import start_of
from worker.domain.messages import ChangedPart
from worker.domain.prices import Colour
from worker.domain.prices.choices import OffPeakHours, TariffChoices
from worker.domain.prices.cost import EURO, Cost, row_of_days
from worker.domain.series import Series
from worker.domain.totals import calendar_month
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, local_midnight
from worker.outputs import line_protocol, webhook
from worker.outputs.mqtt import MqttOutput
from worker.stores.registry.outputs import END

SINCE: Final = date(2023, 1, 1)
BASE: Final = price_of(SINCE, base=20, subscription=120)
NIGHT: Final = OffPeakHours(SINCE, ((time(22, 4), time(6, 4)),))
NOON: Final = OffPeakHours(date(2024, 10, 27), ((time(12), time(20)),))
PEAKS: Final = price_of(date(2024, 10, 27), hp=20, hc=10)
TEMPO: Final = TariffChoices(
    electricity=(price_of(SINCE, **{f"{one}_{hours}": 10 for one in Colour for hours in ("hp", "hc")}),)
)
TARIFFS: Final[Sequence[AccountTariff | None]] = [
    None,
    tariff_of(TariffChoices(electricity=(BASE,))),
    tariff_of(TariffChoices(electricity=(replace(BASE, last=date(2024, 10, 26)),))),
    tariff_of(TariffChoices(electricity=(BASE, PEAKS), hours=(NIGHT,))),
    tariff_of(TariffChoices(electricity=(replace(PEAKS, first=SINCE),), hours=(NIGHT, NOON))),
    tariff_of(TEMPO, dict.fromkeys(DAYS, Colour.WHITE)),
    tariff_of(TEMPO, {day - ONE_DAY * before: Colour.RED for day in DAYS for before in (0, 1)}),
]


class PricedWorld(World):
    """A home whose prices change."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tariff: AccountTariff | None = None

    def tariff_of(self, account_id: str) -> AccountTariff | None:
        return self.tariff

    def set_tariff(self, tariff: AccountTariff | None) -> None:
        with self.outbox.noting(self.account, Series.DAILY) as note:
            note(ChangedPart(local_midnight(DAYS[0]), END))
            self.tariff = tariff


def check_costs(made: World) -> None:
    """Compare what servers of time series hold with our costs; those that can delete hold nothing else."""
    tariff = made.tariff_of(made.account)
    window = DateWindow(SINCE, civil_date(NOW) + ONE_DAY)
    expected: dict[Any, float] = {}
    if tariff:
        days, hours = (read(made.store, made.account, tariff, window) for read in (read_costs, read_hours))
        expected = _points_of("releve_cost_day", *days) | _points_of("releve_cost_hour", *hours)
    for server in (*made.able, *made.unable, *made.others):
        held = _held(server)
        if server in made.able:
            assert held.keys() == expected.keys()
        assert {place: held.get(place) for place in expected} == pytest.approx(expected)


def check_mqtt_costs(made: World) -> None:
    if not made.broker.retained:
        return
    tariff = made.tariff_of(made.account)
    state = json.loads(made.broker.retained[f"releve/{made.account}/state"])
    sensors = {topic.split("/")[-2] for topic in made.broker.retained if topic.endswith("config")}
    starts, counts = ("cost_", "colour_", "off_peak"), {"cost_month_days", "cost_month_expected_days"}
    names = {name for name in sensors if name.startswith(starts)}
    assert names == {name for name in state if name.startswith(starts)} - counts
    is_priced = tariff is not None and tariff.choice_on(civil_date(NOW)) is not None
    assert ("cost_month" in names) is is_priced
    if tariff and is_priced:
        month = calendar_month("2024-10")
        total = row_of_days(month, read_costs(made.store, made.account, tariff, month)[0])["total_eur"]
        assert state["cost_month"] == (None if total is None else float(total))


def _points_of(name: str, costs: Mapping[Any, Cost], paid: Mapping[Any, Cost] | None) -> dict[Any, float]:
    found: dict[Any, float] = {}
    for direction, some in (("consumption", costs), ("production", paid or {})):
        for key, cost in some.items():
            fixed = {"subscription": cost.subscription} if cost.subscription and name.endswith("day") else {}
            at = int(start_of(str(key)).timestamp())
            parts = (cost.parts | fixed).items()
            found |= {(name, direction, period, at): float(part / EURO) for period, part in parts}
    return found


def _held(server: SeriesServer) -> dict[Any, float]:
    return {
        (point.measurement, point.tags["direction"], point.tags["period"], point.time): point.fields["eur"]
        for point in server.points.values()
        if "cost" in point.measurement
    }


PRICE = st.tuples(st.just("price"), st.integers(0, len(TARIFFS) - 1))
GOOD: Final = [("daily", 4, "good", ""), FINE]


@pytest.mark.rest
@settings(max_examples=examples(60, desk=3), suppress_health_check=list(HealthCheck))
@given(st.lists(PRICE | EVENT, max_size=12))
@example([*GOOD, *(event for number in (1, 3, 5, 6, 4, 2, 0) for event in (("price", number), ("deliver all",)))])
@example([("price", 3), *GOOD, ("deliver all",), ("curve", (3, (60,), "")), ("price", 0)])
@example([("price", 1), ("daily", 0, "impossible", ""), ("deliver all",), ("daily", 0, "none", "")])
@example(
    [("price", 1), ("daily", 2, "impossible", ""), ("daily", 3, "good", ""), ("deliver all",), ("daily", 2, "none", "")]
)
@example([*GOOD, ("price", 4), ("deliver all",), ("price", 1), ("deliver", 3, 2, "answer lost", True), ("price", 5)])
@example([*GOOD, ("price", 1), ("deliver all",), ("price", 4), ("daily", 4, "good", ""), ("curve", (4, (30,), ""))])
@example([("price", 4), ("curve", (2, (30, *[60] * 23, 30), "")), ("deliver all",), ("curve", (2, (30,), ""))])
def test_each_receiver_holds_what_things_cost_whatever_happened(events: Sequence[Any]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        made = PricedWorld(Path(folder))
        for module in (line_protocol, webhook):
            patched.setattr(module, "open_session", made.open_session)
        for kind, *what in events:
            if kind == "price":
                made.set_tariff(TARIFFS[what[0]])
            else:
                tell(made, [(kind, *what)])
        made.deliver_all()
        made.check()
        check_costs(made)
        check_mqtt_costs(made)
        for output_id in made.receivers:
            made.outbox.enqueue_all(output_id)
        made.deliver_all()
        check_costs(made)
        # The output is removed.
        broker: Any = made.broker
        account = line_protocol.OutputAccount(made.account, made.account)
        MqttOutput(broker=broker, measures=made.store, now=lambda: made.at).forget([account])
        assert isinstance(broker, Broker) and broker.retained == {}
        made.registry.database.close()
