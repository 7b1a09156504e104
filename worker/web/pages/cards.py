"""The cards below the chart of an account's page: power, registers, billed periods, contract; where there is one."""

from __future__ import annotations

from collections.abc import Sequence

from worker.domain.series import Granularity, Quantity, Series
from worker.runtime.sync_parts import Runtime
from worker.web.pages.contract import ContractCard, to_contract
from worker.web.pages.gas.billed import BilledCard, build_billed
from worker.web.pages.measures import Span, read_entries
from worker.web.pages.power import PowerCard, build_power
from worker.web.pages.registers import RegistersCard, build_registers
from worker.web.texts import Words

Card = PowerCard | RegistersCard | BilledCard | ContractCard


def build_cards(
    runtime: Runtime, account_id: str, known: Sequence[Series], at: Span, words: Words
) -> list[tuple[str, Card]]:
    """Return the cards of the account's series with their templates; ``at``: the span that the page shows."""
    measures, today = runtime.measures, runtime.history.today()
    by_series = {series: series.description.granularity for series in known}
    states = [series for series, granularity in by_series.items() if granularity is Granularity.STATE]
    contracts = {series: read_entries(measures, account_id, series) for series in states}
    subscribed = next((contracts[series] for series in states if _is_power(series)), [])
    cards: list[tuple[str, Card | None]] = []
    for series, granularity in by_series.items():
        if granularity is Granularity.INSTANT and _is_power(series):
            cards.append(("power.html", build_power(measures, account_id, series, subscribed, at, words)))
        elif granularity is Granularity.REGISTER:
            cards.append(("registers.html", build_registers(measures, account_id, series, at, words, today)))
        elif granularity is Granularity.INTERVAL:
            cards.append(("billed.html", build_billed(measures, account_id, series, at, words)))
        elif granularity is Granularity.STATE:
            cards.append(("contract.html", to_contract(series, contracts[series], words)))
    return [(template, card) for template, card in cards if card is not None]


def _is_power(series: Series) -> bool:
    return series.description.quantity is Quantity.APPARENT_POWER
