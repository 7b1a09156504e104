"""`releve accounts add --pce … --own`: the operator's own gas meters, for which nobody has to consent."""

from __future__ import annotations

import click

from worker.accounts.assertion import MeterErased
from worker.accounts.right_sweep import OwnHolder
from worker.cli.audit_trail import note_result
from worker.cli.common import print_result
from worker.clients.suppliers import GRDF
from worker.domain.access_right import is_postcode
from worker.errors import RightRefused, UnknownUsagePoint
from worker.runtime.sync_parts import Runtime
from worker.texts import translate


def check_gas(
    usage_point: str | None,
    pce: str | None,
    own: bool,
    postcode: str | None,
    holder: str | None,
    company: str | None,
) -> OwnHolder | None:
    """Return who holds the contract of an own gas meter, where that is said. Raises UsageError for a wrong mixture."""
    if usage_point is None and pce is None:
        raise click.UsageError("Missing option '--usage-point'.")
    if usage_point is not None and pce is not None:
        raise click.UsageError("give one meter: --usage-point or --pce")
    if own != (pce is not None):
        raise click.UsageError(
            "--pce needs --own; for somebody else's gas meter, invite its holder: `releve invite --pce`"
        )
    if not (postcode or holder or company):
        return None
    if pce is None or not postcode or bool(holder) == bool(company):
        raise click.UsageError("to declare your own gas meter, give --postcode and either --name or --company")
    if not is_postcode(postcode):
        raise click.UsageError("a postcode has five digits")
    return OwnHolder(postcode=postcode, name=holder, company=company)


def add_own(
    runtime: Runtime, meter: str, by: str, *, tenant: str, holder: OwnHolder | None, anew: bool, as_json: bool
) -> None:
    """Add the account of an own meter, enqueue its history, and print both the account and the right."""
    try:
        right, account = runtime.own_rights.add(GRDF.name, meter, by, tenant=tenant, holder=holder, anew=anew)
    except ValueError as error:
        raise click.ClickException(f"{error}; nothing was changed") from None
    except MeterErased as error:
        raise click.ClickException(f"{error} (--anew)") from None
    except RightRefused as error:
        refused = error.code if error.code.startswith("right_") else "right_scope"
        raise click.ClickException(translate(f"connect.{refused}.text", "en")) from None
    except UnknownUsagePoint:
        raise click.ClickException(translate("connect.right_unknown_meter.text", "en")) from None
    note_result(right.id, account_id=account.id if account else None)
    if account is not None:
        from worker.app import enqueue_backfill  # Imported late, for the other subcommands need no Celery.

        # The account is committed; where the message is lost, beat's reconciler repeats it.
        enqueue_backfill(account.id, broker_url=runtime.broker_url)
        line = f"account {account.id} added, state {account.state}"
    else:
        line = f"right {right.id} is {right.state}: its account is added once it is active; see `releve rights`"
    row = {
        "account": account.id if account else None,
        "state": account.state.value if account else None,
        "tenant": tenant,
        "right": right.id,
        "right_state": right.state.value,
    }
    print_result(row, line, as_json=as_json)
