"""`releve completeness`: how many days of an account are complete, and when the open ones are asked for again."""

from __future__ import annotations

from datetime import date

import click

from worker.accounts.notice_webhook import CURVE_NOT_ACTIVATED
from worker.accounts.status import AccountCoverage, coverage_of, coverage_to_json
from worker.cli.common import chosen_accounts, json_option, open_runtime, print_json, require_one_or_all
from worker.cli.tables import local_text, print_table
from worker.domain.completeness import Coverage, DayState, Hole, MissingCurve
from worker.domain.windows import ONE_DAY
from worker.texts import translate


@click.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
@click.option("--rebuild", is_flag=True, help="First recompute each day's state from the stored documents.")
@json_option
def completeness(account_id: str | None, everybody: bool, rebuild: bool, as_json: bool) -> None:
    """Count complete, partial, late and missing days of each series; list the open ones with their next try.

    With --json each account is one object a line.

    \b
    Examples:
      releve completeness 3kq7d0fr2m
      releve completeness --all --rebuild --json
    """
    require_one_or_all(account_id, everybody)
    with open_runtime() as runtime:
        for account in chosen_accounts(runtime, account_id):
            if rebuild:
                for series in runtime.registry.outcomes.known(account.id):
                    runtime.completeness_rebuild.rebuild(account.id, series)
            covered = coverage_of(account.id, runtime.history)
            if as_json:
                print_json(coverage_to_json(account.id, covered))
            else:
                _print_account(account.id, covered, brief=everybody)


def _print_account(account_id: str, covered: AccountCoverage, brief: bool) -> None:
    coverage, _ = covered
    for series, series_coverage in coverage.items():
        click.echo(f"{account_id} {series.value}: {_counts(series_coverage)}")
        if series_coverage.missing:
            click.echo(_advice(series_coverage.missing))
        if awaited := awaited_days(series_coverage):
            click.echo(f"  from {awaited[0]} on: not published yet, waiting for the meter's next reading")
    open_days = [
        {
            "day": day.day,
            "series": series.value,
            "state": day.state_text,
            "why": day.hole.value if day.hole else "",
            "next try": local_text(day.asked_next) if day.asked_next else "no further try",
        }
        for series, series_coverage in coverage.items()
        for day in series_coverage.open_days[: len(series_coverage.open_days) - len(awaited_days(series_coverage))]
        if day.hole is not Hole.NOT_ACTIVATED  # The advice above covers these days in one line.
    ]
    if not brief and open_days:
        print_table(open_days)


def awaited_days(coverage: Coverage) -> list[date]:
    """Return the newest days of a series of periods that no reading of the meter has ended yet, the oldest first."""
    awaited: list[date] = []
    for open_day in reversed(coverage.open_days if coverage.series.has_intervals else ()):
        if open_day.day != (awaited[-1] - ONE_DAY if awaited else coverage.last):
            break
        awaited.append(open_day.day)
    return awaited[::-1]


def _counts(coverage: Coverage) -> str:
    if coverage.first is None:
        return "nothing fetched yet"
    counts = [f"{coverage.counts[state]} {state.name.lower()}" for state in DayState if coverage.counts.get(state)]
    next_request = f"; next try {local_text(coverage.asked_next)}" if coverage.asked_next else ""
    return f"from {coverage.first} to {coverage.last}: {', '.join(counts)}{next_request}"


def _advice(missing: MissingCurve) -> str:
    return f"  no curve since {missing.since}: {translate(f'code.{CURVE_NOT_ACTIVATED}.what_to_do', 'en')}"
