"""releve sync and releve backfill: through the queue, or here and now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click

from worker.app import publish_backfill, publish_look_back, workers_answer
from worker.cli.common import json_option, living_account, open_runtime, print_json
from worker.cli.progress import history_left, look_back_left, watch
from worker.domain.consent.accounts import Account
from worker.domain.measures.messages import WindowResult
from worker.runtime.process import Runtime
from worker.sync.inline import Inline

_NO_WORKER: Final = "no worker answers: start one with `releve up` or `celery -A worker worker`, or use --inline"

inline_option = click.option("--inline", is_flag=True, help="Run here and now, without the queue.")
wait_option = click.option("--wait", is_flag=True, help="Enqueue, then show progress until it is done.")


@click.command()
@click.argument("account_id", metavar="ACCOUNT", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every active account.")
@inline_option
@wait_option
@json_option
def sync(account_id: str | None, everybody: bool, inline: bool, wait: bool, as_json: bool) -> int:
    """Ask again for the last 30 days of daily values and the last 7 days of load curve.

    \b
    Examples:
      releve sync 3kq7d0fr2m --inline
      releve sync --all --wait
    """
    if bool(account_id) == everybody:
        raise click.UsageError("name one ACCOUNT, or --all")
    _one_way(inline, wait)
    with open_runtime() as runtime:
        accounts = list(_active(runtime)) if everybody else [living_account(runtime, account_id or "")]
        if inline:
            return _run_inline(runtime, lambda here: here.look_back(*(account.id for account in accounts)), as_json)
        run = f"by-hand:{runtime.now():%Y%m%dT%H%M%S}"
        _check_worker(runtime, wait)
        for account in accounts:
            _startable(account)
            publish_look_back(runtime, account.id, run)
        if not wait:
            return _enqueued(accounts, as_json)
        return watch(runtime, accounts, as_json, lambda account: look_back_left(runtime, account, run))


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@inline_option
@wait_option
@json_option
def backfill(account_id: str, inline: bool, wait: bool, as_json: bool) -> int:
    """Fetch what is missing of an account's history: 36 months of daily values, then the load curve.

    Goes on where it stopped.  The depth of the load curve is RELEVE_HISTORY_LOAD_DAYS.

    \b
    Example:
      releve backfill 3kq7d0fr2m --inline
    """
    _one_way(inline, wait)
    with open_runtime() as runtime:
        account = living_account(runtime, account_id)
        if inline:
            return _run_inline(runtime, lambda here: here.history(account.id), as_json)
        _startable(account)
        _check_worker(runtime, wait)
        publish_backfill(runtime, account.id)
        if not wait:
            return _enqueued([account], as_json)
        return watch(runtime, [account], as_json, lambda account: history_left(runtime, account))


def _one_way(inline: bool, wait: bool) -> None:
    if inline and wait:
        raise click.UsageError("--inline runs here and now, there is nothing to --wait for")


def _check_worker(runtime: Runtime, wait: bool) -> None:
    if wait and not workers_answer(runtime):
        raise click.ClickException(_NO_WORKER)


def _startable(account: Account) -> None:
    """Workers skip an account that isn't ready; by hand that must not pass in silence."""
    if not account.active:
        reason = f" ({account.reason})" if account.reason else ""
        raise click.ClickException(
            f"account {account.id} is {account.state}{reason}: `releve accounts resume {account.id}`, "
            "or --inline to try once by hand"
        )


def _active(runtime: Runtime) -> Iterator[Account]:
    for page in runtime.dispatcher.pages_after(None):
        yield from page


def _run_inline(runtime: Runtime, run: Callable[[Inline], Iterator[WindowResult]], as_json: bool) -> int:
    """Every account gets its turn; a failure is told at once and counts at the end."""
    here = Inline(runtime, say=lambda line: click.echo(f"releve: {line}", err=True))
    totals = {"windows": 0, "created": 0, "updated": 0, "unchanged": 0, "dropped": 0}
    for report in run(here):
        totals["windows"] += 1
        for name in ("created", "updated", "unchanged"):
            totals[name] += report[name]
        totals["dropped"] += report["facts"]["dropped"]
        if not as_json:
            click.echo(_report_line(report))
    if as_json:
        print_json({"ok": not here.failures, **totals, "failures": here.failures})
    elif not totals["windows"] and not here.failures:
        click.echo("nothing was missing")
    return 1 if here.failures else 0


def _report_line(report: WindowResult) -> str:
    counts = f"{report['created']} created, {report['updated']} updated, {report['unchanged']} unchanged"
    return f"{report['account_id']} {report['series']:10} {report['start']}/{report['end']}: {counts}"


def _enqueued(accounts: list[Account], as_json: bool) -> int:
    if as_json:
        print_json({"enqueued": [account.id for account in accounts]})
    else:
        click.echo(f"enqueued for {len(accounts)} account{'' if len(accounts) == 1 else 's'}")
    return 0
