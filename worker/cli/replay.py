"""`releve replay`: parse the supplier's stored answers again and store what changes."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, timedelta

import click

from worker.cli.common import (
    Day,
    chosen_accounts,
    counts_line,
    json_option,
    open_runtime,
    print_json,
    require_one_or_all,
)
from worker.domain.messages import new_run_id
from worker.domain.windows import DateWindow
from worker.sync.quarantine import ReplayCounts, Replayer

_FIRST, _LAST = date(2000, 1, 1), date(2100, 1, 1)


@click.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
@click.option("--from", "first", type=Day(), help="First day to replay.")
@click.option("--to", "last", type=Day(), help="Last day to replay.")
@json_option
def replay(account_id: str | None, everybody: bool, first: date | None, last: date | None, as_json: bool) -> int:
    """Parse kept answers again after a bug fix in a parser, without calls to the supplier.

    Answers are kept if RELEVE_RAW_ANSWERS_DAYS is set. Changed values are recorded as corrections; a second replay
    changes nothing. The exit code is 1 if an answer still can't be read.

    \b
    Examples:
      releve replay 3kq7d0fr2m --from 2024-07-01
      releve replay --all
    """
    require_one_or_all(account_id, everybody)
    wanted = _window(first, last)
    with open_runtime() as runtime:
        replayer = Replayer(
            window_sync=runtime.window_sync,
            raw_answers=runtime.raw_answers,
            recorder=runtime.results,
            ledgers=runtime.registry.completeness,
        )
        rows = []
        for account in chosen_accounts(runtime, account_id):
            result = replayer.replay_account(account.id, new_run_id(runtime.now()), wanted)
            rows.append(result)
            if not as_json and (result.answers or account_id):
                click.echo(_line(result))
        days = runtime.settings.raw_answers_days
    if as_json:
        print_json({"accounts": [asdict(result) for result in rows]})
    elif not any(result.answers for result in rows):
        click.echo("no kept answers" + ("" if days else ": RELEVE_RAW_ANSWERS_DAYS is 0, so answers are not kept"))
    return 1 if any(result.unreadable for result in rows) else 0


def _window(first: date | None, last: date | None) -> DateWindow:
    if first and last and first > last:
        raise click.UsageError(f"--from {first} must not be after --to {last}")
    return DateWindow(first or _FIRST, (last or _LAST) + timedelta(days=1))


def _line(result: ReplayCounts) -> str:
    unreadable = f", {result.unreadable} still can't be read" if result.unreadable else ""
    return f"{result.account_id}: {result.answers} answers replayed: {counts_line(asdict(result))}{unreadable}"
