"""Commands that fetch and check data: `releve sync`, `verify`, `replay` and `quarantine`.

`sync` sends the work to workers through the queue (--wait shows their progress), or does it in this process (--inline).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

import click

from worker.accounts.status import discrepancy_to_json, month_to_json, to_row
from worker.cli import parameters
from worker.cli.command_audit import command, with_options
from worker.cli.explain import print_days
from worker.cli.resources import Listing
from worker.cli.status import asked_at, history_progress, look_back_progress, wait_with_progress
from worker.domain.account import Account
from worker.domain.answers import to_masked
from worker.domain.audit_entry import AuditAction
from worker.domain.consistency import Law
from worker.domain.messages import new_run_id
from worker.domain.series import is_gateway
from worker.domain.windows import DateWindow
from worker.errors import FilesOnly, TokenNeeded, TokenRefused
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_auditor, build_inline, build_sync
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.supplier_answers import QuarantineEntry
from worker.sync.history import rebuild_days
from worker.sync.quarantine import replay_account
from worker.sync.verification import AuditResult, AuditSummary, sample_accounts

_NEED_TOKEN: Final = (TokenNeeded.code, TokenRefused.code, FilesOnly.code)
_NO_WORKER: Final = "no worker is running: start one with `releve up` or `celery -A worker worker`, or use --inline"
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2100, 1, 1)
_SAMPLES: Final = Listing("id, kind, place…, detail…, times, last_seen", "the quarantine is empty")


def _run_queued(
    stores: Stores, sync: Sync, accounts: list[Account], *, history: bool, wait: bool, as_json: bool
) -> int:
    """Enqueue work for the accounts; return the exit code. With ``wait``, first show progress until the work is done.

    Raises ClickException if ``wait`` is set but no worker is alive, or if workers would silently skip an account.
    """
    from worker.app import enqueue_backfill, enqueue_look_back  # Imported here because not every command needs Celery.

    if wait and not Heartbeats(stores.redis).living_workers():
        raise click.ClickException(_NO_WORKER)
    enqueue, count_progress = enqueue_backfill, partial(history_progress, stores, sync)
    if not history:
        asked_before = {account.id: asked_at(stores.registry, account) for account in accounts}
        enqueue, count_progress = enqueue_look_back, partial(look_back_progress, stores.registry, asked_before)
    for account in accounts:
        _require_active(sync, account)
        enqueue(account.id, broker_url=stores.broker_url)
    if wait:
        return wait_with_progress(stores, sync, accounts, as_json, count_progress)
    line = f"queued for {len(accounts)} account{'' if len(accounts) == 1 else 's'}"
    parameters.print_result({"enqueued": [account.id for account in accounts]}, line, as_json=as_json)
    return 0


def _require_active(sync: Sync, account: Account) -> None:
    if refusal := account.refusal_on(sync.history.today()):
        raise click.ClickException(f"account {account.id}: {refusal} ({refusal.code})")
    if not account.active:
        reason = f" ({account.reason})" if account.reason else ""
        ways = f"`releve accounts resume {account.id}`, or --inline to try once by hand"
        if is_gateway(account.supplier) and account.reason in _NEED_TOKEN:
            ways = "give it a token of the gateway with `releve home add`"
        raise click.ClickException(f"account {account.id} is {account.state}{reason}: {ways}")


def _run_inline(stores: Stores, sync: Sync, accounts: list[Account], *, history: bool, as_json: bool) -> int:
    """Fetch the accounts' data in this process; return the exit code, which is 1 if an account failed.

    A failure is printed at once; the run then continues with the other accounts.
    """
    inline = build_inline(stores, sync, print_line=lambda line: click.echo(f"releve: {line}", err=True))
    totals = {"windows": 0, "created": 0, "updated": 0, "removed": 0, "unchanged": 0, "dropped": 0}
    run = inline.run_history if history else inline.run_look_back
    for result in run(*(account.id for account in accounts)):
        totals["windows"] += 1
        for name in ("created", "updated", "removed", "unchanged"):
            totals[name] += result[name]
        totals["dropped"] += result["facts"]["dropped"]
        if not as_json:
            window = f"{result['account_id']} {result['series']:10} {result['start']}/{result['end']}"
            click.echo(f"{window}: {parameters.counts_line(result)}")
    if as_json:
        parameters.print_json({"ok": not inline.failures, **totals, "failures": inline.failures})
    elif not totals["windows"] and not inline.failures:
        click.echo("nothing to do")
    return 1 if inline.failures else 0


@command(audit=with_options(AuditAction.ACCOUNT_SYNC, history=AuditAction.ACCOUNT_BACKFILL))
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All active accounts.")
@click.option("--history", is_flag=True, help="Fetch the missing history instead.")
@click.option("--inline", is_flag=True, help="Run now in this process, without the queue.")
@click.option("--wait", is_flag=True, help="Queue it, then show progress until it is done.")
@parameters.json_option
def sync(account_id: str | None, everybody: bool, history: bool, inline: bool, wait: bool, as_json: bool) -> int:
    """Fetch the last days of every series of an account again: 30 days of daily values, 7 days of load curves.

    With --history: fetch 36 months of daily values, then the history of the other series. If the command is stopped,
    run it again: it continues where it stopped. RELEVE_HISTORY_LOAD_DAYS limits how many days of load curve are
    fetched.

    \b
    Examples:
      releve sync 3kq7d0fr2m --inline
      releve sync --all --wait
      releve sync 3kq7d0fr2m --history
    """
    parameters.require_one_or_all(account_id, everybody)
    if inline and wait:
        raise click.UsageError("give either --inline or --wait")
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        accounts = [*parameters.chosen_accounts(stores.registry, account_id)]
        if everybody:
            today = sync.history.today()
            accounts = [account for account in accounts if account.active and not account.refusal_on(today)]
        if inline:
            return _run_inline(stores, sync, accounts, history=history, as_json=as_json)
        return _run_queued(stores, sync, accounts, history=history, wait=wait, as_json=as_json)


@command(audit=with_options(rebuild_days=AuditAction.ACCOUNT_REBUILD, repair=AuditAction.ACCOUNT_REPAIR))
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
@click.option("--sample", type=click.IntRange(1), help="Check this many accounts, chosen at random.")
@click.option("--repair", is_flag=True, help="Recompute wrong totals, and ask again for missing or doubtful readings.")
@click.option("--rebuild-days", is_flag=True, help="Recompute each day's state from the stored documents instead.")
@parameters.json_option
def verify(
    account_id: str | None, everybody: bool, sample: int | None, repair: bool, rebuild_days: bool, as_json: bool
) -> int:
    """Check that readings and totals agree: minutes with hours, load curve with days, days with months and years.

    Registers are compared with daily values, and the maximum power with the load curve. A day is also reported if the
    registry says that it is stored but the measures lack it. A new meter or tariff calendar is only a note, and so are
    differences in the supplier's own data (docs/explanation/data-quality.md).

    The exit code is 1 if something is wrong. Readings that --repair asks for again count as wrong until they arrive.
    With --rebuild-days the command checks nothing: it recomputes the state of each day, and prints how many days are in
    each state, as `releve explain --days` does.

    \b
    Examples:
      releve verify 3kq7d0fr2m
      releve verify --all --repair
    """
    from worker.app import enqueue_window

    if sum((bool(account_id), everybody, sample is not None)) != 1:
        raise click.UsageError("give one ACCOUNT, --all or --sample N")
    if repair and rebuild_days:
        raise click.UsageError("give either --repair or --rebuild-days")
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        accounts = (
            sample_accounts(stores.registry.accounts, sample)
            if sample
            else parameters.chosen_accounts(stores.registry, account_id)
        )
        if rebuild_days:
            print_days(sync, _rebuild(stores, sync, accounts), brief=account_id is None, as_json=as_json)
            return 0
        auditor = build_auditor(stores, sync, partial(enqueue_window, broker_url=stores.broker_url))
        totals, rows, notes = AuditSummary(), list[dict[str, Any]](), list[dict[str, Any]]()
        for account in accounts:
            result = auditor.verify_account(account.id)
            repairs: dict[str, int] = {}
            if repair and result.findings:
                written, asked = auditor.repair_account(result)
                repairs = {"documents_written": written, "windows_asked_again": asked}
                result = auditor.verify_account(account.id)
            totals.add(result)
            if result.findings or repairs:
                findings = [discrepancy_to_json(finding) for finding in result.findings]
                rows.append({"account": result.account_id, "findings": findings, **repairs})
            notes += _notes(result)
            if not as_json:
                _print_result(result, repairs)
        line = f"{totals.accounts} accounts ({totals.accounts_at_fault} at fault), {totals.documents} documents"
        line += f", {totals.deviations} months differ" if totals.deviations else ""
        parameters.print_result({**totals.as_json(), "faults": rows, "notes": notes}, line, as_json=as_json)
    return 1 if totals.accounts_at_fault else 0


def _rebuild(stores: Stores, sync: Sync, accounts: Iterable[Account]) -> Iterator[Account]:
    """Recompute the states of each account's days, and then yield the account."""
    for account in accounts:
        for series in stores.registry.outcomes.known(account.id):
            rebuild_days(stores.measures, stores.registry.completeness, account.id, series, sync.history.today())
        yield account


def _notes(result: AuditResult) -> list[dict[str, Any]]:
    """Return what is noted but isn't wrong.

    These are new sequences of registers, deviating months, days not final in time, and days that differ by period.
    """
    account = {"account": result.account_id}
    breaks = [
        {**account, "series": series.value, **to_row(sequence_break, "last", "day", "cause")}
        for series, breaks in result.breaks.items()
        for sequence_break in breaks
    ]
    deviations = [{**account, "deviation": month_to_json(month)} for month in result.deviations]
    day_notes = [
        {**account, "series": series.value, name: [day.isoformat() for day in days]}
        for name, found in (("provisional", result.provisional), ("differs_by_period", result.differences))
        for series, days in found.items()
    ]
    return [*breaks, *deviations, *day_notes]


def _print_result(result: AuditResult, repairs: dict[str, int]) -> None:
    for finding in result.findings:
        series = parameters.name_beside_key(finding.series)
        if finding.law is Law.STORED:
            series = f"{finding.series.value} "
        start = f"{result.account_id} {series}{finding.key}: {finding.law},"
        if finding.expected is None and finding.stored is None:
            click.echo(f"{start} {finding.cause.told}")
            continue
        expected, stored = (
            parameters.describe_amount(value, finding.series) for value in (finding.expected, finding.stored)
        )
        click.echo(f"{start} {expected}, stored is {stored}: {finding.cause.told}")
    for series, breaks in result.breaks.items():
        for one in breaks:
            click.echo(f"{result.account_id} {series.value} {one.day}: note, a new sequence of registers, {one.cause}")
    for month in result.deviations:
        click.echo(f"{result.account_id} {parameters.describe_month(month)}")
    notes = [(*note, "still provisional, but should be final by now") for note in result.provisional.items()]
    notes += [(*note, "registers and load curve differ by tariff period") for note in result.differences.items()]
    for series, days, text in notes:
        span = f"{days[0]}" if len(days) == 1 else f"{len(days)} days from {days[0]} to {days[-1]}"
        click.echo(f"{result.account_id} {series.value} {span}: note, {text}")
    if repairs:
        written, asked = repairs["documents_written"], repairs["windows_asked_again"]
        click.echo(f"{result.account_id} repaired: {written} documents written, {asked} windows asked for again")


@command(audit=AuditAction.ACCOUNT_REPLAY)
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option("--all", "everybody", is_flag=True, help="All accounts.")
@click.option("--from", "first", type=parameters.DAY, help="First day to replay.")
@click.option("--to", "last", type=parameters.DAY, help="Last day to replay.")
@parameters.json_option
def replay(account_id: str | None, everybody: bool, first: date | None, last: date | None, as_json: bool) -> int:
    """Parse kept answers again after a bug fix in a parser, without calls to the supplier.

    Answers are kept if RELEVE_RAW_ANSWERS_DAYS is set. Changed values are recorded as corrections; a second replay
    changes nothing. The exit code is 1 if an answer still can't be read.

    \b
    Examples:
      releve replay 3kq7d0fr2m --from 2024-07-01
      releve replay --all
    """
    parameters.require_one_or_all(account_id, everybody)
    if first and last and first > last:
        raise click.UsageError(f"--from {first} must not be after --to {last}")
    wanted = DateWindow(first or _FIRST_DAY, (last or _LAST_DAY) + timedelta(days=1))
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        answers, ledgers = stores.registry.raw_answers, stores.registry.completeness
        rows = []
        for account in parameters.chosen_accounts(stores.registry, account_id):
            run_id = new_run_id(stores.now())
            result = replay_account(sync.window, answers, ledgers, account.id, run_id, wanted)
            rows.append(result)
            if not as_json and (result.answers or account_id):
                counts = parameters.counts_line(asdict(result))
                unreadable = f", {result.unreadable} still can't be read" if result.unreadable else ""
                click.echo(f"{result.account_id}: {result.answers} answers replayed: {counts}{unreadable}")
        days = stores.settings.raw_answers_days
    if as_json:
        parameters.print_json({"accounts": [asdict(result) for result in rows]})
    elif not any(result.answers for result in rows):
        click.echo("no kept answers" + ("" if days else ": RELEVE_RAW_ANSWERS_DAYS is 0, so answers are not kept"))
    return 1 if any(result.unreadable for result in rows) else 0


@command(audit=with_options(to_remove=AuditAction.SAMPLE_CLEAR, raw=AuditAction.SAMPLE_SHOW), subject="sample_id")
@click.argument("sample_id", metavar="[ID]", required=False)
@click.option("--raw", is_flag=True, help="Show the values. They are personal data of a household, which is not named.")
@click.option("--remove", "to_remove", is_flag=True, help="Delete the sample. It is reported if it comes again.")
@parameters.json_option
def quarantine(sample_id: str | None, raw: bool, to_remove: bool, as_json: bool) -> None:
    """List the answers of suppliers that Relève does not understand, newest first; with an ID, show or delete one.

    Without --raw only the form of an answer is shown: 9 for each digit, and `a` for each letter. The list contains no
    values from answers.

    \b
    Examples:
      releve quarantine
      releve quarantine 5f0c2a9d41e7b863 --raw
      releve quarantine 5f0c2a9d41e7b863 --remove
    """
    if ((raw or to_remove) and sample_id is None) or (raw and to_remove):
        raise click.UsageError("give an ID with --raw or --remove")
    with parameters.open_stores() as stores:
        samples = stores.registry.quarantine
        if sample_id is None:
            _SAMPLES.print(map(_sample_row, samples.list_entries()), as_json=as_json)
            return
        row = samples.get(sample_id)
        if row is None or (to_remove and not samples.delete(sample_id)):
            raise click.ClickException("no sample in quarantine has this id: `releve quarantine` shows the ids")
    if to_remove:
        parameters.print_result({"id": sample_id}, "cleared", as_json=as_json)
        return
    entry, sample = row
    shown = _parse(sample) if raw else to_masked(sample)
    facts = _sample_row(entry)
    lines = [f"{name:11} {value}" for name, value in facts.items()]
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=1)
    parameters.print_result({**facts, "sample": shown}, *lines, text, as_json=as_json)


def _parse(sample: str) -> Any:
    """Return the parsed sample, or its text if it was cut and is no longer valid JSON."""
    try:
        return json.loads(sample)
    except ValueError:
        return sample


def _sample_row(entry: QuarantineEntry) -> dict[str, Any]:
    row = to_row(entry)
    return {"id": row.pop("fingerprint"), **row}
