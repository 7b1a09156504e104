"""`releve history`: which values of one day the supplier corrected."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from itertools import groupby
from typing import Any

import click

from worker.accounts.status import correction_to_json
from worker.cli.common import Day, describe_removal, json_option, open_runtime, print_json
from worker.cli.tables import local_text, print_table
from worker.domain.documents import format_kwh
from worker.domain.series import Period, curve_of, daily_of
from worker.domain.windows import PARIS
from worker.stores.registry.supplier_answers import Correction


@click.command()
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("day", type=Day())
@json_option
def history(account_id: str, day: date, as_json: bool) -> None:
    """Show each correction of DAY: old and new value, when each was first seen, and the run of the change.

    \b
    Example:
      releve history 3kq7d0fr2m 2024-07-10
    """
    with open_runtime() as runtime:
        account = runtime.registry.get_existing(account_id)
        corrections = list(runtime.explainer.list_corrections(account, day))
        kept_days = runtime.settings.keep_corrections_days
    if as_json:
        rows = [correction_to_json(correction) for correction in corrections]
        print_json({"account": account.id, "day": day.isoformat(), "corrections": rows})
    elif corrections:
        _print(corrections)
    else:
        click.echo(
            f"no value of {day} was corrected in the last {kept_days} days (corrections are kept for so many days)"
        )


def _print(corrections: Iterable[Correction]) -> None:
    """Print a table for each run that changed something, below its time and id; the oldest run first."""
    for (changed_at, run_id), changed in groupby(sorted(corrections, key=_run_of), _run_of):
        click.echo(f"changed {changed_at} in run {run_id}")
        print_table(map(_to_row, changed))


def _run_of(correction: Correction) -> tuple[str, str]:
    return local_text(correction.changed_at), correction.run_id


def _to_row(correction: Correction) -> dict[str, Any]:
    became, unit = correction.became_energy, correction.doctype.series.description.quantity.load_unit
    suffix = "" if unit == "kWh" else f" {unit}"
    return {
        "what": _name(correction),
        "was (kWh)": f"{format_kwh(correction.was_amount)}{suffix}",
        "became (kWh)": describe_removal(correction.doctype) if became is None else f"{format_kwh(became)}{suffix}",
        "first seen": local_text(correction.first_seen),
    }


def _name(correction: Correction) -> str:
    series = correction.doctype.series
    if correction.doctype.period is Period.DAY:
        if series.has_intervals:
            return correction.key
        return "day" if series is daily_of(supplier=series.description.supplier) else series.value
    # The offset tells the two passes of the autumn hour apart.
    clock = datetime.fromisoformat(correction.key).astimezone(PARIS).strftime("%H:%M%z")
    return clock if series is curve_of(daily_of()) else f"{series.value} {clock}"
