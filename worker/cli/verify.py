"""`releve verify`: check that what should be stored is there and agrees, and repair what doesn't."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from worker.accounts.status import break_to_json, discrepancy_to_json, month_to_json
from worker.app import enqueue_window
from worker.cli.common import (
    chosen_accounts,
    describe_amount,
    describe_month,
    json_option,
    name_beside_key,
    open_runtime,
    print_result,
)
from worker.domain.consistency import Law
from worker.sync.verification import AuditResult, AuditSummary, sample_accounts


@click.command()
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
@click.option("--sample", type=click.IntRange(1), help="Check this many accounts, chosen at random.")
@click.option("--repair", is_flag=True, help="Recompute wrong totals, and ask again for missing or doubtful readings.")
@json_option
def verify(account_id: str | None, everybody: bool, sample: int | None, repair: bool, as_json: bool) -> int:
    """Check that readings and totals agree: minutes with hours, load curve with days, days with months and years.

    Registers are compared with daily values, and the maximum power with the load curve. Days are reported, too, if the
    registry says that they are stored but the measures lack them. A new meter or tariff calendar is only a note, and so
    are differences in the supplier's own data (docs/explanation/data-quality.md).

    The exit code is 1 if something is wrong. After --repair, readings that were asked for again count as wrong until
    they arrive.

    \b
    Examples:
      releve verify 3kq7d0fr2m
      releve verify --all --repair
    """
    if sum((bool(account_id), everybody, sample is not None)) != 1:
        raise click.UsageError("give one ACCOUNT, --all or --sample N")
    with open_runtime() as runtime:
        auditor = runtime.auditor(partial(enqueue_window, broker_url=runtime.broker_url))
        totals, rows, notes = AuditSummary(), list[dict[str, Any]](), list[dict[str, Any]]()
        accounts = sample_accounts(runtime.registry, sample) if sample else chosen_accounts(runtime, account_id)
        for account in accounts:
            result = auditor.verify_account(account.id)
            repairs: dict[str, int] = {}
            if repair and result.findings:
                written, asked = auditor.repair_account(result)
                repairs = {"documents_written": written, "windows_asked_again": asked}
                result = auditor.verify_account(account.id)
            totals.add(result)
            rows += [{**_row(result), **repairs}] if result.findings or repairs else []
            notes += _notes(result)
            if not as_json:
                _print_result(result, repairs)
        line = f"{totals.accounts} accounts, {totals.documents} documents, {totals.accounts_at_fault} at fault"
        line += f", {totals.deviations} months differ" if totals.deviations else ""
        print_result({**totals.as_json(), "faults": rows, "notes": notes}, line, as_json=as_json)
    return 1 if totals.accounts_at_fault else 0


def _row(result: AuditResult) -> dict[str, Any]:
    return {"account": result.account_id, "findings": [discrepancy_to_json(finding) for finding in result.findings]}


def _notes(result: AuditResult) -> list[dict[str, Any]]:
    """Return what is no fault: new sequences of registers, months that deviate, days that should be final by now."""
    account = {"account": result.account_id}
    breaks = [
        {**account, "series": series.value, **break_to_json(sequence_break)}
        for series, breaks in result.breaks.items()
        for sequence_break in breaks
    ]
    deviations = [{**account, "deviation": month_to_json(month)} for month in result.deviations]
    provisional = [
        {**account, "series": series.value, "provisional": [day.isoformat() for day in days]}
        for series, days in result.provisional.items()
    ]
    return [*breaks, *deviations, *provisional]


def _print_result(result: AuditResult, repairs: dict[str, int]) -> None:
    for finding in result.findings:
        series = name_beside_key(finding.series)
        if finding.law is Law.STORED:
            series = f"{finding.series.value} "
        start = f"{result.account_id} {series}{finding.key}: {finding.law},"
        if finding.expected is None and finding.stored is None:
            click.echo(f"{start} {finding.cause}")
            continue
        expected, stored = (describe_amount(value, finding.series) for value in (finding.expected, finding.stored))
        click.echo(f"{start} {expected}, stored is {stored}: {finding.cause}")
    for series, breaks in result.breaks.items():
        for one in breaks:
            click.echo(f"{result.account_id} {series.value} {one.day}: note, a new sequence of registers, {one.cause}")
    for month in result.deviations:
        click.echo(f"{result.account_id} {describe_month(month)}")
    for series, days in result.provisional.items():
        span = f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
        click.echo(f"{result.account_id} {series.value} {span}: note, still provisional, but should be final by now")
    if repairs:
        written, asked = repairs["documents_written"], repairs["windows_asked_again"]
        click.echo(f"{result.account_id} repaired: {written} documents written, {asked} windows asked for again")
