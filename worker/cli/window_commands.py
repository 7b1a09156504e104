"""What `releve sync` and `releve backfill` share: the options --inline and --wait, their checks, and running inline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import click

from worker.cli.common import counts_line, print_json, print_result
from worker.cli.progress import ProgressCounter, wait_with_progress
from worker.domain.account import Account
from worker.domain.messages import WindowResult
from worker.errors import TokenNeeded, TokenRefused
from worker.runtime.sync_parts import Runtime
from worker.sync.inline import Inline

_NEED_TOKEN: Final = (TokenNeeded.code, TokenRefused.code)
_NO_WORKER: Final = "no worker is running: start one with `releve up` or `celery -A worker worker`, or use --inline"
inline_option = click.option("--inline", is_flag=True, help="Run now in this process, without the queue.")
wait_option = click.option("--wait", is_flag=True, help="Queue it, then show progress until it is done.")


def refuse_inline_with_wait(inline: bool, wait: bool) -> None:
    """Raise UsageError where both options are set."""
    if inline and wait:
        raise click.UsageError("give either --inline or --wait")


def run_queued(
    runtime: Runtime,
    accounts: list[Account],
    enqueue: Callable[[str], object],
    count_progress: ProgressCounter,
    *,
    wait: bool,
    as_json: bool,
) -> int:
    """Enqueue work for the accounts and return the exit code; with ``wait``, show progress until it is done.

    Raises ClickException where the command shall wait and no worker is alive, and for an account that workers would
    skip without a word.
    """
    if wait and not runtime.heartbeats.living_workers():
        raise click.ClickException(_NO_WORKER)
    for account in accounts:
        _require_active(runtime, account)
        enqueue(account.id)
    if wait:
        return wait_with_progress(runtime, accounts, as_json, count_progress)
    line = f"queued for {len(accounts)} account{'' if len(accounts) == 1 else 's'}"
    print_result({"enqueued": [account.id for account in accounts]}, line, as_json=as_json)
    return 0


def _require_active(runtime: Runtime, account: Account) -> None:
    if refusal := account.refusal_on(runtime.history.today()):
        raise click.ClickException(f"account {account.id}: {refusal} ({refusal.code})")
    if not account.active:
        reason = f" ({account.reason})" if account.reason else ""
        ways = f"`releve accounts resume {account.id}`, or --inline to try once by hand"
        if account.reason in _NEED_TOKEN:
            ways = "give it a token of the gateway with `releve home token`"
        raise click.ClickException(f"account {account.id} is {account.state}{reason}: {ways}")


def run_inline(runtime: Runtime, run: Callable[[Inline], Iterator[WindowResult]], as_json: bool) -> int:
    """Run the windows in this process and return the exit code, 1 where an account failed.

    A failure is printed at once; the other accounts still get their turn.
    """
    inline = runtime.inline(print_line=lambda line: click.echo(f"releve: {line}", err=True))
    totals = {"windows": 0, "created": 0, "updated": 0, "removed": 0, "unchanged": 0, "dropped": 0}
    for result in run(inline):
        totals["windows"] += 1
        for name in ("created", "updated", "removed", "unchanged"):
            totals[name] += result[name]
        totals["dropped"] += result["facts"]["dropped"]
        if not as_json:
            click.echo(_result_line(result))
    if as_json:
        print_json({"ok": not inline.failures, **totals, "failures": inline.failures})
    elif not totals["windows"] and not inline.failures:
        click.echo("nothing to do")
    return 1 if inline.failures else 0


def _result_line(result: WindowResult) -> str:
    return f"{result['account_id']} {result['series']:10} {result['start']}/{result['end']}: {counts_line(result)}"
