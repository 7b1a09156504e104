"""`releve accounts find`: the account of a meter, its state, and what is missing; for the customer on the telephone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from worker.accounts.status import missing_days_of
from worker.cli.audit_trail import note_result
from worker.cli.common import UsagePoint, json_option, open_runtime, print_json
from worker.domain.access_right import is_gas_meter
from worker.domain.account import Account
from worker.domain.windows import ONE_DAY
from worker.runtime.sync_parts import Runtime
from worker.texts import translate_code

_STDIN: Final = "-"
_MOST_DAYS: Final = 5  # Named of each series; the others are counted.


class MeterNumber(UsagePoint):
    """A meter's number, of electricity or gas, with or without blanks; or a dash.  The error does not repeat it."""

    name = "METER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        number = "".join(str(value).split()).upper()
        if number == _STDIN or is_gas_meter(number):  # 14 digits are a number of either energy.
            return number
        return super().convert(number, param, ctx)


@click.command("find")
@click.argument("meter", metavar="METER|-", type=MeterNumber())
@json_option
def find_account(meter: str, as_json: bool) -> int:
    """Find the account of a meter, and show its state.

    With - the number is read from standard input: it then stays out of the shell's history and the process list. With
    --json each account is one object a line. The exit code is 1 if no account has this meter.

    \b
    Examples:
      releve accounts find -
      releve accounts find 12345678901234 --json
    """
    if meter == _STDIN:
        meter = MeterNumber().convert(sys.stdin.readline(), None, click.get_current_context())
    with open_runtime() as runtime:
        accounts = runtime.registry.find_by_meter(meter)
        if not accounts:
            raise click.ClickException(
                "no account has this meter: check the number, or invite its holder with `releve invite --usage-point`"
            )
        note_result(account_id=accounts[0].id)
        rows = [_to_row(runtime, account) for account in accounts]
    for row in rows:
        if as_json:
            print_json(row)
        else:
            click.echo("\n".join(_lines(row)))
    return 0


def _to_row(runtime: Runtime, account: Account) -> dict[str, Any]:
    yesterday = runtime.history.today() - ONE_DAY
    missing = missing_days_of(account.id, runtime.history)
    return {
        "account": account.id,
        "supplier": account.supplier,
        "tenant": account.tenant,
        "state": account.state.value,
        "reason": account.reason,
        "what_to_do": translate_code(account.reason, "what_to_do", "en") if account.reason else "",
        "consent_until": account.consent_until.isoformat() if account.consent_until else None,
        "missing": {series.value: [day.isoformat() for day in days] for series, days in missing.items()},
        "yesterday": runtime.explainer.explain(account, yesterday).sentences["en"],
        "invite": f"releve invite {account.id}",
    }


def _lines(row: dict[str, Any]) -> Iterator[str]:
    yield f"account {row['account']}: {row['state']} {row['reason']}".rstrip()
    if row["what_to_do"]:
        yield f"what to do: {row['what_to_do']}"
    if row["consent_until"]:
        yield f"consent until {row['consent_until']}"
    yield f"yesterday: {row['yesterday']}"
    for series, days in row["missing"].items():
        more = f" and {len(days) - _MOST_DAYS} more" if len(days) > _MOST_DAYS else ""
        yield f"missing of {series}: {', '.join(days[:_MOST_DAYS]) or 'nothing'}{more}"
    yield f"new link for its holder: `{row['invite']}`; why a day is missing: `releve explain {row['account']} DAY`"
