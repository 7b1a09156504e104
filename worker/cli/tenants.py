"""`releve tenants`: the services that share this Relève, each with accounts, tokens and a webhook of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from config.settings import get_settings
from config.validation import check_http_url, check_webhook
from worker.accounts.status import to_row
from worker.cli.common import TenantName, json_option, open_registry_database, print_rows
from worker.domain.account import DEFAULT_TENANT, LONGEST_TITLE
from worker.runtime.keys import build_sealer
from worker.stores.encryption import Purpose
from worker.stores.registry.api_tokens import TenantTable, WebhookTarget


class _HttpUrl(click.ParamType[Any]):
    """An address of a web service. The error does not repeat it: its path may be a secret."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            check_http_url(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value).rstrip("/")


@click.group()
def tenants() -> None:
    """Set up and list the tenants that share this installation; a single tenant needs no setup.

    \b
    Example:
      releve tenants list
    """


@tenants.command("set")
@click.argument("tenant", metavar="NAME", type=TenantName())
@click.option("--title", help="Name of the tenant that households see.")
@click.option(
    "--webhook-url",
    type=_HttpUrl(),
    help="URL that receives the notices about the tenant's accounts as signed POSTs.",
)
@click.option(
    "--webhook-secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the secret that signs these POSTs.",
)
@click.option("--no-webhook", is_flag=True, help="Remove the webhook.")
def set_tenant(
    tenant: str, title: str | None, webhook_url: str | None, webhook_secret_file: Path | None, no_webhook: bool
) -> None:
    """Add the tenant NAME, or change it.

    Other commands take NAME with --tenant. NAME can't be changed. Accounts, tokens and invitations without a tenant
    belong to `default`, whose webhook is RELEVE_WEBHOOK_URL.

    \b
    Example:
      releve tenants set kilowatt --title "Kilowatt Club"
    """
    if title is not None and not (0 < len(title.strip()) <= LONGEST_TITLE and title.isprintable()):
        raise click.BadParameter(f"it must be one line of 1 to {LONGEST_TITLE} characters", param_hint="--title")
    if bool(webhook_url) != bool(webhook_secret_file):
        raise click.UsageError("--webhook-url and --webhook-secret-file go together")
    if webhook_url and no_webhook:
        raise click.UsageError("give either --webhook-url or --no-webhook")
    if tenant == DEFAULT_TENANT and (webhook_url or no_webhook):
        raise click.UsageError("the webhook of the tenant `default` is RELEVE_WEBHOOK_URL")
    target = _read_target(webhook_url, webhook_secret_file) if webhook_url and webhook_secret_file else None
    with _open_table() as table:
        table.save(tenant, title.strip() if title else None)
        if target or no_webhook:
            table.save_webhook(tenant, target)
        saved = next(row for row in table.list() if row.id == tenant)
    click.echo(f"tenant {saved.id}: {saved.title}; {'with' if saved.has_webhook else 'without'} a webhook of its own")


@tenants.command("list")
@json_option
def list_tenants(as_json: bool) -> None:
    """List the tenants, `default` first.

    Addresses and secrets of webhooks are not shown.

    \b
    Example:
      releve tenants list --json
    """
    with _open_table() as table:
        rows = [to_row(tenant) for tenant in table.list()]
    columns = {"tenant": "id", "title": "title", "webhook of its own": "has_webhook", "created": "created_at"}
    print_rows(rows, columns, as_json=as_json, empty="no tenants")


def _read_target(url: str, secret_file: Path) -> WebhookTarget:
    try:
        secret = secret_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        secret = ""
    if not secret:
        raise click.BadParameter("needs a file that holds the secret", param_hint="--webhook-secret-file")
    try:
        check_webhook(url, secret, get_settings().webhook_networks)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--webhook-url") from None
    return WebhookTarget(url, secret)


@contextmanager
def _open_table() -> Iterator[TenantTable]:
    """Open the table of tenants, which needs the keys that seal webhooks."""
    with open_registry_database() as database:
        yield TenantTable(database, build_sealer(get_settings(), Purpose.REGISTRY))
