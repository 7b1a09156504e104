"""`releve proxy-clients`: make, list and revoke the applications that may use the consent proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from config.settings import get_settings
from worker.accounts.explanations import to_row
from worker.cli.common import json_option, print_json, print_rows, warn
from worker.domain.consent.proxy import check_redirect_uri
from worker.domain.consent.tenants import DEFAULT_TENANT, check_tenant
from worker.runtime.stores import open_current_database
from worker.stores.registry.proxy.clients import ProxyClientTable


class RedirectUri(click.ParamType[Any]):
    """An address that the proxy may send people back to."""

    name = "URI"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_redirect_uri(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Tenant(click.ParamType[Any]):
    """The name of a tenant."""

    name = "TENANT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_tenant(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group()
def proxy_clients() -> None:
    """Make, list and revoke clients of the consent proxy, such as a Cozy stack."""


@proxy_clients.command()
@click.argument("name")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    required=True,
    multiple=True,
    type=RedirectUri(),
    help="A whole address that people are sent back to, compared letter by letter; may be given several times.",
)
@click.option("--tenant", type=Tenant(), default=DEFAULT_TENANT, help="Whose client it is; its invitations must match.")
@click.option("--pkce", is_flag=True, help="Refuse each of its requests that has no code challenge (S256).")
@json_option
def new(name: str, redirect_uris: tuple[str, ...], tenant: str, pkce: bool, as_json: bool) -> None:
    """Make a client and print its id and its secret: once, for only the secret's hash is kept.

    People read NAME on the page that asks whether they want to share their data.

    \b
    Example:
      releve proxy-clients new "My Cozy" --redirect-uri https://oauthcallback.mycozy.cloud/accounts/enedis/redirect
    """
    if not 0 < len(name.strip()) <= 100:
        raise click.BadParameter("give it 1 to 100 characters", param_hint="NAME")
    with _open_clients() as clients:
        client, secret = clients.create(name.strip(), redirect_uris, tenant, pkce=pkce)
    if as_json:
        print_json({**to_row(client), "client_secret": secret})
        return
    warn(f"client {client.id} of {client.name}; keep what follows, the secret can't be shown again")
    click.echo(f"client_id {client.id}\nclient_secret {secret}")


@proxy_clients.command("list")
@json_option
def list_clients(as_json: bool) -> None:
    """List all clients, revoked ones too, without their secrets.

    \b
    Example:
      releve proxy-clients list --json
    """
    with _open_clients() as clients:
        rows = [to_row(client) for client in clients.list()]
    columns = {"id": "id", "name": "name", "tenant": "tenant", "addresses": "redirect_uris", "pkce": "pkce"}
    columns |= {"created": "created_at", "revoked": "revoked_at"}
    print_rows(rows, columns, as_json=as_json, empty="no clients of the proxy yet")


@proxy_clients.command()
@click.argument("client_id", metavar="CLIENT_ID")
def revoke(client_id: str) -> None:
    """End a client and all that it was given at once, by its id in the list.

    With v4 the tokens that it holds already are the holders' own: they end at the supplier.

    \b
    Example:
      releve proxy-clients revoke k3q7d0fr2mxx
    """
    with _open_clients() as clients:
        client = clients.revoke(client_id)
    click.echo(f"client {client.id} of {client.name} is revoked")


@contextmanager
def _open_clients() -> Iterator[ProxyClientTable]:
    """Open the registry's table of clients, and nothing else: clients need no Redis."""
    with ExitStack() as stack:
        yield ProxyClientTable(open_current_database(get_settings(), stack))
