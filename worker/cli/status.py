"""`releve status`: each account's state, history, last day and last error, with what to do about it."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from worker.accounts.status import AccountStatus, status_of
from worker.cli.common import json_option, local_text, open_runtime, print_json
from worker.domain.consent.accounts import AccountState
from worker.texts import translate_code


@click.command()
@click.argument("account_id", metavar="ACCOUNT", required=False)
@json_option
def status(account_id: str | None, as_json: bool) -> None:
    """Show per account its state, how much of its history is there, the last day stored, and the last error.

    \b
    Example:
      releve status --json
    """
    with open_runtime() as runtime:
        accounts = [runtime.registry.get_existing(account_id)] if account_id else runtime.registry.list()
        rows = [status_of(account, runtime.history) for account in accounts]
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
    elif rows:
        _print_table(rows)
    else:
        click.echo("no accounts yet: add one with `releve accounts add --usage-point 14DIGITS`")


def _print_table(rows: list[AccountStatus]) -> None:
    table = Table("account", "state", "series", "history (days)", "last day", "error or hint", box=None)
    codes: dict[str, None] = {}
    for row in rows:
        for number, (name, values) in enumerate(row.series.items()):
            code = values.error or (row.reason if number == 0 else "")
            code = code or (row.hint if name.description.optional else "")
            if code:
                codes[code] = None
            head = (row.account, row.state) if number == 0 else ("", "")
            table.add_row(*head, name, f"{values.done}/{values.total}", str(values.last_day or "-"), code)
    Console().print(table)
    if any(row.state is AccountState.NEW for row in rows):
        click.echo("new: asserted, not yet confirmed by an answer of the supplier; or no meter is connected yet")
    for code in codes:
        click.echo(f"{code}: {translate_code(code, 'what_to_do', 'en')}{_next_try(rows, code)}")


def _next_try(rows: list[AccountStatus], code: str) -> str:
    """Return when the first series with this code is tried again, where that is known."""
    series = (values for row in rows for values in row.series.values() if values.error == code)
    moment = min((values.next_try for values in series if values.next_try), default=None)
    return f" Next try: {local_text(moment)}." if moment else ""
