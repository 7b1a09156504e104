"""`releve explain`: what is stored for an account's days, and why data is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final

import click

from worker.accounts.explanations import Explanation, SeriesExplanation, StoredDay
from worker.accounts.notice_channels import CURVE_NOT_ACTIVATED
from worker.accounts.status import correction_to_json, coverage_of, coverage_to_json, explanation_to_json, to_plain
from worker.cli import parameters
from worker.cli.command_audit import READS, Command
from worker.cli.printing import describe_output, local_text, print_table
from worker.domain.account import Account
from worker.domain.completeness import Coverage, DayState, Hole, half_hours_of
from worker.domain.documents import REMOVED, Entry, format_kwh
from worker.domain.exports import to_plain_number
from worker.domain.messages import is_file_run
from worker.domain.series import Doctype, Period, Series, curve_of, daily_of
from worker.domain.windows import ONE_DAY, PARIS
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_explainer, build_sync
from worker.stores.registry.supplier_answers import Correction
from worker.texts import LANGUAGES, translate, translate_cause

_DAYS_AGO: Final = re.compile(r"-([0-9]{1,4})")
_NEGATIVE: Final = "\N{MINUS SIGN}"  # Replaces the hyphen of a negative number, which click would take for an option.


class _CommandOfDay(Command):
    """A command with an argument that may be a negative number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(
            ctx, [_DAYS_AGO.sub(rf"{_NEGATIVE}\1", arg) if _DAYS_AGO.fullmatch(arg) else arg for arg in args]
        )


def _to_day_or_days_ago(text: str) -> date | int:
    """Return the date that a text names; for ``yesterday`` and numbers like -1, return how many days ago."""
    if match := _DAYS_AGO.fullmatch(text.replace(_NEGATIVE, "-")):
        return int(match[1])
    return 1 if text == "yesterday" else parameters.to_day(text)


@click.command(cls=_CommandOfDay, audit=READS)
@click.argument("account_id", metavar="[ACCOUNT]", required=False)
@click.argument("day", type=parameters.Checked("DAY", _to_day_or_days_ago), default="yesterday", metavar="[DAY]")
@click.option("--days", "all_days", is_flag=True, help="Count the days of each series instead, and list the open days.")
@click.option("--all", "everybody", is_flag=True, help="With --days: all accounts.")
@click.option("--corrections", "only_corrections", is_flag=True, help="Show only the corrections of DAY.")
@click.option("--lang", type=click.Choice(LANGUAGES), help="Language of the sentences. Default: that of LANG.")
@parameters.json_option
def explain(
    account_id: str | None,
    day: date | int,
    all_days: bool,
    everybody: bool,
    only_corrections: bool,
    lang: str | None,
    as_json: bool,
) -> None:
    """Explain why the data of DAY is missing or incomplete, in a sentence for the household and with all details.

    DAY is like 2024-07-10, yesterday, or -2 for two days ago. Default: yesterday. The sentences are in French if
    LC_ALL, LC_MESSAGES or LANG says so, otherwise in English.

    --days shows how many days of each series are complete, partial, late or missing, and lists the open days, for which
    more readings may come, with their next try. --corrections shows old and new values, when each value was first seen,
    and the run that changed it.

    \b
    Examples:
      releve explain 3kq7d0fr2m
      releve explain 3kq7d0fr2m 2024-07-10 --lang fr
      releve explain 3kq7d0fr2m 2024-07-10 --corrections
      releve explain --all --days --json
    """
    if (all_days and only_corrections) or (everybody and not all_days):
        raise click.UsageError("give --corrections or --days; --all needs --days")
    parameters.require_one_or_all(account_id, everybody)
    with parameters.open_stores() as stores:
        sync = build_sync(stores)
        if all_days:
            print_days(sync, parameters.chosen_accounts(stores.registry, account_id), brief=everybody, as_json=as_json)
            return
        account = stores.registry.accounts.get_existing(str(account_id))
        wanted = day if isinstance(day, date) else sync.history.today() - day * ONE_DAY
        if only_corrections:
            _print_corrections(stores, sync, account, wanted, as_json)
            return
        explanation = build_explainer(stores, sync).explain(account, wanted)
    lines = _lines(explanation, lang or parameters.shell_language())
    parameters.print_result(explanation_to_json(explanation), *lines, as_json=as_json)


def _lines(explanation: Explanation, language: str) -> Iterator[str]:
    yield explanation.sentences[language]
    yield ""
    yield f"account {explanation.account.id}: {explanation.account.state} {explanation.account.reason}".rstrip()
    yield f"consent: {_consent(explanation)}"
    for series, details in explanation.series.items():
        yield from _series_lines(explanation.day, series, details, language)
    for correction in explanation.corrections:
        amounts = (correction.was_amount, correction.became_amount)
        was, became = (_describe_value(amount, correction.doctype) for amount in amounts)
        origin = "by a file, in import" if is_file_run(correction.run_id) else "in run"
        yield (
            f"corrected: {correction.key} was {was}, became {became} "
            f"at {to_plain(correction.changed_at)} {origin} {correction.run_id}"
        )
    yield from _totals(explanation)
    for output in explanation.outputs:
        yield f"output {output.id} ({output.kind}): {describe_output(output)}"


def _consent(explanation: Explanation) -> str:
    account, proof = explanation.account, explanation.proof
    dates = f"from {account.consent_from or '-'} until {account.consent_until or '-'}"
    if account.files_only:
        return "none, only imported files"
    if proof is None:
        return f"{dates}, without a stored proof"
    ended = f", ended {local_text(proof.ended_at)} ({proof.end_reason})" if proof.ended_at else ", in force"
    return f"{dates}, given {local_text(proof.consented_at)}{ended}"


def _series_lines(day: date, series: Series, details: SeriesExplanation, language: str) -> Iterator[str]:
    stored, expected = details.stored, half_hours_of(day)
    value = parameters.describe_amount(stored.amount, series)
    slots = f", {stored.half_hours} of {expected} half-hours" if series.has_steps else ""
    yield f"{series.value}: {details.mark.state.name.lower()} ({details.reason}), {value} stored{slots}"
    yield f"  {details.sentences[language]}"
    yield from (f"  {line}" for line in _kind_lines(series, stored))
    if stored.half_hours and stored.gaps:
        yield f"  missing: {', '.join(f'{_clock(first)} to {_clock(after)}' for first, after in stored.gaps)}"
    if details.asked_on or details.asked_next:
        asked_next = local_text(details.asked_next) if details.asked_next else "-"
        yield f"  last try {details.asked_on or '-'}, next try {asked_next}"
    for call in details.calls:
        yield f"  call {local_text(call.at)} ({call.run}) for {call.window}: {call.answer}"
    if details.outcome:
        error = f"{details.outcome.code} {details.outcome.message}" if details.outcome.code else "none"
        yield f"  last run {local_text(details.outcome.updated_at)}, error: {error}"
        supplier = series.description.supplier
        if details.outcome.code and (cause := translate_cause(details.outcome.code, supplier, language)):
            yield f"  {cause}"


def _kind_lines(series: Series, stored: StoredDay) -> Iterator[str]:
    """Yield lines that only some series have: energy by tariff period, the instant of a peak, contract details."""
    if stored.registers:
        by_period = stored.registers.by_period.items()
        energies = [f"{period} {format_kwh(1000 * watt_hours)} kWh" for period, watt_hours in by_period]
        yield f"of the day: {', '.join(energies) or format_kwh(1000 * stored.registers.total) + ' kWh'}"
    for broken in stored.breaks:
        yield f"no energy by period from {broken.last} up to {broken.day}: {broken.cause}"
    if stored.peak:
        at = f"at {stored.peak.at.strftime('%H:%M:%S%z')}" if stored.peak.at else "at an unknown time"
        of = f", {stored.peak.percent}% of {format_kwh(stored.peak.subscribed)} kVA" if stored.peak.subscribed else ""
        yield f"{at}{of}"
    if stored.state:
        yield f"known since {stored.state.key}{''.join(f', {detail}' for detail in _details(series, stored.state))}"
    if stored.gas:
        yield f"from {stored.gas.key}{''.join(f', {detail}' for detail in _details(series, stored.gas))}"


def _details(series: Series, entry: Entry) -> list[str]:
    details = entry.details or {}
    return [f"{name} {to_plain_number(details[name])}" for name in series.inputs.detail_names if name in details]


def _totals(explanation: Explanation) -> Iterator[str]:
    if explanation.discrepancies is None:
        yield "totals: nothing to compare"
    elif not explanation.discrepancies:
        yield "totals: correct"
    for finding in explanation.discrepancies or ():
        expected, stored = (
            parameters.describe_amount(value, finding.series) for value in (finding.expected, finding.stored)
        )
        name = f"{parameters.name_beside_key(finding.series)}{finding.key}"
        yield f"totals: {name}: {finding.law}, expected {expected}, found {stored}: {finding.cause.told}"
    if explanation.month:
        yield f"published: {parameters.describe_month(explanation.month)}"


def _clock(at: datetime) -> str:
    """Return hour, minute and UTC offset, which tells apart the two equal hours at the end of summer time."""
    return at.strftime("%H:%M%z")


def _print_corrections(stores: Stores, sync: Sync, account: Account, day: date, as_json: bool) -> None:
    """Print the corrections as JSON, or as a table for each run, under the run's time and id, oldest run first."""
    corrections = sorted(build_explainer(stores, sync).list_corrections(account, day), key=_run_of)
    if as_json:
        rows = [correction_to_json(correction) for correction in corrections]
        parameters.print_json({"account": account.id, "day": day.isoformat(), "corrections": rows})
        return
    for (changed_at, run_id), changed in groupby(corrections, _run_of):
        click.echo(f"changed {changed_at} in run {run_id}")
        print_table(map(_to_row, changed))
    if not corrections:
        kept = stores.settings.keep_corrections_days
        click.echo(f"no value of {day} was corrected in the last {kept} days (corrections are kept for so many days)")


def _run_of(correction: Correction) -> tuple[str, str]:
    return local_text(correction.changed_at), correction.run_id


def _to_row(correction: Correction) -> dict[str, Any]:
    doctype = correction.doctype
    return {
        "what": _name(correction),
        "was (kWh)": _describe_value(correction.was_amount, doctype).removesuffix(" kWh"),
        "became (kWh)": _describe_value(correction.became_amount, doctype).removesuffix(" kWh"),
        "first seen": local_text(correction.first_seen),
    }


def _describe_value(amount: int, doctype: Doctype) -> str:
    """Return the amount as text; for a removed reading, return a text that says which readings have its energy now.

    A removed step or billed period is now part of other steps or periods. A removed daily value was impossible, and
    nothing replaces it.
    """
    if amount != REMOVED:
        return parameters.describe_amount(amount, doctype.series)
    if doctype.series.has_intervals:
        return "part of other periods"
    return "nothing (set aside)" if doctype.period is Period.DAY else "part of other steps"


def _name(correction: Correction) -> str:
    series = correction.doctype.series
    if correction.doctype.period is Period.DAY:
        if series.has_intervals:
            return correction.key
        return "day" if series is daily_of(supplier=series.description.supplier) else series.value
    clock = _clock(datetime.fromisoformat(correction.key).astimezone(PARIS))
    return clock if series is curve_of(daily_of()) else f"{series.value} {clock}"


def print_days(sync: Sync, accounts: Iterable[Account], *, brief: bool, as_json: bool) -> None:
    """Print how many days of each series are in each state; unless ``brief``, also list the days not yet final."""
    for account in accounts:
        covered = coverage_of(account.id, sync.history)
        if as_json:
            parameters.print_json(coverage_to_json(account.id, covered))
        else:
            _print_account(account.id, covered, brief)


def _print_account(account_id: str, coverage: Mapping[Series, Coverage], brief: bool) -> None:
    for series, series_coverage in coverage.items():
        click.echo(f"{account_id} {series.value}: {_counts(series_coverage)}")
        if series_coverage.missing:
            advice = translate(f"code.{CURVE_NOT_ACTIVATED}.what_to_do", "en")
            click.echo(f"  no curve since {series_coverage.missing.since}: {advice}")
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
        if day.hole is not Hole.NOT_ACTIVATED  # The advice above covers all days without an activated curve.
    ]
    if not brief and open_days:
        print_table(open_days)


def awaited_days(coverage: Coverage) -> list[date]:
    """Return the days after the newest billed period, oldest first; empty for series without billed periods."""
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
