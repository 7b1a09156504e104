"""`releve consents`: when each consent ends."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import click

from worker.accounts.explanations import to_row
from worker.cli.accounts import proof_row
from worker.cli.common import DayCount, json_option, open_runtime, print_rows
from worker.domain.consent.accounts import Account
from worker.domain.consent.consents import ConsentProof


@click.command()
@click.option(
    "--expiring",
    type=DayCount(),
    help="Only consents that end within so many days, or have ended: like 30d.",
)
@json_option
def consents(expiring: timedelta | None, as_json: bool) -> None:
    """Show when consents end, the next to end first, what proves them and who vouches for them.

    `releve invite ACCOUNT` makes the link by which a holder consents again.

    \b
    Example:
      releve consents --expiring 30d
    """
    with open_runtime() as runtime:
        today = runtime.history.today()
        accounts = runtime.consents.list_accounts_by_consent_end(today + expiring if expiring is not None else None)
        proofs = runtime.consents.newest_proofs([account.id for account in accounts])
        rows = [_to_row(account, proofs.get(account.id), today) for account in accounts]
    columns = {"from": "consent_from", "until": "consent_until", "days left": "days_left", "reason": "reason"}
    columns |= {"proof": "proof", "vouched by": "vouched_by", "reference": "reference"}
    empty = "no consent ends in that time" if expiring is not None else "no accounts yet"
    print_rows(rows, {"account": "account", "state": "state", **columns}, as_json=as_json, empty=empty)


def _to_row(account: Account, proof: ConsentProof | None, today: date) -> dict[str, Any]:
    end = account.consent_until
    return {
        "account": account.id,
        **to_row(account, "state", "reason", "consent_from", "consent_until"),
        "days_left": (end - today).days if end else None,
        **proof_row(proof),
    }
