"""`releve requests`: connection requests that wait for the operator, because too many accounts were new."""

from __future__ import annotations

from typing import Any

import click

from worker.app import enqueue_backfill
from worker.cli.common import json_option, open_runtime, print_rows, shell_user
from worker.clients.enedis.client import USAGE_POINT
from worker.clients.suppliers import ENEDIS
from worker.domain.connection_request import ConnectionRequest
from worker.errors import UnknownRequest


@click.group()
def requests() -> None:
    """List, accept and refuse connection requests that wait for you; allow meter readings as proof again.

    \b
    Example:
      releve requests list
    """


@requests.command("list")
@json_option
def list_requests(as_json: bool) -> None:
    """List the waiting requests, oldest first.

    They exceeded a limit of new accounts (RELEVE_NEW_ACCOUNTS_PER_…). The supplier has confirmed their meters. A
    request expires after seven days.

    \b
    Example:
      releve requests list
    """
    with open_runtime() as runtime:
        rows = [_to_row(request) for request in runtime.connection_requests.list_held()]
    print_rows(
        rows, {"request": "request", "since": "since", "meters": "meters"}, as_json=as_json, empty="no request waits"
    )


@requests.command()
@click.argument("request_id", metavar="REQUEST")
def accept(request_id: str) -> None:
    """Connect the meters of a request.

    The person finds them at their next visit, in the same browser.

    \b
    Example:
      releve requests accept 1f0c…
    """
    with open_runtime() as runtime:
        accepted = runtime.connector.let_in(request_id, by=shell_user())
        if accepted is None:
            raise UnknownRequest("no waiting request has this id: `releve requests list` shows the ids")
        for account in accepted.accounts:
            enqueue_backfill(account.id, broker_url=runtime.broker_url)
    if accepted.accounts:
        click.echo(f"request {request_id} accepted: account {', '.join(account.id for account in accepted.accounts)}")
    else:
        click.echo(f"request {request_id} is {accepted.state}: its meter got another person's account in the meantime")


@requests.command()
@click.argument("request_id", metavar="REQUEST")
def refuse(request_id: str) -> None:
    """Refuse a request and delete it.

    \b
    Example:
      releve requests refuse 1f0c…
    """
    with open_runtime() as runtime:
        if runtime.connector.turn_away(request_id) is None:
            raise UnknownRequest("no waiting request has this id: `releve requests list` shows the ids")
    click.echo(f"request {request_id} refused")


@requests.command("open-reading")
@click.argument("usage_point", metavar="METER")
def open_reading(usage_point: str) -> None:
    """Allow a meter reading as proof for METER again.

    After too many wrong readings, Relève accepts no more.

    \b
    Example:
      releve requests open-reading 12345678901234
    """
    if not USAGE_POINT.fullmatch(usage_point):
        raise click.UsageError("METER is the meter's number: 14 digits")
    with open_runtime() as runtime:
        there_were = runtime.reading_tries.forget(ENEDIS.name, usage_point)
    click.echo("its wrong readings are cleared" if there_were else "this meter has no wrong readings")


def _to_row(request: ConnectionRequest) -> dict[str, Any]:
    meters = len(request.proven.usage_points) if request.proven else 0
    return {"request": request.id, "since": request.created_at.isoformat(timespec="minutes"), "meters": meters}
