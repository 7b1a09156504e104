"""`releve incidents`: shows failures of the supplier that affect many accounts; opens or closes an incident by hand."""

from __future__ import annotations

from typing import Any, Final

import click

from worker.accounts.status import to_row
from worker.cli.command_audit import command, with_options
from worker.cli.parameters import json_option, open_stores
from worker.cli.printing import local_text
from worker.cli.resources import Listing
from worker.domain.audit_entry import AuditAction
from worker.domain.incident import Incident
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_prober, build_sync

_MOST_ROWS = 20
_INCIDENTS: Final = Listing(
    "began, kind, series…, ended, how?, failed=windows_failed, held=windows_held, accounts, failed_calls?, rounds?",
    "no incident, open or closed",
)


@command(audit=with_options(opening=AuditAction.INCIDENT_OPEN, closing=AuditAction.INCIDENT_CLOSE))
@click.option("--open", "opening", is_flag=True, help="Open an incident: no calls, for a day at most.")
@click.option(
    "--close",
    "closing",
    is_flag=True,
    help="Close the open incidents. For a day, refusals of their kind open no incident.",
)
@json_option
def incidents(opening: bool, closing: bool, as_json: bool) -> None:
    """Show incidents and their cost: first the open ones, then the closed ones, newest first.

    An incident opens by itself when many accounts fail alike. It closes by itself when test calls succeed. Open an
    incident by hand for an announced maintenance; close an incident by hand if it was opened by mistake.

    \b
    Examples:
      releve incidents
      releve incidents --open
      releve incidents --close --json
    """
    if opening and closing:
        raise click.UsageError("give either --open or --close")
    with open_stores() as stores:
        sync = build_sync(stores)
        if opening and not sync.incidents.open_by_hand():
            raise click.ClickException("an incident is already open: `releve incidents` shows it")
        if closing:
            _close(stores, sync)
        shown = [*sync.incidents.list_open(), *sync.incidents.store.closed_incidents()]
    rows = map(_to_row, shown) if as_json else [_to_cells(incident) for incident in shown[:_MOST_ROWS]]
    _INCIDENTS.print(rows, as_json=as_json)


def _close(stores: Stores, sync: Sync) -> None:
    """Close every open incident; within a minute, beat lets workers request the failed windows again."""
    if not (incidents_open := sync.incidents.list_open()):
        raise click.ClickException("no incident is open")
    for incident in incidents_open:
        build_prober(stores, sync).close(incident, "by_hand")


def _to_row(incident: Incident) -> dict[str, Any]:
    row = to_row(incident)
    del row["slot"]
    return {**row, "series": incident.series, "open": incident.ended_at is None, "how": incident.how or None}


def _to_cells(incident: Incident) -> dict[str, Any]:
    ended = local_text(incident.ended_at) if incident.ended_at else "open"
    return {**_to_row(incident), "began": local_text(incident.began_at), "ended": ended}
