"""releve verify: the stored documents held against one another."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from worker.accounts.explanations import finding_to_json
from worker.app import publish_window
from worker.cli.common import json_option, living_account, open_runtime, print_json
from worker.domain.consent.accounts import Account
from worker.runtime.process import Runtime
from worker.sync.audit import AuditResult, Tally, all_accounts, auditor_of, sample_accounts


@click.command()
@click.argument("account_id", metavar="ACCOUNT", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every account.")
@click.option("--sample", type=click.IntRange(1), help="So many accounts, drawn by lot.")
@click.option("--repair", is_flag=True, help="Make wrong totals anew, ask again for readings in doubt.")
@json_option
def verify(account_id: str | None, everybody: bool, sample: int | None, repair: bool, as_json: bool) -> int:
    """Check that minutes make the hours, the curve the day, days the month and the year; name what doesn't, and why.

    Ends with 1 where something is wrong; after a repair what was asked for again counts until its answer has come.

    \b
    Examples:
      releve verify 3kq7d0fr2m
      releve verify --all --repair
    """
    if sum((bool(account_id), everybody, sample is not None)) != 1:
        raise click.UsageError("name one ACCOUNT, or --all, or --sample N")
    with open_runtime() as runtime:
        auditor = auditor_of(runtime, partial(publish_window, runtime))
        tally, rows = Tally(), []
        for account in _chosen(runtime, account_id, sample):
            verdict = auditor.verify(account.id)
            mended: dict[str, int] = {}
            if repair and verdict.findings:
                written, asked = auditor.repair(verdict)
                mended = {"documents_written": written, "windows_asked_again": asked}
                verdict = auditor.verify(account.id)
            tally.add(verdict)
            rows += [{**_row(verdict), **mended}] if verdict.findings or mended else []
            if not as_json:
                _say(verdict, mended)
        if as_json:
            print_json({**tally.as_json(), "faults": rows})
        else:
            click.echo(f"{tally.accounts} accounts, {tally.documents} documents, {tally.accounts_at_fault} at fault")
    return 1 if tally.accounts_at_fault else 0


def _chosen(runtime: Runtime, account_id: str | None, sample: int | None) -> Iterator[Account]:
    if account_id:
        yield living_account(runtime, account_id)
    elif sample is not None:
        yield from sample_accounts(runtime, sample)
    else:
        yield from all_accounts(runtime)


def _row(verdict: AuditResult) -> dict[str, Any]:
    return {"account": verdict.account_id, "findings": [finding_to_json(found) for found in verdict.findings]}


def _say(verdict: AuditResult, mended: dict[str, int]) -> None:
    for found in verdict.findings:
        told = finding_to_json(found)
        expected, stored = (
            "nothing" if told[name] is None else f"{told[name]} kWh" for name in ("expected_kwh", "found_kwh")
        )
        click.echo(f"{verdict.account_id} {found.key}: {found.law}, {expected}, stored is {stored}: {found.cause}")
    if mended:
        written, asked = mended["documents_written"], mended["windows_asked_again"]
        click.echo(f"{verdict.account_id} repaired: {written} documents written, {asked} windows asked for again")
