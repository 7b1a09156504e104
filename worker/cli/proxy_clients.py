"""`releve proxy-clients`: make, list and revoke the applications that may use the consent proxy."""

from __future__ import annotations

from typing import Any

import click

from worker.accounts.status import to_row
from worker.cli.audit_trail import note_result
from worker.cli.common import (
    checked_name,
    json_option,
    open_registry_database,
    print_json,
    print_rows,
    tenant_column,
    tenant_option,
)
from worker.domain.account import DEFAULT_TENANT
from worker.domain.oauth_proxy import check_redirect_uri
from worker.ops.logging_setup import warn
from worker.stores.registry.api_tokens import require_tenant
from worker.stores.registry.proxy import ProxyClientTable, ProxyGrantTable


class RedirectUri(click.ParamType[Any]):
    """An address that the proxy may send people back to."""

    name = "URI"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_redirect_uri(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def proxy_clients() -> None:
    """Create, list and revoke clients of the consent proxy, for instance a Cozy stack.

    \b
    Example:
      releve proxy-clients list
    """


@proxy_clients.command()
@click.argument("name")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    required=True,
    multiple=True,
    type=RedirectUri(),
    help="Exact URL that people are sent back to. Repeat it for several.",
)
@tenant_option("Tenant of the client. Invitations must be of the same tenant.", DEFAULT_TENANT)
@click.option("--pkce", is_flag=True, help="Require a code challenge (S256) in each request.")
@json_option
def new(name: str, redirect_uris: tuple[str, ...], tenant: str, pkce: bool, as_json: bool) -> None:
    """Create a client, and print its id and secret.

    The secret is shown once, because only its hash is stored.

    People see NAME on the page that asks whether they want to share their data.

    \b
    Example:
      releve proxy-clients new "My Cozy" --redirect-uri https://oauthcallback.mycozy.cloud/accounts/enedis/redirect
    """
    name = checked_name(name, "NAME")
    with open_registry_database() as database:
        tenant = require_tenant(database, tenant)
        client, secret = ProxyClientTable(database).create(name, redirect_uris, tenant, pkce=pkce)
    note_result(client.id)
    if as_json:
        print_json({**to_row(client), "client_secret": secret})
        return
    warn(f"client {client.id} of {client.name}; copy the secret now, it can't be shown again")
    click.echo(f"client_id {client.id}\nclient_secret {secret}")


@proxy_clients.command("list")
@json_option
def list_clients(as_json: bool) -> None:
    """List all clients, without their secrets.

    \b
    Example:
      releve proxy-clients list --json
    """
    with open_registry_database() as database:
        grants = ProxyGrantTable(database)
        rows = [
            {**to_row(client), "open_grants": sum(grant.ended_at is None for grant in grants.list(client.id))}
            for client in ProxyClientTable(database).list()
        ]
    columns = {
        "id": "id",
        "name": "name",
        **tenant_column(rows),
        "addresses": "redirect_uris",
        "pkce": "pkce",
        "grants": "open_grants",
    }
    columns |= {"created": "created_at", "revoked": "revoked_at"}
    print_rows(rows, columns, as_json=as_json, empty="no proxy clients yet")


@proxy_clients.command()
@click.argument("client_id", metavar="CLIENT_ID")
def revoke(client_id: str) -> None:
    """Revoke a client and all its grants at once.

    With v4 the client's tokens are the holders' own: they stay valid until the supplier ends them.

    \b
    Example:
      releve proxy-clients revoke k3q7d0fr2mxx
    """
    with open_registry_database() as database:
        client = ProxyClientTable(database).revoke(client_id)
    click.echo(f"client {client.id} of {client.name} is revoked")
