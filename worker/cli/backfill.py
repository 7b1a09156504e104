"""`releve backfill`: fetch what is missing of one account's history, through the queue or in this process."""

from __future__ import annotations

import click

from worker.app import enqueue_backfill
from worker.cli.common import json_option, open_runtime
from worker.cli.progress import history_progress
from worker.cli.window_commands import inline_option, refuse_inline_with_wait, run_inline, run_queued, wait_option


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@inline_option
@wait_option
@json_option
def backfill(account_id: str, inline: bool, wait: bool, as_json: bool) -> int:
    """Fetch the missing history of an account: 36 months of daily values, then the other series.

    A stopped backfill continues where it stopped. RELEVE_HISTORY_LOAD_DAYS limits the days of load curve.

    \b
    Example:
      releve backfill 3kq7d0fr2m --inline
    """
    refuse_inline_with_wait(inline, wait)
    with open_runtime() as runtime:
        account = runtime.registry.get_existing(account_id)
        if inline:
            return run_inline(runtime, lambda runs: runs.history(account.id), as_json)
        return run_queued(
            runtime,
            [account],
            lambda account_id: enqueue_backfill(account_id, broker_url=runtime.broker_url),
            lambda account: history_progress(runtime, account),
            wait=wait,
            as_json=as_json,
        )
