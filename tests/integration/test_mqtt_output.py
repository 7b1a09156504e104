"""MQTT: what a real broker retains after a delivery, and one clear line for each way in which it fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment

from tests.support.certificates import Certificates
from tests.support.factories import content
from tests.support.fakes import memory_measures
from tests.support.installation import Installation
from tests.support.mosquitto import NARROW_USER, PASSWORD, USER, Mosquitto
from tests.support.output_home import ACCOUNT, LAST, NOW, change_of, fill_home, put_days
from tests.support.registries import add_ready
from tests.support.waiting import until
from worker.accounts.prices import set_prices
from worker.domain.prices import Option
from worker.domain.series import Doctype, Series
from worker.errors import NotDelivered
from worker.outputs.mqtt import KIND, MqttOutput, build
from worker.outputs.mqtt_client import RetainedMessage
from worker.outputs.output import OutputAccount, OutputOptions, OutputParts, OutputRefused
from worker.stores.measures.measure_store import MeasureStore

CONFIG = "homeassistant/sensor/releve_home1"
STATE, AVAILABILITY = "releve/home1/state", "releve/home1/availability"
YESTERDAY = change_of(Series.DAILY, LAST, LAST)


@pytest.fixture
def empty_broker(mosquitto_broker: Mosquitto) -> Iterator[Mosquitto]:
    yield mosquitto_broker
    output_to(mosquitto_broker, fill_home()).forget([ACCOUNT])


def output_to(
    broker: Mosquitto, measures: MeasureStore, now: Any = lambda: NOW, secret: str = PASSWORD, **more: str
) -> MqttOutput:
    options = OutputOptions(f"mqtt://127.0.0.1:{broker.port}", secret, {"user": USER, **more})
    return build(options, OutputParts(measures=measures, now=now))


def attributes_of(retained: dict[str, Any], sensor: str) -> Any:
    """Return the attributes of a sensor, as Home Assistant's template makes them of the message."""
    config = retained[f"{CONFIG}/{sensor}/config"]
    message = retained[config["json_attributes_topic"]]
    return json.loads(
        Environment(autoescape=True).from_string(config["json_attributes_template"]).render(value_json=message)
    )


def test_a_home_is_discovered_with_its_figures(empty_broker: Mosquitto) -> None:
    measures = fill_home()
    output_to(empty_broker, measures).send([YESTERDAY])
    retained, stored = empty_broker.retained(), content(measures)
    assert retained[AVAILABILITY] == "online"
    assert retained[STATE] == {
        "consumption_yesterday": stored[Doctype.DAY]["2024-10-28"],
        "consumption_month": stored[Doctype.MONTH]["2024-10"],
        "consumption_year": stored[Doctype.YEAR]["2024"],
        "consumption_last_day": "2024-10-28",
        "consumption_month_days": 28,
        "consumption_month_expected_days": 31,
        "consumption_year_days": 302,
        "consumption_year_expected_days": 366,
        "production_yesterday": stored[Doctype.PRODUCTION_DAY]["2024-10-28"],
        "production_month": stored[Doctype.PRODUCTION_MONTH]["2024-10"],
        "production_year": stored[Doctype.PRODUCTION_YEAR]["2024"],
        "production_last_day": "2024-10-28",
        "production_month_days": 28,
        "production_month_expected_days": 31,
        "production_year_days": 40,
        "production_year_expected_days": 366,
        "gas_yesterday": stored[Doctype.GAS_DAY]["2024-10-28"],
        "gas_month": stored[Doctype.GAS_MONTH]["2024-10"],
        "gas_year": stored[Doctype.GAS_YEAR]["2024"],
        "gas_last_day": "2024-10-28",
        "gas_month_days": 28,
        "gas_month_expected_days": 31,
        "gas_year_days": 90,
        "gas_year_expected_days": 366,
        "consent_days": 63,
        "yesterday_from": "2024-10-28T00:00:00+01:00",
        "month_from": "2024-10-01T00:00:00+02:00",
        "year_from": "2024-01-01T00:00:00+01:00",
    }
    configs = {topic: payload for topic, payload in retained.items() if topic.startswith(CONFIG)}
    assert len(configs) == 13 and len(retained) == 15
    assert configs[f"{CONFIG}/consumption_month/config"] == {
        "name": "Consommation du mois",
        "unique_id": "releve_home1_consumption_month",
        "default_entity_id": "sensor.releve_home1_consumption_month",
        "state_topic": STATE,
        "value_template": "{{ value_json.consumption_month }}",
        "availability_topic": AVAILABILITY,
        "expire_after": 259200,
        "device": {"identifiers": ["releve_home1"], "name": "Relève home1", "manufacturer": "Relève"},
        "origin": {"name": "Relève"},
        "device_class": "energy",
        "unit_of_measurement": "kWh",
        "state_class": "total",
        "last_reset_value_template": "{{ value_json.month_from }}",
        "suggested_display_precision": 2,
        "json_attributes_topic": STATE,
        "json_attributes_template": "{{ {'days': value_json.get('consumption_month_days'), "
        "'expected_days': value_json.get('consumption_month_expected_days')} | tojson }}",
    }
    assert attributes_of(retained, "gas_year") == {"days": 90, "expected_days": 366}
    assert "json_attributes_template" not in configs[f"{CONFIG}/consumption_yesterday/config"]
    for topic, config in configs.items():
        name = topic.split("/")[-2]
        assert config["value_template"] == f"{{{{ value_json.{name} }}}}" and name in retained[STATE]
        assert config["name"] and config["unique_id"].endswith(name)


def test_what_is_not_known_is_unknown_and_never_nought(empty_broker: Mosquitto) -> None:
    measures, later = fill_home(), NOW + timedelta(days=4)  # November has begun, and nothing of it has come.
    output_to(empty_broker, measures, lambda: later).send([YESTERDAY])
    state = empty_broker.retained()[STATE]
    assert state["consumption_yesterday"] is None and state["consumption_month"] is None
    assert (state["consumption_month_days"], state["consumption_month_expected_days"]) == (0, 30)
    assert (state["consumption_year"], state["consumption_last_day"]) == (
        content(measures)[Doctype.YEAR]["2024"],
        "2024-10-28",
    )
    put_days(measures, Series.DAILY, {date(2024, 11, 1): 0})
    output_to(empty_broker, measures, lambda: later).send([change_of(Series.DAILY, LAST, date(2024, 11, 1))])
    state = empty_broker.retained()[STATE]
    assert (state["consumption_yesterday"], state["consumption_month"]) == (0.0, 0.0), "measured, and nought"


def test_the_days_of_the_consent_go_down_to_nought_and_without_an_end_they_are_unknown(
    empty_broker: Mosquitto,
) -> None:
    measures, days = fill_home(), []
    for passed in (0, 1, 63, 70):
        now = NOW + timedelta(days=passed)
        output_to(empty_broker, measures, lambda now=now: now).send([YESTERDAY])
        days.append(empty_broker.retained()[STATE]["consent_days"])
    endless = OutputAccount("home1", "home1")
    output_to(empty_broker, measures).send([replace(YESTERDAY, account=endless)])
    assert [*days, empty_broker.retained()[STATE]["consent_days"]] == [63, 62, 0, 0, None]


def test_only_the_kinds_of_energy_that_an_account_has_are_discovered(empty_broker: Mosquitto) -> None:
    measures = memory_measures()
    put_days(measures, Series.GAS_DAILY, {LAST: 30_000})
    output_to(empty_broker, measures, language="en", discovery_prefix="ha/found", base_topic="home/energy").send(
        [change_of(Series.GAS_DAILY, LAST, LAST)]
    )
    retained = empty_broker.retained()
    names = ["consent_days", "gas_last_day", "gas_month", "gas_year", "gas_yesterday"]
    assert sorted(retained) == [
        *(f"ha/found/sensor/releve_home1/{name}/config" for name in names),
        "home/energy/home1/availability",
        "home/energy/home1/state",
    ]
    assert retained["ha/found/sensor/releve_home1/gas_yesterday/config"]["name"] == "Yesterday’s gas consumption"
    output_to(empty_broker, measures, discovery_prefix="ha/found", base_topic="home/energy").forget([ACCOUNT])
    assert empty_broker.retained() == {}


def test_an_output_that_is_removed_leaves_nothing_retained(empty_broker: Mosquitto) -> None:
    output = output_to(empty_broker, fill_home())
    output.send([YESTERDAY])
    assert empty_broker.retained()
    output.forget([ACCOUNT])
    assert empty_broker.retained() == {}


def test_the_broker_says_offline_where_a_connection_breaks_off(empty_broker: Mosquitto) -> None:
    output = output_to(empty_broker, fill_home())
    output.send([YESTERDAY])
    with output.broker.connect(will=RetainedMessage(AVAILABILITY, "offline")) as connection:
        connection._client.socket().close()  # type: ignore[union-attr]
        until(lambda: empty_broker.retained()[AVAILABILITY] == "offline")
    output.send([YESTERDAY])
    assert empty_broker.retained()[AVAILABILITY] == "online"


def test_tls_takes_the_authority_that_is_named_and_no_other(
    empty_broker: Mosquitto, certificates: Certificates
) -> None:
    def over_tls(**more: str) -> MqttOutput:
        options = OutputOptions(f"mqtts://localhost:{empty_broker.tls_port}", PASSWORD, {"user": USER, **more})
        return build(options, OutputParts(measures=fill_home(), now=lambda: NOW))

    output = over_tls(ca_file=str(certificates.authority))
    assert output.check() == "the broker accepts the connection, user and password"
    output.send([YESTERDAY])
    assert empty_broker.retained()[AVAILABILITY] == "online"
    with pytest.raises(OutputRefused, match=r"certificate is not trusted \(.*ca_file"):
        over_tls(ca_file=str(certificates.other_authority)).check()
    with pytest.raises(OutputRefused, match="certificate is not trusted"):
        over_tls().check()
    with pytest.raises(OutputRefused, match="ca_file can't be read"):
        over_tls(ca_file="/nowhere").check()


def test_each_failure_is_one_clear_line_without_a_secret(empty_broker: Mosquitto) -> None:
    measures, port = fill_home(), empty_broker.port

    def failure(output: MqttOutput) -> tuple[type[Exception], str]:
        with pytest.raises((NotDelivered, OutputRefused)) as caught:
            output.send([YESTERDAY])
        text = str(caught.value)
        assert "\n" not in text and PASSWORD not in text and "wr0ng" not in text and PASSWORD not in repr(output)
        return caught.type, text

    def at(url: str, **more: str) -> MqttOutput:
        return build(
            OutputOptions(url, PASSWORD, {"user": USER, **more}), OutputParts(measures=measures, now=lambda: NOW)
        )

    refused = failure(output_to(empty_broker, measures, secret="wr0ng"))
    assert refused == (OutputRefused, "the broker refuses the user or the password: Not authorized")
    narrow = failure(output_to(empty_broker, measures, user=NARROW_USER))
    assert narrow[0] is OutputRefused and f"does not let this user write to {CONFIG}/" in narrow[1]
    assert failure(at(f"mqtts://127.0.0.1:{port}"))[0] is NotDelivered
    assert failure(at("mqtt://127.0.0.1:1"))[1] == "the broker can't be reached: nothing listens on this port"
    assert empty_broker.retained() == {}, "nothing half"


def test_a_name_of_a_private_network_is_called_in_a_fleet_too(
    empty_broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def lead_home(host: str, *others: object, **options: object) -> object:
        return resolve("127.0.0.1" if host == "broker.example" else host, *others, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lead_home)
    options = OutputOptions(f"mqtt://broker.example:{empty_broker.port}", PASSWORD, {"user": USER})
    assert build(options, OutputParts(measures=fill_home(), now=lambda: NOW)).check()


@pytest.mark.parametrize(
    ("url", "secret", "more", "says"),
    [
        ("http://broker", None, {}, "mqtts://HOST"),
        ("mqtt://u:p@broker", None, {}, "option user"),
        ("mqtt://broker", "x", {}, "needs the option user"),
        ("mqtt://broker", None, {"language": "de"}, "one of fr, en"),
        ("mqtt://broker", None, {"base_topic": "home/#"}, "without"),
        ("mqtt://broker", None, {"base_topic": "home\nenergy"}, "one line"),
        ("mqtt://broker", None, {"base_topic": "home\x00"}, "one line"),
        ("mqtt://broker", None, {"discovery_prefix": "h" * 201}, "at most 200 characters"),
        ("mqtt://broker:no", None, {}, "[Pp]ort"),
    ],
)
def test_a_wrong_option_is_one_line(url: str, secret: str | None, more: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(OutputOptions(url, secret, more), OutputParts(measures=fill_home(), now=lambda: NOW))


def test_the_kind_is_refreshed_daily() -> None:
    assert KIND.daily and KIND.secret


def test_by_hand_an_output_is_added_sent_and_removed_with_what_the_broker_retains(
    empty_broker: Mosquitto, installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(f"{PASSWORD}\n")
    words = ["--secret-file", str(tmp_path / "secret"), "--option", f"user={USER}"]
    with installation.open() as parts:
        account_id = add_ready(parts.stores.registry)
        put_days(parts.stores.measures, Series.DAILY, {date(2024, 7, 24): 8_412}, account_id=account_id)
        account = parts.stores.registry.accounts.get(account_id)
        set_prices(parts.stores.registry, account, regulated=(Option.TEMPO, 9))

    def add() -> str:
        url = f"mqtt://127.0.0.1:{empty_broker.port}"
        output_id = installation.query("outputs", "add", "mqtt", "--url", url, *words, "--account", account_id)["id"]
        return str(output_id)

    output_id = add()
    with installation.open() as parts:
        assert parts.outputs.deliver(output_id)
    retained = empty_broker.retained()
    assert retained[f"releve/{account_id}/availability"] == "online"
    assert retained[f"releve/{account_id}/state"]["off_peak_today"] == "00:00-06:00, 22:00-24:00"
    assert "removed there" in installation.releve("outputs", "remove", output_id, "--yes").out
    assert empty_broker.retained() == {}
    output_id = add()
    empty_broker.stop()
    try:
        said = installation.releve("outputs", "remove", output_id, "--yes").out
    finally:
        empty_broker.start()
    assert "stays there: the broker can't be reached: nothing listens on this port" in said
