"""releve tokens: what clients of the API show to be let in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from config.settings import get_settings
from worker.cli.common import json_option, print_json, warn
from worker.domain.consent.scopes import Scope
from worker.runtime.process import sealer_from
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.api_tokens import ApiToken, ApiTokenTable

_DAYS: Final = re.compile(r"([1-9][0-9]{0,3})d")


class Scopes(click.ParamType[Any]):
    name = "SCOPE,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[Scope]:
        if isinstance(value, frozenset):
            return value
        words = [word.strip() for word in value.split(",") if word.strip()]
        try:
            scopes = frozenset(Scope(word) for word in words)
        except ValueError:
            scopes = frozenset()
        if not scopes:
            self.fail(f"give one or more of {', '.join(Scope)}, with commas between them", param, ctx)
        return scopes


class DayCount(click.ParamType[Any]):
    name = "90d"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        if (told := _DAYS.fullmatch(value)) is None:
            self.fail(f"{value!r} is no number of days: write it like 90d", param, ctx)
        return timedelta(days=int(told[1]))


@click.group()
def tokens() -> None:
    """Make, list and revoke tokens of the API's clients."""


@tokens.command()
@click.option("--name", required=True, help="Whose it is, up to 100 characters, for the list and the log.")
@click.option("--scope", "scopes", required=True, type=Scopes(), help=f"What it opens: {', '.join(Scope)}.")
@click.option("--expires", "expires_in", type=DayCount(), help="It ends after so many days; without it, when revoked.")
@json_option
def new(name: str, scopes: frozenset[Scope], expires_in: timedelta | None, as_json: bool) -> None:
    """Make a token and print it: once, for only its hash is kept.

    A token sees ALL accounts, so give it to programs of your own and not to households.

    \b
    Example:
      releve tokens new --name dashboard --scope read:accounts,read:measures --expires 90d
    """
    if not 0 < len(name.strip()) <= 100:
        raise click.BadParameter("give it 1 to 100 characters", param_hint="--name")
    with _api_tokens() as kept:
        token, text = kept.new(name.strip(), scopes, expires_in)
    if as_json:
        print_json({**_to_row(token), "token": text})
    else:
        warn(f"token {token.id} of {token.name}; keep what follows, it can't be shown again")
        click.echo(text)


@tokens.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """List all tokens, revoked and expired ones too, without their secrets.

    \b
    Example:
      releve tokens list --json
    """
    with _api_tokens() as kept:
        rows = [_to_row(token) for token in kept.list()]
    if as_json:
        print_json(rows)
        return
    table = Table("token", "name", "scopes", "created", "last used", "expires", "revoked", box=None)
    for row in rows:
        moments = (row[name] or "-" for name in ("created_at", "last_used_at", "expires_at", "revoked_at"))
        table.add_row(row["id"], row["name"], " ".join(row["scopes"]), *moments)
    Console().print(table)


@tokens.command()
@click.argument("token_id", metavar="TOKEN_ID")
def revoke(token_id: str) -> None:
    """End a token at once, by its id in the list.

    \b
    Example:
      releve tokens revoke 3kq7d0fr2m
    """
    with _api_tokens() as kept:
        token = kept.revoke(token_id)
    click.echo(f"token {token.id} of {token.name} is revoked")


@contextmanager
def _api_tokens() -> Iterator[ApiTokenTable]:
    """Of the registry alone: no Redis is started for a token."""
    settings = get_settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    registry = AccountRegistry(settings.registry(), sealer_from(settings))
    try:
        registry.migrate()
        yield ApiTokenTable(registry.database)
    finally:
        registry.close()


def _to_row(token: ApiToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_at": _moment(token.created_at),
        "last_used_at": _moment(token.last_used_at),
        "expires_at": _moment(token.expires_at),
        "revoked_at": _moment(token.revoked_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
