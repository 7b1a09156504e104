"""MQTT with discovery: the figures of a home as Home Assistant sensors, and as JSON for other programs.

    releve/k9xgwnz9gvp2/state          {"consumption_yesterday": 8.412, "consumption_month": null, …}
    releve/k9xgwnz9gvp2/availability   online
    homeassistant/sensor/releve_k9xgwnz9gvp2/consumption_yesterday/config   the description of the sensor

All messages are retained (``mqtt_client``), so a display that starts later has them at once. The state is one message,
so that its figures belong to the same moment; an unknown figure is null, which Home Assistant shows as "unknown". Each
kind of energy has four figures: the energy of yesterday, of this month and of this year, as far as it is known, and the
last known day. An account with prices also has costs, and what its option tells of today: the colours of Tempo and the
off-peak hours. All this changes at midnight, even without new readings (``OutputKind.daily``).

We connect only to send. ``online`` is published after all figures were acknowledged. If the connection
breaks off before that, the broker publishes ``offline``, which stays until the delivery is repeated. A sensor without
news for three days expires, so no old figure looks current after Relève has stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from worker.accounts.prices import AccountTariff, read_costs
from worker.domain.clock import Clock
from worker.domain.documents import ALL_KEYS, key_of, key_range, period_key, to_entry
from worker.domain.prices import Colour, Option
from worker.domain.prices.choices import Terms
from worker.domain.prices.cost import row_of_days
from worker.domain.prices.energy import off_peak_minutes
from worker.domain.series import Period, Series
from worker.domain.totals import calendar_month, count_inputs, count_names
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, civil_date, local_midnight
from worker.outputs.mqtt_client import PORTS, MqttBroker, MqttConnection, RetainedMessage
from worker.outputs.output import Change, OutputAccount, OutputKind, OutputOptions, OutputParts, OutputRefused, TariffOf
from worker.stores.measures.measure_store import MeasureStore
from worker.texts import LANGUAGES, translate

_EXPIRES_AFTER_S: Final = 3 * 86_400
_CONSENT_DAYS: Final = "consent_days"
_PERIODS: Final = ("yesterday", "month", "year")
_KINDS_OF_ENERGY: Final = ("consumption", "production", "gas")
# The further sensors of an account with prices, each with the fields of its discovery message.
_COSTS: Final = ("cost_yesterday", "cost_month")
_COLOUR: Final = {"device_class": "enum", "options": [*Colour]}
_TODAY: Final = {"colour_today": _COLOUR, "colour_tomorrow": _COLOUR, "off_peak_today": {}}
_ALERT: Final = "alert"
_NOT_IN_A_TOPIC: Final = "+#$"
_LONGEST_TOPIC: Final = 200  # The most characters of a topic's first part.


@dataclass(frozen=True, slots=True)
class EnergyFigures:
    """The figures of one series of daily energy, in kWh; a figure is None if nothing is known of its period.

    ``month`` and ``year``: the sums of the known days of the current month and year. ``counts``: the known days of the
    month (``month_days``), all its days (``month_expected_days``), and the same for the year.
    """

    series: Series
    yesterday: float | None
    month: float | None
    year: float | None
    last_day: date
    counts: Mapping[str, int]

    @property
    def name(self) -> str:
        """The kind of energy: ``consumption``, ``production`` or ``gas``."""
        return "gas" if self.series.is_gas else self.series.description.direction.value


@dataclass(frozen=True, kw_only=True)
class MqttOutput:
    """The output to an MQTT broker.

    ``base_topic``: the first part of the topics with figures. ``discovery_prefix``: the first part of the topics with
    descriptions of sensors. ``language``: the language of the sensors' names.
    """

    broker: MqttBroker
    measures: MeasureStore
    now: Clock
    language: str = LANGUAGES[0]
    base_topic: str = "releve"
    discovery_prefix: str = "homeassistant"
    tariff_of: TariffOf = lambda account_id: None

    def check(self) -> str:
        with self.broker.connect():
            return "the broker accepts the connection, user and password"

    def send(self, changes: Sequence[Change]) -> None:
        """Publish all current figures of the changes' accounts, whatever has changed."""
        repriced = any(change.repriced for change in changes)
        for account in dict.fromkeys(change.account for change in changes):
            messages = list(self._messages(account, repriced))  # The store is read before the connection opens.
            available = f"{self._topic(account)}/availability"
            with self.broker.connect(will=RetainedMessage(available, "offline")) as connection:
                for message in (*messages, RetainedMessage(available, "online")):
                    connection.publish(message)
                # Last, so that a user that may not write its topic, as in version 0.2.0, publishes all figures first.
                if account.alert is not None:
                    config = {**self._common(account, _ALERT, "binary_sensor"), "device_class": "problem"}
                    connection.publish(RetainedMessage(self._alert_topic(account), _to_json(config)))
                elif repriced:
                    self._remove_alert(connection, account)

    def forget(self, accounts: Iterable[OutputAccount]) -> None:
        """Remove the accounts' retained messages from the broker; Home Assistant then removes their sensors."""
        parts = (*_PERIODS, "last_day")
        energies = (f"{energy}_{part}" for energy in _KINDS_OF_ENERGY for part in parts)
        names = [_CONSENT_DAYS, *energies, *_COSTS, *_TODAY]
        with self.broker.connect() as connection:
            for account in accounts:
                self._remove_alert(connection, account)
                configs = [self._config_topic(account, name) for name in names]
                for topic in (*configs, *(f"{self._topic(account)}/{part}" for part in ("availability", "state"))):
                    connection.publish(RetainedMessage(topic, ""))

    def _remove_alert(self, connection: MqttConnection, account: OutputAccount) -> None:
        # A user that may not write this topic has nothing there.
        with suppress(OutputRefused):
            connection.publish(RetainedMessage(self._alert_topic(account), ""))

    def _messages(self, account: OutputAccount, repriced: bool) -> Iterator[RetainedMessage]:
        now = self.now()
        figures = list(read_figures(account.id, self.measures, now))
        costs = read_cost_figures(account.id, self.measures, self.tariff_of(account.id), now)
        for name, described in _sensors(figures, costs, f"{self._topic(account)}/state"):
            config = {**self._common(account, name), **described}
            yield RetainedMessage(self._config_topic(account, name), _to_json(config))
        for name in (*_COSTS, *_TODAY) if costs or repriced else ():
            if name not in costs:  # The prices, or the option that had this sensor, may have gone.
                yield RetainedMessage(self._config_topic(account, name), "")
        state = _state(account, figures, now) | costs
        if account.alert is not None:
            state[_ALERT] = "ON" if account.alert else "OFF"
        yield RetainedMessage(f"{self._topic(account)}/state", _to_json(state))

    def _common(self, account: OutputAccount, name: str, component: str = "sensor") -> dict[str, Any]:
        """Return the fields that the discovery message of every sensor has."""
        device, named = f"releve_{account.label}", f" ({account.name})" if account.name else ""
        return {
            "name": translate(f"output.mqtt.{name}", self.language) + named,
            "unique_id": f"{device}_{name}",
            "default_entity_id": f"{component}.{device}_{name}",
            "state_topic": f"{self._topic(account)}/state",
            "value_template": f"{{{{ value_json.{name} }}}}",
            "availability_topic": f"{self._topic(account)}/availability",
            "expire_after": _EXPIRES_AFTER_S,
            "device": {"identifiers": [device], "name": f"Relève {account.shown_name}", "manufacturer": "Relève"},
            "origin": {"name": "Relève"},
        }

    def _topic(self, account: OutputAccount) -> str:
        return f"{self.base_topic}/{account.label}"

    def _alert_topic(self, account: OutputAccount) -> str:
        return self._config_topic(account, _ALERT, "binary_sensor")

    def _config_topic(self, account: OutputAccount, name: str, component: str = "sensor") -> str:
        return f"{self.discovery_prefix}/{component}/releve_{account.label}/{name}/config"


def _sensors(
    figures: Sequence[EnergyFigures], costs: Mapping[str, Any], state_topic: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name of each sensor, and the fields that ``_common`` doesn't add to its discovery message."""
    for one in figures:
        for period in _PERIODS:
            yield _total_sensor(f"{one.name}_{period}", "energy", "kWh", state_topic)
        yield f"{one.name}_last_day", {"device_class": "date"}
    if costs:
        yield from (_total_sensor(name, "monetary", "EUR", state_topic) for name in _COSTS)
    yield from ((name, fields) for name, fields in _TODAY.items() if name in costs)
    yield _CONSENT_DAYS, {"device_class": "duration", "unit_of_measurement": "d", "entity_category": "diagnostic"}


def _total_sensor(name: str, device_class: str, unit: str, state_topic: str) -> tuple[str, Mapping[str, Any]]:
    period = name.rpartition("_")[2]
    return name, {
        "device_class": device_class,
        "unit_of_measurement": unit,
        # The figure is a total that restarts with each period; it may also be corrected downwards.
        "state_class": "total",
        "last_reset_value_template": f"{{{{ value_json.{period}_from }}}}",
        "suggested_display_precision": 2,
        **({} if period == "yesterday" else _attributes(name, state_topic)),
    }


def _attributes(name: str, state_topic: str) -> dict[str, str]:
    """Return the templates that turn the counts of a total into attributes of its sensor.

    The templates use ``get``, because a state that an older version has published lacks the counts.
    """
    counts = ", ".join(f"'{count}': value_json.get('{name}_{count}')" for count in count_names(Period.MONTH))
    return {"json_attributes_topic": state_topic, "json_attributes_template": f"{{{{ {{{counts}}} | tojson }}}}"}


def _state(account: OutputAccount, figures: Sequence[EnergyFigures], now: datetime) -> dict[str, Any]:
    """Return the content of the state message: each sensor's value, the counts, and the start of each period."""
    today = civil_date(now)
    begins = {"yesterday": today - ONE_DAY, "month": today.replace(day=1), "year": today.replace(month=1, day=1)}
    state: dict[str, Any] = {}
    for one in figures:
        state |= {f"{one.name}_{period}": getattr(one, period) for period in _PERIODS}
        state[f"{one.name}_last_day"] = one.last_day.isoformat()
        state |= {f"{one.name}_{count}": number for count, number in one.counts.items()}
    until = account.consent_until
    state[_CONSENT_DAYS] = None if until is None else max((until - today).days, 0)
    return state | {f"{period}_from": local_midnight(day).isoformat() for period, day in begins.items()}


def _to_json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def read_figures(account_id: str, measures: MeasureStore, now: datetime) -> Iterator[EnergyFigures]:
    """Yield the figures of each series of daily energy for which the account has values. Raises StoreUnavailable."""
    yesterday = civil_date(now) - ONE_DAY
    today = DateWindow(civil_date(now), civil_date(now) + ONE_DAY)
    for series in (series for series in Series if series.is_daily_energy):
        total_of = {doctype.period: doctype for doctype in series.totals}
        month, year = total_of[Period.MONTH], total_of[Period.YEAR]
        years = measures.read(account_id, {year: ALL_KEYS})[year]
        if not years:
            continue
        first = min(f"{key_of(years[-1])}-01-01", yesterday.isoformat())  # On 1 January, yesterday is before the year.
        ranges = {series.inputs: (first, "~"), month: key_range(today, month)}
        documents = measures.read(account_id, ranges)
        days = {key_of(document): document["load"] for document in documents[series.inputs]}
        if not days:
            continue
        entries = [to_entry(document) for document in documents[series.inputs]]
        counts = dict[str, int]()
        for total in series.totals:
            (counted,) = count_inputs([period_key(now, total)], entries, total).values()
            counts |= {f"{total.period}_{name}": number for name, number in counted.items()}
        yield EnergyFigures(
            series=series,
            yesterday=days.get(yesterday.isoformat()),
            month=next((one["load"] for one in documents[month]), None),
            year=next((one["load"] for one in years if key_of(one) == str(today.start.year)), None),
            last_day=date.fromisoformat(max(days)),
            counts=counts,
        )


def read_cost_figures(
    account_id: str, measures: MeasureStore, tariff: AccountTariff | None, now: datetime
) -> dict[str, Any]:
    """Return the values of the sensors of an account with prices, and their counts; nothing without prices.

    Costs have the subscription, as on the page. That of yesterday is known if the whole day is.
    """
    today = civil_date(now)
    if tariff is None or not tariff.choice_on(today):
        return {}
    days = (DateWindow(today - ONE_DAY, today), calendar_month(f"{today:%Y-%m}"))
    window = DateWindow(min(one.start for one in days), days[1].end)
    costs, _ = read_costs(measures, account_id, tariff, window)
    yesterday, month = (row_of_days(one, costs) for one in days)
    totals = (yesterday["total_eur"] if yesterday["days"] else None, month["total_eur"])
    state: dict[str, Any] = {name: total and float(total) for name, total in zip(_COSTS, totals, strict=True)}
    state |= {f"cost_month_{count}": month[count] for count in count_names(Period.MONTH)}
    terms = tariff.terms(DateWindow(today, today + ONE_DAY)).get(today) if tariff.kind == "electricity" else None
    if terms and terms.option is not Option.BASE:
        state["off_peak_today"] = _off_peak_text(today, terms)
    if terms and terms.option is Option.TEMPO:
        state |= {"colour_today": tariff.colours.get(today), "colour_tomorrow": tariff.colours.get(today + ONE_DAY)}
    return state


def _off_peak_text(day: date, terms: Terms) -> str | None:
    """Return the off-peak hours of a day, such as ``00:00-06:00, 22:00-24:00``; None where they are unknown."""
    midnight = local_midnight(day).astimezone(UTC)
    minute, spans = timedelta(minutes=1), off_peak_minutes(day, terms)
    # The end is the last minute's by the clock, which may be put back there.
    first_and_last = [((midnight + minute * at).astimezone(PARIS) for at in (start, end - 1)) for start, end in spans]
    texts = (f"{first:%H:%M}-{last + minute:%H:%M}" for first, last in first_and_last)
    return ", ".join(texts).replace("-00:00", "-24:00") or None


def build(options: OutputOptions, parts: OutputParts) -> MqttOutput:
    """Build the output of these options. Raises ValueError, with a text of one line, if they are wrong."""
    url, more = urlsplit(options.url), options.more
    if url.scheme not in PORTS or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("the address must look like mqtts://HOST or mqtts://HOST:PORT")
    if url.username or url.password:
        raise ValueError(
            "the address must not contain a user or password: give the option user, and the password as the secret"
        )
    if options.secret and not more.get("user"):
        raise ValueError("a password needs the option user")
    language = more.get("language", LANGUAGES[0])
    if language not in LANGUAGES:
        raise ValueError(f"the option language must be one of {', '.join(LANGUAGES)}")
    return MqttOutput(
        broker=MqttBroker(
            host=url.hostname,
            port=url.port or PORTS[url.scheme],
            has_tls=url.scheme == "mqtts",
            user=more.get("user"),
            password=options.secret,
            ca_file=more.get("ca_file"),
        ),
        measures=parts.measures,
        now=parts.now,
        language=language,
        base_topic=_to_topic(more.get("base_topic", "releve")),
        discovery_prefix=_to_topic(more.get("discovery_prefix", "homeassistant")),
        tariff_of=parts.tariff_of,
    )


def _to_topic(text: str) -> str:
    if not text.isprintable() or len(text) > _LONGEST_TOPIC:
        raise ValueError(f"a topic must be one line of at most {_LONGEST_TOPIC} characters")
    if not text or text != text.strip("/ ") or any(sign in text for sign in _NOT_IN_A_TOPIC):
        raise ValueError("a topic must have words with / between them, without +, # and $")
    return text


KIND: Final = OutputKind(
    name="mqtt",
    title="MQTT",
    url_help="such as mqtts://broker.example, or mqtt://192.168.1.10 at home",
    secret="password of the broker's user; empty for none",  # noqa: S106 - what is asked for
    daily=True,
    forget=lambda options, parts, accounts: build(options, parts).forget(accounts),
    options={
        "user": "the broker's user",
        "language": "language of the sensors' names: fr (default) or en",
        "base_topic": "first part of Relève's topics; default: releve",
        "discovery_prefix": "prefix of Home Assistant's discovery; default: homeassistant",
        "ca_file": "file with the certificate of the broker's authority",
    },
    build=build,
)
