"""The contract on the account's page: subscribed power, tariff, off-peak hours, since when, and what it was before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from worker.domain.documents import Entry
from worker.domain.series import Series
from worker.texts import load_texts
from worker.web.pages.gas.contract import describe_gas_contract, gas_contract_in_short
from worker.web.texts import Words

# "HC (22H00-6H00)", "HC (2H00-7H00;12h30-14h00)": every form seen is of this kind.
_OFF_PEAK: Final = re.compile(r"HC ?\((.+)\)", re.IGNORECASE)
_RANGE: Final = re.compile(r"(\d{1,2})h(\d{2})?-(\d{1,2})h(\d{2})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContractCard:
    """Everything that the template shows. ``title``: its key. ``facts``: keys of their names, and values.

    ``changes``: a day on which another contract was found, and that contract in a few words; the newest first.
    """

    series: Series
    title: str
    facts: list[tuple[str, str]]
    changes: list[tuple[str, str]]


def to_contract(series: Series, entries: Sequence[Entry], words: Words) -> ContractCard | None:
    """Return the contract in force and those before it; None where none is stored. ``entries``: in order."""
    if not entries:
        return None
    is_gas = series.is_gas
    describe, in_short = (
        (describe_gas_contract, gas_contract_in_short) if is_gas else (_describe_power_contract, _in_short)
    )
    since = _day((entries[-1].details or {}).get("activated_on") or "", words)
    facts = {**describe(entries[-1], words), "contract.since": since}
    changes = [(words.day(date.fromisoformat(entry.key)), in_short(entry, words)) for entry in reversed(entries)]
    shown = [(name, value) for name, value in facts.items() if value]
    title = "gas.contract.title" if is_gas else "contract.title"
    return ContractCard(series, title, shown, changes if len(changes) > 1 else [])


def _describe_power_contract(entry: Entry, words: Words) -> dict[str, str]:
    details = entry.details or {}
    return {
        "contract.power": words.power(entry.amount) if entry.amount else "",
        "contract.tariff": _describe_tariff(details.get("tariff") or "", words),
        "contract.off_peak": describe_off_peak(details.get("off_peak_hours") or "", words),
    }


def describe_off_peak(text: str, words: Words) -> str:
    """Return ``22:00 – 06:00, 12:30 – 14:00``; a text of another form as it was sent."""
    match = _OFF_PEAK.fullmatch(text.strip())
    parts = [_RANGE.fullmatch(part.strip()) for part in match[1].split(";")] if match else []
    ranges = [
        words("chart.from_to", start=f"{int(part[1]):02}:{part[2] or '00'}", end=f"{int(part[3]):02}:{part[4] or '00'}")
        for part in parts
        if part
    ]
    if not parts or len(ranges) < len(parts):
        return text
    return ", ".join(ranges).replace(" – ", "\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}")  # A range stays on its line.


def _describe_tariff(tariff: str, words: Words) -> str:
    key = f"tariff.{tariff}"
    return f"{words(key)} ({tariff})" if key in load_texts() else tariff


def _in_short(entry: Entry, words: Words) -> str:
    details = entry.details or {}
    parts = [words.power(entry.amount) if entry.amount else "", details.get("tariff") or ""]
    return ", ".join(
        [*filter(None, parts), *filter(None, [describe_off_peak(details.get("off_peak_hours") or "", words)])]
    )


def _day(text: str, words: Words) -> str:
    try:
        return words.day(date.fromisoformat(text))
    except ValueError:
        return text
