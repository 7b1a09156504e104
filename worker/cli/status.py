"""The state of accounts: `releve status` and `support-bundle`, and the progress bars of `sync`.

The summary of `releve status` names no account, and the number of its queries does not depend on the number of
accounts. Freshness is the share of active accounts for which yesterday is complete. It is shown as of now, and by
hour of the day.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from config.settings import Settings
from worker.accounts.status import AccountStatus, status_of, to_plain, to_row
from worker.cli import parameters
from worker.cli.command_audit import READS, command
from worker.cli.printing import describe_output, local_text, print_table
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.documents import format_percent, round_share
from worker.domain.incident import Incident
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, newest_wanted_day
from worker.ops.check_results import CheckConnections, run_check
from worker.ops.logging_setup import warn
from worker.ops.support_bundle import make_bundle
from worker.quota.ledger import QuotaState
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_sync
from worker.stores.redis.claims import member_of
from worker.stores.registry import Registry
from worker.stores.registry.fleet_counts import ErrorCount
from worker.stores.registry.outcomes import HourFreshness
from worker.stores.registry.outputs import OutputState
from worker.sync.claims import LANES, WindowClaims
from worker.texts import translate_code

_FEW: Final = 20  # If there are no more accounts than this, they are listed below the summary.
_BARS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"
Counts = tuple[int, int]  # How many accounts are complete; how many are active, which is never 0.
_POLL_S: Final = 0.5
# If the next try of a history is further away than this, the history has failed too often today.
_GIVEN_UP: Final = timedelta(hours=1)
ProgressCounter = Callable[[Account], tuple[int, int]]  # Returns how much is done, and how much there is in all.


@dataclass(frozen=True, slots=True)
class StatusSummary:
    """The state of all accounts in numbers.

    ``fresh``: a row for each nightly series in use. ``measures``: what is wrong with CouchDB; None if nothing is.
    """

    at: datetime
    told_day: date
    states: dict[AccountState, int]  # Removed accounts are left out.
    errors: list[ErrorCount]
    fresh: list[HourFreshness]
    quotas: dict[str, QuotaState]  # By supplier.
    incidents: list[Incident]
    outputs: list[OutputState]
    measures: str | None

    @property
    def accounts(self) -> int:
        return sum(self.states.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "at": to_plain(self.at),
            "accounts": {state.value: number for state, number in self.states.items()},
            "errors": [to_row(error, "code", "accounts", "last_at") for error in self.errors],
            "freshness": {
                row.series.value: {
                    "day": newest_wanted_day(self.told_day, row.series).isoformat(),
                    **to_row(row, "active", "complete"),
                }
                for row in self.fresh
            },
            "quota": {
                supplier: {
                    "used": quota.used,
                    "limit": quota.limit,
                    "per": quota.span,
                    "gate_opens_in_seconds": math.ceil(quota.opens_in_s),
                    **({"gate_code": quota.gate_code} if quota.gate_code else {}),
                }
                for supplier, quota in self.quotas.items()
            },
            "incidents": [to_row(one, "kind", "series", "began_at") for one in self.incidents],
            "outputs": [to_row(output) for output in self.outputs],
            "measures": self.measures,
        }


def load_summary(stores: Stores, sync: Sync) -> StatusSummary:
    """Count the accounts by state, error and freshness; load the quotas, incidents and outputs."""
    overview = stores.registry.overview
    states = overview.count_accounts_by_state()
    del states[AccountState.DELETED]
    return StatusSummary(
        at=stores.now(),
        told_day=sync.history.told_day(),
        states=states,
        errors=overview.count_errors(),
        fresh=[row for row in _count_fresh(stores, sync) if row.series.is_nightly],
        quotas={
            name: sync.ledgers[name].state(clients.endpoints.preset.quota_names)
            for name, clients in sync.suppliers.items()
        },
        incidents=sync.incidents.list_open(),
        outputs=stores.registry.outputs.list_outputs(),
        measures=_find_fault_of_measures(stores.settings),
    )


def _find_fault_of_measures(settings: Settings) -> str | None:
    with ExitStack() as stack:
        if (connections := CheckConnections(settings, stack)).couchdb is None:
            return None
        from worker.ops.store_checks import check_databases  # Imported here because it loads the client of each server.

        result = run_check("couchdb", check_databases, connections)
    return result.text if result.failed else None


def print_summary(summary: StatusSummary) -> None:
    """Print the summary for people, with the commands that show more."""
    states = [f"{number} {state.value}" for state, number in summary.states.items() if number]
    click.echo(f"accounts   {', '.join(states)}")
    for row in summary.fresh:
        click.echo(f"fresh      {_describe_fresh(summary.told_day, row)}")
    for supplier, quota in summary.quotas.items():
        limit = f" of {quota.limit}" if quota.limit else ""
        for api, number in quota.used.items():
            click.echo(f"quota      {supplier} {api}: {number}{limit} calls in the last {quota.span}")
        if quota.opens_in_s:
            opens_at = summary.at + timedelta(seconds=math.ceil(quota.opens_in_s))
            code = f" ({quota.gate_code})" if quota.gate_code else ""
            click.echo(f"gate       {supplier}: closed{code}, opens at {local_text(opens_at)}")
    for incident in summary.incidents:
        names = ", ".join(map(str, incident.series))
        click.echo(f"incident   {incident.kind} since {local_text(incident.began_at)}: {names}")
    for output in summary.outputs:
        click.echo(f"output     {output.id} {output.kind}: {describe_output(output)}")
    if summary.measures:
        click.echo(f"measures   {summary.measures}")
    if not summary.errors:
        click.echo("errors     none")
        return
    print_table(
        {"error": one.code, "accounts": one.accounts, "last seen": local_text(one.last_at)} for one in summary.errors
    )
    click.echo(f"`releve status --error {summary.errors[0].code}` lists the accounts of an error")


@command(audit=READS)
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.option(
    "--error",
    "code",
    metavar="CODE",
    help="List accounts with this error code, or a code that begins with it and a dot.",
)
@parameters.state_option
@parameters.limit_option
@click.option("--all", "everybody", is_flag=True, help="List all accounts.")
@click.option("--freshness", "by_hour", is_flag=True, help="Show the share of accounts with all of yesterday's data.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 400), help="Days of --freshness.")
@parameters.json_option
def status(
    account_id: str | None,
    code: str | None,
    state: AccountState | None,
    limit: int | None,
    everybody: bool,
    by_hour: bool,
    days: int,
    as_json: bool,
) -> None:
    """Show the state of all accounts in numbers, or one account in detail with its last error and what to do.

    The numbers are: accounts by state and by error, how many have yesterday's data, the quota and open incidents. If
    there are no more than 20 accounts, they are listed below the numbers. --error, --state, --limit and --all list
    accounts instead.

    --freshness shows the share of active accounts with all of yesterday's data: now, and by hour over the last days.
    For a series that is requested once a week, or that comes some days later, the newest day that should be stored
    counts instead of yesterday.

    \b
    Examples:
      releve status
      releve status 3kq7d0fr2m
      releve status --error VENDOR_DOWN --limit 20
      releve status --all --json
      releve status --freshness --days 30
    """
    lists = code is not None or state is not None or limit is not None or everybody
    if bool(account_id) + lists + by_hour > 1:
        raise click.UsageError("give one ACCOUNT, or list accounts with --error, --state, --limit or --all")
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        if by_hour:
            _show_freshness(stores, sync, days, as_json)
        elif account_id:
            one = status_of(stores.registry.accounts.get_existing(account_id), sync.history)
            parameters.print_json(one.model_dump(mode="json")) if as_json else _print_one(one)
        elif lists:
            rows = islice(_iterate(stores.registry, sync, state=state, code=code and code.upper()), limit)
            if as_json:
                parameters.print_json_lines(row.model_dump(mode="json") for row in rows)
            else:
                _print_list(rows)
        else:
            _show_summary(stores, sync, as_json)


def _show_summary(stores: Stores, sync: Sync, as_json: bool) -> None:
    summary = load_summary(stores, sync)
    if as_json:
        parameters.print_json(summary.as_json())
    elif not summary.accounts:
        click.echo("no accounts yet: add one with `releve accounts add --usage-point 14DIGITS`")
    else:
        print_summary(summary)
        if summary.accounts <= _FEW:
            click.echo()
            _print_list(_iterate(stores.registry, sync))


def _iterate(registry: Registry, sync: Sync, **wanted: Any) -> Iterator[AccountStatus]:
    return (status_of(account, sync.history) for account in registry.accounts.iterate(**wanted))


@dataclass
class _Advice:
    """The text below a table: what to do about each code in the table, and when Relève tries again."""

    unconfirmed: bool = False
    next_tries: dict[str, datetime | None] = field(default_factory=dict)

    def add(self, row: AccountStatus) -> None:
        self.unconfirmed |= row.state is AccountState.NEW
        for code in filter(None, (row.reason, row.hint)):
            self.next_tries.setdefault(code, None)
        for series in row.series.values():
            if series.error:
                known = self.next_tries.get(series.error)
                moments = [moment for moment in (known, series.next_try) if moment]
                self.next_tries[series.error] = min(moments, default=None)

    def print(self) -> None:
        if self.unconfirmed:
            click.echo("new: waiting for the supplier's first answer, or no meter is connected yet")
        for code, moment in self.next_tries.items():
            next_try = f" Next try: {local_text(moment)}." if moment else ""
            click.echo(f"{code}: {translate_code(code, 'what_to_do', 'en')}{next_try}")


def _print_one(row: AccountStatus) -> None:
    advice = _Advice()
    advice.add(row)
    click.echo(f"account {row.account}: {row.state} {row.reason}".rstrip())
    print_table(
        {
            "series": name.value,
            "history (days)": f"{values.done}/{values.total}",
            "last day": values.last_day,
            "error or hint": values.error or (row.hint if name.description.optional else ""),
        }
        for name, values in row.series.items()
    )
    advice.print()


def _print_list(rows: Iterable[AccountStatus]) -> None:
    """Print a line for each account, and at the end what to do about the codes in these lines."""
    advice = _Advice()

    def cells() -> Iterator[dict[str, Any]]:
        for row in rows:
            advice.add(row)
            yield {
                "account": row.account,
                "state": row.state.value,
                "last day": row.last_day,
                "history": _loading(row),
                "error or hint": ", ".join(_codes(row)),
            }

    columns = ("account", "state", "last day", "history?", "error or hint")
    titles = {name.rstrip("?"): name for name in columns}
    parameters.print_rows(cells(), titles, as_json=False, empty="no such account")
    advice.print()


def _loading(row: AccountStatus) -> str:
    """Return how many days of history are loaded, summed over all series; empty if the history is complete."""
    series = row.series.values()
    is_loaded = all(one.loaded for one in series)
    return "" if is_loaded else f"{sum(one.done for one in series)}/{sum(one.total for one in series)}"


def _codes(row: AccountStatus) -> list[str]:
    """Return the codes of an account, each once: its reason, the errors of its series, its hint.

    An error comes with the names of its series, unless all series have it.
    """
    codes = [row.reason] if row.reason else []
    errors = {name.value: values.error for name, values in row.series.items() if values.error}
    for code in dict.fromkeys(errors.values()):
        if code and code != row.reason:
            names = [name for name, error in errors.items() if error == code]
            codes.append(code if len(names) == len(row.series) else f"{code} ({', '.join(names)})")
    return [*codes, *([row.hint] if row.hint else [])]


def _count_fresh(stores: Stores, sync: Sync) -> list[HourFreshness]:
    """Count, for each series in use, the accounts that have the newest day that should be stored by now."""
    now, completeness = stores.now(), stores.registry.completeness
    days = {series: sync.history.newest_due_day(series) for series in stores.registry.outcomes.list_in_use()}
    return [HourFreshness(now, series, *counts) for series, counts in completeness.count_complete(days).items()]


def _show_freshness(stores: Stores, sync: Sync, days: int, as_json: bool) -> None:
    told_day, now = sync.history.told_day(), _count_fresh(stores, sync)
    hours = stores.registry.completeness.list_freshness_since(stores.now() - timedelta(days=days))
    if not as_json:
        print_freshness(told_day, now, hours)
        return
    shares = {
        series.value: {hour: complete / active for hour, (complete, active) in counts.items()}
        for series, counts in _counts_by_hour(hours).items()
    }
    parameters.print_json(
        {
            "yesterday": (told_day - ONE_DAY).isoformat(),
            "now": {row.series.value: _counts(row) for row in now},
            "by_hour_of_day": shares,
            "hours": [{"hour": row.hour.isoformat(), "series": row.series.value, **_counts(row)} for row in hours],
        }
    )


def _counts(row: HourFreshness) -> dict[str, Any]:
    return to_row(row, "active", "complete", "share")


def _describe_fresh(told_day: date, row: HourFreshness) -> str:
    share = format_percent(row.complete, row.active) if row.active else "no account yet"
    day = newest_wanted_day(told_day, row.series)
    return f"{day} {row.series.value}: {share} ({row.complete} of {row.active} active accounts)"


def _counts_by_hour(hours: Sequence[HourFreshness]) -> dict[Series, dict[int, Counts]]:
    found = {row.series for row in hours}
    return {
        series: count_by_hour_of_day(row for row in hours if row.series is series)
        for series in Series
        if series in found
    }


def count_by_hour_of_day(hours: Iterable[HourFreshness]) -> dict[int, Counts]:
    """Return the number of complete and of active accounts for each hour of the day in Paris, summed over all days.

    An hour of the day without data is left out.
    """
    active: Counter[int] = Counter()
    complete: Counter[int] = Counter()
    for row in hours:
        hour = row.hour.astimezone(PARIS).hour
        active[hour] += row.active
        complete[hour] += row.complete
    return {hour: (complete[hour], active[hour]) for hour in sorted(active) if active[hour]}


def sparkline(counts: Sequence[Counts | None]) -> str:
    """Draw a bar for each share. The tallest bar means all accounts, never a rounded-up share; a dot means unknown."""
    steps = len(_BARS) - 1
    return "".join(_UNKNOWN if share is None else _BARS[round_share(*share, steps)] for share in counts)


def print_freshness(told_day: date, now: Sequence[HourFreshness], hours: Sequence[HourFreshness]) -> None:
    """Print each series' share of complete accounts: now, then by hour of the day as a line of bars and as a table."""
    for row in now:
        click.echo(_describe_fresh(told_day, row))
    if not hours:
        click.echo("no hour is recorded yet: beat records one at five past each hour")
        return
    click.echo("hours 0 to 23, Europe/Paris:")
    by_hour = _counts_by_hour(hours)
    for series, counts in by_hour.items():
        click.echo(f"  {sparkline([counts.get(hour) for hour in range(24)])}  {series.value}")
    known = [hour for hour in range(24) if any(hour in counts for counts in by_hour.values())]
    cells = {
        series.value.replace("_", " "): {hour: format_percent(*share) for hour, share in counts.items()}
        for series, counts in by_hour.items()
    }
    print_table(
        [{"hour": f"{hour:02}", **{name: texts.get(hour, "") for name, texts in cells.items()}} for hour in known]
    )


def look_back_progress(
    registry: Registry, asked_before: Mapping[str, Mapping[Series, datetime | None]], account: Account
) -> tuple[int, int]:
    """Return how many of an account's series were requested since ``asked_before`` was read, and how many it has.

    Requests without success count, too.
    """
    now, before = asked_at(registry, account), asked_before[account.id]
    return sum(now.get(series) != asked for series, asked in before.items()), len(before)


def asked_at(registry: Registry, account: Account) -> dict[Series, datetime | None]:
    """Return when each series collected for the account was last requested; None for never."""
    outcomes, collected = registry.outcomes.load(account.id), registry.outcomes.collected(account.id)
    return {series: outcomes[series].asked_at if series in outcomes else None for series in collected}


def history_progress(stores: Stores, sync: Sync, account: Account) -> tuple[int, int]:
    """Return how many days of history are done, and how many there are.

    A series that has failed too often today counts as done; its error is printed at the end.
    """
    done = total = 0
    outcomes = stores.registry.outcomes.load(account.id)
    for series, days in sync.history.load(account.id, *stores.registry.outcomes.collected(account.id)).items():
        series_done, series_total = days.count()
        goes_on = outcomes[series].history_due_at if series in outcomes else None
        given_up = goes_on is not None and goes_on - stores.now() > _GIVEN_UP
        done += series_total if given_up else series_done
        total += series_total
    return done, total


def wait_with_progress(
    stores: Stores, sync: Sync, accounts: list[Account], as_json: bool, count_progress: ProgressCounter
) -> int:
    """Show progress until every account is done or stalled, print the failures, and return the exit code."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    stalled: list[Account] = []
    with Progress(*columns, disable=as_json) as progress:
        bars = {account.id: progress.add_task(account.id, total=None) for account in accounts}
        stalls = _StallDetector(stores.settings, sync.claims)
        waiting = list(accounts)
        while waiting:
            for account in list(waiting):
                done, total = count_progress(account)
                progress.update(bars[account.id], completed=done, total=total)
                if done >= total or not stores.registry.accounts.get(account.id).active:
                    waiting.remove(account)
                elif stalls.is_stalled(account, done):
                    waiting.remove(account)
                    stalled.append(account)
            if waiting:
                time.sleep(_POLL_S)
    failures = [
        *(
            f"account {account.id}: no progress, and nothing is queued: check that beat is running"
            for account in stalled
        ),
        *(failure for account in accounts for failure in _failures(stores.registry, account)),
    ]
    for failure in failures:
        warn(failure)
    if as_json:
        parameters.print_json({"ok": not failures, "accounts": [account.id for account in accounts]})
    return 1 if failures else 0


class _StallDetector:
    """Detects accounts without progress and without work in flight during three rounds of the reconciler."""

    def __init__(self, settings: Settings, claims: WindowClaims) -> None:
        self._claims = claims
        self._longest_s = 3.0 * settings.reconcile_every_s
        self._last_change: dict[str, tuple[int, float]] = {}

    def is_stalled(self, account: Account, done: int) -> bool:
        """Record how much is done; return True if this has not changed for too long, and no work is in flight."""
        now = time.monotonic()
        known, since = self._last_change.get(account.id, (-1, now))
        if done != known or self._is_in_flight(account):
            self._last_change[account.id] = (done, now)
            return False
        return now - since > self._longest_s

    def _is_in_flight(self, account: Account) -> bool:
        members = {member_of(account.id, series) for series in Series}
        return any(members & set(self._claims.in_flight(lane)) for lane in LANES)


def _failures(registry: Registry, account: Account) -> Iterator[str]:
    for series, outcome in registry.outcomes.load(account.id).items():
        if outcome.code:
            yield f"account {account.id}: {series.value}: {outcome.message} ({outcome.code})"
    now = registry.accounts.get(account.id)
    if not now.active:
        yield f"account {account.id} is {now.state} {now.reason}: `releve status {account.id}` says what to do"


@command("support-bundle", audit=AuditAction.SUPPORT_BUNDLE)
@click.argument("account_id", metavar="ACCOUNT")
@click.argument("path", metavar="FILE.zip", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 400), help="Number of days to explain.")
@click.option("--with-values", is_flag=True, help="Include the household's consumption. Ask for its consent first.")
def support_bundle(account_id: str, path: Path, days: int, with_values: bool) -> None:
    """Write the state of ACCOUNT and the explanation of its last days to FILE.zip, for support.

    The file names the account by an alias. It has no meter number, token or secret.

    \b
    Example:
      releve support-bundle 3kq7d0fr2m --days 14 bundle.zip
    """
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        bundle = make_bundle(
            stores, sync, stores.registry.accounts.get_existing(account_id), days, with_values=with_values
        )
    try:
        bundle.write(path)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already: give another name") from None
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from None
    click.echo(f"wrote {path}: it calls account {account_id} {bundle.alias}")
