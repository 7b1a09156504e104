"""releve consents: when each consent ends, and the link by which its holder renews it."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from worker.cli.common import json_option, living_account, open_runtime, print_json
from worker.domain.consent.accounts import Account

_DAYS: Final = re.compile(r"([0-9]{1,4})d")


class DayCount(click.ParamType[Any]):
    name = "DAYS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        if not (found := _DAYS.fullmatch(value)):
            self.fail(f"{value!r} is no number of days: write it like 30d", param, ctx)
        return timedelta(days=int(found[1]))


@click.group(invoke_without_command=True)
@click.option(
    "--expiring", type=DayCount(), help="Only consents that end within so many days, or have ended: like 30d."
)
@json_option
@click.pass_context
def consents(ctx: click.Context, expiring: timedelta | None, as_json: bool) -> None:
    """Show when consents end, the next to end first.

    \b
    Examples:
      releve consents --expiring 30d
      releve consents link 3kq7d0fr2m
    """
    if ctx.invoked_subcommand:
        return
    with open_runtime() as runtime:
        today = runtime.dispatcher.today()
        accounts = runtime.consents.calendar(today + expiring if expiring is not None else None)
        rows = [_to_row(account, today) for account in accounts]
    if as_json:
        print_json(rows)
    elif rows:
        _print_table(rows)
    else:
        click.echo("no consent ends in that time" if expiring is not None else "no accounts yet")


@consents.command()
@click.argument("account_id", metavar="ACCOUNT")
def link(account_id: str) -> None:
    """Print a link, good for 30 days, by which ACCOUNT's holder consents again; the history is kept.

    \b
    Example:
      releve consents link 3kq7d0fr2m
    """
    with open_runtime() as runtime:
        click.echo(runtime.renewal_link(living_account(runtime, account_id).id))


def _to_row(account: Account, today: date) -> dict[str, Any]:
    ends = account.consent_until
    return {
        "account": account.id,
        "state": account.state.value,
        "reason": account.reason,
        "consent_from": account.consent_from.isoformat() if account.consent_from else None,
        "consent_until": ends.isoformat() if ends else None,
        "days_left": (ends - today).days if ends else None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("account", "state", "from", "until", "days left", "reason", box=None)
    for row in rows:
        left = row["days_left"]
        told = "not known" if left is None else "ended" if left < 0 else str(left)
        table.add_row(
            row["account"], row["state"], row["consent_from"] or "-", row["consent_until"] or "-", told, row["reason"]
        )
    Console().print(table)
