"""`releve sessions`: list and end the sessions of browsers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from worker.cli.common import json_option, open_registry_database, print_rows
from worker.domain.sessions import KeyKind
from worker.stores.registry.access_keys import SESSIONS, SessionTable

_KINDS: Final = {"household": KeyKind.HOUSEHOLD_SESSION, "operator": KeyKind.OPERATOR_SESSION}
_kind_option = click.option(
    "--kind", type=click.Choice(list(_KINDS)), help="Only sessions of households, or of operators."
)
_account_option = click.option(
    "--account", "account_id", metavar="ACCOUNT", help="Only sessions that can show this account."
)


@click.group()
def sessions() -> None:
    """List and end the sessions of signed-in browsers.

    \b
    Example:
      releve sessions list
    """


@sessions.command("list")
@_account_option
@_kind_option
@json_option
def list_sessions(account_id: str | None, kind: str | None, as_json: bool) -> None:
    """List the sessions, last seen first.

    No names of people are stored.

    \b
    Examples:
      releve sessions list
      releve sessions list --account k9xgwnz9gvp2
    """
    with _open_table() as table:
        owners = None if account_id is None else table.households_of([account_id])
        keys = table.list(owners, _chosen(kind))
    rows: list[dict[str, Any]] = [
        {
            "session": key.id,
            "kind": key.kind.value,
            "owner": key.owner,
            "device": key.device,
            "created_at": key.created_at,
            "last_seen_at": key.last_seen_at,
            "expires_at": key.expires_at,
        }
        for key in keys
    ]
    moments = {"signed in": "created_at", "last seen": "last_seen_at", "ends": "expires_at"}
    columns = {"session": "session", "kind": "kind", "of": "owner", "device": "device", **moments}
    print_rows(rows, columns, as_json=as_json, empty="no sessions")


@sessions.command()
@click.argument("session_id", metavar="[SESSION]", required=False)
@_account_option
@_kind_option
@click.option("--all", "everybody", is_flag=True, help="All sessions, or all of one --kind.")
def end(session_id: str | None, account_id: str | None, kind: str | None, everybody: bool) -> None:
    """End one session, an account's sessions, or all.

    The browser is signed out at its next request.

    Recovery codes stay valid, so that a household can sign in again.

    \b
    Examples:
      releve sessions end h4t8q2mxk0ra
      releve sessions end --account k9xgwnz9gvp2
      releve sessions end --all --kind operator
    """
    if [session_id is not None, account_id is not None, everybody].count(True) != 1:
        raise click.UsageError("give one of SESSION, --account and --all")
    with _open_table() as table:
        if session_id is not None:
            ended = int(table.end(session_id))
        elif account_id is not None:
            ended = table.end_of(table.households_of([account_id]), _chosen(kind))
        else:
            ended = table.end_all(_chosen(kind))
    if session_id is not None and not ended:
        raise click.ClickException("no session has this id: `releve sessions list` shows the ids")
    click.echo(f"{ended} session{'s' if ended != 1 else ''} ended")


def _chosen(kind: str | None) -> frozenset[KeyKind]:
    return frozenset({_KINDS[kind]}) if kind else SESSIONS


@contextmanager
def _open_table() -> Iterator[SessionTable]:
    with open_registry_database() as database:
        yield SessionTable(database)
