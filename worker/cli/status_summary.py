"""The summary that `releve status` prints: counts over all accounts, freshness, quota and incidents; names no account.

The number of its queries does not depend on the number of accounts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import click

from worker.accounts.explanations import to_plain
from worker.cli.tables import local_text, print_table
from worker.domain.consent.accounts import AccountState
from worker.domain.fleet.incidents import Incident
from worker.domain.measures.amounts import format_percent
from worker.domain.measures.series import Series
from worker.domain.measures.windows import newest_wanted_day
from worker.runtime.process import Runtime
from worker.stores.registry.completeness import HourFreshness
from worker.stores.registry.overview import ErrorCount, Overview


@dataclass(frozen=True, slots=True)
class SupplierGate:
    """The pace of a supplier's calls. ``used``: calls of the last hour by API, of the last day where ``by_day``."""

    supplier: str
    used: dict[str, int]
    limit: int | None
    by_day: bool
    opens_in_s: int  # 0: open.


@dataclass(frozen=True, slots=True)
class StatusSummary:
    """``freshness``: by series, for the newest day that should be stored."""

    at: datetime
    states: dict[AccountState, int]  # Removed accounts are left out.
    errors: list[ErrorCount]
    freshness: dict[Series, tuple[date, HourFreshness]]
    gates: list[SupplierGate]
    incidents: list[Incident]

    @property
    def accounts(self) -> int:
        return sum(self.states.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "at": to_plain(self.at),
            "accounts": {state.value: number for state, number in self.states.items()},
            "errors": [
                {"code": error.code, "accounts": error.accounts, "last_at": to_plain(error.last_at)}
                for error in self.errors
            ],
            "freshness": {
                series.value: {"day": day.isoformat(), "active": row.active, "complete": row.complete}
                for series, (day, row) in self.freshness.items()
            },
            "quota": {
                gate.supplier: {
                    "used": gate.used,
                    "limit": gate.limit,
                    "per": "day" if gate.by_day else "hour",
                    "gate_opens_in_seconds": gate.opens_in_s,
                }
                for gate in self.gates
            },
            "incidents": [
                {"kind": str(one.kind), "series": [*map(str, one.series)], "began_at": to_plain(one.began_at)}
                for one in self.incidents
            ],
        }


def load_summary(runtime: Runtime) -> StatusSummary:
    """Count the accounts, their errors and what is fresh; read gates and incidents. Raises StoreUnavailable."""
    overview, now, today = Overview(runtime.registry.database), runtime.now(), runtime.history.today()
    states = overview.count_accounts_by_state()
    del states[AccountState.DELETED]
    days = {series: newest_wanted_day(today, series) for series in runtime.registry.outcomes.list_in_use()}
    count = runtime.registry.completeness.count_complete_since
    return StatusSummary(
        at=now,
        states=states,
        errors=overview.count_errors(),
        freshness={
            series: (day, HourFreshness(now, series, *count(series, day)))
            for series, day in days.items()
            if series.is_nightly
        },
        gates=[*_gates(runtime)],
        incidents=runtime.incidents.list_open(),
    )


def _gates(runtime: Runtime) -> Iterator[SupplierGate]:
    for name, clients in runtime.suppliers.items():
        ledger = runtime.ledgers[name]
        by_day = bool(ledger.per_day)
        used = {
            api: ledger.used_in_a_day(api) if by_day else sum(ledger.used_by_lane(api).values())
            for api in clients.endpoints.preset.quota_names
        }
        yield SupplierGate(name, used, ledger.per_day or ledger.per_hour, by_day, math.ceil(ledger.closed_for_s()))


def print_summary(summary: StatusSummary) -> None:
    """Print the summary for people, with the commands that tell more."""
    states = [f"{number} {state.value}" for state, number in summary.states.items() if number]
    click.echo(f"accounts   {', '.join(states)}")
    for series, (day, row) in summary.freshness.items():
        share = format_percent(row.complete, row.active) if row.active else "nobody yet"
        click.echo(f"fresh      {day} {series.value}: {share} ({row.complete} of {row.active} active accounts)")
    for gate in summary.gates:
        limit = f" of {gate.limit}" if gate.limit else ""
        span = "day" if gate.by_day else "hour"
        for api, number in gate.used.items():
            click.echo(f"quota      {gate.supplier} {api}: {number}{limit} calls in the last {span}")
        if gate.opens_in_s:
            opens_at = summary.at + timedelta(seconds=gate.opens_in_s)
            click.echo(f"gate       {gate.supplier}: closed, opens at {local_text(opens_at)}")
    for incident in summary.incidents:
        names = ", ".join(map(str, incident.series))
        click.echo(f"incident   {incident.kind} since {local_text(incident.began_at)}: {names}")
    if not summary.errors:
        click.echo("errors     none")
        return
    print_table(
        {"error": one.code, "accounts": one.accounts, "last seen": local_text(one.last_at)} for one in summary.errors
    )
    click.echo(f"`releve status --error {summary.errors[0].code}` lists the accounts of an error")
