"""`releve sync`: ask again for the last days of one account or of all, through the queue or in this process."""

from __future__ import annotations

from collections.abc import Iterator

import click

from worker.app import enqueue_look_back
from worker.cli.common import json_option, open_runtime, require_account
from worker.cli.progress import asked_at, look_back_progress, wait_with_progress
from worker.cli.window_commands import (
    inline_option,
    print_enqueued,
    refuse_inline_with_wait,
    require_active,
    require_worker,
    run_inline,
    wait_option,
)
from worker.domain.consent.accounts import Account
from worker.runtime.process import Runtime


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
    refuse_inline_with_wait(inline, wait)
    with open_runtime() as runtime:
        accounts = list(_active_accounts(runtime)) if everybody else [require_account(runtime, account_id or "")]
        if inline:
            return run_inline(runtime, lambda runs: runs.look_back(*(account.id for account in accounts)), as_json)
        run = f"by-hand:{runtime.now():%Y%m%dT%H%M%S}"
        require_worker(runtime, wait)
        asked_before = {account.id: asked_at(runtime, account) for account in accounts}
        for account in accounts:
            require_active(account)
            enqueue_look_back(account.id, run, broker_url=runtime.broker_url)
        if not wait:
            return print_enqueued(accounts, as_json)
        return wait_with_progress(
            runtime, accounts, as_json, lambda account: look_back_progress(runtime, account, asked_before[account.id])
        )


def _active_accounts(runtime: Runtime) -> Iterator[Account]:
    after = None
    while page := runtime.registry.page_active(after):
        yield from page
        after = page[-1].id
