"""`releve consents`: when each consent ends."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import click

from worker.accounts.explanations import to_row
from worker.cli.common import DayCount, json_option, open_runtime, print_rows
from worker.domain.consent.accounts import Account


@click.command()
@click.option(
    "--expiring",
    type=DayCount(),
    help="Only consents that end within so many days, or have ended: like 30d.",
)
@json_option
def consents(expiring: timedelta | None, as_json: bool) -> None:
    """Show when consents end, the next to end first.

    `releve invite ACCOUNT` makes the link by which a holder consents again.

    \b
    Example:
      releve consents --expiring 30d
    """
    with open_runtime() as runtime:
        today = runtime.history.today()
        accounts = runtime.consents.list_accounts_by_consent_end(today + expiring if expiring is not None else None)
        rows = [_to_row(account, today) for account in accounts]
    columns = {"from": "consent_from", "until": "consent_until", "days left": "days_left", "reason": "reason"}
    empty = "no consent ends in that time" if expiring is not None else "no accounts yet"
    print_rows(rows, {"account": "account", "state": "state", **columns}, as_json=as_json, empty=empty)


def _to_row(account: Account, today: date) -> dict[str, Any]:
    end = account.consent_until
    return {
        "account": account.id,
        **to_row(account, "state", "reason", "consent_from", "consent_until"),
        "days_left": (end - today).days if end else None,
    }
