"""The summary that `releve status` prints: counts over all accounts, freshness, quota and incidents; names no account.

The number of its queries does not depend on the number of accounts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import click

from worker.accounts.status import output_to_json, to_plain
from worker.cli.output_lines import describe_output
from worker.cli.tables import local_text, print_table
from worker.domain.account import AccountState
from worker.domain.documents import format_percent
from worker.domain.incident import Incident
from worker.domain.series import Series
from worker.domain.windows import newest_wanted_day
from worker.quota.ledger import QuotaState
from worker.runtime.sync_parts import Runtime
from worker.stores.registry.fleet_counts import ErrorCount, Overview
from worker.stores.registry.outcomes import HourFreshness
from worker.stores.registry.outputs import OutputState


@dataclass(frozen=True, slots=True)
class StatusSummary:
    """``freshness``: by series, for the newest day that should be stored."""

    at: datetime
    states: dict[AccountState, int]  # Removed accounts are left out.
    errors: list[ErrorCount]
    freshness: dict[Series, tuple[date, HourFreshness]]
    quotas: dict[str, QuotaState]  # By supplier.
    incidents: list[Incident]
    outputs: list[OutputState]

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
                supplier: {
                    "used": quota.used,
                    "limit": quota.limit,
                    "per": quota.span,
                    "gate_opens_in_seconds": math.ceil(quota.opens_in_s),
                    **({"gate_code": quota.gate_code} if quota.gate_code else {}),
                }
                for supplier, quota in self.quotas.items()
            },
            "incidents": [
                {"kind": str(one.kind), "series": [*map(str, one.series)], "began_at": to_plain(one.began_at)}
                for one in self.incidents
            ],
            "outputs": [output_to_json(output) for output in self.outputs],
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
        quotas={
            name: runtime.ledgers[name].state(clients.endpoints.preset.quota_names)
            for name, clients in runtime.suppliers.items()
        },
        incidents=runtime.incidents.list_open(),
        outputs=runtime.outputs.list(),
    )


def print_summary(summary: StatusSummary) -> None:
    """Print the summary for people, with the commands that tell more."""
    states = [f"{number} {state.value}" for state, number in summary.states.items() if number]
    click.echo(f"accounts   {', '.join(states)}")
    for series, (day, row) in summary.freshness.items():
        share = format_percent(row.complete, row.active) if row.active else "no account yet"
        click.echo(f"fresh      {day} {series.value}: {share} ({row.complete} of {row.active} active accounts)")
    for supplier, quota in summary.quotas.items():
        limit = f" of {quota.limit}" if quota.limit else ""
        for api, number in quota.used.items():
            click.echo(f"quota      {supplier} {api}: {number}{limit} calls in the last {quota.span}")
        if quota.opens_in_s:
            opens_at = summary.at + timedelta(seconds=math.ceil(quota.opens_in_s))
            code = f" ({quota.gate_code})" if quota.gate_code else ""
            click.echo(f"gate       {supplier}: closed{code}, opens at {local_text(opens_at)}")
    for incident in summary.incidents:
        names = ", ".join(map(str, incident.series))
        click.echo(f"incident   {incident.kind} since {local_text(incident.began_at)}: {names}")
    for output in summary.outputs:
        click.echo(f"output     {output.id} {output.kind}: {describe_output(output)}")
    if not summary.errors:
        click.echo("errors     none")
        return
    print_table(
        {"error": one.code, "accounts": one.accounts, "last seen": local_text(one.last_at)} for one in summary.errors
    )
    click.echo(f"`releve status --error {summary.errors[0].code}` lists the accounts of an error")
