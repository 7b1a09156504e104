"""A meter that is renamed after an output was set up: new names there, and no other identifier and no row more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.fakes import NoLocks, memory_measures
from tests.support.output_home import FIRST, LAST, NOW, price_of, put_curve, put_days
from tests.support.receivers import TOKEN, Broker, HomeAssistantInMemory
from tests.support.registries import new_registry, switch_on
from worker.accounts.meter_names import load_shown_name, save_name
from worker.accounts.prices import load_tariff, set_prices
from worker.domain.account import DEFAULT_TENANT
from worker.domain.prices.choices import TariffChoices
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY
from worker.outputs.delivery import OutputDelivery
from worker.outputs.home_assistant import HomeAssistant
from worker.outputs.kinds import KINDS
from worker.outputs.mqtt import MqttOutput
from worker.outputs.output import Output, OutputOptions, OutputParts
from worker.stores.registry import Registry

NAME = "Chalet de l’été"
NAMES = (
    "Consommation d’électricité ({})",
    "Coût de la consommation d’électricité ({})",
    "Production d’électricité ({})",
    "Relève {}",
)
PRICES = TariffChoices(electricity=(price_of(FIRST, base=20),), production=(price_of(FIRST, base=10),))


@dataclass
class Home:
    """A home with prices, a broker, a Home Assistant, and an output to each."""

    registry: Registry
    account: str
    broker: Broker
    home_assistant: HomeAssistantInMemory
    delivery: OutputDelivery
    outputs: list[str]

    def name(self, text: str) -> None:
        save_name(self.registry, self.registry.accounts.get_existing(self.account), text)

    def deliver(self) -> None:
        for output_id in self.outputs:
            self.delivery.deliver(output_id)
            assert self.registry.outbox.next_changes(output_id) == [], self.registry.outputs.get(output_id).error

    def held(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        server = self.home_assistant.server
        return {**self.broker.retained}, {**server.metadata}, {one: {**rows} for one, rows in server.rows.items()}

    def configs(self) -> list[dict[str, Any]]:
        """Return the descriptions of MQTT's sensors."""
        return [json.loads(text) for topic, text in self.broker.retained.items() if topic.endswith("/config")]

    def told_names(self) -> set[str]:
        """Return the names for people that the receivers hold, of statistics and devices."""
        statistics = self.home_assistant.server.metadata.values()
        return {one["device"]["name"] for one in self.configs()} | {one["name"] for one in statistics}


@contextmanager
def open_home(folder: Path, tenant: str) -> Iterator[Home]:
    with new_registry(folder) as registry:
        registry.now = lambda: NOW
        if tenant != DEFAULT_TENANT:
            registry.tenants.save(tenant, "Club")
        added, _ = registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False, tenant=tenant)
        account, measures = added.id, memory_measures()
        days = [LAST - number * ONE_DAY for number in range(40)]
        for series in (Series.DAILY, Series.PRODUCTION_DAILY):
            put_days(measures, series, dict.fromkeys(days, 9_000), account_id=account)
        put_curve(measures, days[:2], account_id=account)
        switch_on(registry, account, Series.DAILY, Series.LOAD_CURVE, Series.PRODUCTION_DAILY)
        set_prices(registry, added, own=PRICES)
        broker, home_assistant = Broker(), HomeAssistantInMemory()
        tariff_of = partial(load_tariff, registry, measures, added)

        def build_mqtt(options: OutputOptions, parts: OutputParts) -> Output:
            receiver: Any = broker
            return MqttOutput(broker=receiver, measures=measures, now=parts.now, tariff_of=parts.tariff_of)

        def build_home_assistant(options: OutputOptions, parts: OutputParts) -> Output:
            receiver: Any = home_assistant
            return HomeAssistant(receiver, "fr", measures, parts.now, parts.tariff_of, wait=lambda _: None)

        builds = {"mqtt": build_mqtt, "home-assistant": build_home_assistant}
        locks: Any = NoLocks(TOKEN)
        delivery = OutputDelivery(
            outputs=registry.outputs,
            outbox=registry.outbox,
            accounts=registry.accounts,
            kinds={name: replace(KINDS[name], build=build) for name, build in builds.items()},
            parts=OutputParts(measures=measures, now=lambda: NOW, tariff_of=lambda _: tariff_of()),
            locks=locks,
            now=lambda: NOW,
            notify=lambda state, now: None,
            name_of=partial(load_shown_name, registry),
        )
        options = asdict(OutputOptions("https://receiver.example"))
        outputs = [registry.outputs.insert(kind, options, NOW, tenant=tenant) for kind in builds]
        for output_id in outputs:
            registry.outbox.enqueue_all(output_id)
        yield Home(registry, account, broker, home_assistant, delivery, outputs)


def test_a_renamed_meter_has_the_same_identifiers_and_rows(tmp_path: Path) -> None:
    with open_home(tmp_path, DEFAULT_TENANT) as home:
        home.deliver()
        before, sensors = home.held(), home.configs()
        assert home.told_names() == {text.format(home.account) for text in NAMES}

        home.name(NAME)
        home.deliver()
        assert home.told_names() == {text.format(NAME) for text in NAMES}
        retained, statistics, rows = home.held()
        assert rows == before[2]
        assert {one: {**told, "name": ""} for one, told in statistics.items()} == {
            one: {**told, "name": ""} for one, told in before[1].items()
        }
        device = {**sensors[0]["device"], "name": f"Relève {NAME}"}
        named = [{**sensor, "name": f"{sensor['name']} ({NAME})", "device": device} for sensor in sensors]
        assert list(retained) == list(before[0]) and home.configs() == named

        home.name("")
        home.deliver()
        assert home.held() == before


def test_outputs_of_a_tenant_send_no_name(tmp_path: Path) -> None:
    with open_home(tmp_path, "club") as home:
        home.name(NAME)
        home.deliver()
        assert home.told_names() and NAME not in str(home.held())
