"""`releve tokens`: make, list and revoke the access tokens of the API's clients."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from worker.accounts.status import to_row
from worker.cli.audit_trail import note_result
from worker.cli.common import (
    DayCount,
    checked_name,
    json_option,
    open_registry_database,
    print_json,
    print_rows,
    tenant_column,
    tenant_option,
)
from worker.cli.tables import local_text
from worker.domain.account import DEFAULT_TENANT
from worker.domain.sessions import Scope
from worker.ops.logging_setup import warn
from worker.stores.registry.api_tokens import LONGEST_LIFE, USUAL_LIFE, ApiTokenTable, require_tenant


class Scopes(click.ParamType[Any]):
    """One or more scopes with commas between them."""

    name = "SCOPE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Scope]:
        words = [word.strip() for word in value.split(",") if word.strip()]
        try:
            scopes = frozenset(Scope(word) for word in words)
        except ValueError:
            scopes = frozenset()
        if not scopes:
            self.fail(f"give one or more of {', '.join(Scope)}, with commas between them", param, ctx)
        return scopes


@click.group()
def tokens() -> None:
    """Create, list and revoke API tokens.

    \b
    Example:
      releve tokens list
    """


@tokens.command()
@click.option("--name", required=True, help="Name for lists and logs, of up to 100 characters.")
@click.option("--scope", "scopes", required=True, type=Scopes(), help=f"What the token allows: {', '.join(Scope)}.")
@click.option(
    "--expires",
    "expires_in",
    type=DayCount(),
    default=f"{USUAL_LIFE.days}d",
    show_default=True,
    help=f"Days until it expires, at most {LONGEST_LIFE.days}d.",
)
@tenant_option("Tenant whose accounts it opens; see `releve tenants`.", DEFAULT_TENANT)
@json_option
def new(name: str, scopes: frozenset[Scope], expires_in: timedelta, tenant: str, as_json: bool) -> None:
    """Create a token and print it.

    It is shown once, because only its hash is stored.

    Two weeks before it expires the operator gets a notice, and `releve doctor` warns. A token can read ALL accounts of
    its tenant: give it to your own programs, not to households.

    \b
    Examples:
      releve tokens new --name dashboard --scope read:accounts,read:measures --expires 30d
      releve tokens new --name billing --scope read:measures --tenant kilowatt
    """
    name = checked_name(name, "--name")
    if not timedelta(0) < expires_in <= LONGEST_LIFE:
        raise click.BadParameter(f"a token expires after 1 to {LONGEST_LIFE.days} days", param_hint="--expires")
    with open_registry_database() as database:
        require_tenant(database, tenant)
        token, text = ApiTokenTable(database).create(name, scopes, expires_in, tenant=tenant)
    note_result(token.id)
    if as_json:
        print_json({**to_row(token), "token": text})
    else:
        until = local_text(token.expires_at)
        warn(f"token {token.id} of {token.name}, valid until {until}; copy it now, it can't be shown again")
        click.echo(text)


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List all tokens, without their secrets.

    Revoked and expired tokens are listed, too.

    \b
    Example:
      releve tokens list --json
    """
    with open_registry_database() as database:
        rows = [to_row(token) for token in ApiTokenTable(database).list()]
    moments = ("created_at", "last_used_at", "expires_at", "revoked_at")
    titles = {name.removesuffix("_at").replace("_", " "): name for name in moments}
    columns = {"token": "id", "name": "name", "scopes": "scopes", **tenant_column(rows), **titles}
    print_rows(rows, columns, as_json=as_json, empty="no tokens yet")


@tokens.command()
@click.argument("token_id", metavar="TOKEN_ID")
def revoke(token_id: str) -> None:
    """Revoke a token at once, by its id in the list.

    \b
    Example:
      releve tokens revoke 3kq7d0fr2m
    """
    with open_registry_database() as database:
        token = ApiTokenTable(database).revoke(token_id)
    click.echo(f"token {token.id} of {token.name} is revoked")
