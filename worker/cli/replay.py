"""releve replay: history read again from kept answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, timedelta

import click

from worker.cli.common import Day, json_option, living_account, open_runtime, print_json
from worker.domain.consent.accounts import Account
from worker.domain.measures.readings import DateWindow
from worker.runtime.process import Runtime
from worker.sync.audit import all_accounts
from worker.sync.claims import new_run_id
from worker.sync.replay import Replay, Replayed

_FIRST, _LAST = date(2000, 1, 1), date(2100, 1, 1)


@click.command()
@click.argument("account_id", metavar="ACCOUNT", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every account.")
@click.option("--from", "first", type=Day(), help="Only answers that tell of this day or later ones.")
@click.option("--to", "last", type=Day(), help="Only answers that tell of this day or earlier ones.")
@json_option
def replay(account_id: str | None, everybody: bool, first: date | None, last: date | None, as_json: bool) -> int:
    """Read the kept answers again, after a parser was mended; the supplier is not asked.

    Answers are kept where RELEVE_RAW_VAULT_DAYS says so. What changes is kept as a correction; a second replay
    changes nothing. Ends with 1 where an answer still can't be read.

    \b
    Examples:
      releve replay 3kq7d0fr2m --from 2024-07-01
      releve replay --all
    """
    if bool(account_id) == everybody:
        raise click.UsageError("name one ACCOUNT, or --all")
    wanted = _window(first, last)
    with open_runtime() as runtime:
        again = Replay(runtime.walk, runtime.raw_vault, runtime.journal, runtime.registry.completeness)
        rows = []
        for account in _chosen(runtime, account_id):
            done = again.account(account.id, new_run_id(runtime.now()), wanted)
            rows.append(done)
            if not as_json and (done.answers or account_id):
                click.echo(_line(done))
        days = runtime.settings.raw_vault_days
    if as_json:
        print_json({"accounts": [asdict(done) for done in rows]})
    elif not any(done.answers for done in rows):
        click.echo("nothing is kept" + ("" if days else ": RELEVE_RAW_VAULT_DAYS is 0, so no answers are"))
    return 1 if any(done.unreadable for done in rows) else 0


def _window(first: date | None, last: date | None) -> DateWindow:
    if first and last and first > last:
        raise click.UsageError(f"--from {first} must not be after --to {last}")
    return DateWindow(first or _FIRST, (last or _LAST) + timedelta(days=1))


def _chosen(runtime: Runtime, account_id: str | None) -> Iterator[Account]:
    if account_id:
        yield living_account(runtime, account_id)
    else:
        yield from all_accounts(runtime)


def _line(done: Replayed) -> str:
    counts = f"{done.created} created, {done.updated} updated, {done.unchanged} unchanged"
    unreadable = f", {done.unreadable} still can't be read" if done.unreadable else ""
    return f"{done.account_id}: {done.answers} answers read again: {counts}{unreadable}"
