"""The alert of a household over MQTT: a binary sensor while it has limits, of which nothing stays."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.support.output_home import ACCOUNT, LAST, NOW, change_of, fill_home
from tests.support.receivers import Broker
from worker.domain.series import Series
from worker.outputs.mqtt import MqttOutput
from worker.outputs.mqtt_client import RetainedMessage
from worker.outputs.output import OutputRefused

CONFIG = "homeassistant/binary_sensor/releve_home1/alert/config"
STATE = "releve/home1/state"


@dataclass
class BrokerOfFormerRules(Broker):
    """A broker whose rules, those of 0.2.0, allow sensors alone."""

    def publish(self, message: RetainedMessage) -> None:
        if "binary_sensor" in message.topic:
            raise OutputRefused("the broker does not let this user write here")
        super().publish(message)


def output_to(broker: Broker) -> MqttOutput:
    client: Any = broker
    return MqttOutput(broker=client, measures=fill_home(), now=lambda: NOW, language="en")


def send(broker: Broker, alert: bool | None, *, changed: bool = False) -> dict[str, Any]:
    """Send a day; return the state that the broker retains. ``changed``: whether the household has changed limits."""
    change = replace(change_of(Series.DAILY, LAST, LAST), account=replace(ACCOUNT, alert=alert), repriced=changed)
    output_to(broker).send([change])
    state: dict[str, Any] = json.loads(broker.retained[STATE])
    return state


def test_a_problem_is_on_while_a_limit_is_exceeded_and_goes_with_the_limits() -> None:
    broker = Broker()
    send(broker, None)
    before = set(broker.retained)
    assert send(broker, True)["alert"] == "ON" and send(broker, False)["alert"] == "OFF"
    config = json.loads(broker.retained[CONFIG])
    told = {name: config[name] for name in ("device_class", "state_topic", "value_template", "default_entity_id")}
    assert told == {
        "device_class": "problem",
        "state_topic": STATE,
        "value_template": "{{ value_json.alert }}",
        "default_entity_id": "binary_sensor.releve_home1_alert",
    }
    assert config["name"] == "Alert: limit exceeded" and config["unique_id"] == "releve_home1_alert"
    assert "alert" not in send(broker, None, changed=True)
    assert set(broker.retained) == before


def test_nothing_stays_of_an_output_that_is_removed() -> None:
    broker = Broker()
    send(broker, True)
    output_to(broker).forget([ACCOUNT])
    assert broker.retained == {}


def test_rules_of_a_former_broker_stop_neither_figures_nor_a_removal() -> None:
    broker = BrokerOfFormerRules()
    assert "alert" not in send(broker, None, changed=True)
    with pytest.raises(OutputRefused):  # The operator is told why the sensor is missing.
        send(broker, True)
    assert '"alert":"ON"' in broker.retained[STATE] and broker.retained["releve/home1/availability"] == "online"
    output_to(broker).forget([ACCOUNT])
    assert broker.retained == {}
