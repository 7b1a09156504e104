"""`releve status`: all accounts in numbers, those of an error or a state one by one, or one account in detail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import click

from worker.accounts.status import AccountStatus, status_of
from worker.cli.common import (
    json_option,
    limit_option,
    open_runtime,
    print_json,
    print_json_lines,
    print_rows,
    state_option,
)
from worker.cli.status_summary import load_summary, print_summary
from worker.cli.tables import local_text, print_table
from worker.domain.account import AccountState
from worker.runtime.sync_parts import Runtime
from worker.texts import translate_code

_FEW: Final = 20  # So many accounts are listed below the summary.


@click.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option(
    "--error",
    "code",
    metavar="CODE",
    help="List accounts with this error code, or a code that begins with it and a dot.",
)
@state_option
@limit_option
@click.option("--all", "everybody", is_flag=True, help="List all accounts.")
@json_option
def status(
    account_id: str | None,
    code: str | None,
    state: AccountState | None,
    limit: int | None,
    everybody: bool,
    as_json: bool,
) -> None:
    """Show the state of all accounts in numbers, or one account in detail with its last error and what to do.

    The numbers are: accounts by state and by error, how many have yesterday's data, the quota and open incidents. Up to
    20 accounts are listed below them. --error, --state, --limit and --all list accounts instead.

    \b
    Examples:
      releve status
      releve status 3kq7d0fr2m
      releve status --error VENDOR_DOWN --limit 20
      releve status --all --json
    """
    lists = code is not None or state is not None or limit is not None or everybody
    if account_id and lists:
        raise click.UsageError("give one ACCOUNT, or list accounts with --error, --state, --limit or --all")
    with open_runtime() as runtime:
        if account_id:
            one = status_of(runtime.registry.get_existing(account_id), runtime.history)
            print_json(one.model_dump(mode="json")) if as_json else _print_one(one)
        elif lists:
            rows = _iterate(runtime, limit=limit, state=state, code=code and code.upper())
            if as_json:
                print_json_lines(row.model_dump(mode="json") for row in rows)
            else:
                _print_list(rows)
        else:
            _show_summary(runtime, as_json)


def _show_summary(runtime: Runtime, as_json: bool) -> None:
    summary = load_summary(runtime)
    if as_json:
        print_json(summary.as_json())
    elif not summary.accounts:
        click.echo("no accounts yet: add one with `releve accounts add --usage-point 14DIGITS`")
    else:
        print_summary(summary)
        if summary.accounts <= _FEW:
            click.echo()
            _print_list(_iterate(runtime))


def _iterate(runtime: Runtime, **wanted: Any) -> Iterator[AccountStatus]:
    return (status_of(account, runtime.history) for account in runtime.registry.iterate(**wanted))


@dataclass
class _Advice:
    """What is said below a table: what to do about each code in it, and when it is tried again."""

    unconfirmed: bool = False
    next_tries: dict[str, datetime | None] = field(default_factory=dict)

    def add(self, row: AccountStatus) -> None:
        self.unconfirmed |= row.state is AccountState.NEW
        for code in filter(None, (row.reason, row.hint)):
            self.next_tries.setdefault(code, None)
        for series in row.series.values():
            if series.error:
                known = self.next_tries.get(series.error)
                moments = [moment for moment in (known, series.next_try) if moment]
                self.next_tries[series.error] = min(moments, default=None)

    def print(self) -> None:
        if self.unconfirmed:
            click.echo("new: waiting for the supplier's first answer, or no meter is connected yet")
        for code, moment in self.next_tries.items():
            next_try = f" Next try: {local_text(moment)}." if moment else ""
            click.echo(f"{code}: {translate_code(code, 'what_to_do', 'en')}{next_try}")


def _print_one(row: AccountStatus) -> None:
    advice = _Advice()
    advice.add(row)
    click.echo(f"account {row.account}: {row.state} {row.reason}".rstrip())
    print_table(
        {
            "series": name.value,
            "history (days)": f"{values.done}/{values.total}",
            "last day": values.last_day,
            "error or hint": values.error or (row.hint if name.description.optional else ""),
        }
        for name, values in row.series.items()
    )
    advice.print()


def _print_list(rows: Iterable[AccountStatus]) -> None:
    """Print a line for each account, and at the end what to do about the codes in them."""
    advice = _Advice()

    def cells() -> Iterator[dict[str, Any]]:
        for row in rows:
            advice.add(row)
            yield {
                "account": row.account,
                "state": row.state.value,
                "last day": row.last_day,
                "error or hint": ", ".join([*_codes(row), *_loading(row)]),
            }

    columns = ("account", "state", "last day", "error or hint")
    print_rows(cells(), {name: name for name in columns}, as_json=False, empty="no such account")
    advice.print()


def _loading(row: AccountStatus) -> list[str]:
    """Return how far the history is loaded, in days of all series; nothing once it is."""
    series = row.series.values()
    if all(one.loaded for one in series):
        return []
    return [f"history {sum(one.done for one in series)}/{sum(one.total for one in series)} days"]


def _codes(row: AccountStatus) -> list[str]:
    """Return the account's codes, each once; that of a series with its name, unless the account waits under it."""
    codes = [row.reason] if row.reason else []
    errors = {name.value: values.error for name, values in row.series.items() if values.error}
    for code in dict.fromkeys(errors.values()):
        if code and code != row.reason:
            names = [name for name, error in errors.items() if error == code]
            codes.append(code if len(names) == len(row.series) else f"{code} ({', '.join(names)})")
    return [*codes, *([row.hint] if row.hint else [])]
