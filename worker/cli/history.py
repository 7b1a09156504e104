"""releve history: what the supplier corrected of one day."""

from __future__ import annotations

from datetime import date, datetime

import click
from rich.console import Console
from rich.table import Table

from worker.accounts.explanations import correction_to_json, explainer_of, to_kwh
from worker.cli.common import Day, json_option, living_account, open_runtime, print_json
from worker.domain.measures.readings import PARIS, Period
from worker.stores.registry.corrections import Correction


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("day", type=Day())
@json_option
def history(account_id: str, day: date, as_json: bool) -> None:
    """Show each value of DAY that the supplier changed: old and new, first seen, changed when and in which run.

    \b
    Example:
      releve history 3kq7d0fr2m 2024-07-10
    """
    with open_runtime() as runtime:
        account = living_account(runtime, account_id)
        corrections = list(explainer_of(runtime).corrections_of(account.id, day))
        kept_days = runtime.settings.keep_corrections_days
    if as_json:
        told = [correction_to_json(each) for each in corrections]
        print_json({"account": account.id, "day": day.isoformat(), "corrections": told})
    elif corrections:
        _print_table(corrections)
    else:
        click.echo(f"no value of {day} was changed in the last {kept_days} days, which is how long this is kept")


def _print_table(corrections: list[Correction]) -> None:
    table = Table("what", "was (kWh)", "became (kWh)", box=None)
    for title in ("first seen", "changed at"):
        table.add_column(title, no_wrap=True)
    table.add_column("run", overflow="fold")
    for each in corrections:
        values = (f"{to_kwh(each.was_mwh)}", f"{to_kwh(each.became_mwh)}")
        table.add_row(_name(each), *values, _moment(each.first_seen), _moment(each.changed_at), each.run_id)
    Console().print(table)


def _name(each: Correction) -> str:
    if each.period is Period.DAY:
        return "day"
    return datetime.fromisoformat(each.key).astimezone(PARIS).strftime("%H:%M%z")  # the autumn hour comes twice


def _moment(at: datetime | None) -> str:
    return at.astimezone(PARIS).strftime("%Y-%m-%d %H:%M") if at else "-"
