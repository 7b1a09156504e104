"""`releve sync`: ask again for the last days of one account or of all, through the queue or in this process."""

from __future__ import annotations

import click

from worker.app import enqueue_look_back
from worker.cli.common import chosen_accounts, json_option, open_runtime, require_one_or_all
from worker.cli.progress import asked_at, look_back_progress
from worker.cli.window_commands import inline_option, refuse_inline_with_wait, run_inline, run_queued, wait_option


@click.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All active accounts.")
@inline_option
@wait_option
@json_option
def sync(account_id: str | None, everybody: bool, inline: bool, wait: bool, as_json: bool) -> int:
    """Fetch the last days of every series of an account again: 30 of daily values, 7 of load curves.

    \b
    Examples:
      releve sync 3kq7d0fr2m --inline
      releve sync --all --wait
    """
    require_one_or_all(account_id, everybody)
    refuse_inline_with_wait(inline, wait)
    with open_runtime() as runtime:
        accounts = [*chosen_accounts(runtime, account_id)]
        if everybody:
            today = runtime.history.today()
            accounts = [account for account in accounts if account.active and not account.refusal_on(today)]
        if inline:
            return run_inline(runtime, lambda runs: runs.look_back(*(account.id for account in accounts)), as_json)
        asked_before = {account.id: asked_at(runtime, account) for account in accounts}
        return run_queued(
            runtime,
            accounts,
            lambda account_id: enqueue_look_back(account_id, broker_url=runtime.broker_url),
            lambda account: look_back_progress(runtime, account, asked_before[account.id]),
            wait=wait,
            as_json=as_json,
        )
