"""The parser of the contract of gas: how often the meter is read, the tariff, the yearly reference consumption (CAR).

    {"donnees_techniques": {"caracteristiques_compteur": {"frequence": "1M"}},
     "donnees_contractuelles": {"car": 9426, "tarif_acheminement": "T2", "date_mes": "2020-12-07"}}

Newer answers have ``"car": {"car_actuelle": 9426}``. The client has left out the address already. The contractual part
may lack. The day of a reading is the last of the window that was asked for, because an answer tells what holds today.

Source: GRDF, swagger of ADICT v2 (the number) and the digest of its kit 1.9 (the object); recorded answers.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY, DateWindow, IntervalReading, day_length, local_midnight
from worker.domain.parsing.gas_records import clean_names, object_of
from worker.domain.parsing.parsed_answer import ParsedAnswer
from worker.domain.parsing.values import parse_date, parse_decimal, parse_text, to_whole
from worker.errors import WrongShape

TECHNICAL: Final = "donnees_techniques"
CONTRACTUAL: Final = "donnees_contractuelles"
FREQUENCIES: Final = frozenset({"6m", "1m", "mm", "jj"})
TARIFFS: Final = frozenset({"t1", "t2", "t3", "t4", "tp"})
_MILLIONTHS: Final = 1_000_000  # Of a kWh.


def parse_gas_contract(payload: Json, window: DateWindow) -> ParsedAnswer:
    """Parse the contract in force to one reading; its amount is the CAR in millionths of a kWh, 0 where not told."""
    fields = clean_names(payload)
    if not {TECHNICAL, CONTRACTUAL} & fields.keys():
        raise WrongShape("the answer is not about a gas contract")
    meter = object_of(object_of(fields, TECHNICAL), "caracteristiques_compteur")
    contract = object_of(fields, CONTRACTUAL)
    number = parse_decimal(object_of(contract, "car").get("car_actuelle", contract.get("car")))
    frequency = parse_text(meter.get("frequence"))
    details = {
        "frequency": frequency.upper() if frequency else None,
        "transport_tariff": parse_text(contract.get("tarif_acheminement")),
        "activated_on": parse_date(contract.get("date_mes")),
    }
    known = {name: value for name, value in details.items() if value is not None}
    if number is None and not known:
        return ParsedAnswer(())
    day, amount = window.end - ONE_DAY, to_whole((number or Decimal()) * _MILLIONTHS)
    return ParsedAnswer([IntervalReading(local_midnight(day), day_length(day), amount, known or None)])
