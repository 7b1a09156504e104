"""`releve consents`: when each consent ends, and the check and the export of their evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import click

from worker.accounts.status import to_plain, to_row
from worker.cli.accounts import proof_row
from worker.cli.common import (
    DayCount,
    json_option,
    limit_option,
    open_runtime,
    print_json,
    print_result,
    print_rows,
    state_option,
)
from worker.domain.account import Account, AccountState
from worker.domain.consents import ConsentProof
from worker.runtime.sync_parts import Runtime
from worker.stores.registry.accounts import PAGE


@click.group(invoke_without_command=True)
@click.option(
    "--expiring",
    type=DayCount(),
    help="Only consents that end within this many days (30 or 30d), or have ended.",
)
@state_option
@limit_option
@json_option
@click.pass_context
def consents(
    context: click.Context, expiring: timedelta | None, state: AccountState | None, limit: int | None, as_json: bool
) -> None:
    """Show when consents end, the next to end first, with their proofs.

    `releve invite ACCOUNT` makes a link with which the holder consents again.

    \b
    Example:
      releve consents --expiring 30 --limit 20
    """
    if context.invoked_subcommand is not None:
        return
    with open_runtime() as runtime:
        today = runtime.history.today()
        until = today + expiring if expiring is not None else None
        accounts = runtime.consents.list_accounts_by_consent_end(until, state=state, limit=limit)
        columns = {"until": "consent_until", "days": "days_left", "proof": "proof", "confirmed by": "vouched_by"}
        columns = {"account": "account", "state": "state", **columns, "reason": "reason"}
        empty = "no consent ends within this time" if expiring is not None else "no accounts yet"
        print_rows(_rows(runtime, accounts, today), columns, as_json=as_json, empty=empty)


@consents.command()
@json_option
def verify(as_json: bool) -> None:
    """Check the chain of consent proofs.

    The command names each changed, missing or foreign row; the exit code is then 1. It prints the number of rows and
    the hash of the last one. Write that hash down elsewhere, on paper or in another system: it shows later whether
    somebody has replaced the registry by an older one.

    \b
    Example:
      releve consents verify
    """
    faults: list[str] = []

    def report(fault: str) -> None:
        if as_json:
            faults.append(fault)
        else:
            click.echo(fault)

    with open_runtime() as runtime:
        summary = runtime.evidence.verify(report)
    row = {"rows": summary.rows, "last_row": summary.head.sequence, "hash": summary.head.hash, "faults": faults}
    last = f"the last row is {summary.head.sequence}, with hash {summary.head.hash}"
    state = "the chain verifies" if not summary.faults else f"{summary.faults} faults"
    print_result(row, f"{summary.rows} rows of consent proofs, {last}: {state}", as_json=as_json)
    if summary.faults:
        raise SystemExit(1)


@consents.command()
@click.argument("account_id", metavar="ACCOUNT")
def export(account_id: str) -> None:
    """Print an account's consent proofs as JSON.

    Use the output in a dispute. It has the stored rows with their hashes, and says whether the chain verifies. Meter
    and reference are in clear text until the account is removed. A removed account works, too, as long as its proofs
    are kept.

    \b
    Example:
      releve consents export k3q7d0fr2mxx > evidence.json
    """
    with open_runtime() as runtime:
        rows = runtime.evidence.export(account_id)
        faults: list[str] = []
        summary = runtime.evidence.verify(faults.append)
        made_at = to_plain(runtime.now())
    chain = {"verifies": not faults, "last_row": summary.head.sequence, "hash": summary.head.hash, "faults": faults}
    print_json({"account": account_id, "made_at": made_at, "rows": rows, "chain": chain})


def _rows(runtime: Runtime, accounts: Sequence[Account], today: date) -> Iterator[dict[str, Any]]:
    for first in range(0, len(accounts), PAGE):
        page = accounts[first : first + PAGE]
        proofs = runtime.consents.newest_proofs([account.id for account in page])
        yield from (_to_row(account, proofs.get(account.id), today) for account in page)


def _to_row(account: Account, proof: ConsentProof | None, today: date) -> dict[str, Any]:
    end = account.consent_until
    return {
        "account": account.id,
        **to_row(account, "state", "reason", "consent_from", "consent_until"),
        "days_left": (end - today).days if end else None,
        **proof_row(proof),
    }
