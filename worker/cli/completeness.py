"""releve completeness: which days are whole, and what becomes of those that aren't."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from worker.accounts.explanations import Covered, coverage_of, coverage_to_json, rebuild_of
from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED, WHAT_TO_DO
from worker.cli.common import json_option, living_account, open_runtime, print_json
from worker.domain.consent.accounts import Account
from worker.domain.measures.completeness import DayState
from worker.domain.measures.coverage import Coverage
from worker.domain.measures.holes import Hole, MissingCurve
from worker.domain.measures.readings import Series
from worker.runtime.process import Runtime
from worker.sync.audit import all_accounts


@click.command()
@click.argument("account_id", metavar="ACCOUNT", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every account, one after the other.")
@click.option("--rebuild", is_flag=True, help="Make the ledger of days anew from the stored documents first.")
@json_option
def completeness(account_id: str | None, everybody: bool, rebuild: bool, as_json: bool) -> None:
    """Count per series the days that are complete, partial, late, absent; name the open ones and when they are asked
    for again.

    With --json one object a line, each an account.

    \b
    Examples:
      releve completeness 3kq7d0fr2m
      releve completeness --all --rebuild --json
    """
    if bool(account_id) == everybody:
        raise click.UsageError("name one ACCOUNT, or --all")
    with open_runtime() as runtime:
        for account in _chosen(runtime, account_id):
            if rebuild:
                for series in Series:
                    rebuild_of(runtime).run(account.id, series)
            covered = coverage_of(runtime, account.id)
            if as_json:
                print_json(coverage_to_json(account.id, covered))
            else:
                _print_account(account.id, covered, brief=everybody)


def _chosen(runtime: Runtime, account_id: str | None) -> Iterator[Account]:
    if account_id:
        yield living_account(runtime, account_id)
    else:
        yield from all_accounts(runtime)


def _print_account(account_id: str, covered: Covered, brief: bool) -> None:
    coverage, missing = covered
    for series, each in coverage.items():
        click.echo(f"{account_id} {series.value}: {_counts(each)}")
    if missing:
        click.echo(_advice(missing))
    open_days = [
        (series, day)
        for series, each in coverage.items()
        for day in each.open_days
        if day.hole is not Hole.NOT_ACTIVATED  # said in one line
    ]
    if not brief and open_days:
        table = Table("day", "series", "state", "why", "asked next", box=None)
        for series, day in open_days:
            when = day.asked_next.isoformat() if day.asked_next else "not any more"
            table.add_row(day.day.isoformat(), series.value, day.words, day.hole.value if day.hole else "", when)
        Console().print(table)


def _counts(each: Coverage) -> str:
    if each.first is None:
        return "nothing known yet"
    told = [f"{each.counts[state]} {state.name.lower()}" for state in DayState if each.counts.get(state)]
    asked = f"; asked next {each.asked_next}" if each.asked_next else ""
    return f"from {each.first} to {each.last}: {', '.join(told)}{asked}"


def _advice(missing: MissingCurve) -> str:
    return f"  no curve since {missing.since}: {WHAT_TO_DO[CURVE_NOT_ACTIVATED]['en']}"
