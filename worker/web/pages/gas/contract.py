"""The contract of a gas meter: how often it is read, the tariff, the annual reference consumption, since when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.clients.suppliers import GRDF
from worker.domain.documents import Entry
from worker.domain.series import daily_of
from worker.texts import load_texts
from worker.web.texts import Words


def describe_gas_contract(entry: Entry, words: Words) -> dict[str, str]:
    """Return what is known of a contract, by the keys of the names; what is not told is empty."""
    details = entry.details or {}
    return {
        "gas.contract.frequency": _in_words("frequency", details, words),
        "gas.contract.tariff": _in_words("transport_tariff", details, words),
        # 0 stands for an annual consumption that was not told.
        "gas.contract.yearly": words.energy(entry.amount, 0) if entry.amount else "",
    }


def gas_contract_in_short(entry: Entry, words: Words) -> str:
    return ", ".join(filter(None, describe_gas_contract(entry, words).values()))


def explain_lack_of_days(contracts: Sequence[Entry], words: Words, supplier: str) -> str:
    """Return why the meter has no daily values, as its newest contract tells; empty where it may have some."""
    details = (contracts[-1].details or {}) if contracts else {}
    frequency = details.get("frequency")
    lacks_days = frequency in daily_of(supplier=GRDF.name).description.not_of_meters_read
    return words(f"gas.no_days.{frequency}", supplier=supplier) if lacks_days else ""


def _in_words(name: str, details: Mapping[str, Any], words: Words) -> str:
    """Return the words for a value; a value that nobody knows as it was sent."""
    value = str(details.get(name) or "")
    key = f"gas.{name}.{value}"
    return words(key) if key in load_texts() else value
