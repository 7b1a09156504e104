"""The parsers of contracts of electricity and gas; they return a reading for the last day of the requested window.

An answer describes the contract on the day of the request. The clients have already removed names and addresses, and
only the fields below are read.

Electricity: subscribed power, tariff, off-peak hours, activation, state of the meter.

    v4, v5   {"contracts": {"customer": {"usage_points": [{"usage_point": {"usage_point_status": "com"},
                "contracts": {"segment": "C5", "subscribed_power": "9 kVA", "last_activation_date": "2013-08-14+01:00",
                              "distribution_tariff": "BTINFCUST", "offpeak_hours": "HC (23h00-7h30)"}}]}}}
             v4 has a list of customers
    2026     {"situation_contrat": [{"segment": "C5", "subscribed_power": {"unit": "kVA", "value": "12"},
                                     "distribution_tariff": "Tarif BT<=36kVA …"}],
              "synth_contrat": {"consumption_last_activation_date": "2018-08-31T00:00:00+0200",
                                "services_level": "Communicant (ouvert aux services)"},
              "comptage": {"relais": {"plageHeuresCreuses": "HC (22H00-6H00)"}}}

In 2026 there are three answers; only the first is required. A home that also produces energy has a second contract, for
production, which has no power. Only a contract with a power is read. If none has a power, there is no reading.
Source: Enedis, swagger customers_upc v5; swaggers Situation contractuelle, Synthèse contractuelle and Situation
comptage of 2026; recorded answers.

Gas: how often the meter is read, the tariff, the yearly reference consumption (CAR).

    {"donnees_techniques": {"caracteristiques_compteur": {"frequence": "1M"}},
     "donnees_contractuelles": {"car": 9426, "tarif_acheminement": "T2", "date_mes": "2020-12-07"}}

Newer answers have ``"car": {"car_actuelle": 9426}``. The contractual part may be missing. Source: GRDF, swagger of
ADICT v2 (``car`` as a number) and the digest of its kit 1.9 (as an object); recorded answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from worker.domain.answers import Json, parse_text
from worker.domain.parsing import values
from worker.domain.parsing.gas import clean_names, object_of
from worker.domain.parsing.values import ParsedAnswer, list_of_objects, parse_date
from worker.domain.tariffs import format_off_peak_hours, parse_off_peak_hours
from worker.domain.windows import ONE_DAY, DateWindow, IntervalReading, day_length, local_midnight
from worker.errors import WrongShape

TECHNICAL: Final = "donnees_techniques"
CONTRACTUAL: Final = "donnees_contractuelles"
FREQUENCIES: Final = frozenset({"6m", "1m", "mm", "jj"})
TARIFFS: Final = frozenset({"t1", "t2", "t3", "t4", "tp"})
_POWER: Final = re.compile(r"([\d.,]+) ?([a-z]+)", re.ASCII | re.IGNORECASE)
_MILLIONTHS_OF_KVA: Final = {"kva": 1_000_000, "va": 1_000}  # By the unit in which a power is sent.
_MILLIONTHS_OF_KWH: Final = 1_000_000


def parse_contract(payload: Json, window: DateWindow) -> ParsedAnswer:
    """Parse the contract in force into a single reading; its load is the subscribed power in kVA."""
    contracts = list(_contracts(payload))
    powers = [(power, details) for raw, details in contracts if (power := _parse_power(raw)) is not None]
    if not powers:
        return ParsedAnswer((), sum(raw is not None for raw, _ in contracts))
    of_consumers = (found for found in powers if str(found[1]["segment"]).startswith("C"))
    power, details = next(of_consumers, powers[0])
    day = window.end - ONE_DAY
    known = {name: value for name, value in details.items() if value is not None}
    return ParsedAnswer([IntervalReading(local_midnight(day), day_length(day), power, known or None)])


def _contracts(payload: Json) -> Iterator[tuple[Json, dict[str, Any]]]:
    """Yield for each contract its power, as sent, and its details."""
    if not isinstance(payload, dict) or not {"contracts", "situation_contrat"} & payload.keys():
        raise WrongShape("the answer is not about a contract")
    if "situation_contrat" in payload:
        yield from _contracts_2026(payload)
        return
    customers = payload["contracts"]
    for body in list_of_objects([customers] if isinstance(customers, dict) else customers, "contracts"):
        customer = body.get("customer")
        if not isinstance(customer, dict):
            raise WrongShape("customer is not an object")
        for point in list_of_objects(customer.get("usage_points"), "usage_points"):
            contracts = point.get("contracts")
            for contract in list_of_objects([contracts] if isinstance(contracts, dict) else contracts, "contracts"):
                yield (
                    contract.get("subscribed_power"),
                    {
                        "tariff": parse_text(contract.get("distribution_tariff")),
                        "off_peak_hours": format_off_peak_hours(parse_off_peak_hours(contract.get("offpeak_hours"))),
                        "activated_on": parse_date(contract.get("last_activation_date")),
                        "meter_status": parse_text(_object(point.get("usage_point")).get("usage_point_status")),
                        "segment": parse_text(contract.get("segment")),
                    },
                )


def _contracts_2026(payload: Mapping[str, Json]) -> Iterator[tuple[Json, dict[str, Any]]]:
    summary = _object(payload.get("synth_contrat"))
    relay = _object(_object(payload.get("comptage")).get("relais"))
    # Consumption and production may have begun on different days; the history begins on the earlier of the two.
    activations = (parse_date(summary.get(f"{kind}_last_activation_date")) for kind in ("consumption", "generation"))
    shared = {
        "off_peak_hours": format_off_peak_hours(parse_off_peak_hours(relay.get("plageHeuresCreuses"))),
        "activated_on": min((day for day in activations if day), default=None),
        "meter_status": parse_text(summary.get("services_level")),
    }
    for item in list_of_objects(payload["situation_contrat"], "situation_contrat"):
        tariff, segment = parse_text(item.get("distribution_tariff")), parse_text(item.get("segment"))
        yield item.get("subscribed_power"), {**shared, "tariff": tariff, "segment": segment}


def _object(raw: Json) -> Mapping[str, Json]:
    return raw if isinstance(raw, dict) else {}


def _parse_power(raw: Json) -> int | None:
    """Convert a power, sent as ``9 kVA`` or as value and unit, to millionths of a kVA; None for anything else."""
    if isinstance(raw, dict):
        value, unit = raw.get("value"), parse_text(raw.get("unit"))
    else:
        match = _POWER.fullmatch(text) if (text := parse_text(raw)) else None
        value, unit = (match[1], match[2]) if match else (None, None)
    number = values.parse_number(value.replace(",", ".") if isinstance(value, str) else value)
    scale = _MILLIONTHS_OF_KVA.get((unit or "").lower())
    return values.to_whole(number * scale) if number is not None and scale else None


def parse_gas_contract(payload: Json, window: DateWindow) -> ParsedAnswer:
    """Parse the contract in force to one reading.

    The amount is the yearly reference consumption (CAR) in millionths of a kWh, 0 if unknown.
    """
    fields = clean_names(payload)
    if not {TECHNICAL, CONTRACTUAL} & fields.keys():
        raise WrongShape("the answer is not about a gas contract")
    meter = object_of(object_of(fields, TECHNICAL), "caracteristiques_compteur")
    contract = object_of(fields, CONTRACTUAL)
    number = values.parse_decimal(object_of(contract, "car").get("car_actuelle", contract.get("car")))
    frequency = parse_text(meter.get("frequence"))
    details = {
        "frequency": frequency.upper() if frequency else None,
        "transport_tariff": parse_text(contract.get("tarif_acheminement")),
        "activated_on": parse_date(contract.get("date_mes")),
    }
    known = {name: value for name, value in details.items() if value is not None}
    if number is None and not known:
        return ParsedAnswer(())
    day, amount = window.end - ONE_DAY, values.to_whole((number or Decimal()) * _MILLIONTHS_OF_KWH)
    return ParsedAnswer([IntervalReading(local_midnight(day), day_length(day), amount, known or None)])
