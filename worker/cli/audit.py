"""`releve audit`: who did what to which account, when, from where, and with what outcome."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any, Final

import click

from worker.cli.command_audit import READS, command
from worker.cli.parameters import DAY, json_option, open_registry, tenant_option
from worker.cli.printing import local_text
from worker.cli.resources import Listing
from worker.domain.audit_entry import AuditAction, AuditEntry, AuditFilter, days_of

_MOST: Final = 10_000
_ENTRIES: Final = Listing("when=at, who…, action, account, to=subject?, tenant?, from=address?, outcome", "no entries")
_ACTIONS: Final = [action.value for action in AuditAction]


@command(audit=READS)
@click.option("--account", "account_id", metavar="ACCOUNT", help="Only entries about this account.")
@click.option(
    "--actor", help="Only entries of this session, token, operator or user, or of a kind: household, token, …"
)
@click.option("--action", type=click.Choice(_ACTIONS), metavar="ACTION", help="Only this action, like account.erase.")
@click.option("--since", type=DAY, help="Only entries from this day on.")
@click.option("--until", type=DAY, help="Only entries up to the end of this day.")
@click.option("--limit", type=click.IntRange(1, _MOST), default=50, show_default=True, help="Show at most this many.")
@tenant_option("Only entries about this tenant.")
@json_option
def audit(
    account_id: str | None,
    actor: str | None,
    action: str | None,
    since: date | None,
    until: date | None,
    limit: int,
    tenant: str | None,
    as_json: bool,
) -> None:
    """Show the audit trail of pages, API and commands, newest entry first, with refused attempts.

    Entries are kept for 400 days, and can't be changed. What workers do by themselves is not recorded.

    \b
    Examples:
      releve audit --account 3kq7d0fr2m
      releve audit --action account.erase --since 2026-11-01 --json
    """
    wanted = AuditFilter(account_id, actor, action, tenant, *days_of(since, until))
    with open_registry() as registry:
        entries = registry.audit.page(wanted, limit)
    rows = [_to_row(entry) for entry in entries] if as_json else [_to_cells(entry) for entry in entries]
    _ENTRIES.print(rows, as_json=as_json)


def _to_row(entry: AuditEntry) -> dict[str, Any]:
    row = asdict(entry)
    account_id = row.pop("account_id")
    return {**row, "account": account_id, "at": entry.at.isoformat(timespec="milliseconds")}


def _to_cells(entry: AuditEntry) -> dict[str, Any]:
    who = f"{entry.actor_kind} {entry.actor}".strip()
    return {**_to_row(entry), "at": local_text(entry.at), "who": who}
