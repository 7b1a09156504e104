"""`releve grants`: what clients of the consent proxy may read, and the end of it.

A grant is for one meter. With v4 the grants of all meters of a holder's token end together.
"""

from __future__ import annotations

import click

from worker.accounts.status import to_row
from worker.cli.parameters import json_option, open_stores, print_rows, tenant_column
from worker.domain.consents import EndReason
from worker.runtime.consent_parts import meters_of
from worker.runtime.sync_parts import build_sync


@click.group()
def grants() -> None:
    """List and end grants: what clients of the consent proxy may read.

    \b
    Example:
      releve grants list
    """


@grants.command("list")
@click.option("--account", "account_id", metavar="ACCOUNT", help="Only grants for the meter of this account.")
@json_option
def list_grants(account_id: str | None, as_json: bool) -> None:
    """List the grants in force, the oldest first.

    `last used`: the day of the last read; with v4, of the last renewal of the token.

    \b
    Examples:
      releve grants list
      releve grants list --account k9xgwnz9gvp2
    """
    with open_stores() as stores:
        sync = build_sync(stores)
        today, meters = sync.history.today(), None
        if account_id is not None:
            meters = meters_of(stores, stores.registry.accounts.get_existing(account_id))
        clients = {client.id: client for client in stores.registry.proxy_clients.list_clients()}
        rows = [
            {name: value for name, value in to_row(grant).items() if name != "meter"}
            | {"client": clients[grant.client_id].name, "tenant": clients[grant.client_id].tenant}
            for grant in stores.registry.proxy_grants.list_grants(meter_digests=meters)
            if not grant.is_over(today)
        ]
    columns = {"grant": "id", "client": "client", **tenant_column(rows), "since": "granted_at"}
    columns |= {"last used": "last_used_on", "until": "consent_until"}
    print_rows(rows, columns, as_json=as_json, empty="no grants")


@grants.command()
@click.argument("grant_id", metavar="GRANT")
def remove(grant_id: str) -> None:
    """End a grant, by its id in the list.

    Its client must ask the person again. With v4 its access token stays valid for up to 3.5 hours.

    \b
    Example:
      releve grants remove 5rk2m8w0t1xq
    """
    with open_stores() as stores:
        if not stores.registry.proxy_grants.end(grant_id, EndReason.OPERATOR_ENDED):
            raise click.ClickException("no grant has this id: `releve grants list` shows the ids")
    click.echo(f"grant {grant_id} has ended")
